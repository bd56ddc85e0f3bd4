//! The log in memory: a start, and the consecutive entries after it.

use crate::words::{Life, NodeId, Txid};
use crate::zab::history::entry::{Body, Entry, Gap, Position};
use crate::zab::history::storage::Base;
use crate::zab::membership::quorum::Membership;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The retained history: everything after `base`, without a hole. Bounds are derived from the
/// entries, never kept apart from them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Log {
    base: Base,
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Log {
    /// An empty log that starts at `base`.
    pub fn new(base: Base) -> Self {
        Self { base, entries: VecDeque::new(), bytes: 0 }
    }

    /// Where it starts.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Where it ends: the last entry, or its start if it is empty.
    pub fn last(&self) -> Position {
        self.entries.back().map_or(self.base.at, Entry::position)
    }

    /// How many entries it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if it holds no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The size of its entries in bytes, as [`Entry::size`] counts.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All entries, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.entries.iter()
    }

    /// The entries after `txid`, oldest first.
    pub fn after(&self, txid: Txid) -> impl DoubleEndedIterator<Item = &Entry> + ExactSizeIterator {
        self.entries.range(self.rank(txid)..)
    }

    /// Copies entries after `from` up to `upto`: as many as fit in `max_bytes`, but at least one
    /// if there is one.
    pub fn batch(&self, from: Txid, upto: Txid, max_bytes: usize) -> Vec<Entry> {
        let mut room = max_bytes;
        let mut first = true;
        self.after(from)
            .take_while(|entry| entry.txid <= upto)
            .take_while(|entry| {
                let fits = first || entry.size() <= room;
                first = false;
                room = room.saturating_sub(entry.size());
                fits
            })
            .cloned()
            .collect()
    }

    /// The position of `txid`, if it is the start of the log or one of its entries.
    pub fn position_at(&self, txid: Txid) -> Option<Position> {
        let floor = self.floor(txid)?;
        (floor.txid == txid).then_some(floor)
    }

    /// The greatest position at or before `txid`; `None` if that lies before the start.
    pub fn floor(&self, txid: Txid) -> Option<Position> {
        if txid < self.base.at.txid {
            return None;
        }
        let entry = self.rank(txid).checked_sub(1).and_then(|index| self.entries.get(index));
        Some(entry.map_or(self.base.at, Entry::position))
    }

    /// How many entries lie after `from`, up to `upto`.
    pub fn distance(&self, from: Txid, upto: Txid) -> u64 {
        self.rank(upto).saturating_sub(self.rank(from)) as u64
    }

    /// The membership in force at `txid`, with the lives recorded by then: the last one at or
    /// before it.
    pub fn membership_at(&self, txid: Txid) -> Arc<Membership> {
        let rank = self.rank(txid);
        let last = self.entries.range(..rank).rposition(|entry| membership(entry).is_some());
        let start = last.and_then(|index| membership(self.entries.get(index)?));
        let start = start.unwrap_or(&self.base.membership).clone();
        let since = self.entries.range(last.unwrap_or(0)..rank);
        start.with_lives(since.filter_map(|entry| Some((entry.txid, lives(entry)?))))
    }

    /// Adds an entry, if it continues the history.
    pub fn append(&mut self, entry: Entry) -> Result<(), Gap> {
        entry.follows(self.last())?;
        self.push(entry);
        Ok(())
    }

    /// Adds an entry that is known to continue the history: it was made for it, or checked against
    /// it. Its digest is not computed again.
    pub(crate) fn push(&mut self, entry: Entry) {
        assert_eq!(entry.prev, self.last().txid, "entries are checked before they are appended");
        debug_assert_eq!(entry.follows(self.last()), Ok(()));
        self.bytes += entry.size();
        self.entries.push_back(entry);
    }

    /// Asserts that the history hangs together where it can have changed: at its start, which
    /// pruning moves, and at its end. Entries are never changed in between, and each was compared
    /// with the one before it when it was added, so that this need not digest the whole log.
    pub fn check_ends(&self) {
        const ENTRIES: usize = 8;
        let tail = self.entries.len().saturating_sub(ENTRIES);
        let before = tail.checked_sub(1).and_then(|index| self.entries.get(index));
        let mut end = before.map_or(self.base.at, Entry::position);
        for entry in self.entries.range(tail..) {
            assert_eq!(entry.follows(end), Ok(()), "the log has a hole");
            end = entry.position();
        }
        if let Some(first) = self.entries.front() {
            assert_eq!(first.follows(self.base.at), Ok(()), "the log does not follow its start");
        }
    }

    /// Cuts everything after `to`. Panics if that is not a position of this log: a truncation that
    /// cannot be done exactly must not be done at all.
    pub fn truncate(&mut self, to: Position) {
        assert_eq!(self.position_at(to.txid), Some(to), "truncation to a position not in the log");
        let rank = self.rank(to.txid);
        self.bytes -= self.entries.range(rank..).map(Entry::size).sum::<usize>();
        self.entries.truncate(rank);
        assert_eq!(self.last(), to, "truncation must end exactly where it was asked to");
    }

    /// Forgets the entries up to `upto`, which must be a position of this log.
    pub fn prune(&mut self, upto: Position) {
        assert_eq!(self.position_at(upto.txid), Some(upto), "prune to a position not in the log");
        self.base.at = upto;
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.txid <= upto.txid) {
            self.bytes -= entry.size();
            match &entry.body {
                Body::Membership(membership) => self.base.membership = membership.clone(),
                Body::Lives(lives) => {
                    let recorded = [(entry.txid, lives.as_slice())];
                    self.base.membership = self.base.membership.clone().with_lives(recorded);
                }
                Body::Command(_) => {}
            }
        }
    }

    /// How many entries are at or before `txid`.
    fn rank(&self, txid: Txid) -> usize {
        match self.entries.back() {
            Some(last) if last.txid <= txid => self.entries.len(),
            // Within an epoch the counter has no holes, and most questions are about the last one.
            Some(last) if last.txid.epoch() == txid.epoch() => {
                let later = last.txid.counter() - txid.counter();
                self.entries.len().saturating_sub(usize::try_from(later).unwrap_or(usize::MAX))
            }
            _ => self.entries.partition_point(|entry| entry.txid <= txid),
        }
    }
}

