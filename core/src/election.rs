//! Looking for a leader: fast leader election over datagrams.
//!
//! An election is a hint. Whoever wins must still gather promises and find that nobody in its
//! quorum has a longer history, so a lost, late or doubled vote costs time, never data.

use crate::error::CloseReason;
use crate::event::Action;
use crate::ids::{ConnId, NodeId, Round};
use crate::lives::Lives;
use crate::message::{Candidate, FollowerInfo, Stance, Vote};
use crate::mutants::Mutant;
use crate::note::Note;
use crate::replica::Obstacle;
use crate::state::{Cx, Next, State};
use crate::time::{Instant, Micros};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The role of a node without a leader.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Looking {
    /// False until everything issued to the disk is durable: before that the node would speak of
    /// history that it could still lose.
    ready: bool,
    vote: Candidate,
    /// The latest vote of each voter in this round, the own one included.
    received: BTreeMap<NodeId, Candidate>,
    /// The latest word of each voter that has a leader.
    settled: BTreeMap<NodeId, Vote>,
    /// True once a voter spoke of a membership that went through the log: the ensemble has formed,
    /// whatever this node remembers, and a majority elects. The phases after it check.
    formed: bool,
    finalize_at: Option<Instant>,
    resend_at: Instant,
    backoff: Micros,
    /// Followers that came early: handed over if this node wins.
    pub(crate) early: BTreeMap<ConnId, FollowerInfo>,
}

impl Looking {
    /// Begins a new round, as soon as the disk is quiet.
    pub(crate) fn start(cx: &mut Cx<'_>) -> Self {
        let vote = own(cx.s);
        let mut looking = Self {
            ready: false,
            vote,
            received: BTreeMap::new(),
            settled: BTreeMap::new(),
            formed: false,
            finalize_at: None,
            resend_at: cx.now.at,
            backoff: cx.s.cfg.timeouts.resend_min,
            early: BTreeMap::new(),
        };
        looking.begin_if_ready(cx);
        looking
    }

    #[cfg(feature = "explore")]
    pub(crate) fn rebase(&mut self, rebase: crate::rebase::Rebase, resend: Micros) {
        self.finalize_at.iter_mut().for_each(|at| rebase.instant(at));
        self.resend_at = rebase.present().after(resend);
        self.backoff = resend;
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let resend = self.ready.then_some(self.resend_at);
        resend.into_iter().chain(self.finalize_at).min()
    }

    /// The disk completed something.
    pub(crate) fn on_persisted(&mut self, cx: &mut Cx<'_>) -> Next {
        self.begin_if_ready(cx);
        self.tally(cx)
    }

    pub(crate) fn on_tick(&mut self, cx: &mut Cx<'_>) -> Next {
        if !self.ready {
            return Next::Stay;
        }
        if self.finalize_at.is_some_and(|at| at <= cx.now.at) {
            if self.has_quorum(cx.s) {
                return self.decide(cx);
            }
            self.finalize_at = None;
        }
        if self.resend_at <= cx.now.at {
            self.backoff = self.backoff.doubled(cx.s.cfg.timeouts.resend_max);
            self.broadcast(cx);
            if cx.s.ensemble.is_forming() {
                let of = cx.s.ensemble.voters().count();
                cx.note(Note::Forming { missing: self.missing(cx.s), of });
            }
        }
        Next::Stay
    }

    /// A vote of another voter arrived.
    pub(crate) fn on_vote(&mut self, cx: &mut Cx<'_>, vote: Vote) -> Next {
        if !self.ready {
            return Next::Stay;
        }
        if cx.s.cfg.mutant(Mutant::AnyPacketDelaysVote) {
            self.resend_at = cx.now.at.after(self.backoff);
        }
        self.formed |= !vote.membership.is_zero();
        match vote.stance {
            Stance::Looking => self.on_looking(cx, &vote),
            Stance::Following(_) | Stance::Leading(_) => {
                if vote.round == cx.s.round {
                    self.received.insert(vote.from, vote.candidate);
                }
                self.settled.insert(vote.from, vote);
                if let Some(leader) = self.settled_leader(cx.s) {
                    return Next::Follow(leader);
                }
            }
        }
        self.tally(cx)
    }

