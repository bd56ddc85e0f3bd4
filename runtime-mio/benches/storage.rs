//! What the disk allows and what the journal makes of it: `cargo bench --bench storage [-- DIR]`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zabkeeper_core::digest::Digest;
use zabkeeper_core::entry::{Body, Entry, Position};
use zabkeeper_core::ids::{Epoch, Incarnation, NodeId, Txid};
use zabkeeper_core::quorum::{Member, Membership};
use zabkeeper_core::storage::{Base, Change, Checkpoint, Record};
use zabkeeper_core::time::WallTime;
use zabkeeper_runtime_mio::storage::{Bootstrap, DiskStorage, Opened, Options, open};

const FLUSHES: u32 = 3000;
const KEYS: usize = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds `--bench`.
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let parent = given.map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = parent.join(format!("zabkeeper-bench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let done = measure(&dir);
    fs::remove_dir_all(&dir)?;
    done
}

fn measure(dir: &Path) -> Result<(), Box<dyn Error>> {
    rate("bare write and fdatasync of 300 bytes, zeroed file", bare(dir)?, 1);
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
    for items in opened.items {
        found += items.map_err(|damage| damage.to_string())?.len();
    }
    let entries = opened.recovered.entries.len();
    println!(
        "open with {entries} entries: {until_open:?}; {found} keys read: {:?}",
        started.elapsed()
    );
    Ok(())
}

fn rate(name: &str, elapsed: Duration, records: u32) {
    let flushes = f64::from(FLUSHES) / elapsed.as_secs_f64();
    println!("{name}: {flushes:.0} flushes/s, {:.0} records/s", flushes * f64::from(records));
}

fn bare(dir: &Path) -> std::io::Result<Duration> {
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
            store.append(&Record::Append(vec![entry]))?;
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
        election_addr: "localhost:1".into(),
        message_addr: "localhost:2".into(),
    };
    let members = BTreeMap::from([(NodeId::new(1), member)]);
    Arc::new(Membership::new(Txid::ZERO, members))
}

fn open_node(dir: &Path) -> Result<Opened, Box<dyn Error>> {
    let bootstrap = Bootstrap {
        node: NodeId::new(1),
        membership: membership(),
        incarnation: Incarnation::new(1),
    };
    Ok(open(dir, &Options::default(), &bootstrap)?)
}
