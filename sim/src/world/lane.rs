//! The two files of a disk, and what waits for each.

use crate::world::disk::DiskOp;
use crate::world::size;
use std::collections::VecDeque;

/// The files of a disk. Each takes its operations in order and flushes by itself: a slow state
/// store holds up nothing of the journal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lane {
    /// The records.
    Journal,
    /// Checkpoints and staged snapshots.
    Store,
}

impl Lane {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Journal, Self::Store];
}

/// An operation, its number among all that the disk was handed, and its bytes.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The number.
    pub order: u64,
    /// The bytes.
    pub bytes: u64,
    /// The operation.
    pub op: DiskOp,
}

/// What waits for one file, and the flush under way.
#[derive(Clone, Debug, Default)]
pub struct Line {
    waiting: VecDeque<Waiting>,
    bytes: u64,
    /// How many operations the flush under way completes, how many bytes of the one after them it
    /// writes, and how many bytes in all.
    flushing: Option<(usize, u64, u64)>,
    /// Bytes of the first operation that were written by earlier flushes.
    written: u64,
    /// How many flushes began.
    pub flushes: u64,
}

impl Line {
    /// One more waits.
    pub fn push(&mut self, order: u64, op: DiskOp) {
        let bytes = size::disk_op(&op);
        self.bytes += bytes;
        self.waiting.push_back(Waiting { order, bytes, op });
    }

    /// What waits, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of all that wait.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Begins a flush of at most `batch` operations and at most `unit` bytes, of an operation that
    /// is longer so many. Returns the bytes and how many operations end with it, or nothing if a flush
    /// is under way or there is nothing to flush.
    pub fn begin(&mut self, batch: u64, unit: u64) -> Option<(u64, u64)> {
        if self.flushing.is_some() {
            return None;
        }
        let (mut count, mut bytes) = (0, 0);
        for one in self.waiting.iter().take(batch as usize) {
            let left = if count == 0 { one.bytes - self.written } else { one.bytes };
            if bytes + left > unit {
                break;
            }
            (count, bytes) = (count + 1, bytes + left);
        }
        let part = match (count, self.waiting.front()) {
            (0, Some(_)) => unit,
            (0, None) => return None,
            _ => 0,
        };
        self.flushing = Some((count, part, bytes + part));
        self.flushes += 1;
        Some((bytes + part, count as u64))
    }

    /// Bytes of the flush under way.
    pub fn flushing(&self) -> u64 {
        self.flushing.map_or(0, |(_, _, bytes)| bytes)
    }

    /// True if this flush is under way.
    pub fn is_flushing(&self, flush: u64) -> bool {
        self.flushing.is_some() && self.flushes == flush
    }

    /// Ends the flush under way. Returns what it completed.
    pub fn end(&mut self) -> Vec<Waiting> {
        let (count, part, _) = self.flushing.take().unwrap_or_default();
        if count > 0 {
            self.written = 0;
        }
        self.written += part;
        let done: Vec<Waiting> = self.waiting.drain(..count).collect();
        self.bytes -= done.iter().map(|one| one.bytes).sum::<u64>();
        done
    }

    /// Power is lost: the first `keep` may survive. Returns them.
    pub fn lose(&mut self, keep: usize) -> VecDeque<Waiting> {
        let mut kept = std::mem::take(&mut self.waiting);
        kept.truncate(keep);
        *self = Self { flushes: self.flushes, ..Self::default() };
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sizes: &[usize]) -> Line {
        let mut line = Line::default();
        for (order, size) in sizes.iter().enumerate() {
            let items = vec![zabkeeper_core::zab::Item {
                key: Vec::new().into(),
                value: vec![0; *size].into(),
            }];
            line.push(order as u64, DiskOp::Stage(1, items));
        }
        line
    }

    #[test]
    fn a_long_operation_takes_several_flushes_and_a_short_one_shares_one() {
        let mut line = line(&[236, 36, 36]);
        assert_eq!(line.begin(10, 200), Some((200, 0)));
        assert_eq!(line.begin(10, 200), None, "one is under way");
        assert!(line.end().is_empty());
        assert_eq!(line.begin(10, 250), Some((200, 2)), "what is left, and the next");
        assert_eq!(line.end().len(), 2);
        assert_eq!(line.bytes(), 100);
        assert_eq!(line.begin(10, 250), Some((100, 1)));
    }
}