    fn on_looking(&mut self, cx: &mut Cx<'_>, vote: &Vote) {
        if vote.round < cx.s.round {
            self.answer(cx, vote.from);
            return;
        }
        if vote.round > cx.s.round {
            if !cx.s.cfg.mutant(Mutant::KeepVotesOfOldRound) {
                self.received.clear();
            }
            self.set_round(cx, vote.round);
            let mine = own(cx.s);
            self.adopt(
                cx,
                if better(cx.s, &vote.candidate, &mine) { vote.candidate } else { mine },
            );
        } else if better(cx.s, &vote.candidate, &self.vote) {
            self.adopt(cx, vote.candidate);
        } else if self.is_corrected_by(vote) {
            let mine = own(cx.s);
            self.adopt(
                cx,
                if better(cx.s, &vote.candidate, &mine) { vote.candidate } else { mine },
            );
        } else if vote.candidate != self.vote {
            self.answer(cx, vote.from);
        }
        self.received.insert(vote.from, vote.candidate);
        // Whoever looks for a leader has none.
        self.settled.remove(&vote.from);
    }

    /// True if the one for whom this node votes says itself that it stands for less: what was heard
    /// before is of an earlier life of it, in a round of the same number. Without this both would
    /// answer each other for ever, and never agree.
    fn is_corrected_by(&self, vote: &Vote) -> bool {
        let word = &vote.candidate;
        word.node == vote.from && self.vote.node == vote.from && *word < self.vote
    }

    fn begin_if_ready(&mut self, cx: &mut Cx<'_>) {
        let hasty = cx.s.cfg.mutant(Mutant::VoteUnflushed) || cx.s.cfg.mutant(Mutant::KeepDuties);
        let quiet = cx.s.ledger.is_clean() || hasty;
        if self.ready || !quiet || !cx.s.ensemble.is_voter(cx.s.node()) {
            return;
        }
        self.ready = true;
        let round = cx.s.round.next();
        self.set_round(cx, round);
        let vote = own(cx.s);
        cx.note(Note::Looking { round, candidate: vote });
        self.adopt(cx, vote);
    }

    fn set_round(&mut self, cx: &mut Cx<'_>, round: Round) {
        cx.s.round = round;
        self.finalize_at = None;
    }

    /// Votes for this candidate from now on, and says so to everyone.
    fn adopt(&mut self, cx: &mut Cx<'_>, candidate: Candidate) {
        self.vote = candidate;
        self.received.insert(cx.s.node(), candidate);
        self.finalize_at = None;
        self.backoff = cx.s.cfg.timeouts.resend_min;
        self.broadcast(cx);
    }

    /// The voters that were not heard in this round.
    fn missing(&self, s: &State) -> Vec<NodeId> {
        let heard = |id: &NodeId| {
            *id == s.node() || self.received.contains_key(id) || self.settled.contains_key(id)
        };
        s.ensemble.voters().filter(|id| !heard(id)).collect()
    }

    /// What keeps this node from having a leader, for people; nothing while it waits for its disk.
    pub(crate) fn obstacle(&self, s: &State) -> Option<Obstacle> {
        let missing = self.ready.then(|| self.missing(s))?;
        Some(match s.ensemble.is_forming() && !self.formed {
            true => Obstacle::Forming { missing },
            false => Obstacle::NoLeader { missing },
        })
    }

    fn broadcast(&mut self, cx: &mut Cx<'_>) {
        let others: Vec<NodeId> =
            cx.s.ensemble.voters().filter(|id| *id != cx.s.identity.node).collect();
        for to in others {
            self.answer(cx, to);
        }
        // Jitter keeps the voters from talking in step: between three and five quarters.
        let span = self.backoff.get();
        let jitter = cx.s.rng.below(span / 2 + 1);
        self.resend_at = cx.now.at.after(Micros::new(span - span / 4 + jitter));
    }

    fn answer(&self, cx: &mut Cx<'_>, to: NodeId) {
        let vote = ballot(cx.s, Stance::Looking, cx.s.round, self.vote);
        cx.out.push(Action::Notify { to, vote });
    }

    /// Ends the election if the own vote has a quorum: at once if every voter agrees, else after
    /// a wait in which a better vote may still arrive. Only a better vote or the loss of the
    /// quorum ends the wait, not mere chatter.
    fn tally(&mut self, cx: &mut Cx<'_>) -> Next {
        if !self.ready {
            return Next::Stay;
        }
        if !self.has_quorum(cx.s) {
            self.finalize_at = None;
            return Next::Stay;
        }
        if cx.s.ensemble.is_everyone(|id| self.received.get(&id) == Some(&self.vote)) {
            return self.decide(cx);
        }
        let wait = cx.s.cfg.timeouts.finalize;
        if cx.s.cfg.mutant(Mutant::AnyPacketRestartsFinalize) {
            self.finalize_at = Some(cx.now.at.after(wait));
        }
        self.finalize_at.get_or_insert(cx.now.at.after(wait));
        Next::Stay
    }

    fn has_quorum(&self, s: &State) -> bool {
        let agrees = |id| self.received.get(&id) == Some(&self.vote);
        if self.formed { s.ensemble.is_majority(agrees) } else { s.ensemble.is_quorum(agrees) }
    }

