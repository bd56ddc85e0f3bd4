//! Exhaustive search: every order in which a few things can happen.

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
pub enum From {
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
    pub from: From,
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
    loop {
        let step = match (world.steps().first(), scenario.from) {
            (Some(step @ Step::Start(_)), _) | (Some(step), From::Established) => *step,
            _ => break,
        };
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
