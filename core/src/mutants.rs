//! Planted bugs, by name: see `planted.rs`. The simulator must find every one of them.

/// A planted bug, by the number it has in `docs/simulation.md`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Mutant {
    /// M1: a follower acknowledges entries when it appends them, not when its disk has them.
    AckAtAppend,
    /// M2: a follower acknowledges the history before its disk has it.
    AckHistoryUnflushed,
    /// M3: a follower's disk has the epoch before it has the history.
    EnterBeforeHistory,
    /// M4: a follower acknowledges an epoch before its disk has the promise.
    PromiseInMemory,
    /// M5: a leader offers its epoch before its own disk has the promise.
    LeaderInfoUnflushed,
    /// M6: a vote names the end of the log in memory.
    VoteUnflushed,
    /// M7: a completion of an old write counts for everything issued since.
    CompletionCoversAll,
    /// M8, M34: a change of role keeps the acknowledgements that wait for the disk.
    KeepDuties,
    /// M9: a failed write is ignored.
    IgnoreStorageFailure,
    /// M10: a committed entry is applied before the own disk has it.
    ApplyBeforeDurable,
    /// M13: the log is pruned to what is applied, not to what the state store holds.
    PruneUnsaved,
    /// M15: half of the voters are taken for a majority.
    HalfIsQuorum,
    /// M16: a leader counts itself before its own flush.
    LeaderCountsUnflushed,
    /// M19, M20: acknowledgements of entries of earlier epochs are counted.
    CommitOldEpochByCounting,
    /// M22: the promise quorum counts followers that promised the epoch to another.
    CountUncounted,
    /// M23: a follower acknowledges the same epoch to a second leader.
    AckEpochToAnother,
    /// M24: a follower skips a truncation.
    SkipTruncation,
    /// M25: a follower cuts one entry too many.
    TruncateTooFar,
    /// M26: a follower whose last txid lies within the leader's range is sent what comes after it.
    DiffByRange,
    /// M27: a snapshot is laid over the old state.
    SnapshotOverlays,
    /// M28: a snapshot is sent to, and taken by, a follower that has more.
    SnapshotOfLess,
    /// M29: proposals made between the attach point and NEW-LEADER are not sent.
    AttachGap,
    /// M30: UP-TO-DATE and heartbeats carry what was committed when the follower came.
    OldCommit,
    /// M31: a leader goes on though a follower has a longer history.
    LeadThoughBehind,
    /// M32: a leader proposes before it is established.
    ProposeEarly,
    /// M33: a leader drops its uncommitted tail.
    DropInherited,
    /// M35: votes are compared without their epoch.
    VoteWithoutEpoch,
    /// M36: a vote names the epoch of the last entry in place of the current epoch.
    VoteByLastEntry,
    /// M37: votes of an old round are kept in the new one.
    KeepVotesOfOldRound,
    /// M39: any packet starts the wait for a better vote again.
    AnyPacketRestartsFinalize,
    /// M40: a node with another disk than the ensemble knows is counted.
    WipedNodeCounts,
    /// M63: a node whose disk is older than one that the ensemble has met is counted.
    OldDiskCounts,
    /// M41: any packet puts off the sending of the own vote.
    AnyPacketDelaysVote,
    /// M42: a linearizable read is answered without a round.
    ReadWithoutRound,
    /// M43: a linearizable read shares a round that began before it.
    ReadJoinsRound,
    /// M48: requests that were sent are answered as not done when leadership changes.
    FailOnStepDown,
    /// M50: a logged, uncommitted membership is forgotten by a restart.
    ForgetPending,
    /// M54: a full counter begins again at 1.
    CounterWraps,
    /// M55: no heartbeats; only connections tell whether a peer lives.
    NoHeartbeat,
    /// M56: a committed membership is not journaled as active.
    ForgetActivation,
    /// M58: a client sends an unanswered write again when its connection breaks or falls silent.
    ResendUnanswered,
    /// M59: a client does not remember the newest state that it has seen.
    ForgetSeen,
    /// M60: a request that expired gives up its place in the row of answers.
    ForgetExpired,
    /// M61: a write that was sent and expires is called certainly not done.
    CallSentTimedOut,
    /// M62: a checkpoint that is read in parts is said to stand for what is applied at the last of
    /// them.
    StampCheckpointLate,
    /// M70: a node halts for a checkpoint that takes long, though its state store makes progress.
    HaltByTime,
    /// M71: a follower goes on serving though its disk hangs.
    ServeOnHungDisk,
    /// M76: votes are answered however many come.
    AnswerWithoutEnd,
    /// M74: a follower acknowledges parts of a snapshot when they arrive, not when its state store
    /// has them.
    AckPartUnstaged,
    /// M79: the journal names a snapshot before the state store has made it durable.
    InstallUnsealed,
    /// M78: the disk keeps nothing of the log for a follower that is being fed.
    KeepNothing,
    /// M75: a follower acknowledges the history when it arrives, not when its disk has it.
    AckHistoryAtArrival,
    /// M81: an answer leaves ahead of those that were asked before it.
    AnswerAsReady,
    /// M82: what was granted for a large request counts for ever.
    KeepGrant,
    /// M83: a listing whose client is gone counts as being made for ever.
    KeepPage,
    /// M84: whose write waited for the disk is not looked at again.
    KeepBlocked,
    /// M85: what a client held counts although it is gone.
    KeepCharge,
    /// M86: the place of a client that is gone stays taken.
    KeepPlace,
    /// M87: a client that had too much under way is not looked at again.
    KeepPaused,
    /// M88: a request whose client is gone waits for its answer for ever.
    KeepTickets,
    /// M89: requests are taken however many are under way.
    TakeAll,
    /// M91: nobody is told that a place for a listing is free again.
    KeepListingsWaiting,
    /// M90: who came when all places were taken is served as others are.
    ServeWithoutPlace,
}
