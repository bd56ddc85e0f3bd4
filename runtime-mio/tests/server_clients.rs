//! What one client does to others: nothing, however it behaves.

mod server_support;

use server_support::{Ensemble, LONG, Wire, eventually, get_local, request, set, value_of};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use zabkeeper_core::store::{Answer, Op, Path, Query};
use zabkeeper_core::words::{End, Micros, ReadLevel, RefuseReason, Txid};

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let ensemble = Ensemble::start(3, |_| {});
    ensemble.set(1, "warm", b"up");
    let mut wire = Wire::connect(ensemble.addrs[1].request);
    // Writes take a round through the ensemble, status and local reads none: still in order.
    let mut bytes = Vec::new();
    for id in 0..300 {
        bytes.extend(match id % 3 {
            0 => request(id, set("k", format!("{id}").as_bytes())),
            1 => request(id, get_local("warm")),
            _ => request(id, Op::Status),
        });
    }
    wire.stream.write_all(&bytes).unwrap();
    for id in 0..300 {
        let reply = wire.receive();
        assert_eq!(reply.id, id);
        let expected = match id % 3 {
            0 => matches!(reply.end, End::Done { answer: Answer::Written(Ok(_)), .. }),
            1 => matches!(reply.end, End::Done { .. }),
            _ => matches!(reply.end, End::Done { answer: Answer::Status(_), .. }),
        };
        assert!(expected, "{reply:?}");
    }
    ensemble.stop();
}

#[test]
fn more_requests_than_may_be_under_way_are_all_answered() {
    let ensemble = Ensemble::start(1, |config| config.net.client_requests = 4);
    let mut wire = Wire::connect(ensemble.addrs[0].request);
    let bytes: Vec<u8> = (0..500).flat_map(|id| request(id, set("k", b"v"))).collect();
    wire.stream.write_all(&bytes).unwrap();
    for id in 0..500 {
        assert_eq!(wire.receive().id, id);
    }
    ensemble.stop();
}

#[test]
fn a_client_that_asks_and_closes_its_half_still_gets_its_answers() {
    let ensemble = Ensemble::start(1, |_| {});
    let mut wire = Wire::connect(ensemble.addrs[0].request);
    ensemble.set(0, "k", b"v");
    wire.send(1, set("other", b"w"));
    wire.send(2, get_local("k"));
    wire.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(matches!(wire.receive().end, End::Done { answer: Answer::Written(_), .. }));
    assert_eq!(value_of(wire.receive().end), Some(b"v".to_vec()));
    let mut rest = Vec::new();
    assert_eq!(wire.stream.read_to_end(&mut rest).unwrap(), 0);
    ensemble.stop();
}

#[test]
fn a_client_that_never_reads_is_dropped_and_nobody_waits_for_it() {
    let ensemble = Ensemble::start(1, |config| config.net.client_stall = Micros::millis(200));
    ensemble.set(0, "big", &vec![7; 512 << 10]);
    let mut stuck = Wire::connect(ensemble.addrs[0].request);
    let asked: Vec<u8> = (0..500).flat_map(|id| request(id, get_local("big"))).collect();
    stuck.stream.write_all(&asked).unwrap();
    let mut other = Wire::connect(ensemble.addrs[0].request);
    let mut id = 0;
    eventually("the stuck client is dropped", || {
        id += 1;
        assert!(matches!(
            other.ask(id, set("k", b"v")),
            End::Done { answer: Answer::Written(_), .. }
        ));
        ensemble.count(0, "client.stuck") == 1
    });
    ensemble.stop();
}

#[test]
fn answers_far_larger_than_the_buffer_all_arrive_at_a_client_that_reads() {
    let ensemble = Ensemble::start(1, |config| config.net.client_buffer = 1 << 16);
    ensemble.set(0, "big", &vec![7; 1 << 20]);
    let mut wire = Wire::connect(ensemble.addrs[0].request);
    // One turn takes them all.
    let asked: Vec<u8> = (0..100).flat_map(|id| request(id, get_local("big"))).collect();
    wire.stream.write_all(&asked).unwrap();
    for id in 0..100 {
        let reply = wire.receive();
        assert_eq!(reply.id, id);
        assert_eq!(value_of(reply.end).unwrap().len(), 1 << 20);
    }
    ensemble.stop();
}

