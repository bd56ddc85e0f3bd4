//! Folding: several tables become one, in small steps between which other work is done.

use super::error::{Damage, OpenError};
use super::merge::Merge;
use super::pace::Pace;
use super::table::{Table, Writer};
use rustix::fs::statvfs;
use std::io;
use std::ops::Range;
use std::path::Path;

/// So many tables are read at a start without a thought.
const TABLES: usize = 8;
/// Tables behind the oldest may hold this many bytes more than twice that one.
const SLACK: u64 = 32 << 20;
/// A fold takes about so many steps, so that few tables are added meanwhile ...
const STEPS: u64 = 16;
/// ... but merges at least so many bytes a step,
const STEP_MIN: u64 = 1 << 20;
/// and at most so many, since a checkpoint may have to wait for it ...
const STEP_MAX: u64 = 32 << 20;
/// ... and for each time so many tables there are, twice as many: checkpoints must not outrun it.
const CROWD: usize = 100;

/// Which tables must become one, oldest first; `None` if all is well.
///
/// All, if the oldest one is a small part of them. Otherwise the newest ones, and older ones as
/// long as they are at most twice as large as all that is newer, so that large tables are seldom
/// rewritten.
pub(crate) fn due(tables: &[Table]) -> Option<Range<usize>> {
    let all: u64 = tables.iter().map(|table| table.bytes).sum();
    let oldest = tables.first()?.bytes;
    if all - oldest > oldest.saturating_mul(2).saturating_add(SLACK) {
        return Some(0..tables.len());
    }
    if tables.len() <= TABLES {
        return None;
    }
    let mut newer = 0;
    let mut from = tables.len();
    for (index, table) in tables.iter().enumerate().rev() {
        if table.bytes > newer * 2 && index + 1 < TABLES && from < tables.len() {
            break;
        }
        newer += table.bytes;
        from = index;
    }
    Some(from..tables.len())
}

/// How many bytes a fold of `bytes` merges in a step while the state has so many tables.
fn step(bytes: u64, tables: usize) -> u64 {
    let doublings = (tables / CROWD).min(32);
    (bytes / STEPS).clamp(STEP_MIN, STEP_MAX) << doublings
}

/// Why a fold does not come to its end. Nothing depends on it yet.
pub(crate) enum Stopped {
    /// The system refused something: the fold can be begun anew later.
    Refused(String),
    /// One of the tables is not what was written there.
    Damaged(Damage),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<Damage> for Stopped {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<OpenError> for Stopped {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Damaged(damage) => Self::Damaged(damage),
            refused => Self::Refused(refused.to_string()),
        }
    }
}

/// A fold that is under way.
pub(crate) struct Fold {
    old: Vec<Table>,
    merge: Merge,
    writer: Writer,
    /// Nothing is older than these tables, so what is removed can be forgotten.
    whole: bool,
    /// Bytes of all old tables.
    bytes: u64,
}

impl Fold {
    /// Begins to fold `old`, oldest first, into table `number`, if there is room for it: it must not
    /// take what checkpoints and the journal need.
    pub(crate) fn begin(
        dir: &Path,
        old: &[Table],
        number: u64,
        whole: bool,
        pace: &Pace,
    ) -> Result<Self, Stopped> {
        let bytes: u64 = old.iter().map(|table| table.bytes).sum();
        let disk = statvfs(dir).map_err(io::Error::from)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let wanted = bytes + SLACK.min(bytes);
        // A file system without a size does not tell.
        if free < wanted && disk.f_blocks > 0 {
            let why = format!("that wants {} KiB free, and {} are", wanted >> 10, free >> 10);
            return Err(Stopped::Refused(why));
        }
        let merge = Merge::open(dir, old)?;
        let writer = Writer::create(dir, number, pace)?;
        Ok(Self { old: old.to_vec(), merge, writer, whole, bytes })
    }

    /// Goes on, in a state that has so many tables; false at the end.
    pub(crate) fn step(&mut self, tables: usize) -> Result<bool, Stopped> {
        let most = step(self.bytes, tables);
        let mut merged = 0;
        while merged < most {
            let Some((key, value)) = self.merge.next()? else {
                return Ok(false);
            };
            merged += (key.len() + value.map_or(0, <[u8]>::len)) as u64;
            if value.is_some() || !self.whole {
                self.writer.push((key, value))?;
            }
        }
        Ok(true)
    }

    /// The tables folded, and the one that takes their place, durable but for its name.
    pub(crate) fn finish(self) -> Result<(Vec<Table>, Table), Stopped> {
        Ok((self.old, self.writer.finish()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tables(sizes: &[u64]) -> Vec<Table> {
        let table =
            |(number, bytes): (u64, &u64)| Table { number, bytes: *bytes, records: 1, checksum: 0 };
        (1..).zip(sizes).map(table).collect()
    }

    #[test]
    fn a_large_old_table_is_left_alone_until_it_is_worth_it() {
        let mut sizes = vec![1000];
        sizes.extend([10; 7]);
        assert_eq!(due(&tables(&sizes)), None);
        sizes.push(10);
        assert_eq!(due(&tables(&sizes)), Some(1..9));
        sizes[0] = 100;
        assert_eq!(due(&tables(&sizes)), Some(0..9));
        let heavy = [1 << 20, 40 << 20];
        assert_eq!(due(&tables(&heavy)), Some(0..2));
        assert_eq!(due(&[]), None);
    }

    #[test]
    fn a_step_is_short_and_checkpoints_do_not_outrun_a_fold_of_any_size() {
        for bytes in (20..=40).map(|power| 1_u64 << power) {
            let (mut merged, mut tables, mut longest) = (0, TABLES + 1, 0);
            while merged < bytes {
                // One checkpoint, and one table more, between any two steps.
                let step = step(bytes, tables);
                merged += step;
                tables += 1;
                longest = longest.max(step);
            }
            assert!(tables < 900, "{tables} tables, folding {bytes} bytes");
            assert!(bytes > 2 << 30 || longest <= 32 << 20, "{longest} of {bytes} bytes at once");
        }
    }

    proptest! {
        #[test]
        fn folding_ends_and_keeps_tables_few_and_cheap(
            sizes in prop::collection::vec(0..(40_u64 << 20), 1..300),
        ) {
            let mut held: Vec<u64> = Vec::new();
            let mut written = 0;
            for size in &sizes {
                held.push(*size);
                written += size;
                while let Some(range) = due(&tables(&held)) {
                    prop_assert!(range.end == held.len() && range.len() > 1, "{held:?}");
                    // At worst nothing is said twice.
                    let sum = held.drain(range).sum();
                    written += sum;
                    held.push(sum);
                }
                prop_assert!(held.len() <= TABLES, "{held:?}");
                let newer: u64 = held.iter().skip(1).sum();
                prop_assert!(newer <= held[0] * 2 + SLACK, "{held:?}");
            }
            let added: u64 = sizes.iter().sum();
            // Grows with the logarithm of what the state grows to.
            prop_assert!(written <= added * 8, "{written} bytes for {added}");
        }
    }
}
