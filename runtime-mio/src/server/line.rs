//! Who is next: a rule about tokens, which knows no socket.
//!
//! Clients that said all they had when they were last asked stand in one line, those that had more in
//! another one. Both lines get on by turns, so that one with a single request waits for as many others
//! as stand in its own line, not for all that a thousand others have sent, and neither line can hold
//! the other up.

use mio::Token;
use std::collections::VecDeque;
use zabkeeper_core::words::Instant;

/// Two lines that get on by turns.
#[derive(Debug, Default)]
pub(super) struct Line {
    light: VecDeque<(Token, Instant)>,
    heavy: VecDeque<(Token, Instant)>,
    /// True if the next one is of the heavy ones, if there are any.
    heavy_next: bool,
}

impl Line {
    /// Puts a client at the end of its line.
    pub(super) fn push(&mut self, token: Token, heavy: bool, now: Instant) {
        match heavy {
            true => self.heavy.push_back((token, now)),
            false => self.light.push_back((token, now)),
        }
    }

    /// Takes out the next one.
    pub(super) fn pop(&mut self) -> Option<Token> {
        self.heavy_next = !self.heavy_next;
        let (first, second) = match self.heavy_next {
            true => (&mut self.light, &mut self.heavy),
            false => (&mut self.heavy, &mut self.light),
        };
        first.pop_front().or_else(|| second.pop_front()).map(|(token, _)| token)
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
        for token in 0..1000 {
            line.push(Token(token), true, at(7));
        }
        line.push(Token(5000), false, at(8));
        assert_eq!(line.oldest(), Some(at(7)));
        let first = [line.pop(), line.pop()];
        assert!(first.contains(&Some(Token(5000))), "{first:?}");
        // And those wait for no more than as many others.
        for token in 6000..7000 {
            line.push(Token(token), false, at(9));
        }
        let heavy = (0..1000).filter(|_| line.pop().unwrap() < Token(1000)).count();
        assert!((499..=501).contains(&heavy), "{heavy}");
        assert_eq!(line.len(), 999);
        while line.pop().is_some() {}
        assert!(line.is_empty());
    }
}
