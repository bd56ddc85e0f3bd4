//! For tests and searches only.

#[cfg(feature = "mutants")]
mod planted;
#[cfg(feature = "explore")]
pub(super) mod rebase;
