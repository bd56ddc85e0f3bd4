//! A state or a history on its way to a follower: acknowledged when it is stored, gone on with
//! after a broken connection, alive as long as bytes arrive.

use super::*;
use zabkeeper_core::zab::{Item, Keep, Obstacle, Record, Staged, parts};

fn items(count: u8, bytes: usize) -> Vec<Item> {
    let item = |n| Item { key: [n].as_slice().into(), value: vec![n; bytes].into() };
    (0..count).map(item).collect()
}

fn stream(items: &[Item]) -> Vec<u8> {
    let mut stream = Vec::new();
    items.iter().for_each(|item| parts::put(item, &mut stream));
    stream
}

impl Bench {
    fn installs(&self) -> bool {
        let install =
            |it: &Action| matches!(it, Action::Persist { record: Record::Install { .. }, .. });
        self.actions.iter().any(install)
    }

    /// Another connection of the follower to its leader, of epoch 2 still.
    fn joins_again(&mut self, conn: ConnId) {
        let leader = Candidate { epoch: e(1), txid: t(1, 1), node: n(3) };
        self.vote(3, leader, 4, Stance::Leading(Some(e(2))));
        self.vote(2, leader, 4, Stance::Following(Some(e(2))));
        self.event(Event::Connected { conn, to: n(3) });
        self.receive(conn, leader_info(2));
    }

    fn acked(&self, upto: u64, done: bool) -> bool {
        self.sent(|msg| *msg == Message::SnapshotChunkAck { upto, done })
    }

    /// What was sent of a snapshot's stream: where each part began and how long it was.
    fn parts(&self) -> Vec<(u64, u64)> {
        let part = |action: &Action| match action {
            Action::Send { msg: Message::SnapshotChunk { from, bytes, .. }, .. } => {
                Some((*from, bytes.len() as u64))
            }
            _ => None,
        };
        self.actions.iter().filter_map(part).collect()
    }
}

#[test]
fn a_part_of_a_snapshot_is_acknowledged_once_the_state_store_has_it() {
    let mut bench = synchronising();
    bench.receive(C1, snapshot(2, 5));
    let stream = stream(&items(2, 10));
    let end = stream.len() as u64;
    bench.receive(C1, part(0, &stream, false));
    assert!(!bench.acked(end, false), "{:?}", bench.actions);
    bench.event(Event::Staged { stage: bench.stage(), parts: 1 });
    assert!(bench.acked(end, false), "{:?}", bench.actions);
}

#[test]
fn a_value_longer_than_what_may_be_under_way_is_acknowledged_while_it_comes() {
    let mut bench = synchronising();
    bench.receive(C1, snapshot(2, 5));
    let stream = stream(&items(1, 1000));
    bench.receive(C1, part(0, &stream[..600], false));
    assert!(bench.acked(600, false));
    bench.receive(C1, part(600, &stream[600..], false));
    assert!(!bench.acked(stream.len() as u64, false));
}

#[test]
fn the_end_of_a_snapshot_is_acknowledged_when_the_disk_has_made_it_the_state() {
    let mut bench = synchronising();
    bench.hold_disk = true;
    bench.receive(C1, snapshot(2, 5));
    let stream = stream(&items(1, 10));
    let end = stream.len() as u64;
    bench.receive(C1, part(0, &stream, true));
    bench.event(Event::Staged { stage: bench.stage(), parts: 1 });
    bench.verified(true);
    bench.event(Event::Sealed(bench.stage()));
    assert!(!bench.acked(end, true), "{:?}", bench.actions);
    let write = bench.actions.iter().rev().find_map(|action| match action {
        Action::Persist { id, .. } => Some(*id),
        _ => None,
    });
    bench.event(Event::Persisted(write.unwrap()));
    assert!(bench.acked(end, true));
}

