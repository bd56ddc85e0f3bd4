//! Votes and messages near what the node would expect: from noise alone, hardly one would get past
//! its first check.

use crate::input::Input;
use std::collections::BTreeMap;
use std::sync::Arc;
use zabkeeper_core::replica::App;
use zabkeeper_core::store::{Command, Path, Tree};
use zabkeeper_core::words::{
    ClusterId, ConnId, Digest, Epoch, Incarnation, Life, Micros, NodeId, Payload, RefuseReason,
    Round, Txid, WallTime,
};
use zabkeeper_core::zab::{
    Body, Candidate, Entry, EpochAck, FollowerInfo, Forwarded, Lives, Membership, Message, Node,
    Origin, Position, Recorded, Rejection, RoleStatus, SnapshotHead, Staged, Stamp, Stance, Vote,
    parts,
};

/// Makes what peers say.
pub(super) struct Messages {
    membership: Arc<Membership>,
    /// A history that a peer may have, growing.
    told: Position,
    origin: u64,
    /// What the node asked each peer last: who answers is taken for the peer.
    asked: BTreeMap<NodeId, u64>,
    sent: u64,
}

impl Messages {
    pub(super) fn new(membership: Arc<Membership>) -> Self {
        Self { membership, told: Position::ZERO, origin: 0, asked: BTreeMap::new(), sent: 0 }
    }

    /// Takes note of what the node asks a peer.
    pub(super) fn heard(&mut self, to: NodeId, stamp: Stamp) {
        self.asked.insert(to, stamp.asks);
    }

    fn stamp(&mut self, from: NodeId) -> Stamp {
        self.sent += 1;
        let answers = self.asked.get(&from).copied().unwrap_or_default();
        Stamp { boot: u64::from(from.get()), seq: self.sent, asks: 1, answers }
    }

    pub(super) fn vote(&mut self, input: &mut Input<'_>, node: &Node) -> Vote {
        let status = node.status();
        let epoch = self.epoch(input, node);
        let stance = match input.below(5) {
            0 | 1 => Stance::Looking,
            2 => Stance::Following(input.flag().then_some(epoch)),
            _ => Stance::Leading(input.flag().then_some(epoch)),
        };
        let from = peer(input);
        Vote {
            from,
            cluster: self.cluster(input),
            incarnation: incarnation(input),
            stance,
            round: match input.below(4) {
                0 => Round::new(input.number()),
                1 => status.round.next(),
                _ => status.round,
            },
            candidate: Candidate {
                epoch: self.epoch(input, node),
                txid: self.txid(input, node),
                node: if input.flag() { peer(input) } else { NodeId::new(1) },
            },
            own: Candidate {
                epoch: self.epoch(input, node),
                txid: self.txid(input, node),
                node: NodeId::new(2),
            },
            abstains: input.byte() == 1,
            hears: input.flag(),
            membership: if input.flag() { self.txid(input, node) } else { Txid::ZERO },
            lives: lives(input),
            stamp: if input.byte() == 9 { Stamp::default() } else { self.stamp(from) },
        }
    }

    /// The vote of a peer that agrees on a leader in the node's own round.
    pub(super) fn agree(&mut self, from: NodeId, leader: NodeId, node: &Node) -> Vote {
        let status = node.status();
        Vote {
            from,
            cluster: self.membership.cluster_id(),
            incarnation: Incarnation::new(u64::from(from.get())),
            stance: Stance::Looking,
            round: status.round,
            candidate: Candidate { epoch: status.current, txid: status.last, node: leader },
            own: Candidate { epoch: status.current, txid: status.last, node: from },
            abstains: false,
            hears: true,
            membership: Txid::ZERO,
            lives: Lives::first(Life::new(u64::from(from.get()))),
            stamp: self.stamp(from),
        }
    }

    /// What comes next on a connection of which the node has seen so many messages, if its peer
    /// keeps to the protocol; in some cases anything else.
    pub(super) fn likely(&mut self, input: &mut Input<'_>, node: &Node, seen: u8) -> Message {
        let status = node.status();
        if input.below(10) == 9 {
            return self.message(input, node);
        }
        match status.role {
            RoleStatus::Following { .. } => self.leader_says(input, node, seen),
            _ => self.follower_says(input, node, seen),
        }
    }

