//! What the words of peers and strangers can do to a node: cost a connection, at most.

use std::collections::BTreeMap;
use std::sync::Arc;
use zabkeeper_core::words::{
    ConnId, Epoch, Incarnation, Instant, Life, Micros, NodeId, Now, RefuseReason, Round, Ticket,
    Txid, WallTime,
};
use zabkeeper_core::zab::{
    Action, Actions, Body, Candidate, CloseReason, Config, Entry, EpochAck, Event, FollowerInfo,
    Forwarded, HaltReason, Identity, Lives, Member, Membership, Message, Node, Note, Origin,
    PeerFault, Position, Promise, Recorded, Recovered, Rejection, RoleStatus, Stamp, Stance,
    Unready, Vote,
};

const C1: ConnId = ConnId::new(1);
const C2: ConnId = ConnId::new(2);

fn n(id: u32) -> NodeId {
    NodeId::new(id)
}

fn e(epoch: u64) -> Epoch {
    Epoch::new(epoch)
}

fn t(epoch: u64, counter: u64) -> Txid {
    Txid::new(e(epoch), counter).unwrap()
}

/// One of three nodes, on a disk that needs no time unless it is held.
struct Bench {
    node: Node,
    now: u64,
    actions: Vec<Action>,
    asked: BTreeMap<NodeId, u64>,
    votes: u64,
    hold_disk: bool,
}

fn membership(known: bool, voters: &[u32]) -> Membership {
    let member = |id: &u32| Member {
        voter: true,
        incarnation: known.then(|| Incarnation::new(u64::from(*id))),
        life: known.then(|| Recorded { at: t(1, 1), life: Life::new(u64::from(*id)) }),
        election_addr: format!("host{id}:1"),
        message_addr: format!("host{id}:2"),
    };
    let version = if known { t(1, 1) } else { Txid::ZERO };
    Membership::new(version, voters.iter().map(|id| (n(*id), member(id))).collect())
}

impl Bench {
    fn new(id: u32) -> Self {
        Self::with_voters(id, &[1, 2, 3])
    }

    /// A node of an ensemble that has formed with these voters.
    fn with_voters(id: u32, voters: &[u32]) -> Self {
        let initial = membership(false, &[1, 2, 3]);
        let formed = Body::Membership(Arc::new(membership(true, voters)));
        let entry = Entry::new(Position::ZERO, t(1, 1), WallTime::default(), None, formed);
        let identity = Identity {
            cluster: initial.cluster_id(),
            node: n(id),
            incarnation: Incarnation::new(u64::from(id)),
        };
        let disk = Recovered {
            promise: Some(Promise { epoch: e(1), leader: n(3) }),
            current: e(1),
            committed: t(1, 1),
            entries: vec![entry],
            ..Recovered::fresh(identity, Arc::new(initial))
        };
        Self::restored(disk)
    }

    /// A node with an empty disk, of which it does not know that the ensemble knows another.
    fn wiped(id: u32) -> Self {
        let initial = membership(false, &[1, 2, 3]);
        let identity = Identity {
            cluster: initial.cluster_id(),
            node: n(id),
            incarnation: Incarnation::new(99),
        };
        Self::restored(Recovered::fresh(identity, Arc::new(initial)))
    }

    fn restored(disk: Recovered) -> Self {
        let mut config = Config::new(disk.identity.node);
        config.limits.command_bytes = 100;
        let mut out = Actions::new();
        let node = Node::restore(config, disk, 7, at(0), &mut out).unwrap();
        let mut bench = Self {
            node,
            now: 0,
            actions: Vec::new(),
            asked: BTreeMap::new(),
            votes: 0,
            hold_disk: false,
        };
        bench.collect(out);
        bench
    }

    fn event(&mut self, event: Event) {
        let mut out = Actions::new();
        self.node.handle(at(self.now), event, &mut out);
        self.node.check();
        self.collect(out);
    }