#[test]
fn the_journal_names_a_snapshot_only_once_the_state_store_has_made_it_durable() {
    let mut bench = synchronising();
    bench.receive(C1, snapshot(2, 5));
    let stream = stream(&items(1, 10));
    bench.receive(C1, part(0, &stream, true));
    let stage = bench.stage();
    bench.event(Event::Staged { stage, parts: 1 });
    bench.event(Event::Sealed(stage));
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::Seal { .. })));
    bench.verified(true);
    let at = Position { txid: t(2, 5), chain: Digest::new(1) };
    assert!(bench.actions.contains(&Action::Seal { stage, at, digest: Digest::ZERO }));
    bench.event(Event::Staged { stage, parts: 1 });
    bench.event(Event::Sealed(stage + 1));
    assert!(!bench.installs(), "{:?}", bench.actions);
    assert_eq!(bench.node.status().last, t(1, 1));
    bench.event(Event::Sealed(stage));
    assert!(bench.installs());
    assert_eq!(bench.node.status().last, t(2, 5));
    assert!(bench.acked(stream.len() as u64, true));
}

#[test]
fn a_node_says_how_much_of_a_state_is_here() {
    let obstacle = |bench: &Bench| bench.node.status().obstacles.first().cloned();
    let says =
        |bytes, total, sealing| Some(Obstacle::Installing { leader: n(3), bytes, total, sealing });
    let mut bench = synchronising();
    assert_eq!(obstacle(&bench), Some(Obstacle::CatchingUp { leader: n(3) }));
    bench.receive(C1, snapshot(2, 5));
    let stream = stream(&items(3, 100));
    let end = stream.len() as u64;
    bench.receive(C1, part(0, &stream[..150], false));
    assert_eq!(obstacle(&bench), says(150, None, false));
    bench.receive(C1, part(150, &stream[150..], true));
    bench.verified(true);
    assert_eq!(obstacle(&bench), says(end, Some(end), true));
    bench.event(Event::Sealed(bench.stage()));
    assert_eq!(obstacle(&bench), Some(Obstacle::CatchingUp { leader: n(3) }));
}

#[test]
fn a_snapshot_that_is_sealed_while_its_leader_is_away_is_taken_over_when_it_is_back() {
    // Sealed before the connection is back, before the leader goes on, and after all of it.
    for sealed in 0..3 {
        let mut bench = synchronising();
        bench.receive(C1, snapshot(2, 5));
        let stream = stream(&items(3, 100));
        let end = stream.len() as u64;
        bench.receive(C1, part(0, &stream, true));
        bench.event(Event::Staged { stage: bench.stage(), parts: 1 });
        let stage = bench.stage();
        bench.event(Event::Closed(C1));
        bench.verified(true);
        let seal = |bench: &mut Bench, now: bool| {
            if now {
                bench.event(Event::Sealed(stage));
            }
        };
        seal(&mut bench, sealed == 0);
        assert_eq!(bench.role(), RoleStatus::Looking);
        bench.joins_again(C2);
        assert!(!bench.installs(), "the leader may want something else");
        seal(&mut bench, sealed == 1);
        bench.receive(C2, Message::SnapshotResume { at: t(2, 5), from: end });
        bench.receive(C2, part(end, b"", true));
        seal(&mut bench, sealed == 2);
        assert!(bench.installs() && bench.acked(end, true), "{sealed}: {:?}", bench.actions);
        assert!(!bench.actions.contains(&Action::StageDrop(stage)));
    }
}

#[test]
fn a_snapshot_is_given_up_while_it_is_made_durable_if_the_leader_has_the_log() {
    let mut bench = synchronising();
    bench.receive(C1, snapshot(2, 5));
    bench.receive(C1, part(0, &stream(&items(3, 100)), true));
    let stage = bench.stage();
    bench.verified(true);
    bench.event(Event::Closed(C1));
    bench.joins_again(C2);
    let entry = history(1).1.pop().unwrap();
    bench.receive(C2, Message::LogEntries { entries: vec![entry] });
    assert!(bench.actions.contains(&Action::StageDrop(stage)));
    assert!(bench.upcalls.contains(&Upcall::AbortInstall));
    bench.event(Event::Sealed(stage));
    assert!(!bench.installs());
    assert_eq!(bench.node.status().last, t(1, 2));
}