/// The membership that an entry brings, if it brings one.
pub(crate) fn membership(entry: &Entry) -> Option<&Arc<Membership>> {
    match &entry.body {
        Body::Membership(membership) => Some(membership),
        Body::Command(_) | Body::Lives(_) => None,
    }
}

/// The lives that an entry records, if it records any.
pub(crate) fn lives(entry: &Entry) -> Option<&[(NodeId, Life)]> {
    match &entry.body {
        Body::Lives(lives) => Some(lives),
        Body::Command(_) | Body::Membership(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Epoch, WallTime};
    use alloc::collections::BTreeMap;

    #[test]
    fn every_txid_finds_its_place_across_epochs_and_at_both_ends() {
        let at = |epoch, counter| Txid::new(Epoch::new(epoch), counter).unwrap();
        for base in [Txid::ZERO, at(1, 2), at(1, 3), at(2, 1), at(4, 1)] {
            let members = Arc::new(Membership::new(Default::default(), BTreeMap::new()));
            let start = Position { txid: base, chain: Default::default() };
            let mut log = Log::new(Base { at: start, membership: members.clone() });
            let all =
                [(1, 1), (1, 2), (1, 3), (2, 1), (4, 1), (4, 2), (4, 3)].map(|(e, c)| at(e, c));
            for txid in all.into_iter().filter(|txid| *txid > base) {
                let body = Body::Membership(members.clone());
                let entry = Entry::new(log.last(), txid, WallTime::default(), None, body);
                log.append(entry).unwrap();
            }
            for txid in (1..6).flat_map(|epoch| (1..5).map(move |counter| at(epoch, counter))) {
                let expected = log.iter().filter(|entry| entry.txid <= txid).count();
                assert_eq!(log.rank(txid), expected, "{txid} in a log after {base}");
            }
            log.check_ends();
        }
    }
}
