//! A node and its application in one: what a runtime drives.

use crate::app::App;
use crate::digest::Digest;
use crate::entry::Payload;
use crate::event::{Action, Event};
use crate::ids::{Epoch, Incarnation, NodeId, Round, Ticket, Txid};
use crate::message::RefuseReason;
use crate::quorum::Membership;
use crate::time::{Instant, Micros};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReadLevel {
    /// It sees every write acknowledged before it was asked, whoever wrote. Needs a quorum.
    Linearizable,
    /// The asked node's own state, never uncommitted, perhaps old; but at least as new as this,
    /// the newest that the client has seen.
    Local(Txid),
}

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

/// What a client gets. Every request gets exactly one.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply<A: App> {
    /// The command was applied: on the disks of a quorum, and visible at this node.
    Written {
        /// The entry.
        txid: Txid,
        /// What it led to.
        outcome: A::Outcome,
    },
    /// The read's answer.
    Read {
        /// The last entry that it saw.
        applied: Txid,
        /// The answer.
        answer: A::Answer,
    },
    /// Certainly not done.
    Refused(RefuseReason),
    /// Perhaps done, perhaps not, perhaps later.
    Unknown,
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
    /// For clients.
    pub replies: Vec<(Ticket, Reply<A>)>,
}

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
    /// Its followers, if it leads.
    pub followers: Vec<FollowerStatus>,
}