#[test]
fn pages_are_made_as_clients_read_them_and_not_as_they_ask() {
    let ensemble = Ensemble::start(1, |_| {});
    let mut wire = Wire::connect(ensemble.addrs[0].request);
    let fill = |id: u64| request(id, set(&format!("dir/{id:04}"), &[7; 1000]));
    wire.stream.write_all(&(0..1000).flat_map(fill).collect::<Vec<u8>>()).unwrap();
    (0..1000).for_each(|id| assert_eq!(wire.receive().id, id));

    // Twenty clients ask for 5 GB of pages. Nineteen do not read them.
    let path = Path::parse("dir").unwrap();
    let list = Query::List { path, recursive: false, after: None, limit: 10_000, values: true };
    let list = Op::Read { query: list, level: ReadLevel::Local(Txid::ZERO) };
    let before = resident_bytes();
    let mut greedy: Vec<Wire> = (0..20)
        .map(|_| {
            let mut wire = Wire::connect(ensemble.addrs[0].request);
            let ask =
                |id: u64| [request(2 * id, list.clone()), request(2 * id + 1, get_local("k"))];
            wire.stream.write_all(&(0..250).flat_map(ask).flatten().collect::<Vec<u8>>()).unwrap();
            wire
        })
        .collect();
    let begin = Instant::now();
    for id in 1000..1020 {
        assert!(matches!(
            wire.ask(id, set("k", b"v")),
            End::Done { answer: Answer::Written(_), .. }
        ));
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "others waited {:?}", begin.elapsed());
    let reader = greedy.last_mut().unwrap();
    for id in 0..20 {
        let page = reader.receive();
        assert_eq!(page.id, 2 * id);
        let End::Done { answer: Answer::List(Some(page)), .. } = page.end else {
            panic!("{:?} is no page", page.end);
        };
        assert_eq!(page.nodes.len(), 949, "as many as a page holds");
        assert_eq!(reader.receive().id, 2 * id + 1);
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 400 << 20, "{grown} bytes for pages that nobody reads");
    drop(greedy);
    ensemble.stop();
}

/// What this process, nodes included, has in memory.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn a_flood_on_one_connection_does_not_starve_another() {
    let ensemble = Ensemble::start(1, |_| {});
    ensemble.set(0, "k", b"v");
    let addr = ensemble.addrs[0].request;
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut flood = Wire::connect(addr);
            let mut reader = flood.stream.try_clone().unwrap();
            let (stop, answered) = (&stop, &answered);
            scope.spawn(move || {
                let chunk: Vec<u8> = (0..500).flat_map(|id| request(id, get_local("k"))).collect();
                while !stop.load(Ordering::Relaxed) {
                    flood.stream.write_all(&chunk).unwrap();
                }
                flood.stream.shutdown(std::net::Shutdown::Write).unwrap();
            });
            scope.spawn(move || {
                let mut room = vec![0; 256 << 10];
                loop {
                    match reader.read(&mut room).unwrap() {
                        0 => return,
                        count => answered.fetch_add(count as u64, Ordering::Relaxed),
                    };
                }
            });
        }
        eventually("the flood runs", || answered.load(Ordering::Relaxed) > 1 << 20);
        let mut modest = Wire::connect(addr);
        let mut slowest = Duration::ZERO;
        for id in 0..100 {
            let begun = Instant::now();
            assert!(matches!(modest.ask(id, get_local("k")), End::Done { .. }));
            slowest = slowest.max(begun.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
        assert!(slowest < Duration::from_secs(1), "a request waited {slowest:?}");
    });
    ensemble.stop();
}

#[test]
fn a_value_over_the_limit_is_refused_without_harm() {
    let ensemble = Ensemble::start(1, |config| config.core.limits.command_bytes = 1 << 10);
    let mut wire = Wire::connect(ensemble.addrs[0].request);
    let refused = wire.ask(1, set("k", &[1; 2 << 10]));
    assert_eq!(refused, End::Refused(RefuseReason::TooLarge));
    assert!(matches!(
        wire.ask(2, set("k", b"small")),
        End::Done { answer: Answer::Written(_), .. }
    ));
    ensemble.stop();
}

#[test]
fn listings_without_a_leader_are_refused_together() {
    let hold = Micros::millis(500);
    let mut ensemble = Ensemble::start(3, |config| config.core.timeouts.hold = hold);
    ensemble.set(0, "dir/k", b"v");
    for other in ensemble.servers.drain(1..) {
        other.stop();
        other.wait();
    }
    let path = Path::parse("dir").unwrap();
    let list = Query::List { path, recursive: false, after: None, limit: 10, values: false };
    let list = Op::Read { query: list, level: ReadLevel::Linearizable };
    let mut wire = Wire::connect(ensemble.addrs[0].request);
    let mut bytes: Vec<u8> = (0..30).flat_map(|id| request(id, list.clone())).collect();
    bytes.extend(request(30, set("k", b"w")));
    let begin = Instant::now();
    wire.stream.write_all(&bytes).unwrap();
    for id in 0..30 {
        let reply = wire.receive();
        assert_eq!((reply.id, reply.end), (id, End::Refused(RefuseReason::NoLeader)));
    }
    assert_eq!(wire.receive().id, 30);
    // One after the other they would take 30 times as long as one is held.
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    ensemble.stop();
}

#[test]
fn a_stopping_node_refuses_and_its_handle_says_so() {
    let mut ensemble = Ensemble::start(1, |_| {});
    ensemble.set(0, "k", b"v");
    let server = ensemble.servers.remove(0);
    let handle = server.handle();
    server.stop();
    assert_eq!(server.wait().exit_code(), 0);
    let result = handle.request(set("k", b"w"), LONG);
    assert_eq!(result, End::Refused(RefuseReason::Stopping));
    assert!(handle.status().is_err());
    assert_eq!(handle.exited().map(|reason| reason.exit_code()), Some(0));
}
