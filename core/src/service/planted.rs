//! The wrong code of the service's planted bugs.

use super::{Limits, Service};
use crate::mutants::Mutant;
use crate::words::ConnId;

impl Limits {
    /// True if this bug is planted.
    pub(super) fn plants(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}

impl Service {
    /// An answer leaves ahead of those that were asked before it.
    pub(super) fn overtake(&mut self, conn: ConnId, slot: u64) {
        if let Some(it) = self.conns.get_mut(conn) {
            it.overtake(slot);
        }
    }
}
