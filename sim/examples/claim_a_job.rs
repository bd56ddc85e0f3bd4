//! A test of one's own program against a simulated ensemble. The program: workers claim a job by
//! adding a key, and whoever adds it has the job. The question: can two workers have it, whatever
//! crashes?
//!
//! Run it with `cargo run --release -p zabkeeper-sim --example claim_a_job`.

use std::time::Duration;
use zabkeeper_sim::{Cluster, Failure, Via};

/// How a worker's claim ended.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Claim {
    Mine,
    Taken,
    /// It must look: the key says whose the job is.
    Unknown,
}

fn claim(cluster: &mut Cluster, worker: u8) -> Claim {
    match cluster.add(Via::Any, "jobs/1", &[worker]) {
        Ok(_) => Claim::Mine,
        Err(Failure::Rejected(_)) => Claim::Taken,
        Err(_) => Claim::Unknown,
    }
}

/// One story: two workers, and a leader that goes down at some moment of the first claim.
fn story(seed: u64) -> (Claim, Claim, Option<Vec<u8>>) {
    let mut cluster = Cluster::new(3, seed);
    let leader = cluster.wait_for_leader(Duration::from_secs(10)).expect("an election");
    cluster.set_patience(Duration::from_millis(200));
    let first = cluster.begin_add(leader, "jobs/1", &[1]);
    cluster.advance(Duration::from_micros(100 * (seed % 20)));
    cluster.crash(leader);
    cluster.advance(Duration::from_secs(2));
    let first = match cluster.outcome(first) {
        Some(Ok(_)) => Claim::Mine,
        Some(Err(Failure::Rejected(_))) => Claim::Taken,
        _ => Claim::Unknown,
    };
    cluster.set_patience(Duration::from_secs(20));
    let second = claim(&mut cluster, 2);
    (first, second, cluster.get(Via::Any, "jobs/1").expect("a quorum is up"))
}

fn main() {
    let mut unknown = 0;
    for seed in 0..200 {
        let (first, second, owner) = story(seed);
        let owner = owner.expect("somebody has claimed it");
        assert!(first != Claim::Mine || second == Claim::Taken, "seed {seed}: both have it");
        assert!(first != Claim::Mine || owner == [1], "seed {seed}: it was taken away");
        assert!(second != Claim::Mine || owner == [2], "seed {seed}: it was taken away");
        unknown += u32::from(first == Claim::Unknown);
    }
    println!("200 stories: one owner in each; {unknown} times the first worker had to look");
}
