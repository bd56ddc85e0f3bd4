//! For exhaustive search: puts a node's clock back, so that states that differ only by when they
//! came about are equal.
//!
//! A node compares instants with the present alone, never with another node's. So it cannot tell
//! whether everything it remembers, and the present, were moved by the same span; and a timer may
//! fire late anyhow, so what lies in the past may be taken for having happened just now. What is
//! left of the jitter of the votes decides nothing but when the next one is sent.

use crate::words::{Instant, Micros, WriteId};

/// Moves instants so that the present becomes `to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rebase {
    by: Micros,
    to: Instant,
    completed: u64,
}

impl Rebase {
    /// Moves instants by this span; `completed` writes are durable.
    pub(crate) fn new(by: Micros, to: Instant, completed: u64) -> Self {
        Self { by, to, completed }
    }

    /// Where the present lies afterwards.
    pub(crate) fn present(self) -> Instant {
        self.to
    }

    /// Moves an instant. The past becomes the present; the end of time, which stands for "never",
    /// stays.
    pub(crate) fn instant(self, at: &mut Instant) {
        if at.as_micros() < u64::MAX {
            let moved = Instant::from_micros(at.as_micros().saturating_sub(self.by.get()));
            *at = moved.max(self.to);
        }
    }

    /// Renumbers a write: those that the disk has completed count as zero.
    pub(crate) fn write(self, id: &mut WriteId) {
        *id = WriteId::new(id.get().saturating_sub(self.completed));
    }
}