    fn collect(&mut self, out: Actions) {
        let mut written = None;
        for action in &out.actions {
            match action {
                Action::Persist { id, .. } => written = Some(*id),
                Action::Notify { to, vote } => {
                    self.asked.insert(*to, vote.stamp.asks);
                }
                _ => {}
            }
        }
        self.actions.extend(out.actions);
        if let Some(upto) = written.filter(|_| !self.hold_disk) {
            self.event(Event::Persisted(upto));
        }
    }

    fn pass(&mut self, millis: u64) {
        let until = self.now + millis * 1000;
        while let Some(at) = self.node.deadline().filter(|at| at.as_micros() <= until) {
            self.now = self.now.max(at.as_micros());
            self.event(Event::Tick);
        }
        self.now = until;
    }

    fn receive(&mut self, conn: ConnId, msg: Message) {
        self.event(Event::Received { conn, msg });
    }

    fn vote(&mut self, from: u32, leader: u32, round: u64, stance: Stance) {
        self.votes += 1;
        let claim = |id| Candidate { epoch: e(1), txid: t(1, 1), node: n(id) };
        let vote = Vote {
            from: n(from),
            cluster: membership(false, &[1, 2, 3]).cluster_id(),
            incarnation: Incarnation::new(u64::from(from)),
            stance,
            round: Round::new(round),
            candidate: claim(leader),
            own: claim(from),
            abstains: false,
            hears: true,
            membership: t(1, 1),
            lives: Lives::first(Life::new(u64::from(from))),
            stamp: Stamp {
                boot: u64::from(from),
                seq: self.votes,
                asks: 1,
                answers: self.asked.get(&n(from)).copied().unwrap_or_default(),
            },
        };
        self.event(Event::Notified(vote));
    }

    /// Node 3 in office, with node 2 up to date.
    fn established() -> Self {
        let mut bench = Self::new(3);
        bench.vote(2, 3, 1, Stance::Looking);
        bench.pass(60);
        bench.event(Event::Accepted(C1));
        bench.receive(C1, Message::FollowerInfo(info(2)));
        let last = bench.node.log().last();
        bench.receive(C1, Message::EpochAck(ack(last)));
        bench.receive(C1, Message::NewLeaderAck { epoch: e(2), end: last.txid, full: false });
        assert_eq!(bench.role(), RoleStatus::Leading { established: true });
        bench.actions.clear();
        bench
    }

    /// Node 1, which has been told that node 3 leads epoch 2, and is connected to it.
    fn joining() -> Self {
        let mut bench = Self::new(1);
        bench.hear_of_the_leader();
        bench.event(Event::Connected { conn: C1, to: n(3) });
        bench
    }

    fn hear_of_the_leader(&mut self) {
        self.vote(3, 3, 4, Stance::Leading(Some(e(2))));
        self.vote(2, 3, 4, Stance::Following(Some(e(2))));
    }

    fn role(&self) -> RoleStatus {
        self.node.status().role
    }

    fn count(&self, wanted: impl Fn(&Action) -> bool) -> usize {
        self.actions.iter().filter(|action| wanted(action)).count()
    }
}

fn at(micros: u64) -> Now {
    Now { at: Instant::from_micros(micros), wall: WallTime::from_millis(1) }
}

fn info(id: u32) -> FollowerInfo {
    FollowerInfo {
        node: n(id),
        cluster: membership(false, &[1, 2, 3]).cluster_id(),
        incarnation: Incarnation::new(u64::from(id)),
        lives: Lives::first(Life::new(u64::from(id))),
        accepted: e(1),
        membership: t(1, 1),
        versions: (1, 1),
        client_addr: String::new(),
    }
}

fn ack(last: Position) -> EpochAck {
    EpochAck {
        epoch: e(2),
        counted: true,
        current: e(1),
        last,
        base: Txid::ZERO,
        commit: t(1, 1),
        staged: None,
    }
}

fn leader_info(epoch: u64, ping: u64, sync: u64) -> Message {
    Message::LeaderInfo {
        epoch: e(epoch),
        client_addr: String::new(),
        ping: Micros::millis(ping),
        sync: Micros::millis(sync),
    }
}

