//! Frozen bytes: one line of hex for each message and record, in `golden.txt`. A change there is a
//! change of format, which running ensembles and stored journals would not survive.
//! `UPDATE=1` writes the file anew.

use super::{framed, parsed};
use crate::client::{self, ClientReply, ClientRequest};
use crate::frame::Kind;
use crate::record::{self, SegmentHead};
use crate::{Datagram, decode_datagram, encode_datagram, peer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use zabkeeper_core::store::{Answer, Command, CommandError, Found, Op, Page, Path, Query, Stat};
use zabkeeper_core::words::{
    ClusterId, Digest, End, Epoch, Incarnation, Life, Micros, NodeId, Payload, ReadLevel,
    RefuseReason, Round, Txid, WallTime,
};
use zabkeeper_core::zab::{
    Base, Body, Candidate, Entry, EpochAck, FollowerInfo, FollowerStatus, Forwarded, Identity,
    Lives, Member, Membership, Message, Obstacle, Origin, Position, Promise, Record, Recorded,
    Rejection, RoleStatus, SnapshotHead, Staged, Stamp, Stance, Status, Stray, Vote,
};

const EPOCH: Epoch = Epoch::new(3);

fn txid(counter: u64) -> Txid {
    Txid::new(EPOCH, counter).unwrap()
}

fn position(counter: u64) -> Position {
    Position { txid: txid(counter), chain: Digest::new(0x0102_0304_0506_0708) }
}

fn bytes(text: &str) -> Payload {
    text.as_bytes().into()
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn membership(version: Txid, incarnation: Option<u64>) -> Arc<Membership> {
    let member = |id: u32| Member {
        voter: id < 3,
        incarnation: incarnation.map(Incarnation::new),
        life: incarnation.map(|raw| Recorded { at: version, life: Life::new(raw + 1) }),
        election_addr: format!("h{id}:1"),
        message_addr: format!("h{id}:2"),
    };
    let members = [1, 2, 3].map(|id| (NodeId::new(id), member(id)));
    Arc::new(Membership::new(version, BTreeMap::from(members)))
}

fn entries() -> Vec<Entry> {
    let time = WallTime::from_millis(1_800_000_000_000);
    let origin = Origin { boot: 9, seq: 300 };
    let first = Entry::new(
        Position::ZERO,
        txid(1),
        time,
        None,
        Body::Membership(membership(txid(1), Some(5))),
    );
    let command = Body::Command(bytes("set x"));
    let second = Entry::new(first.position(), txid(2), time, Some(origin), command);
    let lives = Body::Lives(vec![(NodeId::new(2), Life::new(8))]);
    let third = Entry::new(second.position(), txid(3), time, None, lives);
    vec![first, second, third]
}

fn lives() -> Lives {
    let recorded = Some(Recorded { at: txid(1), life: Life::new(6) });
    Lives { recorded, drawn: vec![Life::new(7), Life::new(8)] }
}

fn rejections() -> [Rejection; 6] {
    [
        Rejection::WrongCluster { members: membership(Txid::ZERO, None) },
        Rejection::WrongDisk,
        Rejection::NotMember { version: txid(1) },
        Rejection::NotBefore { epoch: EPOCH, wait: Micros::millis(30_000) },
        Rejection::OldDisk,
        Rejection::Version { speaks: (2, 3) },
    ]
}

fn datagrams() -> Vec<Datagram> {
    let vote = |stance| {
        Datagram::Vote(Vote {
            from: NodeId::new(2),
            cluster: ClusterId::new(0xc1),
            incarnation: Incarnation::new(0xd2),
            stance,
            round: Round::new(4),
            candidate: Candidate { epoch: EPOCH, txid: txid(17), node: NodeId::new(3) },
            own: Candidate { epoch: EPOCH, txid: txid(16), node: NodeId::new(2) },
            abstains: true,
            hears: true,
            membership: txid(1),
            lives: lives(),
            stamp: Stamp { boot: 5, seq: 6, asks: 7, answers: 8 },
        })
    };
    let rejected = rejections().map(|why| Datagram::Rejected {
        from: NodeId::new(1),
        cluster: ClusterId::new(0xc1),
        why,
        omitted: 0,
    });
    let votes = [
        vote(Stance::Looking),
        vote(Stance::Following(None)),
        vote(Stance::Following(Some(EPOCH))),
        vote(Stance::Leading(None)),
        vote(Stance::Leading(Some(EPOCH))),
    ];
    votes.into_iter().chain(rejected).collect()
}

fn messages() -> Vec<Message> {
    let (epoch, nonce) = (EPOCH, 8);
    let mut messages = vec![
        Message::FollowerInfo(FollowerInfo {
            node: NodeId::new(2),
            cluster: ClusterId::new(0xc1),
            incarnation: Incarnation::new(0xd2),
            lives: lives(),
            accepted: EPOCH,
            membership: txid(1),
            versions: (1, 1),
            client_addr: "h2:3".into(),
        }),
        Message::LeaderInfo {
            epoch,
            client_addr: "h3:3".into(),
            ping: Micros::millis(100),
            sync: Micros::millis(800),
        },
        Message::EpochAck(EpochAck {
            epoch,
            counted: true,
            current: Epoch::new(2),
            last: position(17),
            base: Txid::ZERO,
            commit: txid(16),
            staged: Some(Staged { at: position(9), received: 300, whole: true }),
        }),
        Message::EpochNack { accepted: epoch },
        Message::Truncate { to: position(9) },
        Message::Snapshot(SnapshotHead {
            at: position(9),
            membership: membership(txid(1), Some(5)),
            digest: Digest::new(6),
            bytes: 900,
        }),
        Message::SnapshotResume { at: txid(9), from: 300 },
        Message::SnapshotChunk { from: 1, bytes: bytes("kv"), last: true },
        Message::SnapshotChunkAck { upto: 1, done: true },
        Message::LogEntries { entries: entries() },
        Message::LogEntriesAck { upto: txid(2) },
        Message::NewLeader { epoch, end: position(9) },
        Message::NewLeaderAck { epoch, end: txid(9), full: true },
        Message::UpToDate { epoch, commit: txid(9), full: true },
        Message::Propose { epoch, entries: entries() },
        Message::Ack { epoch, upto: txid(2) },
        Message::Commit { epoch, upto: txid(2) },
        Message::Ping { epoch, nonce, commit: txid(2), full: true },
        Message::Alive { epoch, work: 300 },
        Message::Pong { epoch, nonce, room: Some(300), full: true },
        Message::Forward {
            requests: vec![Forwarded {
                origin: Origin { boot: 9, seq: 300 },
                body: bytes("set x"),
            }],
        },
        Message::ReadIndex { id: 300 },
        Message::ReadIndexAck { id: 300, index: txid(2) },
    ];
    messages.extend(rejections().map(Message::Rejected));
    messages.extend(
        reasons()
            .map(|why| Message::ForwardRefused { seqs: vec![Origin { boot: 9, seq: 300 }], why }),
    );
    messages
}

fn reasons() -> [RefuseReason; 7] {
    [
        RefuseReason::NoLeader,
        RefuseReason::Busy,
        RefuseReason::TooLarge,
        RefuseReason::Stopping,
        RefuseReason::Full,
        RefuseReason::NoSpace,
        RefuseReason::TimedOut,
    ]
}

fn requests() -> Vec<ClientRequest> {
    let value = bytes("v");
    let ops = [
        Op::Write(Command::Add { path: path("a/b"), value: value.clone() }),
        Op::Write(Command::Set { path: path("a/b"), value }),
        Op::Write(Command::Delete { path: path("a/b"), recursive: true }),
        Op::Write(Command::Clear { path: path("a/b") }),
        Op::Read { query: Query::Get { path: path("a/b") }, level: ReadLevel::Linearizable },
        Op::Read {
            query: Query::List {
                path: Path::root(),
                recursive: true,
                after: Some(path("a")),
                limit: 100,
                values: true,
            },
            level: ReadLevel::Local(txid(2)),
        },
        Op::Status,
    ];
    let request = |op| ClientRequest { id: 7, timeout_ms: 5000, op };
    ops.map(request).into()
}

fn replies() -> Vec<ClientReply> {
    let stat = Stat {
        created: txid(1),
        modified: txid(2),
        created_at: WallTime::from_millis(1_800_000_000_000),
        modified_at: WallTime::from_millis(1_800_000_000_001),
        version: 1,
        children_version: 2,
        children_changed: txid(3),
        children: 2,
    };
    let found = |value| Found { path: path("a/b"), value, stat };
    let errors = [
        CommandError::Exists,
        CommandError::NotFound,
        CommandError::HasChildren,
        CommandError::Root,
        CommandError::Malformed,
        CommandError::TooMany,
        CommandError::Unfinished,
    ];
    let outcomes = errors.map(Err).into_iter().chain([Ok(stat)]);
    let answers = [
        Answer::Node(None),
        Answer::Node(Some(found(Some(bytes("v"))))),
        Answer::List(None),
        Answer::List(Some(Page { nodes: vec![found(None), found(Some(bytes("")))], more: true })),
    ];
    let mut results: Vec<End<Answer>> =
        outcomes.map(|outcome| done(txid(4), Answer::Written(outcome))).collect();
    results.extend(answers.map(|answer| done(txid(5), answer)));
    results.extend(statuses());
    results.extend(reasons().map(End::Refused));
    results.push(End::Unknown);
    results.push(End::Invalid("no".into()));
    let reply = |end| ClientReply { id: 7, end };
    results.into_iter().map(reply).collect()
}

fn done(txid: Txid, answer: Answer) -> End<Answer> {
    End::Done { txid, answer }
}

fn statuses() -> [End<Answer>; 4] {
    let roles = [
        RoleStatus::Looking,
        RoleStatus::Following { leader: NodeId::new(3), serving: true },
        RoleStatus::Leading { established: true },
        RoleStatus::Halted,
    ];
    roles.map(|role| {
        let status = Status {
            node: NodeId::new(2),
            incarnation: Incarnation::new(0xd2),
            role,
            leader_addr: "h3:3".into(),
            accepted: EPOCH,
            current: EPOCH,
            round: Round::new(4),
            base: Txid::ZERO,
            last: txid(9),
            durable: txid(8),
            committed: txid(7),
            applied: txid(6),
            digest: Digest::new(6),
            membership: membership(txid(1), Some(5)),
            log_bytes: 1000,
            waiting: 2,
            longest_turn: Micros::new(300),
            strays: vec![Stray { node: NodeId::new(3), from: "10.0.0.9:5".into(), votes: 2 }],
            followers: vec![FollowerStatus {
                node: NodeId::new(1),
                client_addr: "h1:3".into(),
                matched: txid(8),
                lag: 1,
                heard: Micros::millis(20),
                ready: true,
            }],
            obstacles: vec![
                Obstacle::Forming { missing: vec![NodeId::new(1), NodeId::new(3)] },
                Obstacle::NoLeader { missing: vec![NodeId::new(3)] },
                Obstacle::CatchingUp { leader: NodeId::new(3) },
                Obstacle::TakingOver { missing: Vec::new() },
                Obstacle::Installing {
                    leader: NodeId::new(3),
                    bytes: 100,
                    total: Some(700),
                    sealing: false,
                },
                Obstacle::Disk { unflushed: Micros::millis(1500) },
                Obstacle::Halted,
                Obstacle::DiskFull,
                Obstacle::StateFull,
                Obstacle::EnsembleFull,
            ],
        };
        done(status.applied, Answer::Status(Box::new(status)))
    })
}

fn records() -> Vec<Record> {
    let base = Base { at: position(9), membership: membership(txid(1), Some(5)) };
    vec![
        Record::Promise(Promise { epoch: EPOCH, leader: NodeId::new(3) }),
        Record::Append { entries: entries(), commit: txid(1) },
        Record::append(entries()),
        Record::Truncate(position(9)),
        Record::Truncate(Position::ZERO),
        Record::Enter(EPOCH),
        Record::Install { base: base.clone(), stage: 2, digest: Digest::new(6) },
        Record::Prune(base),
        Record::Commit(txid(1)),
        Record::Begin(lives()),
    ]
}

fn identity() -> Identity {
    Identity {
        cluster: ClusterId::new(0xc1),
        node: NodeId::new(2),
        incarnation: Incarnation::new(0xd2),
    }
}

fn head() -> SegmentHead {
    SegmentHead {
        identity: identity(),
        initial: membership(Txid::ZERO, None),
        promise: Some(Promise { epoch: EPOCH, leader: NodeId::new(3) }),
        current: Epoch::new(2),
        committed: txid(1),
        base: Base { at: Position::ZERO, membership: membership(Txid::ZERO, None) },
        last: position(9),
        lives: lives(),
        entered: true,
    }
}

/// The lines of the golden file: what each value is, and its bytes.
#[derive(Default)]
struct Golden(String);

impl Golden {
    /// Adds a value, after making sure that its bytes are read as the same value.
    fn add<T: Debug + PartialEq>(&mut self, value: &T, bytes: &[u8], decoded: &T) {
        assert_eq!(decoded, value);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.push_str(&format!("{value:?}\n    {hex}\n"));
    }
}

#[test]
fn the_bytes_of_every_message_and_record_are_frozen() {
    let mut golden = Golden::default();
    for value in datagrams() {
        let bytes = encode_datagram(&value);
        golden.add(&value, &bytes, &decode_datagram(&bytes).unwrap());
    }
    for value in messages() {
        let bytes = framed(|out| peer::encode(&value, out));
        let decoded = peer::decode(&parsed(&bytes, Kind::Peer)).unwrap();
        golden.add(&value, &bytes, &decoded);
    }
    for value in requests() {
        let bytes = framed(|out| client::encode_request(&value, out));
        let decoded = client::decode_request(&parsed(&bytes, Kind::Request)).unwrap();
        golden.add(&value, &bytes, &decoded);
    }
    for value in replies() {
        let bytes = framed(|out| client::encode_reply(&value, out));
        let decoded = client::decode_reply(&parsed(&bytes, Kind::Reply)).unwrap();
        golden.add(&value, &bytes, &decoded);
    }
    for value in records() {
        let bytes = framed(|out| record::encode(&value, out));
        golden.add(&value, &bytes, &record::decode(&bytes).unwrap());
    }
    let bytes = framed(|out| record::encode_identity(identity(), out));
    golden.add(&identity(), &bytes, &record::decode_identity(&bytes).unwrap());
    let bytes = framed(|out| record::encode_head(&head(), out));
    golden.add(&head(), &bytes, &record::decode_head(&bytes).unwrap());

    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/golden.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, &golden.0).unwrap();
    }
    let frozen = std::fs::read_to_string(file).unwrap_or_default();
    for (now, then) in golden.0.lines().zip(frozen.lines()) {
        assert_eq!(now, then, "the format has changed");
    }
    assert_eq!(golden.0.lines().count(), frozen.lines().count());
}

#[test]
fn every_kind_of_message_between_nodes_has_frozen_bytes() {
    // The kinds are counted on the wire: the field's number is the first byte or two of the body.
    let proto = include_str!("../../proto/zabkeeper/v1/peer.proto");
    let (_, rest) = proto.split_once("oneof message {").unwrap();
    let (kinds, _) = rest.split_once('}').unwrap();
    let declared = kinds.lines().filter(|line| line.ends_with(';')).count();
    let frozen: BTreeSet<u64> = messages()
        .iter()
        .map(|message| {
            let bytes = framed(|out| peer::encode(message, out));
            let mut body = parsed(&bytes, Kind::Peer).body();
            prost::encoding::decode_varint(&mut body).unwrap() >> 3
        })
        .collect();
    assert_eq!(frozen.len(), declared);
}
