//! The faults: what happens, to whom, for how long. A seed says what is tried in which order; what
//! comes of it depends on the machine.

use super::ensemble::{Ensemble, SMALL};
use super::flood::{self, Flood};
use super::history::History;
use super::vitals::Vitals;
use super::weather::{CLIENTS, NODES, Path};
use crate::world::dice::Dice;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};
use zabkeeper_core::words::Rng;
use zabkeeper_core::zab::{RoleStatus, Status};

/// After the last fault clients must be served, and nodes agree, within this.
pub(super) const BOUND: Duration = Duration::from_secs(25);
/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How long after the last request the descriptors of clients may stay open.
const LAST_CLOSED: Duration = Duration::from_secs(5);
/// Exit codes of a node whose disk is full: while it starts, and while it runs.
const DISK_FAILED: [i32; 2] = [1, 4];

/// What can be done to an ensemble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Kill,
    KillLeader,
    KillAll,
    Pause,
    PauseLeader,
    Partition,
    CutOffClients,
    Cut,
    Squall,
    SlowLinks,
    SlowDisk,
    Flood,
    FullDisk,
}

const FAULTS: [Fault; 13] = [
    Fault::Kill,
    Fault::KillLeader,
    Fault::KillAll,
    Fault::Pause,
    Fault::PauseLeader,
    Fault::Partition,
    Fault::CutOffClients,
    Fault::Cut,
    Fault::Squall,
    Fault::SlowLinks,
    Fault::SlowDisk,
    Fault::Flood,
    Fault::FullDisk,
];

/// What ends a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Relief {
    Start(usize),
    Resume(usize),
    Open,
    Calm,
    HastenDisks,
    EndFlood,
    FreeDisk,
}

/// Does faults to an ensemble.
pub(super) struct Storms<'a> {
    /// The ensemble.
    pub(super) ensemble: &'a mut Ensemble,
    /// How often what was done.
    pub(super) done: BTreeMap<String, u64>,
    /// What was done when, in words.
    pub(super) told: Vec<String>,
    /// The longest that clients waited after a storm until they were served again.
    pub(super) slowest: Duration,
    /// What the daemons held, and how long nobody was served.
    pub(super) vitals: Vitals,
    floods: Vec<Flood>,
    history: &'a History,
    rng: Rng,
    weights: Vec<u32>,
    reliefs: BTreeMap<(Instant, u64), Relief>,
    usual: Path,
    print: bool,
    disk_was_full: bool,
}

impl<'a> Storms<'a> {
    /// Storms as the generator has them: some kinds of faults are left out of a run.
    pub(super) fn new(
        ensemble: &'a mut Ensemble,
        history: &'a History,
        rng: &Rng,
        print: bool,
    ) -> Self {
        let mut rng = rng.split(1000);
        let mut weights: Vec<u32> = FAULTS
            .iter()
            .map(|_| if rng.chance(750_000) { rng.between(1, 8) as u32 } else { 0 })
            .collect();
        weights[0] += 1;
        let usual = Path { open: true, loss: 0, twice: 0, delay: 0, rate: 0, cuts: 0 };
        Self {
            ensemble,
            done: BTreeMap::new(),
            told: Vec::new(),
            slowest: Duration::ZERO,
            vitals: Vitals::default(),
            floods: Vec::new(),
            history,
            rng,
            weights,
            reliefs: BTreeMap::new(),
            usual,
            print,
            disk_was_full: false,
        }
    }

    /// Starts all nodes in fair weather, and waits until they serve: an ensemble forms only with
    /// every node.
    pub(super) fn form(&mut self) -> Result<(), String> {
        for node in 0..NODES {
            self.start(node)?;
        }
        self.until("all nodes serve after their first start", Self::settled)
    }

    /// Lets faults happen for a while, then ends them all and waits until clients are served.
    pub(super) fn storm(&mut self, length: Duration) -> Result<(), String> {
        self.usual.loss = self.rng.between(0, 300_000) as u32;
        self.usual.twice = self.rng.between(0, 200_000) as u32;
        self.usual.delay = self.rng.magnitude(1, 20_000);
        self.note(&format!(
            "storm: {} % of datagrams lost, {} % doubled, delays of up to {} ms",
            self.usual.loss / 10_000,
            self.usual.twice / 10_000,
            self.usual.delay / 1000
        ));
        self.relieve(Relief::Calm)?;
        let end = Instant::now() + length;
        let mut next = Instant::now();
        while Instant::now() < end {
            self.look()?;
            if next <= Instant::now() {
                let fault = FAULTS[self.rng.weighted(&self.weights)];
                self.strike(fault)?;
                next = Instant::now() + self.millis(50, 2000);
            }
            thread::sleep(LOOK);
        }
        self.clear()
    }

