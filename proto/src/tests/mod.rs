//! Tests of the whole crate: laws that hold for all values and all bytes, and frozen bytes.

mod frames;
mod golden;
mod laws;
mod refusals;
mod worked_example;

use crate::frame::{self, Frame, Kind};

/// The limit on bodies in tests.
pub(crate) const LIMIT: usize = 1 << 16;

/// The frame that `encode` writes.
pub(crate) fn framed(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

/// The frame at the start of `bytes`, which must be whole and sound.
pub(crate) fn parsed(bytes: &[u8], kind: Kind) -> Frame<'_> {
    frame::parse(bytes, kind, LIMIT).expect("a sound frame").expect("a whole frame")
}
