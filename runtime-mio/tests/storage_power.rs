//! Power cuts on a real file system. A node's directory is on an ext4 image behind a loop device.
//! The file system around that image is frozen while the image is copied, so every copy is what the
//! device held at one moment: all that was flushed, and whatever of the rest the kernel happened to
//! have written. Needs root and loop devices; says so and passes where they are not to be had.

mod storage_common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;
use storage_common::*;
use zabkeeper_core::digest::Digest;
use zabkeeper_core::entry::{Body, Entry, Position};
use zabkeeper_core::ids::{Epoch, Txid, WriteId};
use zabkeeper_core::storage::{Base, Change, Checkpoint, Record};
use zabkeeper_core::time::WallTime;
use zabkeeper_runtime_mio::storage::{
    Completion, JournalOptions, Options, StorageCommand, StorageHandle, StorageThread, open,
};

const CUTS: u64 = 44;
/// Each entry writes one of this many keys.
const KEYS: u64 = 300;
/// Small, so that segments are begun, given back and used again all the time.
const OPTIONS: Options =
    Options { journal: JournalOptions { segment_bytes: 64 << 10 }, state_cache_bytes: 1 << 20 };

/// What has been acknowledged, as counters of entries.
#[derive(Default)]
struct Acknowledged {
    entries: AtomicU64,
    checkpoint: AtomicU64,
    failed: AtomicBool,
    stop: AtomicBool,
}

#[test]
fn after_real_power_cuts_everything_acknowledged_is_there() {
    let scratch = Scratch::new("power");
    let (outer, inner_image) = match nested(&scratch) {
        Ok(nested) => nested,
        Err(why) => {
            eprintln!("skipped: power cuts need root, loop devices and ext4 tools ({why})");
            return;
        }
    };
    let inner = Mounted::image("power-inner", &inner_image).unwrap();
    let dir = inner.dir.join("node");
    let acknowledged = Acknowledged::default();
    let copies = thread::scope(|scope| {
        scope.spawn(|| write(&dir, &acknowledged));
        let copies = cut(&outer, &inner_image, &scratch, &acknowledged);
        acknowledged.stop.store(true, Ordering::SeqCst);
        copies
    });
    assert!(!acknowledged.failed.load(Ordering::SeqCst));
    drop(inner);
    drop(outer);
    let (mut cut_off, mut last_checkpoint) = (0, 0);
    for (image, entries, checkpoint) in &copies {
        let (found, state) = check(image, *entries, *checkpoint);
        cut_off += u64::from(found > *entries);
        last_checkpoint = state;
    }
    eprintln!(
        "{} power cuts, {} entries and {last_checkpoint} checkpointed at the last, {cut_off} with \
         more than was acknowledged",
        copies.len(),
        copies.last().map_or(0, |copy| copy.1)
    );
    assert_eq!(copies.len() as u64, CUTS);
    assert!(last_checkpoint > 0);
}

/// A file system, and in it the image of another.
fn nested(scratch: &Path) -> Result<(Mounted, PathBuf), String> {
    let outer_image = scratch.join("outer.img");
    make_image(&outer_image, 200 << 20)?;
    let outer = Mounted::image("power-outer", &outer_image)?;
    let inner_image = outer.dir.join("inner.img");
    make_image(&inner_image, 128 << 20)?;
    Ok((outer, inner_image))
}

fn make_image(path: &Path, size: u64) -> Result<(), String> {
    let file = fs::File::create(path).map_err(|error| error.to_string())?;
    file.set_len(size).map_err(|error| error.to_string())?;
    run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0", &text(path)])
}

/// Copies the device again and again, each time with what had been acknowledged before.
fn cut(
    outer: &Mounted,
    image: &Path,
    scratch: &Path,
    acknowledged: &Acknowledged,
) -> Vec<(PathBuf, u64, u64)> {
    let mut copies = Vec::new();
    for n in 0..CUTS {
        // A moment for the writer to get on: how long does not matter, only that it differs.
        thread::sleep(Duration::from_millis(20 + 17 * (n % 7)));
        let copy = scratch.join(format!("cut-{n}.img"));
        let entries = acknowledged.entries.load(Ordering::SeqCst);
        let checkpoint = acknowledged.checkpoint.load(Ordering::SeqCst);
        run("fsfreeze", &["--freeze", &text(&outer.dir)]).unwrap();
        let copied = run("cp", &["--sparse=always", &text(image), &text(&copy)]);
        run("fsfreeze", &["--unfreeze", &text(&outer.dir)]).unwrap();
        copied.unwrap();
        copies.push((copy, entries, checkpoint));
    }
    copies
}

/// Writes entries, checkpoints and prunes like a busy node until told to stop.
fn write(dir: &Path, acknowledged: &Acknowledged) {
    let opened = open(dir, &OPTIONS, &bootstrap(1, 3, 11)).unwrap();
    let (tell, told) = channel();
    let handle = StorageThread::spawn(opened.store, move || _ = tell.send(())).unwrap();
    let mut writer = Writer {
        handle,
        told,
        next_id: 0,
        last: Position::ZERO,
        ids: BTreeMap::new(),
        checkpointing: None,
        positions: BTreeMap::new(),
    };
    while !acknowledged.stop.load(Ordering::SeqCst) {
        writer.round(acknowledged);
    }
    assert!(!writer.handle.stop().iter().any(|c| matches!(c, Completion::Failed(_))));
}

