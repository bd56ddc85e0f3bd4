//! Identifiers and their one notation: `n2` a node, `e3` an epoch, `3.17` a txid, `r5` an election
//! round, `c7` a connection, `w4` a write. `Display` writes it; logs, traces and tests share it.

use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $int:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($int);

        impl $name {
            /// Wraps the plain number.
            pub const fn new(raw: $int) -> Self {
                Self(raw)
            }

            /// The plain number.
            pub const fn get(self) -> $int {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// A member of the ensemble. A configured integer that never changes, never a socket address.
    NodeId, u32, "n"
);
id!(
    /// The reign of one leader (Zab paper, section 3). Rises at every discovery; 0 is "none yet".
    Epoch, u64, "e"
);
id!(
    /// An election round: votes of different rounds are not compared.
    Round, u64, "r"
);
id!(
    /// One TCP connection between peers. The runtime makes a fresh one for every socket, in either
    /// direction, so that nothing of a dead connection can be taken for the living one.
    ConnId, u64, "c"
);
id!(
    /// A batch handed to the disk. Grows within one process life; completions are watermarks.
    WriteId, u64, "w"
);
id!(
    /// A client request waiting for its answer at the node that received it.
    Ticket, u64, "t"
);
id!(
    /// Drawn at random when a storage directory is initialised: tells a wiped or swapped disk from
    /// the one that the ensemble knows.
    Incarnation, u64, "i"
);
id!(
    /// Drawn at random at each start of a node and written to its disk: tells a disk from an older
    /// copy of it. Told to members only.
    Life, u64, "l"
);
id!(
    /// Digest of the initial membership: nodes with different lists of peers are different clusters.
    ClusterId, u64, "k"
);

impl Epoch {
    /// No epoch: nothing was ever promised.
    pub const ZERO: Self = Self(0);

    /// The next epoch, or `None` at the end of the numbers (the node must halt, never wrap).
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }
}

impl Round {
    /// The next round. Rounds only pair up votes, so the end of the numbers may saturate.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl WriteId {
    /// The next write.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The identity of a log entry: the epoch that proposed it and its place in that epoch, from 1.
/// The derived order is the protocol's order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Txid {
    epoch: Epoch,
    counter: u64,
}

impl Txid {
    /// "Nothing logged". Not an entry: entries count from 1.
    pub const ZERO: Self = Self { epoch: Epoch::ZERO, counter: 0 };

    /// The entry `counter` of `epoch`. `None` for a counter of 0 in any epoch but 0, and for a
    /// counter in epoch 0: neither can name an entry.
    pub const fn new(epoch: Epoch, counter: u64) -> Option<Self> {
        if (epoch.0 == 0) == (counter == 0) { Some(Self { epoch, counter }) } else { None }
    }

    /// The first entry of `epoch`. Panics for epoch 0, which proposes nothing.
    pub const fn first(epoch: Epoch) -> Self {
        assert!(epoch.0 != 0, "epoch 0 proposes nothing");
        Self { epoch, counter: 1 }
    }

    /// The epoch that proposed the entry.
    pub const fn epoch(self) -> Epoch {
        self.epoch
    }

    /// The place in its epoch, from 1.
    pub const fn counter(self) -> u64 {
        self.counter
    }

    /// The entry after this one in the same epoch, or `None` when the counter is exhausted.
    pub const fn next(self) -> Option<Self> {
        match self.counter.checked_add(1) {
            Some(counter) if self.epoch.0 != 0 => Some(Self { epoch: self.epoch, counter }),
            _ => None,
        }
    }

    /// True for [`Txid::ZERO`].
    pub const fn is_zero(self) -> bool {
        self.epoch.0 == 0
    }
}

impl fmt::Display for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch.0, self.counter)
    }
}

impl fmt::Debug for Txid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn txids_order_by_epoch_then_counter() {
        let t = |e, c| Txid::new(Epoch::new(e), c).unwrap();
        assert!(t(7, 4) < t(8, 1));
        assert!(t(8, 1) < t(8, 2));
        assert!(Txid::ZERO < t(1, 1));
        assert_eq!(format!("{}", t(3, 17)), "3.17");
    }

    #[test]
    fn counters_do_not_wrap_and_zero_has_no_successor() {
        assert_eq!(Txid::new(Epoch::new(1), u64::MAX).unwrap().next(), None);
        assert_eq!(Txid::ZERO.next(), None);
        assert_eq!(Epoch::new(u64::MAX).next(), None);
        assert_eq!(Txid::new(Epoch::new(1), 0), None);
        assert_eq!(Txid::new(Epoch::ZERO, 1), None);
    }
}
