//! What can happen next in a state, and what it leads to.

use super::print::Shared;
use super::turn::{Input, Turns};
use super::world::{Budget, Fate, Flow, Link, Machine, Orders, PRESENT, World};
use crate::check::{Check, Violation};
use std::collections::VecDeque;
use std::sync::Arc;
use zabkeeper_core::words::{ConnId, Instant, NodeId, Ticket, Txid};
use zabkeeper_core::zab::{Action, Event, Message, Node, RoleStatus, Submission, Upcall, Vote};

/// One thing that happens. Nodes are counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A timer fires that is due at once.
    Tick(u8),
    /// The disk completes so many writes.
    Flush(u8, u8),
    /// The first message on this way of a connection arrives.
    Deliver(u16, u8),
    /// The end of this way of a connection arrives.
    End(u16, u8),
    /// The first datagram from one node to another arrives.
    Vote(u8, u8),
    /// A connection from one node to another opens.
    Dial(u8, u8),
    /// A machine gets power.
    Start(u8),
    /// A client of this leader wants a write.
    Propose(u8),
    /// A machine loses power; so many of the writes under way survive.
    Crash(u8, u8),
    /// A connection breaks.
    Cut(u16),
    /// The first datagram from one node to another is lost.
    Lose(u8, u8),
    /// Everything that a node waits for runs out.
    Expire(u8),
}

/// So often everybody waits in vain, at most, before there is a leader again.
const WAITS: usize = 20;
/// So many steps are enough for all that one such time leads to.
const STEPS: usize = 5_000;

impl World {
    pub(super) fn machine(&self, id: NodeId) -> &Machine {
        &self.machines[place(id)]
    }

