//! What a client may conclude when nodes misbehave. The nodes here are played by the test, frame
//! by frame, since real ones do not do such things on demand.

mod cli_support;

use cli_support::{Ran, free_port, run};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use zabkeeper_core::ids::{Epoch, Txid};
use zabkeeper_core::message::RefuseReason;
use zabkeeper_core::tree::{Answer, Found, Path, Stat};
use zabkeeper_proto::client::{
    ClientReply, ClientRequest, Op, OpResult, decode_request, encode_reply,
};
use zabkeeper_proto::frame::{self, Kind};

/// What a played node does with a request.
type Play = fn(&ClientRequest) -> Option<Vec<u8>>;

/// A played node: where it listens, and what it was asked.
struct Node {
    addr: String,
    asked: Arc<Mutex<Vec<Op>>>,
    connections: Arc<AtomicUsize>,
}

impl Node {
    /// Answers each request with the bytes given; closes the connection where there are none.
    fn play(play: Play) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, count) = (Arc::clone(&asked), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let log = Arc::clone(&log);
                thread::spawn(move || serve(stream, play, &log));
            }
        });
        Self { addr, asked, connections }
    }

    fn writes(&self) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|op| matches!(op, Op::Write(_))).count()
    }
}

fn serve(mut stream: TcpStream, play: Play, log: &Mutex<Vec<Op>>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        while let Ok(Some(frame)) = frame::parse(&bytes, Kind::Request, frame::MAX_REQUEST_BODY) {
            let request = decode_request(&frame).unwrap();
            let used = frame.consumed();
            bytes.drain(..used);
            log.lock().unwrap().push(request.op.clone());
            match play(&request) {
                Some(reply) => stream.write_all(&reply).unwrap(),
                None => return,
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

fn reply(request: &ClientRequest, result: OpResult) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let id = request.id;
    encode_reply(&ClientReply { id, result }, &mut bytes);
    Some(bytes)
}

fn answer_all(request: &ClientRequest) -> Option<Vec<u8>> {
    let txid = Txid::new(Epoch::new(1), 1)?;
    let stat = Stat::default();
    let result = match request.op {
        Op::Write(_) => OpResult::Written { txid, outcome: Ok(stat) },
        _ => OpResult::Read {
            applied: txid,
            answer: Answer::Node(Some(Found {
                path: Path::parse("key").unwrap(),
                value: Some(b"value".to_vec().into()),
                stat,
            })),
        },
    };
    reply(request, result)
}

fn refuse(request: &ClientRequest) -> Option<Vec<u8>> {
    reply(request, OpResult::Refused(RefuseReason::NoLeader))
}

fn hang_up(_: &ClientRequest) -> Option<Vec<u8>> {
    None
}

fn babble(_: &ClientRequest) -> Option<Vec<u8>> {
    Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())
}

fn on(endpoints: &[&str], args: &[&str]) -> Ran {
    run(&[args, &["--timeout", "2s", "--endpoints", &endpoints.join(",")]].concat())
}

#[test]
fn a_write_whose_answer_is_lost_is_unknown_and_never_sent_again() {
    let (lost, good) = (Node::play(hang_up), Node::play(answer_all));
    let ran = on(&[&lost.addr, &good.addr], &["set", "key", "value"]);
    assert_eq!(ran.code, 4, "{ran:#?}");
    assert!(ran.err.contains("may have been done"), "{}", ran.err);
    assert_eq!((lost.writes(), good.writes()), (1, 0));
}

#[test]
fn a_write_that_the_node_calls_unknown_is_unknown() {
    let node = Node::play(|request| reply(request, OpResult::Unknown));
    let ran = on(&[&node.addr], &["add", "key", "value"]);
    assert_eq!((ran.code, node.writes()), (4, 1), "{ran:#?}");
}

#[test]
fn a_read_whose_answer_is_lost_is_asked_elsewhere() {
    let (lost, good) = (Node::play(hang_up), Node::play(answer_all));
    let ran = on(&[&lost.addr, &good.addr], &["get", "key"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "value\n"), "{ran:#?}");
    assert_eq!(lost.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn what_one_node_refuses_another_one_may_do() {
    let (refusing, good) = (Node::play(refuse), Node::play(answer_all));
    let dead = format!("127.0.0.1:{}", free_port());
    let ran = on(&[&dead, &refusing.addr, &good.addr], &["set", "key", "value"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!((refusing.writes(), good.writes()), (1, 1));
}

#[test]
fn what_all_nodes_refuse_is_certainly_not_done() {
    let nodes = [Node::play(refuse), Node::play(refuse)];
    let ran = on(&[&nodes[0].addr, &nodes[1].addr], &["set", "key", "value"]);
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.err.contains("certainly not done: there is no leader"), "{}", ran.err);
    assert!(nodes.iter().all(|node| node.writes() > 0));
}

#[test]
fn an_answer_that_is_none_is_told_with_5_for_reads_and_4_for_writes() {
    let node = Node::play(babble);
    let read = on(&[&node.addr], &["get", "key"]);
    assert_eq!(read.code, 5, "{read:#?}");
    assert!(read.err.contains("RequestAddr"), "{}", read.err);
    let write = on(&[&node.addr], &["set", "key", "value"]);
    assert_eq!((write.code, node.writes()), (4, 1), "{write:#?}");
}

#[test]
fn a_value_beyond_any_limit_is_not_sent() {
    let node = Node::play(answer_all);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large");
    std::fs::write(&file, vec![0; frame::MAX_REQUEST_BODY]).unwrap();
    let ran = on(&[&node.addr], &["set", "key", "--file", file.to_str().unwrap()]);
    assert_eq!((ran.code, node.writes()), (2, 0), "{ran:#?}");
    assert!(ran.err.contains("more than a node takes"), "{}", ran.err);
}
