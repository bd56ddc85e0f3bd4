//! Three real processes: what an ensemble promises, under `kill -9` and SIGSTOP.

mod cli_support;
mod ensemble_support;

use ensemble_support::{Ensemble, cpu_time, has, key, newest, timed};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use zabkeeper_core::words::{ReadLevel, RefuseReason, Txid};
use zabkeeper_runtime_mio::client::{Client, ClientError};

/// A client in a thread that adds one key after the other until it is stopped.
struct Writer {
    stop: Arc<AtomicBool>,
    acked: mpsc::Receiver<(u32, Instant)>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start(mut client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (tell, acked) = mpsc::channel();
        let thread = thread::spawn(move || {
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                match client.add(&key(&format!("w/{number}")), number.to_string().as_bytes().into())
                {
                    Ok(_) => {
                        let _ = tell.send((number, Instant::now()));
                    }
                    // It may or may not have been done: it was sent, and the node died.
                    Err(ClientError::Unknown) => {}
                    // Certainly not done: nobody is there to do it.
                    Err(
                        ClientError::Unreachable(_)
                        | ClientError::Timeout(..)
                        | ClientError::Refused(_),
                    ) => {}
                    Err(false_answer) => panic!("the client was told {false_answer:?}"),
                }
            }
        });
        Self { stop, acked, thread }
    }

    /// Waits for so many acknowledgements.
    fn wait_for(&self, count: usize) -> Vec<u32> {
        let wait = || self.acked.recv_timeout(cli_support::LONG).expect("writes go on").0;
        (0..count).map(|_| wait()).collect()
    }

    /// Waits for the first acknowledgement after a moment.
    fn first_after(&self, moment: Instant) -> (u32, Duration) {
        loop {
            let (number, at) = self.acked.recv_timeout(cli_support::LONG).expect("writes go on");
            if at > moment {
                return (number, at - moment);
            }
        }
    }

    /// Stops it, and gives the rest of what was acknowledged.
    fn finish(self) -> Vec<u32> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the client was told nothing false");
        self.acked.into_iter().map(|(number, _)| number).collect()
    }
}

fn assert_all_there(client: &mut Client, acked: &[u32]) {
    for number in acked {
        let found = client.get(&key(&format!("w/{number}")), ReadLevel::Linearizable);
        let found = found.expect("a read works").answer;
        let found = found.unwrap_or_else(|| panic!("acknowledged write {number} is lost"));
        let value = found.value.expect("a value");
        assert_eq!(value.as_slice(), number.to_string().as_bytes());
    }
}

#[test]
fn writes_through_every_node_are_read_through_every_other() {
    let ensemble = Ensemble::start("");
    for writer in 0..3 {
        let name = key(&format!("from/{writer}"));
        let value = format!("value {writer}");
        let mut client = ensemble.client(&[writer]);
        client.set(&name, value.as_bytes().into()).expect("a write works");
        for reader in 0..3 {
            let read = ensemble.client(&[reader]).get(&name, ReadLevel::Linearizable);
            let found = read.expect("a read works").answer.expect("the key is there");
            assert_eq!(found.value.expect("a value").as_slice(), value.as_bytes());
        }
    }
    ensemble.until_equal(&[0, 1, 2]);
}

#[test]
fn the_leader_is_killed_and_a_client_goes_on_without_being_told_anything_false() {
    let mut ensemble = Ensemble::start("");
    let leader = ensemble.leader_of(&[0, 1, 2]);
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    // The client talks to the leader: its connection breaks as well.
    let writer = Writer::start(ensemble.client(&[leader, others[0], others[1]]));
    let mut acked = writer.wait_for(50);
    ensemble.kill(leader);
    let killed = Instant::now();
    let (number, gap) = writer.first_after(killed);
    println!("{gap:?} from the kill of the leader to the next acknowledged write");
    assert!(gap < Duration::from_secs(2), "{gap:?} from the kill to the next write");
    acked.push(number);
    acked.extend(writer.wait_for(50));
    ensemble.spawn(leader);
    acked.extend(writer.wait_for(50));
    acked.extend(writer.finish());
    for node in 0..3 {
        assert_all_there(&mut ensemble.client(&[node]), &acked);
    }
    ensemble.until_equal(&[0, 1, 2]);
}

