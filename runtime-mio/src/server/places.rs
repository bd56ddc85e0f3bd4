//! Who may have a place at this node: a rule about numbers and addresses, which knows no socket.

use rustc_hash::FxHashMap;
use std::net::IpAddr;

/// Descriptors that are kept for the disk, for peers, and for clients that only ask for the status.
const RESERVE: usize = 256;
/// Places for clients that come when all others are taken: long enough for a question about the
/// node's status, or to be told to ask another one.
pub(super) const CONTROL: usize = 16;
/// Of so many places, one is never taken by clients of the same address.
const SHARE: usize = 16;

/// The places of client connections.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    most_of_one: usize,
    taken: usize,
    by_addr: FxHashMap<IpAddr, usize>,
}

impl Places {
    /// `clients` places, if the process may have so many `descriptors`; of one address no more than
    /// `of_one`, or than leaves a few to others.
    pub(super) fn new(clients: usize, of_one: Option<usize>, descriptors: Option<usize>) -> Self {
        // Of a process that may have few of them, the half.
        let spare = |all: usize| all - (RESERVE + CONTROL).min(all / 2);
        let most = clients.min(descriptors.map_or(usize::MAX, spare)).max(1);
        let most_of_one = of_one.unwrap_or(most - most / SHARE).clamp(1, most);
        Self { most, most_of_one, taken: 0, by_addr: FxHashMap::default() }
    }

    /// How many there are.
    pub(super) fn most(&self) -> usize {
        self.most
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
    fn clients_never_get_the_descriptors_of_disk_and_peers() {
        assert_eq!(Places::new(4096, None, None).most(), 4096);
        assert_eq!(Places::new(4096, None, Some(1_000_000)).most(), 4096);
        assert_eq!(Places::new(4096, None, Some(1024)).most(), 752);
        assert_eq!(Places::new(4096, None, Some(64)).most(), 32);
        assert_eq!(Places::new(8, None, Some(1024)).most(), 8);
    }

    #[test]
    fn one_address_does_not_take_all_places() {
        let mut places = Places::new(32, None, None);
        let taken = (0..40).filter(|_| places.take(addr(1))).count();
        assert_eq!(taken, 30);
        assert!(places.take(addr(2)) && places.take(addr(3)));
        assert!(!places.take(addr(4)), "all are taken");
        places.give_back(addr(1));
        assert!(places.take(addr(4)));
        let mut few = Places::new(8, None, None);
        assert_eq!((0..40).filter(|_| few.take(addr(1))).count(), 8);
        let mut chosen = Places::new(8, Some(3), None);
        assert_eq!((0..40).filter(|_| chosen.take(addr(1))).count(), 3);
    }
}
