//! Who may have a place at this node.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

/// Of so many places, one is never taken by clients of the same address.
const SHARE: usize = 16;

/// The places of client connections.
#[derive(Clone, Debug)]
pub(super) struct Places {
    most: usize,
    most_of_one: usize,
    taken: usize,
    by_addr: BTreeMap<IpAddr, usize>,
}

impl Places {
    /// `most` places; of one address no more than `of_one`, or than leaves a few to others.
    pub(super) fn new(most: usize, of_one: Option<usize>) -> Self {
        let most = most.max(1);
        let most_of_one = of_one.unwrap_or(most - most / SHARE).clamp(1, most);
        Self { most, most_of_one, taken: 0, by_addr: BTreeMap::new() }
    }

    /// How many are taken, and how many there are.
    pub(super) const fn taken(&self) -> (usize, usize) {
        (self.taken, self.most)
    }

    /// Takes a place; false if there is none for that address.
    pub(super) fn take(&mut self, addr: IpAddr) -> bool {
        let of_one = self.by_addr.get(&addr).copied().unwrap_or_default();
        if self.taken >= self.most || of_one >= self.most_of_one {
            return false;
        }
        self.by_addr.insert(addr, of_one + 1);
        self.taken += 1;
        true
    }

    /// Gives a place back.
    pub(super) fn give_back(&mut self, addr: IpAddr) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(of_one) = self.by_addr.get_mut(&addr) {
            *of_one -= 1;
            if *of_one == 0 {
                self.by_addr.remove(&addr);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn one_address_does_not_take_all_places() {
        let mut places = Places::new(32, None);
        let taken = (0..40).filter(|_| places.take(addr(1))).count();
        assert_eq!(taken, 30);
        assert!(places.take(addr(2)) && places.take(addr(3)));
        assert!(!places.take(addr(4)), "all are taken");
        places.give_back(addr(1));
        assert!(places.take(addr(4)));
        let mut few = Places::new(8, None);
        assert_eq!((0..40).filter(|_| few.take(addr(1))).count(), 8);
        let mut chosen = Places::new(8, Some(3));
        assert_eq!((0..40).filter(|_| chosen.take(addr(1))).count(), 3);
    }
}
