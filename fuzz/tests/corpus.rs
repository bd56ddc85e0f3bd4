//! The committed corpus: every target takes every input, and the inputs that real encoders make are
//! there. `UPDATE=1` writes those anew.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use zabkeeper_core::replica::App;
use zabkeeper_core::store::{Command, Op, Path, Query, Tree};
use zabkeeper_core::words::{
    ConnId, Digest, End, Epoch, Incarnation, Life, Micros, NodeId, ReadLevel, Rng, Round, Txid,
    WallTime,
};
use zabkeeper_core::zab::{
    Base, Body, Candidate, Entry, EpochAck, Forwarded, Identity, Lives, Member, Membership,
    Message, Origin, Position, Promise, Record, Rejection, SnapshotHead, Stamp, Stance, Vote,
};
use zabkeeper_fuzz::change::mutated;
use zabkeeper_fuzz::corpus::{folder, inputs};
use zabkeeper_fuzz::targets::TARGETS;
use zabkeeper_proto::client::{self, ClientReply, ClientRequest};
use zabkeeper_proto::{Datagram, encode_datagram, peer, record};
use zabkeeper_runtime_mio::storage::{self, Bootstrap, JournalOptions, Options};

#[test]
fn every_target_takes_its_whole_corpus() {
    for (name, target) in TARGETS {
        let inputs = inputs(name);
        assert!(inputs.len() > 1, "{name} has a corpus");
        for (file, bytes) in inputs {
            println!("{name}/{file}");
            target(&bytes);
        }
    }
}

#[test]
fn what_the_encoders_make_is_in_the_corpus() {
    for (target, made) in made() {
        for (name, bytes) in made {
            let file = folder(target).join(name);
            if std::env::var_os("UPDATE").is_some() {
                fs::create_dir_all(folder(target)).unwrap();
                fs::write(&file, &bytes).unwrap();
            }
            let kept = fs::read(&file).unwrap_or_default();
            assert!(kept == bytes, "{} is not what the encoder makes: UPDATE=1", file.display());
        }
    }
}

#[test]
fn event_sequences_reach_every_role_and_get_through_synchronisations() {
    let inputs: Vec<Vec<u8>> = inputs("node_events").into_iter().map(|(_, bytes)| bytes).collect();
    let mut reached = BTreeMap::<String, usize>::new();
    for seed in 0..30_000 {
        let input = mutated(&inputs, &mut SmallRng::seed_from_u64(seed));
        for name in zabkeeper_fuzz::targets::reached(&input) {
            *reached.entry(name).or_default() += 1;
        }
    }
    println!("{reached:?}");
    for name in ["Elected", "EpochProposed", "Established", "Serving", "Halt"] {
        assert!(reached.get(name).is_some_and(|count| *count > 20), "{name}: {reached:?}");
    }
}

#[test]
fn the_corpus_is_small() {
    let all = TARGETS.iter().flat_map(|(name, _)| inputs(name));
    let size: usize = all.map(|(_, bytes)| bytes.len()).sum();
    assert!(size < 300_000, "{size} bytes");
}

type Made = Vec<(String, Vec<u8>)>;

fn made() -> BTreeMap<&'static str, Made> {
    BTreeMap::from([
        ("datagrams", datagrams()),
        ("peer_frames", peer_frames()),
        ("client_frames", client_frames()),
        ("journal_records", journal_records()),
        ("journal_files", journal_files()),
        ("configuration", configuration()),
        ("snapshots", snapshots()),
        ("tree_commands", tree_commands()),
        ("node_events", node_events()),
    ])
}

fn txid(epoch: u64, counter: u64) -> Txid {
    Txid::new(Epoch::new(epoch), counter).unwrap()
}

