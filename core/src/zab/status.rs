//! What a node tells people and checkers about itself.

use crate::words::{Digest, Epoch, Incarnation, Micros, NodeId, Round, Txid};
use crate::zab::membership::quorum::Membership;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a node does, for people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RoleStatus {
    /// It looks for a leader.
    Looking,
    /// It follows, and serves once the leader says that it is up to date.
    Following {
        /// Its leader.
        leader: NodeId,
        /// True once it serves.
        serving: bool,
    },
    /// It leads, and serves once it is established.
    Leading {
        /// True once it is established.
        established: bool,
    },
    /// It has stopped for good.
    Halted,
}

/// What keeps a node from serving, or slows it down.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Obstacle {
    /// The ensemble has never formed, for which all voters must be present.
    Forming {
        /// Those that were not heard in this round of the election.
        missing: Vec<NodeId>,
    },
    /// No leader is found yet.
    NoLeader {
        /// The voters that were not heard in this round of the election.
        missing: Vec<NodeId>,
    },
    /// A leader is followed, which has not said yet that this node is up to date.
    CatchingUp {
        /// The leader.
        leader: NodeId,
    },
    /// The same, while the leader's whole state comes over.
    Installing {
        /// The leader.
        leader: NodeId,
        /// So many bytes of it are here.
        bytes: u64,
        /// Of about so many, if that is known.
        total: Option<u64>,
        /// True once all of it is here: it is looked at and made durable.
        sealing: bool,
    },
    /// The node is elected, and leads once a quorum has joined it.
    TakingOver {
        /// The voters that have not joined.
        missing: Vec<NodeId>,
    },
    /// The own disk takes long: a second and more.
    Disk {
        /// How long ago the oldest write was begun that is not durable yet.
        unflushed: Micros,
    },
    /// The node has stopped for good; its log says why.
    Halted,
    /// The own disk has less free space than it should have: what makes the state grow is refused.
    DiskFull,
    /// The state has as many bytes as it may have on this node: the same.
    StateFull,
    /// So few voters have room for more data that they are no quorum: the same.
    EnsembleFull,
}

/// What a leader knows about a follower.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FollowerStatus {
    /// The follower.
    pub node: NodeId,
    /// Where it answers clients.
    pub client_addr: String,
    /// What it has on disk.
    pub matched: Txid,
    /// How many entries it lacks.
    pub lag: u64,
    /// How long ago it was heard.
    pub heard: Micros,
    /// True once it is up to date.
    pub ready: bool,
}

/// Votes that come from another address than the voter's name stands for: they are forged, the voter
/// is behind a translator of addresses, or its name has moved.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Stray {
    /// The voter that they name.
    pub node: NodeId,
    /// Where the last of them came from.
    pub from: String,
    /// How many there were since the start.
    pub votes: u64,
}

/// A node's state, for people and checkers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The node.
    pub node: NodeId,
    /// Its disk.
    pub incarnation: Incarnation,
    /// What it does.
    pub role: RoleStatus,
    /// Where the leader, if known, answers clients; empty if not known.
    pub leader_addr: String,
    /// The epoch it promised.
    pub accepted: Epoch,
    /// The epoch whose history it holds.
    pub current: Epoch,
    /// The election round.
    pub round: Round,
    /// The start of its log.
    pub base: Txid,
    /// The end of its log.
    pub last: Txid,
    /// The end of its log on disk.
    pub durable: Txid,
    /// What it knows to be committed.
    pub committed: Txid,
    /// What it has applied.
    pub applied: Txid,
    /// The digest of its state.
    pub digest: Digest,
    /// The newest committed membership.
    pub membership: Arc<Membership>,
    /// Bytes of log in memory.
    pub log_bytes: usize,
    /// Client requests waiting.
    pub waiting: usize,
    /// The longest turn of the runtime's loop of late, during which nobody was heard; the runtime's
    /// to add.
    pub longest_turn: Micros,
    /// Votes from elsewhere, for each voter named; the runtime's to add.
    pub strays: Vec<Stray>,
    /// Its followers, if it leads.
    pub followers: Vec<FollowerStatus>,
    /// What keeps it from serving, or slows it down; empty if nothing does.
    pub obstacles: Vec<Obstacle>,
}
