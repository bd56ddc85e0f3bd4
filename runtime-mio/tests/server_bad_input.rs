//! Garbage, truncated, oversized and version-mismatched bytes on each of the three ports: the
//! connection is closed (a datagram is ignored), the kind is counted, and neither data nor any
//! other connection is harmed.

mod server_support;

use server_support::{Ensemble, Wire, eventually, get, request, send_and_be_closed, set, value_of};
use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use zabkeeper_core::store::Answer;
use zabkeeper_core::words::{End, Epoch, Incarnation, NodeId, Round, Txid};
use zabkeeper_core::zab::{Candidate, Lives, Message, Stamp, Stance, Stray, Vote};
use zabkeeper_proto::{Datagram, encode_datagram, frame, peer};

/// What is wrong, the name of its counter without the port's, the bytes.
fn broken(good: &[u8], other_port: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let with = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        bytes
    };
    let mut nonsense = Vec::new();
    let kind = if good[5] == 1 { frame::Kind::Peer } else { frame::Kind::Request };
    let begun = frame::begin(&mut nonsense, kind);
    nonsense.extend_from_slice(&[0xff; 40]);
    frame::finish(&mut nonsense, begun);
    vec![
        ("version", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("version", vec![0xff; 100_000]),
        ("version", with(4, 2)),
        ("wrong_port", other_port.to_vec()),
        ("too_long", with(0, 0x7f)),
        ("checksum", with(good.len() - 1, good[good.len() - 1] ^ 1)),
        ("malformed", nonsense),
    ]
}

/// Sends part of a message and goes away.
fn send_half(to: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(&bytes[..bytes.len() - 3]).unwrap();
}

#[test]
fn broken_bytes_on_any_port_are_counted_and_harm_nothing() {
    let ensemble = Ensemble::start(3, |_| {});
    ensemble.set(0, "kept", b"before");
    let addrs = ensemble.addrs[0];
    let mut other = Wire::connect(addrs.request);
    assert!(matches!(
        other.ask(1, set("other", b"1")),
        End::Done { answer: Answer::Written(_), .. }
    ));

    let from_client = request(7, set("never", b"this is cut or damaged"));
    let mut from_peer = Vec::new();
    peer::encode(&Message::ReadIndex { id: 7 }, &mut from_peer);
    for (port, to, good, foreign) in [
        ("client", addrs.request, &from_client, &from_peer),
        ("peer", addrs.message, &from_peer, &from_client),
    ] {
        for (kind, bytes) in broken(good, foreign) {
            let name = format!("{port}.{kind}");
            let before = ensemble.count(0, &name);
            send_and_be_closed(to, &bytes);
            eventually(&format!("{name} is counted"), || ensemble.count(0, &name) == before + 1);
        }
        let name = format!("{port}.truncated");
        send_half(to, good);
        eventually(&format!("{name} is counted"), || ensemble.count(0, &name) == 1);
    }

    // The connection that was open all the time, and all nodes, go on.
    assert_eq!(value_of(other.ask(2, get("kept"))), Some(b"before".to_vec()));
    ensemble.set(0, "kept", b"after");
    for index in 0..3 {
        assert_eq!(ensemble.get(index, "kept"), Some(b"after".to_vec()));
        assert_eq!(ensemble.get(index, "never"), None);
    }
    ensemble.stop();
}

#[test]
fn broken_datagrams_are_counted_and_receiving_goes_on() {
    let ensemble = Ensemble::start(3, |_| {});
    ensemble.set(0, "kept", b"before");
    let to = ensemble.addrs[0].election;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut version = b"Zabk".to_vec();
    version.extend_from_slice(&[9, 0, 0, 0, 0, 1, 2, 3]);
    let mut checksum = b"Zabk".to_vec();
    checksum.extend_from_slice(&[1, 1, 2, 3, 4, 1, 2, 3]);
    let mut malformed = b"Zabk".to_vec();
    malformed.push(1);
    // The checksum of nothing, and nothing: a vote in which everything is missing.
    malformed.extend_from_slice(&[0, 0, 0, 0]);
    for (kind, bytes) in [
        ("short", vec![]),
        ("short", b"Zab".to_vec()),
        ("foreign", vec![0xee; 200]),
        ("too_long", vec![0xee; 3000]),
        ("too_long", vec![0; 60_000]),
        ("version", version),
        ("checksum", checksum),
        ("malformed", malformed),
    ] {
        let name = format!("election.{kind}");
        let before = ensemble.count(0, &name);
        socket.send_to(&bytes, to).unwrap();
        eventually(&format!("{name} is counted"), || ensemble.count(0, &name) == before + 1);
    }
    assert_eq!(ensemble.get(1, "kept"), Some(b"before".to_vec()));
    ensemble.stop();
}

#[test]
fn a_request_that_makes_no_sense_is_told_so_and_the_connection_goes_on() {
    let ensemble = Ensemble::start(1, |_| {});
    let mut wire = Wire::connect(ensemble.addrs[0].request);
    // A request of id 5 without anything to do.
    let mut bytes = Vec::new();
    let begun = frame::begin(&mut bytes, frame::Kind::Request);
    bytes.extend_from_slice(&[0x08, 5]);
    frame::finish(&mut bytes, begun);
    wire.stream.write_all(&bytes).unwrap();
    let reply = wire.receive();
    assert_eq!(reply.id, 5);
    assert!(matches!(reply.end, End::Invalid(_)), "{reply:?}");
    assert!(matches!(wire.ask(6, set("a", b"b")), End::Done { answer: Answer::Written(_), .. }));
    assert_eq!(ensemble.count(0, "client.invalid"), 1);
    ensemble.stop();
}

#[test]
fn votes_that_come_from_elsewhere_are_counted_and_shown_by_status() {
    let ensemble = Ensemble::start(3, |_| {});
    let status = || ensemble.servers[0].handle().status().unwrap();
    assert_eq!(status().strays, vec![]);
    let candidate = Candidate { epoch: Epoch::new(1), txid: Txid::ZERO, node: NodeId::new(2) };
    let vote = Vote {
        from: NodeId::new(2),
        cluster: ensemble.membership.cluster_id(),
        incarnation: Incarnation::new(7),
        stance: Stance::Looking,
        round: Round::new(1),
        candidate,
        own: candidate,
        abstains: false,
        hears: false,
        membership: Txid::ZERO,
        lives: Lives::default(),
        stamp: Stamp { boot: 1, seq: 1, asks: 1, answers: 0 },
    };
    let forged = encode_datagram(&Datagram::Vote(vote));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for sent in 1..=3 {
        socket.send_to(&forged, ensemble.addrs[0].election).unwrap();
        let from = socket.local_addr().unwrap().to_string();
        let stray = Stray { node: NodeId::new(2), from, votes: sent };
        eventually("it is counted", || status().strays == [stray.clone()]);
    }
    assert_eq!(ensemble.count(0, "election.elsewhere"), 3);
    ensemble.set(0, "kept", b"after");
    ensemble.stop();
}
