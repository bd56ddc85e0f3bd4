//! What clients can use up is never what the node needs to live.

mod server_support;

use server_support::{Ensemble, Wire, eventually, get_local, request, set, value_of};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use zabkeeper_core::store::{
    Answer, CLEAR_NODES, Command, CommandError, DELETE_NODES, Op, Path, Query,
};
use zabkeeper_core::words::{End, Micros, ReadLevel, RefuseReason, Txid};
use zabkeeper_runtime_mio::client::{Client, ClientError, ClientOptions};

fn refused(result: &End<Answer>, why: RefuseReason) -> bool {
    *result == End::Refused(why)
}

#[test]
fn a_client_too_many_gets_the_status_and_is_told_to_ask_another_node() {
    let ensemble = Ensemble::start(1, |config| config.net.clients = 2);
    let addr = ensemble.addrs[0].request;
    let mut first = Wire::connect(addr);
    let mut second = Wire::connect(addr);
    first.ask(1, Op::Status);
    second.ask(1, Op::Status);
    // More of them than the node keeps, none of which says anything at first.
    let mut more: Vec<Wire> = (0..12).map(|_| Wire::connect(addr)).collect();
    for wire in &mut more {
        assert!(matches!(wire.ask(1, Op::Status), End::Done { answer: Answer::Status(_), .. }));
        assert!(refused(&wire.ask(2, set("k", b"v")), RefuseReason::Full));
        assert!(refused(&wire.ask(3, get_local("k")), RefuseReason::Full));
    }
    eventually("it is counted", || ensemble.count(0, "client.too_many") == 12);
    assert!(matches!(first.ask(2, set("k", b"v")), End::Done { answer: Answer::Written(_), .. }));
    drop(first);
    eventually("a new client has the free place", || {
        let mut late = Wire::connect(addr);
        matches!(late.ask(1, set("k", b"w")), End::Done { answer: Answer::Written(_), .. })
    });
    ensemble.stop();
}

#[test]
fn those_who_are_too_many_are_sent_away_after_a_moment() {
    let ensemble = Ensemble::start(1, |config| config.net.clients = 1);
    let addr = ensemble.addrs[0].request;
    let mut first = Wire::connect(addr);
    first.ask(1, Op::Status);
    let mut idle: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(addr).unwrap()).collect();
    // The node keeps a few of them only, so the status is told to whoever comes and asks.
    assert!(matches!(
        Wire::connect(addr).ask(1, Op::Status),
        End::Done { answer: Answer::Status(_), .. }
    ));
    for stream in &mut idle {
        stream.set_read_timeout(Some(server_support::LONG)).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "it is closed");
    }
    assert!(matches!(first.ask(2, set("k", b"v")), End::Done { answer: Answer::Written(_), .. }));
    ensemble.stop();
}

#[test]
fn whoever_says_nothing_for_long_gives_its_place_back() {
    let ensemble = Ensemble::start(1, |config| {
        config.net.clients = 1;
        config.net.client_idle = Micros::millis(300);
    });
    let addr = ensemble.addrs[0].request;
    let mut idle = Wire::connect(addr);
    idle.ask(1, Op::Status);
    eventually("there is a place", || {
        let mut wire = Wire::connect(addr);
        matches!(wire.ask(1, set("k", b"v")), End::Done { answer: Answer::Written(_), .. })
    });
    assert_eq!(idle.stream.read(&mut [0; 1]).unwrap_or(0), 0);
    ensemble.stop();
}

#[test]
fn a_request_must_be_complete_within_its_time() {
    let ensemble = Ensemble::start(1, |config| {
        config.net.client_request = Micros::millis(200);
    });
    let addr = ensemble.addrs[0].request;
    for bytes in [request(1, set("k", &[1; 500 << 10])), request(1, Op::Status)] {
        let mut half = Wire::connect(addr);
        half.stream.write_all(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(half.stream.read(&mut [0; 1]).unwrap_or(0), 0, "it is closed");
    }
    assert_eq!(ensemble.count(0, "client.unfinished"), 2);
    let mut slow = Wire::connect(addr);
    for id in 0..8 {
        // Whole requests, each sent in two pieces, for longer than one may take.
        let bytes = request(id, set("k", b"v"));
        let (one, two) = bytes.split_at(20);
        slow.stream.write_all(one).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        slow.stream.write_all(two).unwrap();
        assert!(matches!(slow.receive().end, End::Done { answer: Answer::Written(_), .. }));
    }
    ensemble.stop();
}

#[test]
fn half_sent_requests_take_no_more_memory_than_all_clients_may_and_others_are_served() {
    let ensemble = Ensemble::start(1, |config| config.net.clients_memory = 8 << 20);
    let addr = ensemble.addrs[0].request;
    ensemble.set(0, "warm", b"up");
    let before = resident_bytes();
    let whole = request(1, set("k", &vec![1; 1 << 20]));
    let half: Vec<TcpStream> = (0..32)
        .map(|_| {
            let stream = TcpStream::connect(addr).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
            // What the node does not read stays here.
            let _ = (&stream).write_all(&whole[..whole.len() - 1]);
            stream
        })
        .collect();
    let mut other = Wire::connect(addr);
    assert!(matches!(
        other.ask(1, set("small", b"v")),
        End::Done { answer: Answer::Written(_), .. }
    ));
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 40 << 20, "{grown} bytes for requests that do not end");
    // A large one finds room too, when those go that do not get on.
    assert!(matches!(
        other.ask(2, set("large", &vec![1; 1 << 20])),
        End::Done { answer: Answer::Written(_), .. }
    ));
    assert!(ensemble.count(0, "client.greedy") > 0);
    drop(half);
    ensemble.stop();
}

