//! How fresh a read must be, and how a request ends.

use crate::words::ids::Txid;
use alloc::string::String;

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReadLevel {
    /// It sees every write acknowledged before it was asked, whoever wrote. Needs a quorum.
    Linearizable,
    /// The asked node's own state, never uncommitted, perhaps old; but at least as new as this,
    /// the newest that the client has seen.
    Local(Txid),
}

/// What a caller asks for, as a client needs to know it.
pub trait Operation: Clone {
    /// True if asking twice may do it twice.
    fn is_write(&self) -> bool;

    /// It must see a state at least as new as this, if it reads.
    fn see(&mut self, seen: Txid);
}

/// Why a request was certainly not done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RefuseReason {
    /// No leader with a quorum was found in the time the request had.
    NoLeader,
    /// Too much is waiting already.
    Busy,
    /// Larger than the limit.
    TooLarge,
    /// The node does not serve: it halts or stops.
    Stopping,
    /// This node has as many clients as it may: another one may take it.
    Full,
    /// There is no room for more data: what makes it grow is refused, what deletes is not.
    NoSpace,
    /// The time was up before a node took it; for a read, before one answered.
    TimedOut,
}

/// How a request ends. Every request ends exactly once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum End<T> {
    /// It was done.
    Done {
        /// The entry that did it, or the last one that a read saw.
        txid: Txid,
        /// What came of it.
        answer: T,
    },
    /// Certainly not done, and never will be.
    Refused(RefuseReason),
    /// The request makes no sense, for this reason. Certainly not done.
    Invalid(String),
    /// Perhaps done, perhaps not, perhaps later.
    Unknown,
}

impl<T> End<T> {
    /// What a client has seen by it: nothing, unless it was done.
    pub const fn seen(&self) -> Txid {
        match self {
            Self::Done { txid, .. } => *txid,
            Self::Refused(_) | Self::Invalid(_) | Self::Unknown => Txid::ZERO,
        }
    }
}
