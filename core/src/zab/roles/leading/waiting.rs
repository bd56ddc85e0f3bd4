//! Writes of followers' clients that wait for room.

use crate::words::{ConnId, Instant};
use crate::zab::message::Forwarded;
use alloc::collections::VecDeque;

/// Writes that followers sent and that wait for room, in the order in which they came.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Waiting {
    list: VecDeque<(ConnId, Instant, Forwarded)>,
    bytes: usize,
}

impl Waiting {
    /// Bytes of their commands.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(feature = "explore")]
    pub(super) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase) {
        self.list.iter_mut().for_each(|(_, at, _)| rebase.instant(at));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn push(&mut self, conn: ConnId, now: Instant, request: Forwarded) {
        self.bytes += request.body.len();
        self.list.push_back((conn, now, request));
    }

    pub(super) fn pop_if(
        &mut self,
        wanted: impl FnOnce(&(ConnId, Instant, Forwarded)) -> bool,
    ) -> Option<(ConnId, Forwarded)> {
        let (conn, _, request) = self.list.pop_front_if(|first| wanted(first))?;
        self.bytes -= request.body.len();
        Some((conn, request))
    }

    /// The follower is gone, and will ask anew.
    pub(super) fn forget(&mut self, conn: ConnId) {
        self.list.retain(|(of, _, _)| *of != conn);
        self.bytes = self.list.iter().map(|(_, _, request)| request.body.len()).sum();
    }
}
