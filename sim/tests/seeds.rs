//! Runs of the simulator that belong to the ordinary tests: a few hundred seeds, determinism, the
//! plans of bugs found earlier, and a few planted bugs as proof that the rest means something.

use std::path::Path;
use zabkeeper_sim::run::plan::Plan;
use zabkeeper_sim::run::shrink::shrink;
use zabkeeper_sim::run::sweep::{Sweep, sweep};
use zabkeeper_sim::run::{catch_panics, hashes, mutants, run};

const JOBS: usize = 2;

#[test]
fn no_seed_breaks_an_invariant() {
    catch_panics();
    let what = Sweep { from: 1, seeds: 150, jobs: JOBS, stop_after: 1 };
    let sum = sweep(&what, |seed| run(&Plan::draw(seed), false), |_| {});
    if let Some(report) = sum.failures.values().next() {
        panic!("seed {}: {}", report.seed, report.violation.as_ref().expect("it failed"));
    }
    assert_eq!(sum.seeds, 150);
    for mark in [
        "Established",
        "SyncPlanned Diff",
        "SyncPlanned Snap",
        "SyncPlanned Trunc",
        "client: calls a node",
        "client: timed out",
    ] {
        assert!(sum.marks.contains_key(mark), "{mark} never happened: the world is too tame");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    catch_panics();
    for seed in [3, 14, 159, 2653] {
        let plan = Plan::draw(seed);
        let (first, second) = (run(&plan, false), run(&plan, true));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.steps, second.steps, "seed {seed}");
    }
}

#[test]
fn a_seed_gives_the_run_that_is_written_down() {
    catch_panics();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("hashes.txt");
    if std::env::var_os("UPDATE").is_some() {
        let text = hashes::write(&hashes::measure(20, JOBS));
        std::fs::write(&file, text).expect("the file can be written");
    }
    let text = std::fs::read_to_string(&file).expect("the file can be read");
    if let Err(why) = hashes::compare(&text, JOBS) {
        panic!("{why}. If runs are meant to change, set UPDATE=1 and run this test again");
    }
}

#[test]
fn bugs_found_once_stay_fixed() {
    catch_panics();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("its entries can be read").path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("the file can be read");
        let plan: Plan = serde_json::from_str(&text).expect("the file is a plan");
        let report = run(&plan, false);
        assert_eq!(report.violation, None, "{}", file.display());
    }
}

#[test]
fn the_canary_dies() {
    catch_panics();
    assert!(mutants::hunt(mutants::CANARY, 1, 20, JOBS).death.is_some());
}

#[test]
fn planted_bugs_are_found_within_a_few_seeds() {
    catch_panics();
    for name in [
        "LeaderCountsUnflushed",
        "TruncateTooFar",
        "ReadWithoutRound",
        "FailOnStepDown",
        "ResendUnanswered",
        "ForgetSeen",
        "ForgetExpired",
        "CallSentTimedOut",
    ] {
        let fate = mutants::hunt(name, 1, 200, JOBS);
        assert!(fate.death.is_some(), "{name} survives {} seeds", fate.seeds);
    }
}

/// Bugs of storage and acknowledgements: each is found soon, so each is shrunk, too, from the first
/// seed on that is given. (From the first seed of all, `VoteUnflushed` stays at 41 steps.)
const STORAGE: [(&str, u64); 11] = [
    ("AckAtAppend", 1),
    ("AckHistoryUnflushed", 1),
    ("EnterBeforeHistory", 1),
    ("PromiseInMemory", 1),
    ("LeaderInfoUnflushed", 1),
    ("VoteUnflushed", 2),
    ("CompletionCoversAll", 1),
    ("KeepDuties", 8),
    ("IgnoreStorageFailure", 1),
    ("ApplyBeforeDurable", 1),
    ("PruneUnsaved", 1),
];

/// Shrinks the plan of the first seed from `from` on that finds this bug: to 20 steps at most, and
/// to nothing but this bug.
fn shrinks_to_what_can_be_read(name: &str, from: u64) {
    // One job: the first seed that finds the bug is the same on every machine.
    let fate = mutants::hunt(name, from, 200, 1);
    let Some((seed, found)) = fate.death else { panic!("{name} survives {} seeds", fate.seeds) };
    let mut plan = Plan::draw(seed);
    plan.mutant = Some(name.to_string());
    let small = shrink(&plan, 1000).expect("it fails");
    let size = small.plan.faults.len() + small.plan.ops.len();
    let of = plan.faults.len() + plan.ops.len();
    assert!(size <= 20, "{name}: {size} steps are left of {of} of seed {seed}");

    let again = run(&small.plan, false);
    assert_eq!(again.violation, small.report.violation, "{name}");
    assert_eq!(again.violation.map(|v| v.invariant), Some(found.invariant), "{name}");
    let sound = Plan { mutant: None, ..small.plan };
    assert_eq!(run(&sound, false).violation, None, "{name} is not what the plan shows");
}

#[test]
fn a_planted_bug_shrinks_to_a_plan_that_can_be_read() {
    catch_panics();
    for (name, from) in STORAGE {
        shrinks_to_what_can_be_read(name, from);
    }
}

#[test]
fn a_failure_that_takes_luck_shrinks_with_other_seeds() {
    catch_panics();
    // With its own seed alone this one stays too long to be read.
    shrinks_to_what_can_be_read("FailOnStepDown", 25);
}