    /// Ends all faults, and waits until every node serves again, and clients are served.
    fn clear(&mut self) -> Result<(), String> {
        self.note("clear");
        self.reliefs.clear();
        self.ensemble.weather.clear();
        self.ensemble.free_disk();
        self.ensemble.hasten_disks();
        self.floods.clear();
        for node in 0..NODES {
            self.relieve(Relief::Resume(node))?;
            self.relieve(Relief::Start(node))?;
        }
        let (start, before) = (Instant::now(), self.history.counts().done);
        self.until("every node serves, and clients are served, after a storm", |storms| {
            storms.settled() && storms.history.counts().done >= before + 20
        })?;
        self.slowest = self.slowest.max(start.elapsed());
        self.mark(false);
        self.disk_was_full = false;
        Ok(())
    }

    /// Waits until all nodes serve and have the same state.
    pub(super) fn agree(&mut self) -> Result<(), String> {
        self.until("all nodes serve and have the same state", |storms| {
            let all: Vec<_> = (0..NODES).filter_map(|n| storms.ensemble.status(n)).collect();
            let same =
                |two: &[Status]| (two[0].applied, two[0].digest) == (two[1].applied, two[1].digest);
            storms.settled() && all.len() == NODES && all.windows(2).all(same)
        })
    }

    /// Kills every node; with `restore` their disks are put back to what `save` copied, which no
    /// store can survive: the canary that must be found.
    pub(super) fn lose_the_past(&mut self, restore: bool) -> Result<(), String> {
        (0..NODES).for_each(|node| self.ensemble.kill(node));
        let copied = match restore {
            false => self.ensemble.save_disks(),
            true => self.ensemble.restore_disks(),
        };
        copied.map_err(|error| format!("the disks cannot be copied: {error}"))?;
        self.note(if restore { "all disks put back" } else { "all disks copied" });
        (0..NODES).try_for_each(|node| self.start(node))
    }

