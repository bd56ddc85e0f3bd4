//! A node among peers that say anything at all: whatever they do, it neither panics nor breaks its
//! own invariants. What the runtime owes the core is kept: connections are opened before they are
//! used, writes complete in their order, the application is a real one.

mod messages;

use crate::input::Input;
use messages::Messages;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use zabkeeper_core::replica::{ClientRequest, Outputs, Replica, Request};
use zabkeeper_core::store::{Command, Path, Query, Tree};
use zabkeeper_core::words::{
    ConnId, Incarnation, Instant, Micros, NodeId, Now, ReadLevel, Ticket, Txid, WallTime, WriteId,
};
use zabkeeper_core::zab::{
    Action, Base, Config, Event, Identity, Image, Member, Membership, Recovered,
};

/// Steps of one input at most.
const STEPS: usize = 400;

/// Drives node 1 of three by the bytes of the input.
pub fn node_events(input: &[u8]) {
    reached(input);
}

/// The same; returns the transitions that the node went through, to see how far inputs come.
pub fn reached(input: &[u8]) -> BTreeSet<String> {
    let mut input = Input(input);
    let mut driver = Driver::new(&mut input);
    for _ in 0..STEPS {
        if input.is_empty() || driver.halted {
            break;
        }
        driver.step(&mut input);
    }
    driver.reached
}

struct Driver {
    replica: Replica<Tree>,
    messages: Messages,
    now: u64,
    /// Open connections, and how many messages came on each.
    conns: BTreeMap<ConnId, u8>,
    /// Peers that the node wants to reach.
    wanted: VecDeque<NodeId>,
    last_conn: u64,
    last_ticket: u64,
    /// Tickets without an answer.
    open: BTreeSet<Ticket>,
    /// What was issued to the disk and has not completed.
    writes: VecDeque<WriteId>,
    checkpoints: VecDeque<Txid>,
    /// What the disk is asked for of its log.
    reads: VecDeque<(ConnId, Txid, Txid)>,
    /// What the disk will hold: issued records must follow each other.
    issued: Image,
    halted: bool,
    reached: BTreeSet<String>,
}

impl Driver {
    fn new(input: &mut Input<'_>) -> Self {
        let member = |id: u32| {
            let member = Member {
                voter: true,
                incarnation: None,
                life: None,
                election_addr: format!("e{id}"),
                message_addr: format!("m{id}"),
            };
            (NodeId::new(id), member)
        };
        let voters = if input.flag() { 3 } else { 1 + input.below(5) as u32 };
        let members: BTreeMap<NodeId, Member> = (1..=voters).map(member).collect();
        let membership = Arc::new(Membership::new(Txid::ZERO, members));
        let node = NodeId::new(1);
        let identity =
            Identity { cluster: membership.cluster_id(), node, incarnation: Incarnation::new(1) };
        let mut config = Config::new(node);
        if input.flag() {
            // Small limits bring what is rare.
            config.limits.retain_bytes = 300;
            config.limits.checkpoint_bytes = 300;
            config.limits.window_bytes = 300;
            config.limits.message_bytes = 120;
            config.limits.pending_requests = 4;
            config.limits.counter_max = 6;
        }
        let fresh = Recovered::fresh(identity, membership.clone());
        let base = Base { at: Default::default(), membership: membership.clone() };
        let now = Now { at: Instant::from_micros(1), wall: WallTime::from_millis(1) };
        let restored = Replica::restore(config, fresh, Tree::default(), 7, now);
        let (replica, out) = restored.expect("a fresh disk is in order");
        let mut driver = Self {
            replica,
            messages: Messages::new(membership),
            now: 1,
            conns: BTreeMap::new(),
            wanted: VecDeque::new(),
            last_conn: 0,
            last_ticket: 0,
            open: BTreeSet::new(),
            writes: VecDeque::new(),
            checkpoints: VecDeque::new(),
            reads: VecDeque::new(),
            issued: Image::new(base),
            halted: false,
            reached: BTreeSet::new(),
        };
        driver.take(out);
        driver
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(20) {
            0 => self.now += input.number().min(10_000_000),
            1 => self.tick(),
            2 | 3 => self.complete_writes(input),
            4 if !self.reads.is_empty() => self.read(),
            4 => {
                if let Some(at) = self.checkpoints.pop_front() {
                    self.event(Event::Checkpointed(at));
                }
            }
            5 => self.accept(),
            6 => self.answer_dial(input),
            7 => {
                if let Some(conn) = self.some_conn(input) {
                    self.conns.remove(&conn);
                    self.event(Event::Closed(conn));
                }
            }
            8 => {
                let vote = self.messages.vote(input, self.replica.node());
                self.event(Event::Notified(vote));
            }
            9 if input.byte() == 0 => {
                self.event(Event::Denied(NodeId::new(1 + input.below(4) as u32)))
            }
            9 => self.elect(input),
            10 => self.ask(input),
            11 if input.byte() == 77 => {
                self.event(Event::StorageFailed);
                assert!(self.halted, "a failed disk ends the node");
            }
            11 => {
                let tickets = self.open.iter().copied().take(1 + input.below(3)).collect();
                self.open = self.open.difference(&tickets).copied().collect();
                self.event(Event::Forget(tickets.into_iter().collect()));
            }
            _ => self.receive(input),
        }
    }

    fn receive(&mut self, input: &mut Input<'_>) {
        let Some(conn) = self.some_conn(input) else { return };
        // The peers wait for what waits for the disk, mostly.
        if input.below(4) > 0 {
            self.persist(self.writes.len());
        }
        let Some(seen) = self.conns.get_mut(&conn) else { return };
        let before = *seen;
        *seen = seen.saturating_add(1);
        let msg = self.messages.likely(input, self.replica.node(), before);
        self.event(Event::Received { conn, msg });
    }

