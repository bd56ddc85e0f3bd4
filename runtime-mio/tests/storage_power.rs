//! Power cuts on a real file system. A node's directory is on an ext4 image behind a loop device.
//! The file system around that image is frozen while the image is copied, so every copy is what the
//! device held at one moment: all that was flushed, and whatever of the rest the kernel happened to
//! have written. Needs root and loop devices; says so and passes where they are not to be had.

mod storage_common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use std::{fs, thread};
use storage_common::*;
use zabkeeper_core::words::{Digest, Epoch, Txid, WallTime, WriteId};
use zabkeeper_core::zab::{Base, Body, Change, Checkpoint, Entry, Keep, Position, Record};
use zabkeeper_runtime_mio::storage::{
    Completion, JournalOptions, Options, StorageCommand, StorageHandle, StorageThread, open,
};

const CUTS: u64 = 45;
/// From this one on, checkpoints are heavy.
const LIGHT_CUTS: u64 = 41;
/// Each entry writes one of this many keys.
const KEYS: u64 = 300;
/// Then, of every so many checkpoints, one changes all of the ballast.
const HEAVY: u64 = 4;
/// Elements of ballast, together more than sled writes in one piece: all of them change, or none.
const BALLAST: u64 = 170;
const BALLAST_BYTES: usize = 60_000;
/// Changes that are handed over at a time.
const PART: usize = 16;
/// Small, so that segments are begun, given back and used again all the time.
const OPTIONS: Options =
    Options { journal: JournalOptions { segment_bytes: 64 << 10 }, free_bytes: 0 };

/// What has been acknowledged, as counters of entries.
#[derive(Default)]
struct Acknowledged {
    entries: AtomicU64,
    checkpoint: AtomicU64,
    failed: AtomicBool,
    heavy: AtomicBool,
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
    let last = thread::scope(|scope| {
        scope.spawn(|| write(&dir, &acknowledged));
        // Also when a cut is found that lost something.
        let _stop = Stop(&acknowledged.stop);
        (0..CUTS).map(|n| cut(n, &outer, &inner_image, &scratch, &acknowledged)).last()
    });
    assert!(!acknowledged.failed.load(Ordering::SeqCst));
    let last = last.unwrap();
    eprintln!("{CUTS} power cuts, the last one with {last:?}");
    assert!(last.entries > 1000 && last.checkpoint > 1000 && last.ballast > 0, "{last:?}");
}

/// What a cut image holds, as counters of entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Found {
    entries: u64,
    checkpoint: u64,
    /// Which checkpoint wrote the ballast.
    ballast: u64,
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A file system, and in it the image of another.
fn nested(scratch: &Path) -> Result<(Mounted, PathBuf), String> {
    let outer_image = scratch.join("outer.img");
    make_image(&outer_image, 280 << 20)?;
    let outer = Mounted::image("power-outer", &outer_image)?;
    let inner_image = outer.dir.join("inner.img");
    make_image(&inner_image, 200 << 20)?;
    Ok((outer, inner_image))
}

fn make_image(path: &Path, size: u64) -> Result<(), String> {
    let file = fs::File::create(path).map_err(|error| error.to_string())?;
    file.set_len(size).map_err(|error| error.to_string())?;
    run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0", &text(path)])
}

/// Copies the device, and compares the copy with what had been acknowledged before.
fn cut(
    n: u64,
    outer: &Mounted,
    image: &Path,
    scratch: &Path,
    acknowledged: &Acknowledged,
) -> Found {
    acknowledged.heavy.store(n >= LIGHT_CUTS, Ordering::SeqCst);
    // A moment for the writer to get on: how long does not matter, only that it differs.
    thread::sleep(Duration::from_millis(20 + 17 * (n % 7)));
    let copy = scratch.join(format!("cut-{n}.img"));
    let entries = acknowledged.entries.load(Ordering::SeqCst);
    let checkpoint = acknowledged.checkpoint.load(Ordering::SeqCst);
    run("fsfreeze", &["--freeze", &text(&outer.dir)]).unwrap();
    let copied = run("cp", &["--sparse=always", &text(image), &text(&copy)]);
    run("fsfreeze", &["--unfreeze", &text(&outer.dir)]).unwrap();
    copied.unwrap();
    let found = check(&copy, entries, checkpoint);
    fs::remove_file(copy).unwrap();
    found
}

