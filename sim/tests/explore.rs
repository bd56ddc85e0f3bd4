//! Exhaustive search over the production core: small bounds to their end, and planted bugs by
//! shortest traces.

use zabkeeper_core::mutants::Mutant;
use zabkeeper_sim::explore::{
    Begin, Budget, Ending, Limits, Orders, Progress, Scenario, Verdict, explore,
};
use zabkeeper_sim::run::catch_panics;

const NEWEST: Orders = Orders { all_votes: false, all_dials: false };

fn scenario(proposals: u8, crashes: u8, losses: u8, timeouts: u8) -> Scenario {
    let budget = Budget { proposals, crashes, losses, timeouts };
    Scenario { nodes: 3, from: Begin::Established, budget, orders: NEWEST, mutant: None }
}

fn search(scenario: &Scenario, jobs: usize) -> Verdict {
    catch_panics();
    let limits = Limits { states: 300_000, jobs };
    explore(scenario, limits, |_| {}).expect("there is a state to begin in")
}

/// Searches to the end, on one thread and on two, and finds nothing wrong.
fn exhausted(scenario: &Scenario) -> Progress {
    let (one, two) = (search(scenario, 1), search(scenario, 2));
    assert_eq!(one, two, "{scenario}: two searches differ");
    assert_eq!(one.ending, Ending::Exhausted, "{scenario}: {:#?}", one.trace);
    assert!(one.progress.dead_ends > 0, "{scenario}: it never comes to rest");
    assert_eq!(one.progress.stuck, 0, "{scenario}: it comes to rest without a leader");
    one.progress
}

/// States, transitions, depth.
fn counts(scenario: &Scenario) -> (usize, usize, usize) {
    let progress = exhausted(scenario);
    (progress.states, progress.transitions, progress.depth)
}

#[test]
fn searches_of_small_bounds_end_and_find_nothing_wrong() {
    assert_eq!(counts(&scenario(0, 0, 0, 0)), (1, 0, 0), "without a cause nothing happens");
    assert_eq!(counts(&scenario(2, 0, 0, 0)), (1169, 3854, 18));
    assert_eq!(counts(&scenario(1, 0, 1, 0)), (10159, 31316, 23));
    assert_eq!(counts(&scenario(0, 1, 0, 0)), (45091, 176665, 42));
    assert_eq!(counts(&scenario(0, 0, 0, 1)), (20117, 79539, 36));
    let boot = Scenario { from: Begin::Boot, ..scenario(1, 0, 0, 0) };
    assert_eq!(counts(&boot), (9341, 39770, 45));
}

#[test]
fn when_a_connection_opens_changes_nothing_that_can_come_of_it() {
    for reduced in [scenario(0, 1, 0, 0), scenario(1, 0, 1, 0), scenario(0, 0, 1, 0)] {
        let orders = Orders { all_dials: true, ..NEWEST };
        let (few, all) = (exhausted(&reduced), exhausted(&Scenario { orders, ..reduced }));
        assert!(few.states < all.states, "{reduced}: {few}; {all}");
        assert_eq!(few.dead_ends, all.dead_ends, "{reduced}: {few}; {all}");
    }
}

#[test]
fn planted_bugs_are_found_by_shortest_traces() {
    let one_crash = scenario(1, 1, 0, 0);
    let two_nodes = Scenario { nodes: 2, ..one_crash };
    let list = [
        (Mutant::LeaderCountsUnflushed, one_crash, 1, "DurableBeforeAck (14)"),
        (Mutant::AckAtAppend, one_crash, 2, "DurableBeforeAck (14)"),
        (Mutant::VoteUnflushed, one_crash, 4, "DurableBeforeAck (14)"),
        (Mutant::HalfIsQuorum, two_nodes, 4, "EpochBeforeEntries (11)"),
        (Mutant::KeepDuties, one_crash, 7, "DurableBeforeAck (14)"),
        (Mutant::ApplyBeforeDurable, one_crash, 7, "the core's own assertions"),
        (Mutant::LeaderInfoUnflushed, one_crash, 6, "DurableBeforeAck (14)"),
        (Mutant::PromiseInMemory, one_crash, 8, "DurableBeforeAck (14)"),
        (Mutant::AckHistoryUnflushed, one_crash, 10, "no peer breaks the protocol"),
        (Mutant::CompletionCoversAll, one_crash, 11, "DurableBeforeAck (14)"),
    ];
    for (mutant, scenario, steps, invariant) in list {
        let verdict = search(&Scenario { mutant: Some(mutant), ..scenario }, 2);
        let Ending::Violated(violation) = &verdict.ending else {
            panic!("{mutant:?} survives {}", verdict.progress);
        };
        assert_eq!(violation.invariant, invariant, "{mutant:?}: {violation}");
        assert_eq!(verdict.trace.len(), steps, "{mutant:?}: {:#?}", verdict.trace);
        assert_eq!(verdict.progress.depth + 1, steps, "{mutant:?}: not found where it is nearest");
    }
}

#[test]
fn a_trace_tells_each_step_in_words() {
    let mutant = Some(Mutant::VoteUnflushed);
    let verdict = search(&Scenario { mutant, ..scenario(1, 1, 0, 0) }, 1);
    let trace = [
        "n3 is asked for write 0",
        "n1 <- n3 Propose e1 [1.2]",
        "n3 CRASHES without Append [1.2]",
        "n1 <- n3 the connection has ended",
    ];
    assert_eq!(verdict.trace, trace);
}

#[test]
fn a_search_that_is_full_says_how_much_is_left() {
    let limits = Limits { states: 1000, jobs: 2 };
    let verdict = explore(&scenario(2, 1, 1, 0), limits, |_| {}).expect("it begins");
    assert_eq!(verdict.ending, Ending::Full);
    assert_eq!(verdict.progress.states, 1000);
    assert!(verdict.progress.frontier > 0);
}