    fn leader_says(&mut self, input: &mut Input<'_>, node: &Node, seen: u8) -> Message {
        let (status, last) = (node.status(), node.log().last());
        let epoch = status.accepted;
        match seen {
            0 => {
                let epoch = epoch.next().unwrap_or(epoch);
                leader_info(epoch)
            }
            1 => match input.below(6) {
                0 => Message::Truncate { to: self.position(input, node) },
                1 => Message::Snapshot(self.snapshot(input, node)),
                _ => {
                    // A history of an earlier epoch.
                    let epoch = last.txid.epoch().max(Epoch::new(1));
                    Message::LogEntries { entries: self.entries(input, node, epoch) }
                }
            },
            2 => Message::NewLeader { epoch, end: last },
            3 => Message::UpToDate { epoch, commit: last.txid, full: false },
            _ => match input.below(4) {
                0 => Message::Commit { epoch, upto: last.txid },
                1 => Message::Ping { epoch, nonce: input.number(), commit: last.txid, full: false },
                2 => Message::ReadIndexAck { id: input.number(), index: last.txid },
                _ => Message::Propose { epoch, entries: self.entries(input, node, epoch) },
            },
        }
    }

    fn follower_says(&mut self, input: &mut Input<'_>, node: &Node, seen: u8) -> Message {
        let (status, last) = (node.status(), node.log().last());
        let epoch = status.accepted;
        match seen {
            0 => Message::FollowerInfo(self.follower_info(input, node)),
            1 => Message::EpochAck(EpochAck {
                epoch,
                counted: true,
                current: status.current,
                last: self.position(input, node),
                base: Txid::ZERO,
                commit: Txid::ZERO,
                staged: None,
            }),
            2 => Message::NewLeaderAck { epoch, end: last.txid, full: false },
            _ => match input.below(5) {
                0 => self.forward(input),
                1 => Message::ReadIndex { id: input.number() },
                2 => Message::Pong { epoch, nonce: input.number(), room: None, full: false },
                _ => Message::Ack { epoch, upto: last.txid },
            },
        }
    }

    fn message(&mut self, input: &mut Input<'_>, node: &Node) -> Message {
        let epoch = self.epoch(input, node);
        match input.below(25) {
            0 | 1 => Message::FollowerInfo(self.follower_info(input, node)),
            2 => Message::Rejected(self.rejection(input)),
            3 | 4 => leader_info(epoch),
            5 => Message::EpochAck(EpochAck {
                epoch,
                counted: input.flag(),
                current: self.epoch(input, node),
                last: self.position(input, node),
                base: if input.flag() { Txid::ZERO } else { self.txid(input, node) },
                commit: self.txid(input, node),
                staged: input.flag().then(|| Staged {
                    at: self.position(input, node),
                    received: input.number(),
                    whole: input.flag(),
                }),
            }),
            6 => Message::EpochNack { accepted: epoch },
            7 => Message::Truncate { to: self.position(input, node) },
            8 => Message::Snapshot(self.snapshot(input, node)),
            9 => self.chunk(input),
            10 => Message::SnapshotChunkAck { upto: input.number(), done: input.flag() },
            11 => Message::LogEntries { entries: self.entries(input, node, epoch) },
            12 => Message::LogEntriesAck { upto: self.txid(input, node) },
            13 => Message::NewLeader { epoch, end: self.position(input, node) },
            14 => Message::NewLeaderAck { epoch, end: self.txid(input, node), full: input.flag() },
            15 => Message::UpToDate { epoch, commit: self.txid(input, node), full: input.flag() },
            16 => Message::Propose { epoch, entries: self.entries(input, node, epoch) },
            17 => Message::Ack { epoch, upto: self.txid(input, node) },
            18 => Message::Commit { epoch, upto: self.txid(input, node) },
            19 => Message::Ping {
                epoch,
                nonce: input.number(),
                commit: self.txid(input, node),
                full: input.byte() > 127,
            },
            20 => Message::Pong {
                epoch,
                nonce: input.number(),
                room: Some(input.number()),
                full: input.byte() > 127,
            },
            21 => self.forward(input),
            22 => Message::Alive { epoch, work: input.number() },
            23 => {
                let at = self.txid(input, node);
                Message::SnapshotResume { at, from: u64::from(input.byte()) }
            }
            _ => self.read_index(input, node),
        }
    }