/// Writes entries, checkpoints and prunes like a busy node until told to stop.
fn write(dir: &Path, acknowledged: &Acknowledged) {
    let opened = open(dir, &OPTIONS, &bootstrap(1, 3, 11)).unwrap();
    let (tell, told) = channel();
    let handle = StorageThread::spawn(opened.store, move || _ = tell.send(())).unwrap();
    // Some of the log that was left behind is kept for others, the rest is given back and used again.
    let keep = Keep { after: None, most: 0, bytes: 1 << 20 };
    handle.submit(vec![StorageCommand::KeepLog(keep)]);
    let mut writer = Writer {
        handle,
        told,
        next_id: 0,
        last: Position::ZERO,
        ids: BTreeMap::new(),
        checkpointing: None,
        checkpoints: 0,
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
    checkpoints: u64,
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
            let id = self.persist(Record::append(vec![entry]));
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
            Completion::Staged { .. } | Completion::Sealed(_) => {}
            Completion::Checkpointed(at) => {
                acknowledged.checkpoint.store(at.counter(), Ordering::SeqCst);
                let at = self.checkpointing.take().unwrap();
                let membership = bootstrap(1, 3, 11).membership;
                self.persist(Record::Prune(Base { at, membership }));
            }
            Completion::SpaceShort(_) | Completion::Progress(_) | Completion::LogRead { .. } => {}
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
        let mut newest: BTreeMap<_, _> =
            changes.map(|change| (change.key.clone(), change)).collect();
        self.checkpoints += 1;
        let heavy = acknowledged.heavy.load(Ordering::SeqCst);
        if heavy && self.checkpoints.is_multiple_of(HEAVY) {
            let mut value = counter.to_be_bytes().to_vec();
            value.resize(BALLAST_BYTES, 0);
            for n in 0..BALLAST {
                let (key, value) = (ballast_key(n).into_bytes().into(), Some(value.clone().into()));
                let change = Change { key, value };
                newest.insert(change.key.clone(), change);
            }
        }
        self.checkpointing = Some(at);
        // In parts, as a node hands them over.
        let changes: Vec<Change> = newest.into_values().collect();
        let (parts, rest) = changes.split_at(changes.len() / PART * PART);
        let parts = parts
            .chunks(PART)
            .map(|part| StorageCommand::CheckpointPart { at: at.txid, changes: part.to_vec() });
        let digest = Digest::new(counter);
        let checkpoint = Checkpoint { at, digest, changes: rest.to_vec() };
        self.handle.submit(parts.chain([StorageCommand::Checkpoint(checkpoint)]).collect());
    }
}

/// Opens a copy, twice, and compares it with what had been acknowledged.
fn check(image: &Path, entries: u64, checkpoint: u64) -> Found {
    let mounted = Mounted::image("power-cut", image).unwrap();
    let dir = mounted.dir.join("node");
    if entries == 0 && !dir.join("journal-0000000001.zkj").exists() {
        // Cut before the directory was made a node's: it is made now.
        assert!(open_node(&dir).created);
    }
    let first = check_once(&dir, entries, checkpoint);
    assert_eq!(check_once(&dir, entries, checkpoint), first, "it changed by itself");
    first
}

fn check_once(dir: &Path, entries: u64, checkpoint: u64) -> Found {
    let opened =
        open(dir, &OPTIONS, &bootstrap(1, 3, 12)).unwrap_or_else(|error| panic!("{error}"));
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
    let mut state = load(opened.items);
    let ballast = state.split_off("l");
    let first = (applied + 1).saturating_sub(KEYS).max(1);
    let expected = (first..=applied).map(|counter| (key(counter), content(counter)));
    assert_eq!(state, expected.collect(), "the state at {applied}");
    let written = ballast.values().next().map(|value| {
        assert_eq!(ballast.len() as u64, BALLAST, "part of a checkpoint");
        assert!(ballast.values().all(|other| other == value), "parts of two checkpoints");
        u64::from_be_bytes(value[..8].try_into().unwrap())
    });
    let ballast = written.unwrap_or(0);
    assert!(ballast <= applied);
    Found { entries: last, checkpoint: applied, ballast }
}

fn ballast_key(n: u64) -> String {
    format!("z-ballast/{n}")
}

fn key(counter: u64) -> String {
    format!("key/{}", counter % KEYS)
}

fn content(counter: u64) -> Vec<u8> {
    let mut bytes = counter.to_be_bytes().to_vec();
    bytes.resize(8 + (counter as usize * 37) % 700, counter as u8);
    bytes
}
