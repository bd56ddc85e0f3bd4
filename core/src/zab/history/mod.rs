//! The history that nodes agree on: its entries, as much of it as is in memory, what the disk is
//! asked to keep of it, and what recovery makes of that.

pub(super) mod entry;
pub(super) mod folded;
#[cfg(test)]
mod folded_tests;
pub(super) mod log;
pub(super) mod storage;
