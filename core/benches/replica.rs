//! What one event costs at a replica: `cargo bench -p zabkeeper-core --bench replica`. Three
//! replicas agree; each bench drives one of them through the events of one write or read.

use divan::{Bencher, black_box};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use zabkeeper_core::replica::{ClientRequest, Input, Outputs, Replica, Request};
use zabkeeper_core::store::{Answer, Command, Path, Query, Tree};
use zabkeeper_core::words::{
    ConnId, End, Incarnation, Instant, NodeId, Now, ReadLevel, Ticket, Txid, WallTime,
};
use zabkeeper_core::zab::{
    Action, Config, Event, Identity, Member, Membership, Message, Recovered, RoleStatus,
};

fn main() {
    divan::main();
}

/// What is on its way: an event for a replica.
type Due = (usize, Event);

/// Replicas whose network and disks do everything at once, and nothing else.
struct Ensemble {
    replicas: Vec<Replica<Tree>>,
    due: VecDeque<Due>,
    /// Both ends of each connection: the one that dialled has the even number.
    conns: BTreeMap<ConnId, (usize, ConnId)>,
    now: u64,
    ticket: u64,
    replies: Vec<End<Answer>>,
}

impl Ensemble {
    /// So many replicas with an established leader; returns where it is.
    fn new(nodes: u32) -> (Self, usize) {
        let member = |id: u32| {
            let addr = format!("n{id}");
            let member = Member {
                voter: true,
                incarnation: None,
                life: None,
                election_addr: addr.clone(),
                message_addr: addr,
            };
            (NodeId::new(id), member)
        };
        let membership = Membership::new(Txid::ZERO, (1..=nodes).map(member).collect());
        let membership = Arc::new(membership);
        let mut ensemble = Self {
            replicas: Vec::new(),
            due: VecDeque::new(),
            conns: BTreeMap::new(),
            now: 1,
            ticket: 0,
            replies: Vec::new(),
        };
        for id in 1..=nodes {
            let identity = Identity {
                cluster: membership.cluster_id(),
                node: NodeId::new(id),
                incarnation: Incarnation::new(u64::from(id)),
            };
            let disk = Recovered::fresh(identity, membership.clone());
            let config = Config::new(NodeId::new(id));
            let seed = u64::from(id);
            let restored = Replica::restore(config, disk, Tree::default(), seed, ensemble.clock());
            let (replica, out) = restored.expect("a fresh disk");
            ensemble.replicas.push(replica);
            ensemble.take(id as usize - 1, out);
        }
        let leader = loop {
            ensemble.run();
            let leads =
                |r: &Replica<Tree>| r.status().role == RoleStatus::Leading { established: true };
            let serves = |r: &Replica<Tree>| {
                matches!(r.status().role, RoleStatus::Following { serving: true, .. })
            };
            if ensemble.replicas.iter().all(|r| leads(r) || serves(r)) {
                break ensemble.replicas.iter().position(leads).expect("a leader");
            }
            ensemble.tick();
        };
        (ensemble, leader)
    }

    fn clock(&self) -> Now {
        Now { at: Instant::from_micros(self.now), wall: WallTime::from_millis(1) }
    }

    /// Lets the next timer fire.
    fn tick(&mut self) {
        let deadlines = self.replicas.iter().filter_map(|replica| replica.deadline());
        let next = deadlines.min().expect("a timer");
        self.now = self.now.max(next.as_micros());
        for node in 0..self.replicas.len() {
            self.due.push_back((node, Event::Tick));
        }
    }

    fn run(&mut self) {
        while let Some((node, event)) = self.due.pop_front() {
            self.step(node, event);
        }
    }

    fn step(&mut self, node: usize, event: Event) {
        let (now, mut out) = (self.clock(), Outputs::new());
        self.replicas[node].handle(now, Input::Event(event), &mut out);
        self.take(node, out);
    }

