//! `zabkeeper bench failover`: how long writes wait when the leader is gone.

use super::args::{FailoverArgs, How, Load};
use super::engine::Engine;
use super::frames::Frames;
use super::local::Local;
use super::pace::Pace;
use super::report;
use crate::cli::args::Output;
use crate::cli::exit::{Failure, NOT_DONE, OTHER};
use crate::cli::output::say;
use rand::RngExt;
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use zabkeeper_core::words::Txid;
use zabkeeper_core::zab::{RoleStatus, Status};
use zabkeeper_runtime_mio::client::{Client, ClientOptions};

/// The keys that are written, and the bytes of their values.
const KEYS: u32 = 1000;
const VALUE_SIZE: u32 = 256;
/// How long the writer leaves a request with a node before it goes to the next one.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long writes run undisturbed before the leader goes: at least this, and up to twice as long
/// so that it does not go at the same moment between two heartbeats in every round.
const CALM: u64 = 250_000;
/// How often nodes are asked whether they serve, in microseconds.
const LOOK: u64 = 20_000;

/// What a round gave.
#[derive(Debug)]
pub(super) struct Round {
    /// Which node led, and went.
    pub(super) leader: String,
    /// From there to the first acknowledgement of a write sent after it, in microseconds.
    pub(super) gap: u64,
    /// From the restart (or the continuation) of the node until all nodes served.
    pub(super) back: Duration,
}

/// Runs the command.
pub(super) fn run(args: &FailoverArgs, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    say(format_args!("Starting {} nodes ...", args.local));
    let local = Local::start(args.local, args.data_dir.as_deref(), &args.set, stop)?;
    let mut bench = Bench { args, engine: engine(args, &local, stop)?, local, stop };
    bench.engine.fill()?;
    bench.engine.start_load(Pace::Closed);
    let mut rounds = Vec::new();
    while rounds.len() < usize::try_from(args.times).unwrap_or(usize::MAX) {
        let Some(round) = bench.round()? else {
            break;
        };
        rounds.push(round);
        progress(args, &rounds);
    }
    let out = &mut io::stdout().lock();
    match args.output {
        Output::Text => report::failover_text(out, args, &rounds)?,
        Output::Json => report::failover_json(out, args, &rounds)?,
    }
    match rounds.is_empty() {
        true => Err(Failure::new(OTHER, "stopped before the first round ended")),
        false => Ok(()),
    }
}

fn engine(args: &FailoverArgs, local: &Local, stop: &Arc<AtomicBool>) -> Result<Engine, Failure> {
    let told = u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX);
    let frames = Frames::new(Load::Write, 1.0, KEYS, VALUE_SIZE, Txid::ZERO, told)?;
    let mut addrs: Vec<SocketAddr> = Vec::new();
    for endpoint in local.endpoints() {
        addrs.push(endpoint.parse().map_err(|error| Failure::new(OTHER, error))?);
    }
    // A node answers within the time it was told; only a silent one takes longer.
    let patience = PATIENCE + Duration::from_millis(50);
    Engine::new(addrs, args.connections, 1, frames, patience, Arc::clone(stop))
}

struct Bench<'a> {
    args: &'a FailoverArgs,
    engine: Engine,
    local: Local,
    stop: &'a Arc<AtomicBool>,
}