struct Writer {
    handle: StorageHandle,
    told: Receiver<()>,
    next_id: u64,
    last: Position,
    /// Which entry each outstanding write holds.
    ids: BTreeMap<u64, u64>,
    checkpointing: Option<Position>,
    /// Positions after the newest checkpoint.
    positions: BTreeMap<u64, Position>,
}

impl Writer {
    fn round(&mut self, acknowledged: &Acknowledged) {
        for _ in 0..8 {
            let counter = self.last.txid.counter() + 1;
            let txid = Txid::new(Epoch::new(1), counter).unwrap();
            let body = Body::Command(content(counter).into());
            let entry = Entry::new(self.last, txid, WallTime::default(), None, body);
            self.last = entry.position();
            self.positions.insert(counter, self.last);
            let id = self.persist(Record::Append(vec![entry]));
            self.ids.insert(id, counter);
        }
        while self.ids.len() > 32 {
            self.told.recv().unwrap();
            for completion in self.handle.completions() {
                self.completed(completion, acknowledged);
            }
        }
    }

    fn persist(&mut self, record: Record) -> u64 {
        self.next_id += 1;
        let id = WriteId::new(self.next_id);
        self.handle.submit(vec![StorageCommand::Persist { id, record }]);
        self.next_id
    }

    fn completed(&mut self, completion: Completion, acknowledged: &Acknowledged) {
        match completion {
            Completion::Persisted(id) => {
                let later = self.ids.split_off(&(id.get() + 1));
                let done = std::mem::replace(&mut self.ids, later);
                let Some(counter) = done.into_values().last() else {
                    return;
                };
                acknowledged.entries.store(counter, Ordering::SeqCst);
                if self.checkpointing.is_none() {
                    self.checkpoint(counter, acknowledged);
                }
            }
            Completion::Checkpointed(at) => {
                acknowledged.checkpoint.store(at.counter(), Ordering::SeqCst);
                let at = self.checkpointing.take().unwrap();
                let membership = bootstrap(1, 3, 11).membership;
                self.persist(Record::Prune(Base { at, membership }));
            }
            Completion::Failed(why) => {
                acknowledged.failed.store(true, Ordering::SeqCst);
                panic!("{why}");
            }
        }
    }

    fn checkpoint(&mut self, counter: u64, acknowledged: &Acknowledged) {
        let at = self.positions[&counter];
        self.positions = self.positions.split_off(&(counter + 1));
        let from = acknowledged.checkpoint.load(Ordering::SeqCst);
        let change = |counter: u64| Change {
            key: key(counter).into_bytes().into(),
            value: Some(content(counter).into()),
        };
        let changes = (from + 1..=counter).map(change);
        let newest: BTreeMap<_, _> = changes.map(|change| (change.key.clone(), change)).collect();
        self.checkpointing = Some(at);
        self.handle.submit(vec![StorageCommand::Checkpoint(Checkpoint {
            at,
            digest: Digest::new(counter),
            changes: newest.into_values().collect(),
        })]);
    }
}

/// Opens a copy, twice, and compares it with what had been acknowledged. Gives the last entry and
/// the last checkpoint found.
fn check(image: &Path, entries: u64, checkpoint: u64) -> (u64, u64) {
    let mounted = Mounted::image("power-cut", image).unwrap();
    let dir = mounted.dir.join("node");
    let mut found = None;
    for _ in 0..2 {
        let opened = open(&dir, &OPTIONS, &bootstrap(1, 3, 12))
            .unwrap_or_else(|error| panic!("{}: {error}", image.display()));
        let recovered = opened.recovered;
        let last = recovered.entries.last().map_or(recovered.base.at, Entry::position);
        let (last, applied) = (last.txid.counter(), recovered.applied.txid.counter());
        assert!(last >= entries, "{last} of {entries} entries are there");
        assert!(applied >= checkpoint, "{applied} of {checkpoint} are checkpointed");
        assert_eq!(opened.digest, Digest::new(applied));
        for entry in &recovered.entries {
            let expected = Body::Command(content(entry.txid.counter()).into());
            assert_eq!(entry.body, expected);
        }
        let state = load(opened.items);
        let first = (applied + 1).saturating_sub(KEYS).max(1);
        let expected = (first..=applied).map(|counter| (key(counter), content(counter)));
        assert_eq!(state, expected.collect(), "the state at {applied}");
        assert!(found.is_none_or(|before| before == (last, applied)), "it changed by itself");
        found = Some((last, applied));
    }
    found.unwrap()
}

fn key(counter: u64) -> String {
    format!("key/{}", counter % KEYS)
}

fn content(counter: u64) -> Vec<u8> {
    let mut bytes = counter.to_be_bytes().to_vec();
    bytes.resize(8 + (counter as usize * 37) % 700, counter as u8);
    bytes
}