fn membership() -> Arc<Membership> {
    let member = |id: u32| {
        let member = Member {
            voter: id < 4,
            incarnation: (id == 2).then_some(Incarnation::new(77)),
            life: None,
            election_addr: format!("host{id}:4211"),
            message_addr: format!("host{id}:4212"),
        };
        (NodeId::new(id), member)
    };
    Arc::new(Membership::new(Txid::ZERO, (1..5).map(member).collect()))
}

fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (counter, command) in (1..).zip(commands()) {
        let after = entries.last().map_or(Position::ZERO, Entry::position);
        let origin = (counter % 2 == 0).then_some(Origin { boot: 3, seq: counter });
        let time = WallTime::from_millis(1_700_000_000_000 + counter);
        let body = Body::Command(command.encode());
        entries.push(Entry::new(after, txid(1, counter), time, origin, body));
    }
    entries
}

fn commands() -> Vec<Command> {
    let path = |text: &str| Path::parse(text).unwrap();
    vec![
        Command::Set { path: path("a/b/c"), value: b"v".as_slice().into() },
        Command::Add { path: path("a/b"), value: b"".as_slice().into() },
        Command::Set { path: path("a"), value: [7; 90].as_slice().into() },
        Command::Delete { path: path("a/b/c"), recursive: false },
        Command::Delete { path: path("a"), recursive: true },
        Command::Set { path: path("ä/ö"), value: b"\0\xff".as_slice().into() },
    ]
}

fn tree() -> Tree {
    let mut tree = Tree::empty();
    for entry in entries() {
        let Body::Command(command) = &entry.body else { continue };
        let _ = tree.apply(entry.txid, entry.time, command);
    }
    tree
}

fn named(kind: &str, all: Vec<Vec<u8>>) -> Made {
    let name = |number| format!("{kind}-{number:02}");
    all.into_iter().enumerate().map(|(number, bytes)| (name(number), bytes)).collect()
}

fn datagrams() -> Made {
    let vote = |stance| Vote {
        from: NodeId::new(2),
        cluster: membership().cluster_id(),
        incarnation: Incarnation::new(77),
        stance,
        round: Round::new(3),
        candidate: Candidate { epoch: Epoch::new(4), txid: txid(4, 9), node: NodeId::new(2) },
        own: Candidate { epoch: Epoch::new(4), txid: txid(4, 9), node: NodeId::new(2) },
        abstains: false,
        hears: true,
        membership: txid(1, 1),
        lives: Lives::first(Life::new(7)),
        stamp: Stamp { boot: 7, seq: 1, asks: 8, answers: 9 },
    };
    let reject = |why| Datagram::Rejected {
        from: NodeId::new(1),
        cluster: membership().cluster_id(),
        why,
        omitted: 0,
    };
    let all = [
        Datagram::Vote(vote(Stance::Looking)),
        Datagram::Vote(vote(Stance::Following(Some(Epoch::new(4))))),
        Datagram::Vote(vote(Stance::Leading(None))),
        reject(Rejection::WrongCluster { members: membership() }),
        reject(Rejection::NotMember { version: txid(1, 1) }),
    ];
    let raw = all.iter().map(|datagram| [&[0][..], &encode_datagram(datagram)].concat());
    let bodies = all.iter().map(|datagram| [&[1][..], &encode_datagram(datagram)[9..]].concat());
    [named("raw", raw.collect()), named("body", bodies.collect())].concat()
}

