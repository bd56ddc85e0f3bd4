//! Targets for fuzzing, as plain functions: bytes in, a panic if anything is wrong. They are driven
//! by three things: the test that replays the corpus, the mutator of this package (`mutate`, stable
//! Rust, bounded in time), and `cargo fuzz`.
//!
//! What a decoder accepts must survive being encoded and decoded again. Where a checksum would keep
//! mutated bytes from ever being looked at, the first byte of the input chooses whether the target
//! puts the right checksum in front of the rest.

pub mod change;
pub mod corpus;
mod events;
mod input;
pub mod targets;