#[test]
fn all_nodes_are_killed_in_the_middle_of_writes_and_nothing_acknowledged_is_lost() {
    let mut ensemble = Ensemble::start("");
    for round in 0..3 {
        let writer = Writer::start(ensemble.client_with(&[0, 1, 2], Duration::from_secs(2)));
        // Names of an earlier round exist: a fresh part of the tree for each.
        let mut acked = writer.wait_for(60 + 20 * round);
        (0..3).for_each(|node| ensemble.kill(node));
        acked.extend(writer.finish());
        (0..3).for_each(|node| ensemble.spawn(node));
        assert_all_there(&mut ensemble.client(&[0, 1, 2]), &acked);
        ensemble.until_equal(&[0, 1, 2]);
        ensemble.client(&[0]).delete(&key("w"), true).expect("the part is cleared");
    }
}

#[test]
fn a_stopped_leader_is_replaced_and_serves_no_stale_read_when_it_wakes() {
    let ensemble = Ensemble::start("");
    let leader = ensemble.leader_of(&[0, 1, 2]);
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    let name = key("k");
    ensemble.client(&[leader]).set(&name, b"old".as_slice().into()).expect("a write works");
    ensemble.pause(leader);
    let (written, took) = timed(|| {
        ensemble.client(&others).set(&name, b"new".as_slice().into()).expect("the others go on")
    });
    println!("{took:?} from the stop of the leader to the next acknowledged write");
    assert!(took < Duration::from_secs(5), "{took:?} until the others went on");
    // The question is in the leader's socket when it wakes.
    let mut client = ensemble.client(&[leader]);
    let reader = thread::spawn(move || client.get(&key("k"), ReadLevel::Linearizable));
    thread::sleep(Duration::from_millis(100));
    ensemble.resume(leader);
    let read = reader.join().expect("no panic").expect("the woken node answers");
    assert!(read.applied >= written.txid);
    assert_eq!(read.answer.and_then(|found| found.value).expect("a value").as_slice(), b"new");
    ensemble.until_equal(&[0, 1, 2]);
}

#[test]
fn one_node_alone_refuses_writes_and_linearizable_reads_with_a_clear_error() {
    let mut ensemble = Ensemble::start("");
    let name = key("k");
    ensemble.client(&[0]).set(&name, b"v".as_slice().into()).expect("a write works");
    ensemble.until_equal(&[0, 1, 2]);
    ensemble.kill(1);
    ensemble.kill(2);
    let mut client = ensemble.client_with(&[0], Duration::from_secs(3));
    let write = client.set(&name, b"w".as_slice().into());
    let read = client.get(&name, ReadLevel::Linearizable);
    // A write may have reached the node while it still took itself for the leader.
    let clear = |error: &ClientError| {
        matches!(error, ClientError::Refused(RefuseReason::NoLeader) | ClientError::Timeout(..))
    };
    let write = write.expect_err("no quorum");
    assert!(clear(&write) || write == ClientError::Unknown, "{write:?}");
    let read = read.expect_err("no quorum");
    assert!(clear(&read), "{read:?}");
    assert!(read.to_string().contains("certainly not done"), "{read}");
    // By now it looks for a leader, and says so at once.
    let late = client.set(&name, b"x".as_slice().into()).expect_err("no quorum");
    assert!(clear(&late), "{late:?}");
    let local =
        client.get(&name, ReadLevel::Local(Txid::ZERO)).expect("its own state it can still tell");
    assert_eq!(local.answer.and_then(|found| found.value).expect("a value").as_slice(), b"v");
}

