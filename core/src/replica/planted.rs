//! The wrong code of the replica's planted bugs.

use super::{App, Replica};
use crate::words::Digest;
use crate::zab::Position;

impl<A: App> Replica<A> {
    /// What is applied at the last part of a checkpoint, which began at `at`.
    pub(super) fn late_stamp(&self, at: Position) -> (Position, Digest) {
        (self.node.log().floor(self.applied).unwrap_or(at), self.app.digest())
    }
}
