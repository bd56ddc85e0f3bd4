//! The planted bugs: a simulator that does not find them would not find others either.

use crate::plan::Plan;
use crate::sweep::{Sweep, sweep};

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

/// The name of the canary: no bug of the core, but a check of the simulator itself that must fail.
/// If it does not, a sweep would not notice anything.
pub const CANARY: &str = "Canary";

/// How a planted bug fared.
#[derive(Clone, Debug)]
pub struct Fate {
    /// Its name.
    pub name: String,
    /// The first seed that found it, and what it found.
    pub death: Option<(u64, crate::check::Violation)>,
    /// How many seeds were run.
    pub seeds: u64,
}

/// Runs seeds until the planted bug `name` is found, at most `budget` of them.
pub fn hunt(name: &str, from: u64, budget: u64, jobs: usize) -> Fate {
    let make = |seed| {
        let mut plan = Plan::draw(seed);
        plan.mutant = Some(name.to_string());
        plan
    };
    let what = Sweep { from, seeds: budget, jobs, stop_after: 1 };
    let sum = sweep(&what, make, |_| {});
    let first = sum.failures.into_iter().next();
    Fate {
        name: name.to_string(),
        death: first.and_then(|(seed, report)| Some((seed, report.violation?))),
        seeds: sum.seeds,
    }
}
