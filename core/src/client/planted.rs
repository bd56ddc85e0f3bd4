//! The wrong code of the client's planted bugs.

use super::Client;
use super::types::Config;
use crate::mutants::Mutant;

impl Config {
    /// True if this bug is planted.
    pub(super) fn plants(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}

impl<O: super::Operation> Client<O> {
    /// A request that expired gives up its place in the row of answers.
    pub(super) fn forget_expired(&mut self) {
        self.conns.values_mut().for_each(|conn| conn.sent.retain(|sent| sent.live.is_some()));
    }
}
