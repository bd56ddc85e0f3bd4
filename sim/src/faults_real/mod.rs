//! Real processes, real faults: three daemons on loopback, seen from outside only.
//!
//! Proxies stand in front of every port: they lose, double, delay and reorder votes, and delay,
//! hold back and cut connections. Processes are killed, stopped and started again, alone and all
//! together; one node's disk fills up, disks and links are slow, clients take without end, and one
//! node may hold few descriptors and little memory. Meanwhile clients with the production client logic ask,
//! and what they are told is judged by the simulator's checkers. After each storm clients must
//! be served again within a bound; at the end all nodes must hold the same state.
//!
//! Unlike everything else in this crate this uses the clock, threads and sockets: a seed decides
//! what is tried, not what happens.

#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

mod caller;
mod ensemble;
mod flood;
mod history;
mod links;
mod slow_disk;
mod storm;
mod tcp;
mod udp;
mod vitals;
mod weather;

pub use history::Counts;
pub use links::{laggard, large_value};
pub use vitals::{Held, Mark, Vitals};

use caller::Caller;
use ensemble::Ensemble;
use history::History;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, thread};
use storm::Storms;
use zabkeeper_core::words::Rng;

/// A run has at least three storms, and none is longer than this.
const STORM: Duration = Duration::from_secs(8);

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The program `zabkeeper`
    #[arg(long)]
    pub binary: PathBuf,
    /// For how many seconds faults happen
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Decides which faults; drawn if not given
    #[arg(long)]
    pub seed: Option<u64>,
    /// How many clients
    #[arg(long, default_value_t = 6)]
    pub clients: usize,
    /// Print every fault when it happens
    #[arg(long)]
    pub trace: bool,
    /// Make all nodes forget a part of what they acknowledged: the run must fail
    #[arg(long)]
    pub canary: bool,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How often which fault happened.
    pub faults: BTreeMap<String, u64>,
    /// How requests ended.
    pub counts: Counts,
    /// The longest wait after a storm until clients were served.
    pub slowest: Duration,
    /// What the daemons held, and how long nobody was served.
    pub vitals: Vitals,
    /// How long it all took.
    pub took: Duration,
    /// What went wrong, if anything did.
    pub verdict: Result<(), String>,
    /// After a failure: where the history and the logs are.
    pub kept: Option<PathBuf>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> =
            self.faults.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let Counts { done, refused, unknown } = self.counts;
        writeln!(
            f,
            "seed {}: {:.1} s; faults: {}",
            self.seed,
            self.took.as_secs_f64(),
            faults.join(", ")
        )?;
        writeln!(
            f,
            "{} operations: {done} answered, {refused} refused, {unknown} of unknown outcome; \
             served at most {:.1} s after a storm",
            done + refused + unknown,
            self.slowest.as_secs_f64()
        )?;
        writeln!(f, "{}", self.vitals)?;
        match &self.verdict {
            Ok(()) => write!(f, "linearizable, all nodes agree"),
            Err(wrong) => write!(f, "VIOLATION: {wrong}"),
        }?;
        match &self.kept {
            Some(dir) => {
                write!(f, "\nthe history, the faults and the logs are in {}", dir.display())
            }
            None => Ok(()),
        }
    }
}

/// Runs the program and judges it. An error means that there was nothing to judge.
pub fn run(args: &Args) -> Result<Report, String> {
    let seed = args.seed.unwrap_or_else(draw_seed);
    println!("seed {seed}");
    let binary = args.binary.canonicalize().map_err(|error| {
        format!("{}: {error}; build it: cargo build --release", args.binary.display())
    })?;
    let start = Instant::now();
    let name = format!("zabkeeper-real-{seed}-{}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let rng = Rng::new(seed);
    let history = History::new(start);
    let (verdict, storms) = {
        let mut ensemble = Ensemble::new(&binary, &dir, &rng.split(1))?;
        let endpoints = ensemble.endpoints();
        let mut storms = Storms::new(&mut ensemble, &history, &rng.split(2), args.trace);
        let callers = rng.split(3);
        let caller = |number| Caller::new(number, &history, &endpoints, &callers);
        let verdict = live(args, &mut storms, caller).and_then(|()| {
            let keys = history.keys();
            caller(args.clients).read_all(&keys, 10_000_000);
            storms.agree()?;
            storms.last_mark();
            history.judge()
        });
        (verdict, (storms.done, storms.told, storms.slowest, storms.vitals))
    };
    let (faults, told, slowest, vitals) = storms;
    let (took, counts) = (start.elapsed(), history.counts());
    let kept = if verdict.is_ok() {
        let _ = std::fs::remove_dir_all(&dir);
        None
    } else {
        write_down(&dir, &history, &told)?;
        Some(dir)
    };
    Ok(Report { seed, faults, counts, slowest, vitals, took, verdict, kept })
}

/// Storms, with clients that ask all the time.
fn live<'a>(
    args: &Args,
    storms: &mut Storms<'_>,
    caller: impl Fn(usize) -> Caller<'a> + Sync,
) -> Result<(), String> {
    storms.form()?;
    storms.mark(true);
    let stop = AtomicBool::new(false);
    let stop = &stop;
    thread::scope(|scope| {
        let _stop_at_last = StopAtLast(stop);
        let callers: Vec<_> = (0..args.clients)
            .map(|number| {
                let caller = &caller;
                scope.spawn(move || caller(number).run(|| stop.load(Ordering::Relaxed)))
            })
            .collect();
        let end = Instant::now() + Duration::from_secs(args.seconds);
        let storm = STORM.min(Duration::from_secs(args.seconds) / 3);
        let mut verdict = Ok(());
        for count in 0.. {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || verdict.is_err() {
                break;
            }
            if args.canary && count < 2 {
                verdict = storms.lose_the_past(count == 1);
            }
            verdict = verdict.and_then(|()| storms.storm(left.min(storm)));
        }
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            if caller.join().is_err() && verdict.is_ok() {
                verdict = Err("a client of this program panicked: a bug of its own".to_string());
            }
        }
        verdict
    })
}

/// Lets the clients end, whatever happens.
struct StopAtLast<'a>(&'a AtomicBool);

impl Drop for StopAtLast<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn write_down(dir: &Path, history: &History, told: &[String]) -> Result<(), String> {
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    write("history.txt", history.text())?;
    write("faults.txt", told.join("\n") + "\n")
}

fn draw_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = now.map_or(0, |now| now.as_nanos() as u64);
    Rng::new(nanos ^ u64::from(std::process::id())).below(1_000_000)
}
