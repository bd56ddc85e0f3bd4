//! The application's state in sled 0.34.7, written behind the journal.
//!
//! Every generation of the state has a directory of its own, `state-<generation>`: an incoming
//! snapshot is written into a new one while the old one goes on; the journal's `Install` record
//! decides which is current, and all others are garbage. What sled needs to be trusted with it:
//! its flush is replaced (see the `cure` module) and the replacement is tested at every open; values
//! stay small; a snapshot file of its own that a crash left half made is removed; its panics on
//! damage are caught.

use super::cure;
use super::error::{Damage, OpenError};
use super::fs::sync_dir;
use super::items::{self, Items};
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use zabkeeper_core::digest::Digest;
use zabkeeper_core::entry::Position;
use zabkeeper_core::ids::{Epoch, Txid};
use zabkeeper_core::message::Item;
use zabkeeper_core::storage::Checkpoint;

const META: &[u8] = b"m";
const PROBE: &[u8] = b"p";
const FORMAT: u64 = 1;
const META_BYTES: usize = 48;
/// sled's unit of writing and of reuse. Values must stay far below it.
const SLED_SEGMENT: usize = 8 << 20;

/// What a stored state stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Meta {
    pub generation: u64,
    /// The last entry applied.
    pub applied: Position,
    /// The digest of the application's state.
    pub digest: Digest,
}

/// One generation of the stored state.
pub(crate) struct StateStore {
    dir: PathBuf,
    name: String,
    db: sled::Db,
    meta: Meta,
}

impl StateStore {
    /// Makes generation `generation`, empty and without meaning until [`Self::seal`].
    pub(crate) fn create(parent: &Path, generation: u64, cache: u64) -> Result<Self, OpenError> {
        let name = generation_name(generation);
        let dir = parent.join(&name);
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(OpenError::io("remove", &dir))?;
        }
        let db = open_sled(&dir, &name, cache)?;
        let meta = Meta { generation, applied: Position::ZERO, digest: Digest::ZERO };
        Ok(Self { dir, name, db, meta })
    }

    /// Opens the generation that the journal names.
    pub(crate) fn open(parent: &Path, generation: u64, cache: u64) -> Result<Self, OpenError> {
        let name = generation_name(generation);
        let dir = parent.join(&name);
        for file in ["conf", "db"] {
            // sled would make them anew: an empty state instead of a missing one.
            if !dir.join(file).is_file() {
                return Err(Damage::new("this file is missing", format!("{name}/{file}")).into());
            }
        }
        let db = open_sled(&dir, &name, cache)?;
        let meta = guarded(|| db.get(META)).map_err(|what| Damage::new(what, &name))?;
        let meta = meta.as_deref().and_then(Meta::decode);
        let meta = meta.ok_or_else(|| Damage::new("the state's position is missing", &name))?;
        if meta.generation != generation {
            let what = format!("this is generation {}, moved here", meta.generation);
            return Err(Damage::new(what, name).into());
        }
        let store = Self { dir, name, db, meta };
        store.probe()?;
        store.sync_files().map_err(OpenError::io("flush", &store.dir))?;
        sync_dir(parent).map_err(OpenError::io("flush", parent))?;
        Ok(store)
    }

    pub(crate) fn meta(&self) -> Meta {
        self.meta
    }

    /// Everything stored.
    pub(crate) fn items(&self) -> Items {
        Items::new(&self.db, &self.name)
    }

    /// Adds elements of a state that is being built.
    pub(crate) fn add(&self, items: &[Item]) -> Result<(), String> {
        let mut batch = sled::Batch::default();
        for item in items {
            items::insert(&mut batch, &item.key, &item.value);
        }
        guarded(|| self.db.apply_batch(batch))
    }

    /// Ends the building: from now on the state stands for `meta`, and survives a power cut.
    pub(crate) fn seal(&mut self, parent: &Path, meta: Meta) -> Result<(), String> {
        guarded(|| self.db.insert(META, meta.encode().as_slice()))?;
        self.flush()?;
        let sync = || -> io::Result<()> {
            self.sync_files()?;
            sync_dir(parent)
        };
        sync().map_err(|error| format!("{}: {error}", self.name))?;
        self.meta = meta;
        Ok(())
    }

    /// Brings the state to a later position, all of it or nothing, durable on return.
    pub(crate) fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), String> {
        let meta = Meta {
            generation: self.meta.generation,
            applied: checkpoint.at,
            digest: checkpoint.digest,
        };
        guarded(|| {
            let mut batch = sled::Batch::default();
            for change in &checkpoint.changes {
                items::write(&self.db, &mut batch, &change.key, change.value.as_deref())?;
            }
            batch.insert(META, meta.encode().as_slice());
            self.db.apply_batch(batch)
        })?;
        self.flush()?;
        self.meta = meta;
        Ok(())
    }

    /// Counts and digests everything stored, as read back.
    pub(crate) fn tally(&self) -> Result<(u64, Digest), Damage> {
        let mut count = 0;
        let mut sum = Digest::ZERO;
        for batch in self.items() {
            for item in batch? {
                count += 1;
                sum = sum.plus(items::digest(&item));
            }
        }
        Ok((count, sum))
    }

    /// Removes the generation from the disk.
    pub(crate) fn destroy(self) -> io::Result<()> {
        let Self { dir, db, .. } = self;
        drop(db);
        fs::remove_dir_all(dir)
    }

    /// sled's flush, which must have come by our own.
    fn flush(&self) -> Result<(), String> {
        let before = cure::flushes();
        guarded(|| self.db.flush())?;
        if cure::flushes() == before {
            return Err(OpenError::NoFlush.to_string());
        }
        no_blobs(&self.dir).map_err(|damage| damage.to_string())
    }

    /// Checks that a flush of sled's reaches the disk: writes something that differs from what is
    /// there and watches the flush pass through our replacement.
    fn probe(&self) -> Result<(), OpenError> {
        let damage = |what: String| Damage::new(what, &self.name);
        let held = guarded(|| self.db.get(PROBE)).map_err(damage)?;
        let held = held.and_then(|raw| Some(u64::from_be_bytes(raw.as_ref().try_into().ok()?)));
        let next = held.unwrap_or(0).wrapping_add(1);
        let before = cure::flushes();
        guarded(|| {
            self.db.insert(PROBE, &next.to_be_bytes())?;
            self.db.flush()
        })
        .map_err(|what| OpenError::Io {
            what: "write to",
            path: self.dir.clone(),
            source: io::Error::other(what),
        })?;
        if cure::flushes() == before {
            return Err(OpenError::NoFlush);
        }
        Ok(())
    }

    /// Makes the files themselves, and their names, survive a power cut: sled does not.
    fn sync_files(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            File::open(entry?.path())?.sync_all()?;
        }
        sync_dir(&self.dir)
    }
}

