//! The command line of the search.

use super::{Begin, Budget, Ending, Limits, Orders, Progress, Scenario, explore};
use crate::run::mutants;
use std::fmt;
use std::time::{Duration, Instant};

/// Visit every state of a small cluster: every order of a few events, on the production core
///
/// Every order of deliveries, disk completions, power cuts and losses is tried, within a budget of
/// each; all invariants are checked in every state. Breadth first: what is printed of a violation
/// is a shortest way there. Time stands still, but for the budget of timeouts. A connection keeps
/// its order; of datagrams from one node to another the newest arrives; all else comes as it may.
///
/// Examples:
///
///   explore --crashes 0                               two writes and a loss, to the last state
///
///   explore --losses 0 --mutant AckHistoryUnflushed   a planted bug, by a shortest trace
///
///   explore --max-states 10000000                     minutes, and some gigabytes
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub nodes: u8,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = Begin::Established)]
    pub from: Begin,
    /// How many writes clients ask of a leader
    #[arg(long, default_value_t = 2)]
    pub proposals: u8,
    /// How many machines lose power; each may start again at any time
    #[arg(long, default_value_t = 1)]
    pub crashes: u8,
    /// How many datagrams are lost or connections broken
    #[arg(long, default_value_t = 1)]
    pub losses: u8,
    /// How often everything that a node waits for runs out
    #[arg(long, default_value_t = 0)]
    pub timeouts: u8,
    /// Let every datagram arrive unless it is lost, instead of the newest from each node to each
    #[arg(long)]
    pub all_votes: bool,
    /// Search also what cannot matter: how long it takes to open a connection
    #[arg(long)]
    pub all_dials: bool,
    /// Plant this bug in the core
    #[arg(long)]
    pub mutant: Option<String>,
    /// Stop after so many different states
    #[arg(long, default_value_t = 1_000_000)]
    pub max_states: usize,
    /// On how many threads; the result is the same
    #[arg(long, default_value_t = 2)]
    pub jobs: usize,
}

/// Runs the search and prints what it finds. True if nothing is wrong.
#[expect(clippy::disallowed_methods, reason = "tells the rate of the search")]
pub fn run(args: &Args) -> Result<bool, String> {
    let mutant = match &args.mutant {
        None => None,
        Some(name) => Some(mutants::by_name(name).ok_or_else(|| unknown(name))?),
    };
    let budget = Budget {
        proposals: args.proposals,
        crashes: args.crashes,
        losses: args.losses,
        timeouts: args.timeouts,
    };
    let orders = Orders { all_votes: args.all_votes, all_dials: args.all_dials };
    let scenario = Scenario { nodes: args.nodes, from: args.from, budget, orders, mutant };
    println!("{scenario}, at most {} states, {} threads", args.max_states, args.jobs);
    let limits = Limits { states: args.max_states, jobs: args.jobs };
    let start = Instant::now();
    let mut told = start;
    let verdict = explore(&scenario, limits, |progress| {
        if told.elapsed() >= Duration::from_secs(2) {
            told = Instant::now();
            let rate = progress.states as f64 / start.elapsed().as_secs_f64();
            println!("{progress}, {} to expand, {rate:.0} states/s", progress.frontier);
        }
    })
    .map_err(|violation| format!("there is no state to begin in: {violation}"))?;
    let wall = start.elapsed().as_secs_f64();
    let rate = verdict.progress.states as f64 / wall;
    println!("{}, {wall:.1} s, {rate:.0} states/s", verdict.progress);
    match &verdict.ending {
        Ending::Exhausted => println!("exhausted: no other state can be reached; no violation"),
        Ending::Full => println!(
            "not exhausted: {} states wait to be expanded (--max-states); no violation so far",
            verdict.progress.frontier
        ),
        Ending::Violated(violation) => {
            println!("VIOLATION of {violation}");
            println!("a shortest way there, {} steps:", verdict.trace.len());
            for (number, line) in (1..).zip(&verdict.trace) {
                println!("{number:>4} {line}");
            }
        }
    }
    Ok(!matches!(verdict.ending, Ending::Violated(_)))
}

fn unknown(name: &str) -> String {
    let names: Vec<String> = mutants::ALL.iter().map(|(mutant, _)| format!("{mutant:?}")).collect();
    format!("{name} is not a planted bug; these are: {}", names.join(", "))
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Budget { proposals, crashes, losses, timeouts } = self.budget;
        let from = match self.from {
            Begin::Boot => "empty disks",
            Begin::Established => "an established leader",
        };
        write!(
            f,
            "{} nodes, from {from}: {proposals} proposals, {crashes} crashes, {losses} losses, \
             {timeouts} timeouts",
            self.nodes
        )?;
        match self.mutant {
            Some(mutant) => write!(f, ", {mutant:?} planted"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, transitions, dead_ends, stuck, depth, .. } = self;
        write!(
            f,
            "{states} states, {transitions} transitions, depth {depth}, {dead_ends} dead ends \
             ({stuck} without a leader until time passes)"
        )
    }
}
