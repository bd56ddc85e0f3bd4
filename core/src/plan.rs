//! How a leader brings a follower's log to its own: the table of decisions, as one pure function.

/// How a follower is brought up to date.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SyncKind {
    /// Its log is a prefix of the leader's: the rest follows.
    Diff,
    /// Its log has a tail that the leader does not have: cut, then the rest.
    Trunc,
    /// It ends before the start of the leader's log: the whole state, then the rest.
    Snap,
}
