//! What the proxies do to each path at the moment. Faults change it, proxies look at it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many nodes there are.
pub(super) const NODES: usize = 3;
/// The place of all clients among the ends of paths; the nodes are before it.
pub(super) const CLIENTS: usize = NODES;
const ENDS: usize = NODES + 1;

/// One direction between two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Path {
    /// Closed, datagrams are lost and streams stand still: their ends do not learn of it.
    pub(super) open: bool,
    /// Of a million datagrams, so many are lost.
    pub(super) loss: u32,
    /// Of a million datagrams, so many arrive twice, the second time perhaps much later.
    pub(super) twice: u32,
    /// The longest delay, in microseconds. Datagrams overtake each other.
    pub(super) delay: u64,
    /// So many bytes a second go through each connection; 0 for no limit.
    pub(super) rate: u64,
    /// How often all connections of this path were cut.
    pub(super) cuts: u64,
}

const FAIR: Path = Path { open: true, loss: 0, twice: 0, delay: 0, rate: 0, cuts: 0 };

/// All paths.
#[derive(Debug)]
pub(super) struct Weather {
    paths: Mutex<[[Path; ENDS]; ENDS]>,
    over: AtomicBool,
}

impl Default for Weather {
    fn default() -> Self {
        Self { paths: Mutex::new([[FAIR; ENDS]; ENDS]), over: AtomicBool::new(false) }
    }
}

impl Weather {
    /// A path as it is now.
    pub(super) fn path(&self, from: usize, to: usize) -> Path {
        self.lock()[from][to]
    }

    /// Changes every path for which `which(from, to)` holds.
    pub(super) fn change(&self, which: impl Fn(usize, usize) -> bool, how: impl Fn(&mut Path)) {
        for (from, row) in self.lock().iter_mut().enumerate() {
            for (to, path) in row.iter_mut().enumerate() {
                if which(from, to) {
                    how(path);
                }
            }
        }
    }

    /// Opens every path and lets nothing be lost or late. Cut connections stay cut.
    pub(super) fn clear(&self) {
        self.change(|_, _| true, |path| *path = Path { cuts: path.cuts, ..FAIR });
    }

    /// Ends the proxies.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// True once the proxies should end.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, [[Path; ENDS]; ENDS]> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
