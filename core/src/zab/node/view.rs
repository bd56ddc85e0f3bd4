//! A node as people, checkers and its replica see it.

use super::Node;
use super::role::Role;
use crate::words::{Epoch, Micros, NodeId, Txid};
use crate::zab::config::Limits;
use crate::zab::history::log::Log;
use crate::zab::membership::quorum::Ensemble;
use crate::zab::status::{Obstacle, RoleStatus, Status};
use alloc::string::String;
use alloc::vec::Vec;

impl Node {
    /// What the node does. The digest is the replica's to add.
    pub fn status(&self) -> Status {
        let s = &self.state;
        let (role, leader_addr) = match &self.role {
            Role::Looking(_) => (RoleStatus::Looking, String::new()),
            Role::Following(following) => (
                RoleStatus::Following { leader: following.leader, serving: following.is_serving() },
                following.leader_addr().into(),
            ),
            Role::Claiming(_) => {
                (RoleStatus::Leading { established: false }, s.cfg.client_addr.clone())
            }
            Role::Reigning(reigning) => (
                RoleStatus::Leading { established: reigning.is_established() },
                s.cfg.client_addr.clone(),
            ),
            Role::Halted => (RoleStatus::Halted, String::new()),
        };
        let followers = match &self.role {
            Role::Claiming(claiming) => claiming.followers(s, self.latest),
            Role::Reigning(reigning) => reigning.followers(s, self.latest),
            Role::Looking(_) | Role::Following(_) | Role::Halted => Vec::new(),
        };
        Status {
            node: s.node(),
            incarnation: s.identity.incarnation,
            role,
            leader_addr,
            accepted: s.accepted(),
            current: s.current,
            round: s.round,
            base: s.log.base().at.txid,
            last: s.log.last().txid,
            durable: s.durable,
            committed: s.commit,
            applied: s.applied,
            digest: crate::words::Digest::ZERO,
            membership: s.ensemble.committed().clone(),
            log_bytes: s.log.bytes(),
            waiting: s.requests.len(),
            longest_turn: Micros::new(0),
            strays: Vec::new(),
            followers,
            obstacles: self.obstacles(),
        }
    }

    /// What keeps this node from serving, or slows it down.
    fn obstacles(&self) -> Vec<Obstacle> {
        /// A disk that takes longer is worth a word.
        const LONG: Micros = Micros::millis(1_000);
        let s = &self.state;
        let role = match &self.role {
            Role::Looking(looking) => looking.obstacle(s),
            Role::Following(following) => following.obstacle(),
            Role::Claiming(claiming) => Some(Obstacle::TakingOver { missing: claiming.missing(s) }),
            Role::Reigning(reigning) => (!reigning.is_established())
                .then(|| Obstacle::TakingOver { missing: reigning.missing(s) }),
            Role::Halted => Some(Obstacle::Halted),
        };
        let limits = [
            (s.disk_short, Obstacle::DiskFull),
            (s.state_full, Obstacle::StateFull),
            (self.is_full() && !s.is_short_of_space(), Obstacle::EnsembleFull),
        ];
        let limits = limits.into_iter().filter_map(|(reached, it)| reached.then_some(it));
        let unflushed = s.ledger.oldest().map(|at| self.latest.since(at));
        let disk = unflushed.filter(|span| *span >= LONG);
        let disk = disk.map(|unflushed| Obstacle::Disk { unflushed });
        role.into_iter().chain(disk).chain(limits).collect()
    }

    /// True while writes that make the state grow are refused: this node has no room for more data,
    /// or too few of the ensemble have.
    pub fn is_full(&self) -> bool {
        let ensemble = match &self.role {
            Role::Reigning(reigning) => reigning.is_full(&self.state),
            Role::Following(following) => following.is_full(),
            Role::Looking(_) | Role::Claiming(_) | Role::Halted => false,
        };
        ensemble || self.state.is_short_of_space()
    }

    /// True while its role lets clients be served.
    pub(crate) fn is_serving(&self) -> bool {
        self.state.serving
    }

    /// The application's state has as many bytes as it may, or has room again.
    pub(crate) fn state_full(&mut self, full: bool) {
        self.state.state_full = full;
    }

    /// True once it has stopped for good.
    pub(crate) fn is_halted(&self) -> bool {
        matches!(self.role, Role::Halted)
    }

    /// Bytes of the writes of this node's clients that are not done.
    pub fn waiting_bytes(&self) -> usize {
        self.state.requests.bytes()
    }

    /// The application's state has so many bytes.
    pub fn weigh(&mut self, bytes: usize) {
        self.state.weight = Some(bytes);
    }

    /// What a step may do.
    pub(crate) fn limits(&self) -> &Limits {
        &self.state.cfg.limits
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.state.node()
    }

    /// The log in memory.
    pub fn log(&self) -> &Log {
        &self.state.log
    }

    /// The memberships that count.
    pub fn ensemble(&self) -> &Ensemble {
        &self.state.ensemble
    }

    /// The last entry applied.
    pub fn applied(&self) -> Txid {
        self.state.applied
    }

    /// The epoch in which this node is the one possible leader: a quorum has promised it.
    pub fn reigns(&self) -> Option<Epoch> {
        match &self.role {
            Role::Reigning(reigning) => Some(reigning.epoch()),
            Role::Looking(_) | Role::Following(_) | Role::Claiming(_) | Role::Halted => None,
        }
    }

    /// True if this node leads and is established.
    pub fn is_established(&self) -> bool {
        matches!(&self.role, Role::Reigning(reigning) if reigning.is_established())
    }

    /// Asserts what must hold of a node at any time. Costs a walk over the log.
    pub fn check(&self) {
        let s = &self.state;
        let last = s.log.last().txid;
        assert!(s.current <= s.accepted(), "{} entered without a promise", s.current);
        assert!(last.epoch() <= s.accepted(), "an entry of an epoch that was not promised");
        assert!(s.durable <= last, "durable {} beyond the log's end {last}", s.durable);
        assert!(s.applied <= s.commit, "applied {} beyond commit {}", s.applied, s.commit);
        assert!(s.commit <= last, "commit {} beyond the log's end {last}", s.commit);
        if !s.is_installing() {
            assert!(s.applied <= s.durable, "applied {} is not durable", s.applied);
            assert!(s.log.position_at(s.applied).is_some(), "{} is not in the log", s.applied);
            assert!(s.checkpointed() <= s.applied, "a checkpoint ahead of what is applied");
            assert!(s.pruned() <= s.checkpointed(), "pruned beyond the checkpoint");
            assert!(s.log.base().at.txid <= s.applied, "forgotten before it was applied");
        }
        s.log.check_ends();
        if self.is_established() {
            assert!(s.serving, "an established leader serves");
        }
    }
}

#[cfg(feature = "mutants")]
impl Node {
    /// True if this bug is planted.
    pub(crate) fn plants(&self, mutant: crate::mutants::Mutant) -> bool {
        self.state.plants(mutant)
    }
}
