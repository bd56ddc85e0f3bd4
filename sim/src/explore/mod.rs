//! Exhaustive search: every order in which a few things can happen.

mod check;
pub mod command;
mod print;
mod search;
mod step;
mod trace;
mod world;

pub use search::{Ending, Limits, Progress};
pub use world::Budget;

use search::Search;
use step::Step;
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

/// Searches; `tell` hears now and then how far it is.
pub fn explore(scenario: &Scenario, limits: Limits, tell: impl FnMut(&Progress)) -> Verdict {
    let root = match root(scenario) {
        Ok(root) => root,
        Err((ending, steps)) => {
            let trace = trace::trace(World::empty(scenario.nodes), &steps, scenario.mutant);
            let progress = Progress { depth: steps.len(), ..Progress::default() };
            return Verdict { ending, progress, trace };
        }
    };
    let mut search = Search::new(scenario.mutant, limits);
    let (ending, progress, steps) = search.run(&root, tell);
    let trace = trace::trace(root, &steps, scenario.mutant);
    Verdict { ending, progress, trace }
}

/// The state in which the search begins, or what goes wrong on the way there.
fn root(scenario: &Scenario) -> Result<World, (Ending, Vec<Step>)> {
    let mut world = World::empty(scenario.nodes);
    let mut steps = Vec::new();
    loop {
        let step = match (world.steps().first(), scenario.from) {
            (Some(step @ Step::Start(_)), _) | (Some(step), From::Established) => *step,
            _ => break,
        };
        steps.push(step);
        let next = crate::run::guarded(|| world.after(step, scenario.mutant));
        world = next.map_err(|violation| (Ending::Violated(violation), steps.clone()))?;
    }
    world.left = scenario.budget;
    Ok(world)
}