#[test]
fn a_promise_that_no_election_led_to_costs_its_connection_and_nothing_else() {
    for accepted in [u64::MAX, u64::MAX - 1, 1 << 40, 1 << 21] {
        let mut bench = Bench::established();
        bench.event(Event::Accepted(C2));
        bench.receive(C2, Message::FollowerInfo(FollowerInfo { accepted: e(accepted), ..info(1) }));
        let why = CloseReason::Fault(PeerFault::EpochTooFar(e(accepted)));
        assert!(bench.actions.contains(&Action::Close { conn: C2, why }));
        bench.receive(C1, Message::EpochNack { accepted: e(accepted) });
        let why = CloseReason::Fault(PeerFault::EpochTooFar(e(accepted)));
        assert!(bench.actions.contains(&Action::Close { conn: C1, why }));
        assert_eq!(bench.role(), RoleStatus::Leading { established: true });
        assert_eq!(bench.node.status().accepted, e(2));
    }
    // A leader's word neither makes a node promise what leaves no epochs.
    let mut bench = Bench::joining();
    bench.receive(C1, leader_info(u64::MAX, 100, 800));
    assert_eq!(bench.node.status().accepted, e(1));
}

#[test]
fn a_history_that_cannot_be_costs_its_connection_and_nothing_else() {
    let mut bench = Bench::established();
    bench.event(Event::Accepted(C2));
    bench.receive(C2, Message::FollowerInfo(info(1)));
    let last = Position { txid: t(9, 1), ..Position::ZERO };
    bench.receive(C2, Message::EpochAck(ack(last)));
    let why = CloseReason::Fault(PeerFault::Claim(t(9, 1)));
    assert!(bench.actions.contains(&Action::Close { conn: C2, why }));
    assert_eq!(bench.role(), RoleStatus::Leading { established: true });
}

#[test]
fn strangers_are_told_neither_disks_nor_lists() {
    let mut bench = Bench::established();
    let strangers = [
        FollowerInfo { cluster: zabkeeper_core::words::ClusterId::new(5), ..info(1) },
        FollowerInfo { incarnation: Incarnation::new(77), ..info(1) },
        FollowerInfo { versions: (8, 9), ..info(1) },
        info(7),
        info(3),
    ];
    let mut told = Vec::new();
    for (number, info) in (10..).zip(strangers) {
        bench.event(Event::Accepted(ConnId::new(number)));
        bench.actions.clear();
        bench.receive(ConnId::new(number), Message::FollowerInfo(info));
        told.extend(bench.actions.drain(..).filter_map(|action| match action {
            Action::Send { msg, .. } => Some(msg),
            _ => None,
        }));
    }
    let nobody = Arc::new(Membership::new(Txid::ZERO, BTreeMap::new()));
    let expected = [
        Rejection::WrongCluster { members: nobody },
        Rejection::WrongDisk,
        Rejection::Version { speaks: (1, 1) },
        Rejection::NotMember { version: t(1, 1) },
        Rejection::WrongDisk,
    ];
    assert_eq!(told, expected.map(Message::Rejected));
}

#[test]
fn a_wiped_node_halts_when_a_majority_says_so_on_its_own_connections() {
    let mut bench = Bench::wiped(3);
    // Datagrams alone, however many, make it ask, each member once in a while.
    for _ in 0..100 {
        bench.event(Event::Denied(n(1)));
        bench.event(Event::Denied(n(2)));
        bench.event(Event::Denied(n(3)));
        bench.event(Event::Denied(n(8)));
    }
    assert_eq!(bench.count(|action| matches!(action, Action::Connect(_))), 2);
    bench.event(Event::Connected { conn: C1, to: n(1) });
    bench.event(Event::Connected { conn: C2, to: n(2) });
    bench.receive(C1, Message::Rejected(Rejection::WrongDisk));
    assert_eq!(bench.role(), RoleStatus::Looking, "one may err");
    bench.receive(C2, Message::Rejected(Rejection::WrongDisk));
    let why = HaltReason::WrongDisk { ours: Incarnation::new(99) };
    assert!(bench.actions.contains(&Action::Halt(why)));
}