    /// Lets time pass up to the node's deadline, an hour at most.
    fn tick(&mut self) {
        if let Some(at) = self.replica.deadline() {
            self.now = self.now.max(at.as_micros().min(self.now + 3_600_000_000));
        }
        self.event(Event::Tick);
    }

    /// Two peers agree on a leader, as they would without faults.
    fn elect(&mut self, input: &mut Input<'_>) {
        let leader = NodeId::new([1, 1, 2, 3][input.below(4)]);
        for from in [2, 3] {
            let vote = self.messages.agree(NodeId::new(from), leader, self.replica.node());
            self.event(Event::Notified(vote));
        }
        self.tick();
    }

    /// Answers what the disk is asked for: with what a restart would find, if it reaches so far.
    fn read(&mut self) {
        let Some((conn, after, upto)) = self.reads.pop_front() else { return };
        let from = self.issued.log.floor(after);
        let entries = match from {
            Some(from) => self.issued.log.batch(from.txid, upto, 100),
            None => Vec::new(),
        };
        self.event(Event::LogRead { conn, from, entries });
    }

    fn complete_writes(&mut self, input: &mut Input<'_>) {
        self.persist(1 + input.below(4));
    }

    /// Completes up to so many writes.
    fn persist(&mut self, count: usize) {
        let count = count.min(self.writes.len());
        let done = self.writes.drain(..count).next_back();
        if let Some(last) = done {
            self.event(Event::Persisted(last));
        }
    }

    fn accept(&mut self) {
        let conn = self.new_conn();
        self.event(Event::Accepted(conn));
    }

    fn answer_dial(&mut self, input: &mut Input<'_>) {
        let Some(to) = self.wanted.pop_front() else { return };
        if input.below(8) == 7 {
            let refused = input.flag();
            return self.event(match refused {
                true => Event::ConnectRefused(to),
                false => Event::ConnectFailed(to),
            });
        }
        let conn = self.new_conn();
        self.event(Event::Connected { conn, to });
    }

    fn ask(&mut self, input: &mut Input<'_>) {
        let at =
            Instant::from_micros(self.now).after(Micros::new(input.number().saturating_mul(1000)));
        let count = 1 + input.below(3);
        let requests = (0..count).map(|_| {
            self.last_ticket += 1;
            let ticket = Ticket::new(self.last_ticket);
            self.open.insert(ticket);
            let path = Path::parse("k").expect("a path");
            let request = match input.below(4) {
                0 => Request::Read { query: Query::Get { path }, level: ReadLevel::Linearizable },
                1 => {
                    let seen = self.messages.txid(input, self.replica.node());
                    Request::Read { query: Query::Get { path }, level: ReadLevel::Local(seen) }
                }
                2 => Request::Write(input.bytes().into()),
                _ => Request::Write(Command::Set { path, value: input.bytes().into() }.encode()),
            };
            ClientRequest { ticket, deadline: at, request }
        });
        let requests = requests.collect();
        self.input(zabkeeper_core::replica::Input::Requests(requests));
    }

    fn new_conn(&mut self) -> ConnId {
        self.last_conn += 1;
        let conn = ConnId::new(self.last_conn);
        self.conns.insert(conn, 0);
        conn
    }

    /// An open connection, mostly one of the newest.
    fn some_conn(&self, input: &mut Input<'_>) -> Option<ConnId> {
        let back = match input.byte() {
            250.. => input.below(256),
            small => usize::from(small % 2),
        };
        self.conns.keys().rev().nth(back).or(self.conns.keys().next_back()).copied()
    }

    fn event(&mut self, event: Event) {
        self.input(zabkeeper_core::replica::Input::Event(event));
    }

    fn input(&mut self, input: zabkeeper_core::replica::Input<Query>) {
        self.now += 1;
        let wall = WallTime::from_millis(self.now / 1000);
        let now = Now { at: Instant::from_micros(self.now), wall };
        let mut out = Outputs::default();
        self.replica.handle(now, input, &mut out);
        self.take(out);
        self.replica.check();
    }

    fn take(&mut self, out: Outputs<Tree>) {
        for action in out.actions {
            assert!(!self.halted || matches!(action, Action::Note(_)), "{action:?} after the halt");
            match action {
                Action::Connect(to) => self.wanted.push_back(to),
                Action::Close { conn, .. } => {
                    assert!(
                        self.conns.remove(&conn).is_some(),
                        "{conn} is closed and was not open"
                    );
                }
                Action::Persist { id, record } => {
                    self.issued.apply(&record).expect("records follow each other");
                    self.writes.push_back(id);
                }
                Action::ReadLog { conn, after, upto, .. } => {
                    self.reads.push_back((conn, after, upto));
                }
                Action::Checkpoint(checkpoint) => self.checkpoints.push_back(checkpoint.at.txid),
                Action::Note(note) => {
                    let name = format!("{note:?}");
                    let end = name.find(|c: char| !c.is_alphanumeric()).unwrap_or(name.len());
                    self.reached.insert(name[..end].to_owned());
                }
                Action::Halt(_) => {
                    self.halted = true;
                    self.reached.insert("Halt".to_owned());
                }
                Action::Notify { to, vote } => self.messages.heard(to, vote.stamp),
                Action::Send { to, .. } => assert!(!to.is_empty(), "a message to nobody"),
                _ => {}
            }
        }
        for (ticket, _) in out.replies {
            assert!(self.open.remove(&ticket), "{ticket} was answered and nobody waited");
        }
    }
}
