//! A long history: applied while it comes, as far as the leader knows it to be committed, and at the
//! pace of the state store.

use super::*;
use zabkeeper_core::zab::Upcall;

const BYTES: usize = 1 << 10;

/// Entries of epoch 1 behind the membership, each of about a KiB.
fn long_history(count: u64) -> Vec<Entry> {
    let mut after = history(0).1.last().unwrap().position();
    let entry = |counter| {
        let body = Body::Command(vec![b'x'; BYTES].into());
        let entry = Entry::new(after, t(1, counter), WallTime::default(), None, body);
        after = entry.position();
        entry
    };
    (2..2 + count).map(entry).collect()
}

impl Bench {
    fn delivered(&self) -> Option<Txid> {
        let txid = |call: &Upcall| match call {
            Upcall::Deliver { txid, .. } => Some(*txid),
            _ => None,
        };
        self.upcalls.iter().filter_map(txid).next_back()
    }

    fn checkpoints(&self) -> Option<Txid> {
        let at = |call: &Upcall| match call {
            Upcall::Checkpoint(at) => Some(at.txid),
            _ => None,
        };
        self.upcalls.iter().filter_map(at).next_back()
    }

    fn acked_history(&self, upto: Txid) -> bool {
        self.sent(|msg| *msg == Message::LogEntriesAck { upto })
    }
}

/// A follower to which a history comes, and whose checkpoints begin every few KiB.
fn synchronising_with_little_room() -> Bench {
    let mut config = Config::new(n(1));
    config.limits.retain_bytes = 2 * BYTES;
    config.limits.checkpoint_bytes = 4 * BYTES;
    synchronising_as(Bench::with_committed(config, 0, t(1, 1)))
}

#[test]
fn what_is_committed_of_a_history_is_applied_while_the_rest_comes() {
    let mut bench = synchronising();
    bench.receive(C1, Message::LogEntries { entries: long_history(3) });
    assert_eq!(bench.delivered(), None, "nobody has said what is committed");
    bench.receive(C1, Message::Commit { epoch: e(2), upto: t(1, 3) });
    assert_eq!(bench.delivered(), Some(t(1, 3)));
    assert_eq!(bench.role(), RoleStatus::Following { leader: n(3), serving: false });
}

#[test]
fn a_commit_of_another_epoch_or_of_what_is_not_here_costs_the_connection() {
    for (epoch, upto) in [(e(1), t(1, 2)), (e(3), t(1, 2)), (e(2), t(1, 9))] {
        let mut bench = synchronising();
        bench.receive(C1, Message::LogEntries { entries: long_history(3) });
        bench.receive(C1, Message::Commit { epoch, upto });
        assert_eq!(bench.role(), RoleStatus::Looking, "{epoch} {upto}");
        assert_eq!(bench.delivered(), None);
    }
}

#[test]
fn nothing_counts_as_committed_before_the_history_shows_that_the_log_is_the_leaders() {
    let mut bench = synchronising();
    bench.receive(C1, Message::Commit { epoch: e(2), upto: t(1, 1) });
    assert_eq!(bench.role(), RoleStatus::Looking);
    // Nor is what has been shown to be a part of the leader's log taken back.
    let mut bench = synchronising();
    bench.receive(C1, Message::LogEntries { entries: long_history(3) });
    let to = history(0).1.last().unwrap().position();
    bench.receive(C1, Message::Truncate { to });
    assert_eq!(bench.role(), RoleStatus::Looking);
    assert_eq!(bench.node.status().last, t(1, 4));
}

#[test]
fn a_history_waits_for_the_state_store_and_goes_on_when_that_has_caught_up() {
    let mut bench = synchronising_with_little_room();
    let mut unacked = None;
    for entry in long_history(200) {
        let upto = entry.txid;
        bench.receive(C1, Message::LogEntries { entries: vec![entry] });
        bench.receive(C1, Message::Commit { epoch: e(2), upto });
        if !bench.acked_history(upto) {
            unacked = Some(upto);
            break;
        }
    }
    let unacked = unacked.expect("a history without end");
    assert!(unacked < t(1, 40), "{unacked}: bounded by the limits, not by the history");
    bench.event(Event::StateProgress(0));
    assert!(!bench.acked_history(unacked), "nothing was saved yet");
    let saved = bench.checkpoints().expect("a checkpoint is being written");
    bench.event(Event::Checkpointed(saved));
    assert!(bench.acked_history(unacked));
}

#[test]
fn a_leader_tells_what_is_committed_of_the_history_that_a_follower_has() {
    let mut bench = Bench::established();
    bench.event(Event::Accepted(C2));
    bench.receive(C2, Message::FollowerInfo(FollowerInfo { accepted: e(2), ..info(1) }));
    let has = history(0).1.last().unwrap().position();
    bench.take();
    bench.receive(C2, Message::EpochAck(EpochAck { commit: Txid::ZERO, ..ack(has) }));
    let sent = bench.actions.iter().filter_map(|action| match action {
        Action::Send { to, msg } if to == &[C2] => Some(msg),
        _ => None,
    });
    let sent: Vec<_> = sent.collect();
    let commit = Message::Commit { epoch: e(2), upto: t(1, 1) };
    assert!(matches!(sent.first(), Some(Message::LogEntries { .. })), "{sent:?}");
    assert_eq!(sent.get(1), Some(&&commit), "{sent:?}");
}
