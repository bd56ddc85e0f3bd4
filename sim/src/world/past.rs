//! The log on a modelled disk, with what is before its start and kept for followers: no more of it
//! than the core asked for.

use std::collections::VecDeque;
use zabkeeper_core::words::Txid;
use zabkeeper_core::zab::{Entry, Keep, Position, Record};

/// All that can be read back.
#[derive(Clone, Debug)]
pub struct Past {
    start: Position,
    entries: VecDeque<Entry>,
    /// Where the log starts to which a restart comes back.
    base: Txid,
    keep: Keep,
}

impl Past {
    /// That of an empty log.
    pub fn new(start: Position) -> Self {
        Self { start, entries: VecDeque::new(), base: start.txid, keep: everything() }
    }

    /// A process is gone: nothing is dropped before the next one has said what it wants.
    pub fn forget_wishes(&mut self) {
        self.keep = everything();
    }

    /// So much is kept from now on.
    pub fn keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    /// A record is durable.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Append { entries, .. } => self.entries.extend(entries.iter().cloned()),
            Record::Truncate(to) => {
                while self.entries.pop_back_if(|entry| entry.txid > to.txid).is_some() {}
            }
            Record::Install { base, .. } => *self = Self { keep: self.keep, ..Self::new(base.at) },
            Record::Prune(base) => {
                self.base = base.at.txid;
                self.trim();
            }
            Record::Promise(_) | Record::Enter(_) | Record::Commit(_) | Record::Begin(_) => {}
        }
    }

    /// Drops what is not wanted any more.
    fn trim(&mut self) {
        let past = self.entries.iter().take_while(|entry| entry.txid <= self.base);
        let mut bytes: u64 = past.map(|entry| entry.size() as u64).sum();
        while let Some(first) = self.entries.front().filter(|entry| entry.txid <= self.base) {
            let size = first.size() as u64;
            let pinned = self.keep.after.is_some_and(|after| first.txid > after);
            if bytes - size < self.keep.bytes || pinned && bytes <= self.keep.most {
                return;
            }
            bytes -= size;
            self.start = first.position();
            self.entries.pop_front();
        }
    }

    /// The last place at or before `after`, and entries after it up to `upto`, about `max_bytes` of
    /// them.
    pub fn read(
        &self,
        after: Txid,
        upto: Txid,
        max_bytes: usize,
    ) -> (Option<Position>, Vec<Entry>) {
        if after < self.start.txid {
            return (None, Vec::new());
        }
        let rank = self.entries.partition_point(|entry| entry.txid <= after);
        let before = rank.checked_sub(1).and_then(|last| self.entries.get(last));
        let from = before.map_or(self.start, Entry::position);
        let mut bytes = 0;
        let wanted = self.entries.range(rank..).take_while(|entry| {
            let fits = bytes == 0 || bytes + entry.size() <= max_bytes;
            bytes += entry.size();
            fits && entry.txid <= upto
        });
        (Some(from), wanted.cloned().collect())
    }
}

fn everything() -> Keep {
    Keep { after: Some(Txid::ZERO), most: u64::MAX, bytes: u64::MAX }
}
