//! A node and its application in one: what a runtime drives.

mod app;
#[cfg(feature = "mutants")]
mod planted;

pub use app::{App, LoadError};

use crate::words::{Digest, End, Instant, Now, Payload, ReadLevel, RefuseReason, Ticket, Txid};
use crate::zab::{
    Action, Actions, Body, Checkpoint, Config, Event, Node, Obstacle, Position, Recovered,
    RestoreError, SnapshotHead, Status, Submission, Upcall,
};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// What a client wants.
#[derive(Clone, PartialEq, Debug)]
pub enum Request<Q> {
    /// Replicate a command.
    Write(Payload),
    /// Read the application's state.
    Read {
        /// What.
        query: Q,
        /// How fresh.
        level: ReadLevel,
    },
}

/// A client's request at this node.
#[derive(Clone, PartialEq, Debug)]
pub struct ClientRequest<Q> {
    /// Names the request to the caller; never used twice.
    pub ticket: Ticket,
    /// When the client stops waiting.
    pub deadline: Instant,
    /// What it wants.
    pub request: Request<Q>,
}

/// Something that happened, for a replica.
#[derive(Clone, PartialEq, Debug)]
pub enum Input<Q> {
    /// An event for the node.
    Event(Event),
    /// Requests of clients, in order.
    Requests(Vec<ClientRequest<Q>>),
}

/// The outputs of one step.
#[derive(Clone, PartialEq, Debug)]
pub struct Outputs<A: App> {
    /// For the runtime, in order.
    pub actions: Vec<Action>,
    /// For clients: how their requests ended. A write that is done is on the disks of a quorum, and
    /// visible at this node.
    pub replies: Vec<(Ticket, End<A::Answer>)>,
}

impl<A: App> Outputs<A> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { actions: Vec::new(), replies: Vec::new() }
    }
}

impl<A: App> Default for Outputs<A> {
    fn default() -> Self {
        Self::new()
    }
}

/// A node and its application.
#[derive(Clone, Debug)]
pub struct Replica<A: App> {
    node: Node,
    app: A,
    /// What the application has applied. The node is ahead of it within a step.
    applied: Txid,
    /// The reads that the node has not released yet.
    queries: BTreeMap<Ticket, A::Query>,
    /// What the node wants of the application, and no step had room for yet: the application lags
    /// behind the node by that. All in order, so that each call finds the state that it is about.
    calls: VecDeque<Upcall>,
    /// The reads that it has released, and that no step had room for. What they see is newer than
    /// it must be, never older.
    readable: VecDeque<Ticket>,
    /// What this step may still answer.
    room: usize,
    /// A second state, built from a snapshot that arrives.
    incoming: Option<Incoming<A>>,
    /// Where the checkpoint stands whose changes are being read, and the digest there.
    saving: Option<(Position, Digest)>,
}

#[derive(Clone, Debug)]
struct Incoming<A> {
    app: A,
    head: SnapshotHead,
    /// False once a part could not be loaded.
    good: bool,
}

impl<A: App> Incoming<A> {
    /// About how many bytes come in all, if so many brought what is loaded by now: the leader tells
    /// what the whole takes in memory.
    fn total(&self, received: u64) -> Option<u64> {
        let (here, all) = (self.app.bytes() as u128, u128::from(self.head.bytes));
        let total = (u128::from(received) * all).checked_div(here).filter(|_| all > 0)?;
        u64::try_from(total).ok().map(|total| total.max(received))
    }
}

impl<A: App> Replica<A> {
    /// Starts a replica from what is on its disk: `app` holds the state stored at
    /// `disk.applied`. `seed` must differ at each start.
    pub fn restore(
        config: Config,
        disk: Recovered,
        app: A,
        seed: u64,
        now: Now,
    ) -> Result<(Self, Outputs<A>), RestoreError> {
        let mut actions = Actions::new();
        let applied = disk.applied.txid;
        let node = Node::restore(config, disk, seed, now, &mut actions)?;
        let mut replica = Self {
            node,
            app,
            applied,
            queries: BTreeMap::new(),
            calls: VecDeque::new(),
            readable: VecDeque::new(),
            room: 0,
            incoming: None,
            saving: None,
        };
        let mut out = Outputs::new();
        replica.run(now, actions, &mut out);
        Ok((replica, out))
    }

