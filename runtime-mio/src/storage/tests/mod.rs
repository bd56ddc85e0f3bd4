//! The journal against a disk that loses, tears and rots; the stored state beside a model.

mod fold;
mod forgetful;
mod journal;
mod past;
mod random;
mod state;