impl Meta {
    fn encode(&self) -> [u8; META_BYTES] {
        let numbers = [
            FORMAT,
            self.generation,
            self.applied.txid.epoch().get(),
            self.applied.txid.counter(),
            self.applied.chain.get(),
            self.digest.get(),
        ];
        let mut bytes = [0; META_BYTES];
        for (to, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; META_BYTES] = bytes.try_into().ok()?;
        let mut numbers = [0; META_BYTES / 8];
        for (number, raw) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_be_bytes(raw.try_into().ok()?);
        }
        let [FORMAT, generation, epoch, counter, chain, digest] = numbers else {
            return None;
        };
        let txid = Txid::new(Epoch::new(epoch), counter)?;
        let chain = Digest::new(chain);
        Some(Self { generation, applied: Position { txid, chain }, digest: Digest::new(digest) })
    }
}

/// The name of a generation's directory.
pub(crate) fn generation_name(generation: u64) -> String {
    format!("state-{generation:010}")
}

/// Runs something of sled's, whose panics are findings of damage.
pub(crate) fn guarded<T>(run: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("sled gave up: {}", text.unwrap_or("no reason given")))
        }
    }
}

fn open_sled(dir: &Path, name: &str, cache: u64) -> Result<sled::Db, OpenError> {
    remove_half_made_snapshots(dir).map_err(OpenError::io("tidy", dir))?;
    no_blobs(dir)?;
    let config = sled::Config::new()
        .path(dir)
        .mode(sled::Mode::LowSpace)
        .cache_capacity(cache)
        .segment_size(SLED_SEGMENT)
        .use_compression(false)
        .flush_every_ms(None);
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(db),
            // The directory's own lock is ours, so this can only be an earlier store of this very
            // process, closed, whose last background job of sled's has not let go yet.
            Ok(Err(sled::Error::Io(error)))
                if error.to_string().contains("could not acquire lock")
                    && Instant::now() < patience =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(Err(sled::Error::Io(error))) if error.kind() != io::ErrorKind::InvalidData => {
                return Err(OpenError::io("open", dir)(error));
            }
            Ok(Err(error)) => return Err(Damage::new(error.to_string(), name).into()),
            Err(_) => return Err(Damage::new("sled gave up reading it", name).into()),
        }
    }
}

/// sled writes a file and then renames it; after a crash in between it stumbles over the remnant at
/// every later open. Nothing depends on that file.
fn remove_half_made_snapshots(dir: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Values beyond a limit become files that sled never flushes: there must not be any.
fn no_blobs(dir: &Path) -> Result<(), Damage> {
    let mut blobs = fs::read_dir(dir.join("blobs")).into_iter().flatten();
    match blobs.next() {
        None => Ok(()),
        Some(_) => {
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            let what = "a value is kept outside of the store, where it is not flushed";
            Err(Damage::new(what, format!("{name}/blobs")))
        }
    }
}