    fn decide(&self, cx: &mut Cx<'_>) -> Next {
        let round = cx.s.round;
        cx.note(Note::Elected { leader: self.vote.node, round });
        if self.vote.node == cx.s.node() {
            return Next::Lead;
        }
        Next::Follow(ballot(cx.s, Stance::Looking, round, self.vote))
    }

    /// A leader that a majority follows already, by its own word too. Votes are matched by leader
    /// and epoch alone: rounds and txids differ legitimately between its followers.
    fn settled_leader(&self, s: &State) -> Option<Vote> {
        let leads = |vote: &Vote| match vote.stance {
            Stance::Leading(Some(epoch)) if vote.candidate.node == vote.from => Some(epoch),
            _ => None,
        };
        self.settled.values().find_map(|leader| {
            let epoch = match leader.stance {
                _ if leader.from == s.node() => None,
                Stance::Following(epoch) if s.cfg.mutant(Mutant::JoinWithoutLeadersWord) => epoch,
                _ => leads(leader),
            }?;
            let follows = |id: NodeId| {
                self.settled.get(&id).is_some_and(|vote| match vote.stance {
                    Stance::Following(at) | Stance::Leading(at) => {
                        at == Some(epoch) && vote.candidate.node == leader.candidate.node
                    }
                    Stance::Looking => false,
                })
            };
            s.ensemble.is_majority(follows).then(|| leader.clone())
        })
    }

    /// A peer that takes this node for the leader: remembered until the election ends.
    pub(crate) fn on_follower_info(&mut self, cx: &mut Cx<'_>, conn: ConnId, info: FollowerInfo) {
        let older: Vec<ConnId> =
            self.early.iter().filter(|(_, i)| i.node == info.node).map(|(c, _)| *c).collect();
        for conn in older {
            self.early.remove(&conn);
            cx.close(conn, CloseReason::Replaced);
        }
        self.early.insert(conn, info);
    }

    /// Closes what is not handed over.
    pub(crate) fn leave(self, cx: &mut Cx<'_>) {
        for conn in self.early.into_keys() {
            cx.close(conn, CloseReason::NotLeading);
        }
    }
}

/// What this node stands for: what is on its disk.
pub(crate) fn own(s: &State) -> Candidate {
    let txid = if s.cfg.mutant(Mutant::VoteUnflushed) { s.log.last().txid } else { s.durable };
    let epoch = if s.cfg.mutant(Mutant::VoteByLastEntry) { txid.epoch() } else { s.current };
    Candidate { epoch, txid, node: s.node() }
}

/// A datagram of this node.
pub(crate) fn ballot(s: &State, stance: Stance, round: Round, candidate: Candidate) -> Vote {
    Vote {
        from: s.node(),
        cluster: s.identity.cluster,
        incarnation: s.identity.incarnation,
        stance,
        round,
        candidate,
        membership: s.ensemble.committed().version(),
        lives: Lives {
            drawn: if s.lives.drawn.len() <= TOLD { s.lives.drawn.clone() } else { Vec::new() },
            ..s.lives
        },
    }
}

/// Lives in a datagram, at most.
const TOLD: usize = 16;

fn better(s: &State, a: &Candidate, b: &Candidate) -> bool {
    // Others may still vote for what this node held on a disk that it has lost: never its own claim.
    if a.node == s.node() && *a != own(s) {
        return false;
    }
    if s.cfg.mutant(Mutant::VoteWithoutEpoch) {
        return (a.txid, a.node) > (b.txid, b.node);
    }
    a > b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Txid};
    use proptest::prelude::*;

    fn candidate() -> impl Strategy<Value = Candidate> {
        (0..3u64, 1..4u64, 1..4u64, 1..4u32).prop_map(|(epoch, e, c, node)| Candidate {
            epoch: Epoch::new(epoch),
            txid: Txid::new(Epoch::new(e), c).unwrap(),
            node: NodeId::new(node),
        })
    }

    proptest! {
        #[test]
        fn votes_order_by_current_epoch_then_txid_then_id(a in candidate(), b in candidate()) {
            // The naive twin: one field after the other.
            let twin = if a.epoch != b.epoch {
                a.epoch > b.epoch
            } else if a.txid.epoch() != b.txid.epoch() {
                a.txid.epoch() > b.txid.epoch()
            } else if a.txid.counter() != b.txid.counter() {
                a.txid.counter() > b.txid.counter()
            } else {
                a.node > b.node
            };
            prop_assert_eq!(a > b, twin);
            prop_assert_eq!(a == b, (a <= b) && (b <= a));
        }
    }
}
