//! Mutates the corpus for a bounded time and feeds every target with it, on stable Rust.

use clap::Parser;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use zabkeeper_fuzz::change::mutated;
use zabkeeper_fuzz::corpus;
use zabkeeper_fuzz::targets::{TARGETS, Target, by_name};

/// Feed the targets with mutated inputs, for a bounded time
///
/// Inputs come from corpus/TARGET, changed at random. An input that makes a target panic is written
/// to a file, and the command that repeats it is printed. With --runs the same seed does the same.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  mutate --seconds 20                       # all targets, 20 seconds together
  mutate --target node_events --seconds 600
  mutate --target node_events --seed 7 --runs 10000
  mutate --target node_events --replay crash-node_events-7-1234"
)]
struct Args {
    /// Only this target [default: all, one after the other]
    #[arg(long)]
    target: Option<String>,
    /// How long, for all targets together
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How many inputs for each target, instead of a time
    #[arg(long)]
    runs: Option<u64>,
    /// What the changes are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run this one input
    #[arg(long, value_name = "FILE", requires = "target")]
    replay: Option<PathBuf>,
    /// Where inputs that break something are written
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let targets: Vec<(&str, Target)> = match &args.target {
        None => TARGETS.to_vec(),
        Some(name) => match by_name(name) {
            Some(target) => vec![(name.as_str(), target)],
            None => {
                let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
                eprintln!("there is no target {name}; there are: {}", names.join(", "));
                return ExitCode::from(2);
            }
        },
    };
    if let Some(file) = &args.replay {
        return replay(targets[0].1, file);
    }
    let share = Duration::from_secs(args.seconds) / u32::try_from(targets.len()).unwrap_or(1);
    let mut found = false;
    for (name, target) in targets {
        found |= run(name, target, &args, share);
    }
    if found { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn replay(target: Target, file: &PathBuf) -> ExitCode {
    match std::fs::read(file) {
        Ok(input) => {
            target(&input);
            println!("nothing is wrong with it");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cannot read {}: {error}", file.display());
            ExitCode::from(2)
        }
    }
}

/// Runs one target. True if an input broke it.
fn run(name: &str, target: Target, args: &Args, share: Duration) -> bool {
    let inputs: Vec<Vec<u8>> = corpus::inputs(name).into_iter().map(|(_, bytes)| bytes).collect();
    let inputs = if inputs.is_empty() { vec![Vec::new()] } else { inputs };
    let start = Instant::now();
    let mut told = start;
    let mut runs = 0;
    let more = |runs: u64| match args.runs {
        Some(limit) => runs < limit,
        None => start.elapsed() < share,
    };
    while more(runs) {
        let mut rng = SmallRng::seed_from_u64(args.seed.wrapping_mul(1 << 40).wrapping_add(runs));
        let input = mutated(&inputs, &mut rng);
        if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
            report(name, args, runs, &input);
            return true;
        }
        runs += 1;
        if told.elapsed() > Duration::from_secs(2) {
            told = Instant::now();
            eprintln!("{name}: {runs} inputs, {}", rate(runs, start));
        }
    }
    println!("{name}: {runs} inputs, {}, nothing found", rate(runs, start));
    false
}

fn rate(runs: u64, start: Instant) -> String {
    format!("{:.0}/s", runs as f64 / start.elapsed().as_secs_f64().max(0.001))
}

fn report(name: &str, args: &Args, run: u64, input: &[u8]) {
    let file = args.out.join(format!("crash-{name}-{}-{run}", args.seed));
    println!("{name}: input {run} of seed {} breaks it", args.seed);
    match std::fs::write(&file, input) {
        Ok(()) => println!(
            "repeat: cargo run --release --manifest-path fuzz/Cargo.toml -- --target {name} --replay {}\n\
             once it is fixed, keep it: move the file to fuzz/corpus/{name}/",
            file.display()
        ),
        Err(error) => println!("it cannot be written to {}: {error}", file.display()),
    }
}
