//! The journal against a disk that loses, tears and rots.

mod forgetful;
mod journal;
mod random;
