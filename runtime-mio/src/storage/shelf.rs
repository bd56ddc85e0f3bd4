//! One value in sled 0.34.7, replaced in one piece: the root of a stored state.
//!
//! What sled needs to be trusted with it: its flush is replaced (see the `cure` module) and the
//! replacement is tested at every open; values stay small; a snapshot file of its own that a crash
//! left half made is removed; its panics on damage are caught.

use super::cure;
use super::descriptors::patiently;
use super::error::{Damage, OpenError};
use super::fs::sync_dir;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ROOT: &[u8] = b"m";
const PROBE: &[u8] = b"p";
/// sled's unit of writing and of reuse, held in memory a few times.
const SLED_SEGMENT: usize = 128 << 10;
/// The longest value. What takes more than a quarter of a segment, with all that sled writes beside
/// and around it, would become a file of its own, which sled never flushes.
const LARGEST: usize = SLED_SEGMENT / 4 - (1 << 10);
/// There is next to nothing to be cached.
const SLED_CACHE: u64 = 1 << 20;

/// The value's place. After an error nothing more may be asked of it.
pub(crate) struct Shelf {
    dir: PathBuf,
    name: String,
    db: sled::Db,
}

impl Shelf {
    /// Opens the shelf in `dir`, whose name in messages is `name`, or makes an empty one.
    pub(crate) fn open(dir: &Path, name: &str) -> Result<Self, OpenError> {
        let db = open_sled(dir, name)?;
        Ok(Self { dir: dir.to_path_buf(), name: name.to_owned(), db })
    }

    /// The value, if there is one.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>, Damage> {
        let value = guarded(|| self.db.get(ROOT)).map_err(|what| Damage::new(what, &self.name))?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// Replaces the value, all of it or nothing; durable on return.
    pub(crate) fn write(&self, value: &[u8]) -> Result<(), String> {
        if value.len() > LARGEST {
            return Err(format!(
                "the list of the tables in {} would take {} bytes, of {LARGEST} at most: there are \
                 too many tables, because merging them failed or did not keep up. What was stored \
                 before is whole, and the next start merges them",
                self.dir.display(),
                value.len()
            ));
        }
        let before = cure::flushes();
        let place = |what: String| format!("{}: {what}", self.dir.display());
        guarded(|| self.db.insert(ROOT, value)).map_err(place)?;
        guarded(|| self.db.flush()).map_err(place)?;
        // It must have come by our own.
        if cure::flushes() == before {
            return Err(OpenError::NoFlush.to_string());
        }
        no_blobs(&self.dir).map_err(|damage| damage.to_string())
    }

    /// Checks that a flush of sled's reaches the disk: writes something that differs from what is
    /// there and watches the flush pass through our replacement.
    pub(crate) fn probe(&self) -> Result<(), OpenError> {
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
    pub(crate) fn sync_files(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            patiently(|| File::open(&path))?.sync_all()?;
        }
        sync_dir(&self.dir)
    }
}

/// Runs something of sled's, whose panics are findings of damage.
fn guarded<T>(run: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
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

fn open_sled(dir: &Path, name: &str) -> Result<sled::Db, OpenError> {
    remove_half_made_snapshots(dir).map_err(OpenError::io("tidy", dir))?;
    no_blobs(dir)?;
    let config = sled::Config::new()
        .path(dir)
        .mode(sled::Mode::LowSpace)
        .cache_capacity(SLED_CACHE)
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
            // Only another release has other settings.
            Ok(Err(sled::Error::Unsupported(why))) => {
                return Err(OpenError::Settings { file: dir.join("conf"), why });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_largest_size_is_stored_in_its_place_and_a_larger_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let largest = |n: u8| vec![n; LARGEST];
        for life in 0..3 {
            let shelf = Shelf::open(dir.path(), "state").unwrap();
            shelf.probe().unwrap();
            // Often enough that sled writes the value together with all that is beside it.
            for n in 0..40 {
                shelf.write(&largest(life + n)).unwrap();
            }
            let error = shelf.write(&vec![0xff; LARGEST + 1]).unwrap_err();
            assert!(error.contains("too many tables"), "{error}");
            assert_eq!(shelf.read().unwrap(), Some(largest(life + 39)));
            drop(shelf);
            let shelf = Shelf::open(dir.path(), "state").unwrap();
            assert_eq!(shelf.read().unwrap(), Some(largest(life + 39)));
        }
    }
}
