//! Which datagrams are the present word of their sender.
//!
//! Datagrams come late, twice, and from anybody. So each carries a [`Stamp`]: who says it (a number
//! drawn at each start of the process), the how manieth it is, a question to the receiver, and the
//! answer to the receiver's question. A later number of a process that was believed before is
//! believed; another process must first answer the question, a number that only those know who see
//! what is sent to the member's address. What is not believed changes nothing here: at most it is
//! answered, so that a sender who means well can prove itself with its next datagram.

use crate::words::{Instant, Micros, NodeId, Rng};
use crate::zab::config::Config;
use crate::zab::message::Stamp;
use alloc::collections::BTreeMap;

/// So many answers to one sender in one span, whatever it sends: a flood is not multiplied, and who
/// means well gets through beside it.
const ANSWERS: u32 = 32;

/// What this process says of itself, and whom it believes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Fresh {
    boot: u64,
    sent: u64,
    rng: Rng,
    peers: BTreeMap<NodeId, Peer>,
    /// For exhaustive search, which delivers datagrams in order: without stamps more states are
    /// equal.
    #[cfg(feature = "explore")]
    pub(crate) unstamped: bool,
}

/// What is known of another voter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Peer {
    /// The process that was believed last, 0 for none.
    boot: u64,
    /// Its latest datagram.
    seq: u64,
    heard: Instant,
    /// The question that another process must answer.
    asks: u64,
    /// The question of the process that is believed.
    asked: u64,
    /// The answers given since then.
    answers: u32,
    since: Instant,
}

/// What a datagram is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Worth {
    /// Nothing: it is of somebody who has not proved to be there.
    Nothing,
    /// Nothing: a later word of the same process is known. An answer is of no use, since nothing
    /// that this process says about itself counts before it has been silent for a while.
    Old,
    /// The present word of a process that was believed before.
    Word,
    /// The first word of a process that has just proved to be there.
    First,
}

impl Worth {
    /// True if what it says counts.
    pub(crate) fn counts(self) -> bool {
        matches!(self, Self::Word | Self::First)
    }
}

impl Fresh {
    #[cfg_attr(not(feature = "explore"), expect(unused_variables, reason = "for the search"))]
    pub(crate) fn new(cfg: &Config, mut rng: Rng) -> Self {
        Self {
            boot: rng.next_u64() | 1,
            sent: 0,
            rng,
            peers: BTreeMap::new(),
            #[cfg(feature = "explore")]
            unstamped: cfg.unstamped,
        }
    }

    fn peer(&mut self, node: NodeId) -> &mut Peer {
        let rng = &mut self.rng;
        self.peers.entry(node).or_insert_with(|| Peer {
            boot: 0,
            seq: 0,
            heard: Instant::default(),
            asks: rng.next_u64() | 1,
            asked: 0,
            answers: 0,
            since: Instant::default(),
        })
    }

    /// The stamp of the next datagram to a voter. `asked` is the question to answer, if it is not
    /// that of the process believed.
    pub(crate) fn stamp(&mut self, to: NodeId, asked: Option<u64>) -> Stamp {
        #[cfg(feature = "explore")]
        if self.unstamped {
            return Stamp::default();
        }
        self.sent += 1;
        let (boot, seq) = (self.boot, self.sent);
        let peer = self.peer(to);
        Stamp { boot, seq, asks: peer.asks, answers: asked.unwrap_or(peer.asked) }
    }

    /// Takes note of a datagram of a voter. `rest` is how long a process that is believed must
    /// have been silent before a lower number of it is looked at: somebody may have forged a high
    /// one.
    pub(crate) fn hear(&mut self, from: NodeId, stamp: Stamp, now: Instant, rest: Micros) -> Worth {
        #[cfg(feature = "explore")]
        if self.unstamped {
            return Worth::Word;
        }
        let question = self.rng.next_u64() | 1;
        let peer = self.peer(from);
        let known = peer.boot == stamp.boot && peer.boot != 0;
        let word =
            Peer { boot: stamp.boot, seq: stamp.seq, heard: now, asked: stamp.asks, ..*peer };
        if known && stamp.seq > peer.seq {
            *peer = word;
            return Worth::Word;
        }
        let may_prove = !known || now >= peer.heard.after(rest);
        if may_prove && stamp.answers == peer.asks && stamp.boot != 0 {
            // Each question is good for one answer: what was recorded proves nothing later.
            *peer = Peer { asks: question, ..word };
            return Worth::First;
        }
        if may_prove { Worth::Nothing } else { Worth::Old }
    }

