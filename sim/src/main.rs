//! The simulator's command line.

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use zabkeeper_sim::report::timeline::timeline;
use zabkeeper_sim::report::view::{Window, page};
use zabkeeper_sim::run::plan::Plan;
use zabkeeper_sim::run::progress::Progress;
use zabkeeper_sim::run::shrink::shrink;
use zabkeeper_sim::run::sweep::{Summary, Sweep, sweep};
use zabkeeper_sim::run::{Report, catch_panics, hashes, mutants, run};
use zabkeeper_sim::{Cluster, explore, faults_real};

/// Runs Zabkeeper's consensus core in a seeded world full of faults, and checks every invariant
/// after every event.
#[derive(Parser)]
#[command(name = "zabkeeper-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed: print what it means, then the verdict
    Run {
        /// The seed
        #[arg(long)]
        seed: u64,
        /// Print everything that happens
        #[arg(long)]
        trace: bool,
        /// Print one column a node and one line a change
        ///
        /// Legend: `looking rN`: looks for a leader in round N; `elected nX`: takes X for
        /// elected; `proposes eN`, `promises eN nX`: the epoch and to whom; `leads eN from T`:
        /// established on the history up to T; `follows nX in eN`: serves; `leaves`, `gives up`:
        /// and why; `cut to T`, `snapshot T`: the log; `CRASH`, `start`, `paused`, `goes on`,
        /// `HALT`, `WIPED`: the machine. A fault of the world stands on its own line after `==`.
        #[arg(long)]
        timeline: bool,
        /// How many of the last steps a failure prints
        #[arg(long, default_value_t = 40)]
        last: usize,
        /// Plant this bug in the core
        #[arg(long)]
        mutant: Option<String>,
        #[command(flatten)]
        draw: Draw,
    },
    /// Run many seeds
    Sweep {
        /// How many
        #[arg(long)]
        seeds: u64,
        /// The first
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// On how many threads
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Stop after so many failures; 0 for never
        #[arg(long, default_value_t = 0)]
        stop_after: u64,
        /// Plant this bug in the core
        #[arg(long)]
        mutant: Option<String>,
        /// Print how often each transition and fault was seen
        #[arg(long)]
        marks: bool,
        /// Fail if something that a sweep of some thousand seeds should see was never seen
        #[arg(long)]
        expect_marks: bool,
    },
    /// Run a plan from a file
    Replay {
        /// The file, as `shrink` or `run --save` writes it
        plan: PathBuf,
        /// Print everything that happens
        #[arg(long)]
        trace: bool,
        /// Print one column a node and one line a change
        #[arg(long)]
        timeline: bool,
        /// How many of the last steps a failure prints
        #[arg(long, default_value_t = 40)]
        last: usize,
        #[command(flatten)]
        draw: Draw,
    },
    /// Make a failing plan as small as it gets
    Shrink {
        /// The seed of the plan
        #[arg(long, conflicts_with = "plan")]
        seed: Option<u64>,
        /// The file of the plan
        #[arg(long, required_unless_present = "seed")]
        plan: Option<PathBuf>,
        /// Plant this bug in the core
        #[arg(long)]
        mutant: Option<String>,
        /// How many plans to try at most
        #[arg(long, default_value_t = 3000)]
        budget: usize,
        /// Where to write the result
        #[arg(long)]
        save: Option<PathBuf>,
    },
    /// Measure how fast worlds run on one core
    Bench {
        /// How many random worlds
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// How many simulated seconds of a lightly loaded cluster of three
        #[arg(long, default_value_t = 5000)]
        seconds: u64,
    },
    /// Plant each known bug in turn, and count the seeds until it is found
    Mutants {
        /// How many seeds a bug may survive
        #[arg(long, default_value_t = 2000)]
        budget: u64,
        /// The first seed
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// On how many threads
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Only this bug
        #[arg(long)]
        only: Option<String>,
    },
    Explore(explore::command::Args),
    /// Run the seeds of a file of trace hashes, and compare: the same seed must give the same run
    ///
    /// `UPDATE=1 cargo test -p zabkeeper-sim --test seeds` writes the file anew.
    Hashes {
        /// The file
        file: PathBuf,
        /// On how many threads
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Run real daemons on this machine under real faults, and judge what clients are told
    Real(faults_real::Args),
}

/// Says how each planted bug fares. True if all are found.
fn run_mutants(budget: u64, from: u64, jobs: usize, only: Option<&str>) -> bool {
    let names = mutants::ALL.iter().map(|(mutant, _)| format!("{mutant:?}"));
    let names = std::iter::once(mutants::CANARY.to_string()).chain(names);
    let mut survivors = Vec::new();
    for name in names.filter(|name| only.is_none_or(|only| only == name)) {
        let fate = mutants::hunt(&name, from, budget, jobs);
        match &fate.death {
            Some((seed, violation)) => {
                println!(
                    "{name}: dies at seed {seed}, after {} seeds, of {}",
                    fate.seeds, violation.invariant
                );
            }
            None => {
                println!("{name}: SURVIVES {} seeds", fate.seeds);
                survivors.push(name);
            }
        }
    }
    survivors.is_empty()
}

