//! Strategies that draw any value that the wire can carry, for property tests here and elsewhere.
//! Numbers lean towards their ends, where encodings change their length. What is made of many parts
//! is boxed: the state of the whole would not fit a test thread's stack.

use crate::Datagram;
use crate::client::{ClientReply, ClientRequest};
use crate::record::SegmentHead;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use zabkeeper_core::store::{
    Answer, Command, CommandError, Found, Op, Outcome, Page, Path, Query, Stat,
};
use zabkeeper_core::words::{
    ClusterId, Digest, End, Epoch, Incarnation, Life, Micros, NodeId, Payload, ReadLevel,
    RefuseReason, Round, Txid, WallTime,
};
use zabkeeper_core::zab::{
    Base, Body, Candidate, Entry, EpochAck, FollowerInfo, FollowerStatus, Forwarded, Identity,
    Lives, Member, Membership, Message, Obstacle, Origin, Position, Promise, Record, Recorded,
    Rejection, RoleStatus, SnapshotHead, Staged, Stamp, Stance, Status, Stray, Vote,
};

/// Bytes that were damaged on the way: some of them, from `at` on, are others now.
pub fn damaged(mut bytes: Vec<u8>, at: prop::sample::Index, others: Vec<u8>) -> Vec<u8> {
    let at = at.index(bytes.len() + 1);
    let end = (at + others.len()).min(bytes.len());
    bytes.splice(at..end, others);
    bytes
}

/// Any number, often a small one or the greatest.
pub fn number() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![Just(0), 1_u64..300, any::<u64>(), Just(u64::MAX)]
}

/// Any node's id.
pub fn node() -> impl Strategy<Value = NodeId> + Clone {
    prop_oneof![1_u32..8, 1_u32..=u32::MAX].prop_map(NodeId::new)
}

/// The epoch of a leader.
pub fn reign() -> impl Strategy<Value = Epoch> + Clone {
    number().prop_map(|raw| Epoch::new(raw.max(1)))
}

/// An epoch, or none.
pub fn epoch() -> impl Strategy<Value = Epoch> + Clone {
    number().prop_map(Epoch::new)
}

/// The name of an entry.
pub fn entry_id() -> impl Strategy<Value = Txid> + Clone {
    (reign(), number()).prop_map(|(epoch, counter)| {
        Txid::new(epoch, counter.max(1)).unwrap_or_else(|| Txid::first(epoch))
    })
}

/// The name of an entry, or none.
pub fn txid() -> impl Strategy<Value = Txid> + Clone {
    prop_oneof![1 => Just(Txid::ZERO), 4 => entry_id()]
}

/// A place in a history.
pub fn position() -> impl Strategy<Value = Position> + Clone {
    let somewhere = (entry_id(), digest()).prop_map(|(txid, chain)| Position { txid, chain });
    prop_oneof![1 => Just(Position::ZERO), 4 => somewhere]
}

/// Any digest.
pub fn digest() -> impl Strategy<Value = Digest> + Clone {
    number().prop_map(Digest::new)
}

/// Any disk.
pub fn incarnation() -> impl Strategy<Value = Incarnation> + Clone {
    number().prop_map(Incarnation::new)
}

/// Up to 40 bytes, sometimes some hundred.
pub fn payload() -> impl Strategy<Value = Payload> + Clone {
    prop_oneof![4 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 100..400)]
        .prop_map(Payload::from)
}

/// An address, or something else that people write there.
pub fn address() -> impl Strategy<Value = String> + Clone {
    prop_oneof!["[a-z]{1,12}:[0-9]{1,5}", "\\PC{0,20}"]
}

/// A recorded life.
pub fn recorded() -> impl Strategy<Value = Recorded> + Clone {
    (entry_id(), life()).prop_map(|(at, life)| Recorded { at, life })
}

fn life() -> impl Strategy<Value = Life> + Clone {
    number().prop_map(Life::new)
}

/// The lives of a disk.
pub fn lives() -> impl Strategy<Value = Lives> + Clone {
    (option::of(recorded()), vec(life(), 0..4))
        .prop_map(|(recorded, drawn)| Lives { recorded, drawn })
}