    /// True if a datagram of this sender may be answered: not too many are in one span.
    pub(crate) fn may_answer(&mut self, to: NodeId, now: Instant, span: Micros) -> bool {
        let peer = self.peer(to);
        if now >= peer.since.after(span) {
            (peer.since, peer.answers) = (now, 0);
        }
        peer.answers = peer.answers.saturating_add(1);
        peer.answers <= ANSWERS
    }

    #[cfg(feature = "explore")]
    pub(crate) fn rebase(&mut self) {
        self.peers.clear();
        self.rng = Rng::new(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId::new(1);
    const B: NodeId = NodeId::new(2);
    const REST: Micros = Micros::millis(500);

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1000)
    }

    fn fresh(seed: u64) -> Fresh {
        Fresh::new(&Config::new(A), Rng::new(seed))
    }

    /// Two processes that have proved to each other that they are there.
    fn met() -> (Fresh, Fresh) {
        let (mut a, mut b) = (fresh(1), fresh(2));
        let hello = a.stamp(B, None);
        assert_eq!(b.hear(A, hello, at(0), REST), Worth::Nothing);
        let reply = b.stamp(A, Some(hello.asks));
        assert_eq!(a.hear(B, reply, at(0), REST), Worth::First);
        let proof = a.stamp(B, None);
        assert_eq!(b.hear(A, proof, at(0), REST), Worth::First);
        (a, b)
    }

    #[test]
    fn a_process_is_believed_once_it_has_answered_and_then_by_its_numbers() {
        let (mut a, mut b) = met();
        let old = b.stamp(A, None);
        let new = b.stamp(A, None);
        assert_eq!(a.hear(B, new, at(1), REST), Worth::Word);
        assert_eq!(a.hear(B, new, at(1), REST), Worth::Old, "twice");
        assert_eq!(a.hear(B, old, at(1), REST), Worth::Old, "late");
    }

    #[test]
    fn what_an_earlier_process_said_proves_nothing() {
        let (mut a, mut b) = met();
        let recorded: [Stamp; 3] = core::array::from_fn(|_| b.stamp(A, None));
        for stamp in recorded {
            a.hear(B, stamp, at(1), REST);
        }
        // The process of B is another one now, and A believes it.
        let mut next = fresh(3);
        let hello = next.stamp(A, None);
        assert_eq!(a.hear(B, hello, at(2), REST), Worth::Nothing);
        let reply = a.stamp(B, Some(hello.asks));
        assert_eq!(next.hear(A, reply, at(2), REST), Worth::First);
        let proof = next.stamp(A, None);
        assert_eq!(a.hear(B, proof, at(2), REST), Worth::First);
        for stamp in recorded {
            assert_eq!(a.hear(B, stamp, at(3), REST), Worth::Nothing);
        }
        // Nor to an A that is another one now.
        let mut restarted = fresh(4);
        for stamp in recorded {
            assert_eq!(restarted.hear(B, stamp, at(3), REST), Worth::Nothing);
        }
    }

    #[test]
    fn a_forged_high_number_costs_one_rest() {
        let (mut a, mut b) = met();
        let forged = Stamp { seq: u64::MAX, ..b.stamp(A, None) };
        assert_eq!(a.hear(B, forged, at(10), REST), Worth::Word);
        // B was told nothing new, but hears A's question with each of its datagrams.
        let of_a = a.stamp(B, None);
        b.hear(A, of_a, at(11), REST);
        let honest = b.stamp(A, None);
        assert_eq!(a.hear(B, honest, at(12), REST), Worth::Old);
        let honest = b.stamp(A, None);
        assert_eq!(a.hear(B, honest, at(510), REST), Worth::First);
        let honest = b.stamp(A, None);
        assert_eq!(a.hear(B, honest, at(511), REST), Worth::Word);
    }

    #[test]
    fn a_flood_gets_a_bounded_number_of_answers() {
        let mut a = fresh(1);
        let span = Micros::millis(50);
        let answered = (0..10_000).filter(|i| a.may_answer(B, at(i / 100), span)).count();
        assert_eq!(answered, 2 * ANSWERS as usize);
    }
}
