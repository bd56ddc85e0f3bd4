//! Exhaustive search: every state that a small cluster of production nodes can reach.
//!
//! A seed tries one order of events; a search tries them all, within a budget of writes, power cuts,
//! losses and timeouts. The nodes are those of production: [`zabkeeper_core::zab::Node`], not a
//! model of it. Everything that decides what can happen next is one value, a world: the nodes, their
//! disks, what is on its way, and what the checkers remember. Worlds are told apart by a fingerprint
//! and visited breadth first, so that what breaks an invariant is found by a shortest way.
//!
//! What keeps the number of worlds finite and small, and why that hides no violation, is told in
//! `docs/simulation.md`.

mod check;
pub mod command;
mod print;
mod search;
mod step;
mod trace;
mod turn;
mod world;

pub use search::{Ending, Limits, Progress};
pub use world::{Budget, Orders};

use crate::check::Violation;
use crate::run::guarded;
use search::Search;
use step::Step;
use turn::Turns;
use world::World;
use zabkeeper_core::mutants::Mutant;

/// Where a search begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Begin {
    /// Nodes with empty disks that have just started.
    Boot,
    /// A leader that is established, and followed by all others.
    Established,
}

/// What to search.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// How many nodes.
    pub nodes: u8,
    /// Where it begins.
    pub from: Begin,
    /// What may happen how often.
    pub budget: Budget,
    /// What is left out.
    pub orders: Orders,
    /// A bug to be found.
    pub mutant: Option<Mutant>,
}

/// What a search found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Why it ended.
    pub ending: Ending,
    /// How far it came.
    pub progress: Progress,
    /// The steps to the violation, in words, if there is one.
    pub trace: Vec<String>,
}

/// Searches; `tell` hears now and then how far it is. The error says why there is no state to begin
/// in.
pub fn explore(
    scenario: &Scenario,
    limits: Limits,
    tell: impl FnMut(&Progress),
) -> Result<Verdict, Violation> {
    let root = root(scenario)?;
    let turns = Turns::new(scenario.mutant, scenario.orders);
    let (ending, progress, steps) = Search::new(&turns, limits).run(&root, tell);
    let trace = trace::trace(root, &steps, &turns);
    Ok(Verdict { ending, progress, trace })
}

/// The state in which the search begins. A bug is planted only there.
fn root(scenario: &Scenario) -> Result<World, Violation> {
    let mut world = World::empty(scenario.nodes);
    let turns = Turns::new(None, scenario.orders);
    // In turn, since two that look for a leader may answer each other for as long as nobody hears a
    // third one.
    for turn in 0.. {
        let steps = world.steps();
        let step = match scenario.from {
            Begin::Boot => steps.iter().find(|step| matches!(step, Step::Start(_))),
            _ => steps.get(turn % steps.len().max(1)),
        };
        let Some(step) = step.copied() else { break };
        world = guarded(|| world.after(step, &turns))?;
    }
    for machine in &mut world.machines {
        if let (Some(node), Some(mutant)) = (&mut machine.open().node, scenario.mutant) {
            node.plant(mutant);
        }
        machine.seal();
    }
    world.left = scenario.budget;
    Ok(world)
}
