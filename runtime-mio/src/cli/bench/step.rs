//! One measurement: fill, warm up, measure, and what the nodes used meanwhile.

use super::args::{Load, LoadArgs, Target};
use super::engine::Engine;
use super::frames::Frames;
use super::local::Local;
use super::pace::Pace;
use super::tally::Tally;
use super::usage;
use crate::cli::exit::Failure;
use crate::cli::output::say;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use zabkeeper_core::words::Txid;

/// How keys are written before a measurement.
const FILL_CONNECTIONS: u32 = 8;
const FILL_OUTSTANDING: u32 = 64;

/// What is measured in one go.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) load: &'a LoadArgs,
    pub(super) connections: u32,
    /// Requests a second of an open loop; `None` for a closed one.
    pub(super) rate: Option<u32>,
}

/// What came out.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) connections: u32,
    pub(super) rate: Option<u32>,
    /// How long it was measured, in microseconds.
    pub(super) micros: u64,
    pub(super) tally: Tally,
    /// Requests of an open loop that were due and not sent at the end.
    pub(super) backlog: u64,
    /// CPU time of the generator.
    pub(super) own_cpu: Duration,
    /// What the nodes used, if they are ours.
    pub(super) nodes: Vec<Usage>,
}

/// What a node used.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    pub(super) name: String,
    pub(super) cpu: Duration,
    pub(super) rss: u64,
    pub(super) pss: Option<u64>,
}

impl Outcome {
    /// Requests a second.
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    pub(super) fn per_second(&self) -> f64 {
        self.tally.ops() as f64 * 1e6 / self.micros.max(1) as f64
    }

    /// Microseconds for each request.
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    pub(super) fn per_op(&self, spent: Duration) -> f64 {
        spent.as_secs_f64() * 1e6 / self.tally.ops().max(1) as f64
    }

    /// CPU time of all nodes.
    pub(super) fn nodes_cpu(&self) -> Duration {
        self.nodes.iter().map(|node| node.cpu).sum()
    }
}

/// The ensemble that is measured.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    /// Where connections go, in turn.
    pub(super) addrs: Vec<SocketAddr>,
    /// Our own nodes, if they are.
    pub(super) local: Option<&'a Local>,
    /// For each request.
    pub(super) timeout: Duration,
    pub(super) stop: Arc<AtomicBool>,
}

impl Subject<'_> {
    /// Writes every key of the load once, with as many connections as make it fast.
    pub(super) fn fill(&self, load: &LoadArgs) -> Result<(), Failure> {
        say(format_args!("Writing {} keys of {} bytes ...", load.keys, load.value_size));
        let frames = self.frames(load, Load::Write, Txid::ZERO)?;
        self.engine(FILL_CONNECTIONS, FILL_OUTSTANDING, frames)?.fill()
    }

    fn frames(&self, args: &LoadArgs, load: Load, seen: Txid) -> Result<Frames, Failure> {
        let told = u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX);
        Frames::new(load, args.write_share, args.keys, args.value_size, seen, told)
    }

    fn engine(&self, connections: u32, places: u32, frames: Frames) -> Result<Engine, Failure> {
        // A node answers within the time it was told; only a silent one takes longer.
        let patience = self.timeout + Duration::from_secs(1);
        let (addrs, stop) = (self.addrs.clone(), Arc::clone(&self.stop));
        Engine::new(addrs, connections, places, frames, patience, stop)
    }
}

impl Step<'_> {
    /// Runs it on keys that are filled; `seen` is an entry after the last of those writes.
    pub(super) fn run(&self, subject: &Subject<'_>, seen: Txid) -> Result<Outcome, Failure> {
        let load = self.load;
        let frames = subject.frames(load, load.load, seen)?;
        let mut engine = subject.engine(self.connections, load.outstanding, frames)?;
        let now = engine.now();
        engine.start_load(match self.rate {
            None => Pace::Closed,
            Some(rate) => Pace::open(now, rate),
        });
        engine.run_until(now + micros(load.warmup))?;
        let mut total = Tally::new()?;
        total.add(&engine.tally);
        engine.tally.reset();
        let (nodes, own) = (cpu_times(subject.local), usage::own_cpu());
        let begin = engine.now();
        self.measure(&mut engine, begin, &mut total)?;
        let end = engine.now();
        let (micros, backlog) = (end - begin, engine.backlog(end));
        let own_cpu = usage::own_cpu().saturating_sub(own);
        let nodes = usage_since(subject.local, &nodes);
        // What an open loop sent in time counts whenever its answer comes: the last stall too.
        engine.measuring = self.rate.is_some();
        engine.drain()?;
        total.add(&engine.tally);
        let (connections, rate) = (self.connections, self.rate);
        Ok(Outcome { connections, rate, micros, tally: total, backlog, own_cpu, nodes })
    }

    /// Measures, second by second.
    fn measure(&self, engine: &mut Engine, begin: u64, total: &mut Tally) -> Result<(), Failure> {
        let end = begin + micros(self.load.duration);
        engine.measuring = true;
        let mut from = begin;
        while from < end && !engine.stopped() {
            engine.run_until(end.min(from + 1_000_000))?;
            let now = engine.now();
            progress(&engine.tally, now - begin, now - from);
            total.add(&engine.tally);
            engine.tally.reset();
            from = now;
        }
        engine.measuring = false;
        Ok(())
    }
}

/// One line on stderr for what happened in the last second.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn progress(tally: &Tally, since: u64, span: u64) {
    let all = tally.all();
    let ms = |percentile| all.value_at_percentile(percentile) as f64 / 1e3;
    say(format_args!(
        "{:>6.1} s {:>9.0}/s   p50 {:.2} ms   p99 {:.2} ms   errors: {}",
        since as f64 / 1e6,
        all.len() as f64 * 1e6 / span.max(1) as f64,
        ms(50.0),
        ms(99.0),
        tally.errors.words(),
    ));
}

fn cpu_times(local: Option<&Local>) -> Vec<Option<Duration>> {
    let nodes = local.map_or(&[][..], |local| &local.nodes);
    nodes.iter().map(|node| usage::cpu(node.pid)).collect()
}

/// What each node used since `before`; nodes about which nothing is known are left out.
fn usage_since(local: Option<&Local>, before: &[Option<Duration>]) -> Vec<Usage> {
    let nodes = local.map_or(&[][..], |local| &local.nodes);
    let one = |(node, before): (&crate::cli::dev::child::Node, &Option<Duration>)| {
        let cpu = usage::cpu(node.pid)?.saturating_sub((*before)?);
        let (rss, pss) = usage::memory(node.pid)?;
        Some(Usage { name: node.place.name.clone(), cpu, rss, pss })
    };
    nodes.iter().zip(before).filter_map(one).collect()
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX / 2)
}

/// True if connections go to the leader alone.
pub(super) fn leader_only(load: &LoadArgs) -> bool {
    load.target == Target::Leader
}