#[test]
fn listings_that_nobody_reads_take_no_more_memory_than_all_clients_may() {
    let ensemble = Ensemble::start(1, |config| {
        config.net.clients_memory = 8 << 20;
        config.net.client_stall = Micros::millis(60_000);
    });
    let addr = ensemble.addrs[0].request;
    let mut wire = Wire::connect(addr);
    let fill = |id: u64| request(id, set(&format!("dir/{id:04}"), &[7; 4000]));
    wire.stream.write_all(&(0..300).flat_map(fill).collect::<Vec<u8>>()).unwrap();
    (0..300).for_each(|id| assert_eq!(wire.receive().id, id));
    let path = Path::parse("dir").unwrap();
    let list = Query::List { path, recursive: false, after: None, limit: 10_000, values: true };
    let list = Op::Read { query: list, level: ReadLevel::Local(Txid::ZERO) };
    let asked: Vec<u8> = (0..20).flat_map(|id| request(id, list.clone())).collect();
    let before = resident_bytes();
    let greedy: Vec<TcpStream> = (0..30)
        .map(|_| {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(&asked).unwrap();
            stream
        })
        .collect();
    // The last in line has room too, when those go that do not read.
    let mut last = Wire::connect(addr);
    last.stream.write_all(&asked).unwrap();
    for id in 0..20 {
        assert_eq!(last.receive().id, id);
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 60 << 20, "{grown} bytes for pages that nobody reads");
    assert!(ensemble.count(0, "client.greedy") > 0);
    drop(greedy);
    ensemble.stop();
}

#[test]
fn a_client_that_reads_a_little_now_and_then_is_dropped() {
    let ensemble = Ensemble::start(1, |config| {
        config.net.client_stall = Micros::millis(300);
        config.net.client_rate = 1 << 20;
    });
    ensemble.set(0, "big", &vec![7; 512 << 10]);
    let mut slow = Wire::connect(ensemble.addrs[0].request);
    let asked: Vec<u8> = (0..200).flat_map(|id| request(id, get_local("big"))).collect();
    slow.stream.write_all(&asked).unwrap();
    let mut little = [0; 16 << 10];
    eventually("it is dropped", || {
        std::thread::sleep(Duration::from_millis(20));
        let _ = slow.stream.read(&mut little);
        ensemble.count(0, "client.stuck") == 1
    });
    ensemble.stop();
}

#[test]
fn a_request_of_any_length_is_answered_too_large_and_the_connection_goes_on() {
    let ensemble = Ensemble::start(1, |config| {
        config.net.value_bytes = 1000;
        config.core.limits.command_bytes = 9 << 10;
    });
    let mut wire = Wire::connect(ensemble.addrs[0].request);
    assert!(matches!(
        wire.ask(1, set("k", &[1; 1000])),
        End::Done { answer: Answer::Written(_), .. }
    ));
    let last = ensemble.servers[0].handle().status().unwrap().last;
    for (id, over) in [1, 100, 8_000, 9_000, 16_000, 20_000, 200_000, 3 << 20].iter().enumerate() {
        let id = id as u64 + 2;
        let result = wire.ask(id, set("k", &vec![1; 1000 + over]));
        assert!(refused(&result, RefuseReason::TooLarge), "{over} over: {result:?}");
    }
    assert_eq!(ensemble.servers[0].handle().status().unwrap().last, last, "no entry was made");
    assert_eq!(value_of(wire.ask(20, get_local("k"))).map(|value| value.len()), Some(1000));
    ensemble.stop();
}

#[test]
fn a_tree_that_is_full_refuses_what_grows_and_deletes() {
    let ensemble = Ensemble::start(3, |config| config.core.limits.state_bytes = 100 << 10);
    let handle = ensemble.servers[1].handle();
    let ask = |op| handle.request(op, server_support::LONG);
    let mut stored = 0;
    let result = loop {
        match ask(set(&format!("dir/{stored}"), &[1; 1 << 10])) {
            End::Done { answer: Answer::Written(_), .. } => stored += 1,
            result => break result,
        }
        assert!(stored < 200, "it has no end");
    };
    assert!(refused(&result, RefuseReason::NoSpace));
    assert!(stored > 50, "{stored} KiB in 100");
    assert!(matches!(
        ask(set("dir/0", &[2; 1 << 10])),
        End::Done { answer: Answer::Written(_), .. }
    ));
    let gone = Command::Delete { path: Path::parse("dir").unwrap(), recursive: true };
    assert!(matches!(ask(Op::Write(gone)), End::Done { answer: Answer::Written(Ok(_)), .. }));
    assert!(matches!(ask(set("new", &[1; 1 << 10])), End::Done { answer: Answer::Written(_), .. }));
    ensemble.stop();
}