    /// True if one node leads and the others follow it. A node that was just woken up may still
    /// believe in what is long gone, but its epoch tells.
    fn settled(&self) -> bool {
        let all: Vec<_> = (0..NODES).filter_map(|node| self.ensemble.status(node)).collect();
        let leads = |status: &&Status| status.role == RoleStatus::Leading { established: true };
        let Some(leader) = all.iter().find(leads) else { return false };
        all.len() == NODES
            && all.iter().all(|status| {
                let follows = RoleStatus::Following { leader: leader.node, serving: true };
                status.current == leader.current
                    && (status.node == leader.node || status.role == follows)
            })
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !done(self) {
            self.look()?;
            if start.elapsed() > BOUND {
                let mut text = format!("in vain waited for {BOUND:?} until {what}");
                for node in 0..NODES {
                    let status = self.ensemble.status(node);
                    let status = status.map(|s| (s.role, s.current, s.last, s.applied, s.digest));
                    text.push_str(&format!("; n{}: {status:?}", node + 1));
                }
                return Err(text);
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Ends what is due to end, and sees to nodes that ended by themselves.
    fn look(&mut self) -> Result<(), String> {
        while let Some(entry) = self.reliefs.first_entry()
            && entry.key().0 <= Instant::now()
        {
            let relief = entry.remove();
            self.relieve(relief)?;
        }
        while let Some((node, status)) = self.ensemble.ended() {
            let code = status.code().unwrap_or(-1);
            if !(node == SMALL && self.disk_was_full && DISK_FAILED.contains(&code)) {
                let log = std::fs::read_to_string(self.ensemble.log(node)).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(8).collect();
                let last: String = last.into_iter().rev().map(|l| format!("\n    {l}")).collect();
                return Err(format!("n{} ended by itself, with {status}:{last}", node + 1));
            }
            self.count(&format!("ended with {code} by a full disk"));
            self.note(&format!("n{} ended with {code}: its disk is full", node + 1));
            let pause = self.millis(50, 1000);
            self.later(pause, Relief::Start(node));
        }
        self.vitals.look(self.ensemble.quorum(), self.history.counts().done, &self.told);
        match self.history.trouble() {
            Some(wrong) => Err(wrong),
            None => Ok(()),
        }
    }

    fn strike(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::Kill => {
                let node = self.rng.below(NODES as u64) as usize;
                self.kill(node, 3000);
            }
            Fault::KillLeader => {
                if let Some(node) = self.leader() {
                    self.kill(node, 3000);
                }
            }
            Fault::KillAll => {
                (0..NODES).for_each(|node| self.kill(node, 1500));
                self.count("kill all");
            }
            Fault::Pause => {
                let node = self.rng.below(NODES as u64) as usize;
                self.pause(node);
            }
            Fault::PauseLeader => {
                if let Some(node) = self.leader() {
                    self.pause(node);
                }
            }
            Fault::Partition => self.partition(),
            Fault::CutOffClients => {
                let node = self.rng.below(NODES as u64) as usize;
                let both = self.rng.chance(500_000);
                self.close("clients from", node, |from, to| {
                    (from == node && to == CLIENTS) || (both && from == CLIENTS && to == node)
                });
            }
            Fault::Cut => {
                let node = self.rng.below(NODES as u64 + 1) as usize;
                let all = self.rng.chance(300_000);
                self.count("cut connections");
                self.note(&format!(
                    "cut connections of n{}{}",
                    node + 1,
                    if all { ", and all others" } else { "" }
                ));
                let which = |from, to| all || from == node || to == node;
                self.ensemble.weather.change(which, |path| path.cuts += 1);
            }
            Fault::Squall => {
                let squall = Path {
                    loss: self.rng.between(200_000, 900_000) as u32,
                    twice: self.rng.between(0, 500_000) as u32,
                    delay: self.rng.magnitude(10_000, 600_000),
                    ..self.usual
                };
                self.count("squall");
                self.note(&format!("squall: {squall:?}"));
                self.set_weather(squall);
                let length = self.millis(200, 3000);
                self.later(length, Relief::Calm);
            }
            Fault::SlowLinks => {
                let rate = self.rng.magnitude(30_000, 10_000_000);
                self.count("slow links");
                self.note(&format!("slow links: {rate} bytes a second"));
                self.set_weather(Path { rate, ..self.usual });
                let length = self.millis(500, 5000);
                self.later(length, Relief::Calm);
            }
            Fault::SlowDisk => {
                if self.ensemble.has_slow_disks() {
                    let delay = self.millis(5, 1000);
                    let all = self.rng.chance(300_000);
                    let one = self.rng.below(NODES as u64) as usize;
                    self.count("slow disk");
                    self.note(&format!("slow disk: {delay:?} a flush, n{}, all: {all}", one + 1));
                    for node in (0..NODES).filter(|node| all || *node == one) {
                        let told = self.ensemble.slow_disk(node, delay);
                        told.map_err(|error| format!("slowing a disk: {error}"))?;
                    }
                    let length = self.millis(500, 5000);
                    self.later(length, Relief::HastenDisks);
                }
            }
            Fault::Flood => {
                let node = self.rng.below(NODES as u64) as usize;
                let kind = flood::Kind::draw(&mut self.rng);
                let clients = self.rng.magnitude(20, 400) as usize;
                self.count("flood");
                self.note(&format!("flood: {clients} {kind:?} at n{}", node + 1));
                self.floods.push(self.ensemble.flood(node, kind, clients));
                let length = self.millis(500, 5000);
                self.later(length, Relief::EndFlood);
            }
            Fault::FullDisk => {
                if self.ensemble.has_small_disk() && !self.ensemble.is_disk_full() {
                    self.disk_was_full = true;
                    self.count("full disk");
                    self.note(&format!("n{}: disk full", SMALL + 1));
                    self.ensemble.fill_disk().map_err(|e| format!("filling a disk: {e}"))?;
                    let length = self.millis(500, 8000);
                    self.later(length, Relief::FreeDisk);
                }
            }
        }
        Ok(())
    }

    /// All nodes serve: what they hold is kept, once a minute or in any case.
    pub(super) fn mark(&mut self, always: bool) {
        let at = Duration::from_micros(self.history.now());
        self.vitals.mark(self.ensemble.held(at), always);
    }

    /// The same at the end, when nobody asks any more: a node may take a moment to see that those
    /// who did are gone. What is still open then is told.
    pub(super) fn last_mark(&mut self) {
        let patience = Instant::now() + LAST_CLOSED;
        while Instant::now() < patience {
            let at = Duration::from_micros(self.history.now());
            if self.vitals.closed_all(&self.ensemble.held(at)) {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.mark(true);
    }

    fn kill(&mut self, node: usize, longest: u64) {
        if self.ensemble.runs(node) {
            self.count("kill -9");
            self.note(&format!("kill n{}", node + 1));
            self.ensemble.kill(node);
            let pause = self.millis(10, longest);
            self.later(pause, Relief::Start(node));
        }
    }

    fn pause(&mut self, node: usize) {
        if self.ensemble.runs(node) {
            self.count("stop and continue");
            self.note(&format!("stop n{}", node + 1));
            self.ensemble.pause(node);
            let pause = self.millis(50, 4000);
            self.later(pause, Relief::Resume(node));
        }
    }

    fn partition(&mut self) {
        let node = self.rng.below(NODES as u64) as usize;
        let other = (node + 1 + self.rng.below(NODES as u64 - 1) as usize) % NODES;
        let nodes = |from, to| from != CLIENTS && to != CLIENTS;
        match self.rng.below(6) {
            0 => self.close("all paths to and from", node, |f, t| {
                nodes(f, t) && (f == node || t == node)
            }),
            1 => self.close("all paths from", node, |f, t| nodes(f, t) && f == node),
            2 => self.close("all paths to", node, |f, t| nodes(f, t) && t == node),
            3 => self.close("one path from", node, |f, t| f == node && t == other),
            4 => self.close("both paths to another from", node, |f, t| {
                (f == node && t == other) || (f == other && t == node)
            }),
            _ => self.close("everything, also", node, |f, t| f != t),
        }
    }

    fn close(&mut self, what: &str, node: usize, which: impl Fn(usize, usize) -> bool) {
        self.count("partition");
        self.note(&format!("closed: {what} n{}", node + 1));
        self.ensemble.weather.change(which, |path| path.open = false);
        let length = self.millis(100, 4000);
        self.later(length, Relief::Open);
    }

    fn relieve(&mut self, relief: Relief) -> Result<(), String> {
        match relief {
            Relief::Start(node) if !self.ensemble.runs(node) => {
                self.note(&format!("start n{}", node + 1));
                self.start(node)?;
            }
            Relief::Start(_) => {}
            Relief::Resume(node) => self.ensemble.resume(node),
            Relief::Open => self.ensemble.weather.change(|_, _| true, |path| path.open = true),
            Relief::Calm => self.set_weather(self.usual),
            Relief::HastenDisks => self.ensemble.hasten_disks(),
            Relief::EndFlood => drop(self.floods.pop()),
            Relief::FreeDisk => self.ensemble.free_disk(),
        }
        Ok(())
    }

    /// Datagrams and delays as given, between nodes only.
    fn set_weather(&self, weather: Path) {
        self.ensemble.weather.change(
            |from, to| from != CLIENTS && to != CLIENTS,
            |path| *path = Path { open: path.open, cuts: path.cuts, ..weather },
        );
    }

    fn start(&mut self, node: usize) -> Result<(), String> {
        self.ensemble
            .start(node)
            .map_err(|error| format!("n{} cannot be started: {error}", node + 1))
    }

    fn leader(&self) -> Option<usize> {
        (0..NODES).find(|node| {
            let role = self.ensemble.status(*node).map(|status| status.role);
            matches!(role, Some(RoleStatus::Leading { .. }))
        })
    }

    fn millis(&mut self, low: u64, high: u64) -> Duration {
        let millis = match self.rng.chance(500_000) {
            true => self.rng.between(low, high),
            false => self.rng.magnitude(low, high),
        };
        Duration::from_millis(millis)
    }

    fn later(&mut self, pause: Duration, relief: Relief) {
        let number = self.rng.next_u64();
        self.reliefs.insert((Instant::now() + pause, number), relief);
    }

    fn count(&mut self, what: &str) {
        *self.done.entry(what.to_string()).or_default() += 1;
    }

    fn note(&mut self, what: &str) {
        let line = format!("{:>9.3} {what}", self.history.now() as f64 / 1e6);
        if self.print {
            println!("{line}");
        }
        self.told.push(line);
    }
}
