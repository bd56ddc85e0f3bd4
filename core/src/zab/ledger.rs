//! What waits for the disk.
//!
//! A message that claims something durable is not sent before the disk has it: it waits here as a
//! [`Duty`], tied to the write that it depends on. Completions are watermarks over one stream of
//! writes, so the acknowledgement of an old write can never be taken for that of a newer one.

use crate::words::{Instant, Micros, Txid, WriteId};
use alloc::collections::VecDeque;

/// What to do once a write is durable. Duties belong to the role that made them: leaving the role
/// drops them, and so does anything that makes what they would claim untrue (a truncation, a new
/// snapshot). The watermark of the disk still moves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Duty {
    /// The promise is durable: tell whom it concerns.
    Promised,
    /// The log up to here is durable.
    Logged(Txid),
    /// The current epoch is durable, and before it the history.
    Entered,
}

/// The writes in flight.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Ledger {
    issued: WriteId,
    durable: WriteId,
    in_flight: VecDeque<(WriteId, Instant)>,
    duties: VecDeque<(WriteId, Duty)>,
    /// When the disk last completed something.
    moved: Instant,
}

impl Ledger {
    #[cfg(feature = "explore")]
    pub(crate) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase) {
        rebase.write(&mut self.issued);
        rebase.write(&mut self.durable);
        for (id, at) in &mut self.in_flight {
            rebase.write(id);
            rebase.instant(at);
        }
        self.duties.iter_mut().for_each(|(id, _)| rebase.write(id));
        rebase.instant(&mut self.moved);
    }

    /// Numbers a new write.
    pub(crate) fn issue(&mut self, now: Instant) -> WriteId {
        self.issued = self.issued.next();
        self.in_flight.push_back((self.issued, now));
        self.issued
    }

    /// Adds what to do when everything issued so far is durable.
    pub(crate) fn then(&mut self, duty: Duty) {
        self.duties.push_back((self.issued, duty));
    }

    /// Takes note of a completion. Panics on one that was never issued.
    pub(crate) fn complete(&mut self, upto: WriteId, now: Instant) {
        assert!(upto <= self.issued, "the disk completed {upto}, but only {} exist", self.issued);
        if upto > self.durable {
            (self.durable, self.moved) = (upto, self.moved.max(now));
        }
        while self.in_flight.pop_front_if(|(id, _)| *id <= upto).is_some() {}
    }

    /// The next duty whose write is durable.
    pub(crate) fn due(&mut self) -> Option<Duty> {
        let durable = self.durable;
        self.duties.pop_front_if(|(id, _)| *id <= durable).map(|(_, duty)| duty)
    }

    /// The last write issued.
    #[cfg(any(test, feature = "mutants"))]
    pub(crate) fn issued(&self) -> WriteId {
        self.issued
    }

    /// Begins a new generation: nothing that was waiting may be told any more.
    pub(crate) fn drop_duties(&mut self) {
        self.duties.clear();
    }

    /// True if everything issued is durable.
    pub(crate) fn is_clean(&self) -> bool {
        self.issued == self.durable
    }

    /// When the oldest write in flight was issued.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.in_flight.front().map(|(_, at)| *at)
    }

    /// So long nobody was awake to see what the disk completes.
    pub(crate) fn slept(&mut self, span: Micros) {
        if let Some(since) = self.stands_since() {
            self.moved = since.after(span);
        }
    }

    /// Since when the disk has completed nothing though it had something to do: a queue may be long
    /// and its oldest write old while the disk gets on well.
    pub(crate) fn stands_since(&self) -> Option<Instant> {
        self.oldest().map(|at| at.max(self.moved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Epoch;

    #[test]
    fn a_duty_waits_for_its_own_write() {
        let mut ledger = Ledger::default();
        let txid = Txid::first(Epoch::new(1));
        let first = ledger.issue(Instant::default());
        ledger.then(Duty::Logged(txid));
        let second = ledger.issue(Instant::default());
        ledger.then(Duty::Entered);
        assert_eq!(ledger.due(), None);
        ledger.complete(first, Instant::default());
        assert_eq!(ledger.due(), Some(Duty::Logged(txid)));
        assert_eq!(ledger.due(), None);
        assert!(!ledger.is_clean());
        ledger.complete(second, Instant::default());
        assert_eq!(ledger.due(), Some(Duty::Entered));
        assert!(ledger.is_clean());
    }

    #[test]
    fn a_dropped_duty_is_not_due_when_its_write_completes() {
        let mut ledger = Ledger::default();
        let write = ledger.issue(Instant::default());
        ledger.then(Duty::Promised);
        ledger.drop_duties();
        ledger.complete(write, Instant::default());
        assert_eq!(ledger.due(), None);
        assert!(ledger.is_clean());
    }

    #[test]
    fn completions_are_watermarks_and_may_repeat() {
        let mut ledger = Ledger::default();
        ledger.issue(Instant::from_micros(1));
        let second = ledger.issue(Instant::from_micros(2));
        ledger.complete(second, Instant::default());
        ledger.complete(WriteId::new(1), Instant::default());
        assert!(ledger.is_clean());
        assert_eq!(ledger.oldest(), None);
    }

    #[test]
    fn a_disk_that_completes_something_does_not_stand_however_old_the_rest_is() {
        let at = Instant::from_micros;
        let mut ledger = Ledger::default();
        let first = ledger.issue(at(1));
        ledger.issue(at(2));
        assert_eq!(ledger.stands_since(), Some(at(1)));
        ledger.complete(first, at(50));
        assert_eq!((ledger.oldest(), ledger.stands_since()), (Some(at(2)), Some(at(50))));
        // A completion told twice is none.
        ledger.complete(first, at(60));
        assert_eq!(ledger.stands_since(), Some(at(50)));
        // Nor does it stand while nobody is awake to see what it completes.
        ledger.slept(Micros::new(1_000));
        assert_eq!((ledger.oldest(), ledger.stands_since()), (Some(at(2)), Some(at(1_050))));
        ledger.complete(ledger.issued(), at(1_070));
        assert_eq!(ledger.stands_since(), None);
        ledger.slept(Micros::new(1_000));
        assert_eq!(ledger.stands_since(), None);
    }
}
