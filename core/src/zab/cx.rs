//! What a role does: the verbs of one step, each of which keeps the state and the outputs together.

use crate::words::{ConnId, Epoch, Instant, Micros, NodeId, Now, Txid, WriteId};
use crate::zab::error::{CloseReason, HaltReason};
use crate::zab::event::{Action, Actions, Upcall};
use crate::zab::history::entry::{Body, Entry, Origin, Position};
use crate::zab::history::log::Log;
use crate::zab::history::storage::{Base, Promise, Record};
use crate::zab::ledger::Duty;
use crate::zab::membership::lives::Lives;
use crate::zab::membership::quorum::Ensemble;
use crate::zab::message::{FollowerInfo, Message, Vote};
use crate::zab::note::{LeaveReason, Note};
use crate::zab::state::State;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// The protocol versions that this code speaks, oldest and newest.
pub(crate) const VERSIONS: (u32, u32) = (1, 1);

/// The state, the outputs and the time of one step.
pub(crate) struct Cx<'a> {
    pub(crate) s: &'a mut State,
    pub(crate) out: &'a mut Actions,
    pub(crate) now: Now,
}

/// What a role wants to become after a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// The same.
    Stay,
    /// Looking, for this reason.
    Look(LeaveReason),
    /// Leading, as the election of this node's round ended: claims an epoch.
    Lead,
    /// Reigning in the epoch that it claimed: a quorum has promised it.
    Reign(Epoch),
    /// Following this vote's leader.
    Follow(Box<Vote>),
    /// Nothing any more.
    Halt(HaltReason),
}