    /// Handles one input, appending to `out` what is to be done and answered.
    pub fn handle(&mut self, now: Now, input: Input<A::Query>, out: &mut Outputs<A>) {
        let mut actions = Actions::new();
        self.node.state_full(self.is_full());
        match input {
            Input::Event(event) => {
                if let Event::Forget(tickets) = &event {
                    self.forget(tickets);
                }
                self.node.handle(now, event, &mut actions);
            }
            Input::Requests(requests) => self.request(now, requests, &mut actions),
        }
        self.run(now, actions, out);
    }

    /// When the next [`Event::Tick`] is due: at once while a checkpoint is being read, of which
    /// each step reads a part, and while reads or what is committed wait for a step that has room
    /// for them.
    pub fn deadline(&self) -> Option<Instant> {
        match self.saving.is_some() || !self.readable.is_empty() || !self.calls.is_empty() {
            true => Some(Instant::default()),
            false => self.node.deadline(),
        }
    }

    /// What the replica does.
    pub fn status(&self) -> Status {
        let mut status = self.node.status();
        for obstacle in &mut status.obstacles {
            if let Obstacle::Installing { bytes, total: total @ None, .. } = obstacle {
                *total = self.incoming.as_ref().and_then(|incoming| incoming.total(*bytes));
            }
        }
        Status { digest: self.app.digest(), applied: self.applied, ..status }
    }

    /// The node, for checkers.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The application's state, for checkers.
    pub fn app(&self) -> &A {
        &self.app
    }

    /// True if what is committed waits for a step that has room for it.
    pub fn is_applying(&self) -> bool {
        !self.calls.is_empty()
    }

    /// How many reads wait for a step that has room for them.
    pub fn put_off(&self) -> usize {
        self.readable.len()
    }

    /// Asserts what must hold at any time.
    pub fn check(&self) {
        self.node.check();
    }

    /// Nobody waits for these any more, nor for what is committed of them and waits for a step.
    fn forget(&mut self, tickets: &[Ticket]) {
        for ticket in tickets {
            self.queries.remove(ticket);
        }
        if self.calls.is_empty() {
            return;
        }
        let gone: BTreeSet<Ticket> = tickets.iter().copied().collect();
        self.calls.retain_mut(|call| match call {
            Upcall::Deliver { ticket, .. } => {
                ticket.take_if(|ticket| gone.contains(ticket));
                true
            }
            Upcall::Refuse { ticket, .. } | Upcall::Unknown(ticket) => !gone.contains(ticket),
            _ => true,
        });
    }

    /// Sorts requests by what they need of the node.
    fn request(&mut self, now: Now, requests: Vec<ClientRequest<A::Query>>, actions: &mut Actions) {
        let (mut writes, mut reads, mut waits) = (Vec::new(), Vec::new(), Vec::new());
        let (full, led) = (self.node.is_full(), self.node.is_serving());
        for ClientRequest { ticket, deadline, request } in requests {
            match request {
                Request::Write(body) if full && self.app.grows(&body) => {
                    actions.call(Upcall::Refuse { ticket, why: RefuseReason::NoSpace });
                }
                Request::Write(body) => {
                    // Whoever leads next may have no room, and cannot tell what grows.
                    let grows = !led && self.app.grows(&body);
                    writes.push(Submission { ticket, body, deadline, grows });
                }
                Request::Read { query, level } => {
                    self.queries.insert(ticket, query);
                    match level {
                        ReadLevel::Linearizable => reads.push((ticket, deadline)),
                        ReadLevel::Local(seen) => waits.push((ticket, deadline, seen)),
                    }
                }
            }
        }
        if !writes.is_empty() {
            self.node.handle(now, Event::Submit(writes), actions);
        }
        if !reads.is_empty() {
            self.node.handle(now, Event::Read(reads), actions);
        }
        if !waits.is_empty() {
            self.node.handle(now, Event::Await(waits), actions);
        }
    }

