//! A seeded world for Zabkeeper: the production core under every fault, in virtual time.
//!
//! A run is a function of its [`plan::Plan`]; a plan is a function of a seed. One thread, one
//! queue, no clock, no unordered map: the same seed gives the same run, down to its hash.

pub mod app;
pub mod check;
pub mod clients;
pub mod codec;
pub mod dice;
pub mod disk;
pub mod faults;
pub mod host;
pub mod liveness;
pub mod mutants;
pub mod net;
pub mod options;
pub mod plan;
pub mod queue;
pub mod run;
pub mod show;
pub mod shrink;
pub mod sweep;
pub mod trace;
pub mod world;
