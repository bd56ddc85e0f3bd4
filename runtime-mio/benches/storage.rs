//! What the disk allows and what the journal makes of it: `cargo bench --bench storage [-- DIR]`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{self, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zabkeeper_core::replica::App;
use zabkeeper_core::store::{Command, Path, Tree};
use zabkeeper_core::words::{Digest, Epoch, Incarnation, Life, NodeId, Txid, WallTime};
use zabkeeper_core::zab::{
    Base, Body, Change, Checkpoint, Entry, Member, Membership, Position, Record,
};
use zabkeeper_runtime_mio::storage::{Bootstrap, DiskStorage, Opened, Options, open};

/// The first argument of the process that only starts with a large tree.
const START: &str = "--start";
const FLUSHES: u32 = 3000;
const KEYS: usize = 100_000;
/// Keys of a large tree, and those that one checkpoint of it adds.
const LARGE: u64 = 1_000_000;
const ADDED: u64 = 50_000;

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds `--bench`.
    let mut given = std::env::args().skip(1).filter(|arg| !arg.starts_with("--bench"));
    let first = given.next();
    if let (Some(START), Some(dir)) = (first.as_deref(), given.next()) {
        return start(path::Path::new(&dir));
    }
    let parent = first.map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = parent.join(format!("zabkeeper-bench-{}", process::id()));
    fs::create_dir_all(&dir)?;
    let done = measure(&dir);
    fs::remove_dir_all(&dir)?;
    done
}

fn measure(dir: &path::Path) -> Result<(), Box<dyn Error>> {
    rate("bare write through the cache and fdatasync of 300 bytes, zeroed file", bare(dir)?, 1);
    let node = dir.join("node");
    let mut store = open_node(&node)?.store;
    let mut last = Position::ZERO;
    for records in [1, 64] {
        let name = format!("journal, {records} records of 200 bytes a flush");
        rate(&name, journal(&mut store, &mut last, records)?, records);
    }
    let started = Instant::now();
    store.checkpoint(&checkpoint(last))?;
    println!("checkpoint of {KEYS} keys: {:?}", started.elapsed());
    store.close()?;
    let started = Instant::now();
    let opened = open_node(&node)?;
    let until_open = started.elapsed();
    let mut found = 0;
    let mut items = opened.items;
    while items.next_element().map_err(|damage| damage.to_string())?.is_some() {
        found += 1;
    }
    let entries = opened.recovered.entries.len();
    println!(
        "open with {entries} entries: {until_open:?}; {found} keys read: {:?}",
        started.elapsed()
    );
    large(&dir.join("large"))
}

/// A start with a large tree: keys as in `directory/key-0000001`, values of 100 bytes.
fn large(dir: &path::Path) -> Result<(), Box<dyn Error>> {
    let mut store = open_node(dir)?.store;
    let mut tree = Tree::empty();
    let mut at = Position::ZERO;
    let mut spent = Duration::ZERO;
    for n in 0..LARGE {
        let path = Path::parse(&format!("directory/key-{n:07}"))?;
        let value = vec![n as u8; 100].into();
        let body = Body::Command(Command::Set { path, value }.encode());
        let txid = at.txid.next().unwrap_or(Txid::first(Epoch::new(1)));
        let entry = Entry::new(at, txid, WallTime::default(), None, body);
        if let Body::Command(command) = &entry.body {
            tree.change(txid, WallTime::default(), command).map_err(|error| error.to_string())?;
        }
        at = entry.position();
        store.append(&Record::append(vec![entry]))?;
        if (n + 1) % ADDED == 0 {
            store.flush()?;
            tree.begin_changes();
            let (changes, _) = tree.read_changes(usize::MAX);
            let started = Instant::now();
            store.checkpoint(&Checkpoint { at, digest: tree.digest(), changes })?;
            spent += started.elapsed();
            store.append(&Record::Prune(Base { at, membership: membership() }))?;
            store.flush()?;
        }
    }
    println!("{} checkpoints of {ADDED} new keys, folds included: {spent:?}", LARGE / ADDED);
    store.close()?;
    // In a process of its own, whose memory tells what the tree takes.
    let program = std::env::current_exe()?;
    let status = process::Command::new(program).arg(START).arg(dir).status()?;
    if status.success() { Ok(()) } else { Err("the start failed".into()) }
}

