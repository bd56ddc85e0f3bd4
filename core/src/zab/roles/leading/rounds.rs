//! Linearizable reads: the reign is confirmed by a round of heartbeats that began after the read
//! arrived. One round serves all reads that came before it.

use crate::words::{ConnId, NodeId, Txid};
use alloc::collections::{BTreeMap, VecDeque};

/// Whose reads wait.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Asker {
    /// This node's clients, by the question that their reads stand behind.
    Own(u64),
    /// A follower's.
    Peer(ConnId, u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Waiting {
    asker: Asker,
    /// What was committed when the read arrived.
    commit: Txid,
    /// The first round that confirms it.
    pub(crate) round: u64,
}

/// The rounds of heartbeats, and who waits for them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) last: u64,
    /// The newest round that each follower answered.
    answered: BTreeMap<NodeId, u64>,
    pub(crate) waiting: VecDeque<Waiting>,
}

impl Rounds {
    /// A read arrives; `commit` is what is committed now. The round under way began too early.
    pub(crate) fn ask(&mut self, asker: Asker, commit: Txid) {
        let round = self.last + 1;
        self.waiting.push_back(Waiting { asker, commit, round });
    }

    /// True if a round should begin at once: reads wait, and none of them for a round under way.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.front().is_some_and(|first| first.round > self.last)
    }

    /// Begins a round.
    pub(crate) fn begin(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The last round begun.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// A follower answered a round.
    pub(crate) fn answer(&mut self, node: NodeId, round: u64) {
        let newest = self.answered.entry(node).or_default();
        *newest = round.max(*newest);
    }

    /// The next read that is confirmed, if `is_quorum` says so of those who answered its round.
    pub(crate) fn confirmed(
        &mut self,
        is_quorum: impl FnOnce(&dyn Fn(NodeId) -> bool) -> bool,
    ) -> Option<(Asker, Txid)> {
        let first = *self.waiting.front()?;
        let has = |node| self.answered.get(&node).is_some_and(|round| *round >= first.round);
        if first.round > self.last || !is_quorum(&has) {
            return None;
        }
        self.waiting.pop_front();
        Some((first.asker, first.commit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed(rounds: &mut Rounds) -> Option<(Asker, Txid)> {
        rounds.confirmed(|has| has(NodeId::new(2)))
    }

    #[test]
    fn a_read_waits_for_a_round_begun_after_it() {
        let mut rounds = Rounds::default();
        let first = rounds.begin();
        rounds.ask(Asker::Own(1), Txid::ZERO);
        rounds.answer(NodeId::new(2), first);
        assert_eq!(confirmed(&mut rounds), None);
        let second = rounds.begin();
        assert_eq!(confirmed(&mut rounds), None);
        rounds.answer(NodeId::new(2), second);
        assert_eq!(confirmed(&mut rounds), Some((Asker::Own(1), Txid::ZERO)));
    }

    #[test]
    fn reads_that_come_during_a_round_share_the_next() {
        let mut rounds = Rounds::default();
        rounds.ask(Asker::Own(1), Txid::ZERO);
        assert!(rounds.is_wanted());
        let first = rounds.begin();
        rounds.ask(Asker::Own(2), Txid::ZERO);
        rounds.ask(Asker::Own(3), Txid::ZERO);
        assert!(!rounds.is_wanted());
        rounds.answer(NodeId::new(2), first);
        assert!(confirmed(&mut rounds).is_some());
        assert!(rounds.is_wanted());
        let second = rounds.begin();
        rounds.answer(NodeId::new(2), second);
        assert!(confirmed(&mut rounds).is_some() && confirmed(&mut rounds).is_some());
    }

    #[test]
    fn rounds_that_begin_faster_than_answers_come_still_confirm() {
        let mut rounds = Rounds::default();
        rounds.ask(Asker::Own(1), Txid::ZERO);
        let first = rounds.begin();
        rounds.begin();
        rounds.begin();
        rounds.answer(NodeId::new(2), first);
        assert!(confirmed(&mut rounds).is_some());
    }
}