#[test]
fn a_subtree_too_large_for_one_command_is_deleted_in_parts() {
    let ensemble = Ensemble::start(1, |_| {});
    let addr = ensemble.addrs[0].request;
    let mut wire = Wire::connect(addr);
    let count = u64::from(DELETE_NODES) + 1;
    for begin in (0..count).step_by(1000) {
        let ids = begin..count.min(begin + 1000);
        let fill = |id: u64| request(id, set(&format!("dir/{id}"), b""));
        wire.stream.write_all(&ids.clone().flat_map(fill).collect::<Vec<u8>>()).unwrap();
        ids.for_each(|id| assert_eq!(wire.receive().id, id));
    }
    let mut client = Client::connect(ClientOptions::new(vec![addr.to_string()])).unwrap();
    let dir = Path::parse("dir").unwrap();
    let refused = client.delete(&dir, true);
    assert!(matches!(refused, Err(ClientError::Rejected(CommandError::TooMany))));
    let deleted = client.delete_all(&dir).unwrap();
    assert_eq!(deleted.parts, count.div_ceil(u64::from(CLEAR_NODES)));
    assert_eq!(client.get(&dir, ReadLevel::Linearizable).unwrap().answer, None);
    client.set(&dir, b"v".as_slice().into()).unwrap();
    assert_eq!(client.delete_all(&dir).unwrap().parts, 1);
    ensemble.stop();
}

/// `FLOOD_CLIENTS=1000 FLOOD_SECONDS=20` make it the measurement of `docs/performance.md`.
#[test]
fn a_flood_of_pipelined_requests_changes_no_leader_and_lets_others_through() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse::<u64>().expect("a number"))
    };
    let (clients, seconds) = (number("FLOOD_CLIENTS", 160), number("FLOOD_SECONDS", 3));
    let ensemble = Ensemble::start(3, |_| {});
    ensemble.set(0, "k", b"v");
    let leads = |index: usize| ensemble.count(index, "note.established") > 0;
    let leader = (0..3).find(|index| leads(*index)).unwrap();
    let status = || ensemble.servers[leader].handle().status().unwrap();
    let before = status().current;
    let stop = AtomicBool::new(false);
    let addr = ensemble.addrs[leader].request;
    let mut waits = hdrhistogram::Histogram::<u64>::new(3).unwrap();
    std::thread::scope(|scope| {
        for op in [Op::Status, get_local("k")] {
            let stop = &stop;
            scope.spawn(move || flood(addr, clients / 2, &op, stop));
        }
        let mut modest = Wire::connect(addr);
        let until = Instant::now() + Duration::from_secs(seconds);
        for id in 0.. {
            let begun = Instant::now();
            assert!(matches!(modest.ask(id, get_local("k")), End::Done { .. }));
            waits.record(begun.elapsed().as_micros() as u64).unwrap();
            if Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let longest = status().longest_turn;
    println!(
        "{clients} clients flood the leader; another one waits: median {} us, p99 {} us, p99.9 {} \
         us, at most {} us; longest turn {longest:?}",
        waits.value_at_quantile(0.5),
        waits.value_at_quantile(0.99),
        waits.value_at_quantile(0.999),
        waits.max(),
    );
    assert_eq!(status().current, before, "another leader was elected");
    // On a machine with other things to do.
    assert!(waits.max() < 2_000_000, "a request waited {} us", waits.max());
    assert!(longest < Micros::millis(700), "a turn took {longest:?}");
    ensemble.stop();
}

/// Asks the same on so many connections as fast as the node takes it.
fn flood(addr: std::net::SocketAddr, clients: u64, op: &Op, stop: &AtomicBool) {
    // What is measured is how long the node has others wait, not who gets the processors.
    let _ = rustix::process::nice(19);
    let chunk: Vec<u8> = (0..1000).flat_map(|id| request(id, op.clone())).collect();
    let connect = |_| {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nonblocking(true).unwrap();
        (stream, 0)
    };
    let mut wires: Vec<(TcpStream, usize)> = (0..clients).map(connect).collect();
    let mut room = vec![0; 256 << 10];
    while !stop.load(Ordering::Relaxed) {
        for (stream, at) in &mut wires {
            let _ = stream.read(&mut room);
            if let Ok(count) = stream.write(&chunk[*at..]) {
                *at = (*at + count) % chunk.len();
            }
        }
    }
}

/// What this process, nodes included, has in memory.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
