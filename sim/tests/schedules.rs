//! Properties of any schedule on five nodes: which message, completion or timer comes next, and
//! what breaks between them, is what proptest draws, and so what it shrinks. A failing schedule
//! ends as a short list of steps; `Next(1)` is what would have come anyway.

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;
use zabkeeper_core::words::{Digest, Epoch, NodeId, Txid};
use zabkeeper_core::zab::RoleStatus;
use zabkeeper_sim::run::options::Options;
use zabkeeper_sim::run::plan::{Fault, Op, OpKind, Plan};
use zabkeeper_sim::world::World;

const NODES: u32 = 5;

/// What comes next.
#[derive(Clone, Debug)]
enum Step {
    /// So many things in the order in which they are due.
    Next(usize),
    /// The one behind so many others, which come late.
    Behind(usize),
    /// Something breaks.
    Strike(Fault),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..200_usize).prop_map(Step::Next),
        8 => (1..40_usize).prop_map(Step::Behind),
        2 => any_fault().prop_map(Step::Strike),
    ]
}

/// Any fault of one node, or of some links. Node 0 is the newest leader.
fn any_fault() -> impl Strategy<Value = Fault> {
    let node = 0..=NODES;
    let span = 1_000..1_000_000_u64;
    let links = prop::collection::vec((1..=NODES, 1..=NODES), 1..8);
    prop_oneof![
        (node.clone(), span.clone()).prop_map(|(node, down)| Fault::Crash { node, down }),
        (node.clone(), 0..5_u32, span.clone())
            .prop_map(|(node, actions, down)| Fault::CrashInStep { node, actions, down }),
        span.clone().prop_map(|down| Fault::PowerCut { down }),
        (node.clone(), span.clone()).prop_map(|(node, lasts)| Fault::Pause { node, lasts }),
        (links, span.clone()).prop_map(|(links, lasts)| Fault::Cut { links, lasts }),
        (node.clone(), 1..=NODES).prop_map(|(a, b)| Fault::Break { a, b }),
        (node, span).prop_map(|(node, lasts)| Fault::DiskStall { node, lasts }),
    ]
}

/// Five nodes on a quiet network, and a request each 20 ms. Everything else is the schedule's.
fn plan(seed: u64, mutant: Option<&str>) -> Plan {
    let mut options = Options::calm(NODES);
    options.duration = 3_000_000;
    let op = |n: u64| Op {
        at: 100_000 + 20_000 * n,
        client: 1 + n as u32 % 3,
        node: 1 + n as u32 % NODES,
        kind: [OpKind::Set, OpKind::Get, OpKind::Set, OpKind::Add][n as usize % 4],
        key: 1 + n as u32 % 2,
        size: 0,
        patience: 1_000_000,
    };
    let mutant = mutant.map(str::to_string);
    Plan { seed, mutant, options, faults: Vec::new(), ops: (0..100).map(op).collect() }
}

/// What the test itself watches, without the checkers of the world.
#[derive(Default)]
struct Watch {
    reigns: BTreeMap<Epoch, NodeId>,
    order: Vec<(Txid, Digest)>,
    /// What each node was when it was looked at last.
    seen: BTreeMap<NodeId, (Txid, Epoch, RoleStatus)>,
}

impl Watch {
    /// At most one established leader an epoch; what each node holds committed, and what any ever
    /// held, are prefixes of one order.
    fn look(&mut self, world: &World) -> Result<(), String> {
        for host in &world.hosts {
            let Some(status) = host.process.as_ref().map(|process| &process.status) else {
                self.seen.remove(&host.id);
                continue;
            };
            let seen = (status.committed, status.current, status.role);
            if self.seen.insert(host.id, seen) == Some(seen) {
                continue;
            }
            if status.role == (RoleStatus::Leading { established: true }) {
                let leader = *self.reigns.entry(status.current).or_insert(host.id);
                if leader != host.id {
                    return Err(format!("{leader} and {} both led {}", host.id, status.current));
                }
            }
            let log = host.issued.log.after(Txid::ZERO);
            let held = log.take_while(|entry| entry.txid <= status.committed);
            for (n, entry) in held.map(|entry| (entry.txid, entry.chain)).enumerate() {
                match self.order.get(n) {
                    Some(before) if *before == entry => {}
                    Some(before) => {
                        return Err(format!("{} committed {entry:?}, others {before:?}", host.id));
                    }
                    None => self.order.push(entry),
                }
            }
        }
        Ok(())
    }
}

/// Runs a schedule, then an ordinary rest with a quiet period in which everything must recover.
fn obeys(seed: u64, steps: &[Step], mutant: Option<&str>) -> Result<Watch, String> {
    let mut world = World::new(plan(seed, mutant), false);
    let mut watch = Watch::default();
    for step in steps {
        let (times, skip) = match step {
            Step::Next(times) => (*times, 0),
            Step::Behind(skip) => (1, *skip),
            Step::Strike(fault) => {
                let leader = watch.reigns.values().next_back().copied();
                let leader = leader.unwrap_or(NodeId::new(1));
                world.inflict(fault.clone(), leader).map_err(|wrong| wrong.to_string())?;
                continue;
            }
        };
        for _ in 0..times {
            world.advance_out_of_turn(skip).map_err(|wrong| wrong.to_string())?;
            watch.look(&world)?;
        }
    }
    world.run().map_err(|wrong| wrong.to_string())?;
    watch.look(&world)?;
    Ok(watch)
}

fn schedules() -> impl Strategy<Value = (u64, Vec<Step>)> {
    (any::<u64>(), prop::collection::vec(any_step(), 0..60))
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn any_schedule_keeps_one_leader_an_epoch_and_one_order() {
    let (reigns, entries) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let ran = TestRunner::new(config(100)).run(&schedules(), |(seed, steps)| {
        let watch = obeys(seed, &steps, None).map_err(TestCaseError::fail)?;
        reigns.borrow_mut().push(watch.reigns.len());
        entries.borrow_mut().push(watch.order.len());
        Ok(())
    });
    if let Err(failure) = ran {
        panic!("{failure}");
    }
    let (reigns, entries) = (reigns.into_inner(), entries.into_inner());
    println!("leaders: {reigns:?}\nentries: {entries:?}");
    let many = |counts: &[usize], least| counts.iter().filter(|count| **count >= least).count();
    assert!(many(&reigns, 2) > 25, "hardly a schedule changes the leader: {reigns:?}");
    assert!(many(&entries, 10) > 50, "hardly a schedule commits anything: {entries:?}");
}

#[test]
fn a_schedule_that_shows_a_planted_bug_shrinks_to_a_few_steps() {
    // What it draws is fixed: how far luck lets a failure shrink is not what is tested.
    let config = ProptestConfig { max_shrink_iters: 1_000, ..config(200) };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let ran = runner.run(&schedules(), |(seed, steps)| {
        obeys(seed, &steps, Some("FailOnStepDown")).map_err(TestCaseError::fail)?;
        Ok(())
    });
    let Err(TestError::Fail(why, (_, steps))) = ran else {
        panic!("the planted bug is not found: {ran:?}");
    };
    println!("{} after {steps:?}", why.message());
    assert!(steps.len() <= 10, "{} steps are left: {steps:?}", steps.len());
}
