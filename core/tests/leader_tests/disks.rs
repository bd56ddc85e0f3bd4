//! Disks that hang, and nodes that slept.

use super::*;

impl Bench {
    /// The follower answers the last heartbeat, if there is a leader to be answered.
    fn answer_ping(&mut self) {
        let nonce = self.actions.iter().rev().find_map(|action| match action {
            Action::Send { msg: Message::Ping { nonce, .. }, .. } => Some(*nonce),
            _ => None,
        });
        if let Some(nonce) = nonce.filter(|_| self.role() != RoleStatus::Looking) {
            self.receive(C1, Message::Pong { epoch: e(2), nonce, room: None, full: false });
        }
    }
}

#[test]
fn a_leader_whose_disk_stalls_steps_down() {
    let mut bench = Bench::established();
    bench.hold_disk = true;
    bench.event(Event::Submit(vec![submission(1)]));
    for _ in 0..70 {
        bench.answer_ping();
        bench.pass(Micros::millis(100));
    }
    assert!(bench.noted(&Note::SteppedDown { epoch: Some(e(2)), why: LeaveReason::SlowDisk }));
    // It stays silent: what it would speak of is not on its disk.
    bench.take();
    bench.pass(Micros::millis(5000));
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::Notify { .. })));
}

#[test]
fn what_a_leader_sleeps_is_no_time_that_its_disk_takes() {
    let mut bench = Bench::established();
    bench.hold_disk = true;
    bench.event(Event::Submit(vec![submission(1)]));
    let written = bench.actions.iter().rev().find_map(|action| match action {
        Action::Persist { id, .. } => Some(*id),
        _ => None,
    });
    let written = written.expect("an entry");
    bench.pass(Micros::millis(200));
    // The process is stopped for a minute. When it goes on, nobody has been heard for long.
    bench.now += 60_000_000;
    bench.event(Event::Tick);
    assert!(bench.noted(&Note::SteppedDown { epoch: Some(e(2)), why: LeaveReason::Silence }));
    // Its disk is not to blame: once it is done, the node stands for election again.
    bench.take();
    bench.hold_disk = false;
    bench.event(Event::Persisted(written));
    bench.pass(Micros::millis(100));
    assert!(bench.actions.iter().any(|action| matches!(action, Action::Notify { .. })));
}

#[test]
fn a_client_whose_requests_expire_all_the_time_does_not_hide_a_disk_that_hangs() {
    let mut bench = Bench::established();
    bench.hold_disk = true;
    bench.event(Event::Submit(vec![submission(1)]));
    for millis in 0..6_000 {
        bench.now += 1_000;
        if bench.role() == RoleStatus::Looking {
            break;
        }
        // It expires at once: the node is late whenever it wakes.
        let now = bench.now;
        bench.event(Event::Read(vec![(Ticket::new(1_000 + millis), Instant::from_micros(now))]));
        if millis % 50 == 0 {
            bench.event(Event::Tick);
            bench.answer_ping();
        }
    }
    assert!(bench.noted(&Note::SteppedDown { epoch: Some(e(2)), why: LeaveReason::SlowDisk }));
}

#[test]
fn a_node_whose_state_store_hangs_halts_when_its_log_is_over_the_limit() {
    let mut config = Config::new(n(3));
    config.limits.retain_bytes = 300;
    config.limits.checkpoint_bytes = 300;
    let mut bench = Bench::established_with(config);
    let submit = |ticket| Event::Submit(vec![submission(ticket)]);
    // The first writes make a checkpoint due; it never completes.
    for ticket in 1..20 {
        bench.event(submit(ticket));
        let last = bench.node.log().last().txid;
        bench.receive(C1, Message::Ack { epoch: e(2), upto: last });
    }
    assert_eq!(bench.role(), RoleStatus::Leading { established: true });
    for _ in 0..110 {
        let round = bench.actions.iter().rev().find_map(|action| match action {
            Action::Send { msg: Message::Ping { nonce, .. }, .. } => Some(*nonce),
            _ => None,
        });
        if let Some(nonce) = round.filter(|_| bench.role() != RoleStatus::Halted) {
            bench.receive(C1, Message::Pong { epoch: e(2), nonce, room: None, full: false });
        }
        bench.pass(Micros::millis(100));
    }
    assert!(bench.actions.contains(&Action::Halt(HaltReason::StateStoreStalled)));
}
