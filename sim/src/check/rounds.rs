//! Linearizable (23), by its cause: a leader answers a linearizable read by a round of heartbeats
//! that began after it took the read, and that a quorum has answered. What a shared round would let
//! through shows at clients only if another leader was elected just then.

use super::{Check, ensure};
use std::collections::{BTreeMap, VecDeque};
use zabkeeper_core::words::{ConnId, Epoch, NodeId, Ticket};

/// Rounds that are remembered of a leader.
const KEPT: usize = 256;

/// A round of a leader.
type Round = (Epoch, u64);

/// The rounds of all leaders, and the reads that they took.
#[derive(Debug, Default)]
pub struct Rounds {
    began: BTreeMap<NodeId, VecDeque<(Round, u64)>>,
    /// Who is at the other end of the connections on which rounds were asked: what came on one may be
    /// taken in when it is long gone.
    ends: BTreeMap<ConnId, NodeId>,
    /// The last round that a follower answered, as far as the leader knows.
    answered: BTreeMap<(NodeId, NodeId), Round>,
    /// When a leader took a read, and in which epoch.
    taken: BTreeMap<Ticket, (u64, Epoch)>,
}

impl Rounds {
    /// A leader begins a round, or goes on with it.
    pub fn ping(&mut self, leader: NodeId, round: Round, now: u64) {
        let began = self.began.entry(leader).or_default();
        if began.back().is_none_or(|(last, _)| *last != round) {
            began.push_back((round, now));
            if began.len() > KEPT {
                began.pop_front();
            }
        }
    }

    /// A leader asks a follower on this connection.
    pub fn asks(&mut self, conn: ConnId, follower: NodeId) {
        self.ends.insert(conn, follower);
    }

    /// A leader hears an answer.
    pub fn pong(&mut self, leader: NodeId, conn: ConnId, round: Round) {
        let Some(follower) = self.ends.get(&conn).copied() else { return };
        let last = self.answered.entry((leader, follower)).or_default();
        *last = round.max(*last);
    }

    /// A leader takes a linearizable read. What others take rests on the word of their leader.
    pub fn take(&mut self, ticket: Ticket, now: u64, epoch: Epoch) {
        self.taken.insert(ticket, (now, epoch));
    }

    /// A request is answered by a process in this epoch: when it took it, if it has led since.
    pub fn end(&mut self, ticket: Ticket, epoch: Epoch) -> Option<u64> {
        let (at, of) = self.taken.remove(&ticket)?;
        (of == epoch).then_some(at)
    }

    /// A leader of so many voters answers a read that it took at a time.
    pub fn read(&self, leader: NodeId, taken: u64, voters: usize) -> Check {
        let Some(began) = self.began.get(&leader).filter(|_| voters > 1) else { return Ok(()) };
        let after = |round: &Round| began.iter().any(|(of, at)| of == round && *at >= taken);
        let answers =
            self.answered.range((leader, NodeId::new(0))..=(leader, NodeId::new(u32::MAX)));
        let answers = answers.filter(|(_, round)| after(round)).count();
        ensure!(
            1 + answers > voters / 2,
            "Linearizable (23)",
            "{leader} answers a read of {taken} us; {answers} of {voters} answered a round since then"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: NodeId = NodeId::new(1);

    #[test]
    fn a_read_needs_the_answers_of_a_quorum_to_a_round_that_began_after_it() {
        let mut rounds = Rounds::default();
        let round = |nonce| (Epoch::new(1), nonce);
        let conn = ConnId::new;
        rounds.asks(conn(12), NodeId::new(2));
        rounds.asks(conn(13), NodeId::new(3));
        rounds.ping(LEADER, round(1), 10);
        rounds.pong(LEADER, conn(12), round(1));
        assert!(rounds.read(LEADER, 11, 3).is_err(), "the round is older");
        assert_eq!(rounds.read(LEADER, 10, 3), Ok(()));
        rounds.ping(LEADER, round(2), 20);
        assert!(rounds.read(LEADER, 11, 3).is_err(), "nobody has answered");
        rounds.pong(LEADER, conn(13), round(2));
        assert_eq!(rounds.read(LEADER, 11, 3), Ok(()));
        assert!(rounds.read(LEADER, 11, 5).is_err(), "no quorum has");
    }
}