/// A membership of this version.
pub fn membership_of(version: Txid) -> BoxedStrategy<Arc<Membership>> {
    let disk = (option::of(incarnation()), option::of(recorded()));
    let member = (any::<bool>(), disk, address(), address());
    let member = member.prop_map(|(voter, (incarnation, life), election_addr, message_addr)| {
        Member { voter, incarnation, life, election_addr, message_addr }
    });
    btree_map(node(), member, 1..8)
        .prop_map(move |members| Arc::new(Membership::new(version, members)))
        .boxed()
}

/// A membership.
pub fn membership() -> BoxedStrategy<Arc<Membership>> {
    txid().prop_flat_map(membership_of).boxed()
}

/// Who asked for an entry.
pub fn origin() -> impl Strategy<Value = Origin> + Clone {
    (any::<u64>(), number()).prop_map(|(boot, seq)| Origin { boot, seq })
}

/// A log entry. Its digest is any, and two of them do not follow each other.
pub fn entry() -> BoxedStrategy<Entry> {
    let body = |txid| {
        prop_oneof![
            4 => payload().prop_map(Body::Command),
            1 => membership_of(txid).prop_map(Body::Membership),
            1 => btree_map(node(), life(), 1..4)
                .prop_map(|lives| Body::Lives(lives.into_iter().collect())),
        ]
    };
    let named = entry_id().prop_flat_map(move |txid| (Just(txid), body(txid)));
    (named, txid(), number(), option::of(origin()), digest())
        .prop_map(|((txid, body), prev, time, origin, chain)| Entry {
            txid,
            prev,
            time: WallTime::from_millis(time),
            origin,
            body,
            chain,
        })
        .boxed()
}

/// Up to three entries.
pub fn entries() -> impl Strategy<Value = Vec<Entry>> + Clone {
    vec(entry(), 0..4)
}

/// Why a node will not talk to another.
pub fn rejection() -> BoxedStrategy<Rejection> {
    prop_oneof![
        membership().prop_map(|members| Rejection::WrongCluster { members }),
        Just(Rejection::WrongCluster {
            members: Arc::new(Membership::new(Txid::ZERO, BTreeMap::new())),
        }),
        Just(Rejection::WrongDisk),
        txid().prop_map(|version| Rejection::NotMember { version }),
        (reign(), micros()).prop_map(|(epoch, wait)| Rejection::NotBefore { epoch, wait }),
        Just(Rejection::OldDisk),
        versions().prop_map(|speaks| Rejection::Version { speaks }),
    ]
    .boxed()
}

fn versions() -> impl Strategy<Value = (u32, u32)> + Clone {
    (any::<u32>(), any::<u32>()).prop_map(|(a, b)| (a.min(b), a.max(b)))
}

/// Why a request was not done.
pub fn refuse_reason() -> impl Strategy<Value = RefuseReason> + Clone {
    prop_oneof![
        Just(RefuseReason::NoLeader),
        Just(RefuseReason::Busy),
        Just(RefuseReason::TooLarge),
        Just(RefuseReason::Stopping),
        Just(RefuseReason::Full),
        Just(RefuseReason::NoSpace),
        Just(RefuseReason::TimedOut),
    ]
}

/// A vote.
pub fn vote() -> BoxedStrategy<Vote> {
    let stance = prop_oneof![
        Just(Stance::Looking),
        option::of(reign()).prop_map(Stance::Following),
        option::of(reign()).prop_map(Stance::Leading),
    ];
    let candidates = (candidate(), candidate());
    let sender = (node(), number(), incarnation(), any::<bool>(), any::<bool>(), lives());
    (sender, stance, number(), candidates, txid(), stamp())
        .prop_map(|(sender, stance, round, (candidate, own), membership, stamp)| {
            let (from, cluster, incarnation, abstains, hears, lives) = sender;
            Vote {
                from,
                cluster: ClusterId::new(cluster),
                incarnation,
                stance,
                round: Round::new(round),
                candidate,
                own,
                abstains,
                hears,
                membership,
                lives,
                stamp,
            }
        })
        .boxed()
}

fn candidate() -> impl Strategy<Value = Candidate> {
    (epoch(), txid(), node()).prop_map(|(epoch, txid, node)| Candidate { epoch, txid, node })
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (1..u64::MAX, number(), number(), number()).prop_map(|(boot, seq, asks, answers)| Stamp {
        boot,
        seq,
        asks,
        answers,
    })
}

fn micros() -> impl Strategy<Value = Micros> + Clone {
    number().prop_map(Micros::new)
}

