//! Where the state store stands: how far the log may be compacted, and how much more may be applied
//! before the store has caught up. In memory the log may be shorter than on disk: a restart needs
//! every entry that the state store lacks, a follower that was away only the latest ones.

use crate::words::{Incarnation, Instant, Micros, Rng, Txid};
use crate::zab::config::Limits;
use crate::zab::history::storage::Base;

/// A checkpoint begins up to so many 256th of its limit early.
const EARLIEST: u64 = 64;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Compaction {
    /// The last entry known to be in the durable state store.
    pub(crate) durable: Txid,
    /// Where the log on disk starts, as last issued.
    pub(crate) start: Txid,
    /// The checkpoint that is being written, if one is.
    pub(super) running: Option<Running>,
    /// Bytes applied since the last checkpoint began.
    bytes: usize,
    /// Entries applied since the last checkpoint began.
    entries: usize,
    /// When the state store last made something durable.
    moved: Instant,
    /// By how many 256th the next checkpoint comes earlier than the limit says: were it the same
    /// everywhere, all nodes would write at the same time.
    early: usize,
}

/// A checkpoint that is being written.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Running {
    pub(super) since: Instant,
    /// What it will let the log on disk start with.
    base: Base,
    /// Bytes applied between the one before and this one.
    bytes: usize,
    /// Bytes that the state store has written since it began.
    done: u64,
}

impl Compaction {
    pub(crate) fn new(durable: Txid, start: Txid, disk: Incarnation) -> Self {
        let early = Rng::new(disk.get()).below(EARLIEST);
        Self {
            durable,
            start,
            running: None,
            bytes: 0,
            entries: 0,
            moved: Instant::default(),
            early: usize::try_from(early).unwrap_or(0),
        }
    }