#[test]
fn the_history_is_acknowledged_when_it_is_on_the_disk() {
    let mut bench = synchronising();
    bench.hold_disk = true;
    let entry = history(1).1.pop().unwrap();
    bench.receive(C1, Message::LogEntries { entries: vec![entry] });
    let acked = |msg: &Message| *msg == Message::LogEntriesAck { upto: t(1, 2) };
    assert!(!bench.sent(acked));
    let write = bench.actions.iter().rev().find_map(|action| match action {
        Action::Persist { id, .. } => Some(*id),
        _ => None,
    });
    bench.event(Event::Persisted(write.unwrap()));
    assert!(bench.sent(acked));
}

#[test]
fn history_that_arrives_while_the_disk_is_busy_goes_there_as_one_write() {
    let mut bench = synchronising();
    bench.hold_disk = true;
    for entry in history(50).1.into_iter().skip(1) {
        bench.receive(C1, Message::LogEntries { entries: vec![entry] });
    }
    let appends = |bench: &Bench| {
        let record = |action: &Action| match action {
            Action::Persist { id, record: Record::Append { entries, .. } } => {
                Some((*id, entries.len()))
            }
            _ => None,
        };
        bench.actions.iter().filter_map(record).collect::<Vec<_>>()
    };
    let first = appends(&bench);
    assert_eq!(first.iter().map(|(_, length)| *length).collect::<Vec<_>>(), [1]);
    bench.event(Event::Persisted(first[0].0));
    let all = appends(&bench);
    assert_eq!(all.iter().map(|(_, length)| *length).collect::<Vec<_>>(), [1, 49]);
}

#[test]
fn nothing_else_may_come_amid_the_history() {
    let to = history(0).1.last().unwrap().position();
    for strange in [Message::Truncate { to }, snapshot(2, 5)] {
        let mut bench = synchronising();
        bench.hold_disk = true;
        for entry in history(2).1.into_iter().skip(1) {
            bench.receive(C1, Message::LogEntries { entries: vec![entry] });
        }
        bench.receive(C1, strange);
        assert_eq!(bench.role(), RoleStatus::Looking);
        assert_eq!(bench.node.status().last, t(1, 2));
    }
}

#[test]
fn a_follower_goes_on_with_a_snapshot_on_another_connection() {
    let mut bench = synchronising();
    bench.receive(C1, snapshot(2, 5));
    let stream = stream(&items(3, 100));
    bench.receive(C1, part(0, &stream[..150], false));
    bench.event(Event::Closed(C1));
    assert_eq!(bench.role(), RoleStatus::Looking);
    bench.take();
    bench.joins_again(C2);
    let at = Position { txid: t(2, 5), chain: Digest::new(1) };
    let staged = Some(Staged { at, received: 150, whole: false });
    assert!(bench.sent(|msg| matches!(msg, Message::EpochAck(ack) if ack.staged == staged)));
    bench.receive(C2, Message::SnapshotResume { at: at.txid, from: 150 });
    bench.receive(C2, part(150, &stream[150..], true));
    let stored = bench.actions.iter().filter_map(|action| match action {
        Action::Stage { items, .. } => Some(items.len()),
        _ => None,
    });
    assert_eq!(stored.sum::<usize>(), 2, "the first was stored before");
    let gave_up = |action: &Action| {
        matches!(action, Action::StageOpen(_) | Action::StageDrop(_) | Action::Close { .. })
    };
    assert!(!bench.actions.iter().any(gave_up), "{:?}", bench.actions);
}

