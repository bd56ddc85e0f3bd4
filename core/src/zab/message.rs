//! What nodes say to each other: votes over UDP, everything else over TCP in order.
//!
//! Names and steps follow the Zab paper: discovery (FOLLOWER-INFO, LEADER-INFO, EPOCH-ACK),
//! synchronisation (TRUNCATE, SNAPSHOT, SNAPSHOT-RESUME, LOG-ENTRIES, NEW-LEADER, NEW-LEADER-ACK, UP-TO-DATE) and
//! broadcast (PROPOSE, ACK, COMMIT). `docs/protocol.md` maps each rule to the code that keeps it.

use crate::words::{
    ClusterId, Digest, Epoch, Incarnation, Micros, NodeId, Payload, RefuseReason, Round, Txid,
};
use crate::zab::history::entry::{Entry, Origin, Position};
use crate::zab::membership::lives::Lives;
use crate::zab::membership::quorum::Membership;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a node stands for in an election. The derived order is the vote order: the epoch of the
/// last history it acknowledged as a whole, then the last entry on its disk, then its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Candidate {
    /// The durable `current_epoch` of the proposed leader, not the epoch of its last entry.
    pub epoch: Epoch,
    /// The last entry on its disk.
    pub txid: Txid,
    /// The proposed leader.
    pub node: NodeId,
}

/// What the sender of a vote is doing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stance {
    /// It looks for a leader.
    Looking,
    /// It follows the proposed leader; established in the given epoch, if it is.
    Following(Option<Epoch>),
    /// It is the proposed leader; established in the given epoch, if it is.
    Leading(Option<Epoch>),
}

/// By what a datagram is known to be the present word of its sender. All zero only where nobody
/// looks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Stamp {
    /// The sender's process: drawn at its start.
    pub boot: u64,
    /// Counts what this process sends.
    pub seq: u64,
    /// A question to the receiver: who answers it is there now.
    pub asks: u64,
    /// The answer to the receiver's question, as last heard.
    pub answers: u64,
}

/// An election datagram. May be lost, doubled, reordered, and arrive years late.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Vote {
    /// The sender.
    pub from: NodeId,
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender's disk.
    pub incarnation: Incarnation,
    /// What the sender is doing.
    pub stance: Stance,
    /// The election round.
    pub round: Round,
    /// Whom it votes for, and what it was told by that node itself.
    pub candidate: Candidate,
    /// What the sender itself stands for: what anybody else says of it does not count.
    pub own: Candidate,
    /// True if the sender asks not to be elected for a while: it was, and nobody came.
    pub abstains: bool,
    /// True if the sender hears a majority of the voters, itself included, in this round.
    pub hears: bool,
    /// The version of the newest membership it has committed.
    pub membership: Txid,
    /// The lives of the sender's disk. None drawn if they are too many for a datagram.
    pub lives: Lives,
    /// What tells the present word of the sender from an old or forged one.
    pub stamp: Stamp,
}

/// FOLLOWER-INFO: the first message on a connection, from the one that dialled.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FollowerInfo {
    /// The sender.
    pub node: NodeId,
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender's disk.
    pub incarnation: Incarnation,
    /// The lives of that disk.
    pub lives: Lives,
    /// The highest epoch the sender has promised.
    pub accepted: Epoch,
    /// The version of the newest membership it has committed.
    pub membership: Txid,
    /// The oldest and newest protocol versions that the sender speaks.
    pub versions: (u32, u32),
    /// Where the sender answers clients; a hint for status tables.
    pub client_addr: String,
}

/// EPOCH-ACK: a follower's history, and whether it supports the leader's claim on the epoch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EpochAck {
    /// The epoch acknowledged.
    pub epoch: Epoch,
    /// True if the sender's promise for this epoch is to this leader. A follower that promised the
    /// same epoch to another may be synchronised but is not counted.
    pub counted: bool,
    /// Its durable `current_epoch`.
    pub current: Epoch,
    /// The end of its durable log.
    pub last: Position,
    /// Its oldest position: everything up to it is in a snapshot.
    pub base: Txid,
    /// What it knows to be committed.
    pub commit: Txid,
    /// A snapshot that it has received in part, over a connection that broke.
    pub staged: Option<Staged>,
}

/// What a follower has of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Staged {
    /// The last entry contained in it.
    pub at: Position,
    /// How many bytes of its stream the follower has.
    pub received: u64,
    /// True if that is all of it, and it is good: whoever has the same history needs to send none of
    /// it.
    pub whole: bool,
}

/// SNAPSHOT: the application's whole state follows, as a stream of bytes cut into parts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SnapshotHead {
    /// The last entry contained in the state.
    pub at: Position,
    /// The committed membership at that entry.
    pub membership: Arc<Membership>,
    /// The digest of the state; what is received must give the same.
    pub digest: Digest,
    /// About what the state takes in memory, by the application's own measure; 0 if it has none.
    pub bytes: u64,
}

/// One element of a snapshot or checkpoint: the application decides what keys and values mean.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Item {
    /// The element's name; no two elements of one state share it.
    pub key: Payload,
    /// Its content.
    pub value: Payload,
}

/// A client's write on its way to the leader.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Forwarded {
    /// Who asks.
    pub origin: Origin,
    /// The command.
    pub body: Payload,
}

