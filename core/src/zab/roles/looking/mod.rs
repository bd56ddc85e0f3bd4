//! Looking for a leader: fast leader election over datagrams.
//!
//! An election is a hint. Whoever wins must still gather promises and find that nobody in its
//! quorum has a longer history, so a lost, late or doubled vote costs time, never data.

mod connections;
mod tally;

use crate::words::{ConnId, Instant, Micros, NodeId, Round};
use crate::zab::cx::{Cx, Next};
use crate::zab::error::HaltReason;
use crate::zab::event::Action;
use crate::zab::fresh::Worth;
use crate::zab::membership::lives::Lives;
use crate::zab::message::{Candidate, FollowerInfo, Rejection, Stance, Vote};
use crate::zab::note::{Note, Unready};
use crate::zab::state::State;
use crate::zab::status::Obstacle;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// After so many times of saying the own vote again without a result, a round is left.
const STUCK: u32 = 4;
/// A little earlier, candidates that do not hear a majority are put last: they are in the way.
const DEAF_LAST: u32 = 3;
/// A vote of a round that is further ahead is ignored: no election ever comes so far.
const ROUNDS: u64 = 1 << 32;

/// The role of a node without a leader.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Looking {
    /// False until everything issued to the disk is durable: before that the node would speak of
    /// history that it could still lose.
    ready: bool,
    /// When the node says next why it is not ready.
    word_at: Instant,
    vote: Candidate,
    /// The latest word of each other voter in this round.
    words: BTreeMap<NodeId, Word>,
    /// The latest word of each voter that has a leader.
    settled: BTreeMap<NodeId, Vote>,
    /// True once a voter spoke of a membership that went through the log: the ensemble has formed,
    /// whatever this node remembers, and a majority elects. The phases after it check.
    formed: bool,
    /// Who would be elected, and when it is.
    finalize: Option<(NodeId, Instant)>,
    /// When a settled leader is looked at again: before that, joining pauses.
    join_at: Option<Instant>,
    resend_at: Instant,
    backoff: Micros,
    /// How often the own vote was said again in this round.
    resends: u32,
    /// True if a round was left without a result.
    stuck: bool,
    /// Who was answered since the own vote was last said to all, and when.
    answered: BTreeMap<NodeId, Instant>,
    /// Followers that came early, and when: handed over if this node wins.
    pub(crate) early: BTreeMap<ConnId, (FollowerInfo, Instant)>,
    /// Whom this node asks by TCP whether it belongs to them; the connection once it is open.
    asking: BTreeMap<NodeId, (Option<ConnId>, Instant)>,
}

/// What a voter said last in this round.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Word {
    /// For whom it votes.
    vote: NodeId,
    /// What it stands for itself: counts for nobody else.
    own: Candidate,
    /// True unless it has a leader, which is not itself.
    stands: bool,
    /// True if it leads, or tries to.
    leads: bool,
    abstains: bool,
    hears: bool,
}

impl Looking {
    /// Begins a new round, as soon as the disk is quiet.
    pub(crate) fn start(cx: &mut Cx<'_>) -> Self {
        let vote = own(cx.s);
        let mut looking = Self {
            ready: false,
            word_at: cx.now.at.after(cx.s.cfg.timeouts.disk),
            vote,
            words: BTreeMap::new(),
            settled: BTreeMap::new(),
            formed: false,
            finalize: None,
            join_at: None,
            resend_at: cx.now.at,
            backoff: cx.s.cfg.timeouts.resend_min,
            resends: 0,
            stuck: false,
            answered: BTreeMap::new(),
            early: BTreeMap::new(),
            asking: BTreeMap::new(),
        };
        looking.begin_if_ready(cx);
        looking
    }