#[test]
fn what_arrived_of_a_snapshot_is_given_up_when_nobody_goes_on_with_it() {
    let mut bench = synchronising();
    bench.receive(C1, snapshot(2, 5));
    bench.receive(C1, part(0, &stream(&items(3, 100)), false));
    let stage = bench.stage();
    bench.event(Event::Closed(C1));
    assert!(!bench.actions.contains(&Action::StageDrop(stage)));
    bench.pass(Micros::millis(40_000));
    assert!(bench.actions.contains(&Action::StageDrop(stage)));
    assert!(bench.upcalls.contains(&Upcall::AbortInstall));
}

/// An established leader that node 1 asks, on connection C2, for its whole state.
fn sending() -> (Bench, Position) {
    let mut config = Config::new(n(3));
    config.limits.retain_entries = 2;
    let mut bench = Bench::established_with(config);
    for ticket in 1..9 {
        bench.event(Event::Submit(vec![submission(ticket)]));
        let upto = bench.node.log().last().txid;
        bench.receive(C1, Message::Ack { epoch: e(2), upto });
    }
    let at = bench.node.log().last();
    bench.take();
    join(&mut bench, C2, None);
    assert_eq!(bench.upcalls.last(), Some(&Upcall::OpenSnapshot(C2)));
    bench.event(Event::SnapshotOpened { conn: C2, digest: Digest::new(9), bytes: 0 });
    (bench, at)
}

fn join(bench: &mut Bench, conn: ConnId, staged: Option<Staged>) {
    bench.event(Event::Accepted(conn));
    let accepted = bench.node.status().accepted;
    bench.receive(conn, Message::FollowerInfo(FollowerInfo { accepted, ..info(1) }));
    let last = history(0).1.last().unwrap().position();
    bench.receive(conn, Message::EpochAck(EpochAck { staged, ..ack(last) }));
}

#[test]
fn a_leader_goes_on_with_a_snapshot_at_the_byte_that_the_follower_has() {
    let (mut bench, at) = sending();
    bench.event(Event::SnapshotRead { conn: C2, items: items(10, 20_000), last: false });
    let sent: u64 = bench.parts().iter().map(|(_, length)| length).sum();
    assert!(sent > 100_000, "{:?}", bench.parts());
    bench.event(Event::Closed(C2));
    (bench.actions, bench.upcalls) = Default::default();
    let c3 = ConnId::new(3);
    join(&mut bench, c3, Some(Staged { at, received: 70_000, whole: false }));
    assert!(bench.sent(|msg| *msg == Message::SnapshotResume { at: at.txid, from: 70_000 }));
    let again = bench.parts();
    assert_eq!(again.first().map(|(from, _)| *from), Some(70_000));
    assert!(again.windows(2).all(|two| two[0].0 + two[0].1 == two[1].0), "{again:?}");
    assert!(!bench.upcalls.iter().any(|call| matches!(call, Upcall::OpenSnapshot(_))));
}

#[test]
fn a_leader_sends_nothing_of_a_state_that_the_follower_has_from_another_leader() {
    let (mut bench, at) = sending();
    bench.event(Event::Closed(C2));
    let (c3, received) = (ConnId::new(3), 5_000_000);
    (bench.actions, bench.upcalls) = Default::default();
    join(&mut bench, c3, Some(Staged { at, received, whole: true }));
    assert!(bench.sent(|msg| *msg == Message::SnapshotResume { at: at.txid, from: received }));
    assert_eq!(bench.parts(), [(received, 0)], "that it ends there");
    assert!(!bench.upcalls.iter().any(|call| matches!(call, Upcall::OpenSnapshot(_))));
    bench.receive(c3, Message::SnapshotChunkAck { upto: received, done: true });
    assert!(bench.sent(|msg| matches!(msg, Message::NewLeader { .. })));
    // One that stands for a place of another history is of no use.
    bench.event(Event::Closed(c3));
    (bench.actions, bench.upcalls) = Default::default();
    let at = Position { chain: Digest::new(1), ..at };
    let c4 = ConnId::new(4);
    join(&mut bench, c4, Some(Staged { at, received, whole: true }));
    assert!(bench.upcalls.contains(&Upcall::OpenSnapshot(c4)));
}

