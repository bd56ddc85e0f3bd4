//! What a node is apart from its role: what is on its disk, what it knows to be committed, and who
//! waits for it. Roles come and go; this stays.

use crate::compaction::Compaction;
use crate::config::Config;
use crate::entry::{Body, Entry, Origin, Position};
use crate::error::{CloseReason, HaltReason};
use crate::event::{Action, Actions, Upcall};
use crate::follower::receiving::Incoming;
use crate::fresh::Fresh;
use crate::ids::{ConnId, Epoch, NodeId, Round, Txid, WriteId};
use crate::ledger::{Duty, Ledger};
use crate::lives::Lives;
use crate::log::{Log, lives as lives_of, membership};
use crate::message::{Candidate, Message, RefuseReason, Rejection, Vote};
use crate::mutants::Mutant;
use crate::note::{LeaveReason, Note};
use crate::quorum::Ensemble;
use crate::requests::Requests;
use crate::rng::Rng;
use crate::standing::Standing;
use crate::storage::{Base, Identity, Keep, Promise, Record};
use crate::time::{Instant, Micros, Now};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// The lasting part of a node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) cfg: Config,
    pub(crate) identity: Identity,
    /// The lives of the disk.
    pub(crate) lives: Lives,
    /// The promise as last issued to the disk.
    pub(crate) promise: Option<Promise>,
    /// `current_epoch` as last issued to the disk.
    pub(crate) current: Epoch,
    pub(crate) log: Log,
    pub(crate) ensemble: Ensemble,
    pub(crate) ledger: Ledger,
    /// The end of the log on disk. Everything told to others uses this, never the end in memory.
    pub(crate) durable: Txid,
    pub(crate) commit: Txid,
    /// What the disk knows to be committed, as last issued.
    noted: Txid,
    /// When the disk will be told of what is committed beyond that, unless entries come along.
    settle_at: Option<Instant>,
    pub(crate) applied: Txid,
    /// Bytes of the log in memory that are applied: they are there for others only.
    applied_bytes: usize,
    /// True while the role lets clients be served.
    pub(crate) serving: bool,
    /// True while a history comes in of which the leader tells what is committed.
    pub(crate) catching_up: bool,
    pub(crate) requests: Requests,
    pub(crate) rng: Rng,
    pub(crate) round: Round,
    /// What this node stands for: what was on its disk when it last began to look for a leader.
    pub(crate) claim: Candidate,
    /// Whose datagrams are their present word.
    pub(crate) fresh: Fresh,
    /// What failed attempts taught.
    pub(crate) standing: Standing,
    /// Who said by TCP that this node does not belong to them, and what they said.
    pub(crate) denied: BTreeMap<NodeId, Rejection>,
    /// A leader chooses its next epoch above this: a locked-out voter has promised so much.
    pub(crate) epoch_floor: Epoch,
    /// When an established leader last gave up to readmit a voter that promised more.
    readmitted: Option<Instant>,
    /// A snapshot whose installation is issued and not yet durable.
    installing: Option<(WriteId, Position)>,
    /// A snapshot that has arrived in part, over a connection that broke.
    pub(crate) parked: Option<Incoming>,
    /// Numbers the snapshots staged in this life.
    pub(crate) stages: u64,
    pub(crate) compaction: Compaction,
    /// True while the disk has less free space than it should have.
    pub(crate) disk_short: bool,
    /// True while the application's state has as many bytes as it may.
    pub(crate) state_full: bool,
    /// Bytes of the application's state when it was last stored, if it was.
    pub(crate) weight: Option<usize>,
    /// Inbound connections that have not said who they are, with when they came.
    pub(crate) strangers: BTreeMap<ConnId, Instant>,
}

/// What a follower that is being fed wants to be kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Pin {
    /// Entries after this.
    pub(crate) at: Txid,
    /// Bytes of log that it is worth: as many as it was given since it was last up to date. While
    /// that is more than the log grows by, it will get there; when it is less, it may never.
    pub(crate) worth: usize,
}

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
    /// Leading, as the election of this node's round ended.
    Lead,
    /// Following this vote's leader.
    Follow(Box<Vote>),
    /// Nothing any more.
    Halt(HaltReason),
}