/// A datagram as a sender makes it.
pub fn datagram() -> BoxedStrategy<Datagram> {
    let rejected = (node(), number(), rejection());
    prop_oneof![
        vote().prop_map(Datagram::Vote),
        rejected.prop_map(|(from, cluster, why)| Datagram::Rejected {
            from,
            cluster: ClusterId::new(cluster),
            why,
            omitted: 0,
        }),
    ]
    .boxed()
}

/// A message between nodes.
pub fn message() -> BoxedStrategy<Message> {
    prop_oneof![3 => discovery(), 4 => synchronisation(), 7 => broadcast()].boxed()
}

fn discovery() -> BoxedStrategy<Message> {
    let sender = (node(), number(), incarnation(), lives(), epoch());
    let info = (sender, txid(), versions(), address()).prop_map(
        |((node, cluster, incarnation, lives, accepted), membership, versions, client_addr)| {
            FollowerInfo {
                node,
                cluster: ClusterId::new(cluster),
                incarnation,
                lives,
                accepted,
                membership,
                versions,
                client_addr,
            }
        },
    );
    let epochs = (reign(), any::<bool>(), epoch());
    let staged = (position(), number(), any::<bool>()).prop_map(|(at, received, whole)| Staged {
        at,
        received,
        whole,
    });
    let staged = option::of(staged);
    let ack = (epochs, position(), txid(), txid(), staged).prop_map(
        |((epoch, counted, current), last, base, commit, staged)| EpochAck {
            epoch,
            counted,
            current,
            last,
            base,
            commit,
            staged,
        },
    );
    prop_oneof![
        info.prop_map(Message::FollowerInfo),
        rejection().prop_map(Message::Rejected),
        (reign(), address(), micros(), micros()).prop_map(|(epoch, client_addr, ping, sync)| {
            Message::LeaderInfo { epoch, client_addr, ping, sync }
        }),
        ack.prop_map(Message::EpochAck),
        reign().prop_map(|accepted| Message::EpochNack { accepted }),
    ]
    .boxed()
}

fn synchronisation() -> BoxedStrategy<Message> {
    let head = (position(), membership(), digest(), number())
        .prop_map(|(at, membership, digest, bytes)| SnapshotHead { at, membership, digest, bytes });
    let chunk = (number(), payload(), any::<bool>());
    prop_oneof![
        position().prop_map(|to| Message::Truncate { to }),
        head.prop_map(Message::Snapshot),
        (txid(), number()).prop_map(|(at, from)| Message::SnapshotResume { at, from }),
        chunk.prop_map(|(from, bytes, last)| Message::SnapshotChunk { from, bytes, last }),
        (number(), any::<bool>()).prop_map(|(upto, done)| Message::SnapshotChunkAck { upto, done }),
        entries().prop_map(|entries| Message::LogEntries { entries }),
        txid().prop_map(|upto| Message::LogEntriesAck { upto }),
        (reign(), position()).prop_map(|(epoch, end)| Message::NewLeader { epoch, end }),
        (reign(), txid(), any::<bool>()).prop_map(|(epoch, end, full)| Message::NewLeaderAck {
            epoch,
            end,
            full
        }),
        (reign(), txid(), any::<bool>()).prop_map(|(epoch, commit, full)| Message::UpToDate {
            epoch,
            commit,
            full
        }),
    ]
    .boxed()
}

fn broadcast() -> BoxedStrategy<Message> {
    let forwarded = (origin(), payload()).prop_map(|(origin, body)| Forwarded { origin, body });
    prop_oneof![
        (reign(), entries()).prop_map(|(epoch, entries)| Message::Propose { epoch, entries }),
        (reign(), txid()).prop_map(|(epoch, upto)| Message::Ack { epoch, upto }),
        (reign(), txid()).prop_map(|(epoch, upto)| Message::Commit { epoch, upto }),
        (reign(), number(), txid(), any::<bool>()).prop_map(|(epoch, nonce, commit, full)| {
            Message::Ping { epoch, nonce, commit, full }
        }),
        (reign(), number()).prop_map(|(epoch, work)| Message::Alive { epoch, work }),
        (reign(), number(), option::of(number()), any::<bool>())
            .prop_map(|(epoch, nonce, room, full)| Message::Pong { epoch, nonce, room, full }),
        vec(forwarded, 0..4).prop_map(|requests| Message::Forward { requests }),
        (vec(origin(), 0..4), refuse_reason())
            .prop_map(|(seqs, why)| Message::ForwardRefused { seqs, why }),
        number().prop_map(|id| Message::ReadIndex { id }),
        (number(), txid()).prop_map(|(id, index)| Message::ReadIndexAck { id, index }),
    ]
    .boxed()
}