    #[cfg(feature = "explore")]
    pub(crate) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase, resend: Micros) {
        self.finalize.iter_mut().for_each(|(_, at)| rebase.instant(at));
        self.join_at.iter_mut().for_each(|at| rebase.instant(at));
        rebase.instant(&mut self.word_at);
        self.early.values_mut().for_each(|(_, at)| rebase.instant(at));
        self.asking.values_mut().for_each(|(_, at)| rebase.instant(at));
        self.answered.clear();
        self.resends = 0;
        self.resend_at = rebase.present().after(resend);
        self.backoff = resend;
    }

    pub(crate) fn deadline(&self, s: &State) -> Option<Instant> {
        let init = s.cfg.timeouts.init;
        let own = if self.ready { self.resend_at } else { self.word_at };
        let early = self.early.values().map(|(_, at)| at.after(init)).min();
        let asking = self.asking.values().map(|(_, at)| at.after(init)).min();
        let finalize = self.finalize.map(|(_, at)| at);
        [Some(own), finalize, self.join_at, early, asking].into_iter().flatten().min()
    }

    /// The disk completed something.
    pub(crate) fn on_persisted(&mut self, cx: &mut Cx<'_>) -> Next {
        self.begin_if_ready(cx);
        self.tally(cx)
    }

    pub(crate) fn on_tick(&mut self, cx: &mut Cx<'_>) -> Next {
        self.drop_mute(cx);
        if !self.ready {
            self.say_why_not_ready(cx);
            return Next::Stay;
        }
        if let next @ (Next::Follow(_) | Next::Lead) = self.tally(cx) {
            return next;
        }
        let again = self.resend_at <= cx.now.at;
        if (self.join_at.take_if(|at| *at <= cx.now.at).is_some() || again)
            && let Some(leader) = self.settled_leader(cx)
        {
            return Next::Follow(Box::new(leader));
        }
        if !again {
            return Next::Stay;
        }
        self.resends += 1;
        if self.resends > STUCK && self.is_stuck(cx.s) {
            self.leave_round(cx);
            return Next::Stay;
        }
        self.backoff = self.backoff.doubled(cx.s.cfg.timeouts.resend_max);
        self.vote = self.best(cx);
        self.broadcast(cx);
        if cx.s.ensemble.is_forming() {
            let of = cx.s.ensemble.voters().count();
            cx.note(Note::Forming { missing: self.missing(cx.s), of });
        }
        self.tally(cx)
    }

    /// What keeps this node from voting: a disk that does not come back, or that it is no voter.
    fn say_why_not_ready(&mut self, cx: &mut Cx<'_>) {
        if self.word_at > cx.now.at {
            return;
        }
        self.word_at = cx.now.at.after(cx.s.cfg.timeouts.disk);
        let why = match cx.s.ledger.oldest() {
            _ if !cx.s.ensemble.is_voter(cx.s.node()) => {
                Unready::NotVoter(cx.s.ensemble.committed().version())
            }
            oldest => Unready::Disk(cx.now.at.since(oldest.unwrap_or(cx.now.at))),
        };
        cx.note(Note::Unready(why));
    }

    /// A vote of another voter arrived.
    pub(crate) fn on_vote(&mut self, cx: &mut Cx<'_>, vote: Vote, worth: Worth) -> Next {
        if !self.ready {
            return Next::Stay;
        }
        planted!(cx, AnyPacketDelaysVote => self.resend_at = cx.now.at.after(self.backoff));
        if !worth.counts() {
            // Whoever it is may prove that it is there, by answering the question in this.
            if worth == Worth::Nothing && cx.may_answer(vote.from) {
                let ballot = self.ballot(cx, vote.from, Some(vote.stamp.asks));
                cx.out.push(Action::Notify { to: vote.from, vote: ballot });
            }
            return Next::Stay;
        }
        self.formed |= !vote.membership.is_zero();
        match vote.stance {
            Stance::Looking => self.on_looking(cx, &vote, worth),
            Stance::Following(_) | Stance::Leading(_) => {
                if vote.round == cx.s.round {
                    self.words.insert(vote.from, Word::of(&vote));
                    self.review(cx);
                }
                self.settled.insert(vote.from, vote);
                self.join_at = cx.s.standing.paused(cx.now.at);
                if let Some(leader) = self.settled_leader(cx) {
                    return Next::Follow(Box::new(leader));
                }
            }
        }
        self.tally(cx)
    }

    fn on_looking(&mut self, cx: &mut Cx<'_>, vote: &Vote, worth: Worth) {
        // Whoever looks for a leader has none.
        self.settled.remove(&vote.from);
        if vote.round.get().saturating_sub(cx.s.round.get()) > ROUNDS {
            return;
        }
        if vote.round < cx.s.round {
            return self.answer(cx, vote.from);
        }
        let later = vote.round > cx.s.round;
        if later {
            planted!(cx, KeepVotesOfOldRound, self.words.clear() => ());
            // Others may be the first to leave a round that has no result.
            self.stuck |= self.resends >= DEAF_LAST;
            self.set_round(cx, vote.round);
        }
        self.words.insert(vote.from, Word::of(vote));
        let said = if later {
            self.vote = self.best(cx);
            self.broadcast(cx);
            true
        } else {
            self.review(cx)
        };
        let wrong = vote.candidate != self.vote;
        if !said && (wrong || worth == Worth::First) {
            self.answer(cx, vote.from);
        }
    }

    /// Votes for the best candidate that was heard, and says so to everyone if that is another one
    /// than before. True if it is.
    fn review(&mut self, cx: &mut Cx<'_>) -> bool {
        let best = self.best(cx);
        let other = best != self.vote;
        if other {
            self.vote = best;
            self.backoff = cx.s.cfg.timeouts.resend_min;
            self.broadcast(cx);
        }
        other
    }

    /// The best candidate: this node, or one that says itself, in this round, what it stands for.
    /// Those that could not be joined, or that nobody joined, come last. What this node alone has
    /// found out gives way when no result comes of it: others may have found out something else.
    fn best(&self, cx: &Cx<'_>) -> Candidate {
        let s = &*cx.s;
        let by_hearing = self.stuck || self.resends >= DEAF_LAST;
        let rank = |own: Candidate, abstains: bool, hears: bool| {
            let last = abstains || !self.stuck && s.standing.shuns(own.node, cx.now.at);
            let by_epoch = planted!(s, VoteWithoutEpoch, own => cx.without_epoch(own));
            (!by_hearing || hears, !last, by_epoch, own)
        };
        let me = rank(own(s), s.standing.abstains(cx.now.at), self.hears(s));
        let others = self.words.values().filter(|word| word.stands);
        let others = others.map(|word| rank(word.own, word.abstains, word.hears));
        others.fold(me, Ord::max).3
    }

    fn begin_if_ready(&mut self, cx: &mut Cx<'_>) {
        let quiet = planted!(cx, VoteUnflushed, cx.s.ledger.is_clean() => true);
        planted!(cx, KeepDuties: quiet = true);
        if self.ready || !quiet || !cx.s.ensemble.is_voter(cx.s.node()) {
            return;
        }
        self.ready = true;
        let round = cx.s.round.next();
        self.set_round(cx, round);
        cx.s.claim = own(cx.s);
        cx.note(Note::Looking { round, candidate: cx.s.claim });
        self.vote = self.best(cx);
        self.broadcast(cx);
    }

    fn set_round(&mut self, cx: &mut Cx<'_>, round: Round) {
        cx.s.round = round;
        self.finalize = None;
        self.resends = 0;
        self.backoff = cx.s.cfg.timeouts.resend_min;
    }

    /// A majority is heard and does not agree: everyone starts again.
    fn leave_round(&mut self, cx: &mut Cx<'_>) {
        let round = cx.s.round.next();
        cx.note(Note::RoundLeft(cx.s.round));
        self.words.clear();
        self.stuck = true;
        self.set_round(cx, round);
        self.vote = self.best(cx);
        self.broadcast(cx);
    }

    /// The voters that were not heard in this round.
    fn missing(&self, s: &State) -> Vec<NodeId> {
        let heard = |id: &NodeId| {
            *id == s.node() || self.words.contains_key(id) || self.settled.contains_key(id)
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

    /// Says the own vote to everyone.
    fn broadcast(&mut self, cx: &mut Cx<'_>) {
        self.answered.clear();
        let others: Vec<NodeId> =
            cx.s.ensemble.voters().filter(|id| *id != cx.s.identity.node).collect();
        for to in others {
            let vote = self.ballot(cx, to, None);
            cx.out.push(Action::Notify { to, vote });
        }
        // Jitter keeps the voters from talking in step: between three and five quarters.
        let span = self.backoff.get();
        let jitter = cx.s.rng.below(span / 2 + 1);
        self.resend_at = cx.now.at.after(Micros::new(span - span / 4 + jitter));
    }

    fn ballot(&self, cx: &mut Cx<'_>, to: NodeId, asked: Option<u64>) -> Vote {
        let (round, hears) = (cx.s.round, self.hears(cx.s));
        Vote { hears, ..cx.ballot(to, asked, Stance::Looking, round, self.vote) }
    }

    /// Says the own vote to one, but not again and again.
    fn answer(&mut self, cx: &mut Cx<'_>, to: NodeId) {
        let rest = cx.s.cfg.timeouts.resend_min;
        let often = self.answered.get(&to).is_some_and(|at| cx.now.at < at.after(rest));
        if planted!(cx, AnswerWithoutEnd, often => false) {
            return;
        }
        self.answered.insert(to, cx.now.at);
        let vote = self.ballot(cx, to, None);
        cx.out.push(Action::Notify { to, vote });
    }
}

impl Word {
    fn of(vote: &Vote) -> Self {
        Self {
            vote: vote.candidate.node,
            own: Candidate { node: vote.from, ..vote.own },
            stands: !matches!(vote.stance, Stance::Following(_)),
            leads: matches!(vote.stance, Stance::Leading(_)),
            abstains: vote.abstains,
            hears: vote.hears,
        }
    }
}

impl Cx<'_> {
    /// A datagram of this node to a voter.
    pub(crate) fn ballot(
        &mut self,
        to: NodeId,
        asked: Option<u64>,
        stance: Stance,
        round: Round,
        candidate: Candidate,
    ) -> Vote {
        let stamp = self.s.fresh.stamp(to, asked);
        let s = &*self.s;
        Vote {
            from: s.node(),
            cluster: s.identity.cluster,
            incarnation: s.identity.incarnation,
            stance,
            round,
            candidate,
            own: s.claim,
            abstains: s.standing.abstains(self.now.at),
            hears: false,
            membership: s.ensemble.committed().version(),
            lives: Lives {
                drawn: if s.lives.drawn.len() <= TOLD { s.lives.drawn.clone() } else { Vec::new() },
                ..s.lives
            },
            stamp,
        }
    }

    /// True if this voter may be answered once more now.
    pub(crate) fn may_answer(&mut self, to: NodeId) -> bool {
        let span = self.s.cfg.timeouts.resend_min;
        let may = self.s.fresh.may_answer(to, self.now.at, span);
        planted!(self, AnswerWithoutEnd, may => true)
    }

    /// A member says on its own connection that this node does not belong there. One may err, or
    /// be another than it seems; a majority decides.
    pub(crate) fn denied(&mut self, by: NodeId, why: Rejection) -> Next {
        self.note(Note::RejectedBy { peer: Some(by), why: why.clone() });
        self.s.denied.insert(by, why);
        let says = |wanted: fn(&Rejection) -> bool| {
            let denied = &self.s.denied;
            self.s.ensemble.is_majority(|id| denied.get(&id).is_some_and(wanted))
        };
        if says(|why| matches!(why, Rejection::WrongDisk)) {
            Next::Halt(HaltReason::WrongDisk { ours: self.s.identity.incarnation })
        } else if says(|why| matches!(why, Rejection::NotMember { .. })) {
            Next::Halt(HaltReason::NotMember)
        } else {
            Next::Stay
        }
    }
}

/// What this node stands for: what is on its disk.
pub(crate) fn own(s: &State) -> Candidate {
    let txid = planted!(s, VoteUnflushed, s.durable => s.log.last().txid);
    let epoch = planted!(s, VoteByLastEntry, s.current => txid.epoch());
    Candidate { epoch, txid, node: s.node() }
}

/// Lives in a datagram, at most.
const TOLD: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Epoch, Txid};
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