/// Why a node will not talk to another at all.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Rejection {
    /// The sender's list of peers is another one.
    WrongCluster {
        /// The rejecting node's list, for the error message; nobody, to whom it is not told.
        members: Arc<Membership>,
    },
    /// The ensemble knows this node by another disk. Which one is nobody else's business.
    WrongDisk,
    /// The sender's disk is not the one that acknowledged: an older or copied directory, or one
    /// that lost what it had.
    OldDisk,
    /// The node is not a member.
    NotMember {
        /// The membership that says so.
        version: Txid,
    },
    /// This leader cannot take the node in now: the node has promised a higher epoch, and the
    /// leader gives up for that once in a while only.
    NotBefore {
        /// The leader's epoch.
        epoch: Epoch,
        /// So long from now.
        wait: Micros,
    },
    /// No protocol version in common.
    Version {
        /// The versions that the rejecting node speaks.
        speaks: (u32, u32),
    },
}

/// A message on a peer connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Message {
    /// Follower to leader, first on the connection.
    FollowerInfo(FollowerInfo),
    /// Either side, last on the connection.
    Rejected(Rejection),
    /// Leader: the epoch it proposes to lead.
    LeaderInfo {
        /// The epoch.
        epoch: Epoch,
        /// Where the leader answers clients; a hint for status tables.
        client_addr: String,
        /// Between two of the leader's heartbeats.
        ping: Micros,
        /// The longest silence that the leader bears; the follower bears as much.
        sync: Micros,
    },
    /// Follower: it promised the epoch, and this is its history.
    EpochAck(EpochAck),
    /// Follower: it has promised a higher epoch.
    EpochNack {
        /// The epoch it promised.
        accepted: Epoch,
    },
    /// Leader: cut the log back to this position.
    Truncate {
        /// The position, with the leader's chain at it.
        to: Position,
    },
    /// Leader: replace everything by the snapshot that follows.
    Snapshot(SnapshotHead),
    /// Leader: the snapshot that was begun on another connection goes on.
    SnapshotResume {
        /// The last entry contained in it.
        at: Txid,
        /// The byte of its stream that comes next.
        from: u64,
    },
    /// Leader: a part of the snapshot's stream of elements, cut anywhere.
    SnapshotChunk {
        /// How many bytes of the stream come before it.
        from: u64,
        /// The part.
        bytes: Payload,
        /// True for the last part.
        last: bool,
    },
    /// Follower: its state store has taken in the snapshot up to here. Cumulative.
    SnapshotChunkAck {
        /// Bytes of the stream.
        upto: u64,
        /// True if that is all of it, and the disk has made it the follower's state.
        done: bool,
    },
    /// Leader: entries of the history up to the attach point.
    LogEntries {
        /// Consecutive entries.
        entries: Vec<Entry>,
    },
    /// Follower: the history up to here is on its disk. It only paces the leader.
    LogEntriesAck {
        /// The last entry on its disk.
        upto: Txid,
    },
    /// Leader: the history up to the attach point is complete.
    NewLeader {
        /// The leader's epoch.
        epoch: Epoch,
        /// The end of the history.
        end: Position,
    },
    /// Follower: that history, and then the epoch, are on its disk.
    NewLeaderAck {
        /// The leader's epoch.
        epoch: Epoch,
        /// The end of the history.
        end: Txid,
        /// True if its disk or its memory has no room for more data.
        full: bool,
    },
    /// Leader: it is established; the follower may serve clients.
    UpToDate {
        /// The leader's epoch.
        epoch: Epoch,
        /// What is committed now, not when the synchronisation began.
        commit: Txid,
        /// True if the voters that are here and have room for more data are no quorum.
        full: bool,
    },
    /// Leader: new entries.
    Propose {
        /// The leader's epoch.
        epoch: Epoch,
        /// Consecutive entries of that epoch.
        entries: Vec<Entry>,
    },
    /// Follower: everything up to here is on its disk. Cumulative.
    Ack {
        /// The leader's epoch.
        epoch: Epoch,
        /// The last entry on disk.
        upto: Txid,
    },
    /// Leader: everything up to here is committed. Cumulative.
    Commit {
        /// The leader's epoch.
        epoch: Epoch,
        /// The last committed entry.
        upto: Txid,
    },
    /// Leader: heartbeat, and the question that confirms its reign for reads.
    Ping {
        /// The leader's epoch.
        epoch: Epoch,
        /// Counts the rounds.
        nonce: u64,
        /// What is committed.
        commit: Txid,
        /// True if the voters that are here and have room for more data are no quorum.
        full: bool,
    },
    /// Follower: it has promised nothing higher.
    Pong {
        /// The leader's epoch.
        epoch: Epoch,
        /// The round answered.
        nonce: u64,
        /// How many bytes of entries more it can take in before its disk has caught up; `None` while
        /// that is plenty.
        room: Option<u64>,
        /// True if its disk or its memory has no room for more data.
        full: bool,
    },
    /// Follower: it lives, though it has nothing else to say.
    Alive {
        /// The leader's epoch.
        epoch: Epoch,
        /// Grows with what its connection and its disk bring about.
        work: u64,
    },
    /// Follower to leader: writes of its clients.
    Forward {
        /// In the order in which they came.
        requests: Vec<Forwarded>,
    },
    /// Leader: these were not logged, and never will be.
    ForwardRefused {
        /// The requests.
        seqs: Vec<Origin>,
        /// Why.
        why: RefuseReason,
    },
    /// Follower to leader: what must I have applied to answer a read that arrived just now?
    ReadIndex {
        /// Names the question on this connection.
        id: u64,
    },
    /// Leader: the answer, after a quorum confirmed it.
    ReadIndexAck {
        /// The question.
        id: u64,
        /// The follower must have applied this.
        index: Txid,
    },
}
