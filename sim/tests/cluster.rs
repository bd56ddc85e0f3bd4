//! The cluster inside a unit test, used as an application developer would, and properties of any
//! schedule of faults on several nodes.

use proptest::prelude::*;
use std::time::Duration;
use zabkeeper_core::store::CommandError;
use zabkeeper_core::words::RefuseReason;
use zabkeeper_sim::run::plan::{Fault, Plan, Planned};
use zabkeeper_sim::run::run;
use zabkeeper_sim::{Cluster, Failure, Via};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn an_acknowledged_write_survives_a_power_cut_of_all() {
    let mut cluster = Cluster::new(3, 11);
    let leader = cluster.wait_for_leader(SOON).expect("an election");
    let txid = cluster.set(leader, "a", b"1").expect("all are up");
    cluster.power_cut();
    for node in 1..=3 {
        cluster.start(node);
    }
    let leader = cluster.wait_for_leader(SOON).expect("another election");
    assert_eq!(cluster.get(leader, "a"), Ok(Some(b"1".to_vec())));
    assert!(cluster.status(leader).expect("it runs").committed >= txid);
}

#[test]
fn the_tree_says_no_and_the_client_hears_it() {
    let mut cluster = Cluster::new(1, 2);
    cluster.wait_for_leader(SOON).expect("alone is enough");
    cluster.add(1, "a/b", b"x").expect("new");
    assert_eq!(cluster.add(1, "a/b", b"y"), Err(Failure::Rejected(CommandError::Exists)));
    assert_eq!(cluster.delete(1, "a"), Err(Failure::Rejected(CommandError::HasChildren)));
    cluster.delete(1, "a/b").expect("there");
    assert_eq!(cluster.get_local(1, "a/b"), Ok(None));
}

#[test]
fn keys_above_and_below_a_changed_key_are_read_as_they_are() {
    let mut cluster = Cluster::new(1, 2);
    cluster.wait_for_leader(SOON).expect("alone is enough");
    cluster.add(1, "a/b/c", b"x").expect("new");
    assert_eq!(cluster.get(1, "a/b"), Ok(Some(Vec::new())), "made for its child");
    cluster.set(1, "a", b"y").expect("there");
    cluster.add(1, "a/d", b"z").expect("new");
    assert_eq!(cluster.get(1, "a"), Ok(Some(b"y".to_vec())));
}

#[test]
fn a_client_of_all_nodes_survives_each_of_them() {
    let mut cluster = Cluster::new(3, 9);
    cluster.set(Via::Any, "a", b"0").expect("it waits for the election");
    for node in 1..=3 {
        cluster.crash(node);
        assert_eq!(
            cluster.set(node, "a", b"x"),
            Err(Failure::Refused(RefuseReason::TimedOut)),
            "nobody hears it"
        );
        cluster.set(Via::Any, "a", &[node as u8]).expect("two are a quorum");
        cluster.start(node);
        assert_eq!(cluster.get(node, "a"), Ok(Some(vec![node as u8])));
    }
}

#[test]
fn a_local_read_never_falls_behind_what_its_client_has_seen() {
    let mut cluster = Cluster::new(3, 4);
    cluster.set(Via::Any, "a", b"1").expect("it waits for the election");
    let leader = cluster.leader().expect("it has just written");
    let behind = (1..=3).find(|node| *node != leader).expect("two others");
    let others: Vec<u32> = (1..=3).filter(|node| *node != behind).collect();
    cluster.partition(&[behind], &others);
    cluster.set(leader, "a", b"2").expect("two are a quorum");
    assert_eq!(cluster.get_local(behind, "a"), Ok(Some(b"1".to_vec())), "it knows no better");
    // The client of all nodes has seen more, and finds nobody who can show it that.
    cluster.set(Via::Any, "a", b"3").expect("two are a quorum");
    for node in others {
        cluster.crash(node);
    }
    assert!(matches!(cluster.get_local(Via::Any, "a"), Err(Failure::Refused(_))));
}

#[test]
fn a_woken_leader_serves_no_stale_read() {
    let mut cluster = Cluster::new(3, 5);
    let old = cluster.wait_for_leader(SOON).expect("an election");
    cluster.set(old, "a", b"old").expect("all are up");
    cluster.pause(old, Duration::from_secs(20));
    let others: Vec<u32> = (1..=3).filter(|node| *node != old).collect();
    assert!(cluster.run_until(SOON, |cluster| cluster.leader().is_some_and(|now| now != old)));
    cluster.set(others[0], "a", b"new").expect("two are a quorum");
    cluster.set_patience(Duration::from_secs(60));
    assert_ne!(cluster.get(old, "a"), Ok(Some(b"old".to_vec())));
}

#[test]
fn thirty_seconds_pass_without_waiting() {
    let mut cluster = Cluster::new(5, 3);
    cluster.advance(Duration::from_secs(30));
    assert_eq!(cluster.now(), Duration::from_secs(30));
    assert!(cluster.leader().is_some());
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let node = 0..4_u32;
    let span = 1_000..2_000_000_u64;
    prop_oneof![
        (node.clone(), span.clone()).prop_map(|(node, down)| Fault::Crash { node, down }),
        (node.clone(), 0..5_u32, span.clone())
            .prop_map(|(node, actions, down)| Fault::CrashInStep { node, actions, down }),
        span.clone().prop_map(|down| Fault::PowerCut { down }),
        (node.clone(), span.clone()).prop_map(|(node, lasts)| Fault::Pause { node, lasts }),
        (node.clone(), any::<bool>(), span.clone()).prop_map(|(node, inbound, lasts)| {
            Fault::Isolate { node, inbound, outbound: !inbound, lasts }
        }),
        (node, span).prop_map(|(node, lasts)| Fault::DiskStall { node, lasts }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever goes wrong and when: one established leader an epoch, one order of what is
    /// committed, nothing told that is not durable, and recovery. The checkers of the world say.
    #[test]
    fn any_schedule_of_faults_keeps_the_order(
        seed in any::<u64>(),
        faults in prop::collection::vec((0..3_000_000_u64, any_fault()), 0..12),
    ) {
        let mut plan = Plan::draw(seed);
        plan.options.nodes = 3;
        plan.options.duration = 3_000_000;
        if let Some(wide) = &mut plan.options.wide {
            // More than slowness goes wrong here.
            wide.fair = false;
        }
        plan.ops.retain(|op| op.node <= 3 && op.at < 3_000_000);
        plan.faults = faults.into_iter().map(|(at, fault)| Planned { at, on: None, fault }).collect();
        plan.faults.sort_by_key(|planned| planned.at);
        prop_assert_eq!(run(&plan, false).violation, None);
    }
}
