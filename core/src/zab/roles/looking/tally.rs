//! How an election ends: somebody has a quorum, or a leader is settled already.

use super::{Looking, own};
use crate::words::NodeId;
use crate::zab::cx::{Cx, Next};
use crate::zab::message::{Candidate, Stance, Vote};
use crate::zab::note::Note;
use crate::zab::state::State;
use alloc::boxed::Box;

impl Looking {
    /// True if enough voters for a leader are heard in this round, and have none.
    pub(super) fn is_stuck(&self, s: &State) -> bool {
        let heard = |id| id == s.node() || self.words.contains_key(&id);
        self.finalize.is_none() && self.is_enough(s, heard)
    }

    fn is_enough(&self, s: &State, has: impl Fn(NodeId) -> bool) -> bool {
        if self.formed { s.ensemble.is_majority(has) } else { s.is_quorum(has) }
    }

    /// True if a majority is heard in this round, this node included.
    pub(super) fn hears(&self, s: &State) -> bool {
        let heard =
            |id| id == s.node() || self.words.contains_key(&id) || self.settled.contains_key(&id);
        s.ensemble.is_majority(heard)
    }

    /// Ends the election if somebody has a quorum: at once if every voter agrees, else after a
    /// wait in which a better vote may still arrive. Only another candidate or the loss of the
    /// quorum ends the wait, not mere chatter.
    pub(super) fn tally(&mut self, cx: &mut Cx<'_>) -> Next {
        let Some(winner) = self.winner(cx.s).filter(|_| self.ready) else {
            self.finalize = None;
            return Next::Stay;
        };
        let paused = cx.s.standing.paused(cx.now.at);
        let all = cx.s.ensemble.is_everyone(|id| self.votes_for(cx.s, id, winner.node));
        if all && paused.is_none() {
            return self.decide(cx, winner);
        }
        let wait = cx.now.at.after(cx.s.cfg.timeouts.finalize);
        let at = match self.finalize {
            Some((node, at)) if planted!(cx, AnyPacketRestartsFinalize, node == winner.node => false) => {
                at
            }
            _ => wait.max(paused.unwrap_or(wait)),
        };
        if at <= cx.now.at && paused.is_none() {
            return self.decide(cx, winner);
        }
        self.finalize = Some((winner.node, at.max(paused.unwrap_or(at))));
        Next::Stay
    }

    /// Who has a quorum: whom this node votes for, or this node itself by the votes of others,
    /// though it would prefer another one, whom they do not hear.
    fn winner(&self, s: &State) -> Option<Candidate> {
        let own = own(s);
        [self.vote, own].into_iter().find(|candidate| {
            let leads = self.words.get(&candidate.node).is_some_and(|word| word.leads);
            // Who gathers its followers has heard a quorum, though perhaps not every voter has.
            leads || self.is_enough(s, |id| self.votes_for(s, id, candidate.node))
        })
    }

    fn votes_for(&self, s: &State, voter: NodeId, candidate: NodeId) -> bool {
        let vote = if voter == s.node() {
            Some(self.vote.node)
        } else {
            self.words.get(&voter).map(|word| word.vote)
        };
        vote == Some(candidate)
    }

    fn decide(&self, cx: &mut Cx<'_>, winner: Candidate) -> Next {
        let round = cx.s.round;
        cx.note(Note::Elected { leader: winner.node, round });
        if winner.node == cx.s.node() {
            return Next::Lead;
        }
        Next::Follow(Box::new(cx.ballot(winner.node, None, Stance::Looking, round, winner)))
    }

    /// A leader that a majority follows already, by its own word too; this node would be one of
    /// them. Votes are matched by leader and epoch alone: rounds and txids differ legitimately
    /// between its followers.
    pub(super) fn settled_leader(&self, cx: &Cx<'_>) -> Option<Vote> {
        let s = &*cx.s;
        let leads = |vote: &Vote| match vote.stance {
            Stance::Leading(Some(epoch)) if vote.candidate.node == vote.from => Some(epoch),
            _ => None,
        };
        if s.standing.paused(cx.now.at).is_some() {
            return None;
        }
        self.settled.values().find_map(|leader| {
            let epoch = leads(leader).filter(|_| leader.candidate.node != s.node())?;
            if s.standing.waits(leader.candidate.node, epoch, cx.now.at).is_some() {
                return None;
            }
            let follows = |id: NodeId| {
                let at_leader = self.settled.get(&id).is_some_and(|vote| match vote.stance {
                    Stance::Following(at) | Stance::Leading(at) => {
                        at == Some(epoch) && vote.candidate.node == leader.candidate.node
                    }
                    Stance::Looking => false,
                });
                at_leader || id == s.node()
            };
            s.ensemble.is_majority(follows).then(|| leader.clone())
        })
    }
}
