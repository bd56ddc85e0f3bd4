//! The planted bugs: a simulator that does not find them would not find others either.

use crate::run::plan::Plan;
use crate::run::run;
use crate::run::sweep::{Sweep, sweep};

use zabkeeper_core::mutants::Mutant;

/// All planted bugs, each with its number in the list of `docs/simulation.md`.
pub const ALL: &[(Mutant, &str)] = &[
    (Mutant::AckAtAppend, "M1"),
    (Mutant::AckHistoryUnflushed, "M2"),
    (Mutant::EnterBeforeHistory, "M3"),
    (Mutant::PromiseInMemory, "M4"),
    (Mutant::LeaderInfoUnflushed, "M5"),
    (Mutant::VoteUnflushed, "M6"),
    (Mutant::CompletionCoversAll, "M7"),
    (Mutant::KeepDuties, "M8, M34"),
    (Mutant::IgnoreStorageFailure, "M9"),
    (Mutant::ApplyBeforeDurable, "M10"),
    (Mutant::PruneUnsaved, "M13"),
    (Mutant::HalfIsQuorum, "M15"),
    (Mutant::LeaderCountsUnflushed, "M16"),
    (Mutant::CommitOldEpochByCounting, "M19, M20"),
    (Mutant::CountUncounted, "M22"),
    (Mutant::AckEpochToAnother, "M23"),
    (Mutant::SkipTruncation, "M24"),
    (Mutant::TruncateTooFar, "M25"),
    (Mutant::DiffByRange, "M26"),
    (Mutant::SnapshotOverlays, "M27"),
    (Mutant::SnapshotOfLess, "M28"),
    (Mutant::AttachGap, "M29"),
    (Mutant::OldCommit, "M30"),
    (Mutant::LeadThoughBehind, "M31"),
    (Mutant::ProposeEarly, "M32"),
    (Mutant::DropInherited, "M33"),
    (Mutant::VoteWithoutEpoch, "M35"),
    (Mutant::VoteByLastEntry, "M36"),
    (Mutant::KeepVotesOfOldRound, "M37"),
    (Mutant::AnyPacketRestartsFinalize, "M39"),
    (Mutant::WipedNodeCounts, "M40"),
    (Mutant::AnyPacketDelaysVote, "M41"),
    (Mutant::ReadWithoutRound, "M42"),
    (Mutant::ReadJoinsRound, "M43"),
    (Mutant::FailOnStepDown, "M48"),
    (Mutant::ForgetPending, "M50"),
    (Mutant::CounterWraps, "M54"),
    (Mutant::NoHeartbeat, "M55"),
    (Mutant::ForgetActivation, "M56"),
    (Mutant::ResendUnanswered, "M58"),
    (Mutant::ForgetSeen, "M59"),
    (Mutant::ForgetExpired, "M60"),
    (Mutant::CallSentTimedOut, "M61"),
    (Mutant::StampCheckpointLate, "M62"),
    (Mutant::HaltByTime, "M70"),
    (Mutant::ServeOnHungDisk, "M71"),
    (Mutant::AckPartUnstaged, "M74"),
    (Mutant::AckHistoryAtArrival, "M75"),
    (Mutant::AnswerWithoutEnd, "M76"),
    (Mutant::KeepNothing, "M78"),
    (Mutant::InstallUnsealed, "M79"),
    (Mutant::OldDiskCounts, "M63"),
    (Mutant::AnswerAsReady, "M81"),
    (Mutant::KeepGrant, "M82"),
    (Mutant::KeepPage, "M83"),
    (Mutant::KeepBlocked, "M84"),
    (Mutant::KeepCharge, "M85"),
    (Mutant::KeepPlace, "M86"),
    (Mutant::KeepPaused, "M87"),
    (Mutant::KeepTickets, "M88"),
    (Mutant::TakeAll, "M89"),
    (Mutant::ServeWithoutPlace, "M90"),
    (Mutant::KeepListingsWaiting, "M91"),
];

/// The planted bug of this name.
pub fn by_name(name: &str) -> Option<Mutant> {
    ALL.iter().map(|(mutant, _)| *mutant).find(|mutant| format!("{mutant:?}") == name)
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
    let one = |seed| {
        let mut plan = Plan::draw(seed);
        plan.mutant = Some(name.to_string());
        let mut report = run(&plan, false);
        // What fails without the bug, too, says nothing about the bug.
        plan.mutant = None;
        if report.violation.is_some() && run(&plan, false).violation.is_some() {
            report.violation = None;
        }
        report
    };
    let what = Sweep { from, seeds: budget, jobs, stop_after: 1 };
    let sum = sweep(&what, one, |_| {});
    let first = sum.failures.into_iter().next();
    Fate {
        name: name.to_string(),
        death: first.and_then(|(seed, report)| Some((seed, report.violation?))),
        seeds: sum.seeds,
    }
}
