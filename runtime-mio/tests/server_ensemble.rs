//! Three nodes on real sockets and disks: they form, serve, come back, and keep strangers out.

mod server_support;

use server_support::{
    Ensemble, LONG, Wire, addrs, config, count, eventually, get, membership, serves, set, value_of,
};
use std::path::Path;
use std::time::Duration;
use zabkeeper_core::store::Answer;
use zabkeeper_core::words::{End, Epoch, RefuseReason};
use zabkeeper_core::zab::RoleStatus;
use zabkeeper_runtime_mio::server::{Server, Sockets, StartError};

#[test]
fn what_one_node_writes_every_node_reads() {
    let ensemble = Ensemble::start(3, |_| {});
    for writer in 0..3 {
        let mut wire = Wire::connect(ensemble.addrs[writer].request);
        for number in 0..20 {
            let key = format!("from/{writer}/{number}");
            match wire.ask(number, set(&key, key.as_bytes())) {
                End::Done { answer: Answer::Written(Ok(_)), .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    for reader in &ensemble.addrs {
        let mut wire = Wire::connect(reader.request);
        for writer in 0..3 {
            let key = format!("from/{writer}/19");
            assert_eq!(value_of(wire.ask(1, get(&key))), Some(key.into_bytes()));
        }
    }
    ensemble.stop();
}

#[test]
fn the_others_go_on_when_the_leader_stops() {
    let mut ensemble = Ensemble::start(3, |_| {});
    ensemble.set(0, "before", b"1");
    let leads = |server: &Server| {
        let role = server.handle().status().unwrap().role;
        role == RoleStatus::Leading { established: true }
    };
    let leader = ensemble.servers.iter().position(leads).unwrap();
    let stopped = ensemble.servers.remove(leader);
    stopped.stop();
    assert_eq!(stopped.wait().exit_code(), 0);
    ensemble.set(0, "after", b"2");
    assert_eq!(ensemble.get(1, "before"), Some(b"1".to_vec()));
    assert_eq!(ensemble.get(1, "after"), Some(b"2".to_vec()));
    let epoch = ensemble.servers[0].handle().status().unwrap().current;
    assert!(epoch > Epoch::new(1), "{epoch}");

    // One node alone says no, and says why.
    let alone = ensemble.servers.remove(0);
    drop(ensemble.servers.remove(0));
    let wait = Duration::from_millis(2_500);
    for op in [set("alone", b"3"), get("after")] {
        let result = alone.handle().request(op, wait);
        let acceptable = [End::Refused(RefuseReason::NoLeader), End::Unknown];
        assert!(acceptable.contains(&result), "{result:?}");
    }
    let result = alone.handle().request(get("after"), wait);
    assert_eq!(result, End::Refused(RefuseReason::NoLeader));
}

#[test]
fn a_node_comes_back_with_its_data() {
    let mut ensemble = Ensemble::start(3, |_| {});
    ensemble.set(0, "first", b"1");
    let server = ensemble.servers.remove(2);
    server.stop();
    assert_eq!(server.wait().exit_code(), 0);
    ensemble.set(0, "second", b"2");
    let mut config = config(&ensemble.dir, 3, &ensemble.membership, &loopback());
    config.request_addr = ensemble.addrs[2].request.to_string();
    let back = Server::start(config).unwrap();
    for (key, value) in [("first", b"1"), ("second", b"2")] {
        assert_eq!(value_of(back.handle().request(get(key), LONG)), Some(value.to_vec()));
    }
    let digest = |server: &Server| {
        let status = server.handle().status().unwrap();
        (status.applied, status.digest)
    };
    eventually("the states are equal", || digest(&back) == digest(&ensemble.servers[0]));
    drop(back);
    ensemble.stop();
}

#[test]
fn a_node_of_another_cluster_is_kept_out_and_both_sides_say_why() {
    let ensemble = Ensemble::start(3, |_| {});
    ensemble.set(0, "k", b"v");
    // It lists two of the ensemble's nodes, and itself where the third should be.
    let sockets = loopback();
    let listed = [ensemble.addrs[0], ensemble.addrs[1], addrs(&sockets)];
    let foreign = membership(&listed);
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, 3, &foreign, &sockets);
    let stranger = Server::start_with_sockets(config, sockets).unwrap();
    eventually("the stranger learns why", || count(&stranger, "election.rejected") > 0);
    eventually("the ensemble notes it", || ensemble.count(0, "note.foreign_vote") > 0);
    assert!(!serves(&stranger));
    for index in 0..3 {
        // A member whose id the stranger uses is not blamed for it.
        assert_eq!(ensemble.count(index, "election.rejected"), 0);
        assert_eq!(ensemble.get(index, "k"), Some(b"v".to_vec()));
    }
    drop(stranger);
    ensemble.stop();
}

#[test]
fn a_second_node_with_a_members_id_is_kept_out() {
    let ensemble = Ensemble::start(3, |_| {});
    ensemble.set(0, "k", b"v");
    // The same configuration, but other ports and an empty directory.
    let sockets = loopback();
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir, 3, &ensemble.membership, &sockets);
    let double = Server::start_with_sockets(config, sockets).unwrap();
    eventually("the double learns why", || {
        count(&double, "election.rejected") > 0 || double.handle().exited().is_some()
    });
    eventually("the ensemble notes it", || {
        ensemble.count(0, "note.wrong_disk") + ensemble.count(1, "note.wrong_disk") > 0
    });
    for index in 0..3 {
        assert_eq!(ensemble.get(index, "k"), Some(b"v".to_vec()));
    }
    drop(double);
    ensemble.stop();
}

#[test]
fn a_wiped_node_halts_and_the_others_go_on() {
    let mut ensemble = Ensemble::start(3, |_| {});
    ensemble.set(0, "k", b"v");
    let server = ensemble.servers.remove(2);
    server.stop();
    assert_eq!(server.wait().exit_code(), 0);
    std::fs::remove_dir_all(ensemble.dir.path().join("3")).unwrap();
    let reason = start_third(&ensemble).wait();
    assert_eq!(reason.exit_code(), 9, "{reason}");
    assert!(reason.to_string().contains("wiped"), "{reason}");
    assert_eq!(ensemble.get(1, "k"), Some(b"v".to_vec()));
    ensemble.stop();
}

/// Starts the third node with whatever is in its directory.
fn start_third(ensemble: &Ensemble) -> Server {
    let mut config = config(&ensemble.dir, 3, &ensemble.membership, &loopback());
    config.request_addr = ensemble.addrs[2].request.to_string();
    Server::start(config).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn an_old_copy_of_a_data_directory_is_refused_and_nothing_is_lost() {
    let mut ensemble = Ensemble::start(3, |_| {});
    ensemble.set(0, "before", b"v");
    let stop_third = |ensemble: &mut Ensemble| {
        let server = ensemble.servers.remove(2);
        server.stop();
        assert_eq!(server.wait().exit_code(), 0);
    };
    let dir = ensemble.dir.path().join("3");
    let kept = tempfile::tempdir().unwrap();
    stop_third(&mut ensemble);
    copy(&dir, kept.path());
    // It lives on, acknowledges, and is replaced by its copy.
    let third = start_third(&ensemble);
    eventually("the third node serves again", || serves(&third));
    ensemble.servers.push(third);
    ensemble.set(2, "precious", b"v");
    stop_third(&mut ensemble);
    std::fs::remove_dir_all(&dir).unwrap();
    copy(kept.path(), &dir);
    let reason = start_third(&ensemble).wait();
    assert_eq!(reason.exit_code(), 9, "{reason}");
    assert!(reason.to_string().contains("older copy"), "{reason}");
    assert_eq!(ensemble.get(1, "precious"), Some(b"v".to_vec()));
    ensemble.stop();
}

#[test]
fn what_keeps_a_node_from_starting_is_told_with_its_exit_code() {
    let ensemble = Ensemble::start(1, |_| {});
    ensemble.set(0, "k", b"v");
    let mut taken = config(&ensemble.dir, 1, &ensemble.membership, &loopback());
    taken.request_addr = ensemble.addrs[0].request.to_string();
    let error = Server::start(taken).unwrap_err();
    assert!(matches!(error, StartError::Bind { .. }), "{error}");
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("another process uses the port"), "{error}");

    // The directory of a running node.
    let sockets = loopback();
    let same_dir = config(&ensemble.dir, 1, &ensemble.membership, &sockets);
    let error = Server::start_with_sockets(same_dir, sockets).unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");

    // A used directory under another list of nodes.
    let dir = ensemble.dir.path().to_path_buf();
    let kept = tempfile::tempdir().unwrap();
    let membership_before = ensemble.membership.clone();
    let Ensemble { servers, dir: guard, .. } = ensemble;
    drop(servers);
    let sockets = loopback();
    let other = membership(&[addrs(&sockets)]);
    assert_ne!(other.cluster_id(), membership_before.cluster_id());
    let mut config = config(&kept, 1, &other, &sockets);
    config.data_dir = dir.join("1");
    let error = Server::start_with_sockets(config, sockets).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    drop(guard);
}

fn loopback() -> Sockets {
    Sockets::loopback().unwrap()
}
