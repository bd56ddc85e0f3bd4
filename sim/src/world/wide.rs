//! A world in which things take time by their size: links and disks have a width, a state has a
//! weight, a turn of a process lasts.
//!
//! A state of 100 MB is modelled by size: a byte here stands for many, and the core's limits are as
//! many times smaller, so that it sees the world that it would see with the real ones.

use crate::run::options::Options;
use crate::world::lane::Lane;
use crate::world::size;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zabkeeper_core::words::NodeId;

/// How wide things are. Rates in bytes a second, 0 for no limit; times in microseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wide {
    /// How many bytes one stands for.
    pub scale: u64,
    /// Until then everything is as fast as elsewhere: the state is made.
    pub from: u64,
    /// What each direction between two nodes carries.
    pub link_rate: u64,
    /// What the journal writes.
    pub journal_rate: u64,
    /// What the state store writes.
    pub store_rate: u64,
    /// What a process works off: messages in and out, and entries applied.
    pub turn_rate: u64,
    /// What the state weighs when it is made.
    pub state_bytes: u64,
    /// True if nothing but slowness goes wrong: then nobody needs a new leader.
    pub fair: bool,
}

impl Options {
    /// How many bytes one stands for.
    pub fn scale(&self) -> u64 {
        self.wide.as_ref().map_or(1, |wide| wide.scale.max(1))
    }

    /// How much longer recovery may take for all that has to be moved: the state, and as much log,
    /// over a link and to both files of a disk, each three times.
    pub fn moving(&self) -> u64 {
        let Some(wide) = &self.wide else { return 0 };
        let log = (self.limits.checkpoint_bytes.max(self.limits.retain_bytes) * 4) as u64;
        let bytes = wide.state_bytes + log * self.scale();
        let rates = [wide.link_rate, wide.journal_rate, wide.store_rate];
        rates.into_iter().map(|rate| 3 * time(bytes, rate)).sum()
    }
}

/// How long so many bytes take.
pub fn time(bytes: u64, rate: u64) -> u64 {
    match rate {
        0 => 0,
        rate => bytes.saturating_mul(1_000_000) / rate,
    }
}

/// Something is slower for a while.
#[derive(Clone, Copy, Debug)]
struct Slow {
    until: u64,
    latency: u64,
    rate: u64,
}

/// How fast a disk is.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    from: u64,
    journal: u64,
    store: u64,
    slow: Option<Slow>,
}

impl Pace {
    /// The pace that the options give.
    pub fn new(options: &Options) -> Self {
        let Some(wide) = &options.wide else { return Self::default() };
        let (journal, store) = (wide.journal_rate, wide.store_rate);
        Self { from: wide.from, journal, store, slow: None }
    }

    /// Until a time each flush takes so much longer, and no more than so many bytes a second are
    /// written.
    pub fn slow_down(&mut self, until: u64, latency: u64, rate: u64) {
        self.slow = Some(Slow { until, latency, rate });
    }

    /// It is as fast again as it was.
    pub fn recover(&mut self) {
        self.slow = None;
    }

    /// How much longer than its latency a flush of so many bytes takes that begins now.
    pub fn flush(&self, lane: Lane, bytes: u64, now: u64) -> u64 {
        let rate = match lane {
            Lane::Journal => self.journal,
            Lane::Store => self.store,
        };
        let own = if now < self.from { 0 } else { time(bytes, rate) };
        match self.slow.filter(|slow| now < slow.until) {
            Some(slow) => slow.latency + own.max(time(bytes, slow.rate)),
            None => own,
        }
    }
}

/// How wide the links are.
#[derive(Debug)]
pub struct Links {
    scale: u64,
    from: u64,
    rate: u64,
    slow: BTreeMap<(NodeId, NodeId), Slow>,
}

impl Links {
    /// The links that the options give.
    pub fn new(options: &Options) -> Self {
        let wide = options.wide.as_ref();
        Self {
            scale: options.scale(),
            from: wide.map_or(0, |wide| wide.from),
            rate: wide.map_or(0, |wide| wide.link_rate),
            slow: BTreeMap::new(),
        }
    }

    /// Until a time this direction carries no more than so many bytes a second.
    pub fn slow_down(&mut self, from: NodeId, to: NodeId, until: u64, rate: u64) {
        self.slow.insert((from, to), Slow { until, latency: 0, rate });
    }

    /// All are as wide again as they were. What is on its way stays so.
    pub fn recover(&mut self) {
        self.slow.clear();
    }

    /// How many bytes one stands for.
    pub fn scale(&self) -> u64 {
        self.scale
    }

    /// True if this direction has a width now.
    pub fn is_slow(&self, from: NodeId, to: NodeId, now: u64) -> bool {
        let slow = self.slow.get(&(from, to)).is_some_and(|slow| now < slow.until);
        slow || self.rate > 0 && now >= self.from
    }

    /// How long a message of so many bytes takes on this direction that begins now.
    pub fn carry(&self, from: NodeId, to: NodeId, bytes: u64, now: u64) -> u64 {
        let own = if now < self.from { 0 } else { self.rate };
        let slow = self.slow.get(&(from, to)).filter(|slow| now < slow.until);
        let rate = match (own, slow.map_or(0, |slow| slow.rate)) {
            (0, rate) | (rate, 0) => rate,
            (own, slow) => own.min(slow),
        };
        time(size::real(bytes, 1, self.scale), rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_link_takes_longer_by_what_it_carries() {
        let mut links = Links::new(&Options::calm(2));
        let (a, b) = (NodeId::new(1), NodeId::new(2));
        assert_eq!(links.carry(a, b, 1_000, 5), 0, "no limit");
        links.slow_down(a, b, 1_000_000, 1_000);
        assert_eq!(links.carry(a, b, 500, 10), 500_000);
        assert_eq!(links.carry(b, a, 500, 20), 0, "the other direction is free");
        assert_eq!(links.carry(a, b, 500, 1_000_000), 0, "it was for a while");
    }

    #[test]
    fn a_slow_disk_takes_longer_by_what_it_writes() {
        let mut pace = Pace::new(&Options::calm(1));
        assert_eq!(pace.flush(Lane::Store, 1_000_000, 0), 0);
        pace.slow_down(10, 5_000, 1_000_000);
        assert_eq!(pace.flush(Lane::Store, 1_000, 0), 6_000);
        assert_eq!(pace.flush(Lane::Store, 1_000, 10), 0);
    }
}