fn main() -> ExitCode {
    catch_panics();
    let ok = match Cli::parse().command {
        Command::Run { seed, trace, timeline, last, mutant, draw } => {
            run_one(seed, &Show { trace, timeline, last, draw }, mutant)
        }
        Command::Sweep { seeds, from, jobs, stop_after, mutant, marks, expect_marks } => {
            let sum = run_sweep(&Sweep { from, seeds, jobs, stop_after }, mutant.as_deref(), marks);
            let unseen = if expect_marks { sum.unseen() } else { Vec::new() };
            for mark in &unseen {
                println!("never seen: {mark}: the seeds do not reach it any more");
            }
            sum.failed == 0 && unseen.is_empty()
        }
        Command::Replay { plan: path, trace, timeline, last, draw } => match read_plan(&path) {
            Ok(plan) => {
                let again = format!("replay {}", path.display());
                run_plan(&plan, &Show { trace, timeline, last, draw }, &again)
            }
            Err(why) => complain(&why),
        },
        Command::Shrink { seed, plan, mutant, budget, save } => {
            run_shrink(seed, plan.as_deref(), mutant, budget, save.as_deref())
        }
        Command::Real(args) => match faults_real::run(&args) {
            Ok(report) => {
                println!("{report}");
                report.verdict.is_ok()
            }
            Err(why) => complain(&why),
        },
        Command::Explore(args) => match explore::command::run(&args) {
            Ok(clean) => clean,
            Err(why) => complain(&why),
        },
        Command::Hashes { file, jobs } => run_hashes(&file, jobs),
        Command::Bench { seeds, seconds } => {
            run_bench(seeds, seconds);
            true
        }
        Command::Mutants { budget, from, jobs, only } => {
            run_mutants(budget, from, jobs, only.as_deref())
        }
    };
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Compares the runs of some seeds with those written down. True if they are the same.
fn run_hashes(file: &Path, jobs: usize) -> bool {
    let text = std::fs::read_to_string(file).map_err(|why| why.to_string());
    match text.and_then(|text| hashes::compare(&text, jobs)) {
        Ok(seeds) => {
            println!("{seeds} seeds give the runs of {}", file.display());
            true
        }
        Err(why) => complain(&format!("{}: {why}", file.display())),
    }
}

/// What to print of a run.
struct Show {
    trace: bool,
    timeline: bool,
    last: usize,
    draw: Draw,
}

/// What to draw of a run.
#[derive(clap::Args)]
struct Draw {
    /// Write a page that draws the run in space and time, for a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Draw from this second on [default: the last second before a violation, or the first three]
    #[arg(long, requires = "html", value_name = "SECONDS")]
    from: Option<f64>,
    /// Draw up to this second
    #[arg(long, requires = "html", value_name = "SECONDS")]
    to: Option<f64>,
}

impl Draw {
    /// Writes the page, if one is wanted. False if it cannot be written.
    fn write(&self, report: &Report, nodes: u32) -> bool {
        let Some(path) = &self.html else { return true };
        let micros = |seconds: f64| (seconds.max(0.0) * 1e6) as u64;
        let window = Window::of(report, self.from.map(micros), self.to.map(micros));
        match std::fs::write(path, page(report, nodes, window)) {
            Ok(()) => true,
            Err(why) => complain(&format!("{}: {why}", path.display())),
        }
    }
}

fn run_one(seed: u64, show: &Show, mutant: Option<String>) -> bool {
    let mut plan = Plan::draw(seed);
    let again = run_again(seed, mutant.as_deref());
    plan.mutant = mutant;
    println!("{:#?}", plan.options);
    println!("{} faults, {} requests", plan.faults.len(), plan.ops.len());
    run_plan(&plan, show, &again)
}

/// The command that runs this seed.
fn run_again(seed: u64, mutant: Option<&str>) -> String {
    let mutant = mutant.map(|mutant| format!(" --mutant {mutant}")).unwrap_or_default();
    format!("run --seed {seed}{mutant}")
}

/// Runs a plan; `again` is the command that runs it.
fn run_plan(plan: &Plan, show: &Show, again: &str) -> bool {
    let report = run(plan, true);
    if show.timeline {
        print!("{}", timeline(&report.moments, plan.options.nodes));
    }
    let skip = if show.trace { 0 } else { report.moments.len().saturating_sub(show.last) };
    if show.trace || report.violation.is_some() {
        for moment in report.moments.iter().skip(skip) {
            println!("{moment}");
        }
    }
    print_report(&report, again);
    show.draw.write(&report, plan.options.nodes) && report.violation.is_none()
}

fn read_plan(path: &Path) -> Result<Plan, String> {
    let text = std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
    serde_json::from_str(&text).map_err(|why| format!("{} is not a plan: {why}", path.display()))
}

fn complain(why: &str) -> bool {
    eprintln!("{why}");
    false
}

/// Shrinks a plan. True if there was something to shrink.
fn run_shrink(
    seed: Option<u64>,
    plan: Option<&Path>,
    mutant: Option<String>,
    budget: usize,
    save: Option<&Path>,
) -> bool {
    let plan = match (seed, plan) {
        (Some(seed), _) => Ok(Plan::draw(seed)),
        (None, Some(path)) => read_plan(path),
        (None, None) => Err("give a seed or a plan".to_string()),
    };
    let mut plan = match plan {
        Ok(plan) => plan,
        Err(why) => return complain(&why),
    };
    plan.mutant = mutant.or(plan.mutant);
    let Some(small) = shrink(&plan, budget) else {
        return complain("the plan does not fail: there is nothing to shrink");
    };
    let size = |plan: &Plan| format!("{} faults, {} requests", plan.faults.len(), plan.ops.len());
    println!("{} -> {} after {} tries", size(&plan), size(&small.plan), small.tries);
    let text = match serde_json::to_string_pretty(&small.plan) {
        Ok(text) => text,
        Err(why) => return complain(&why.to_string()),
    };
    if let Some(path) = save {
        if let Err(why) = std::fs::write(path, text + "\n") {
            return complain(&format!("{}: {why}", path.display()));
        }
        println!("written to {}", path.display());
    } else {
        println!("{text}");
    }
    if let Some(violation) = &small.report.violation {
        println!("VIOLATION of {violation}");
    }
    true
}

/// Prints how a run ended; `again` is the command that runs it.
fn print_report(report: &Report, again: &str) {
    println!(
        "seed {}: {} steps, {:.1} simulated seconds, {} leaders, {} entries committed, trace {:016x}",
        report.seed,
        report.steps,
        report.time as f64 / 1e6,
        report.reigns,
        report.committed,
        report.hash
    );
    match &report.violation {
        None => println!("no violation"),
        Some(violation) => {
            println!("VIOLATION of {violation}");
            println!("commit {}", commit());
            println!("reproduce: cargo run --release -p zabkeeper-sim -- {again}");
        }
    }
}

fn run_sweep(what: &Sweep, mutant: Option<&str>, marks: bool) -> Summary {
    #[expect(clippy::disallowed_methods, reason = "measures the wall time of the sweep")]
    let start = Instant::now();
    let progress = Progress::new();
    let one = |seed| {
        let mut plan = Plan::draw(seed);
        plan.mutant = mutant.map(str::to_string);
        run(&plan, false)
    };
    let sum = sweep(what, one, |sum| progress.show(sum.seeds, what.seeds, sum.failed));
    progress.end();
    print_summary(&sum, start.elapsed().as_secs_f64(), marks, mutant);
    sum
}

/// Prints rates: of random worlds, and of a calm one with ten requests a second.
#[expect(clippy::disallowed_methods, reason = "measures wall time")]
fn run_bench(seeds: u64, seconds: u64) {
    let start = Instant::now();
    let what = Sweep { from: 1, seeds, jobs: 1, stop_after: 0 };
    let sum = sweep(&what, |seed| run(&Plan::draw(seed), false), |_| {});
    println!("random worlds, one core:");
    print_summary(&sum, start.elapsed().as_secs_f64(), false, None);

    let start = Instant::now();
    let mut cluster = Cluster::new(3, 1);
    cluster.wait_for_leader(Duration::from_secs(10));
    for second in 0..seconds {
        for tenth in 0..10 {
            let node = (tenth % 3 + 1) as u32;
            cluster.begin_set(node, &format!("bench/{tenth}"), &second.to_be_bytes());
            cluster.advance(Duration::from_millis(100));
        }
    }
    let wall = start.elapsed().as_secs_f64();
    let simulated = cluster.now().as_secs_f64();
    println!(
        "three nodes, ten writes a second, one core: {simulated:.0} simulated seconds in \
         {wall:.2} s ({:.0} s/s)",
        simulated / wall
    );
}

fn print_summary(sum: &Summary, wall: f64, marks: bool, mutant: Option<&str>) {
    let simulated = sum.time as f64 / 1e6;
    println!(
        "{} seeds in {wall:.1} s ({:.0} seeds/s): {:.2} simulated hours ({:.0} s/s), {} steps \
         ({:.0}/s), {} leaders, {} entries committed, {} failed",
        sum.seeds,
        sum.seeds as f64 / wall,
        simulated / 3600.0,
        simulated / wall,
        sum.steps,
        sum.steps as f64 / wall,
        sum.reigns,
        sum.committed,
        sum.failed
    );
    if marks {
        for (mark, count) in &sum.marks {
            println!("{count:>12} {mark}");
        }
        println!("the highest: the share of a bound, in percent, or what is named; the seed");
        for (what, (value, seed)) in &sum.peaks {
            println!("{value:>12} {what} ({seed})");
        }
    }
    for report in sum.failures.values() {
        print_report(report, &run_again(report.seed, mutant));
    }
}

/// The commit of the working tree, if git can tell.
fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output();
    let output = output.ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    text.unwrap_or_else(|| "unknown".to_string())
}
