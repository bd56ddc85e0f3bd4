//! What must hold after every event, one file a property or a few close ones. Names and numbers
//! are those of the protocol's list of invariants in `docs/simulation.md`.

pub mod bounds;
pub mod client;
pub mod durability;
pub mod epochs;
pub mod linear;
pub mod liveness;
pub mod order;
pub mod progress;
pub mod quorum;
pub mod rounds;

use crate::world::host::Host;
use std::fmt;
use zabkeeper_core::words::NodeId;
use zabkeeper_core::zab::{Message, Note, Record, RoleStatus, Status, Vote};

/// Something that must never happen did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The invariant's name and number.
    pub invariant: &'static str,
    /// What happened, in words.
    pub what: String,
}

impl Violation {
    /// A violation of `invariant`.
    pub fn new(invariant: &'static str, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// The outcome of a check.
pub type Check = Result<(), Violation>;

/// Fails with a [`Violation`] unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $invariant:expr, $($words:tt)*) => {
        if !$condition {
            return Err($crate::check::Violation::new($invariant, format!($($words)*)));
        }
    };
}
pub(crate) use ensure;

/// True if a node answers clients.
pub fn serves(status: &Status) -> bool {
    match status.role {
        RoleStatus::Following { serving, .. } => serving,
        RoleStatus::Leading { established } => established,
        RoleStatus::Looking | RoleStatus::Halted => false,
    }
}

/// The history of a run as the checkers keep it.
#[derive(Debug, Default)]
pub struct Checks {
    /// What was proposed and committed.
    pub order: order::Order,
    /// Who reigned.
    pub epochs: epochs::Epochs,
    /// What was told.
    pub durability: durability::Durability,
    /// How far each process came.
    pub progress: progress::Progress,
    /// What linearizable reads rest on.
    pub rounds: rounds::Rounds,
}

impl Checks {
    /// A process issued a record; `host.issued` does not contain it yet.
    pub fn issued(&mut self, host: &Host, record: &Record) -> Check {
        progress::cut_safe(host, record, &self.order)?;
        // Who promised itself an epoch and lost power may enter it as the follower of another.
        let claims = host.issued.promise.is_some_and(|promise| promise.leader == host.id);
        let role = host.process.as_ref().map(|process| &process.status.role);
        let leads = claims && matches!(role, Some(RoleStatus::Leading { .. }));
        if let (Record::Enter(epoch), true) = (record, leads) {
            self.epochs.begins(host, *epoch)?;
        }
        if let Record::Append { entries, .. } = record {
            for entry in entries {
                self.epochs.entry_has_reign(host.id, entry)?;
                self.order.proposed(host.id, entry)?;
            }
        }
        Ok(())
    }

    /// A process told of a transition.
    pub fn noted(&mut self, hosts: &[Host], node: NodeId, note: &Note) -> Check {
        if let Note::Established { epoch, last } = note {
            self.epochs.established(hosts, node, *epoch, *last, &self.order)?;
        }
        if let Note::Elected { leader, round } = note {
            self.epochs.elected(hosts, node, *leader, *round)?;
        }
        if let Note::PeerFault { fault, .. } = note {
            ensure!(false, "no peer breaks the protocol", "{node} complains of {fault:?}");
        }
        Ok(())
    }

    /// A process ended a step; `host.issued` contains what it issued in it.
    pub fn stepped(&mut self, hosts: &[Host], host: &Host, status: &Status) -> Check {
        ensure!(
            !(host.wiped && serves(status)),
            "LostDiskCounts (32)",
            "{} serves with a disk that is not the one that acknowledged",
            host.id
        );
        let before = self.order.committed().txid;
        self.order.extend(host, status)?;
        if self.order.committed().txid > before {
            quorum::commit_has_quorum(hosts, &self.order, before)?;
            quorum::committed_never_lost(hosts, &self.order)?;
        }
        self.progress.stepped(host, status)?;
        self.order.digest(host.id, status)?;
        bounds::within(host, status)
    }

    /// A disk changed: a flush ended, or a machine came back after a crash.
    pub fn disk_changed(&mut self, hosts: &[Host], host: &Host) -> Check {
        self.epochs.disk_changed(host)?;
        self.durability.still_there(host, &self.order)?;
        quorum::committed_never_lost(hosts, &self.order)
    }

    /// A machine came back with an empty disk: what it told before was told by another.
    pub fn wiped(&mut self, node: NodeId) {
        self.epochs.wiped(node);
        self.durability.wiped(node);
    }

    /// A process starts.
    pub fn started(&mut self, host: &Host, status: &Status) -> Check {
        self.progress.started(host, status)
    }

    /// A process sends a message to a peer.
    pub fn sent(&mut self, host: &Host, to: NodeId, msg: &Message) -> Check {
        self.epochs.sent(host, to, msg)?;
        self.durability.sent(host, to, msg, &self.order)
    }

    /// A process sends a vote.
    pub fn voted(&mut self, host: &Host, vote: &Vote) -> Check {
        self.epochs.voted(vote);
        durability::vote_is_durable(host, vote)
    }
}
