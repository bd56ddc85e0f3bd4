//! How long the turns of the loop take, and what of them: so that a node that stands still for a
//! moment can say why.

use std::fmt;
use std::time::{Duration, Instant};

/// A turn that takes longer is worth a line in the log.
const LONG: Duration = Duration::from_secs(1);
/// For so long the longest turn is remembered, at least.
const MEMORY: Duration = Duration::from_secs(10);

/// The parts of a turn, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// What peers, voters and this process itself said.
    Peers,
    /// Reading clients.
    Clients,
    /// What the disk completed, timers, and the requests of the turn.
    Core,
    /// Writing to peers, disk and clients.
    Write,
}

const PHASES: [(Phase, &str); 4] = [
    (Phase::Peers, "peers"),
    (Phase::Clients, "reading clients"),
    (Phase::Core, "the protocol and the tree"),
    (Phase::Write, "writing"),
];

/// The clock of turns.
#[derive(Debug)]
pub(super) struct Turns {
    begun: Instant,
    marked: Instant,
    phases: [Duration; PHASES.len()],
    /// The longest turn since `since`, and of the span before that.
    longest: Duration,
    before: Duration,
    since: Instant,
}

/// A turn that took too long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Long {
    phases: [Duration; PHASES.len()],
}

impl Turns {
    pub(super) fn new(now: Instant) -> Self {
        let none = Duration::ZERO;
        Self {
            begun: now,
            marked: now,
            phases: [none; PHASES.len()],
            longest: none,
            before: none,
            since: now,
        }
    }

    /// A turn begins: the waiting is over.
    pub(super) fn begin(&mut self, now: Instant) {
        (self.begun, self.marked) = (now, now);
        self.phases = [Duration::ZERO; PHASES.len()];
    }

    /// A phase of the turn ends.
    pub(super) fn mark(&mut self, phase: Phase, now: Instant) {
        let places = PHASES.iter().zip(&mut self.phases);
        for (_, spent) in places.filter(|((other, _), _)| *other == phase) {
            *spent += now.saturating_duration_since(self.marked);
        }
        self.marked = now;
    }

    /// The turn ends, with the phase that was marked last.
    pub(super) fn end(&mut self) -> Option<Long> {
        let took = self.marked.saturating_duration_since(self.begun);
        if self.marked.saturating_duration_since(self.since) > MEMORY {
            self.before = self.longest;
            self.longest = Duration::ZERO;
            self.since = self.marked;
        }
        self.longest = self.longest.max(took);
        (took > LONG).then_some(Long { phases: self.phases })
    }

    /// The longest turn of late.
    pub(super) fn longest(&self) -> Duration {
        self.longest.max(self.before)
    }
}

impl fmt::Display for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole: Duration = self.phases.iter().sum();
        write!(f, "a turn of the loop took {whole:.2?}:")?;
        for (index, ((_, name), spent)) in PHASES.iter().zip(&self.phases).enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma} {name} {spent:.2?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_turn_says_what_took_how_long_and_is_remembered_for_a_while() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut turns = Turns::new(start);
        turns.begin(at(0));
        turns.mark(Phase::Peers, at(100));
        turns.mark(Phase::Clients, at(900));
        turns.mark(Phase::Core, at(950));
        turns.mark(Phase::Write, at(1500));
        let said = turns.end().expect("it was long").to_string();
        assert_eq!(
            said,
            "a turn of the loop took 1.50s: peers 100.00ms, reading clients 800.00ms, \
             the protocol and the tree 50.00ms, writing 550.00ms"
        );
        turns.begin(at(11_000));
        turns.mark(Phase::Write, at(11_010));
        assert_eq!(turns.end(), None);
        assert_eq!(turns.longest(), Duration::from_millis(1500));
        turns.begin(at(30_000));
        turns.mark(Phase::Write, at(30_001));
        assert_eq!(turns.end(), None);
        turns.begin(at(50_000));
        turns.mark(Phase::Write, at(50_001));
        assert_eq!(turns.end(), None);
        assert_eq!(turns.longest(), Duration::from_millis(1));
    }
}
