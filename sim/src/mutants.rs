//! The planted bugs by name.

use zabkeeper_core::mutants::Mutant;

/// All planted bugs.
pub const ALL: &[Mutant] = &[
    Mutant::AckAtAppend,
    Mutant::AckHistoryUnflushed,
    Mutant::PromiseInMemory,
    Mutant::LeaderInfoUnflushed,
    Mutant::VoteUnflushed,
    Mutant::KeepDuties,
    Mutant::ApplyBeforeDurable,
    Mutant::LeaderCountsUnflushed,
    Mutant::CommitOldEpochByCounting,
    Mutant::CountUncounted,
    Mutant::AckEpochToAnother,
    Mutant::SkipTruncation,
    Mutant::LeadThoughBehind,
    Mutant::VoteWithoutEpoch,
    Mutant::VoteByLastEntry,
    Mutant::KeepVotesOfOldRound,
    Mutant::JoinWithoutLeadersWord,
    Mutant::AnyPacketRestartsFinalize,
    Mutant::WipedNodeCounts,
    Mutant::ReadWithoutRound,
    Mutant::ReadJoinsRound,
];

/// The planted bug of this name.
pub fn by_name(name: &str) -> Option<Mutant> {
    ALL.iter().copied().find(|mutant| format!("{mutant:?}") == name)
}