    /// A txid that the node has heard of, or any.
    pub(super) fn txid(&self, input: &mut Input<'_>, node: &Node) -> Txid {
        let status = node.status();
        match input.below(8) {
            0 => Txid::ZERO,
            1 => status.base,
            2 => status.committed,
            3 => status.last.next().unwrap_or(status.last),
            4 => self.told.txid,
            5 => {
                let epoch = self.epoch(input, node);
                Txid::new(epoch, input.number()).unwrap_or(Txid::ZERO)
            }
            _ => status.last,
        }
    }

    fn position(&self, input: &mut Input<'_>, node: &Node) -> Position {
        let txid = self.txid(input, node);
        let known = node.log().position_at(txid).filter(|_| input.byte() != 7);
        match known {
            Some(position) => position,
            None if txid == self.told.txid => self.told,
            None if txid.is_zero() => Position::ZERO,
            None => Position { txid, chain: Digest::new(input.number()) },
        }
    }

    fn epoch(&self, input: &mut Input<'_>, node: &Node) -> Epoch {
        let status = node.status();
        let epoch = match input.below(8) {
            0 => Epoch::new(input.number()),
            1 | 2 => status.accepted.next().unwrap_or(status.accepted),
            3 => status.current,
            _ => status.accepted,
        };
        // No leader has epoch 0; the decoder lets none through.
        if epoch == Epoch::ZERO { Epoch::new(1) } else { epoch }
    }

    /// Entries that continue the node's log, or the peer's, or nothing.
    fn entries(&mut self, input: &mut Input<'_>, node: &Node, epoch: Epoch) -> Vec<Entry> {
        let mut after = match input.below(4) {
            0 => self.told,
            1 => self.position(input, node),
            _ => node.log().last(),
        };
        let count = input.below(5);
        let mut entries = Vec::new();
        for _ in 0..count {
            let next = after.txid.next().filter(|txid| txid.epoch() == epoch);
            let txid = match input.byte() {
                9 => self.txid(input, node),
                _ => next.unwrap_or(Txid::first(epoch)),
            };
            if txid.is_zero() {
                break;
            }
            let entry = self.entry(input, after, txid);
            after = entry.position();
            entries.push(entry);
        }
        self.told = after;
        entries
    }

    fn entry(&mut self, input: &mut Input<'_>, after: Position, txid: Txid) -> Entry {
        let time = WallTime::from_millis(input.number());
        let origin = input.flag().then(|| self.origin(input));
        let body = match input.below(8) {
            0 => {
                let members = self.membership.members().clone();
                Body::Membership(Arc::new(Membership::new(txid, members)))
            }
            1 => {
                let known = self.membership.members().iter().map(|(id, member)| {
                    let mut member = member.clone();
                    member.incarnation = Some(Incarnation::new(u64::from(id.get())));
                    (*id, member)
                });
                Body::Membership(Arc::new(Membership::new(txid, known.collect())))
            }
            2 => Body::Command(input.bytes().into()),
            3 => Body::Lives(vec![(peer(input), Life::new(1 + input.below(4) as u64))]),
            _ => Body::Command(command(input)),
        };
        let mut entry = Entry::new(after, txid, time, origin, body);
        if input.byte() == 13 {
            entry.chain = Digest::new(input.number());
        }
        entry
    }

    fn follower_info(&self, input: &mut Input<'_>, node: &Node) -> FollowerInfo {
        let node_id = peer(input);
        let own = Incarnation::new(u64::from(node_id.get()));
        FollowerInfo {
            node: node_id,
            cluster: self.cluster(input),
            incarnation: if input.byte() == 8 { incarnation(input) } else { own },
            accepted: if input.flag() { Epoch::ZERO } else { self.epoch(input, node) },
            membership: if input.flag() { Txid::ZERO } else { self.txid(input, node) },
            versions: if input.byte() == 3 { (2, 3) } else { (1, 1) },
            client_addr: String::new(),
            lives: if input.byte() == 9 {
                lives(input)
            } else {
                Lives::first(Life::new(u64::from(node_id.get())))
            },
        }
    }