impl State {
    pub(crate) fn new(
        cfg: Config,
        identity: Identity,
        (promise, current): (Option<Promise>, Epoch),
        log: Log,
        lives: Lives,
        (applied, committed): (Txid, Txid),
        seed: u64,
    ) -> Self {
        let commit = applied.max(committed);
        let mut ensemble = Ensemble::new(log.membership_at(commit));
        #[cfg(feature = "mutants")]
        {
            ensemble.half = cfg.mutant(Mutant::HalfIsQuorum);
        }
        let remembers = !cfg.mutant(Mutant::ForgetPending);
        let mut before = commit;
        for entry in log.after(commit) {
            if let Some(membership) = membership(entry).filter(|_| remembers) {
                ensemble.log(membership.clone(), before);
            }
            if let Some(lives) = lives_of(entry) {
                ensemble.record(entry.txid, lives);
            }
            before = entry.txid;
        }
        let rng = Rng::new(seed);
        let start = log.base().at.txid;
        let applied_bytes = log.iter().take_while(|it| it.txid <= applied).map(Entry::size).sum();
        let last = log.last().txid;
        Self {
            promise,
            current,
            durable: last,
            log,
            ensemble,
            ledger: Ledger::default(),
            commit,
            applied,
            applied_bytes,
            serving: false,
            catching_up: false,
            requests: Requests::new(rng.split(1).next_u64()),
            stages: rng.split(2).next_u64(),
            rng: rng.split(3),
            round: Round::default(),
            claim: Candidate { epoch: current, txid: last, node: identity.node },
            fresh: Fresh::new(&cfg, rng.split(4)),
            standing: Standing::default(),
            denied: BTreeMap::new(),
            epoch_floor: Epoch::ZERO,
            readmitted: None,
            installing: None,
            parked: None,
            compaction: Compaction::new(applied, start, identity.incarnation),
            disk_short: false,
            state_full: false,
            weight: None,
            strangers: BTreeMap::new(),
            noted: committed,
            settle_at: None,
            lives,
            cfg,
            identity,
        }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.identity.node
    }

    #[cfg(feature = "explore")]
    pub(crate) fn rebase(&mut self, rebase: crate::rebase::Rebase) {
        self.rng = Rng::new(0);
        self.fresh.rebase();
        self.standing.rebase(rebase);
        self.ledger.rebase(rebase);
        self.requests.rebase(rebase);
        if let Some((id, _)) = &mut self.installing {
            rebase.write(id);
        }
        self.compaction.rebase(rebase);
        let kept = self.readmitted.iter_mut().chain(&mut self.settle_at);
        kept.chain(self.strangers.values_mut()).for_each(|at| rebase.instant(at));
    }

    /// `accepted_epoch`.
    pub(crate) fn accepted(&self) -> Epoch {
        self.promise.map_or(Epoch::ZERO, |promise| promise.epoch)
    }

    /// An established leader may give up to readmit a voter, but not again and again.
    pub(crate) fn may_readmit(&mut self, now: Instant) -> bool {
        let may = self.rest_of_readmission(now) == Micros::default();
        if may {
            self.readmitted = Some(now);
        }
        may
    }

    /// What is committed, to be written to the disk now.
    fn noting(&mut self) -> Txid {
        if self.cfg.mutant(Mutant::ForgetActivation) {
            return Txid::ZERO;
        }
        self.noted = self.commit;
        self.commit
    }

    /// When the disk is to be told what is committed.
    pub(crate) fn settle_at(&self) -> Option<Instant> {
        self.settle_at
    }

    /// How long a locked-out voter has to wait until an established leader gives up for it.
    pub(crate) fn rest_of_readmission(&self, now: Instant) -> Micros {
        const REST: u64 = 10;
        let rest = Micros::new(self.cfg.timeouts.init.get().saturating_mul(REST));
        self.readmitted.map_or(Micros::default(), |at| at.after(rest).since(now))
    }

    /// True while a snapshot is on its way to the disk as the new start of the log.
    pub(crate) fn is_installing(&self) -> bool {
        self.installing.is_some()
    }

    /// What is known to be durable in the state store.
    pub(crate) fn checkpointed(&self) -> Txid {
        self.compaction.durable
    }

    /// Where the log on disk starts.
    pub(crate) fn pruned(&self) -> Txid {
        self.compaction.start
    }

    /// True if no more requests of clients may wait.
    pub(crate) fn is_full(&self) -> bool {
        self.requests.len() >= self.cfg.limits.pending_requests
    }

