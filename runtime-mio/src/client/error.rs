//! How a request can fail, told apart by what the caller may conclude.

use std::fmt;
use std::time::Duration;
use zabkeeper_core::store::{CommandError, MAX_VALUE_BYTES};
use zabkeeper_core::words::RefuseReason;

/// Why a request has no good answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The options are wrong; nothing was sent.
    Options(String),
    /// The value has more bytes than any node takes; nothing was sent.
    TooLarge {
        /// So many, or at least so many.
        bytes: u64,
    },
    /// The command was decided, and had no effect for this reason.
    Rejected(CommandError),
    /// Certainly not done: a node refused it, and kept to that until the time was up.
    Refused(RefuseReason),
    /// Certainly not done: no node could be reached.
    Unreachable(Tried),
    /// Certainly not done: no node took it in this time. For a read: none answered.
    Timeout(Duration, Tried),
    /// Sent, but no answer came, or only that nobody knows. It may have been done, or be done
    /// later. It is never sent again by itself.
    Unknown,
    /// The node and this client do not understand each other.
    Invalid(String),
}

/// Endpoints that failed, with the last reason of each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tried(pub Vec<(String, String)>);

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (endpoint, why)) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{endpoint}: {why}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(what) => f.write_str(what),
            Self::TooLarge { bytes } => write!(
                f,
                "value too large: {bytes} bytes, limit {MAX_VALUE_BYTES}; store large values \
                 elsewhere, and here where they are"
            ),
            Self::Rejected(why) => write!(f, "{why}"),
            Self::Refused(why) => write!(f, "certainly not done: {}", refused(*why)),
            Self::Unreachable(tried) => write!(
                f,
                "certainly not done: no node could be reached ({tried}); start the nodes, or \
                 name the right ones with --endpoints; `zabkeeper dev` starts some to try"
            ),
            Self::Timeout(after, tried) => {
                write!(f, "certainly not done: no answer within {after:?}")?;
                if !tried.0.is_empty() {
                    write!(f, " ({tried})")?;
                }
                write!(f, "; see `zabkeeper status`, or allow more time")
            }
            Self::Unknown => write!(
                f,
                "unknown: it was sent and no answer came; it may have been done, or be done \
                 later; read the key before you try again"
            ),
            Self::Invalid(why) => write!(
                f,
                "the node and this client do not understand each other: {why}; check that the \
                 address is that of a node's RequestAddr, and the versions of both"
            ),
        }
    }
}

pub(super) fn refused(why: RefuseReason) -> &'static str {
    match why {
        RefuseReason::NoLeader => {
            "there is no leader with a majority; `zabkeeper status` says whom the nodes wait for: \
             start those, or correct their addresses"
        }
        RefuseReason::Busy => "too many requests are waiting; try again later, or send fewer",
        RefuseReason::TooLarge => {
            "value too large: more bytes than Limits.ValueBytes of the ensemble allows"
        }
        RefuseReason::Stopping => "the node is stopping; try another one",
        RefuseReason::Full => "the node has as many clients as it may; try another one, or later",
        RefuseReason::NoSpace => {
            "there is no room for more data: delete some. `zabkeeper status` says whether a disk is short \
             of space or Limits.TreeBytes is reached"
        }
        RefuseReason::TimedOut => "the time was up before a node took it; allow more time",
    }
}

impl std::error::Error for ClientError {}