/// Opens a directory and builds the tree from it.
fn start(dir: &path::Path) -> Result<(), Box<dyn Error>> {
    let before = resident()?;
    let started = Instant::now();
    let opened = open_node(dir)?;
    let until_open = started.elapsed();
    let mut tree = Tree::empty();
    let mut items = opened.items;
    while let Some((key, value)) = items.next_element().map_err(|damage| damage.to_string())? {
        tree.load(key, value)?;
    }
    tree.finish_load(opened.recovered.applied.txid)?;
    assert_eq!(tree.digest(), opened.digest);
    let (keys, memory) = (tree.len() as u64, resident()?.saturating_sub(before));
    println!(
        "start with {keys} keys: open {until_open:?}, with the tree {:?}; {} bytes of memory a key",
        started.elapsed(),
        memory / keys
    );
    Ok(())
}

/// Bytes of memory that this process holds.
fn resident() -> Result<u64, Box<dyn Error>> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("no figure")?.parse()?;
    Ok(pages * 4096)
}

fn rate(name: &str, elapsed: Duration, records: u32) {
    let flushes = f64::from(FLUSHES) / elapsed.as_secs_f64();
    println!("{name}: {flushes:.0} flushes/s, {:.0} records/s", flushes * f64::from(records));
}

fn bare(dir: &path::Path) -> std::io::Result<Duration> {
    let file = File::create(dir.join("bare"))?;
    file.write_all_at(&vec![0; 1 << 20], 0)?;
    file.sync_all()?;
    let started = Instant::now();
    for n in 0..u64::from(FLUSHES) {
        file.write_all_at(&[7; 300], n * 300)?;
        file.sync_data()?;
    }
    Ok(started.elapsed())
}

fn journal(
    store: &mut DiskStorage,
    last: &mut Position,
    records: u32,
) -> Result<Duration, Box<dyn Error>> {
    let started = Instant::now();
    for flush in 0..FLUSHES {
        for _ in 0..records {
            let txid = last.txid.next().unwrap_or(Txid::first(Epoch::new(1)));
            let body = Body::Command(vec![1; 200].into());
            let entry = Entry::new(*last, txid, WallTime::default(), None, body);
            *last = entry.position();
            store.append(&Record::append(vec![entry]))?;
        }
        store.flush()?;
        if flush % 500 == 0 {
            store.append(&Record::Prune(Base { at: *last, membership: membership() }))?;
        }
    }
    Ok(started.elapsed())
}

fn checkpoint(at: Position) -> Checkpoint {
    let change = |n: usize| Change {
        key: format!("directory/key-{n:06}").into_bytes().into(),
        value: Some(vec![n as u8; 100].into()),
    };
    Checkpoint { at, digest: Digest::new(1), changes: (0..KEYS).map(change).collect() }
}

fn membership() -> Arc<Membership> {
    let member = Member {
        voter: true,
        incarnation: None,
        life: None,
        election_addr: "localhost:1".into(),
        message_addr: "localhost:2".into(),
    };
    let members = BTreeMap::from([(NodeId::new(1), member)]);
    Arc::new(Membership::new(Txid::ZERO, members))
}

fn open_node(dir: &path::Path) -> Result<Opened, Box<dyn Error>> {
    let bootstrap = Bootstrap {
        node: NodeId::new(1),
        membership: membership(),
        incarnation: Incarnation::new(1),
        secret: 1,
        life: Life::new(1),
    };
    Ok(open(dir, &Options::default(), &bootstrap)?)
}
