//! What can go wrong, by audience: peers that break the protocol, disks that do not hold what they
//! must, and reasons for which a node stops.

use crate::words::{Epoch, Incarnation, NodeId, Txid};
use crate::zab::history::entry::Gap;
use core::fmt;

/// A peer broke the protocol. The answer is always to close the connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PeerFault {
    /// A message that this phase of the protocol does not know.
    Unexpected(&'static str),
    /// A message of another epoch than the connection's.
    Epoch {
        /// Its epoch.
        got: Epoch,
        /// The connection's.
        expected: Epoch,
    },
    /// Entries that do not continue the log.
    Gap,
    /// A commit or acknowledgement beyond what was sent.
    Beyond(Txid),
    /// A snapshot part out of order: the byte at which it begins.
    Chunk(u64),
    /// A snapshot older than the receiver's log.
    OldSnapshot(Txid),
    /// A snapshot whose content is not what its head says.
    SnapshotDigest,
    /// The history ends elsewhere than the leader says.
    History(Txid),
    /// An epoch so far above this node's own that no elections ever led there.
    EpochTooFar(Epoch),
    /// A claim about a history that no history has.
    Claim(Txid),
}

/// Why a connection is closed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// This node left the role in which it held the connection.
    RoleChange,
    /// This node is not a leader.
    NotLeading,
    /// The peer opened a newer connection.
    Replaced,
    /// The peer broke the protocol.
    Fault(PeerFault),
    /// The peer was told that it does not belong here.
    Rejected,
    /// The peer was silent for too long.
    Silent,
    /// The peer fell behind the start of the log while it was being synchronised.
    TooSlow,
    /// This node has promised a higher epoch.
    StaleEpoch,
}

/// Why a node stops for good. A person, or a new disk, must help.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum HaltReason {
    /// The disk refused a write or flush.
    Storage,
    /// The state store does not finish a checkpoint, and the log has outgrown its limit meanwhile.
    StateStoreStalled,
    /// Two nodes hold different histories that end in the same txid, or in the same epoch.
    Diverged {
        /// Where they differ.
        at: Txid,
    },
    /// The leader lacks an entry that this node knows to be committed.
    CommittedLost {
        /// What this node knows to be committed.
        commit: Txid,
        /// To what the leader would cut it.
        to: Txid,
    },
    /// The epoch numbers are exhausted.
    EpochsExhausted,
    /// The ensemble knows this node by another disk: its own was wiped or swapped.
    WrongDisk {
        /// The disk that this node has.
        ours: Incarnation,
    },
    /// The ensemble knows a later life of this node's disk, or its acknowledgement of what is not
    /// there: the directory is an older copy, a copy that is in use elsewhere, or damaged.
    OldDisk,
    /// This node is not a member any more.
    NotMember,
}

impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage => write!(f, "a write or flush to the disk failed"),
            Self::StateStoreStalled => write!(
                f,
                "the disk does not finish a checkpoint, and the log cannot be pruned without it"
            ),
            Self::Diverged { at } => write!(
                f,
                "this node's log and the leader's hold different entries under {at}; \
                 one of the two disks is damaged"
            ),
            Self::CommittedLost { commit, to } => write!(
                f,
                "the leader would cut the log to {to}, but this node knows that {commit} is \
                 committed; the leader's disk lost data"
            ),
            Self::EpochsExhausted => write!(f, "the epoch numbers are exhausted"),
            Self::WrongDisk { ours } => write!(
                f,
                "the ensemble knows this node by another disk than its data directory, {ours}: it \
                 was wiped, replaced or copied; a node without its disk cannot vote"
            ),
            Self::OldDisk => write!(
                f,
                "the ensemble has met a later life of this data directory: it is an older copy of \
                 the node's directory, or a copy of one that is in use, or its disk lost what was \
                 acknowledged; put the node's newest directory in its place, and never run two \
                 copies; a node without its disk cannot vote"
            ),
            Self::NotMember => write!(f, "this node is not a member of the ensemble"),
        }
    }
}

/// Why what is on the disk cannot be a node's state.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// The log does not continue from its start.
    Log(Gap),
    /// The stored application state is outside the log.
    Applied {
        /// The start of the log.
        base: Txid,
        /// The end of the log.
        last: Txid,
        /// The state's position.
        applied: Txid,
    },
    /// The stored application state is of another history.
    AppliedChain(Txid),
    /// The current epoch is above the promised one.
    Epochs {
        /// The promised epoch.
        accepted: Epoch,
        /// The current epoch.
        current: Epoch,
    },
    /// The log ends before what is known to be committed.
    CommittedLost {
        /// What is known to be committed.
        commit: Txid,
        /// The end of the log.
        last: Txid,
    },
    /// The log holds an entry of an epoch that was never entered or promised.
    Unpromised(Txid),
    /// No life has begun: nobody could tell this disk from a copy of it.
    NoLife,
    /// The configuration names another node than the directory.
    Node {
        /// The configured node.
        configured: NodeId,
        /// The directory's.
        stored: NodeId,
    },
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(gap) => write!(f, "the log has a hole: {gap}"),
            Self::Applied { base, last, applied } => write!(
                f,
                "the state store stands at {applied}, outside the log, which reaches from {base} \
                 to {last}"
            ),
            Self::AppliedChain(at) => {
                write!(f, "the state store at {at} belongs to another history than the log")
            }
            Self::Epochs { accepted, current } => {
                write!(f, "the current epoch {current} is above the promised {accepted}")
            }
            Self::CommittedLost { commit, last } => {
                write!(f, "the log ends at {last}, before the committed {commit}")
            }
            Self::Unpromised(at) => write!(f, "entry {at} is of an epoch that was never promised"),
            Self::NoLife => write!(f, "no life was begun before the start"),
            Self::Node { configured, stored } => {
                write!(f, "the directory belongs to {stored}, the configuration says {configured}")
            }
        }
    }
}

impl core::error::Error for RestoreError {}
impl core::error::Error for HaltReason {}