#[test]
fn a_connection_that_brings_little_across_is_followed_by_smaller_parts() {
    let (mut bench, at) = sending();
    bench.event(Event::SnapshotRead { conn: C2, items: items(10, 30_000), last: false });
    let (mut received, mut conn) = (0, C2);
    for life in 3..6 {
        received += 100;
        bench.event(Event::Closed(conn));
        bench.take();
        conn = ConnId::new(life);
        join(&mut bench, conn, Some(Staged { at, received, whole: false }));
    }
    assert_eq!(bench.parts().first(), Some(&(300, 4 << 10)));
}

#[test]
fn a_state_that_the_follower_does_not_hold_is_sent_from_its_beginning() {
    let (mut bench, at) = sending();
    bench.event(Event::Closed(C2));
    (bench.actions, bench.upcalls) = Default::default();
    let c3 = ConnId::new(3);
    join(&mut bench, c3, Some(Staged { at, received: 70_000, whole: false }));
    assert!(bench.upcalls.contains(&Upcall::CloseSnapshot(C2)), "it was never sent so much");
    assert!(bench.upcalls.contains(&Upcall::OpenSnapshot(c3)));
}

/// A leader that has forgotten most of what follows 1.1, in memory, and all that it logged.
fn far_ahead() -> (Bench, Vec<Entry>) {
    let mut config = Config::new(n(3));
    config.limits.retain_entries = 2;
    let mut bench = Bench::established_with(config);
    let mut all = history(1).1;
    for ticket in 1..20 {
        bench.event(Event::Submit(vec![submission(ticket)]));
        let upto = bench.node.log().last().txid;
        bench.receive(C1, Message::Ack { epoch: e(2), upto });
        let known = all.last().unwrap().txid;
        all.extend(bench.node.log().after(known).cloned());
    }
    bench.hold_reads = true;
    bench.take();
    (bench, all)
}

/// What the disk is asked for.
fn asked(bench: &Bench) -> Vec<(Txid, Txid)> {
    let asks = |action: &Action| match action {
        Action::ReadLog { after, upto, .. } => Some((*after, *upto)),
        _ => None,
    };
    bench.actions.iter().filter_map(asks).collect()
}

/// The entries sent as history.
fn fed(bench: &Bench) -> Vec<Txid> {
    let entries = |action: &Action| match action {
        Action::Send { to, msg: Message::LogEntries { entries } } if *to == [C2] => {
            entries.iter().map(|entry| entry.txid).collect()
        }
        _ => Vec::new(),
    };
    bench.actions.iter().flat_map(entries).collect()
}

#[test]
fn a_follower_behind_the_log_in_memory_gets_from_the_disk_what_it_lacks_of_it() {
    let (mut bench, all) = far_ahead();
    let base = bench.node.log().base().at.txid;
    join(&mut bench, C2, None);
    assert_eq!(asked(&bench), [(t(1, 1), base)]);
    assert_eq!(fed(&bench), []);
    let (from, first) = (Some(all[0].position()), all[1..6].to_vec());
    bench.event(Event::LogRead { conn: C2, from, entries: first });
    let kind = zabkeeper_core::zab::SyncKind::Diff;
    assert!(bench.noted(&Note::SyncPlanned { peer: n(1), kind }));
    let end = all[5].position();
    assert_eq!(asked(&bench)[1..], [(end.txid, base)], "the next piece is read ahead");
    let rest = all.iter().filter(|entry| entry.txid > end.txid && entry.txid <= base);
    bench.event(Event::LogRead { conn: C2, from: Some(end), entries: rest.cloned().collect() });
    let txids: Vec<Txid> = all[1..].iter().map(|entry| entry.txid).collect();
    assert_eq!(fed(&bench), txids, "the rest comes from memory");
    let end = all.last().unwrap().position();
    assert!(bench.sent(|msg| *msg == Message::NewLeader { epoch: e(2), end }));
    assert!(!bench.upcalls.iter().any(|call| matches!(call, Upcall::OpenSnapshot(_))));
}