/// A path, the root among them.
pub fn path() -> impl Strategy<Value = Path> + Clone {
    vec("[a-zäöü ._-]{0,8}z", 0..4)
        .prop_map(|segments| Path::parse(&segments.join("/")).unwrap_or_default())
}

/// A command.
pub fn command() -> BoxedStrategy<Command> {
    prop_oneof![
        (path(), payload()).prop_map(|(path, value)| Command::Add { path, value }),
        (path(), payload()).prop_map(|(path, value)| Command::Set { path, value }),
        (path(), any::<bool>()).prop_map(|(path, recursive)| Command::Delete { path, recursive }),
        path().prop_map(|path| Command::Clear { path }),
    ]
    .boxed()
}

/// A query.
pub fn query() -> BoxedStrategy<Query> {
    let list = (path(), any::<bool>(), option::of(path()), any::<u32>(), any::<bool>());
    prop_oneof![
        path().prop_map(|path| Query::Get { path }),
        list.prop_map(|(path, recursive, after, limit, values)| Query::List {
            path,
            recursive,
            after,
            limit,
            values,
        }),
    ]
    .boxed()
}

/// A client's request.
pub fn request() -> BoxedStrategy<ClientRequest> {
    let level = prop_oneof![Just(ReadLevel::Linearizable), txid().prop_map(ReadLevel::Local)];
    let op = prop_oneof![
        4 => command().prop_map(Op::Write),
        4 => (query(), level).prop_map(|(query, level)| Op::Read { query, level }),
        1 => Just(Op::Status),
    ];
    (number(), any::<u32>(), op)
        .prop_map(|(id, timeout_ms, op)| ClientRequest { id, timeout_ms, op })
        .boxed()
}

/// A node's stat.
pub fn stat() -> BoxedStrategy<Stat> {
    let times = (number(), number());
    let counts = (number(), number(), number());
    (txid(), txid(), txid(), times, counts)
        .prop_map(|(created, modified, children_changed, times, counts)| Stat {
            created,
            modified,
            created_at: WallTime::from_millis(times.0),
            modified_at: WallTime::from_millis(times.1),
            version: counts.0,
            children_version: counts.1,
            children_changed,
            children: counts.2,
        })
        .boxed()
}

/// What a command did.
pub fn outcome() -> BoxedStrategy<Outcome> {
    let error = prop_oneof![
        Just(CommandError::Exists),
        Just(CommandError::NotFound),
        Just(CommandError::HasChildren),
        Just(CommandError::Root),
        Just(CommandError::Malformed),
        Just(CommandError::TooMany),
        Just(CommandError::Unfinished),
    ];
    prop_oneof![stat().prop_map(Ok), error.prop_map(Err)].boxed()
}

/// The answer to a query.
pub fn answer() -> BoxedStrategy<Answer> {
    let found = (path(), option::of(payload()), stat()).prop_map(|(path, value, stat)| Found {
        path,
        value,
        stat,
    });
    let page =
        (vec(found.clone(), 0..4), any::<bool>()).prop_map(|(nodes, more)| Page { nodes, more });
    prop_oneof![option::of(found).prop_map(Answer::Node), option::of(page).prop_map(Answer::List),]
        .boxed()
}

/// A node's state.
pub fn status() -> BoxedStrategy<Status> {
    let role = prop_oneof![
        Just(RoleStatus::Looking),
        (node(), any::<bool>())
            .prop_map(|(leader, serving)| RoleStatus::Following { leader, serving }),
        any::<bool>().prop_map(|established| RoleStatus::Leading { established }),
        Just(RoleStatus::Halted),
    ];
    let follower = (node(), address(), txid(), number(), number(), any::<bool>());
    let follower = follower.prop_map(|(node, client_addr, matched, lag, heard, ready)| {
        FollowerStatus { node, client_addr, matched, lag, heard: Micros::new(heard), ready }
    });
    let stray =
        (node(), address(), number()).prop_map(|(node, from, votes)| Stray { node, from, votes });
    let node = (node(), incarnation(), role, address());
    let epochs = (epoch(), epoch(), number());
    let txids = (txid(), txid(), txid(), txid(), txid());
    let sizes = (any::<usize>(), any::<usize>(), number(), vec(stray, 0..3));
    let rest = (digest(), membership(), vec(follower, 0..4), vec(obstacle(), 0..3));
    (node, epochs, txids, sizes, rest)
        .prop_map(|(node, epochs, txids, sizes, rest)| Status {
            node: node.0,
            incarnation: node.1,
            role: node.2,
            leader_addr: node.3,
            accepted: epochs.0,
            current: epochs.1,
            round: Round::new(epochs.2),
            base: txids.0,
            last: txids.1,
            durable: txids.2,
            committed: txids.3,
            applied: txids.4,
            digest: rest.0,
            membership: rest.1,
            log_bytes: sizes.0,
            waiting: sizes.1,
            longest_turn: Micros::new(sizes.2),
            strays: sizes.3,
            followers: rest.2,
            obstacles: rest.3,
        })
        .boxed()
}