#[test]
fn no_single_peer_halts_a_node() {
    for why in [Rejection::WrongDisk, Rejection::NotMember { version: t(5, 5) }] {
        let mut bench = Bench::joining();
        bench.receive(C1, Message::Rejected(why.clone()));
        assert_eq!(bench.role(), RoleStatus::Looking, "{why:?}");
        for conn in 10..20 {
            bench.pass(2_000);
            bench.hear_of_the_leader();
            bench.event(Event::Connected { conn: ConnId::new(conn), to: n(3) });
            bench.receive(ConnId::new(conn), Message::Rejected(why.clone()));
        }
        assert_eq!(bench.count(|action| matches!(action, Action::Halt(_))), 0, "{why:?}");
    }
}

#[test]
fn joining_in_vain_pauses_and_the_pauses_grow() {
    // Another version, a message that is not understood, a lost connection: whatever it is.
    let endings: [fn(&mut Bench, ConnId); 3] = [
        |bench, conn| bench.receive(conn, Message::Rejected(Rejection::Version { speaks: (2, 3) })),
        |bench, conn| bench.receive(conn, Message::Ack { epoch: e(2), upto: t(1, 1) }),
        |bench, conn| {
            bench.receive(conn, leader_info(2, 100, 800));
            bench.event(Event::Closed(conn));
        },
    ];
    for (number, end) in endings.into_iter().enumerate() {
        let mut bench = Bench::new(1);
        let mut joined = Vec::new();
        let mut last = 0;
        while bench.now < 10_000_000 {
            bench.hear_of_the_leader();
            if let RoleStatus::Following { .. } = bench.role() {
                last += 1;
                bench.event(Event::Connected { conn: ConnId::new(last), to: n(3) });
                end(&mut bench, ConnId::new(last));
                joined.push(bench.now / 1000);
            }
            bench.pass(1);
        }
        assert!(joined.len() <= 16, "{number}: joined at {joined:?}");
        assert!(joined.len() >= 8, "{number}: joined at {joined:?}");
    }
}

#[test]
fn a_locked_out_voter_comes_back_when_it_was_told_to() {
    let mut bench = Bench::joining();
    let why = Rejection::NotBefore { epoch: e(2), wait: Micros::millis(20_000) };
    bench.receive(C1, Message::Rejected(why));
    bench.actions.clear();
    for _ in 0..190 {
        bench.pass(100);
        bench.hear_of_the_leader();
    }
    assert_eq!(bench.count(|action| matches!(action, Action::Connect(_))), 0);
    for _ in 0..20 {
        bench.pass(100);
        bench.hear_of_the_leader();
    }
    assert_eq!(bench.count(|action| matches!(action, Action::Connect(_))), 1);
}

#[test]
fn a_follower_bears_the_silence_that_its_leader_bears() {
    let mut bench = Bench::joining();
    bench.receive(C1, leader_info(2, 2_000, 6_000));
    let end = bench.node.log().last();
    bench.receive(C1, Message::NewLeader { epoch: e(2), end });
    bench.receive(C1, Message::UpToDate { epoch: e(2), commit: end.txid, full: false });
    bench.pass(5_900);
    assert_eq!(bench.role(), RoleStatus::Following { leader: n(3), serving: true });
    bench.pass(200);
    assert_eq!(bench.role(), RoleStatus::Looking);
}

#[test]
fn a_ping_says_how_much_room_there_is_only_to_those_who_entered_its_epoch() {
    let mut bench = Bench::joining();
    bench.receive(C1, leader_info(2, 100, 800));
    let end = bench.node.log().last();
    let ping = |epoch, full| Message::Ping { epoch: e(epoch), nonce: 1, commit: end.txid, full };
    bench.receive(C1, ping(2, true));
    assert!(!bench.node.is_full(), "it has not the history yet");
    bench.receive(C1, Message::NewLeader { epoch: e(2), end });
    bench.receive(C1, Message::UpToDate { epoch: e(2), commit: end.txid, full: true });
    assert!(bench.node.is_full(), "it is told before it serves");
    bench.receive(C1, ping(2, false));
    assert!(!bench.node.is_full());
    bench.receive(C1, ping(2, true));
    assert!(bench.node.is_full());
    bench.receive(C1, ping(3, false));
    let expected = PeerFault::Epoch { got: e(3), expected: e(2) };
    let fault = Action::Note(Note::PeerFault { conn: C1, fault: expected });
    assert!(bench.actions.contains(&fault), "not its leader's epoch");
}