    /// Everything that can happen next, always in the same order.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let up = |node: u8| self.machines[usize::from(node)].node.is_some();
        for (i, machine) in (0..).zip(&self.machines) {
            let Some(node) = &machine.node else {
                steps.push(Step::Start(i));
                continue;
            };
            if node.deadline().is_some_and(|at| at <= PRESENT) {
                steps.push(Step::Tick(i));
            }
            let pending = machine.pending.len() as u8;
            steps.extend((1..=pending).map(|writes| Step::Flush(i, writes)));
        }
        for (conn, link) in &self.links {
            for (way, flow) in (0..).zip(&link.ways) {
                if !flow.queue.is_empty() {
                    steps.push(Step::Deliver(conn.get() as u16, way));
                }
                if flow.can_end() {
                    steps.push(Step::End(conn.get() as u16, way));
                }
            }
        }
        steps.extend(self.votes.keys().map(|(from, to)| Step::Vote(*from, *to)));
        let dials = self.dials.iter().filter(|(_, to)| up(*to));
        steps.extend(dials.map(|(from, to)| Step::Dial(*from, *to)));
        self.push_budgeted(&mut steps);
        steps
    }

    /// What can happen only so often.
    fn push_budgeted(&self, steps: &mut Vec<Step>) {
        let left = self.left;
        for (i, machine) in (0..).zip(&self.machines) {
            let Some(node) = &machine.node else { continue };
            if left.proposals > 0 && node.is_established() {
                steps.push(Step::Propose(i));
            }
            if left.crashes > 0 {
                steps.extend((0..=machine.pending.len() as u8).map(|keep| Step::Crash(i, keep)));
            }
            if left.timeouts > 0 {
                steps.push(Step::Expire(i));
            }
        }
        if left.losses > 0 {
            let alive = |link: &Link| {
                link.ways.iter().any(|way| match way.state {
                    Flow::Open => true,
                    Flow::Closed => !way.queue.is_empty(),
                    Flow::Broken | Flow::Done => false,
                })
            };
            let links = self.links.iter().filter(|(_, link)| alive(link));
            steps.extend(links.map(|(conn, _)| Step::Cut(conn.get() as u16)));
            steps.extend(self.votes.keys().map(|(from, to)| Step::Lose(*from, *to)));
        }
    }

    /// The state after a step.
    pub(super) fn after(&self, step: Step, turns: &Turns) -> Result<Self, Violation> {
        let mut next = self.clone();
        next.take(step, turns)?;
        while let Some(step) = next.prompt(turns) {
            next.take(step, turns)?;
        }
        next.seal();
        Ok(next)
    }

    /// In a state in which nothing can happen any more, and in which nobody leads: once everybody
    /// has waited in vain, perhaps several times, there is a leader.
    pub(super) fn ends_with_time(&self, turns: &Turns) -> Check {
        let mut world = self.clone();
        for _ in 0..WAITS {
            for i in 0..world.machines.len() as u8 {
                world.left = Budget { proposals: 0, crashes: 0, losses: 0, timeouts: 1 };
                world = world.after(Step::Expire(i), turns)?;
            }
            let mut rest = 0..STEPS;
            while let (Some(_), Some(step)) = (rest.next(), world.steps().first()) {
                world = world.after(*step, turns)?;
            }
            if world.serves() {
                return Ok(());
            }
        }
        let what = format!("all have waited in vain {WAITS} times, and nobody leads");
        Err(Violation::new("a state without a leader ends with time", what))
    }

    /// A step that need not wait for others, since it does not matter when it happens: a
    /// connection opens as soon as both ends are up, and is asked for again as soon as it may be.
    pub(super) fn prompt(&self, turns: &Turns) -> Option<Step> {
        if turns.orders.all_dials {
            return None;
        }
        let up = |node: u8| self.machines[usize::from(node)].node.as_ref();
        let dial = self.dials.iter().find(|(_, to)| up(*to).is_some());
        let redials = |node: &Node| {
            node.deadline().is_some_and(|at| at <= PRESENT)
                && matches!(node.status().role, RoleStatus::Following { .. })
        };
        let nodes = (0..).zip(&self.machines);
        let mut due = nodes.filter(|(_, m)| m.node.as_ref().is_some_and(redials));
        dial.map(|(from, to)| Step::Dial(*from, *to)).or_else(|| Some(Step::Tick(due.next()?.0)))
    }

    /// Does a step.
    pub(super) fn take(&mut self, step: Step, turns: &Turns) -> Check {
        match step {
            Step::Tick(i) => self.event(i, Event::Tick, turns),
            Step::Expire(i) => {
                self.left.timeouts -= 1;
                self.turn(i, &Input::Expire, turns)
            }
            Step::Flush(i, writes) => self.turn(i, &Input::Flush(writes), turns),
            Step::Deliver(conn, way) => self.deliver(ConnId::new(conn.into()), way, turns),
            Step::End(conn, way) => self.end(ConnId::new(conn.into()), way, turns),
            Step::Vote(from, to) => match self.pop_vote(from, to) {
                Some(vote) => self.event(to, Event::Notified(vote), turns),
                None => Ok(()),
            },
            Step::Lose(from, to) => {
                self.left.losses -= 1;
                self.pop_vote(from, to);
                Ok(())
            }
            Step::Dial(from, to) => self.dial(from, to, turns),
            Step::Start(i) => self.turn(i, &Input::Start, turns),
            Step::Propose(i) => self.propose(i, turns),
            Step::Crash(i, keep) => self.crash(i, keep, turns),
            Step::Cut(conn) => {
                self.left.losses -= 1;
                self.cut(ConnId::new(conn.into()));
                Ok(())
            }
        }
    }

    fn dial(&mut self, from: u8, to: u8, turns: &Turns) -> Check {
        self.dials.remove(&(from, to));
        let conn = self.free_conn(from, to);
        self.links.insert(conn, Shared::new(Link::open(from, to)));
        self.event(to, Event::Accepted(conn), turns)?;
        let to = self.machines[usize::from(to)].id;
        self.event(from, Event::Connected { conn, to }, turns)
    }

    fn cut(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        for way in link.open().ways.iter_mut().filter(|way| way.state != Flow::Done) {
            way.state = Flow::Broken;
        }
    }

    fn pop_vote(&mut self, from: u8, to: u8) -> Option<Vote> {
        let queue = self.votes.get_mut(&(from, to))?.open();
        let vote = queue.pop_front();
        if queue.is_empty() {
            self.votes.remove(&(from, to));
        }
        vote
    }

    fn deliver(&mut self, conn: ConnId, way: u8, turns: &Turns) -> Check {
        let Some(link) = self.links.get_mut(&conn) else { return Ok(()) };
        let to = link.ends[usize::from(1 - way)];
        let Some(msg) = link.open().ways[usize::from(way)].queue.pop_front() else { return Ok(()) };
        self.event(to, Event::Received { conn, msg: Message::clone(&msg) }, turns)
    }

    fn end(&mut self, conn: ConnId, way: u8, turns: &Turns) -> Check {
        let Some(link) = self.links.get_mut(&conn) else { return Ok(()) };
        let to = link.ends[usize::from(1 - way)];
        link.open().ways[usize::from(way)].finish();
        if link.is_forgotten() {
            self.links.remove(&conn);
        }
        self.event(to, Event::Closed(conn), turns)
    }

    fn propose(&mut self, i: u8, turns: &Turns) -> Check {
        self.left.proposals -= 1;
        let writes = &mut self.history.open().writes;
        let number = writes.len() as u8;
        writes.push(Fate::Open);
        let submission = Submission {
            ticket: Ticket::new(number.into()),
            body: [number].as_slice().into(),
            deadline: Instant::from_micros(u64::MAX),
            grows: false,
        };
        self.event(i, Event::Submit(vec![submission]), turns)
    }

    fn crash(&mut self, i: u8, keep: u8, turns: &Turns) -> Check {
        self.left.crashes -= 1;
        self.turn(i, &Input::Crash(keep), turns)?;
        self.votes.retain(|(_, to), _| *to != i);
        self.dials.retain(|(from, _)| *from != i);
        let conns: Vec<ConnId> =
            self.links.iter().filter(|(_, l)| l.ends.contains(&i)).map(|(conn, _)| *conn).collect();
        for conn in conns {
            self.leave(i, conn, Flow::Broken);
        }
        Ok(())
    }

    fn leave(&mut self, i: u8, conn: ConnId, how: Flow) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.open().leave(i, how);
        if link.is_forgotten() {
            self.links.remove(&conn);
        }
    }

    fn event(&mut self, i: u8, event: Event, turns: &Turns) -> Check {
        self.turn(i, &Input::Event(Box::new(event)), turns)
    }

    /// Lets a machine take its turn, checks what comes of it, and does it.
    fn turn(&mut self, i: u8, input: &Input, turns: &Turns) -> Check {
        let before = self.machines[usize::from(i)].clone();
        let id = before.id;
        let turn = turns.take(&before, input)?;
        self.machines[usize::from(i)] = turn.machine.clone();
        if let Input::Flush(_) | Input::Crash(_) = input {
            self.check_disk(&turn.machine)?;
        }
        for action in &turn.out.actions {
            match action {
                Action::Note(note) => self.check_note(id, note)?,
                Action::Persist { record, .. } => self.check_record(&before, record)?,
                _ => {}
            }
        }
        self.check_reign(id, turn.reigns)?;
        self.extend(id, turn.committed)?;
        self.answer(id, turn.applied, &turn.out.upcalls)?;
        turn.out.actions.iter().try_for_each(|action| self.act(i, id, action, turns.orders))
    }

    fn answer(&mut self, id: NodeId, applied: Txid, upcalls: &[Upcall]) -> Check {
        let mut applied = applied;
        for upcall in upcalls {
            match upcall {
                Upcall::Deliver { txid, ticket, .. } => {
                    self.check_delivery(id, applied, *txid)?;
                    applied = *txid;
                    if let Some(ticket) = ticket {
                        self.check_answer(id, *ticket, Fate::Done(*txid))?;
                    }
                }
                Upcall::Refuse { ticket, .. } => self.check_answer(id, *ticket, Fate::Refused)?,
                Upcall::Unknown(ticket) => self.check_answer(id, *ticket, Fate::Unknown)?,
                other => {
                    let what = format!("{id} asks its application for {other:?}");
                    return Err(Violation::new("outside of what is explored", what));
                }
            }
        }
        Ok(())
    }

    fn act(&mut self, i: u8, id: NodeId, action: &Action, orders: Orders) -> Check {
        match action {
            Action::Notify { to, vote } => {
                let to = place(*to) as u8;
                if self.machines[usize::from(to)].node.is_some() {
                    let empty = || Shared::new(VecDeque::new());
                    let queue = self.votes.entry((i, to)).or_insert_with(empty);
                    if queue.back() != Some(vote) {
                        let queue = queue.open();
                        if !orders.all_votes {
                            queue.clear();
                        }
                        queue.push_back(vote.clone());
                    }
                }
            }
            Action::Connect(to) => {
                self.dials.insert((i, place(*to) as u8));
            }
            Action::Send { to, msg } => {
                let msg = Arc::new(msg.clone());
                to.iter().try_for_each(|conn| self.send(i, id, *conn, &msg))?;
            }
            Action::Close { conn, .. } => self.leave(i, *conn, Flow::Closed),
            Action::Halt(why) => {
                let what = format!("{id} halts without cause: {why}");
                return Err(Violation::new("no needless halt", what));
            }
            Action::Note(_) | Action::Persist { .. } => {}
            other @ (Action::NotifyRejected { .. }
            | Action::KeepLog(_)
            | Action::ReadLog { .. }
            | Action::StageOpen(_)
            | Action::Stage { .. }
            | Action::Seal { .. }
            | Action::StageDrop(_)
            | Action::CheckpointPart { .. }
            | Action::Checkpoint(_)) => {
                let what = format!("{id} wants {other:?}");
                return Err(Violation::new("outside of what is explored", what));
            }
        }
        Ok(())
    }

    fn send(&mut self, i: u8, id: NodeId, conn: ConnId, msg: &Arc<Message>) -> Check {
        let Some(link) = self.links.get(&conn) else { return Ok(()) };
        let from = link.way_from(i);
        let to = self.machines[usize::from(link.ends[1 - from])].id;
        self.check_message(id, to, msg)?;
        if let Some(link) = self.links.get_mut(&conn)
            && link.ways[from].state == Flow::Open
        {
            link.open().ways[from].queue.push_back(msg.clone());
        }
        Ok(())
    }
}

fn place(id: NodeId) -> usize {
    id.get() as usize - 1
}
