//! Scripts: at so many milliseconds, an event, and after `:` the actions that follow from it.
//! `c1` are connections, `e0` endpoints, `t1` requests; `*` steps to the next due tick first.

use super::*;
use crate::words::Epoch;
use alloc::format;
use alloc::string::String;
use proptest::prelude::*;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    /// What it must see.
    Read(Txid),
    Write,
}

impl Operation for Op {
    fn is_write(&self) -> bool {
        *self == Self::Write
    }

    fn see(&mut self, seen: Txid) {
        if let Self::Read(floor) = self {
            *floor = seen;
        }
    }
}

fn ms(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn number(word: &str) -> u64 {
    word.trim_start_matches(char::is_alphabetic).parse().unwrap()
}

fn event(words: &[&str]) -> Event<Op, ()> {
    let conn = ConnId::new(words.get(1).map_or(0, |word| number(word)));
    let received = |end| Event::Received { conn, end };
    match words[0] {
        "write" | "read" => Event::Submit {
            id: Ticket::new(number(words[1])),
            op: if words[0] == "read" { Op::Read(Txid::ZERO) } else { Op::Write },
            deadline: ms(number(words[2])),
        },
        "connected" => Event::Connected(conn),
        "failed" => Event::ConnectFailed(conn),
        "closed" => Event::Closed(conn),
        "done" => received(End::Done {
            txid: Txid::new(Epoch::new(1), number(words[2])).unwrap(),
            answer: (),
        }),
        "no-leader" => received(End::Refused(RefuseReason::NoLeader)),
        "busy" => received(End::Refused(RefuseReason::Busy)),
        "full" => received(End::Refused(RefuseReason::Full)),
        "no-space" => received(End::Refused(RefuseReason::NoSpace)),
        "stopping" => received(End::Refused(RefuseReason::Stopping)),
        "too-large" => received(End::Refused(RefuseReason::TooLarge)),
        "unknown" => received(End::Unknown),
        "tick" => Event::Tick,
        other => panic!("no such event: {other}"),
    }
}

fn text(action: &Action<Op, ()>) -> String {
    match action {
        Action::Connect { conn, endpoint } => format!("connect {conn} e{endpoint}"),
        Action::Send { conn, id, op: Op::Read(seen), .. } if !seen.is_zero() => {
            format!("send {conn} {id} seen {seen}")
        }
        Action::Send { conn, id, .. } => format!("send {conn} {id}"),
        Action::Close(conn) => format!("close {conn}"),
        Action::Done { id, end } => match end {
            End::Done { txid, .. } => format!("{id} done {txid}"),
            End::Refused(RefuseReason::TimedOut) => format!("{id} timed out"),
            End::Refused(why) => format!("{id} refused {why:?}"),
            End::Invalid(why) => format!("{id} invalid: {why}"),
            End::Unknown => format!("{id} unknown"),
        },
    }
}

fn run(endpoints: usize, script: &str) {
    let mut client = Client::new(Config::new(endpoints), 7, ms(0));
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (what, expected) = line.split_once(':').unwrap_or((line, ""));
        let words: Vec<_> = what.split_whitespace().collect();
        let now = match words[0] {
            "*" => client.deadline().expect("no tick is due"),
            at => ms(number(at)),
        };
        let mut out = Vec::new();
        client.handle(now, event(&words[1..]), &mut out);
        let actions: Vec<_> = out.iter().map(text).collect();
        assert_eq!(actions.join(", "), expected.trim(), "after: {what}");
        let due = client.deadline();
        assert!(due.is_none_or(|due| due > client.now), "never at rest after: {what}");
    }
}

#[test]
fn requests_share_a_connection_and_are_answered_in_order() {
    run(
        3,
        "0 write t1 9000 : connect c1 e0
         0 read t2 9000 :
         1 connected c1 : send c1 t1, send c1 t2
         2 write t3 9000 : send c1 t3
         3 done c1 5 : t1 done 1.5
         3 done c1 4 : t2 done 1.4
         4 read t4 9000 : send c1 t4 seen 1.5
         5 done c1 6 : t3 done 1.6
         5 done c1 6 : t4 done 1.6",
    );
}

#[test]
fn a_lost_connection_leaves_sent_writes_unknown_and_moves_the_rest() {
    run(
        3,
        "0 write t1 9000 : connect c1 e0
         0 read t2 9000 :
         1 connected c1 : send c1 t1, send c1 t2
         2 closed c1 : t1 unknown, connect c2 e1
         3 write t3 9000 :
         4 connected c2 : send c2 t2, send c2 t3
         5 done c2 1 : t2 done 1.1
         5 done c2 2 : t3 done 1.2",
    );
}

