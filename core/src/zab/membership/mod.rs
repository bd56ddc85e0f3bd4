//! Who votes, how many are a quorum, and which disk is a voter's.

pub(super) mod lives;
pub(super) mod quorum;