impl Cx<'_> {
    pub(crate) fn send(&mut self, conn: ConnId, msg: Message) {
        self.out.send(conn, msg);
    }

    pub(crate) fn send_all(&mut self, to: Vec<ConnId>, msg: Message) {
        if !to.is_empty() {
            self.out.push(Action::Send { to, msg });
        }
    }

    pub(crate) fn close(&mut self, conn: ConnId, why: CloseReason) {
        self.out.push(Action::Close { conn, why });
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.out.note(note);
    }

    pub(crate) fn client_addr(&self) -> String {
        self.s.cfg.client_addr.clone()
    }

    /// True unless the log shows that a node's disk has had a later life than these.
    pub(crate) fn is_newest(&mut self, node: NodeId, lives: &Lives) -> bool {
        let known = self.s.ensemble.life_of(node);
        let newest = known.is_none_or(|known| lives.fit(known));
        if !newest {
            self.note(Note::OldDisk(node));
        }
        // Whoever counts a wiped disk must not be saved by its lives.
        planted!(self, WipedNodeCounts => return true);
        planted!(self, OldDiskCounts, newest => true)
    }

    /// Issues a record to the disk.
    pub(crate) fn persist(&mut self, record: Record) -> WriteId {
        let id = self.s.ledger.issue(self.now.at);
        self.out.push(Action::Persist { id, record });
        id
    }

    /// Promises an epoch: one promise an epoch, and never a lower one.
    pub(crate) fn promise(&mut self, promise: Promise) {
        assert!(promise.epoch > self.s.accepted(), "a promise below {}", self.s.accepted());
        self.s.promise = Some(promise);
        self.persist(Record::Promise(promise));
        self.s.ledger.then(Duty::Promised);
    }

    /// Enters an epoch, its whole initial history being in the log.
    pub(crate) fn enter(&mut self, epoch: Epoch) {
        assert!(epoch >= self.s.current && epoch <= self.s.accepted(), "{epoch} was not promised");
        self.s.current = epoch;
        self.persist(Record::Enter(epoch));
        self.s.ledger.then(Duty::Entered);
    }

    /// Appends entries that are known to continue the log.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) {
        for entry in &entries {
            let before = self.s.log.last().txid;
            self.s.log.push(entry.clone());
            match &entry.body {
                Body::Membership(membership) => {
                    self.s.ensemble.log(membership.clone(), before);
                }
                Body::Lives(lives) => self.s.ensemble.record(entry.txid, lives),
                Body::Command(_) => {}
            }
        }
        self.s.standing.stored();
        let commit = self.s.noting();
        self.persist(Record::Append { entries, commit });
        // What is committed while entries keep coming is noted with the next of them.
        if let Some(at) = &mut self.s.settle_at {
            *at = self.now.at.after(self.s.cfg.timeouts.settle);
        }
        self.s.ledger.then(Duty::Logged(self.s.log.last().txid));
    }

    /// Cuts the log. Never below what is committed.
    pub(crate) fn truncate(&mut self, to: Position) {
        assert!(to.txid >= self.s.commit, "{} would cut committed {}", to.txid, self.s.commit);
        let from = self.s.log.last().txid;
        self.s.log.truncate(to);
        let there = self.s.log.membership_at(to.txid);
        self.s.ensemble.truncate(to.txid, &there);
        self.s.durable = self.s.durable.min(to.txid);
        self.s.ledger.drop_duties();
        self.persist(Record::Truncate(to));
        self.note(Note::Truncated { from, to: to.txid });
    }

    /// Replaces the log by a sealed snapshot that reaches beyond it.
    pub(crate) fn install(&mut self, base: Base, stage: u64, digest: crate::words::Digest) {
        assert!(base.at.txid > self.s.log.last().txid, "a snapshot that is not beyond the log");
        self.s.log = Log::new(base.clone());
        self.s.applied_bytes = 0;
        self.s.ensemble = Ensemble::new(base.membership.clone());
        self.s.ledger.drop_duties();
        self.s.standing.stored();
        let at = base.at;
        let id = self.persist(Record::Install { base, stage, digest });
        self.s.installing = Some((id, at));
        self.s.ledger.then(Duty::Logged(at.txid));
    }

    /// The disk completed writes: moves what depends on the disk alone. The duties that are due
    /// now are the role's.
    pub(crate) fn completed(&mut self, upto: WriteId) {
        let covers = planted!(self, CompletionCoversAll, upto => self.s.ledger.issued());
        self.s.ledger.complete(covers, self.now.at);
        if let Some((_, at)) = self.s.installing.take_if(|(id, _)| *id <= upto) {
            self.s.commit = self.s.commit.max(at.txid);
            self.s.applied = at.txid;
            self.s.durable = self.s.durable.max(at.txid);
            self.s.compaction.installed(at.txid);
            self.out.call(Upcall::FinishInstall);
            self.s.requests.lose_sent(self.out);
            self.s.requests.readable(self.s.applied, self.out);
            self.note(Note::Installed(at.txid));
        }
        if self.s.ledger.is_clean() {
            self.s.durable = self.s.log.last().txid;
        }
    }

    /// Takes note that the disk holds the log up to here.
    pub(crate) fn logged(&mut self, upto: Txid) {
        self.s.durable = self.s.durable.max(upto);
        self.deliver();
    }

    /// Takes note that everything up to here is committed, and applies what the disk has of it.
    pub(crate) fn commit(&mut self, upto: Txid) {
        self.s.commit = self.s.commit.max(upto);
        let pending = self.s.ensemble.pending().map(|membership| membership.version());
        self.s.ensemble.commit(self.s.commit);
        if let Some(version) = pending.filter(|version| *version <= self.s.commit) {
            self.note_commit();
            self.note(Note::MembershipCommitted(version));
        }
        if self.s.commit > self.s.noted && self.s.settle_at.is_none() {
            self.s.settle_at = Some(self.now.at.after(self.s.cfg.timeouts.settle));
        }
        self.deliver();
    }

    /// Has the disk know what is committed.
    fn note_commit(&mut self) {
        let upto = self.s.noting();
        if !upto.is_zero() {
            self.persist(Record::Commit(upto));
        }
    }

    /// Notes what is committed once no entries have come along for a while.
    pub(crate) fn settle(&mut self) {
        if self.s.settle_at.take_if(|at| *at <= self.now.at).is_some()
            && self.s.commit > self.s.noted
        {
            self.note_commit();
        }
    }

    /// Applies what is committed and durable, in order, while the role serves clients or is told
    /// by its leader what is committed of a history that comes in.
    pub(crate) fn deliver(&mut self) {
        if !self.s.serving && !self.s.catching_up {
            return;
        }
        let upto = self.s.commit.min(self.s.durable);
        planted!(self, ApplyBeforeDurable: upto = self.s.commit);
        if upto <= self.s.applied {
            return;
        }
        for entry in self.s.log.after(self.s.applied) {
            if entry.txid > upto {
                break;
            }
            let ticket = entry.origin.and_then(|origin| self.s.requests.applied(origin));
            self.s.applied = entry.txid;
            self.s.applied_bytes += entry.size();
            self.s.compaction.applied(entry.size());
            self.out.call(Upcall::Deliver {
                txid: entry.txid,
                time: entry.time,
                body: entry.body.clone(),
                ticket,
            });
        }
        self.s.requests.readable(self.s.applied, self.out);
        self.checkpoint_if_due();
    }

    /// The node has joined a leader, or become one, with its log as it is now: what was sent
    /// before and is not in it is certainly not done, and may be sent again.
    pub(crate) fn rejoin(&mut self) {
        let origins: Vec<Origin> =
            self.s.log.after(self.s.applied).filter_map(|entry| entry.origin).collect();
        let again = self.s.requests.rejoin(origins.into_iter());
        if again > 0 {
            self.note(Note::Resubmitted(again));
        }
    }

    /// From now on the role lets clients be served.
    pub(crate) fn serves(&mut self) {
        self.s.serving = true;
        self.s.standing.serves(self.now.at);
    }

    /// Puts a node last in the next elections: it could not be joined.
    pub(crate) fn shun(&mut self, node: NodeId) {
        let until = self.next_elections();
        self.s.standing.shun(node, until);
    }

    /// Asks the others to elect this node last in the next elections: nobody came.
    pub(crate) fn abstain(&mut self) {
        let until = self.next_elections();
        self.s.standing.abstain(until);
    }

    /// Until then what was learned in a failed attempt counts: longer than some more may take.
    fn next_elections(&self) -> Instant {
        const ATTEMPTS: u64 = 10;
        let init = self.s.cfg.timeouts.init.get();
        self.now.at.after(Micros::new(init.saturating_mul(ATTEMPTS)))
    }

    /// FOLLOWER-INFO of this node.
    pub(crate) fn follower_info(&self) -> FollowerInfo {
        FollowerInfo {
            node: self.s.node(),
            cluster: self.s.identity.cluster,
            incarnation: self.s.identity.incarnation,
            lives: self.s.lives.clone(),
            accepted: self.s.accepted(),
            membership: self.s.ensemble.committed().version(),
            versions: VERSIONS,
            client_addr: self.client_addr(),
        }
    }

    /// True if a promise of a peer is so far above this node's that no elections ever led there.
    pub(crate) fn is_too_far(&self, accepted: Epoch) -> bool {
        const EPOCHS: u64 = 1 << 20;
        let own = self.s.accepted().max(self.s.epoch_floor);
        accepted.get().saturating_sub(own.get()) > EPOCHS
    }
}
