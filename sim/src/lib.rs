//! A seeded world for Zabkeeper: the production core under every fault, in virtual time.
//!
//! A run is a function of its [`run::plan::Plan`]; a plan is a function of a seed. One thread, one
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

pub mod callers;
pub mod check;
pub mod cluster;
pub mod explore;
pub mod faults;
pub mod faults_real;
pub mod report;
pub mod run;
pub mod world;

pub use cluster::{CallId, Cluster, Failure, Via};
