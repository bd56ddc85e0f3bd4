//! One step of a process: something comes in, a list of actions goes out, is checked, and done.

use crate::check::bounds::{self, Deed};
use crate::check::epochs::Epochs;
use crate::check::{Check, Violation};
use crate::report::trace::What;
use crate::world::dice::Dice;
use crate::world::disk::DiskOp;
use crate::world::host::Process;
use crate::world::lane::Lane;
use crate::world::net::client_of;
use crate::world::reading::Wanted;
use crate::world::{Occur, World, codec, place, turn};
use zabkeeper_core::mutants::Mutant;
use zabkeeper_core::replica::{ClientRequest, Input, Outputs, Request};
use zabkeeper_core::store::{Query, Tree};
use zabkeeper_core::words::{NodeId, ReadLevel};
use zabkeeper_core::zab::{Action, Event, HaltReason, Message, Note, RoleStatus, Status};

/// How long a datagram takes that says to a node that it does not belong there.
const DENIAL: u64 = 1000;

impl World {
    pub(crate) fn deliver(&mut self, node: NodeId, event: Event) -> Check {
        self.input(node, Input::Event(event))
    }

    /// One step of a process: something comes in, a list of actions goes out.
    pub(crate) fn input(&mut self, node: NodeId, input: Input<Query>) -> Check {
        let now = self.now;
        let host = &mut self.hosts[place(node)];
        let Some(process) = &mut host.process else { return Ok(()) };
        if let Some(backlog) = &mut process.paused {
            backlog.push(input);
            return Ok(());
        }
        if process.busy_until > now || !process.held.is_empty() {
            process.held.push_back(input);
            if process.held.len() == 1 {
                let (at, boot) = (process.busy_until, host.boots);
                self.queue.push(at, Occur::Turn { node, boot });
            }
            return Ok(());
        }
        self.step(node, input)
    }

    /// One step of a process that has time for it.
    pub(crate) fn step(&mut self, node: NodeId, input: Input<Query>) -> Check {
        self.note_rounds(node, &input);
        let now = self.now;
        let host = &mut self.hosts[place(node)];
        let clock = host.clock(now);
        let Some(process) = &mut host.process else { return Ok(()) };
        let failed = matches!(input, Input::Event(Event::StorageFailed));
        let work = self.plan.options.wide.as_ref().map(|wide| turn::input(&input, wide.scale));
        let applied = process.status.applied;
        self.trace.feed(&(now, node.get()));
        if let Input::Event(event) = &input {
            self.trace.feed(event);
            if let Event::Closed(conn) = event {
                process.reads.remove(conn);
            }
            if let Event::Received { conn, msg: Message::EpochAck(ack) } = event
                && let Some(by) = self.net.peer(*conn)
            {
                self.checks.epochs.reported(node, by, ack);
            }
        }
        self.trace.keep(now, node.get(), || What::Input(crate::report::show::input(&input)));
        let mut out = Outputs::default();
        process.replica.handle(clock, input, &mut out);
        if failed {
            halt_only(node, &out)?;
        }
        let scale = self.plan.options.scale();
        let work = work.map(|work| work + turn::output(&out, scale));
        let boot = self.host(node).boots;
        self.after_step(node, out)?;
        match work {
            Some(work) => self.spend(node, boot, work, applied),
            None => Ok(()),
        }
    }