#[test]
fn of_forwarded_requests_only_the_one_that_is_too_large_is_refused() {
    let mut bench = Bench::established();
    let request = |seq: u64, len: usize| Forwarded {
        origin: Origin { boot: 5, seq },
        body: vec![b'x'; len].as_slice().into(),
    };
    let requests = vec![request(1, 10), request(2, 101), request(3, 100)];
    bench.receive(C1, Message::Forward { requests });
    let refused: Vec<_> = bench
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Send { msg: Message::ForwardRefused { seqs, why }, .. } => {
                Some((seqs.clone(), *why))
            }
            _ => None,
        })
        .collect();
    assert_eq!(refused, [(vec![Origin { boot: 5, seq: 2 }], RefuseReason::TooLarge)]);
    let logged: Vec<u64> =
        bench.node.log().iter().filter_map(|entry| entry.origin).map(|o| o.seq).collect();
    assert_eq!(logged, [1, 3]);
}

#[test]
fn a_node_that_cannot_vote_says_why() {
    // Its disk does not come back.
    let mut bench = Bench::established();
    bench.hold_disk = true;
    let body = b"a".as_slice().into();
    let deadline = Instant::from_micros(u64::MAX);
    let ticket = Ticket::new(1);
    bench.event(Event::Submit(vec![zabkeeper_core::zab::Submission {
        ticket,
        body,
        deadline,
        grows: false,
    }]));
    bench.pass(20_000);
    assert_eq!(bench.role(), RoleStatus::Looking);
    let said = |bench: &Bench| {
        bench.count(|action| matches!(action, Action::Note(Note::Unready(Unready::Disk(_)))))
    };
    assert!((2..=4).contains(&said(&bench)), "{}", said(&bench));
    // It is not a member any more.
    let mut bench = Bench::with_voters(1, &[2, 3]);
    bench.pass(6_000);
    assert!(bench.actions.contains(&Action::Note(Note::Unready(Unready::NotVoter(t(1, 1))))));
}

#[test]
fn a_follower_that_came_early_and_says_no_more_is_closed() {
    let mut bench = Bench::new(3);
    bench.event(Event::Accepted(C1));
    bench.receive(C1, Message::FollowerInfo(info(2)));
    bench.pass(3_100);
    assert!(bench.actions.contains(&Action::Close { conn: C1, why: CloseReason::Silent }));
}

#[test]
fn a_batch_of_reads_costs_what_is_in_it_however_many_wait() {
    let mut bench = Bench::joining();
    bench.receive(C1, leader_info(2, 100, 800));
    let end = bench.node.log().last();
    bench.receive(C1, Message::NewLeader { epoch: e(2), end });
    bench.receive(C1, Message::UpToDate { epoch: e(2), commit: end.txid, full: false });
    let mut tickets = (0..).map(Ticket::new);
    // The least time of so many batches of one read: whoever else uses the machine adds to others.
    let mut least = |bench: &mut Bench, batches: usize| {
        let reads = tickets.by_ref().take(batches).map(|ticket| {
            let read = vec![(ticket, Instant::from_micros(u64::MAX))];
            let began = std::time::Instant::now();
            let mut out = Actions::new();
            bench.node.handle(at(bench.now), Event::Read(read), &mut out);
            assert_eq!(out.actions.len(), 1, "the leader is asked");
            began.elapsed()
        });
        reads.min().unwrap()
    };
    let before = least(&mut bench, 200);
    least(&mut bench, 40_000);
    let after = least(&mut bench, 200);
    // With a walk over all that wait it is several hundred times as much.
    assert!(after < 30 * before.max(std::time::Duration::from_micros(1)), "{before:?} {after:?}");
}
