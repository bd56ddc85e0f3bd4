//! A seeded world for Zabkeeper: the production core under every fault, in virtual time.
//!
//! A run is a function of its [`plan::Plan`]; a plan is a function of a seed. One thread, one
//! queue, no clock, no unordered map: the same seed gives the same run, down to its hash.
//!
//! There are two ways in. The program `zabkeeper-sim` draws plans from seeds, runs them by the
//! thousand, and shrinks what fails. And [`Cluster`] is a whole ensemble inside a unit test, in
//! virtual time: no ports, no threads, no waiting.
//!
//! ```
//! use std::time::Duration;
//! use zabkeeper_sim::Cluster;
//!
//! let mut cluster = Cluster::new(3, 7);
//! let leader = cluster.wait_for_leader(Duration::from_secs(5)).expect("an election");
//! cluster.set(leader, "jobs/next", b"42").expect("a quorum is up");
//!
//! // Thirty seconds of fail-over take a millisecond.
//! cluster.crash(leader);
//! let other = cluster.wait_for_leader(Duration::from_secs(30)).expect("a new leader");
//! assert_ne!(other, leader);
//! assert_eq!(cluster.get(other, "jobs/next").expect("served"), Some(b"42".to_vec()));
//! ```

pub mod app;
mod calls;
pub mod check;
pub mod clients;
mod climate;
pub mod cluster;
pub mod codec;
pub mod dice;
pub mod disk;
pub mod doors;
pub mod explore;
pub mod faults;
pub mod faults_real;
mod floods;
mod flush;
pub mod hashes;
pub mod host;
pub mod lane;
pub mod liveness;
pub mod mutants;
pub mod net;
pub mod options;
pub mod overheard;
pub mod past;
pub mod pipe;
pub mod plan;
pub mod progress;
pub mod queue;
pub mod reading;
pub mod run;
pub mod sessions;
pub mod show;
pub mod shrink;
pub mod size;
mod step;
pub mod sweep;
pub mod timeline;
pub mod trace;
mod turn;
pub mod view;
pub mod wide;
pub mod world;

pub use cluster::{CallId, Cluster, Failure, Level, Via};