fn peer_frames() -> Made {
    let (epoch, end) = (Epoch::new(1), entries().last().unwrap().position());
    let at = entries()[2].position();
    let mut tree = tree();
    tree.open_snapshot(ConnId::new(1));
    let (items, last) = tree.read_snapshot(ConnId::new(1), 1000);
    let mut stream = Vec::new();
    items.iter().for_each(|item| zabkeeper_core::zab::parts::put(item, &mut stream));
    let digest = tree.digest();
    let head = SnapshotHead { at, membership: membership(), digest, bytes: 700 };
    let body = commands()[0].encode();
    let all = [
        Message::LeaderInfo {
            epoch,
            client_addr: "host1:4213".into(),
            ping: Micros::millis(100),
            sync: Micros::millis(800),
        },
        Message::EpochAck(EpochAck {
            epoch,
            counted: true,
            current: epoch,
            last: at,
            base: Txid::ZERO,
            commit: at.txid,
            staged: None,
        }),
        Message::Truncate { to: at },
        Message::Snapshot(head),
        Message::SnapshotChunk { from: 0, bytes: stream.into(), last },
        Message::LogEntries { entries: entries() },
        Message::NewLeader { epoch, end },
        Message::UpToDate { epoch, commit: end.txid, full: false },
        Message::Propose { epoch, entries: entries() },
        Message::Ack { epoch, upto: end.txid },
        Message::Ping { epoch, nonce: 300, commit: end.txid, full: true },
        Message::Forward { requests: vec![Forwarded { origin: Origin { boot: 1, seq: 2 }, body }] },
        Message::ReadIndexAck { id: 7, index: end.txid },
    ];
    let mut raw = vec![Vec::new()];
    let mut bodies = Vec::new();
    for message in &all {
        let mut bytes = Vec::new();
        peer::encode(message, &mut bytes);
        bodies.push([&[1][..], &bytes[10..]].concat());
        raw[0].extend_from_slice(&bytes);
        raw.push([&[0][..], &bytes].concat());
    }
    raw[0].insert(0, 0);
    [named("raw", raw), named("body", bodies)].concat()
}

fn client_frames() -> Made {
    let path = Path::parse("a/b").unwrap();
    let list = Query::List {
        path: Path::root(),
        recursive: true,
        after: Some(path.clone()),
        limit: 10,
        values: true,
    };
    let linearizable = ReadLevel::Linearizable;
    let mut ops: Vec<Op> = commands().into_iter().map(Op::Write).collect();
    ops.push(Op::Read { query: Query::Get { path: path.clone() }, level: linearizable });
    ops.push(Op::Read { query: list.clone(), level: ReadLevel::Local(txid(1, 2)) });
    ops.push(Op::Status);
    let requests = ops.into_iter().zip(1..).map(|(op, id)| {
        let mut bytes = Vec::new();
        client::encode_request(&ClientRequest { id, timeout_ms: 5000, op }, &mut bytes);
        bytes
    });
    let tree = tree();
    let read = |query| End::Done { txid: txid(1, 6), answer: tree.query(&query) };
    let results = [
        End::Unknown,
        End::Invalid("the key is empty".into()),
        read(Query::Get { path }),
        read(list),
    ];
    let replies = results.into_iter().zip(1..).map(|(end, id)| {
        let mut bytes = Vec::new();
        client::encode_reply(&ClientReply { id, end }, &mut bytes);
        bytes
    });
    let both = |which: u8, frames: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        let raw = frames.iter().map(|bytes| [&[which, 0][..], bytes].concat());
        raw.chain(frames.iter().map(|b| [&[which, 1][..], &b[10..]].concat())).collect()
    };
    let requests = named("request", both(0, requests.collect()));
    [requests, named("reply", both(1, replies.collect()))].concat()
}

fn records() -> Vec<Record> {
    let entries = entries();
    let base = Base { at: entries[0].position(), membership: membership() };
    vec![
        Record::Promise(Promise { epoch: Epoch::new(1), leader: NodeId::new(2) }),
        Record::Append { entries: entries.clone(), commit: txid(1, 1) },
        Record::Enter(Epoch::new(1)),
        Record::Truncate(entries[2].position()),
        Record::Prune(base.clone()),
        Record::Install { base, stage: 3, digest: Digest::new(9) },
        Record::Commit(txid(1, 1)),
        Record::Begin(Lives::first(Life::new(7))),
    ]
}

