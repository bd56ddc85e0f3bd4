//! What a node is to the others.

use crate::words::{ConnId, Instant};
use crate::zab::roles::following::Following;
use crate::zab::roles::leading::{Claiming, Reigning};
use crate::zab::roles::looking::Looking;
use crate::zab::state::{Pin, State};

/// A role. Each owns what it needs; leaving it drops everything.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Role {
    /// It has no leader.
    Looking(Looking),
    /// It follows a leader, or tries to.
    Following(Following),
    /// It was elected, and a quorum is yet to promise it an epoch.
    Claiming(Claiming),
    /// It alone can lead its epoch.
    Reigning(Reigning),
    /// It has stopped for good.
    Halted,
}

impl Role {
    /// When it next has something to do by itself.
    pub(super) fn deadline(&self, s: &State) -> Option<Instant> {
        match self {
            Self::Looking(looking) => looking.deadline(s),
            Self::Following(following) => following.deadline(s),
            Self::Claiming(claiming) => Some(claiming.deadline(s)),
            Self::Reigning(reigning) => Some(reigning.deadline()),
            Self::Halted => None,
        }
    }

    /// True if writes of followers' clients wait for their turn.
    pub(super) fn holds_writes(&self) -> bool {
        match self {
            Self::Reigning(reigning) => reigning.holds_writes(),
            Self::Looking(_) | Self::Following(_) | Self::Claiming(_) | Self::Halted => false,
        }
    }

    /// What is needed of the log for those that are being fed.
    pub(super) fn pin(&self) -> Option<Pin> {
        match self {
            Self::Reigning(reigning) => reigning.pin(),
            Self::Looking(_) | Self::Following(_) | Self::Claiming(_) | Self::Halted => None,
        }
    }

    /// True if this connection is the role's.
    pub(super) fn holds(&self, conn: ConnId) -> bool {
        match self {
            Self::Looking(looking) => looking.asks(conn) || looking.early.contains_key(&conn),
            Self::Following(following) => following.holds(conn),
            Self::Claiming(claiming) => claiming.holds(conn),
            Self::Reigning(reigning) => reigning.holds(conn),
            Self::Halted => false,
        }
    }
}
