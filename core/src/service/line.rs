//! Who is next.
//!
//! Clients that said all they had when they were last asked stand in one line, those that had more in
//! another one. Both lines get on by turns, so that one with a single request waits for as many others
//! as stand in its own line, not for all that a thousand others have sent, and neither line can hold
//! the other up.

use crate::words::{ConnId, Instant};
use alloc::collections::VecDeque;

/// Two lines that get on by turns.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    light: VecDeque<(ConnId, Instant)>,
    heavy: VecDeque<(ConnId, Instant)>,
    /// True if the next one is of the heavy ones, if there are any.
    heavy_next: bool,
}

impl Line {
    /// Puts a client at the end of its line.
    pub(super) fn push(&mut self, conn: ConnId, heavy: bool, now: Instant) {
        match heavy {
            true => self.heavy.push_back((conn, now)),
            false => self.light.push_back((conn, now)),
        }
    }

    /// Takes out the next one.
    pub(super) fn pop(&mut self) -> Option<ConnId> {
        self.heavy_next = !self.heavy_next;
        let (first, second) = match self.heavy_next {
            true => (&mut self.light, &mut self.heavy),
            false => (&mut self.heavy, &mut self.light),
        };
        first.pop_front().or_else(|| second.pop_front()).map(|(conn, _)| conn)
    }

    pub(super) fn len(&self) -> usize {
        self.light.len() + self.heavy.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.light.is_empty() && self.heavy.is_empty()
    }

    /// Since when somebody has been waiting.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let first = [self.light.front(), self.heavy.front()];
        first.into_iter().flatten().map(|(_, since)| *since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_with_a_single_request_waits_for_one_of_those_that_always_have_more() {
        let mut line = Line::default();
        let at = Instant::from_micros;
        assert_eq!((line.pop(), line.oldest()), (None, None));
        for conn in 0..1000 {
            line.push(ConnId::new(conn), true, at(7));
        }
        line.push(ConnId::new(5000), false, at(8));
        assert_eq!(line.oldest(), Some(at(7)));
        let first = [line.pop(), line.pop()];
        assert!(first.contains(&Some(ConnId::new(5000))), "{first:?}");
        // And those wait for no more than as many others.
        for conn in 6000..7000 {
            line.push(ConnId::new(conn), false, at(9));
        }
        let heavy = (0..1000).filter(|_| line.pop().unwrap() < ConnId::new(1000)).count();
        assert!((499..=501).contains(&heavy), "{heavy}");
        assert_eq!(line.len(), 999);
        while line.pop().is_some() {}
        assert!(line.is_empty());
    }
}