#[test]
fn a_tail_that_was_never_committed_is_cut_to_a_place_that_only_the_disk_knows() {
    let (mut bench, all) = far_ahead();
    bench.event(Event::Accepted(C2));
    bench.receive(C2, Message::FollowerInfo(FollowerInfo { accepted: e(2), ..info(1) }));
    // 1.5 was logged in an epoch whose leader is gone; this history has 1.2 and then 2.1.
    let last = Position { txid: t(1, 5), chain: Digest::new(9) };
    bench.receive(C2, Message::EpochAck(ack(last)));
    assert_eq!(asked(&bench).first().map(|(after, _)| *after), Some(t(1, 5)));
    let to = all[1].position();
    bench.event(Event::LogRead { conn: C2, from: Some(to), entries: all[2..4].to_vec() });
    assert!(bench.sent(|msg| *msg == Message::Truncate { to }));
    assert_eq!(fed(&bench), [all[2].txid, all[3].txid]);
}

#[test]
fn a_follower_whose_log_the_disk_does_not_reach_or_cannot_read_gets_the_state() {
    for from in [None, Some(history(0).1[0].position())] {
        let (mut bench, _) = far_ahead();
        join(&mut bench, C2, None);
        assert!(!bench.upcalls.contains(&Upcall::OpenSnapshot(C2)));
        bench.event(Event::LogRead { conn: C2, from, entries: Vec::new() });
        assert!(bench.upcalls.contains(&Upcall::OpenSnapshot(C2)));
    }
}

#[test]
fn a_follower_is_dropped_when_the_disk_has_lost_what_comes_next() {
    let (mut bench, all) = far_ahead();
    join(&mut bench, C2, None);
    let (from, first) = (Some(all[0].position()), all[1..6].to_vec());
    bench.event(Event::LogRead { conn: C2, from, entries: first });
    bench.event(Event::LogRead { conn: C2, from: None, entries: Vec::new() });
    assert!(bench.actions.contains(&Action::Close { conn: C2, why: CloseReason::TooSlow }));
    // The answer comes late: nobody waits for it.
    bench.event(Event::LogRead { conn: C2, from, entries: all[1..6].to_vec() });
    bench.event(Event::LogRead { conn: C1, from, entries: all[1..6].to_vec() });
    // It comes back without what was on its way: the disk is not asked for the same again.
    bench.take();
    let again = ConnId::new(3);
    join(&mut bench, again, None);
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::ReadLog { .. })));
    assert!(bench.upcalls.contains(&Upcall::OpenSnapshot(again)), "{:?}", bench.upcalls);
}

