//! The service by its own word: no socket, no replica, time as it is told.

use super::*;
use crate::store::{Command, Found, Op, Page, Path, Stat};
use crate::words::{Micros, ReadLevel, RefuseReason, Txid};
use alloc::vec;
use core::net::Ipv4Addr;

const ALONE: Load = Load { disk: 0, waiting: 0, put_off: 0 };

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn addr(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn set() -> Op {
    Op::Write(Command::Set { path: path("a"), value: b"x".as_slice().into() })
}

fn get() -> Op {
    Op::Read { query: Query::Get { path: path("a") }, level: ReadLevel::Linearizable }
}

fn list() -> Op {
    let (path, after) = (path("a"), None);
    let query = Query::List { path, recursive: false, after, limit: 10, values: true };
    Op::Read { query, level: ReadLevel::Local(Txid::ZERO) }
}

fn done(answer: Answer) -> End<Answer> {
    End::Done { txid: Txid::ZERO, answer }
}

fn status() -> crate::zab::Status {
    unreachable!("nobody asks for the status")
}

fn service(change: impl FnOnce(&mut Limits)) -> Service {
    let mut limits = Limits::default();
    change(&mut limits);
    Service::new(limits, Ticket::new(0))
}

fn open(service: &mut Service) -> ConnId {
    service.opened(at(0), addr(1)).0
}

/// A turn in which a connection says this: what of it is taken.
fn turn(service: &mut Service, now: u64, load: Load, says: &[(ConnId, Vec<(u64, Op)>)]) -> usize {
    for (conn, _) in says {
        service.readable(at(now), *conn);
    }
    service.begin_turn(at(now), load);
    let mut taken = 0;
    while let Some(conn) = service.next_turn() {
        let ops = says.iter().find(|(of, _)| *of == conn).map(|(_, ops)| ops.as_slice());
        let taking = take(service, now, conn, ops.unwrap_or_default(), &mut taken);
        assert!(!service.end_turn(at(now), conn, (taking, false), 0));
    }
    service.check();
    taken
}

fn take(
    service: &mut Service,
    now: u64,
    conn: ConnId,
    ops: &[(u64, Op)],
    taken: &mut usize,
) -> Taking {
    for (id, op) in ops {
        let taking = service.may_take(conn);
        if taking != Taking::Go {
            return taking;
        }
        let asked = Asked { id: *id, wait: Micros::millis(5_000), op: Ok(op.clone()) };
        if !service.request(at(now), conn, asked, status) {
            return Taking::Stop;
        }
        *taken += 1;
    }
    Taking::Go
}

/// What leaves on all connections that are due, by their buffers' room, and who is to be closed.
fn write(service: &mut Service, now: u64) -> (Vec<(ConnId, u64)>, Vec<ConnId>) {
    let (mut left, mut closed) = (Vec::new(), Vec::new());
    for _ in 0..service.due() {
        let conn = service.next_due().unwrap();
        while let Some((id, _)) = service.next_answer(conn, 0) {
            left.push((conn, id));
        }
        if service.wrote(at(now), conn, (left.len() as u64, 0), 0) {
            closed.push(conn);
        }
    }
    service.check();
    (left, closed)
}

fn tickets(service: &mut Service) -> Vec<Ticket> {
    service.take_requests().iter().map(|request| request.ticket).collect()
}

#[test]
fn answers_leave_in_the_order_of_the_requests() {
    let mut service = service(|_| ());
    let conn = open(&mut service);
    assert_eq!(
        turn(&mut service, 0, ALONE, &[(conn, vec![(7, get()), (8, set()), (9, get())])]),
        3
    );
    let tickets = tickets(&mut service);
    assert_eq!(service.asker(tickets[1]), Some((Some(conn), 8)));
    service.answered(tickets[1], done(Answer::Written(Ok(Stat::default()))));
    assert_eq!(write(&mut service, 1).0, []);
    service.answered(tickets[0], done(Answer::Node(None)));
    assert_eq!(write(&mut service, 1).0, [(conn, 7), (conn, 8)]);
    service.answered(tickets[2], End::Refused(RefuseReason::NoLeader));
    assert_eq!(write(&mut service, 1).0, [(conn, 9)]);
    // A second answer to the same has nobody to go to.
    service.answered(tickets[2], End::Unknown);
    assert_eq!(write(&mut service, 1).0, []);
    assert!(service.is_settled() && !service.is_busy(ALONE));
}

#[test]
fn what_was_asked_on_a_connection_that_is_gone_is_forgotten_and_answers_nobody() {
    let mut service = service(|_| ());
    let conn = open(&mut service);
    turn(&mut service, 0, ALONE, &[(conn, vec![(1, get()), (2, list()), (3, list())])]);
    let asked = tickets(&mut service);
    // The second listing waits behind the first.
    assert_eq!(asked.len(), 2);
    service.closed(conn);
    let next = open(&mut service);
    assert_eq!(place(next), place(conn));
    assert_eq!(service.take_forgotten().len(), 3);
    turn(&mut service, 0, ALONE, &[(next, vec![(1, get())])]);
    service.answered(asked[0], done(Answer::Node(None)));
    assert_eq!(write(&mut service, 0).0, []);
    service.closed(next);
    service.check();
    assert_eq!((service.used(), service.is_empty()), (0, true));
}

#[test]
fn a_client_gets_its_share_of_a_turn_and_is_read_again_in_the_next() {
    let mut service = service(|limits| (limits.batch, limits.share) = (6, 2));
    let conns: Vec<ConnId> = (0..2).map(|_| open(&mut service)).collect();
    let many: Vec<(u64, Op)> = (0..9).map(|id| (id, get())).collect();
    let says: Vec<_> = conns.iter().map(|conn| (*conn, many.clone())).collect();
    assert_eq!(turn(&mut service, 0, ALONE, &says), 6);
    assert!(service.is_busy(ALONE));
    assert_eq!(service.waiting().0, 2);
    // Nothing is taken while that waits.
    assert_eq!(turn(&mut service, 0, ALONE, &says), 0);
    tickets(&mut service);
    assert_eq!(turn(&mut service, 0, Load { put_off: 6, ..ALONE }, &says), 0);
    assert_eq!(turn(&mut service, 0, ALONE, &says), 6);
}

#[test]
fn a_client_with_too_much_under_way_is_read_again_once_it_has_its_answers() {
    let mut service = service(|limits| limits.requests = 2);
    let conn = open(&mut service);
    let says = [(conn, (1..5).map(|id| (id, get())).collect())];
    assert_eq!(turn(&mut service, 0, ALONE, &says), 2);
    for ticket in tickets(&mut service) {
        assert_eq!(service.waiting().0, 0);
        service.answered(ticket, done(Answer::Node(None)));
    }
    write(&mut service, 1);
    assert_eq!(service.waiting().0, 1);
}

#[test]
fn writes_wait_for_the_disk_while_others_read() {
    let mut service = service(|_| ());
    let (writer, reader) = (open(&mut service), open(&mut service));
    let behind = Load { disk: 65 << 20, ..ALONE };
    let says = [(writer, vec![(1, set())]), (reader, vec![(1, get())])];
    assert_eq!(turn(&mut service, 0, behind, &says), 1);
    tickets(&mut service);
    assert!(!service.is_busy(behind) && service.is_busy(ALONE));
    assert_eq!(turn(&mut service, 1, behind, &[]), 0);
    service.begin_turn(at(2), ALONE);
    assert_eq!(service.next_turn(), Some(writer));
}

#[test]
fn a_client_gets_one_listing_at_a_time_and_those_behind_a_refused_one_are_refused() {
    let mut service = service(|_| ());
    let conn = open(&mut service);
    let says = [(conn, (1..5).map(|id| (id, list())).collect())];
    assert_eq!(turn(&mut service, 0, ALONE, &says), 4);
    let first = tickets(&mut service);
    assert_eq!(first.len(), 1);
    let node = Found { path: path("a/b"), value: None, stat: Stat::default() };
    let page = Page { nodes: vec![node], more: false };
    service.answered(first[0], done(Answer::List(Some(page))));
    assert_eq!(write(&mut service, 0).0, [(conn, 1)]);
    let second = tickets(&mut service);
    assert_eq!(second.len(), 1);
    service.answered(second[0], End::Refused(RefuseReason::NoLeader));
    assert_eq!(write(&mut service, 0).0, [(conn, 2), (conn, 3), (conn, 4)]);
    assert!(service.is_settled());
}

#[test]
fn a_large_request_is_read_when_there_is_room_and_the_others_wait_in_line() {
    let mut service = service(|limits| (limits.memory, limits.large) = (1_000, 100));
    let conns: Vec<ConnId> = (0..3).map(|_| open(&mut service)).collect();
    service.begin_turn(at(0), ALONE);
    assert_eq!(service.partial(at(0), conns[0], 100), Rest::Read);
    assert_eq!(service.partial(at(0), conns[0], 900), Rest::Granted(900));
    assert_eq!(service.partial(at(0), conns[0], 900), Rest::Read);
    assert_eq!(service.partial(at(0), conns[1], 200), Rest::Wait);
    assert_eq!(service.partial(at(0), conns[2], 200), Rest::Wait);
    service.check();
    service.begin_turn(at(1), ALONE);
    assert_eq!(service.next_grant(), None);
    service.closed(conns[0]);
    service.begin_turn(at(2), ALONE);
    assert_eq!(service.next_grant(), Some((conns[1], 200)));
    assert_eq!(service.next_grant(), Some((conns[2], 200)));
    assert_eq!(service.next_turn(), Some(conns[1]));
    service.check();
}

#[test]
fn who_comes_when_all_places_are_taken_gets_the_status_and_nothing_else() {
    let mut service = service(|limits| (limits.places, limits.controls) = (1, 1));
    let (_, placed) = service.opened(at(0), addr(1));
    assert!(placed);
    let (late, placed) = service.opened(at(0), addr(2));
    assert!(!placed && service.is_control(late) && service.oldest_control().is_none());
    assert_eq!(turn(&mut service, 0, ALONE, &[(late, vec![(1, get())])]), 1);
    assert_eq!(tickets(&mut service), []);
    service.next_due();
    let refused = End::Refused(RefuseReason::Full);
    assert_eq!(service.next_answer(late, 0), Some((1, refused)));
    let (later, _) = service.opened(at(0), addr(3));
    assert_eq!(service.oldest_control(), Some(late));
    service.closed(late);
    assert_eq!(service.overdue(at(6_000)), [(later, Fault::Idle)]);
}

#[test]
fn who_came_when_all_places_were_taken_is_served_once_one_is_free() {
    let mut service = service(|limits| limits.places = 1);
    let first = open(&mut service);
    let late = open(&mut service);
    assert!(service.is_control(late));
    service.closed(first);
    turn(&mut service, 0, ALONE, &[(late, vec![(1, get())])]);
    assert!(!service.is_control(late) && tickets(&mut service).len() == 1);
    assert_eq!(service.overdue(at(6_000)), [], "it has a place now");
}

#[test]
fn who_does_not_go_on_has_to_go_and_who_waits_for_others_has_not() {
    let mut service = service(|_| ());
    let (amid, deaf, waits) = (open(&mut service), open(&mut service), open(&mut service));
    service.partial(at(0), amid, 50);
    service.settle(amid, None);
    service.wrote(at(0), deaf, (0, 5_000), 5_000);
    turn(&mut service, 0, ALONE, &[(waits, vec![(1, get())])]);
    assert_eq!(service.overdue(at(9_000)), []);
    assert_eq!(service.overdue(at(11_000)), [(deaf, Fault::Stuck)]);
    service.closed(deaf);
    assert_eq!(service.overdue(at(31_000)), [(amid, Fault::Unfinished)]);
    service.closed(amid);
    assert_eq!(service.overdue(at(4_000_000)), [], "its answer is not there yet");
    let ticket = tickets(&mut service)[0];
    service.answered(ticket, done(Answer::Node(None)));
    write(&mut service, 4_000_000);
    assert_eq!(service.overdue(at(8_000_000)), [(waits, Fault::Idle)]);
}

#[test]
fn who_holds_what_others_wait_for_and_does_not_get_on_has_to_go() {
    let mut service = service(|limits| (limits.memory, limits.large) = (1_000, 100));
    let (holds, wants) = (open(&mut service), open(&mut service));
    assert_eq!(service.partial(at(0), holds, 900), Rest::Granted(900));
    assert_eq!(service.partial(at(0), wants, 900), Rest::Wait);
    assert_eq!(service.overdue(at(900)), []);
    assert_eq!(service.overdue(at(1_100)), [(holds, Fault::Greedy)]);
}

#[test]
fn the_process_itself_asks_and_is_answered_like_anybody() {
    let mut service = service(|_| ());
    let asked = |id, op| Asked { id, wait: Micros::millis(10), op: Ok(op) };
    service.call(at(0), asked(5, get()), status);
    let request = service.take_requests().remove(0);
    assert_eq!(request.deadline, at(10));
    service.answered(request.ticket, done(Answer::Node(None)));
    assert_eq!(service.next_own(), Some((5, done(Answer::Node(None)))));
    service.call(at(0), asked(6, get()), status);
    let request = service.take_requests().remove(0);
    service.abandon(request.ticket);
    assert_eq!(service.take_forgotten(), [request.ticket]);
    service.stop();
    service.call(at(0), asked(7, get()), status);
    assert_eq!(service.next_own(), Some((7, End::Refused(RefuseReason::Stopping))));
}

#[test]
fn what_is_too_large_or_makes_no_sense_is_answered_in_its_turn() {
    let mut service = service(|limits| limits.value = 3);
    let conn = open(&mut service);
    turn(&mut service, 0, ALONE, &[(conn, vec![(1, get())])]);
    let large = Command::Set { path: path("a"), value: b"four".as_slice().into() };
    turn(&mut service, 0, ALONE, &[(conn, vec![(2, Op::Write(large))])]);
    service.begin_turn(at(0), ALONE);
    let asked = Asked { id: 3, wait: Micros::new(0), op: Err(End::Invalid("no".into())) };
    assert!(service.request(at(0), conn, asked, status));
    assert_eq!(service.due(), 0, "the first has no answer yet");
    let ticket = tickets(&mut service)[0];
    service.answered(ticket, done(Answer::Node(None)));
    assert_eq!(write(&mut service, 0).0, [(conn, 1), (conn, 2), (conn, 3)]);
}

#[test]
fn a_client_that_has_said_all_is_closed_once_it_has_all() {
    let mut service = service(|_| ());
    let conn = open(&mut service);
    turn(&mut service, 0, ALONE, &[(conn, vec![(1, get())])]);
    service.ended(conn);
    let ticket = tickets(&mut service)[0];
    assert_eq!(write(&mut service, 0).1, []);
    service.answered(ticket, done(Answer::Node(None)));
    assert_eq!(write(&mut service, 0).1, [conn]);
}
