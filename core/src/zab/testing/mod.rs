//! For tests and searches only.

#[cfg(feature = "explore")]
pub(super) mod rebase;