    fn take(&mut self, node: usize, out: Outputs<Tree>) {
        for action in out.actions {
            match action {
                Action::Notify { to, vote } => {
                    self.due.push_back((to.get() as usize - 1, Event::Notified(vote)));
                }
                Action::Connect(to) => self.connect(node, to),
                Action::Send { to, msg } => self.send(to, &msg),
                Action::Close { conn, .. } => {
                    if let Some((peer, other)) = self.conns.remove(&conn) {
                        self.conns.remove(&other);
                        self.due.push_back((peer, Event::Closed(other)));
                    }
                }
                Action::Persist { id, .. } => self.due.push_back((node, Event::Persisted(id))),
                Action::Checkpoint(checkpoint) => {
                    let at = checkpoint.at.txid;
                    self.due.push_back((node, Event::Checkpointed(at)));
                }
                _ => {}
            }
        }
        self.replies.extend(out.replies.into_iter().map(|(_, reply)| reply));
    }

    fn connect(&mut self, from: usize, to: NodeId) {
        let peer = to.get() as usize - 1;
        let conn = ConnId::new(2 * self.now + self.conns.len() as u64 * 2);
        let other = ConnId::new(conn.get() + 1);
        self.now += 1;
        self.conns.insert(conn, (peer, other));
        self.conns.insert(other, (from, conn));
        self.due.push_back((peer, Event::Accepted(other)));
        self.due.push_back((from, Event::Connected { conn, to }));
    }

    fn send(&mut self, to: Vec<ConnId>, msg: &Message) {
        for conn in to {
            if let Some((peer, other)) = self.conns.get(&conn) {
                let event = Event::Received { conn: *other, msg: msg.clone() };
                self.due.push_back((*peer, event));
            }
        }
    }

    /// Asks a replica, and lets the ensemble answer.
    fn ask(&mut self, node: usize, requests: &[Request<Query>]) -> Vec<End<Answer>> {
        let deadline = Instant::from_micros(u64::MAX);
        let requests = requests.iter().map(|request| {
            self.ticket += 1;
            ClientRequest { ticket: Ticket::new(self.ticket), deadline, request: request.clone() }
        });
        let requests = requests.collect();
        let (now, mut out) = (self.clock(), Outputs::new());
        self.replicas[node].handle(now, Input::Requests(requests), &mut out);
        self.take(node, out);
        self.run();
        std::mem::take(&mut self.replies)
    }
}

fn writes(count: usize) -> Vec<Request<Query>> {
    let value: &[u8] = &[7; 256];
    let write = |key| {
        let path = Path::parse(&format!("bench/k{key:08}")).expect("a path");
        Request::Write(Command::Set { path, value: value.into() }.encode())
    };
    (0..count).map(write).collect()
}

fn measure(bencher: Bencher<'_, '_>, nodes: u32, requests: &[Request<Query>]) {
    let (mut ensemble, leader) = Ensemble::new(nodes);
    assert_eq!(ensemble.ask(leader, &writes(1)).len(), 1);
    bencher.counter(divan::counter::ItemsCount::new(requests.len())).bench_local(|| {
        let replies = ensemble.ask(leader, requests);
        assert_eq!(replies.len(), requests.len());
        black_box(replies)
    });
}

/// All events of a batch of writes at all replicas: request, proposal, flushes, acknowledgements,
/// commit, apply, answer.
#[divan::bench(args = [1, 64])]
fn writes_through_three_replicas(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, 3, &writes(count));
}

/// The same where one voter is a quorum.
#[divan::bench(args = [1, 64])]
fn writes_through_one_replica(bencher: Bencher<'_, '_>, count: usize) {
    measure(bencher, 1, &writes(count));
}

/// A round of heartbeats and the answers.
#[divan::bench(args = [1, 64])]
fn linearizable_reads(bencher: Bencher<'_, '_>, count: usize) {
    let path = Path::parse("bench/k00000000").expect("a path");
    let read = Request::Read { query: Query::Get { path }, level: ReadLevel::Linearizable };
    measure(bencher, 3, &vec![read; count]);
}