    /// Why a local read cannot wait here until this is applied, if so. Nothing of an epoch that
    /// this node has not heard of will come soon: whoever saw it should ask the node where it did.
    /// Of the places for requests, those who wait for the future get a small share.
    pub(crate) fn cannot_await(&self, index: Txid) -> Option<RefuseReason> {
        const SHARE: usize = 16;
        let places = (self.cfg.limits.pending_requests / SHARE).max(1);
        if index.epoch() > self.accepted() {
            Some(RefuseReason::NoLeader)
        } else if self.is_full() || self.requests.awaits() >= places {
            Some(RefuseReason::Busy)
        } else {
            None
        }
    }

    /// When the node halts for its state store, unless that makes something durable before: it has
    /// not for longer than any disk needs, and the log on disk, which cannot be pruned before a
    /// checkpoint is done, is over its limit. The node can neither lead nor follow for long.
    pub(crate) fn choked_at(&self) -> Option<Instant> {
        let patience = Micros::new(self.cfg.timeouts.disk.get().saturating_mul(2));
        let by_time = self.cfg.mutant(Mutant::HaltByTime);
        self.compaction
            .hangs_at(patience, by_time)
            .filter(|_| self.compaction.room(self.log_limit()) == 0)
    }

    /// When the journal's disk counts as hung, unless it completes something before: so long it has
    /// not, though something waits. A disk that is only slow completes one write after the other.
    pub(crate) fn disk_hangs_at(&self) -> Option<Instant> {
        self.ledger.stands_since().map(|at| at.after(self.cfg.timeouts.disk))
    }

    /// True if the journal's disk hangs.
    pub(crate) fn disk_hangs(&self, now: Instant) -> bool {
        self.disk_hangs_at().is_some_and(|at| at <= now)
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
        let pin = pin.filter(|_| !self.cfg.mutant(Mutant::KeepNothing));
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
        let planted = [Mutant::OldDiskCounts, Mutant::WipedNodeCounts];
        newest || planted.into_iter().any(|mutant| self.s.cfg.mutant(mutant))
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

    /// Gives up what has arrived of a snapshot: nobody will go on with it.
    pub(crate) fn drop_parked(&mut self) {
        if let Some(parked) = self.s.parked.take() {
            parked.drop(self);
        }
    }

    /// Gives up what has arrived of a snapshot once nobody has gone on with it for long.
    pub(crate) fn drop_old_parked(&mut self) {
        let patience = self.s.cfg.timeouts.patience();
        let old = |parked: &Incoming| self.now.at >= parked.since.after(patience);
        if self.s.parked.as_ref().is_some_and(old) {
            self.drop_parked();
        }
    }

    /// What has arrived of a snapshot goes on being stored while nobody goes on sending it.
    pub(crate) fn parked_staged(&mut self, stage: u64, parts: u64) {
        if let Some(parked) = &mut self.s.parked {
            parked.take_in(stage, parts);
        }
    }

    /// Replaces the log by a sealed snapshot that reaches beyond it.
    pub(crate) fn install(&mut self, base: Base, stage: u64, digest: crate::digest::Digest) {
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
        let all = self.s.cfg.mutant(Mutant::CompletionCoversAll);
        let upto_all = if all { self.s.ledger.issued() } else { upto };
        self.s.ledger.complete(upto_all, self.now.at);
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
        let upto = if self.s.cfg.mutant(Mutant::ApplyBeforeDurable) {
            self.s.commit
        } else {
            self.s.commit.min(self.s.durable)
        };
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

    fn checkpoint_if_due(&mut self) {
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
        let unsaved = self.s.cfg.mutant(Mutant::PruneUnsaved);
        let Compaction { durable, start, .. } = self.s.compaction;
        let memory = self.s.log.base();
        let base = match saved {
            _ if memory.at.txid <= durable || unsaved => memory.clone(),
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
    pub(crate) fn forget(&mut self, pin: impl FnOnce() -> Option<Pin>) -> bool {
        let limits = &self.s.cfg.limits;
        let (mut bytes, mut entries) = (self.s.log.bytes(), self.s.log.len());
        if bytes <= limits.retain_bytes / 8 * 9 && entries <= limits.retain_entries / 8 * 9 {
            return false;
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
        let moves = to.txid > self.s.log.base().at.txid;
        if moves {
            let before = self.s.log.bytes();
            self.s.log.prune(to);
            self.s.applied_bytes -= before - self.s.log.bytes();
        }
        moves
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
}