#[test]
fn the_disk_keeps_the_log_for_a_transfer_as_long_as_that_moves_more_than_the_log_grows() {
    for moved in [3_000_000, 1_000_000, 100] {
        let mut config = Config::new(n(3));
        config.limits.retain_entries = 2;
        (config.limits.retain_bytes, config.limits.checkpoint_bytes) = (1000, 1000);
        config.limits.journal_bytes = 5000;
        let mut bench = Bench::established_with(config);
        bench.node.weigh(1 << 20);
        let write = |bench: &mut Bench, ticket| {
            bench.event(Event::Submit(vec![submission(ticket)]));
            let upto = bench.node.log().last().txid;
            bench.receive(C1, Message::Ack { epoch: e(2), upto });
            if let Some(Upcall::Checkpoint(at)) = bench.upcalls.last() {
                let at = at.txid;
                bench.event(Event::Checkpointed(at));
            }
        };
        (1..9).for_each(|ticket| write(&mut bench, ticket));
        let at = bench.node.status().applied;
        join(&mut bench, C2, None);
        bench.event(Event::SnapshotOpened { conn: C2, digest: Digest::new(9), bytes: 0 });
        let mut acked = 0;
        while acked < moved {
            bench.take();
            bench.event(Event::SnapshotRead { conn: C2, items: items(1, 50_000), last: false });
            let Some((from, length)) = bench.parts().last().copied() else { continue };
            acked = (from + length).min(moved);
            bench.receive(C2, Message::SnapshotChunkAck { upto: acked, done: false });
        }
        bench.take();
        (10..300).for_each(|ticket| write(&mut bench, ticket));
        let keeps: Vec<Keep> = bench.actions.iter().filter_map(keep).collect();
        let kept = Keep { after: Some(at), most: 5000.max(moved.min(1 << 20)), bytes: 5000 };
        assert!(keeps.len() > 3 && keeps.iter().all(|keep| *keep == kept), "{keeps:?}");
        assert!(bench.node.status().log_bytes <= 4100, "{}", bench.node.status().log_bytes);
        let refused = |call: &Upcall| matches!(call, Upcall::Refuse { .. });
        assert!(!bench.upcalls.iter().any(refused));
        assert!(!bench.actions.iter().any(|action| matches!(action, Action::Close { .. })));
    }
}

fn keep(action: &Action) -> Option<Keep> {
    match action {
        Action::KeepLog(keep) => Some(*keep),
        _ => None,
    }
}

#[test]
fn the_parts_of_a_snapshot_grow_with_what_the_follower_takes_in() {
    let (mut bench, _) = sending();
    let mut longest = 0;
    for _ in 0..40 {
        let read = Event::SnapshotRead { conn: C2, items: items(20, 20_000), last: false };
        bench.event(read);
        let Some((from, length)) = bench.parts().last().copied() else { continue };
        longest = length;
        bench.receive(C2, Message::SnapshotChunkAck { upto: from + length, done: false });
    }
    assert_eq!(longest, 256 << 10);
}

#[test]
fn bytes_of_a_message_under_way_keep_a_follower_with_its_leader() {
    let mut bench = synchronising();
    let end = history(0).1.last().unwrap().position();
    bench.receive(C1, Message::NewLeader { epoch: e(2), end });
    bench.receive(C1, Message::UpToDate { epoch: e(2), commit: end.txid, full: false });
    for _ in 0..10 {
        bench.pass(Micros::millis(700));
        bench.event(Event::Heard(C1));
    }
    assert_eq!(bench.role(), RoleStatus::Following { leader: n(3), serving: true });
    let alive = |msg: &Message| matches!(msg, Message::Alive { .. });
    assert!(bench.sent(alive), "no heartbeat came, so it says by itself that it lives");
    bench.pass(Micros::millis(900));
    assert_eq!(bench.role(), RoleStatus::Looking);
}

#[test]
fn bytes_of_a_message_under_way_keep_a_leader_in_office() {
    let mut bench = Bench::established();
    for _ in 0..10 {
        bench.pass(Micros::millis(700));
        bench.event(Event::Heard(C1));
    }
    assert_eq!(bench.role(), RoleStatus::Leading { established: true });
    bench.pass(Micros::millis(900));
    assert_eq!(bench.role(), RoleStatus::Looking);
}

#[test]
fn a_follower_that_gets_nowhere_is_dropped_though_it_says_that_it_lives() {
    for (moves, kept) in [(true, true), (false, false)] {
        let (mut bench, _) = sending();
        for beat in 0..40 {
            bench.pass(Micros::millis(100));
            let upto = bench.node.log().last().txid;
            bench.receive(C1, Message::Ack { epoch: e(2), upto });
            let work = if moves { beat } else { 7 };
            bench.receive(C2, Message::Alive { epoch: e(2), work });
        }
        let dropped = Action::Close { conn: C2, why: CloseReason::Silent };
        assert_eq!(!bench.actions.contains(&dropped), kept, "{moves}");
    }
}