#[test]
fn a_request_that_was_never_sent_goes_to_the_next_endpoint() {
    run(
        3,
        "0 write t1 9000 : connect c1 e0
         1 failed c1 : connect c2 e1
         2 closed c2 : connect c3 e2
         3 connected c3 : send c3 t1
         4 done c3 1 : t1 done 1.1",
    );
}

#[test]
fn a_connection_that_was_unused_for_long_is_opened_anew_before_anything_is_sent() {
    run(
        2,
        "0 write t1 9000 : connect c1 e0
         1 connected c1 : send c1 t1
         2 done c1 1 : t1 done 1.1
         2001 write t2 9000 : send c1 t2
         2002 done c1 2 : t2 done 1.2
         4002 write t3 9000 : close c1, connect c2 e0
         4502 tick : close c2, connect c3 e1
         4503 connected c3 : send c3 t3",
    );
}

#[test]
fn opening_a_connection_has_its_own_timeout() {
    run(
        2,
        "0 write t1 9000 : connect c1 e0
         499 tick :
         500 tick : close c1, connect c2 e1
         501 connected c1 :
         502 connected c2 : send c2 t1",
    );
}

#[test]
fn after_all_endpoints_failed_there_is_a_pause() {
    run(
        2,
        "0 write t1 9000 : connect c1 e0
         1 failed c1 : connect c2 e1
         2 failed c2 :
         3 tick :
         * tick : connect c3 e0
         100 failed c3 : connect c4 e1
         101 failed c4 :
         9000 tick : t1 timed out",
    );
}

#[test]
fn what_was_refused_is_tried_elsewhere_until_its_deadline() {
    for why in ["no-leader", "busy", "stopping"] {
        run(
            2,
            &format!(
                "0 write t1 9000 : connect c1 e0
                 1 connected c1 : send c1 t1
                 2 {why} c1 : close c1
                 3 tick :
                 * tick : connect c2 e1
                 50 connected c2 : send c2 t1
                 51 done c2 1 : t1 done 1.1"
            ),
        );
    }
    run(
        2,
        "0 write t1 60 : connect c1 e0
         1 connected c1 : send c1 t1
         2 busy c1 : close c1
         * tick : connect c2 e1
         40 connected c2 : send c2 t1
         41 no-leader c2 : close c2
         60 tick : t1 refused NoLeader",
    );
}

#[test]
fn the_only_endpoint_is_asked_again_on_the_same_connection() {
    run(
        1,
        "0 write t1 9000 : connect c1 e0
         0 write t2 9000 :
         1 connected c1 : send c1 t1, send c1 t2
         2 no-leader c1 :
         2 no-leader c1 :
         * tick : send c1 t1, send c1 t2",
    );
}

#[test]
fn what_every_node_would_refuse_is_not_tried_again() {
    run(
        2,
        "0 write t1 9000 : connect c1 e0
         1 connected c1 : send c1 t1
         2 too-large c1 : t1 refused TooLarge",
    );
}

#[test]
fn other_requests_of_a_refusing_connection_still_get_their_answers() {
    run(
        2,
        "0 write t1 9000 : connect c1 e0
         0 write t2 9000 :
         1 connected c1 : send c1 t1, send c1 t2
         2 busy c1 :
         3 done c1 1 : t2 done 1.1, close c1
         * tick : connect c2 e1
         50 connected c2 : send c2 t1",
    );
}

#[test]
fn a_node_that_does_not_know_is_believed_for_writes_and_left_for_reads() {
    run(
        2,
        "0 write t1 9000 : connect c1 e0
         0 read t2 9000 :
         1 connected c1 : send c1 t1, send c1 t2
         2 unknown c1 : t1 unknown
         2 unknown c1 : close c1
         * tick : connect c2 e1
         50 connected c2 : send c2 t2",
    );
}

#[test]
fn a_silent_connection_keeps_its_writes_and_loses_its_reads() {
    run(
        2,
        "0 write t1 9000 : connect c1 e0
         0 read t2 9000 :
         1 connected c1 : send c1 t1, send c1 t2
         2001 tick : connect c2 e1
         2002 connected c2 : send c2 t2
         2003 done c2 1 : t2 done 1.1
         2004 write t3 9000 : send c2 t3
         2005 done c1 2 : t1 done 1.2, close c1",
    );
    run(
        2,
        "0 read t1 9000 : connect c1 e0
         1 connected c1 : send c1 t1
         2001 tick : close c1, connect c2 e1
         2002 connected c2 : send c2 t1",
    );
}

#[test]
fn answers_keep_a_connection_alive() {
    run(
        2,
        "0 read t1 9000 : connect c1 e0
         0 read t2 9000 :
         1 connected c1 : send c1 t1, send c1 t2
         1900 done c1 1 : t1 done 1.1
         3899 tick :
         3900 tick : close c1, connect c2 e1",
    );
}

