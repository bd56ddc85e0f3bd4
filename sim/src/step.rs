//! One step of a process: something comes in, a list of actions goes out, is checked, and done.

use crate::check::{Check, Violation};
use crate::codec;
use crate::dice::Dice;
use crate::disk::DiskOp;
use crate::trace::What;
use crate::world::{Occur, World, place};
use zabkeeper_core::error::HaltReason;
use zabkeeper_core::event::{Action, Event};
use zabkeeper_core::ids::NodeId;
use zabkeeper_core::message::Message;
use zabkeeper_core::mutants::Mutant;
use zabkeeper_core::note::Note;
use zabkeeper_core::replica::{Input, Outputs};
use zabkeeper_core::tree::{Query, Tree};

impl World {
    pub(crate) fn deliver(&mut self, node: NodeId, event: Event) -> Check {
        self.input(node, Input::Event(event))
    }

    /// One step of a process: something comes in, a list of actions goes out.
    pub(crate) fn input(&mut self, node: NodeId, input: Input<Query>) -> Check {
        let now = self.now;
        let host = &mut self.hosts[place(node)];
        let clock = host.clock(now);
        let Some(process) = &mut host.process else { return Ok(()) };
        if let Some(backlog) = &mut process.paused {
            backlog.push(input);
            return Ok(());
        }
        let failed = matches!(input, Input::Event(Event::StorageFailed));
        self.trace.feed(&(now, node.get()));
        if let Input::Event(event) = &input {
            self.trace.feed(event);
            if let Event::Received { msg: Message::EpochAck(ack), .. } = event {
                self.checks.epochs.reported(node, ack);
            }
        }
        self.trace.keep(now, node.get(), || What::Input(crate::show::input(&input)));
        let mut out = Outputs::default();
        process.replica.handle(clock, input, &mut out);
        if failed {
            halt_only(node, &out)?;
        }
        self.after_step(node, out)
    }

    /// What a process decided in a step is checked, then done.
    pub(crate) fn after_step(&mut self, node: NodeId, out: Outputs<Tree>) -> Check {
        self.trace.steps += 1;
        self.look_at_step(node, &out)?;
        let boot = self.host(node).boots;
        for action in out.actions {
            if !self.is_life(node, boot) {
                return Ok(());
            }
            if let Some((left, down)) = self.host(node).crash_after {
                if left == 0 {
                    return self.lose_power(node, down);
                }
                self.host_mut(node).crash_after = Some((left - 1, down));
            }
            self.act(node, action)?;
        }
        for (ticket, reply) in out.replies {
            if self.is_life(node, boot) {
                self.reply(node, ticket, reply)?;
            }
        }
        if self.is_life(node, boot) {
            if let Some((_, down)) = self.host(node).crash_after {
                return self.lose_power(node, down);
            }
            self.begin_flush(node);
            self.set_timer(node);
        }
        Ok(())
    }

    fn look_at_step(&mut self, node: NodeId, out: &Outputs<Tree>) -> Check {
        let mut halted = false;
        for action in &out.actions {
            if halted && !matches!(action, Action::Note(_)) {
                let what = format!("{node} does {action:?} after it halted");
                return Err(Violation::new("HaltIsFinal (33)", what));
            }
            self.trace.feed(action);
            match action {
                Action::Note(note) => {
                    self.checks.noted(&self.hosts, node, note)?;
                    let name = crate::show::mark(note);
                    if let (Note::MembershipCommitted(_), Some(process)) =
                        (note, &mut self.hosts[place(node)].process)
                    {
                        process.saw_membership = true;
                    }
                    self.spring(node, &name);
                    self.mark(&name);
                    self.trace.keep(self.now, node.get(), || What::Note(crate::show::note(note)));
                }
                Action::Persist { record, .. } => {
                    self.checks.issued(&self.hosts[place(node)], record)?;
                    let applied = self.host_mut(node).issued.apply(record);
                    applied.map_err(|error| {
                        let what = format!("{node} issues {record:?}: {error}");
                        Violation::new("storage rules", what)
                    })?;
                }
                Action::Halt(_) => halted = true,
                _ => {}
            }
        }
        let host = &mut self.hosts[place(node)];
        let Some(process) = &mut host.process else { return Ok(()) };
        process.replica.check();
        let status = process.replica.status();
        process.status = status.clone();
        if process.replica.put_off() > 0 {
            self.mark("reads put off");
        }
        self.trace.feed(&(status.committed, status.applied, status.digest));
        let now = self.now;
        self.trace.see(|view| view.status(now, node, &status));
        self.checks.stepped(&self.hosts, &self.hosts[place(node)], &status)
    }

