//! How much is kept, and for whom: room for what comes in, checkpoints of the application's state,
//! and the log that they make superfluous.

use crate::words::{Instant, Micros, Txid};
use crate::zab::compaction::Compaction;
use crate::zab::cx::Cx;
use crate::zab::event::{Action, Upcall};
use crate::zab::history::storage::{Base, Keep, Record};
use crate::zab::note::Note;
use crate::zab::state::{Pin, State};

impl State {
    /// What is known to be durable in the state store.
    pub(crate) fn checkpointed(&self) -> Txid {
        self.compaction.durable
    }

    /// Where the log on disk starts.
    pub(crate) fn pruned(&self) -> Txid {
        self.compaction.start
    }

    /// When the node halts for its state store, unless that makes something durable before: it has
    /// not for longer than any disk needs, and the log on disk, which cannot be pruned before a
    /// checkpoint is done, is over its limit. The node can neither lead nor follow for long.
    pub(crate) fn choked_at(&self) -> Option<Instant> {
        let patience = Micros::new(self.cfg.timeouts.disk.get().saturating_mul(2));
        let hangs_at = self.compaction.hangs_at(patience);
        planted!(self, HaltByTime: hangs_at = self.compaction.late_at(patience));
        hangs_at.filter(|_| self.compaction.room(self.log_limit()) == 0)
    }

    /// True if this node has no room for more data.
    pub(crate) fn is_short_of_space(&self) -> bool {
        self.disk_short || self.state_full
    }

    /// How many bytes of entries this node can take in before it has caught up with what it has: its
    /// journal and its application with what is logged, its state store with what is applied.
    pub(crate) fn room(&self) -> usize {
        let limit = self.log_limit();
        self.compaction.room(limit).min(limit / 4).saturating_sub(self.backlog())
    }

    /// True if no more of a history should come in before the state store has caught up with what
    /// is applied of it. Then a checkpoint is being written, so that this ends.
    pub(crate) fn is_behind(&self) -> bool {
        self.compaction.room(self.log_limit()) == 0
    }

    /// Bytes of the entries that are logged and not applied.
    fn backlog(&self) -> usize {
        self.log.bytes() - self.applied_bytes
    }

    /// The same for the leader to be told, or `None` while there is plenty.
    pub(crate) fn short_of_room(&self) -> Option<u64> {
        let room = self.compaction.room(self.log_limit()).saturating_sub(self.backlog());
        (room < self.log_limit() / 4).then_some(room as u64)
    }

    /// Bytes of log that are too many, in memory and, without a checkpoint, on disk.
    fn log_limit(&self) -> usize {
        let limits = &self.cfg.limits;
        limits.retain_bytes.max(limits.checkpoint_bytes).saturating_mul(4)
    }

    /// What the disk is to keep of the log before its start, if the size of the state is known: for
    /// a follower that is being fed all that it lacks, within a limit, or as long as it gets on and the
    /// whole state is more; for those that are away a share of the state, beyond which sending that is
    /// less.
    fn keep(&self, pin: Option<Pin>) -> Option<Keep> {
        const SHARE: usize = 3;
        let limits = &self.cfg.limits;
        let weight = self.weight?;
        let share = (weight / SHARE).max(limits.checkpoint_bytes).min(limits.journal_bytes);
        planted!(self, KeepNothing: pin = None);
        let worth = pin.map_or(0, |pin| pin.worth.min(weight));
        let most = limits.journal_bytes.max(self.log_limit() / 2).max(worth);
        Some(Keep { after: pin.map(|pin| pin.at), most: most as u64, bytes: share as u64 })
    }

    /// Bytes of log at which a follower that is being fed no longer holds back what is forgotten in
    /// memory: what it lacks then is read from the disk.
    fn pin_limit(&self) -> usize {
        self.cfg.limits.retain_bytes.saturating_mul(4)
    }
}

impl Cx<'_> {
    pub(crate) fn checkpoint_if_due(&mut self) {
        if !self.s.compaction.is_due(&self.s.cfg.limits) {
            return;
        }
        let at = self.s.log.position_at(self.s.applied).expect("applied is in the log");
        let base = Base { at, membership: self.s.log.membership_at(at.txid) };
        self.s.compaction.begin(base, self.now.at, self.s.identity.incarnation);
        self.out.call(Upcall::Checkpoint(at));
    }

    /// The state store holds everything up to here.
    pub(crate) fn checkpointed(&mut self, upto: Txid, pin: Option<Pin>) {
        let base = self.s.compaction.finish(self.now.at);
        if upto < self.s.compaction.start || self.s.installing.is_some() {
            return; // A checkpoint of before the last snapshot.
        }
        self.s.compaction.durable = self.s.compaction.durable.max(upto);
        self.prune(base, pin);
        self.checkpoint_if_due();
    }

    /// Lets the log on disk start as late as the state store allows, but not after the log in memory.
    /// `saved` is the checkpoint just finished. What is before the start is no longer of use to this
    /// node; `pin` is what a follower wants of it.
    pub(crate) fn prune(&mut self, saved: Option<Base>, pin: Option<Pin>) {
        let Compaction { durable, start, .. } = self.s.compaction;
        let memory = self.s.log.base();
        let in_memory = planted!(self, PruneUnsaved, memory.at.txid <= durable => true);
        let base = match saved {
            _ if in_memory => memory.clone(),
            Some(saved) if saved.at.txid <= durable => saved,
            _ => return,
        };
        if base.at.txid > start {
            self.s.compaction.start = base.at.txid;
            self.note(Note::Pruned(base.at.txid));
            if let Some(keep) = self.s.keep(pin) {
                self.out.push(Action::KeepLog(keep));
            }
            self.persist(Record::Prune(base));
        }
    }

    /// Forgets the oldest entries in memory once they are well beyond what is kept for followers:
    /// nothing that is not applied, and nothing from a pin on, which a follower is being fed from,
    /// unless that holds back too much: the disk has it, too.
    pub(crate) fn forget(&mut self, pin: impl FnOnce() -> Option<Pin>) {
        let limits = &self.s.cfg.limits;
        let (mut bytes, mut entries) = (self.s.log.bytes(), self.s.log.len());
        if bytes <= limits.retain_bytes / 8 * 9 && entries <= limits.retain_entries / 8 * 9 {
            return;
        }
        let pin = pin().filter(|_| bytes <= self.s.pin_limit());
        let limit = pin.map_or(self.s.applied, |pin| pin.at).min(self.s.applied);
        let mut to = self.s.log.base().at;
        for entry in self.s.log.iter() {
            let enough = bytes <= limits.retain_bytes && entries <= limits.retain_entries;
            if enough || entry.txid > limit {
                break;
            }
            bytes -= entry.size();
            entries -= 1;
            to = entry.position();
        }
        if to.txid > self.s.log.base().at.txid {
            let before = self.s.log.bytes();
            self.s.log.prune(to);
            self.s.applied_bytes -= before - self.s.log.bytes();
        }
    }
}