#[test]
fn at_the_deadline_a_sent_write_is_unknown_and_anything_else_certainly_not_done() {
    run(
        2,
        "0 write t1 100 : connect c1 e0
         0 read t2 100 :
         1 connected c1 : send c1 t1, send c1 t2
         100 tick : t1 unknown, t2 timed out
         101 read t3 200 : send c1 t3
         102 done c1 1 :
         102 done c1 1 :
         103 done c1 2 : t3 done 1.2",
    );
    run(
        2,
        "0 write t1 100 : connect c1 e0
         100 tick : t1 timed out",
    );
    run(2, "5 write t1 5 : t1 timed out");
}

#[test]
fn an_answer_to_nothing_ends_the_connection() {
    run(
        2,
        "0 read t1 9000 : connect c1 e0
         1 connected c1 : send c1 t1
         2 done c1 1 : t1 done 1.1
         3 done c1 1 : close c1
         4 read t2 9000 : connect c2 e1",
    );
}

#[test]
fn nodes_are_told_a_time_that_leaves_some_for_their_answer_and_for_others() {
    assert_eq!(told(1), [7800, 70]);
    assert_eq!(told(3), [3900, 70]);
}

/// For how many milliseconds the node may hold two requests.
fn told(endpoints: usize) -> Vec<u64> {
    let mut client = Client::new(Config::new(endpoints), 7, ms(0));
    let mut out = Vec::new();
    for words in ["read t1 8000", "read t2 80", "connected c1"] {
        let words: Vec<_> = words.split_whitespace().collect();
        client.handle(ms(0), event(&words), &mut out);
    }
    out.iter()
        .filter_map(|action| match action {
            Action::Send { wait, .. } => Some(wait.get() / 1000),
            _ => None,
        })
        .collect()
}

proptest! {
    /// Whatever happens, every request ends exactly once, at its deadline at the latest; nothing is
    /// sent on a connection that is not open; and a write is sent again only after a refusal.
    #[test]
    fn every_request_ends_once_and_no_write_is_sent_twice(
        endpoints in 1..4usize,
        steps in prop::collection::vec((0..9u8, 0..6u64, 0..1500u64), 1..80),
    ) {
        let mut client = Client::new(Config::new(endpoints), 1, ms(0));
        let (mut open, mut waiting) = (BTreeSet::new(), BTreeMap::new());
        let mut unrefused = BTreeSet::new();
        let mut on_wire: BTreeMap<ConnId, VecDeque<Ticket>> = BTreeMap::new();
        let mut now = 0;
        let count = steps.len() as u64;
        let last = core::iter::once((8, 0, 100_000));
        for (n, (kind, which, wait)) in steps.into_iter().chain(last).enumerate() {
            now += wait;
            let conn = ConnId::new(client.last_conn.saturating_sub(which / 3));
            let received = |end| Event::Received { conn, end };
            let op = if which % 2 == 0 { Op::Write } else { Op::Read(Txid::ZERO) };
            let event = match kind {
                0..3 => {
                    let id = Ticket::new(n as u64);
                    waiting.insert(id, now + 5000);
                    Event::Submit { id, op, deadline: ms(now + 5000) }
                }
                3 => { open.insert(conn); Event::Connected(conn) }
                4 => received(End::Done { txid: Txid::ZERO, answer: () }),
                5 => received(End::Refused(RefuseReason::Busy)),
                6 => { open.remove(&conn); Event::Closed(conn) }
                _ => Event::Tick,
            };
            if let Event::Received { end, .. } = &event {
                let id = on_wire.get_mut(&conn).and_then(VecDeque::pop_front);
                if let (Some(id), End::Refused(_)) = (id, end) {
                    unrefused.remove(&id);
                }
            }
            let mut out = Vec::new();
            client.handle(ms(now), event, &mut out);
            for action in out {
                match action {
                    Action::Connect { endpoint, .. } => prop_assert!(endpoint < endpoints),
                    Action::Close(conn) => { open.remove(&conn); }
                    Action::Send { conn, id, op, .. } => {
                        prop_assert!(open.contains(&conn), "{} is not open", conn);
                        prop_assert!(waiting.contains_key(&id));
                        prop_assert!(unrefused.insert(id) || !op.is_write(), "{} twice", id);
                        on_wire.entry(conn).or_default().push_back(id);
                    }
                    Action::Done { id, .. } => prop_assert!(waiting.remove(&id).is_some()),
                }
            }
            prop_assert!(waiting.values().all(|deadline| *deadline > now));
            prop_assert_eq!(client.pending(), waiting.len());
        }
        prop_assert!(waiting.is_empty(), "after {} steps", count);
    }
}
