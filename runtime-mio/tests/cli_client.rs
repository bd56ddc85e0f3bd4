//! What a client may conclude when nodes misbehave. The nodes here are played by the test, frame
//! by frame, since real ones do not do such things on demand.

mod cli_support;

use cli_support::{Process, Ran, free_port, run, zabkeeper};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use zabkeeper_core::store::{Answer, Found, Op, Path, Stat};
use zabkeeper_core::words::{End, Epoch, RefuseReason, Txid};
use zabkeeper_proto::client::{ClientReply, ClientRequest, decode_request, encode_reply};
use zabkeeper_proto::frame::{self, Kind};

/// What a played node does with a request.
type Play = fn(&ClientRequest) -> Option<Vec<u8>>;

/// Answers nothing, and keeps the connection.
fn say_nothing(_: &ClientRequest) -> Option<Vec<u8>> {
    Some(Vec::new())
}

/// A played node: where it listens, and what it was asked.
struct Node {
    addr: String,
    asked: Arc<Mutex<Vec<Op>>>,
    connections: Arc<AtomicUsize>,
}

impl Node {
    /// Answers each request with the bytes given; closes the connection where there are none. The
    /// question with which a client begins gets an answer.
    fn play(play: Play) -> Self {
        Self::start(play, |request| reply(request, End::Unknown))
    }

    /// Answers the question with which a client begins in another way than nodes do.
    fn greet(greet: Play) -> Self {
        Self::start(answer_all, greet)
    }

    fn start(play: Play, greet: Play) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, count) = (Arc::clone(&asked), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let log = Arc::clone(&log);
                thread::spawn(move || serve(stream, play, greet, &log));
            }
        });
        Self { addr, asked, connections }
    }

    fn writes(&self) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|op| matches!(op, Op::Write(_))).count()
    }
}

fn serve(mut stream: TcpStream, play: Play, greet: Play, log: &Mutex<Vec<Op>>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        while let Ok(Some(frame)) = frame::parse(&bytes, Kind::Request, frame::MAX_REQUEST_BODY) {
            let request = decode_request(&frame).unwrap();
            let used = frame.consumed();
            bytes.drain(..used);
            log.lock().unwrap().push(request.op.clone());
            let play = if request.op == Op::Status { greet } else { play };
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

fn reply(request: &ClientRequest, end: End<Answer>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let id = request.id;
    encode_reply(&ClientReply { id, end }, &mut bytes);
    Some(bytes)
}

fn answer_all(request: &ClientRequest) -> Option<Vec<u8>> {
    let txid = Txid::new(Epoch::new(1), 1)?;
    let stat = Stat::default();
    let end = match request.op {
        Op::Write(_) => End::Done { txid, answer: Answer::Written(Ok(stat)) },
        _ => End::Done {
            txid,
            answer: Answer::Node(Some(Found {
                path: Path::parse("key").unwrap(),
                value: Some(b"value".to_vec().into()),
                stat,
            })),
        },
    };
    reply(request, end)
}

fn refuse(request: &ClientRequest) -> Option<Vec<u8>> {
    reply(request, End::Refused(RefuseReason::NoLeader))
}

fn hang_up(_: &ClientRequest) -> Option<Vec<u8>> {
    None
}

fn stop_serving(request: &ClientRequest) -> Option<Vec<u8>> {
    reply(request, End::Refused(RefuseReason::Stopping))
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
    let node = Node::play(|request| reply(request, End::Unknown));
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
fn a_node_that_says_nothing_gets_no_write_and_the_next_one_does_it() {
    for greet in [say_nothing as Play, hang_up, stop_serving, babble] {
        let (odd, good) = (Node::greet(greet), Node::play(answer_all));
        let ran = on(&[&odd.addr, &good.addr], &["add", "key", "value"]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        assert_eq!((odd.writes(), good.writes()), (0, 1));
        assert!(odd.connections.load(Ordering::SeqCst) > 0);
    }
}

#[test]
fn what_no_node_was_sent_is_certainly_not_done() {
    for (greet, says) in [
        (say_nothing as Play, "says nothing"),
        (hang_up, "closed the connection"),
        (stop_serving, "the node is stopping"),
    ] {
        let odd = Node::greet(greet);
        let ran = on(&[&odd.addr], &["set", "key", "value"]);
        assert_eq!((ran.code, odd.writes()), (3, 0), "{ran:#?}");
        assert!(ran.err.contains("certainly not done"), "{}", ran.err);
        assert!(ran.err.contains(says), "{}", ran.err);
    }
}

#[test]
fn who_waits_is_told_for_what_and_what_to_start() {
    let dead = format!("127.0.0.1:{}", free_port());
    let ran = on(&[&dead], &["get", "key"]);
    let lines: Vec<_> = ran.err.lines().collect();
    assert_eq!((ran.code, lines.len()), (3, 2), "{ran:#?}");
    let first = format!("zabkeeper: no answer yet ({dead}: Connection refused");
    assert!(lines[0].starts_with(&first), "{}", ran.err);
    assert!(lines[1].contains("`zabkeeper dev` starts"), "{}", ran.err);
}

#[test]
fn what_a_node_says_reaches_no_terminal_as_it_is() {
    let node = Node::play(|request| reply(request, End::Invalid("a\x1b[2Jb\nc".to_owned())));
    let ran = on(&[&node.addr], &["get", "key"]);
    assert_eq!(ran.code, 5, "{ran:#?}");
    assert!(ran.err.contains(r"a\u{1b}[2Jb\nc"), "{}", ran.err);
}

#[test]
fn an_answer_that_is_none_is_told_with_5_and_a_write_that_got_one_with_4() {
    let stranger = Node::greet(babble);
    for args in [&["get", "key"][..], &["set", "key", "value"]] {
        let ran = on(&[&stranger.addr], args);
        assert_eq!((ran.code, stranger.writes()), (5, 0), "{ran:#?}");
        assert!(ran.err.contains("RequestAddr"), "{}", ran.err);
    }
    let node = Node::play(babble);
    let write = on(&[&node.addr], &["set", "key", "value"]);
    assert_eq!((write.code, node.writes()), (4, 1), "{write:#?}");
}

#[test]
fn a_value_beyond_any_limit_is_not_sent() {
    let node = Node::play(answer_all);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large");
    for bytes in [(1 << 20) + 1, (1 << 20) + 8192, 3 << 30] {
        std::fs::File::create(&file).unwrap().set_len(bytes).unwrap();
        let ran = on(&[&node.addr], &["set", "key", "--file", file.to_str().unwrap()]);
        assert_eq!((ran.code, node.writes()), (2, 0), "{ran:#?}");
        let says = format!("value too large: {bytes} bytes, limit 1048576");
        assert!(ran.err.contains(&says), "{}", ran.err);
    }
}

#[test]
fn a_value_that_does_not_end_is_left_when_its_time_is_up() {
    let node = Node::play(answer_all);
    let args = ["set", "key", "-", "--timeout", "1s", "--endpoints", &node.addr];
    let mut process = Process::start(&mut zabkeeper(&args));
    assert_eq!((process.exit_code(), node.writes()), (Some(3), 0));
    let endless = on(&[&node.addr], &["set", "key", "--file", "/dev/zero"]);
    assert_eq!((endless.code, node.writes()), (2, 0), "{endless:#?}");
}
