//! The listings that the tree makes or will make next. Other reads wait behind them, so that few
//! large ones are made at a time.

use crate::words::ConnId;
use alloc::collections::VecDeque;

/// What is being made, and who waits for it.
#[derive(Clone, Debug)]
pub(super) struct Listings {
    /// Of the node's own state.
    local: Kind,
    /// Those that wait for a leader's word first, for which the former do not wait.
    confirmed: Kind,
    /// About the bytes of a large one, as they were of late.
    typical: usize,
    /// Bytes that may be in the making.
    most: usize,
}

#[derive(Clone, Debug)]
struct Kind {
    making: usize,
    line: VecDeque<ConnId>,
}

impl Kind {
    const NONE: Self = Self { making: 0, line: VecDeque::new() };
}

impl Listings {
    /// None yet: pages may have `page` bytes, and `most` may be in the making.
    pub(super) fn new(page: usize, most: usize) -> Self {
        let (local, confirmed) = (Kind::NONE, Kind::NONE);
        Self { local, confirmed, typical: page, most }
    }

    pub(super) fn has_place(&self, local: bool) -> bool {
        let making = if local { self.local.making } else { self.confirmed.making };
        making == 0 || making.saturating_mul(self.typical) < self.most
    }

    pub(super) fn begin(&mut self, local: bool) {
        self.kind(local).making += 1;
    }

    /// One is over: with so many bytes, if it was made.
    pub(super) fn end(&mut self, local: bool, bytes: Option<usize>) {
        let kind = self.kind(local);
        kind.making = kind.making.saturating_sub(1);
        if let Some(bytes) = bytes {
            self.typical = bytes.max(self.typical - self.typical / 16);
        }
    }

    /// A connection is in line for room.
    pub(super) fn wait(&mut self, local: bool, conn: ConnId) {
        self.kind(local).line.push_back(conn);
    }

    /// The next one in a line.
    pub(super) fn next(&mut self, local: bool) -> Option<ConnId> {
        self.kind(local).line.pop_front()
    }

    /// Nobody of this name waits any more.
    pub(super) fn leave(&mut self, conn: ConnId) {
        for kind in [&mut self.local, &mut self.confirmed] {
            kind.line.retain(|other| *other != conn);
        }
    }

    /// True if somebody waits in a line.
    pub(super) fn has_line(&self, local: bool) -> bool {
        let kind = if local { &self.local } else { &self.confirmed };
        !kind.line.is_empty()
    }

    /// True if somebody waits for room.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.local.line.is_empty() || !self.confirmed.line.is_empty()
    }

    /// How many are in the making.
    pub(super) const fn making(&self) -> usize {
        self.local.making + self.confirmed.making
    }

    const fn kind(&mut self, local: bool) -> &mut Kind {
        if local { &mut self.local } else { &mut self.confirmed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MAX_PAGE_BYTES;

    #[test]
    fn few_large_pages_are_made_at_a_time_and_many_small_ones() {
        let mut listings = Listings::new(MAX_PAGE_BYTES, 4 << 20);
        let fill = |listings: &mut Listings, local| {
            while listings.has_place(local) {
                listings.begin(local);
            }
            listings.kind(local).making
        };
        assert_eq!(fill(&mut listings, false), 4);
        // Those that wait for a leader leave the others their places.
        assert_eq!(fill(&mut listings, true), 4);
        // What was refused or found nothing says nothing of the size of a page.
        for _ in 0..200 {
            listings.end(true, None);
            listings.begin(true);
        }
        assert!(!listings.has_place(true));
        for _ in 0..200 {
            listings.end(true, Some(1000));
            listings.begin(true);
        }
        assert!(fill(&mut listings, true) > 1000, "{listings:?}");
        // One large page is enough to be careful again.
        listings.end(true, Some(MAX_PAGE_BYTES));
        assert!(!listings.has_place(true));
        (listings.local.making, listings.typical) = (0, usize::MAX);
        assert!(listings.has_place(true));
    }
}