    #[cfg(feature = "explore")]
    pub(crate) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase) {
        self.running.iter_mut().for_each(|running| rebase.instant(&mut running.since));
        rebase.instant(&mut self.moved);
    }

    /// Takes note of an applied entry of so many bytes.
    pub(crate) fn applied(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.entries += 1;
    }

    /// True if the next checkpoint should begin.
    pub(crate) fn is_due(&self, limits: &Limits) -> bool {
        let early = |limit: usize| limit - limit / 256 * self.early;
        let bytes = self.bytes >= early(limits.checkpoint_bytes);
        let entries = self.entries >= early(limits.checkpoint_entries);
        (bytes || entries) && self.entries > 0 && self.running.is_none()
    }

    /// The checkpoint of what is applied now begins.
    pub(crate) fn begin(&mut self, base: Base, now: Instant, disk: Incarnation) {
        let seed = disk.get() ^ base.at.txid.counter();
        self.early = usize::try_from(Rng::new(seed).below(EARLIEST)).unwrap_or(0);
        self.running = Some(Running { since: now, base, bytes: self.bytes, done: 0 });
        (self.bytes, self.entries) = (0, 0);
    }

    /// The state store has written so many bytes more.
    pub(crate) fn wrote(&mut self, bytes: u64, now: Instant) {
        self.moved = self.moved.max(now);
        if let Some(running) = &mut self.running {
            running.done = running.done.saturating_add(bytes);
        }
    }

    /// The checkpoint that was being written is done. Gives what it lets the log start with.
    pub(crate) fn finish(&mut self, now: Instant) -> Option<Base> {
        self.moved = self.moved.max(now);
        self.running.take().map(|running| running.base)
    }

    /// A snapshot took the place of the state. The checkpoint that is being written comes to its end
    /// all the same.
    pub(crate) fn installed(&mut self, at: Txid) {
        (self.durable, self.start) = (at, at);
        (self.bytes, self.entries) = (0, 0);
    }

    /// How many bytes more may be applied before the state store has caught up, if `limit` bytes may
    /// be unsaved in all: a quarter of them at once, and as much again as the checkpoint that is being
    /// written comes forward, so that writes are slowed down to its pace and not stopped until it ends.
    /// After a restart the checkpoint may be of as many as may be unsaved in all.
    pub(crate) fn room(&self, limit: usize) -> usize {
        let share = limit / 4;
        let earned = self.running.as_ref().map_or(share, |running| {
            let all = (running.bytes as u64).max(1);
            let earned = share as u64 * running.done.min(all) / all;
            usize::try_from(earned).unwrap_or(share)
        });
        let unsaved = self.bytes + self.running.as_ref().map_or(0, |running| running.bytes);
        (share + earned).saturating_sub(self.bytes).min(limit.saturating_sub(unsaved))
    }

    /// So long nobody was awake to see what the state store writes.
    pub(crate) fn slept(&mut self, span: Micros) {
        if let Some(running) = &self.running {
            self.moved = self.moved.max(running.since).after(span);
        }
    }

    /// When a checkpoint that is being written counts as hung, unless something is written before.
    pub(crate) fn hangs_at(&self, patience: Micros) -> Option<Instant> {
        let running = self.running.as_ref()?;
        Some(self.moved.max(running.since).after(patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Epoch;
    use crate::zab::history::entry::Position;
    use crate::zab::membership::quorum::Membership;
    use alloc::collections::BTreeMap;
    use alloc::sync::Arc;

    const PATIENCE: Micros = Micros::millis(10_000);

    fn base(counter: u64) -> Base {
        let txid = Txid::new(Epoch::new(1), counter).unwrap();
        let membership = Arc::new(Membership::new(Txid::ZERO, BTreeMap::new()));
        Base { at: Position { txid, ..Position::ZERO }, membership }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    #[test]
    fn a_checkpoint_of_an_hour_that_moves_never_hangs() {
        let mut store = Compaction::new(Txid::ZERO, Txid::ZERO, Incarnation::new(1));
        store.applied(100);
        store.begin(base(1), at(0), Incarnation::new(1));
        for second in 0..3600 {
            let now = at(second * 1000);
            store.wrote(1, now);
            assert!(store.hangs_at(PATIENCE).unwrap() > now);
        }
        assert_eq!(store.hangs_at(PATIENCE), Some(at(3_609_000)));
        store.slept(Micros::millis(500));
        assert_eq!(store.hangs_at(PATIENCE), Some(at(3_609_500)));
        store.finish(at(3_600_000));
        assert_eq!(store.hangs_at(PATIENCE), None);
    }

    #[test]
    fn writes_go_on_at_the_pace_of_the_state_store_and_never_stop_for_it() {
        const LIMIT: usize = 64 << 20;
        let limits = Limits::default();
        // Bytes that the state store writes in a tick, 100 of which are more than clients want.
        for rate in [10_000, 100_000, 1_000_000] {
            let mut store = Compaction::new(Txid::ZERO, Txid::ZERO, Incarnation::new(1));
            let (mut saving, mut unsaved, mut written, mut idle) = (0_u64, 0, 0_u64, 0);
            let ticks = 400_000_000 / rate;
            for tick in 1..ticks {
                let now = at(tick);
                let fits = store.room(LIMIT).min(rate as usize * 100);
                store.applied(fits);
                unsaved += fits;
                written += fits as u64;
                idle = if fits == 0 { idle + 1 } else { 0 };
                assert!(idle <= 1_000_000 / rate + 2, "{rate}: nothing for {idle} ticks");
                assert!(unsaved <= LIMIT, "{unsaved} bytes are unsaved");
                let step = rate.min(saving);
                saving -= step;
                store.wrote(step, now);
                if saving == 0 {
                    store.finish(now);
                }
                if store.is_due(&limits) {
                    (saving, unsaved) = (store.bytes as u64, store.bytes);
                    store.begin(base(tick), now, Incarnation::new(1));
                }
            }
            assert!(written > ticks * rate * 9 / 10, "{rate}: {written} of {}", ticks * rate);
        }
    }

    #[test]
    fn two_disks_do_not_begin_every_checkpoint_at_the_same_entry() {
        let limits = Limits::default();
        let begins = |disk: u64| {
            let mut store = Compaction::new(Txid::ZERO, Txid::ZERO, Incarnation::new(disk));
            let begins = (1..100_000).filter(|counter| {
                store.applied(1000);
                let due = store.is_due(&limits);
                if due {
                    store.begin(base(*counter), at(0), Incarnation::new(disk));
                    store.finish(at(0));
                }
                due
            });
            begins.collect::<alloc::vec::Vec<u64>>()
        };
        let (one, other) = (begins(1), begins(2));
        assert!((5..=8).contains(&one.len()) && (5..=8).contains(&other.len()));
        assert!(one.iter().all(|counter| !other.contains(counter)), "{one:?} {other:?}");
    }
}
