//! Transitions worth telling: the runtime logs them, the simulator draws and counts them, tests
//! compare them. The core writes no text of its own.

use crate::words::{ConnId, Epoch, Incarnation, Micros, NodeId, Round, Txid};
use crate::zab::error::PeerFault;
use crate::zab::message::{Candidate, Rejection};
use crate::zab::sync_plan::SyncKind;
use alloc::vec::Vec;

/// Why a leader gave up, or a follower left its leader.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LeaveReason {
    /// No quorum joined in time.
    InitTimeout,
    /// The quorum, or the leader, was silent for too long.
    Silence,
    /// The connection to the leader broke.
    Disconnected,
    /// A follower's history is longer than the leader's.
    Behind(NodeId),
    /// Somebody promised a higher epoch.
    HigherEpoch(Epoch),
    /// The elected leader's process is gone, or does not take this node in.
    Refused,
    /// The own disk takes too long.
    SlowDisk,
    /// The epoch's counter is used up.
    CounterFull,
    /// The peer broke the protocol.
    Fault,
    /// The peer refuses to talk to this node.
    Rejected,
    /// This node stops.
    Halting,
}

/// Why a node without a leader does not vote.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unready {
    /// Its disk has not completed a write for so long.
    Disk(Micros),
    /// It is not a voter of the membership of this version, the newest that it knows.
    NotVoter(Txid),
}

/// A transition.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Note {
    /// The node looks for a leader.
    Looking {
        /// In this round.
        round: Round,
        /// Standing for this.
        candidate: Candidate,
    },
    /// An election ended at this node.
    Elected {
        /// The winner.
        leader: NodeId,
        /// The round.
        round: Round,
    },
    /// The node joins a leader that reigns already.
    Joins {
        /// The leader.
        leader: NodeId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The ensemble has never formed, and waits for these initial members: they were not heard in
    /// this round. If there are none, all are here.
    Forming {
        /// Who is missing.
        missing: Vec<NodeId>,
        /// How many voters there are.
        of: usize,
    },
    /// A majority was heard and did not agree: the node leaves this round.
    RoundLeft(Round),
    /// The node cannot even vote.
    Unready(Unready),
    /// A leader proposes its epoch.
    EpochProposed(Epoch),
    /// A follower promised an epoch.
    EpochAccepted {
        /// The epoch.
        epoch: Epoch,
        /// To whom.
        leader: NodeId,
        /// False if the same epoch is promised to another.
        counted: bool,
    },
    /// A leader decided how to bring a follower up to date.
    SyncPlanned {
        /// The follower.
        peer: NodeId,
        /// How.
        kind: SyncKind,
    },
    /// A follower cut a tail that its leader does not have, and that it never knew to be committed.
    Truncated {
        /// The end of the log before.
        from: Txid,
        /// The end of the log now.
        to: Txid,
    },
    /// A follower goes on receiving a snapshot that another connection began.
    SnapshotResumed {
        /// The last entry contained in it.
        at: Txid,
        /// The bytes of it that are here.
        bytes: u64,
    },
    /// A follower receives a snapshot; told again now and then.
    Installing {
        /// From this leader.
        leader: NodeId,
        /// Bytes that are in the state store.
        bytes: u64,
    },
    /// A follower has the whole of a snapshot, and its state store makes it durable.
    Sealing {
        /// The last entry contained in it.
        at: Txid,
        /// Its bytes.
        bytes: u64,
    },
    /// A follower took over a snapshot.
    Installed(Txid),
    /// A leader is established.
    Established {
        /// Its epoch.
        epoch: Epoch,
        /// The end of its initial history, committed now.
        last: Txid,
    },
    /// A follower serves clients.
    Serving {
        /// In this epoch.
        epoch: Epoch,
        /// Under this leader.
        leader: NodeId,
    },
    /// A leader's follower is up to date.
    FollowerReady(NodeId),
    /// A leader lost a follower.
    FollowerGone(NodeId),
    /// A leader gave up.
    SteppedDown {
        /// Its epoch, if it had one.
        epoch: Option<Epoch>,
        /// Why.
        why: LeaveReason,
    },
    /// A follower left its leader.
    LeftLeader {
        /// The leader.
        leader: NodeId,
        /// Why.
        why: LeaveReason,
    },
    /// A membership was committed.
    MembershipCommitted(Txid),
    /// The log was cut at its start.
    Pruned(Txid),
    /// A peer broke the protocol.
    PeerFault {
        /// On this connection.
        conn: ConnId,
        /// How.
        fault: PeerFault,
    },
    /// An event of a connection that is not held any more was dropped.
    StaleConn(ConnId),
    /// A vote was ignored: its sender is of another cluster.
    ForeignVote(NodeId),
    /// A vote was ignored: its sender is not a voter.
    StrangerVote(NodeId),
    /// A vote or connection was refused: the sender's disk is not the one that the ensemble knows.
    WrongDisk {
        /// The sender.
        node: NodeId,
        /// The disk it presents.
        presents: Incarnation,
    },
    /// A vote or connection was refused: the sender's disk is older than the one that the ensemble
    /// has met last.
    OldDisk(NodeId),
    /// The present lives of some members were recorded.
    LivesProposed(usize),
    /// Two nodes claim the same id, or this one's.
    DuplicateId(NodeId),
    /// A peer refuses to talk to this node.
    RejectedBy {
        /// The peer, if it is known.
        peer: Option<NodeId>,
        /// Why.
        why: Rejection,
    },
    /// A client's request was resubmitted: it is certain that the leader before did not log it.
    Resubmitted(usize),
}
