//! Who waits for which ticket. Tickets are numbers that count up, so that those of late are found by
//! their place in a ring; the few that stay open for long move out of it.

use crate::words::{ConnId, Ticket};
use alloc::collections::{BTreeMap, VecDeque};

/// So many of the latest tickets are in the ring.
const RING: usize = 1 << 14;

/// Who gets an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waiter {
    /// A client: the number of its request among those of its connection.
    Client { conn: ConnId, slot: u64 },
    /// This process itself, which chose the number.
    Own(u64),
}

/// All who wait.
#[derive(Clone, Debug)]
pub(super) struct Tickets {
    /// The ticket of the first one in the ring.
    first: u64,
    ring: VecDeque<Option<Waiter>>,
    old: BTreeMap<u64, Waiter>,
    open: usize,
}

impl Tickets {
    /// The first ticket comes after this one.
    pub(super) const fn new(after: Ticket) -> Self {
        let first = after.get() + 1;
        Self { first, ring: VecDeque::new(), old: BTreeMap::new(), open: 0 }
    }

    /// A ticket for somebody who begins to wait.
    pub(super) fn begin(&mut self, waiter: Waiter) -> Ticket {
        if self.ring.len() >= RING {
            self.drop_first();
        }
        self.ring.push_back(Some(waiter));
        self.open += 1;
        Ticket::new(self.first + self.ring.len() as u64 - 1)
    }

    /// Nobody waits for this ticket any more: who did.
    pub(super) fn end(&mut self, ticket: Ticket) -> Option<Waiter> {
        let ended = match ticket.get().checked_sub(self.first) {
            Some(at) => self.ring.get_mut(usize::try_from(at).ok()?)?.take(),
            None => self.old.remove(&ticket.get()),
        };
        self.open -= usize::from(ended.is_some());
        while self.ring.front().is_some_and(Option::is_none) {
            self.drop_first();
        }
        ended
    }

    /// Who waits for this ticket.
    pub(super) fn get(&self, ticket: Ticket) -> Option<Waiter> {
        match ticket.get().checked_sub(self.first) {
            Some(at) => *self.ring.get(usize::try_from(at).ok()?)?,
            None => self.old.get(&ticket.get()).copied(),
        }
    }

    /// All who wait.
    pub(super) fn all(&self) -> impl Iterator<Item = Waiter> {
        self.ring.iter().flatten().chain(self.old.values()).copied()
    }

    /// How many wait.
    pub(super) const fn open(&self) -> usize {
        self.open
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.ring.pop_front() {
            if let Some(waiter) = first {
                self.old.insert(self.first, waiter);
            }
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ticket_finds_its_waiter_once_however_long_it_is_open() {
        let mut tickets = Tickets::new(Ticket::new(6));
        let old = tickets.begin(Waiter::Own(0));
        assert_eq!(old, Ticket::new(7));
        for n in 1..3 * RING as u64 {
            let ticket = tickets.begin(Waiter::Own(n));
            assert_eq!(tickets.get(ticket), Some(Waiter::Own(n)));
            if n % 5 > 0 {
                assert_eq!(tickets.end(ticket), Some(Waiter::Own(n)));
                assert_eq!(tickets.end(ticket), None);
            }
            assert!(tickets.ring.len() <= RING);
        }
        assert_eq!(tickets.open(), 1 + (3 * RING - 1) / 5);
        assert_eq!(tickets.end(old), Some(Waiter::Own(0)));
        for n in (1..3 * RING as u64).filter(|n| n % 5 == 0) {
            assert_eq!(tickets.end(Ticket::new(7 + n)), Some(Waiter::Own(n)));
        }
        assert_eq!((tickets.open(), tickets.ring.len(), tickets.old.len()), (0, 0, 0));
        assert_eq!(tickets.end(Ticket::new(u64::MAX)), None);
    }
}