    /// Serves the node's calls of the application, in order, until there are none.
    fn run(&mut self, now: Now, mut actions: Actions, out: &mut Outputs<A>) {
        self.room = self.node.limits().read_part.max(1);
        while self.room > 0
            && let Some(ticket) = self.readable.pop_front()
        {
            self.answer(ticket, out);
        }
        let mut effort = self.node.limits().apply_part.max(1);
        let mut bytes = self.node.limits().window_bytes.max(1);
        self.take_calls(&mut actions);
        while effort > 0
            && bytes > 0
            && let Some(call) = self.calls.pop_front()
        {
            if let Upcall::Deliver { body, .. } = &call {
                bytes = bytes.saturating_sub(body.size());
                let answer = self.serve(call, &mut actions, out);
                assert!(answer.is_none(), "an entry was answered");
                effort = effort.saturating_sub(self.app.effort());
            } else if let Some(event) = self.serve(call, &mut actions, out) {
                self.node.handle(now, event, &mut actions);
                self.take_calls(&mut actions);
            }
        }
        // Before a snapshot can take the state's place, all of it must be read.
        let all = self.incoming.is_some();
        self.save(if all { usize::MAX } else { self.node.limits().checkpoint_part }, &mut actions);
        out.actions.append(&mut actions.actions);
    }

    /// Puts what the node wants behind what it wanted before.
    fn take_calls(&mut self, actions: &mut Actions) {
        let calls = core::mem::take(&mut actions.upcalls);
        if self.calls.is_empty() {
            self.calls = calls.into();
        } else {
            self.calls.extend(calls);
        }
    }

    /// True if the state, with what is under way, has as many bytes as it may.
    fn is_full(&self) -> bool {
        let bytes = self.app.bytes().saturating_add(self.node.waiting_bytes());
        bytes >= self.node.limits().state_bytes
    }

    /// Reads the next part of a checkpoint, if there is one, and hands it over.
    fn save(&mut self, max: usize, to: &mut Actions) {
        if self.node.is_halted() {
            // Nothing follows a halt.
            self.saving = None;
        }
        let Some((at, digest)) = self.saving else { return };
        let (changes, last) = self.app.read_changes(max);
        if !last {
            to.actions.push(Action::CheckpointPart { at: at.txid, changes });
            return;
        }
        self.saving = None;
        let stamp = (at, digest);
        let (at, digest) = planted!(self.node, StampCheckpointLate, stamp => self.late_stamp(at));
        to.actions.push(Action::Checkpoint(Checkpoint { at, digest, changes }));
    }