    fn rejection(&self, input: &mut Input<'_>) -> Rejection {
        match input.below(4) {
            0 => Rejection::NotMember { version: Txid::ZERO },
            4 => Rejection::OldDisk,
            1 => Rejection::WrongCluster { members: self.membership.clone() },
            2 => Rejection::NotBefore {
                epoch: Epoch::new(input.number() | 1),
                wait: Micros::new(input.number()),
            },
            _ => Rejection::WrongDisk,
        }
    }

    fn snapshot(&self, input: &mut Input<'_>, node: &Node) -> SnapshotHead {
        let at = match input.flag() {
            true => self.told,
            false => self.position(input, node),
        };
        let digest = match input.flag() {
            true => state(input).digest(),
            false => Digest::ZERO,
        };
        SnapshotHead { at, membership: self.membership.clone(), digest, bytes: input.number() }
    }

    fn chunk(&self, input: &mut Input<'_>) -> Message {
        let mut tree = state(input);
        let id = ConnId::new(1);
        tree.open_snapshot(id);
        let (items, last) = tree.read_snapshot(id, 1 + input.below(200));
        let mut bytes = Vec::new();
        items.iter().for_each(|item| parts::put(item, &mut bytes));
        bytes.truncate(bytes.len() - input.below(2));
        let from = u64::from(input.byte() / 64);
        Message::SnapshotChunk { from, bytes: bytes.into(), last }
    }

    fn forward(&mut self, input: &mut Input<'_>) -> Message {
        if input.below(4) == 0 {
            let seqs = vec![self.origin(input)];
            return Message::ForwardRefused { seqs, why: RefuseReason::Busy };
        }
        let count = input.below(4);
        let requests = (0..count)
            .map(|_| Forwarded { origin: self.origin(input), body: command(input) })
            .collect();
        Message::Forward { requests }
    }

    fn read_index(&self, input: &mut Input<'_>, node: &Node) -> Message {
        let id = input.number();
        match input.flag() {
            true => Message::ReadIndex { id },
            false => Message::ReadIndexAck { id, index: self.txid(input, node) },
        }
    }

    fn origin(&mut self, input: &mut Input<'_>) -> Origin {
        self.origin += 1;
        let seq = if input.flag() { self.origin } else { input.number() };
        Origin { boot: u64::from(input.byte() % 4), seq }
    }

    fn cluster(&self, input: &mut Input<'_>) -> ClusterId {
        match input.byte() {
            5 => ClusterId::new(input.number()),
            _ => self.membership.cluster_id(),
        }
    }
}

fn leader_info(epoch: Epoch) -> Message {
    let (ping, sync) = (Micros::millis(100), Micros::millis(800));
    Message::LeaderInfo { epoch, client_addr: String::new(), ping, sync }
}

/// Mostly one of the two other voters; now and then the node itself, or a stranger.
fn peer(input: &mut Input<'_>) -> NodeId {
    NodeId::new(match input.byte() {
        250.. => 9,
        240.. => 1,
        small => 2 + u32::from(small % 2),
    })
}

fn incarnation(input: &mut Input<'_>) -> Incarnation {
    Incarnation::new(match input.byte() {
        240.. => 9,
        small => 2 + u64::from(small % 2),
    })
}

fn lives(input: &mut Input<'_>) -> Lives {
    let life = |input: &mut Input<'_>| Life::new(1 + input.below(4) as u64);
    let recorded =
        input.flag().then(|| Recorded { at: Txid::first(Epoch::new(1)), life: life(input) });
    Lives { recorded, drawn: (0..input.below(3)).map(|_| life(input)).collect() }
}

fn command(input: &mut Input<'_>) -> Payload {
    let path = Path::parse(["a", "a/b", "c", "a/b/d"][input.below(4)]).expect("a path");
    match input.below(4) {
        3 => Command::Clear { path },
        0 => Command::Add { path, value: input.bytes().into() },
        1 => Command::Delete { path, recursive: input.flag() },
        _ => Command::Set { path, value: input.bytes().into() },
    }
    .encode()
}

/// A small tree.
fn state(input: &mut Input<'_>) -> Tree {
    let mut tree = Tree::empty();
    for counter in 1..=input.below(3) as u64 {
        let txid = Txid::new(Epoch::new(1), counter).expect("a txid");
        let _ = tree.apply(txid, WallTime::from_millis(counter), &command(input));
    }
    tree
}