impl Bench<'_> {
    /// Takes the leader away once, and brings it back. `None` if somebody asked to stop.
    fn round(&mut self) -> Result<Option<Round>, Failure> {
        self.wait_for_all()?;
        let calm = CALM + rand::rng().random_range(0..CALM);
        self.engine.run_until(self.engine.now() + calm)?;
        let index = leader(&self.statuses());
        if self.stopped() {
            return Ok(None);
        }
        let index = index.ok_or_else(|| {
            Failure::new(NOT_DONE, "the ensemble lost a node or its leader by itself")
        })?;
        self.engine.seen_at = None;
        let from = self.engine.now();
        self.take_away(index)?;
        self.engine.watch_from = Some(from);
        let longest = u64::try_from(self.args.timeout.as_micros()).unwrap_or(u64::MAX / 2);
        let ran = self.engine.run_until(from + longest);
        self.engine.watch_from = None;
        let seen = self.engine.seen_at;
        let returned = Instant::now();
        self.bring_back(index)?;
        ran?;
        if self.stopped() {
            return Ok(None);
        }
        let Some(seen) = seen else {
            return Err(Failure::new(
                NOT_DONE,
                format_args!(
                    "{} was taken away and no write was acknowledged for {:?}",
                    self.name(index),
                    self.args.timeout
                ),
            ));
        };
        self.wait_for_all()?;
        let (leader, back) = (self.name(index), returned.elapsed());
        Ok(Some(Round { leader, gap: seen - from, back }))
    }

    fn take_away(&mut self, index: usize) -> Result<(), Failure> {
        match (self.args.how, self.local.nodes.get_mut(index)) {
            (How::Kill, Some(node)) => node.kill(),
            (How::Pause, Some(node)) => signal(node.pid, Signal::STOP)?,
            (_, None) => {}
        }
        Ok(())
    }

    fn bring_back(&mut self, index: usize) -> Result<(), Failure> {
        match (self.args.how, self.local.nodes.get(index)) {
            (How::Kill, _) => self.local.restart(index),
            (How::Pause, Some(node)) => signal(node.pid, Signal::CONT),
            (How::Pause, None) => Ok(()),
        }
    }

    /// Writes on until every node serves under one leader.
    fn wait_for_all(&mut self) -> Result<(), Failure> {
        let begin = Instant::now();
        while !self.stopped() {
            if leader(&self.statuses()).is_some() {
                return Ok(());
            }
            if begin.elapsed() > self.args.timeout {
                let text = format_args!("not all nodes served after {:?}", self.args.timeout);
                return Err(Failure::new(NOT_DONE, text));
            }
            self.local.check()?;
            self.engine.run_until(self.engine.now() + LOOK)?;
        }
        Ok(())
    }

    /// What each node says, where it answers.
    fn statuses(&self) -> Vec<Option<Status>> {
        let ask = |endpoint: String| {
            let mut options = ClientOptions::new(vec![endpoint]);
            options.timeout = PATIENCE;
            options.fail_fast = true;
            Client::connect(options).and_then(|mut client| client.status()).ok()
        };
        self.local.endpoints().into_iter().map(ask).collect()
    }

    fn name(&self, index: usize) -> String {
        self.local.nodes.get(index).map_or_else(String::new, |node| node.place.name.clone())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Which node leads, if all others serve under it. One that was paused may take itself for the
/// leader of the epoch before.
fn leader(statuses: &[Option<Status>]) -> Option<usize> {
    let leads = |status: &Status| status.role == RoleStatus::Leading { established: true };
    let follows =
        |status: &Status| matches!(status.role, RoleStatus::Following { serving: true, .. });
    let index = statuses.iter().position(|status| status.as_ref().is_some_and(leads))?;
    let epoch = statuses.get(index)?.as_ref()?.current;
    let settled = statuses.iter().enumerate().all(|(other, status)| {
        let status = status.as_ref();
        status.is_some_and(|s| s.current == epoch && (other == index || follows(s)))
    });
    settled.then_some(index)
}

fn signal(pid: u32, signal: Signal) -> Result<(), Failure> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let sent = pid.map_or(Err(rustix::io::Errno::SRCH), |pid| kill_process(pid, signal));
    sent.map_err(|error| Failure::new(OTHER, format_args!("cannot signal a node: {error}")))
}

/// One line on stderr for the last round.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn progress(args: &FailoverArgs, rounds: &[Round]) {
    if let Some(round) = rounds.last() {
        say(format_args!(
            "{:>3} of {}   {} gone, next write after {:.1} ms; all serve again after {:.1} s",
            rounds.len(),
            args.times,
            round.leader,
            round.gap as f64 / 1e3,
            round.back.as_secs_f64(),
        ));
    }
}
