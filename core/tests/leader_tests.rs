//! Single nodes under hand-made events: rules that a whole cluster seldom gets to show.

use std::collections::BTreeMap;
use std::sync::Arc;
use zabkeeper_core::words::{
    ClusterId, ConnId, Digest, Epoch, Incarnation, Instant, Life, Micros, NodeId, Now,
    RefuseReason, Round, Ticket, Txid, WallTime, WriteId,
};
use zabkeeper_core::zab::{
    Action, Actions, Base, Body, Candidate, CloseReason, Config, Entry, EpochAck, Event,
    FollowerInfo, HaltReason, Identity, LeaveReason, Lives, Member, Membership, Message, Node,
    Note, PeerFault, Position, Promise, Recorded, Recovered, Rejection, RoleStatus, SnapshotHead,
    Stamp, Stance, Submission, Upcall, Vote,
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

/// One node of a formed ensemble of three, and what it asked for.
struct Bench {
    node: Node,
    now: u64,
    actions: Vec<Action>,
    upcalls: Vec<Upcall>,
    hold_disk: bool,
    /// Until it is answered, what is asked of the log on disk; else there is nothing of it.
    hold_reads: bool,
    /// What the node asked each other voter last.
    asked: BTreeMap<NodeId, u64>,
    votes: u64,
}

impl Bench {
    /// Node `id`, with `extra` entries of epoch 1 behind the membership entry 1.1.
    fn new(id: u32, extra: u64) -> Self {
        Self::with_committed(Config::new(n(id)), extra, t(1, 1))
    }

    /// The same, with what the node's disk knows to be committed of the membership.
    fn with_committed(config: Config, extra: u64, committed: Txid) -> Self {
        let (membership, entries) = history(extra);
        let identity = identity(config.node.get());
        let disk = Recovered {
            promise: Some(Promise { epoch: e(1), leader: n(3) }),
            current: e(1),
            committed,
            entries,
            ..Recovered::fresh(identity, membership)
        };
        let mut out = Actions::new();
        let node = Node::restore(config, disk, 7, now(0), &mut out).unwrap();
        let mut bench = Self {
            node,
            now: 0,
            actions: Vec::new(),
            upcalls: Vec::new(),
            hold_disk: false,
            hold_reads: false,
            asked: BTreeMap::new(),
            votes: 0,
        };
        bench.collect(out);
        bench
    }

    fn event(&mut self, event: Event) {
        let mut out = Actions::new();
        self.node.handle(now(self.now), event, &mut out);
        self.node.check();
        self.collect(out);
    }

    /// Keeps the actions; the disk completes at once unless it is held.
    fn collect(&mut self, out: Actions) {
        let written = out.actions.iter().filter_map(|action| match action {
            Action::Persist { id, .. } => Some(*id),
            _ => None,
        });
        let upto: Option<WriteId> = written.max();
        self.asked.extend(out.actions.iter().filter_map(|action| match action {
            Action::Notify { to, vote } => Some((*to, vote.stamp.asks)),
            _ => None,
        }));
        let asks = out.actions.iter().filter_map(read).filter(|_| !self.hold_reads);
        let reads: Vec<ConnId> = asks.collect();
        self.actions.extend(out.actions);
        self.upcalls.extend(out.upcalls);
        for conn in reads {
            self.event(Event::LogRead { conn, from: None, entries: Vec::new() });
        }
        if let Some(upto) = upto.filter(|_| !self.hold_disk) {
            self.event(Event::Persisted(upto));
        }
    }

    /// The number of the snapshot that was staged last.
    fn stage(&self) -> u64 {
        let opened = self.actions.iter().rev().find_map(|action| match action {
            Action::StageOpen(stage) => Some(*stage),
            _ => None,
        });
        opened.expect("a snapshot is staged")
    }

    fn verified(&mut self, good: bool) {
        self.event(Event::SnapshotVerified { stage: self.stage(), good });
    }

    fn receive(&mut self, conn: ConnId, msg: Message) {
        self.event(Event::Received { conn, msg });
    }

    fn pass(&mut self, time: Micros) {
        let until = self.now + time.get();
        while let Some(at) = self.node.deadline().filter(|at| at.as_micros() <= until) {
            self.now = self.now.max(at.as_micros());
            self.event(Event::Tick);
        }
        self.now = until;
    }

    fn vote(&mut self, from: u32, candidate: Candidate, round: u64, stance: Stance) {
        self.votes += 1;
        let answers = self.asked.get(&n(from)).copied().unwrap_or_default();
        let stamp = Stamp { boot: u64::from(from), seq: self.votes, asks: 1, answers };
        let vote = Vote { stamp, ..vote(from, candidate, round, stance) };
        self.event(Event::Notified(vote));
    }

    fn role(&self) -> RoleStatus {
        self.node.status().role
    }

    fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn sent(&self, wanted: impl Fn(&Message) -> bool) -> bool {
        self.actions.iter().any(|action| match action {
            Action::Send { msg, .. } => wanted(msg),
            _ => false,
        })
    }

    fn noted(&self, note: &Note) -> bool {
        self.actions.contains(&Action::Note(note.clone()))
    }

    /// Elects node 3 with node 2's support, and lets node 2 connect.
    fn elected_with_follower() -> Self {
        Self::elected_with(Config::new(n(3)))
    }

    fn elected_with(config: Config) -> Self {
        let mut bench = Self::with_committed(config, 1, t(1, 1));
        let me = Candidate { epoch: e(1), txid: t(1, 2), node: n(3) };
        bench.vote(2, me, 1, Stance::Looking);
        bench.pass(Micros::millis(60));
        assert_eq!(bench.role(), RoleStatus::Leading { established: false });
        bench.event(Event::Accepted(C1));
        bench.receive(C1, Message::FollowerInfo(info(2)));
        assert!(
            bench.sent(|msg| matches!(msg, Message::LeaderInfo { epoch, .. } if *epoch == e(2)))
        );
        bench
    }

    /// Brings node 3 into office, with node 2 up to date.
    fn established() -> Self {
        Self::established_with(Config::new(n(3)))
    }

    fn established_with(config: Config) -> Self {
        let mut bench = Self::elected_with(config);
        let last = bench.node.log().last();
        bench.receive(C1, Message::EpochAck(ack(last)));
        bench.receive(C1, Message::NewLeaderAck { epoch: e(2), end: last.txid, full: false });
        assert_eq!(bench.role(), RoleStatus::Leading { established: true });
        bench.take();
        bench
    }
}

/// For whom the disk is asked for entries.
fn read(action: &Action) -> Option<ConnId> {
    match action {
        Action::ReadLog { conn, .. } => Some(*conn),
        _ => None,
    }
}

fn now(micros: u64) -> Now {
    Now { at: Instant::from_micros(micros), wall: WallTime::from_millis(1) }
}

fn identity(id: u32) -> Identity {
    Identity {
        cluster: initial().cluster_id(),
        node: n(id),
        incarnation: Incarnation::new(u64::from(id)),
    }
}

fn members(known: bool) -> BTreeMap<NodeId, Member> {
    let member = |id: u32| Member {
        voter: true,
        incarnation: known.then(|| Incarnation::new(u64::from(id))),
        life: known.then(|| Recorded { at: t(1, 1), life: Life::new(u64::from(id)) }),
        election_addr: format!("host{id}:1"),
        message_addr: format!("host{id}:2"),
    };
    (1..=3).map(|id| (n(id), member(id))).collect()
}

fn initial() -> Membership {
    Membership::new(Txid::ZERO, members(false))
}

fn history(extra: u64) -> (Arc<Membership>, Vec<Entry>) {
    let formed = Arc::new(Membership::new(t(1, 1), members(true)));
    let wall = WallTime::default();
    let mut entries =
        vec![Entry::new(Position::ZERO, t(1, 1), wall, None, Body::Membership(formed))];
    for counter in 2..2 + extra {
        let after = entries.last().unwrap().position();
        let body = Body::Command(b"x".as_slice().into());
        entries.push(Entry::new(after, t(1, counter), wall, None, body));
    }
    (Arc::new(initial()), entries)
}

fn vote(from: u32, candidate: Candidate, round: u64, stance: Stance) -> Vote {
    Vote {
        from: n(from),
        cluster: initial().cluster_id(),
        incarnation: Incarnation::new(u64::from(from)),
        stance,
        round: Round::new(round),
        candidate,
        own: if candidate.node == n(from) {
            candidate
        } else {
            Candidate { epoch: e(1), txid: t(1, 1), node: n(from) }
        },
        abstains: false,
        hears: true,
        membership: t(1, 1),
        lives: lives(from),
        stamp: Stamp::default(),
    }
}

fn leader_info(epoch: u64) -> Message {
    Message::LeaderInfo {
        epoch: e(epoch),
        client_addr: String::new(),
        ping: Micros::millis(100),
        sync: Micros::millis(800),
    }
}

/// The lives of a node that has not been started again since its ensemble formed.
fn lives(id: u32) -> Lives {
    Lives::first(Life::new(u64::from(id)))
}

fn info(id: u32) -> FollowerInfo {
    FollowerInfo {
        node: n(id),
        cluster: initial().cluster_id(),
        incarnation: Incarnation::new(u64::from(id)),
        lives: lives(id),
        accepted: e(1),
        membership: t(1, 1),
        versions: (1, 1),
        client_addr: String::new(),
    }
}

fn submission(ticket: u64) -> Submission {
    Submission {
        ticket: Ticket::new(ticket),
        body: b"a".as_slice().into(),
        deadline: Instant::from_micros(u64::MAX),
        grows: false,
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

#[test]
fn a_leader_behind_a_counted_follower_gives_up() {
    let mut bench = Bench::elected_with_follower();
    let longer = history(5).1.last().unwrap().position();
    bench.receive(C1, Message::EpochAck(ack(longer)));
    assert!(bench.noted(&Note::SteppedDown { epoch: Some(e(2)), why: LeaveReason::Behind(n(2)) }));
    assert_eq!(bench.role(), RoleStatus::Looking);
}

#[test]
fn a_leader_behind_a_follower_of_a_later_epoch_gives_up_though_its_log_is_longer() {
    let mut bench = Bench::elected_with_follower();
    let shorter = history(0).1.last().unwrap().position();
    bench.receive(C1, Message::EpochAck(EpochAck { current: e(2), ..ack(shorter) }));
    assert_eq!(bench.role(), RoleStatus::Looking);
}

#[test]
fn an_unestablished_leader_gives_up_when_its_voters_have_moved_on() {
    let mut bench = Bench::elected_with_follower();
    let other = Candidate { epoch: e(1), txid: t(1, 2), node: n(2) };
    bench.vote(1, other, 5, Stance::Looking);
    assert_eq!(bench.role(), RoleStatus::Leading { established: false });
    bench.vote(2, other, 5, Stance::Looking);
    assert_eq!(bench.role(), RoleStatus::Looking);
}

#[test]
fn an_established_leader_only_answers_those_who_look() {
    let mut bench = Bench::established();
    let other = Candidate { epoch: e(9), txid: t(9, 2), node: n(1) };
    bench.vote(1, other, 50, Stance::Looking);
    bench.vote(2, other, 50, Stance::Looking);
    assert_eq!(bench.role(), RoleStatus::Leading { established: true });
    let answers = bench.actions.iter().filter(|action| {
        matches!(action, Action::Notify { vote, .. } if vote.stance == Stance::Leading(Some(e(2))))
    });
    assert_eq!(answers.count(), 2);
}

#[test]
fn votes_of_strangers_and_other_clusters_change_nothing() {
    let mut bench = Bench::new(3, 1);
    let before = bench.node.clone();
    let great = Candidate { epoch: e(90), txid: t(90, 1), node: n(1) };
    let honest = vote(1, great, 9, Stance::Looking);
    let foreign = Vote { cluster: ClusterId::new(5), ..honest.clone() };
    let stranger = Vote { from: n(8), ..honest.clone() };
    let for_stranger = Vote { candidate: Candidate { node: n(8), ..great }, ..honest.clone() };
    let other_disk = Vote { incarnation: Incarnation::new(77), ..honest.clone() };
    let own = Vote { from: n(3), ..honest };
    for vote in [foreign, stranger, for_stranger, other_disk, own] {
        bench.event(Event::Notified(vote.clone()));
        assert_eq!(bench.node, before, "{vote:?} must change nothing");
    }
    let rejections = bench.actions.iter().filter_map(|action| match action {
        Action::NotifyRejected { why, .. } => Some(why),
        _ => None,
    });
    assert!(matches!(
        rejections.collect::<Vec<_>>()[..],
        [Rejection::WrongCluster { .. }, Rejection::WrongDisk]
    ));
    assert!(bench.noted(&Note::DuplicateId(n(3))));
    assert!(bench.noted(&Note::StrangerVote(n(8))));
}

#[test]
fn acknowledgements_of_another_epoch_or_beyond_what_was_sent_are_faults() {
    let faults = [
        (
            Message::Ack { epoch: e(1), upto: t(1, 2) },
            PeerFault::Epoch { got: e(1), expected: e(2) },
        ),
        (Message::Ack { epoch: e(2), upto: t(2, 99) }, PeerFault::Beyond(t(2, 99))),
        (Message::Ack { epoch: e(2), upto: t(1, 2) }, PeerFault::Beyond(t(1, 2))),
        (
            Message::Pong { epoch: e(3), nonce: 1, room: None, full: false },
            PeerFault::Epoch { got: e(3), expected: e(2) },
        ),
        (
            Message::NewLeaderAck { epoch: e(2), end: t(1, 2), full: false },
            PeerFault::History(t(1, 2)),
        ),
        (Message::SnapshotChunkAck { upto: 0, done: false }, PeerFault::Chunk(0)),
        (
            Message::Pong { epoch: e(2), nonce: 1000, room: None, full: false },
            PeerFault::Unexpected("an answer to a round to come"),
        ),
        (Message::LogEntriesAck { upto: t(2, 9) }, PeerFault::Beyond(t(2, 9))),
    ];
    for (msg, fault) in faults {
        let mut bench = Bench::established();
        let commit = bench.node.status().committed;
        bench.receive(C1, msg.clone());
        let close = Action::Close { conn: C1, why: CloseReason::Fault(fault) };
        assert!(bench.actions.contains(&close), "{msg:?}: {:?}", bench.actions);
        assert_eq!(bench.node.status().committed, commit);
    }
}

#[test]
fn a_newer_connection_of_a_follower_replaces_the_older_one() {
    let mut bench = Bench::established();
    bench.event(Event::Accepted(C2));
    bench.receive(C2, Message::FollowerInfo(FollowerInfo { accepted: e(2), ..info(2) }));
    let close = Action::Close { conn: C1, why: CloseReason::Replaced };
    assert!(bench.actions.contains(&close));
    bench.take();
    bench.receive(C1, Message::Ack { epoch: e(2), upto: t(1, 2) });
    assert_eq!(bench.take(), [Action::Note(Note::StaleConn(C1))]);
}

#[test]
fn a_snapshot_behind_the_own_log_is_refused() {
    let mut bench = Bench::new(1, 3);
    let leader = Candidate { epoch: e(1), txid: t(1, 2), node: n(3) };
    bench.vote(3, leader, 4, Stance::Leading(Some(e(2))));
    bench.vote(2, leader, 4, Stance::Following(Some(e(2))));
    assert!(bench.actions.contains(&Action::Connect(n(3))));
    bench.event(Event::Connected { conn: C1, to: n(3) });
    bench.receive(C1, leader_info(2));
    assert!(bench.sent(|msg| matches!(msg, Message::EpochAck(_))));
    let at = history(1).1.last().unwrap().position();
    let head = SnapshotHead { at, membership: Arc::new(initial()), digest: Digest::ZERO, bytes: 0 };
    bench.receive(C1, Message::Snapshot(head));
    let why = CloseReason::Fault(PeerFault::OldSnapshot(t(1, 2)));
    assert!(bench.actions.contains(&Action::Close { conn: C1, why }));
    assert_eq!(bench.node.status().last, t(1, 4));
}

#[test]
fn a_stranger_that_says_nothing_or_the_wrong_thing_is_closed() {
    let mut bench = Bench::established();
    bench.event(Event::Accepted(C2));
    bench.receive(C2, Message::Commit { epoch: e(2), upto: t(1, 2) });
    assert!(bench.actions.iter().any(|action| matches!(
        action,
        Action::Close { conn: C2, why: CloseReason::Fault(PeerFault::Unexpected(_)) }
    )));
    let c3 = ConnId::new(3);
    let mut bench = Bench::new(3, 1);
    bench.event(Event::Accepted(c3));
    bench.pass(Micros::millis(3100));
    assert!(bench.actions.contains(&Action::Close { conn: c3, why: CloseReason::Silent }));
}

#[test]
fn a_wrong_base_is_not_restored() {
    let (membership, entries) = history(2);
    let applied = Position { txid: t(1, 9), chain: Digest::ZERO };
    let disk = Recovered { entries, applied, ..Recovered::fresh(identity(1), membership.clone()) };
    let promised =
        Recovered { promise: Some(Promise { epoch: e(1), leader: n(1) }), ..disk.clone() };
    let try_restore = |disk: Recovered| {
        Node::restore(Config::new(n(1)), disk, 1, now(0), &mut Actions::new()).map(|_| ())
    };
    assert!(try_restore(disk).unwrap_err().to_string().contains("never promised"));
    assert!(try_restore(promised.clone()).unwrap_err().to_string().contains("outside the log"));
    let chain = Recovered {
        applied: Position { txid: t(1, 2), chain: Digest::new(1) },
        ..promised.clone()
    };
    assert!(try_restore(chain).unwrap_err().to_string().contains("another history"));
    let hole = Recovered {
        base: Base { at: Position { txid: t(1, 1), chain: Digest::new(3) }, membership },
        ..promised
    };
    assert!(try_restore(hole).unwrap_err().to_string().contains("hole"));
}

#[test]
fn a_node_never_stands_with_a_history_that_it_does_not_hold() {
    let mut bench = Bench::new(1, 0);
    // An old vote for this node, from before its disk was wiped.
    let lost = Candidate { epoch: e(7), txid: t(7, 22), node: n(1) };
    for round in [1, 4] {
        bench.vote(2, lost, round, Stance::Looking);
        let claims = bench.take().into_iter().filter_map(|action| match action {
            Action::Notify { vote, .. } => Some([vote.candidate, vote.own]),
            _ => None,
        });
        let own = Candidate { epoch: e(1), txid: t(1, 1), node: n(1) };
        let of_itself = |candidate: &Candidate| candidate.node == n(1);
        let mut claims = claims.flatten().filter(of_itself).peekable();
        assert!(claims.peek().is_some());
        assert!(claims.all(|candidate| candidate == own));
    }
    assert_eq!(bench.role(), RoleStatus::Looking);
}

#[test]
fn a_leader_learns_from_a_follower_that_its_ensemble_has_formed() {
    // By its own disk this node needs everyone; node 1 is gone for good.
    let mut bench = Bench::with_committed(Config::new(n(3)), 1, Txid::ZERO);
    let me = Candidate { epoch: e(1), txid: t(1, 2), node: n(3) };
    bench.vote(2, me, 1, Stance::Looking);
    bench.pass(Micros::millis(60));
    assert_eq!(bench.role(), RoleStatus::Leading { established: false });
    bench.event(Event::Accepted(C1));
    bench.receive(C1, Message::FollowerInfo(info(2)));
    assert!(bench.noted(&Note::MembershipCommitted(t(1, 1))));
    assert!(bench.sent(|msg| matches!(msg, Message::LeaderInfo { .. })));
}

/// Node 1, with the leader's sync data awaited.
fn synchronising() -> Bench {
    synchronising_as(Bench::new(1, 0))
}

fn synchronising_as(mut bench: Bench) -> Bench {
    let leader = Candidate { epoch: e(1), txid: t(1, 1), node: n(3) };
    bench.vote(3, leader, 4, Stance::Leading(Some(e(2))));
    bench.vote(2, leader, 4, Stance::Following(Some(e(2))));
    bench.event(Event::Connected { conn: C1, to: n(3) });
    bench.receive(C1, leader_info(2));
    assert!(bench.sent(|msg| matches!(msg, Message::EpochAck(_))));
    bench
}

/// A part of a snapshot's stream.
fn part(from: u64, bytes: &[u8], last: bool) -> Message {
    Message::SnapshotChunk { from, bytes: bytes.into(), last }
}

fn snapshot(epoch: u64, counter: u64) -> Message {
    let at = Position { txid: t(epoch, counter), chain: Digest::new(1) };
    let membership = Arc::new(Membership::new(t(1, 1), members(true)));
    Message::Snapshot(SnapshotHead { at, membership, digest: Digest::ZERO, bytes: 0 })
}

#[test]
fn whatever_a_leader_sends_out_of_place_costs_the_connection_and_nothing_else() {
    let last = history(0).1.last().unwrap().position();
    let named_otherwise = Arc::new(Membership::new(t(1, 1), members(true)));
    let wall = WallTime::default();
    let strange = Entry::new(last, t(1, 2), wall, None, Body::Membership(named_otherwise));
    let later = Entry::new(last, t(9, 1), wall, None, Body::Command(b"x".as_slice().into()));
    let cases = [
        vec![snapshot(9, 1)],
        vec![Message::LogEntries { entries: vec![strange] }],
        vec![Message::LogEntries { entries: vec![later] }],
        vec![Message::LogEntries { entries: vec![] }],
        vec![snapshot(2, 5), Message::LogEntries { entries: vec![] }],
        vec![snapshot(2, 5), snapshot(2, 6)],
        vec![part(0, b"", true)],
        vec![
            Message::Truncate { to: last },
            Message::UpToDate { epoch: e(2), commit: t(1, 1), full: false },
        ],
        vec![Message::NewLeader {
            epoch: e(2),
            end: Position { txid: t(2, 7), chain: last.chain },
        }],
        vec![Message::NewLeader { epoch: e(3), end: last }],
        vec![Message::Propose { epoch: e(2), entries: vec![] }],
        vec![Message::Commit { epoch: e(2), upto: t(1, 2) }],
        vec![leader_info(2)],
        vec![Message::FollowerInfo(info(3))],
    ];
    for case in cases {
        let mut bench = synchronising();
        for msg in &case {
            bench.receive(C1, msg.clone());
        }
        let closed = bench
            .actions
            .iter()
            .any(|action| matches!(action, Action::Close { conn: C1, why: CloseReason::Fault(_) }));
        assert!(closed, "{case:?}: {:?}", bench.actions);
        assert_eq!(bench.node.status().last, t(1, 1), "{case:?}");
    }
}

#[test]
fn an_epoch_of_nobody_is_refused() {
    let mut bench = Bench::new(1, 0);
    let leader = Candidate { epoch: e(1), txid: t(1, 1), node: n(3) };
    bench.vote(3, leader, 4, Stance::Leading(Some(e(2))));
    bench.vote(2, leader, 4, Stance::Following(Some(e(2))));
    bench.event(Event::Connected { conn: C1, to: n(3) });
    bench.receive(C1, leader_info(0));
    assert_eq!(bench.role(), RoleStatus::Looking);
}

#[test]
fn a_second_snapshot_waits_until_the_first_is_on_disk() {
    let mut bench = synchronising();
    bench.hold_disk = true;
    bench.receive(C1, snapshot(2, 5));
    bench.receive(C1, part(0, b"", true));
    bench.verified(true);
    bench.event(Event::Sealed(bench.stage()));
    assert_eq!(bench.node.status().last, t(2, 5));
    bench.receive(C1, snapshot(2, 6));
    assert!(bench.actions.iter().any(|action| {
        matches!(action, Action::Close { conn: C1, why: CloseReason::Fault(_) })
    }));
}

#[test]
fn two_memberships_in_a_row_mean_that_the_first_is_committed() {
    let mut bench = synchronising();
    let membership = |version| Body::Membership(Arc::new(Membership::new(version, members(true))));
    let wall = WallTime::default();
    let first = Entry::new(bench.node.log().last(), t(2, 1), wall, None, membership(t(2, 1)));
    let second = Entry::new(first.position(), t(2, 2), wall, None, membership(t(2, 2)));
    bench.receive(C1, Message::LogEntries { entries: vec![first, second] });
    let ensemble = bench.node.ensemble();
    assert_eq!(ensemble.committed().version(), t(2, 1));
    assert_eq!(ensemble.pending().map(|membership| membership.version()), Some(t(2, 2)));
}

#[test]
fn a_node_that_entered_the_epoch_is_never_cut_within_it() {
    let mut bench = Bench::new(1, 2);
    let leader = Candidate { epoch: e(1), txid: t(1, 1), node: n(3) };
    bench.vote(3, leader, 4, Stance::Leading(Some(e(1))));
    bench.vote(2, leader, 4, Stance::Following(Some(e(1))));
    bench.event(Event::Connected { conn: C1, to: n(3) });
    bench.receive(C1, leader_info(1));
    let to = history(1).1.last().unwrap().position();
    bench.receive(C1, Message::Truncate { to });
    assert!(bench.actions.contains(&Action::Halt(HaltReason::Diverged { at: to.txid })));
}

#[test]
fn a_paced_follower_is_told_no_commit_beyond_what_it_was_sent() {
    let mut config = Config::new(n(3));
    config.limits.window_bytes = 1;
    config.limits.message_bytes = 1;
    let mut bench = Bench::established_with(config);
    bench.event(Event::Accepted(C2));
    bench.receive(C2, Message::FollowerInfo(info(1)));
    let last = bench.node.log().last();
    bench.receive(C2, Message::EpochAck(ack(last)));
    bench.receive(C2, Message::NewLeaderAck { epoch: e(2), end: last.txid, full: false });
    bench.take();
    // Node 2 keeps up, node 1 acknowledges nothing.
    for ticket in 1..6 {
        bench.event(Event::Submit(vec![submission(ticket)]));
        let upto = bench.node.log().last().txid;
        bench.receive(C1, Message::Ack { epoch: e(2), upto });
    }
    bench.pass(Micros::millis(250));
    assert_eq!(bench.node.status().committed, t(2, 5));
    let mut sent = last.txid;
    let mut told = 0;
    for action in &bench.actions {
        let Action::Send { to, msg } = action else { continue };
        if !to.contains(&C2) {
            continue;
        }
        match msg {
            Message::Propose { entries, .. } => sent = entries.last().unwrap().txid,
            Message::Commit { upto: commit, .. } | Message::Ping { commit, .. } => {
                assert!(*commit <= sent, "told {commit}, sent {sent}");
                told += 1;
            }
            _ => {}
        }
    }
    assert_eq!(sent, t(2, 1), "the window is full after the first");
    assert!(told >= 2);
}

#[test]
fn an_established_leader_gives_up_for_a_locked_out_voter_once_in_a_while_only() {
    let mut bench = Bench::established();
    bench.pass(Micros::millis(400));
    let locked_out = |accepted| FollowerInfo { accepted: e(accepted), ..info(1) };
    bench.event(Event::Accepted(C2));
    bench.receive(C2, Message::FollowerInfo(locked_out(7)));
    assert_eq!(bench.role(), RoleStatus::Looking);
    // It is elected and established again, above what was promised.
    let me = Candidate { epoch: e(2), txid: t(1, 2), node: n(3) };
    bench.vote(2, me, 2, Stance::Looking);
    bench.pass(Micros::millis(60));
    let c3 = ConnId::new(3);
    bench.event(Event::Accepted(c3));
    bench.receive(c3, Message::FollowerInfo(info(2)));
    let last = bench.node.log().last();
    bench.receive(c3, Message::EpochAck(EpochAck { epoch: e(8), current: e(2), ..ack(last) }));
    bench.receive(c3, Message::NewLeaderAck { epoch: e(8), end: last.txid, full: false });
    assert_eq!(bench.role(), RoleStatus::Leading { established: true });
    let c4 = ConnId::new(4);
    bench.event(Event::Accepted(c4));
    bench.receive(c4, Message::FollowerInfo(locked_out(20)));
    assert_eq!(bench.role(), RoleStatus::Leading { established: true });
    // It is told when to come back: nearly ten times as long as a leader may take to gather.
    let told = bench.actions.iter().find_map(|action| match action {
        Action::Send { msg: Message::Rejected(Rejection::NotBefore { epoch, wait }), .. } => {
            Some((*epoch, wait.get() / 1_000_000))
        }
        _ => None,
    });
    assert_eq!(told, Some((e(8), 29)));
    assert!(bench.actions.contains(&Action::Close { conn: c4, why: CloseReason::Rejected }));
}

#[test]
fn a_batch_larger_than_the_rest_of_an_epoch_is_logged_as_far_as_it_goes() {
    let mut config = Config::new(n(3));
    config.limits.counter_max = 5;
    let mut bench = Bench::established_with(config);
    bench.event(Event::Submit((1..9).map(submission).collect()));
    assert_eq!(bench.node.log().last().txid, t(2, 5));
    assert_eq!(bench.role(), RoleStatus::Looking);
}

#[test]
fn reads_that_ran_out_of_time_leave_nothing_behind() {
    let mut bench = Bench::new(1, 0);
    let size = |bench: &Bench| format!("{:?}", bench.node).len();
    let before = size(&bench);
    for ticket in 0..1000 {
        let soon = Instant::from_micros(bench.now + 1);
        bench.event(Event::Await(vec![(Ticket::new(ticket), soon, t(1, ticket + 1))]));
        bench.pass(Micros::new(2));
    }
    assert!(size(&bench) < before + 1000, "from {before} to {}", size(&bench));
}

#[test]
fn local_reads_of_the_future_have_few_places_and_little_time() {
    let mut config = Config::new(n(3));
    config.limits.pending_requests = 64;
    let hold = config.timeouts.hold;
    let mut bench = Bench::established_with(config);
    let never = Instant::from_micros(u64::MAX);
    let refusals = |bench: &Bench, why: RefuseReason| {
        let refused = |call: &&Upcall| matches!(call, Upcall::Refuse { why: w, .. } if *w == why);
        bench.upcalls.iter().filter(refused).count()
    };
    // Of an epoch that nobody promised: nobody here will know it soon.
    bench.event(Event::Await((0..9).map(|it| (Ticket::new(it), never, t(9, 1))).collect()));
    assert_eq!(refusals(&bench, RefuseReason::NoLeader), 9);
    // Of this epoch: a sixteenth of the places, and no longer than a request is held.
    bench.event(Event::Await((10..30).map(|it| (Ticket::new(it), never, t(2, 99))).collect()));
    assert_eq!(refusals(&bench, RefuseReason::Busy), 16);
    bench.event(Event::Submit(vec![submission(40)]));
    assert_eq!(refusals(&bench, RefuseReason::Busy), 16, "others have theirs");
    bench.pass(Micros::new(hold.get() + 1));
    assert_eq!(refusals(&bench, RefuseReason::NoLeader), 13);
}

#[test]
fn a_read_that_waits_for_what_a_snapshot_brings_is_answered() {
    let mut bench = synchronising();
    let ticket = Ticket::new(5);
    let never = Instant::from_micros(u64::MAX);
    bench.event(Event::Await(vec![(ticket, never, t(2, 5))]));
    bench.receive(C1, snapshot(2, 5));
    bench.receive(C1, part(0, b"", true));
    bench.verified(true);
    bench.event(Event::Sealed(bench.stage()));
    assert_eq!(bench.upcalls.iter().filter(|c| **c == Upcall::Readable(ticket)).count(), 1);
}

#[test]
fn a_candidates_own_word_corrects_what_was_heard_of_an_earlier_life_of_it() {
    let mut bench = Bench::new(1, 1);
    let before = Candidate { epoch: e(1), txid: t(1, 9), node: n(2) };
    bench.vote(2, before, 1, Stance::Looking);
    let now = Candidate { epoch: e(1), txid: t(1, 2), node: n(2) };
    bench.take();
    bench.vote(2, now, 1, Stance::Looking);
    let says = |action: &Action| match action {
        Action::Notify { vote, .. } => Some(vote.candidate),
        _ => None,
    };
    let said: Vec<Candidate> = bench.take().iter().filter_map(says).collect();
    assert!(!said.is_empty() && said.iter().all(|candidate| *candidate == now), "{said:?}");
    bench.vote(2, now, 1, Stance::Looking);
    assert!(bench.take().iter().filter_map(says).next().is_none(), "agreement needs no answer");
}

#[path = "leader_tests/catching_up.rs"]
mod catching_up;
#[path = "leader_tests/disks.rs"]
mod disks;
#[path = "leader_tests/old_disks.rs"]
mod old_disks;
#[path = "leader_tests/transfer.rs"]
mod transfer;
