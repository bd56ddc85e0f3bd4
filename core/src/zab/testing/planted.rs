//! The wrong code of the planted bugs of this wing that take more than a line.

use crate::mutants::Mutant;
use crate::words::{Epoch, Instant, Micros, NodeId, RefuseReason};
use crate::zab::compaction::Compaction;
use crate::zab::config::Config;
use crate::zab::cx::Cx;
use crate::zab::event::{Actions, Upcall};
use crate::zab::history::entry::{Entry, Position};
use crate::zab::history::storage::Record;
use crate::zab::membership::quorum::Ensemble;
use crate::zab::message::{Candidate, EpochAck, Message};
use crate::zab::requests::Requests;
use crate::zab::roles::leading::rounds::Rounds;
use crate::zab::state::{Pin, State};
use crate::zab::sync_plan::SyncPlan;
use alloc::vec::Vec;

impl Config {
    /// True if this bug is planted.
    pub(crate) fn plants(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}

impl State {
    pub(crate) fn plants(&self, mutant: Mutant) -> bool {
        self.cfg.plants(mutant)
    }
}

impl Cx<'_> {
    pub(crate) fn plants(&self, mutant: Mutant) -> bool {
        self.s.plants(mutant)
    }

    /// The log on disk is pruned with the log in memory.
    pub(crate) fn forget_unsaved(&mut self, pin: impl Fn() -> Option<Pin>) {
        let before = self.s.log.base().at;
        self.forget(&pin);
        if self.s.log.base().at != before {
            self.prune(None, pin());
        }
    }

    /// A candidate stands for its last entry alone.
    pub(crate) fn without_epoch(&self, own: Candidate) -> Candidate {
        Candidate { epoch: Epoch::ZERO, ..own }
    }

    /// A leader drops its uncommitted tail.
    pub(crate) fn drop_inherited(&mut self) {
        self.truncate(self.s.log.floor(self.s.commit).unwrap_or(Position::ZERO));
    }

    /// A follower cuts one entry too many.
    pub(crate) fn truncate_too_far(&mut self, to: Position) {
        let shorter = self.s.log.iter().rev().find(|entry| entry.txid < to.txid);
        self.truncate(shorter.map_or(to, |entry| entry.position()));
    }

    /// The disk has the epoch before it has the history.
    pub(crate) fn enter_early(&mut self, epoch: Epoch) {
        self.persist(Record::Enter(epoch));
    }

    /// An acknowledgement of what is on its way to the disk.
    pub(crate) fn premature_ack(&self, epoch: Epoch) -> Message {
        Message::Ack { epoch, upto: self.s.log.last().txid }
    }

    /// An acknowledgement of the history as far as it has arrived.
    pub(crate) fn arrived(&self, pending: &[Entry]) -> Message {
        let end = pending.last().map_or(self.s.log.last(), Entry::position);
        Message::LogEntriesAck { upto: end.txid }
    }

    /// Whoever ends within the leader's range is taken to have what is before.
    pub(crate) fn diff_by_range(&self, ack: &EpochAck, plan: SyncPlan) -> SyncPlan {
        let range = self.s.log.base().at.txid..=self.s.log.last().txid;
        if range.contains(&ack.last.txid) { SyncPlan::Diff(ack.last) } else { plan }
    }

    /// A follower that has more is sent a snapshot.
    pub(crate) fn snap_of_less(&self, ack: &EpochAck, plan: SyncPlan) -> SyncPlan {
        if ack.last == self.s.log.last() { plan } else { SyncPlan::Snap }
    }
}

impl Ensemble {
    /// True if the nodes for whom `has` holds are half of the voters.
    pub(crate) fn is_half(&self, has: impl Fn(NodeId) -> bool) -> bool {
        if self.is_forming() {
            return self.is_quorum(has);
        }
        self.voters().filter(|id| has(*id)).count() * 2 >= self.voters().count()
    }
}

impl Requests {
    /// Answers what was sent as if it were certainly not done.
    pub(crate) fn fail_sent(&mut self, out: &mut Actions) {
        let sent: Vec<u64> = self.writes.iter().filter(|(_, w)| w.sent).map(|(s, _)| *s).collect();
        for seq in sent {
            if let Some(ticket) = self.remove_write(seq).and_then(|write| write.ticket) {
                out.call(Upcall::Refuse { ticket, why: RefuseReason::NoLeader });
            }
        }
    }
}

impl Rounds {
    /// The last read shares the round under way, which began before it came.
    pub(crate) fn share_last(&mut self) {
        if let Some(read) = self.waiting.back_mut() {
            read.round = self.last;
        }
    }
}

impl Compaction {
    /// A checkpoint that takes long is taken for one that hangs.
    pub(crate) fn late_at(&self, patience: Micros) -> Option<Instant> {
        self.running.as_ref().map(|running| running.since.after(patience))
    }
}