#[test]
fn a_follower_away_for_longer_than_the_log_is_kept_comes_back_by_a_snapshot() {
    let limits = r#"{"RetainBytes": 65536, "CheckpointBytes": 1048576, "JournalBytes": 0}"#;
    let mut ensemble = Ensemble::start(&format!(r#""Limits": {limits}"#));
    let leader = ensemble.leader_of(&[0, 1, 2]);
    let follower = (leader + 1) % 3;
    let mut client = ensemble.client(&[leader]);
    client.set(&key("gone"), b"x".as_slice().into()).expect("a write works");
    ensemble.until_equal(&[0, 1, 2]);
    let away_since = ensemble.status(follower).expect("it runs").last;
    ensemble.kill(follower);
    client.delete(&key("gone"), false).expect("a write works");
    // Three segments of the journal: the first is given back.
    for number in 0..250 {
        let value = vec![b'x'; 100_000];
        client.set(&key(&format!("big/{}", number % 10)), value.into()).expect("a write works");
    }
    ensemble.spawn(follower);
    ensemble.until_equal(&[0, 1, 2]);
    let status = ensemble.status(follower).expect("it runs");
    assert!(status.base > away_since, "its log still reaches back: it did not come by a snapshot");
    let log = ensemble.log(leader);
    assert!(log.contains("it needs the whole state"), "{log}");
    let gone = ensemble.client(&[follower]).get(&key("gone"), ReadLevel::Local(Txid::ZERO));
    assert_eq!(gone.expect("a read works").answer, None);
    // What it took over survives its own restart.
    ensemble.kill(follower);
    ensemble.spawn(follower);
    ensemble.until_equal(&[0, 1, 2]);
}

#[test]
fn an_idle_ensemble_uses_next_to_no_cpu() {
    let ensemble = Ensemble::start("");
    ensemble.until_equal(&[0, 1, 2]);
    const SPAN: Duration = Duration::from_secs(4);
    let before: Vec<Duration> = (0..3).map(|node| cpu_time(ensemble.pid(node))).collect();
    thread::sleep(SPAN);
    for (node, before) in before.iter().enumerate() {
        let used = cpu_time(ensemble.pid(node)) - *before;
        println!("n{} used {used:?} of CPU in {SPAN:?} of idleness", node + 1);
        assert!(used < SPAN / 100, "n{} used {used:?} of {SPAN:?}", node + 1);
    }
}

/// When flushes ended, by the traces of strace, in seconds since 1970.
fn flushes(trace: &std::path::Path) -> Vec<f64> {
    let text = std::fs::read_to_string(trace).expect("the trace can be read");
    let finished = |line: &&str| line.contains("sync") && line.contains(" = 0");
    let end = |line: &str| {
        let at: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
        if line.contains("resumed>") {
            return Some(at);
        }
        let took = line.rsplit_once('<')?.1.strip_suffix('>')?;
        Some(at + took.parse::<f64>().ok()?)
    };
    text.lines().filter(finished).filter_map(end).collect()
}

fn wall_clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

#[test]
fn every_acknowledged_write_was_flushed_on_a_quorum_before_it_was_answered_and_idleness_flushes_nothing()
 {
    if !has("strace") {
        println!("skipped: strace is not installed");
        return;
    }
    let mut ensemble = Ensemble::start_traced();
    ensemble.until_equal(&[0, 1, 2]);
    let mut client = ensemble.client(&[0, 1, 2]);
    let mut spans = Vec::new();
    for number in 0..20 {
        let start = wall_clock();
        client.set(&key(&format!("f/{number}")), b"v".as_slice().into()).expect("a write works");
        spans.push((start, wall_clock()));
    }
    ensemble.until_equal(&[0, 1, 2]);
    let burst_ended = wall_clock();
    thread::sleep(Duration::from_secs(3));
    let idle_to = wall_clock();
    (0..3).for_each(|node| ensemble.stop(node));
    let all: Vec<Vec<f64>> = (0..3).map(|node| flushes(&ensemble.trace_path(node))).collect();
    for (start, end) in spans {
        let within = |list: &&Vec<f64>| list.iter().any(|at| *at >= start && *at <= end);
        let nodes = all.iter().filter(within).count();
        assert!(nodes >= 2, "a write was acknowledged with a flush on {nodes} nodes only");
    }
    for (node, list) in all.iter().enumerate() {
        // The end of a burst is marked on disk: what is committed, and that it was flushed.
        let settled = burst_ended + 1.0;
        let marks = list.iter().filter(|at| **at >= burst_ended && **at < settled).count();
        assert!(marks <= 3, "n{} flushed {marks} times at the end of a burst", node + 1);
        let idle = list.iter().filter(|at| **at >= settled && **at <= idle_to).count();
        assert_eq!(idle, 0, "n{} flushed while nothing happened", node + 1);
    }
}

#[test]
fn a_flipped_byte_in_the_journal_stops_that_node_and_harms_nobody_else() {
    let mut ensemble = Ensemble::start("");
    let mut client = ensemble.client(&[0]);
    for number in 0..50 {
        client.set(&key(&format!("k/{number}")), vec![b'v'; 100].into()).expect("a write works");
    }
    ensemble.until_equal(&[0, 1, 2]);
    ensemble.kill(2);
    let file = newest(&ensemble.data_path(2), "journal-");
    let mut bytes = std::fs::read(&file).expect("the journal can be read");
    bytes[3000] ^= 0x10;
    std::fs::write(&file, &bytes).expect("the journal can be written");
    let (code, said) = ensemble.run_to_end(2);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("journal-"), "it names the file: {said}");
    let damaged = std::fs::read(&file).expect("the journal can be read");
    assert_eq!(damaged, bytes, "a damaged store is left as it is");
    client.set(&key("after"), b"v".as_slice().into()).expect("the others go on");
}
