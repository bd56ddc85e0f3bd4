//! What a node is apart from its role: what is on its disk, what it knows to be committed, and who
//! waits for it. Roles come and go; this stays.

use crate::words::{
    ConnId, Epoch, Instant, Micros, NodeId, RefuseReason, Rng, Round, Txid, WriteId,
};
use crate::zab::compaction::Compaction;
use crate::zab::config::Config;
use crate::zab::fresh::Fresh;
use crate::zab::history::entry::{Entry, Position};
use crate::zab::history::log::{Log, lives as lives_of, membership};
use crate::zab::history::storage::{Identity, Promise};
use crate::zab::ledger::Ledger;
use crate::zab::membership::lives::Lives;
use crate::zab::membership::quorum::Ensemble;
use crate::zab::message::{Candidate, Rejection};
use crate::zab::requests::Requests;
use crate::zab::roles::following::incoming::Incoming;
use crate::zab::standing::Standing;
use alloc::collections::BTreeMap;

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
    pub(crate) noted: Txid,
    /// When the disk will be told of what is committed beyond that, unless entries come along.
    pub(crate) settle_at: Option<Instant>,
    pub(crate) applied: Txid,
    /// Bytes of the log in memory that are applied: they are there for others only.
    pub(crate) applied_bytes: usize,
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
    pub(crate) installing: Option<(WriteId, Position)>,
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
        let mut before = commit;
        for entry in log.after(commit) {
            if let Some(membership) = planted!(cfg, ForgetPending, membership(entry) => None) {
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
    pub(crate) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase) {
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
    pub(crate) fn noting(&mut self) -> Txid {
        planted!(self, ForgetActivation => return Txid::ZERO);
        self.noted = self.commit;
        self.commit
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

    /// True if the nodes for whom `has` holds are a quorum.
    pub(crate) fn is_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        planted!(self, HalfIsQuorum => return self.ensemble.is_half(has));
        self.ensemble.is_quorum(has)
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

    /// This node slept for so long: that is no time in which its disk did not get on.
    pub(crate) fn slept(&mut self, span: Micros) {
        self.ledger.slept(span);
        self.compaction.slept(span);
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
}