fn installing() -> BoxedStrategy<Obstacle> {
    let total = option::of(1..u64::MAX);
    (node(), number(), total, any::<bool>())
        .prop_map(|(leader, bytes, total, sealing)| Obstacle::Installing {
            leader,
            bytes,
            total,
            sealing,
        })
        .boxed()
}

fn obstacle() -> BoxedStrategy<Obstacle> {
    let missing = || vec(node(), 0..4);
    prop_oneof![
        missing().prop_map(|missing| Obstacle::Forming { missing }),
        missing().prop_map(|missing| Obstacle::NoLeader { missing }),
        node().prop_map(|leader| Obstacle::CatchingUp { leader }),
        installing(),
        missing().prop_map(|missing| Obstacle::TakingOver { missing }),
        number().prop_map(|micros| Obstacle::Disk { unflushed: Micros::new(micros) }),
        Just(Obstacle::Halted),
        Just(Obstacle::DiskFull),
        Just(Obstacle::StateFull),
        Just(Obstacle::EnsembleFull),
    ]
    .boxed()
}

/// A reply to a client.
pub fn reply() -> BoxedStrategy<ClientReply> {
    let end = prop_oneof![
        4 => (entry_id(), outcome())
            .prop_map(|(txid, outcome)| End::Done { txid, answer: Answer::Written(outcome) }),
        4 => (txid(), answer()).prop_map(|(applied, answer)| End::Done { txid: applied, answer }),
        1 => status().prop_map(|status| {
            End::Done { txid: status.applied, answer: Answer::Status(Box::new(status)) }
        }),
        1 => refuse_reason().prop_map(End::Refused),
        1 => Just(End::Unknown),
        1 => "\\PC{0,60}".prop_map(End::Invalid),
    ];
    (number(), end).prop_map(|(id, end)| ClientReply { id, end }).boxed()
}

fn promise() -> impl Strategy<Value = Promise> + Clone {
    (reign(), node()).prop_map(|(epoch, leader)| Promise { epoch, leader })
}

fn base() -> BoxedStrategy<Base> {
    (position(), membership()).prop_map(|(at, membership)| Base { at, membership }).boxed()
}

/// A record of the journal.
pub fn record() -> BoxedStrategy<Record> {
    prop_oneof![
        promise().prop_map(Record::Promise),
        (entries(), txid()).prop_map(|(entries, commit)| Record::Append { entries, commit }),
        position().prop_map(Record::Truncate),
        reign().prop_map(Record::Enter),
        (base(), number(), digest()).prop_map(|(base, stage, digest)| Record::Install {
            base,
            stage,
            digest
        }),
        base().prop_map(Record::Prune),
        entry_id().prop_map(Record::Commit),
        lives().prop_map(Record::Begin),
    ]
    .boxed()
}

/// A directory's identity.
pub fn identity() -> impl Strategy<Value = Identity> + Clone {
    (number(), node(), incarnation()).prop_map(|(cluster, node, incarnation)| Identity {
        cluster: ClusterId::new(cluster),
        node,
        incarnation,
    })
}

/// The head of a journal segment.
pub fn segment_head() -> BoxedStrategy<SegmentHead> {
    let names = (identity(), membership());
    let log = (txid(), base(), position());
    (names, option::of(promise()), epoch(), log, (lives(), any::<bool>()))
        .prop_map(|(names, promise, current, log, (lives, entered))| SegmentHead {
            identity: names.0,
            initial: names.1,
            promise,
            current,
            committed: log.0,
            base: log.1,
            last: log.2,
            lives,
            entered,
        })
        .boxed()
}
