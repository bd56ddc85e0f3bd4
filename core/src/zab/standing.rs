//! What a node learned from attempts that failed: whom to try last, and when to try again.
//!
//! All of it is a preference or a pause. It never keeps a node from voting, and all of it ends.

use crate::words::{Epoch, Instant, Micros, NodeId};
use crate::zab::config::Timeouts;
use alloc::collections::BTreeMap;

/// The longest pause before joining again, in first pauses.
const PAUSES: u64 = 50;
/// Nor is it longer than this share of the time in which an elected leader must be joined.
const SHARE: u64 = 3;
/// A role that served for so long was no failure.
const SERVED: Micros = Micros::millis(1000);
/// The longest that a leader's word keeps a node from coming back.
const WAIT_MAX: Micros = Micros::millis(60_000);

/// The memory of failed attempts.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Standing {
    /// The last pause, zero after an attempt that was of use.
    pause: Micros,
    /// No leader is joined before.
    until: Instant,
    /// Whom this node could not join, and until when it is put last.
    shunned: BTreeMap<NodeId, Instant>,
    /// Until when this node asks not to be elected: it was, and nobody came.
    abstains: Option<Instant>,
    /// A leader that does not take this node in before then, and its epoch.
    waits: Option<(NodeId, Epoch, Instant)>,
    /// Counts what was stored of a leader's history.
    stored: u64,
    /// That count when the present role began, and since when clients are served.
    began: u64,
    serving_since: Option<Instant>,
}

impl Standing {
    /// A part of a leader's history is on its way to the disk.
    pub(crate) fn stored(&mut self) {
        self.stored = self.stored.wrapping_add(1);
    }

    /// The role lets clients be served.
    pub(crate) fn serves(&mut self, now: Instant) {
        self.serving_since = Some(now);
    }

    /// An attempt to lead or to follow begins.
    pub(crate) fn begin(&mut self) {
        self.began = self.stored;
        self.serving_since = None;
    }

    /// The attempt ended: if it was of no use, the next one waits, each time for longer. But nobody
    /// waits so long that those who have waited less give up on him: an ensemble that forms needs
    /// all of them at once.
    pub(crate) fn end(&mut self, now: Instant, timeouts: &Timeouts) {
        let served = self.serving_since.take().is_some_and(|since| now >= since.after(SERVED));
        if served || self.stored != self.began {
            self.pause = Micros::default();
            return;
        }
        let first = timeouts.redial;
        let longest = Micros::new(first.get().saturating_mul(PAUSES));
        let longest = longest.min(Micros::new(timeouts.init.get() / SHARE)).max(first);
        self.pause = self.pause.doubled(longest).max(first);
        self.until = self.until.max(now.after(self.pause));
    }

    /// A leader says that it cannot take this node in before that span is over.
    pub(crate) fn wait(&mut self, leader: NodeId, epoch: Epoch, now: Instant, span: Micros) {
        self.waits = Some((leader, epoch, now.after(span.min(WAIT_MAX))));
    }

    /// When this leader may be joined, if that is not now. Elections do not wait for it.
    pub(crate) fn waits(&self, leader: NodeId, epoch: Epoch, now: Instant) -> Option<Instant> {
        let waits = self.waits.filter(|(of, in_epoch, _)| (*of, *in_epoch) == (leader, epoch));
        waits.map(|(_, _, until)| until).filter(|until| *until > now)
    }

    /// When a leader may be joined again, if that is not now.
    pub(crate) fn paused(&self, now: Instant) -> Option<Instant> {
        (self.until > now).then_some(self.until)
    }

    /// Puts a node last that could not be joined.
    pub(crate) fn shun(&mut self, node: NodeId, until: Instant) {
        self.shunned.insert(node, until);
    }

    pub(crate) fn shuns(&self, node: NodeId, now: Instant) -> bool {
        self.shunned.get(&node).is_some_and(|until| *until > now)
    }

    /// Asks the others not to elect this node for a while.
    pub(crate) fn abstain(&mut self, until: Instant) {
        self.abstains = Some(until);
    }

    pub(crate) fn abstains(&self, now: Instant) -> bool {
        self.abstains.is_some_and(|until| until > now)
    }

    /// This node leads, or has a leader: what was learned before is out of date.
    pub(crate) fn forgive(&mut self, leader: NodeId) {
        self.shunned.remove(&leader);
        self.abstains = None;
    }

    #[cfg(feature = "explore")]
    pub(crate) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase) {
        rebase.instant(&mut self.until);
        self.shunned.values_mut().for_each(|at| rebase.instant(at));
        self.waits.iter_mut().for_each(|(_, _, at)| rebase.instant(at));
        self.abstains.iter_mut().for_each(|at| rebase.instant(at));
        self.serving_since.iter_mut().for_each(|at| rebase.instant(at));
        (self.stored, self.began) = (self.stored.wrapping_sub(self.began), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// The first pause is 20 ms.
    fn timeouts() -> Timeouts {
        Timeouts::default()
    }

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    #[test]
    fn pauses_grow_until_an_attempt_was_of_use() {
        let mut standing = Standing::default();
        let mut pauses = Vec::new();
        let mut now = at(0);
        for _ in 0..8 {
            standing.begin();
            standing.end(now, &timeouts());
            let until = standing.paused(now).unwrap();
            pauses.push(until.since(now).get() / 1000);
            now = until;
        }
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        standing.begin();
        standing.stored();
        standing.end(now, &timeouts());
        assert_eq!(standing.paused(now), None);
        standing.begin();
        standing.end(now, &timeouts());
        assert_eq!(standing.paused(now), Some(now.after(Micros::millis(20))));
    }

    #[test]
    fn a_role_that_served_for_a_moment_only_is_a_failure_too() {
        let mut standing = Standing::default();
        standing.begin();
        standing.serves(at(0));
        standing.end(at(999), &timeouts());
        assert!(standing.paused(at(999)).is_some());
        standing.begin();
        standing.serves(at(2000));
        standing.end(at(3000), &timeouts());
        assert_eq!(standing.paused(at(3000)), None);
    }

    #[test]
    fn no_word_of_a_leader_keeps_a_node_away_for_ever() {
        let mut standing = Standing::default();
        let (leader, epoch) = (NodeId::new(3), Epoch::new(7));
        standing.wait(leader, epoch, at(0), Micros::new(u64::MAX));
        assert_eq!(standing.waits(leader, epoch, at(0)), Some(at(60_000)));
        assert_eq!(standing.waits(leader, epoch, at(60_000)), None);
        assert_eq!(standing.waits(leader, Epoch::new(8), at(0)), None, "another reign");
        assert_eq!(standing.paused(at(0)), None, "an election does not wait");
    }
}
