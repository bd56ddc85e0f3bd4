//! Many seeds, on several threads. Each run is a world of its own; threads share nothing but the
//! counter of seeds and the list of results.

use crate::run::Report;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The sum of many runs.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Runs done.
    pub seeds: u64,
    /// Steps of processes.
    pub steps: u64,
    /// Virtual time in microseconds.
    pub time: u64,
    /// Committed entries.
    pub committed: u64,
    /// Leaders established.
    pub reigns: u64,
    /// How often each transition and fault was seen.
    pub marks: BTreeMap<String, u64>,
    /// How near each bound came, in percent, and other maxima; with the seed.
    pub peaks: BTreeMap<&'static str, (u64, u64)>,
    /// The runs that failed, by seed; of each invariant only the first few are kept.
    pub failures: BTreeMap<u64, Report>,
    /// How many runs failed.
    pub failed: u64,
}

/// How many failures of one invariant a summary keeps.
const KEPT: usize = 3;

/// What two thousand seeds see at least ten times. A change that makes one of these disappear has
/// made the simulation blind to it.
const EXPECTED: &[&str] = &[
    "Elected",
    "EpochAccepted",
    "EpochProposed",
    "Established",
    "FollowerGone",
    "FollowerReady",
    "Forming",
    "Installed",
    "Joins",
    "LeftLeader Disconnected",
    "LeftLeader Halting",
    "LeftLeader InitTimeout",
    "LeftLeader Silence",
    "Looking",
    "MembershipCommitted",
    "Pruned",
    "RejectedBy",
    "Resubmitted",
    "Sealing",
    "Serving",
    "StaleConn",
    "SteppedDown CounterFull",
    "SteppedDown Halting",
    "SteppedDown HigherEpoch",
    "SteppedDown InitTimeout",
    "SteppedDown Silence",
    "SteppedDown SlowDisk",
    "SyncPlanned Diff",
    "SyncPlanned Snap",
    "SyncPlanned Trunc",
    "Truncated",
    "WrongDisk",
    "client: calls a node",
    "client: read",
    "client: refused",
    "client: timed out",
    "client: unknown",
    "client: written",
    "client: listed",
    "client: waits for the disk",
    "client: all places are taken",
    "client: dropped, Stuck",
    "client: dropped, Unfinished",
    "client: dropped, Idle",
    "client: dropped, Greedy",
    "guests: Silent",
    "guests: Unfinished",
    "guests: Deaf",
    "guests: Slow",
    "guests: Curious",
    "guests: Eager",
    "guests: Confused",
    "crash",
    "disk wiped",
    "old disk put back",
    "fault: ambush",
    "fault: broken connections",
    "fault: cut connections",
    "fault: crash",
    "fault: crash in a step",
    "fault: forged votes",
    "fault: stranger",
    "forged: FarRound",
    "forged: LastRound",
    "forged: Leads",
    "forged: OthersMore",
    "forged: OwnLess",
    "forged: OwnMore",
    "forged: YoursMore",
    "flood: many keys, and their deletion",
    "net: heartbeats that overtook",
    "stranger: Acknowledged",
    "stranger: Cloned",
    "stranger: OtherDisk",
    "stranger: OutOfTurn",
    "stranger: Promised",
    "stranger: Silence",
    "a stranger is found out",
    "fault: disk failure",
    "fault: disk stall",
    "fault: echoes of old votes",
    "fault: isolation",
    "fault: partition",
    "fault: pause",
    "fault: power cut",
    "fault: slow disk",
    "fault: slow links",
    "fault: state store stall",
    "fault: suspended machine",
    "fault: wall clock step",
    "fault: copied disk",
    "fault: old disk",
    "fault: wiped disk",
    "halt: Storage",
    "halt: OldDisk",
    "halt: WrongDisk",
    "net: client connections cut",
    "net: connections cut",
    "net: datagrams cut off",
    "net: datagrams damaged",
    "net: datagrams doubled",
    "net: datagrams lost",
    "net: datagrams replayed",
    "net: half-open connections",
    "net: part of a message",
    "reads put off",
];

impl Summary {
    /// What a sweep of some thousand seeds should see and this one never did.
    pub fn unseen(&self) -> Vec<&'static str> {
        EXPECTED.iter().copied().filter(|mark| !self.marks.contains_key(*mark)).collect()
    }

    fn add(&mut self, mut report: Report) {
        self.seeds += 1;
        self.steps += report.steps;
        self.time += report.time;
        self.committed += report.committed as u64;
        self.reigns += report.reigns as u64;
        for (mark, count) in std::mem::take(&mut report.marks) {
            *self.marks.entry(mark).or_default() += count;
        }
        for (what, value) in std::mem::take(&mut report.peaks) {
            let peak = self.peaks.entry(what).or_default();
            *peak = (value, report.seed).max(*peak);
        }
        let Some(violation) = &report.violation else { return };
        self.failed += 1;
        let same = self.failures.values().filter_map(|kept| kept.violation.as_ref());
        if same.filter(|kept| kept.invariant == violation.invariant).count() < KEPT {
            self.failures.insert(report.seed, report);
        }
    }
}

/// What a sweep runs.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// On how many threads.
    pub jobs: usize,
    /// Stop after so many failures; 0 for never.
    pub stop_after: u64,
}

/// Runs the seeds. `one` runs a seed; `progress` sees the sum after each run.
pub fn sweep(
    sweep: &Sweep,
    one: impl Fn(u64) -> Report + Sync,
    progress: impl Fn(&Summary) + Sync,
) -> Summary {
    let next = AtomicU64::new(sweep.from);
    let stop = AtomicBool::new(false);
    let total = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..sweep.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed - sweep.from >= sweep.seeds || stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let report = one(seed);
                    let Ok(mut sum) = total.lock() else { break };
                    sum.add(report);
                    if sweep.stop_after > 0 && sum.failed >= sweep.stop_after {
                        stop.store(true, Ordering::Relaxed);
                    }
                    progress(&sum);
                }
            });
        }
    });
    total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}
