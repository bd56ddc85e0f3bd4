//! Disks that have forgotten something: older copies of themselves, and what they promised.

use super::*;

/// What a leader answers to a node 2 that connects anew with these lives.
fn answer_to(bench: &mut Bench, lives: Lives) -> Option<Message> {
    bench.take();
    bench.event(Event::Accepted(C2));
    bench.receive(C2, Message::FollowerInfo(FollowerInfo { lives, accepted: e(2), ..info(2) }));
    bench.take().into_iter().find_map(|action| match action {
        Action::Send { to, msg } if to == [C2] => Some(msg),
        _ => None,
    })
}

#[test]
fn of_two_copies_of_a_disk_the_one_that_is_recorded_first_stays_and_the_other_is_refused() {
    let restarted = |life| lives(2).begin(None, true, Life::new(life));
    let mut bench = Bench::established();
    // Node 2 comes back in a new life, and is recorded once it has the history.
    assert!(matches!(answer_to(&mut bench, restarted(20)), Some(Message::LeaderInfo { .. })));
    let last = bench.node.log().last();
    bench.receive(C2, Message::EpochAck(EpochAck { current: e(2), ..ack(last) }));
    assert!(!bench.noted(&Note::LivesProposed(1)), "not before its disk is in the epoch");
    bench.receive(C2, Message::NewLeaderAck { epoch: e(2), end: last.txid, full: false });
    assert!(bench.noted(&Note::LivesProposed(1)));
    let refused = Some(Message::Rejected(Rejection::OldDisk));
    // A copy that was made before, started elsewhere; and the copy itself, never started again.
    assert_eq!(answer_to(&mut bench, restarted(21)), refused);
    assert_eq!(answer_to(&mut bench, lives(2)), refused);
    // The recorded life itself, and one after it, are welcome.
    assert!(matches!(answer_to(&mut bench, restarted(20)), Some(Message::LeaderInfo { .. })));
    let next = restarted(20).begin(None, true, Life::new(22));
    assert!(matches!(answer_to(&mut bench, next), Some(Message::LeaderInfo { .. })));
}

#[test]
fn an_old_disk_is_not_heard_in_an_election() {
    let mut bench = Bench::new(3, 1);
    let me = Candidate { epoch: e(1), txid: t(1, 2), node: n(3) };
    let other = Lives::first(Life::new(77));
    let before = bench.node.clone();
    let vote = |lives| Vote { lives, ..vote(2, me, 1, Stance::Looking) };
    bench.event(Event::Notified(vote(other)));
    assert_eq!(bench.node, before);
    // Too many lives for a datagram say nothing.
    bench.event(Event::Notified(vote(Lives::default())));
    assert_ne!(bench.node, before);
}

#[test]
fn a_promise_that_a_disk_has_forgotten_is_found_out_by_the_leader_that_got_it() {
    let mut bench = Bench::established();
    bench.event(Event::Accepted(C2));
    // Accepted is 1, but this leader has the promise of 2.
    bench.receive(C2, Message::FollowerInfo(info(2)));
    assert!(bench.sent(|msg| *msg == Message::Rejected(Rejection::OldDisk)));
}
