//! Planted bugs. Each is a one-line change somewhere in the core behind [`Config::mutant`], which
//! is always false without the `mutants` feature. The simulator must find every one of them.
//!
//! [`Config::mutant`]: crate::config::Config::mutant

/// A planted bug, by the number it has in `docs/simulation.md`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Mutant {
    /// M1: a follower acknowledges entries when it appends them, not when its disk has them.
    AckAtAppend,
    /// M2: a follower acknowledges the history before its disk has it.
    AckHistoryUnflushed,
    /// M4: a follower acknowledges an epoch before its disk has the promise.
    PromiseInMemory,
    /// M5: a leader offers its epoch before its own disk has the promise.
    LeaderInfoUnflushed,
    /// M6: a vote names the end of the log in memory.
    VoteUnflushed,
    /// M8, M34: a change of role keeps the acknowledgements that wait for the disk.
    KeepDuties,
    /// M10: a committed entry is applied before the own disk has it.
    ApplyBeforeDurable,
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
    /// M31: a leader goes on though a follower has a longer history.
    LeadThoughBehind,
    /// M35: votes are compared without their epoch.
    VoteWithoutEpoch,
    /// M36: a vote names the epoch of the last entry in place of the current epoch.
    VoteByLastEntry,
    /// M37: votes of an old round are kept in the new one.
    KeepVotesOfOldRound,
    /// M38: a settled leader is joined without its own word.
    JoinWithoutLeadersWord,
    /// M39: any packet starts the wait for a better vote again.
    AnyPacketRestartsFinalize,
    /// M40: a node with another disk than the ensemble knows is counted.
    WipedNodeCounts,
    /// M42: a linearizable read is answered without a round.
    ReadWithoutRound,
    /// M43: a linearizable read shares a round that began before it.
    ReadJoinsRound,
}