    /// What the check of linearizable reads looks at: reads that are taken, and answers to rounds.
    fn note_rounds(&mut self, node: NodeId, input: &Input<Query>) {
        match input {
            Input::Event(Event::Received { conn, msg: Message::Pong { epoch, nonce, .. } }) => {
                self.checks.rounds.pong(node, *conn, (*epoch, *nonce));
            }
            Input::Event(_) => {}
            Input::Requests(requests) => {
                let status = self.host(node).process.as_ref().map(|process| &process.status);
                let leads = |status: &&Status| matches!(status.role, RoleStatus::Leading { .. });
                let Some(epoch) = status.filter(leads).map(|status| status.current) else { return };
                let asks = |request: &&ClientRequest<Query>| {
                    let level = ReadLevel::Linearizable;
                    matches!(&request.request, Request::Read { level: of, .. } if *of == level)
                };
                for request in requests.iter().filter(asks) {
                    self.checks.rounds.take(request.ticket, self.now, epoch);
                }
            }
        }
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
            self.door_turn(node);
        }
        Ok(())
    }

    fn look_at_step(&mut self, node: NodeId, out: &Outputs<Tree>) -> Check {
        let votes = out.actions.iter().filter_map(|action| match action {
            Action::Notify { vote, .. } => Some(vote),
            _ => None,
        });
        // Two nodes cannot tell a vote for all from an answer.
        if let (Some(vote), true) = (votes.clone().next(), self.hosts.len() > 2)
            && votes.count() + 1 >= self.hosts.len()
        {
            Epochs::votes_for_no_less(vote)?;
        }
        let mut halted = false;
        for action in &out.actions {
            if halted && !matches!(action, Action::Note(_)) {
                let what = format!("{node} does {action:?} after it halted");
                return Err(Violation::new("HaltIsFinal (33)", what));
            }
            self.trace.feed(action);
            match action {
                Action::Note(note) => {
                    match note {
                        Note::PeerFault { conn, .. } if self.net.is_strange(*conn) => {
                            self.mark("a stranger is found out");
                        }
                        _ => self.checks.noted(&self.hosts, node, note)?,
                    }
                    self.needs_election(node, note)?;
                    if matches!(note, Note::Looking { .. }) {
                        self.does(node, Deed::Election)?;
                    }
                    let name = crate::report::show::mark(note);
                    if let (Note::MembershipCommitted(_), Some(process)) =
                        (note, &mut self.hosts[place(node)].process)
                    {
                        process.saw_membership = true;
                    }
                    self.spring(node, &name);
                    self.mark(&name);
                    self.trace
                        .keep(self.now, node.get(), || What::Note(crate::report::show::note(note)));
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
        process.status = status;
        if process.replica.put_off() > 0 {
            self.mark("reads put off");
        }
        let host = &self.hosts[place(node)];
        let Some(Process { status, .. }) = &host.process else { return Ok(()) };
        self.trace.feed(&(status.committed, status.applied, status.digest));
        let now = self.now;
        self.trace.see(|view| view.status(now, node, status));
        self.checks.stepped(&self.hosts, host, status)?;
        let waiting = bounds::waiting(host, status, &self.room);
        self.fits(node, waiting)
    }

    /// What waits at a machine and for its peers has room.
    fn fits(&mut self, node: NodeId, waiting: [(&'static str, u64, u64); 3]) -> Check {
        let peer = ("bytes for a peer", std::mem::take(&mut self.net.fullest), self.room.peer);
        for (what, waits, room) in waiting.into_iter().chain([peer]) {
            self.peak(what, waits * 100 / room);
            bounds::fits(node, what, waits, room)?;
        }
        Ok(())
    }

    /// A node does something that it may not do too often.
    fn does(&mut self, node: NodeId, deed: Deed) -> Check {
        let hostile = self.rates.hostile;
        let most = bounds::most(deed, &self.plan.options, hostile);
        let done = self.rates.count(node, deed, self.now);
        let what = match deed {
            Deed::Datagram if hostile => "datagrams a second among false ones",
            Deed::Datagram => "datagrams a second",
            Deed::Dial => "dials a second",
            Deed::Election => "elections a second",
            Deed::Halt => "halts a second",
        };
        self.peak(what, done * 100 / most);
        bounds::seldom(node, deed, done, most)
    }

    /// Where nothing is worse than slow, nobody needs another leader.
    fn needs_election(&mut self, node: NodeId, note: &Note) -> Check {
        let wide = self.plan.options.wide.clone();
        let fair = wide.as_ref().is_some_and(|wide| wide.fair && self.now > wide.from)
            && self.checks.epochs.newest().is_some();
        let leaves = matches!(
            note,
            Note::Established { .. } | Note::SteppedDown { .. } | Note::LeftLeader { .. }
        );
        if fair && leaves && self.quiet.is_none() {
            self.mark("needless election");
            // Where a full window takes longer than the silence that is borne, heartbeats may wait
            // behind it.
            let (rate, window) = wide.map_or((0, 0), |wide| {
                (wide.link_rate, self.plan.options.limits.window_bytes as u64 * wide.scale)
            });
            if crate::world::wide::time(window, rate) > self.plan.options.timeouts.sync {
                return Ok(());
            }
            let what = format!("nothing is worse than slow, but {node}: {note:?}");
            return Err(Violation::new("no needless election", what));
        }
        Ok(())
    }

    fn act(&mut self, node: NodeId, action: Action) -> Check {
        let now = self.now;
        let host = &mut self.hosts[place(node)];
        match action {
            Action::Notify { to, vote } => {
                self.trace.keep(now, node.get(), || What::Sent {
                    to: to.get(),
                    text: crate::report::show::vote(&vote),
                });
                self.checks.voted(host, &vote)?;
                self.does(node, Deed::Datagram)?;
                let vote = if self.plan.options.codec { codec::vote(vote) } else { vote };
                let text = self.trace.view.is_some().then(|| crate::report::show::vote(&vote));
                let going = self.net.notify(to, vote, now, &mut self.queue);
                if let Some(text) = text {
                    let sent = self.net.sent;
                    self.trace.see(|view| view.sent(sent, now, (node, to), "Vote", text, going));
                }
            }
            Action::NotifyRejected { to, .. } => {
                if !self.net.is_cut(node, to) {
                    self.queue.push(now + DENIAL, Occur::Denied { to, by: node });
                }
            }
            Action::Connect(to) => {
                self.does(node, Deed::Dial)?;
                let host = &self.hosts[place(node)];
                self.trace.keep(now, node.get(), || What::Action(format!("connect {to}")));
                self.net.dial(node, host.boots, to, now, &mut self.queue);
            }
            Action::Send { to, msg } => {
                if let Message::Ping { epoch, nonce, .. } = &msg {
                    self.checks.rounds.ping(node, (*epoch, *nonce), now);
                    for conn in &to {
                        let peer = self.net.peer(*conn);
                        peer.into_iter().for_each(|peer| self.checks.rounds.asks(*conn, peer));
                    }
                }
                for conn in to {
                    let Some(peer) = self.net.peer(conn) else { continue };
                    self.trace.keep(now, node.get(), || What::Sent {
                        to: peer.get(),
                        text: format!("{conn} {}", crate::report::show::message(&msg)),
                    });
                    self.checks.sent(&self.hosts[place(node)], peer, &msg)?;
                    if let (Message::UpToDate { epoch, commit, .. }, None) = (&msg, client_of(peer))
                    {
                        let follower = &self.hosts[place(peer)];
                        self.checks.progress.let_in(node, follower, *epoch, *commit)?;
                    }
                    let msg = match self.plan.options.codec {
                        true => codec::message(msg.clone()),
                        false => msg.clone(),
                    };
                    let seen = self.trace.view.is_some().then(|| {
                        let text = format!("{conn} {}", crate::report::show::message(&msg));
                        (crate::report::show::name(&msg), text)
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
                if let Some(process) = &mut self.hosts[place(node)].process {
                    process.reads.remove(&conn);
                }
                self.net.close(conn, now, &mut self.queue);
            }
            Action::Persist { id, record } => {
                self.trace.keep(now, node.get(), || {
                    What::Action(format!("persist {id} {}", crate::report::show::record(&record)))
                });
                self.trace
                    .see(|view| view.write(now, node, id, crate::report::show::record(&record)));
                let record = match self.plan.options.codec {
                    true => codec::stored(record),
                    false => record,
                };
                host.disk.push(DiskOp::Record(id, record));
            }
            Action::KeepLog(keep) => {
                self.covers_reads(node, keep)?;
                self.host_mut(node).disk.push(DiskOp::Keep(keep));
            }
            Action::ReadLog { conn, after, upto, max_bytes } => {
                return self.ask_log(node, Wanted { conn, after, upto, max_bytes });
            }
            Action::StageOpen(stage) => host.disk.push(DiskOp::StageOpen(stage)),
            Action::Stage { stage, items } => {
                if host.process.as_ref().is_some_and(|process| !process.parts.is_empty()) {
                    let what = format!("{node} stores a snapshot amid a checkpoint");
                    return Err(Violation::new("checkpoints are whole", what));
                }
                host.disk.push(DiskOp::Stage(stage, items));
            }
            Action::Seal { stage, at, digest } => {
                host.disk.push(DiskOp::Seal { stage, at, digest, bytes: 0 });
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
        self.mark(&format!("halt: {}", crate::report::show::name(&why)));
        self.does(node, Deed::Halt)?;
        let (now, patience) = (self.now, self.plan.options.timeouts.disk / 10 * 9);
        let host = self.host_mut(node);
        let expected = match why {
            HaltReason::Storage => true,
            // Whoever gets on, however slowly, is not hung.
            HaltReason::StateStoreStalled => host.stands(Lane::Store, now) >= patience,
            HaltReason::WrongDisk { .. } | HaltReason::OldDisk => host.wiped,
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
