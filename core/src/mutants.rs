//! Planted bugs. Each is a one-line change somewhere in the core behind [`Config::mutant`], which
//! is always false without the `mutants` feature. The simulator must find every one of them.
//!
//! [`Config::mutant`]: crate::config::Config::mutant

/// A planted bug, by the number it has in `docs/simulation.md`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Mutant {
    /// M1: a follower acknowledges entries when it appends them, not when its disk has them.
    AckAtAppend,
}