    /// Serves one call; some want an answer.
    fn serve(&mut self, call: Upcall, to: &mut Actions, out: &mut Outputs<A>) -> Option<Event> {
        match call {
            Upcall::Deliver { txid, time, body, ticket } => {
                self.applied = txid;
                let Body::Command(command) = body else {
                    return None;
                };
                let answer = self.app.apply(txid, time, &command);
                if let Some(ticket) = ticket {
                    out.replies.push((ticket, End::Done { txid, answer }));
                }
            }
            Upcall::Readable(ticket) => {
                if self.room > 0 {
                    self.answer(ticket, out);
                } else if self.readable.len() < self.node.limits().pending_requests {
                    self.readable.push_back(ticket);
                } else if self.queries.remove(&ticket).is_some() {
                    out.replies.push((ticket, End::Refused(RefuseReason::Busy)));
                }
            }
            Upcall::Refuse { ticket, why } => {
                self.queries.remove(&ticket);
                out.replies.push((ticket, End::Refused(why)));
            }
            Upcall::Unknown(ticket) => out.replies.push((ticket, End::Unknown)),
            Upcall::OpenSnapshot(conn) => {
                self.app.open_snapshot(conn);
                let (digest, bytes) = (self.app.digest(), self.app.bytes() as u64);
                return Some(Event::SnapshotOpened { conn, digest, bytes });
            }
            Upcall::ReadSnapshot { conn, max_bytes } => {
                let (items, last) = self.app.read_snapshot(conn, max_bytes);
                return Some(Event::SnapshotRead { conn, items, last });
            }
            Upcall::CloseSnapshot(conn) => self.app.close_snapshot(conn),
            Upcall::BeginInstall(head) => {
                self.save(usize::MAX, to);
                let app = planted!(self.node, SnapshotOverlays, A::empty() => self.app.clone());
                self.incoming = Some(Incoming { app, head, good: true });
            }
            Upcall::InstallItems(items) => {
                if let Some(incoming) = &mut self.incoming {
                    let mut items = items.iter();
                    incoming.good &=
                        items.all(|item| incoming.app.load(&item.key, &item.value).is_ok());
                }
            }
            Upcall::VerifyInstall(stage) => {
                return Some(Event::SnapshotVerified { stage, good: self.verify_incoming() });
            }
            Upcall::FinishInstall => {
                if let Some(incoming) = self.incoming.take() {
                    self.app = incoming.app;
                    self.applied = incoming.head.at.txid;
                }
            }
            Upcall::AbortInstall => self.incoming = None,
            Upcall::Checkpoint(at) => {
                self.app.begin_changes();
                self.node.weigh(self.app.bytes());
                self.saving = Some((at, self.app.digest()));
            }
        }
        None
    }

    /// Answers a read, unless nobody waits for it any more.
    fn answer(&mut self, ticket: Ticket, out: &mut Outputs<A>) {
        if let Some(query) = self.queries.remove(&ticket) {
            let answer = self.app.query(&query);
            self.room = self.room.saturating_sub(A::weight(&answer));
            out.replies.push((ticket, End::Done { txid: self.applied, answer }));
        }
    }

    fn verify_incoming(&mut self) -> bool {
        self.incoming.as_mut().is_some_and(|incoming| {
            incoming.good
                && incoming.app.finish_load(incoming.head.at.txid).is_ok()
                && planted!(
                    self.node,
                    SnapshotOverlays,
                    incoming.app.digest() == incoming.head.digest => true
                )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Command, Path, Tree};
    use crate::words::{ConnId, Epoch, WallTime};
    use crate::zab::{Item, Membership};
    use alloc::sync::Arc;

    #[test]
    fn how_much_of_a_state_is_still_to_come_is_known_while_it_comes() {
        let mut whole = Tree::empty();
        for n in 0..100_u8 {
            let path = Path::parse(&alloc::format!("/key{n}")).unwrap();
            let set = Command::Set { path, value: alloc::vec![n; 50].into() };
            let txid = Txid::new(Epoch::new(1), u64::from(n) + 1).unwrap();
            whole.change(txid, WallTime::default(), &set.encode()).unwrap();
        }
        let conn = ConnId::new(1);
        whole.open_snapshot(conn);
        let (items, _) = whole.read_snapshot(conn, usize::MAX);
        let stream = |items: &[Item]| items.iter().map(|it| it.key.len() + it.value.len()).sum();
        let all: usize = stream(&items);
        let membership = Arc::new(Membership::new(Txid::ZERO, BTreeMap::new()));
        let (at, bytes) = (Position::ZERO, whole.bytes() as u64);
        let head = SnapshotHead { at, membership, digest: whole.digest(), bytes };
        let mut incoming = Incoming { app: Tree::empty(), head, good: true };
        assert_eq!(incoming.total(0), None, "nothing is here");
        let half: &[Item] = &items[..50];
        half.iter().for_each(|item| incoming.app.load(&item.key, &item.value).unwrap());
        let received: usize = stream(half);
        let total = incoming.total(received as u64).unwrap() as usize;
        assert!(total.abs_diff(all) < all / 20, "{total} are not about {all}");
        incoming.head.bytes = 0;
        assert_eq!(incoming.total(received as u64), None, "the leader does not say");
        incoming.head.bytes = u64::MAX;
        assert!(incoming.total(u64::MAX).is_none(), "nor does one that lies");
    }
}