    fn act(&mut self, node: NodeId, action: Action) -> Check {
        let now = self.now;
        let host = &mut self.hosts[place(node)];
        match action {
            Action::Notify { to, vote } => {
                self.trace.keep(now, node.get(), || What::Sent {
                    to: to.get(),
                    text: crate::show::vote(&vote),
                });
                self.checks.voted(host, &vote)?;
                let vote = if self.plan.options.codec { codec::vote(vote) } else { vote };
                let text = self.trace.view.is_some().then(|| crate::show::vote(&vote));
                let going = self.net.notify(to, vote, now, &mut self.queue);
                if let Some(text) = text {
                    let sent = self.net.sent;
                    self.trace.see(|view| view.sent(sent, now, (node, to), "Vote", text, going));
                }
            }
            Action::NotifyRejected { .. } => {}
            Action::Connect(to) => {
                self.trace.keep(now, node.get(), || What::Action(format!("connect {to}")));
                self.net.dial(node, host.boots, to, now, &mut self.queue);
            }
            Action::Send { to, msg } => {
                for conn in to {
                    let Some(peer) = self.net.peer(conn) else { continue };
                    self.trace.keep(now, node.get(), || What::Sent {
                        to: peer.get(),
                        text: format!("{conn} {}", crate::show::message(&msg)),
                    });
                    self.checks.sent(&self.hosts[place(node)], peer, &msg)?;
                    let msg = match self.plan.options.codec {
                        true => codec::message(msg.clone()),
                        false => msg.clone(),
                    };
                    let seen = self.trace.view.is_some().then(|| {
                        let text = format!("{conn} {}", crate::show::message(&msg));
                        (crate::show::name(&msg), text)
                    });
                    let going = self.net.send(conn, msg, now, &mut self.queue);
                    if let Some((kind, text)) = seen {
                        let (sent, ends) = (self.net.sent, (node, peer));
                        self.trace.see(|view| view.sent(sent, now, ends, &kind, text, going));
                    }
                }
            }
            Action::Close { conn, why } => {
                self.trace.keep(now, node.get(), || What::Action(format!("close {conn}: {why:?}")));
                self.net.close(conn, now, &mut self.queue);
            }
            Action::Persist { id, record } => {
                self.trace.keep(now, node.get(), || {
                    What::Action(format!("persist {id} {}", crate::show::record(&record)))
                });
                self.trace.see(|view| view.write(now, node, id, crate::show::record(&record)));
                let record = match self.plan.options.codec {
                    true => codec::stored(record),
                    false => record,
                };
                host.disk.push(DiskOp::Record(id, record));
            }
            Action::StageOpen(stage) => host.disk.push(DiskOp::StageOpen(stage)),
            Action::Stage { stage, items } => {
                if host.process.as_ref().is_some_and(|process| !process.parts.is_empty()) {
                    let what = format!("{node} stores a snapshot amid a checkpoint");
                    return Err(Violation::new("checkpoints are whole", what));
                }
                host.disk.push(DiskOp::Stage(stage, items));
            }
            Action::StageDrop(stage) => host.disk.push(DiskOp::StageDrop(stage)),
            Action::CheckpointPart { at, changes } => {
                if let Some(process) = &mut host.process {
                    process.parts.push((at, changes));
                }
            }
            Action::Checkpoint(mut checkpoint) => {
                let at = checkpoint.at.txid;
                self.trace.keep(now, node.get(), || What::Action(format!("checkpoint {at}")));
                let before = host.process.as_mut().map(|process| process.checkpoint.replace(at));
                if before == Some(Some(at)) {
                    let what = format!("{node} stores its state at {at} again");
                    return Err(Violation::new("bounded work (L6)", what));
                }
                let parts = host.process.as_mut().map(|process| std::mem::take(&mut process.parts));
                let parts = parts.unwrap_or_default();
                let late = host.config.mutant == Some(Mutant::StampCheckpointLate);
                if parts.iter().any(|(of, _)| *of != at) && !late {
                    let what = format!("{node} stores its state at {at} with parts of another");
                    return Err(Violation::new("checkpoints are whole", what));
                }
                let parts = parts.into_iter().flat_map(|(_, changes)| changes);
                checkpoint.changes = parts.chain(checkpoint.changes).collect();
                host.disk.push(DiskOp::Checkpoint(checkpoint));
            }
            Action::Note(_) => {}
            Action::Halt(why) => return self.halt(node, why),
        }
        Ok(())
    }

    fn set_timer(&mut self, node: NodeId) {
        let (now, late) = (self.now, self.plan.options.tick_late);
        let host = &mut self.hosts[place(node)];
        let Some(process) = &host.process else { return };
        let deadline = process.replica.deadline().map(|at| host.when(at).max(now + 1));
        let Some(process) = &mut host.process else { return };
        // A timer that fires too early does no harm, one that is set anew at each step would cost
        // more than the rest of the simulation.
        let set = match (deadline, process.tick_at) {
            (Some(at), Some(set)) => at < set,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if let (true, Some(at)) = (set, deadline) {
            let at = at + if late > 0 { host.rng.between(0, late) } else { 0 };
            process.tick_at = Some(at);
            let boot = host.boots;
            self.queue.push(at, Occur::Timer { node, boot, at });
        }
    }

    fn halt(&mut self, node: NodeId, why: HaltReason) -> Check {
        self.tell(node.get(), || format!("halts: {why}"));
        self.mark(&format!("halt: {}", crate::show::name(&why)));
        let host = self.host_mut(node);
        let expected = match why {
            HaltReason::Storage | HaltReason::StateStoreStalled => true,
            HaltReason::WrongDisk { .. } => host.wiped,
            _ => false,
        };
        if !expected {
            let what = format!("{node} halts without cause: {why}");
            return Err(Violation::new("no needless halt", what));
        }
        host.halted = Some(why);
        self.kill(node)
    }
}

fn halt_only(node: NodeId, out: &Outputs<Tree>) -> Check {
    let stops = out.actions.iter().any(|action| matches!(action, Action::Halt(_)));
    let talks = out.actions.iter().any(|action| {
        matches!(action, Action::Send { .. } | Action::Notify { .. } | Action::Persist { .. })
    });
    if !stops || talks {
        let what = format!("{node} goes on after its disk failed: {:?}", out.actions);
        return Err(Violation::new("HaltIsFinal (33)", what));
    }
    Ok(())
}
