//! What a client may ask for, and how it is refused.

use crate::words::ids::Txid;

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReadLevel {
    /// It sees every write acknowledged before it was asked, whoever wrote. Needs a quorum.
    Linearizable,
    /// The asked node's own state, never uncommitted, perhaps old; but at least as new as this,
    /// the newest that the client has seen.
    Local(Txid),
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
}