fn journal_records() -> Made {
    let bytes = |record: &Record| {
        let mut bytes = Vec::new();
        record::encode(record, &mut bytes);
        bytes
    };
    let framed = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap().to_le_bytes();
        [&length[..], bytes].concat()
    };
    let head = record::SegmentHead {
        identity: Identity {
            cluster: membership().cluster_id(),
            node: NodeId::new(1),
            incarnation: Incarnation::new(5),
        },
        initial: membership(),
        promise: None,
        current: Epoch::ZERO,
        committed: Txid::ZERO,
        lives: Lives::first(Life::new(7)),
        entered: false,
        base: Base { at: Position::ZERO, membership: membership() },
        last: Position::ZERO,
    };
    let mut start = Vec::new();
    record::encode_head(&head, &mut start);
    let start = framed(&start);
    let all: Vec<u8> = records().iter().flat_map(|record| framed(&bytes(record))).collect();
    let each = records();
    let each = each.iter().map(|record| [&start[..], &framed(&bytes(record))].concat());
    [named("all", vec![[&start[..], &all].concat()]), named("one", each.collect())].concat()
}

fn journal_files() -> Made {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { journal: JournalOptions { segment_bytes: 16 << 10 }, free_bytes: 0 };
    let bootstrap = Bootstrap {
        node: NodeId::new(1),
        membership: membership(),
        incarnation: Incarnation::new(5),
        secret: 6,
        life: Life::new(7),
    };
    let mut files = Vec::new();
    let newest = || {
        let files = fs::read_dir(dir.path()).unwrap().flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        let last = names.filter(|name| name.starts_with("journal-")).max().unwrap();
        let mut bytes = fs::read(dir.path().join(last)).unwrap();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
        bytes
    };
    let mut store = storage::open(dir.path(), &options, &bootstrap).unwrap().store;
    files.push(newest());
    for record in records().iter().take(5) {
        store.append(record).unwrap();
        store.flush().unwrap();
    }
    files.push(newest());
    store.close().unwrap();
    files.push(newest());
    named("file", files)
}

fn configuration() -> Made {
    let server = |peers: &str| {
        format!(
            r#"{{"Host": {{"ElectionAddr": "localhost:5001", "MessageAddr": "localhost:5002",
 "RequestAddr": "localhost:5003"}}, "Peer": [{peers}]}}"#
        )
    };
    let peer = r#"{"ElectionAddr": "localhost:6001", "MessageAddr": "localhost:6002"}"#;
    let texts = [
        server(peer),
        server(""),
        server(&[peer, peer].join(", ")),
        r#"{"Peer": [{"RequestAddr": "localhost:5003"}, {"RequestAddr": "[::1]:6003"}]}"#.into(),
        r#"{"Host": 7, "Peer": {}, "x": [null, true, 1e400, "\ud800"]}"#.into(),
    ];
    named("file", texts.into_iter().map(String::into_bytes).collect())
}

fn part(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

fn snapshots() -> Made {
    let mut tree = tree();
    tree.open_snapshot(ConnId::new(1));
    let (items, _) = tree.read_snapshot(ConnId::new(1), 10_000);
    let all: Vec<Vec<u8>> =
        items.iter().map(|item| [part(&item.key), part(&item.value)].concat()).collect();
    let mut backwards = all.clone();
    backwards.reverse();
    named("tree", vec![all.concat(), backwards.concat(), all[1..].concat()])
}

fn tree_commands() -> Made {
    let all: Vec<Vec<u8>> = commands().iter().map(|command| part(&command.encode())).collect();
    let mut inputs = all.clone();
    inputs.push(all.concat());
    named("commands", inputs)
}

/// Event sequences are drawn at random: what they mean is up to the target.
fn node_events() -> Made {
    let mut rng = Rng::new(1);
    let inputs = (0..24).map(|number| {
        let length = 100 << (number % 5);
        (0..length).map(|_| rng.next_u64() as u8).collect()
    });
    named("random", inputs.collect())
}
