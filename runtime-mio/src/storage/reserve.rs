//! Room that is kept for the day on which the disk is full: a start needs to write a little, and so
//! does the deletion of keys, which is the way back. A file holds it until it is needed.

use super::fs::sync_dir;
use super::place::private;
use super::space::room;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs;
use std::io;
use std::path::Path;

/// The file that holds the room.
pub(crate) const NAME: &str = "reserve";
/// Its bytes: a segment of the journal, the tables of a checkpoint, and what a start writes.
const BYTES: u64 = 16 << 20;

/// Gives the room back if the file system has less than that, though `relieve` has given back what
/// nothing here depends on.
pub(crate) fn release_if_short(dir: &Path, relieve: impl FnOnce()) -> io::Result<()> {
    if release(&dir.join(NAME), || free(dir), relieve)? {
        log::warn!(
            "the file system of {} is full: gave back the {} MiB that were kept for this. Delete \
             keys, or free space on it",
            dir.display(),
            BYTES >> 20
        );
    }
    Ok(())
}

/// True if it gave back the room.
fn release(
    path: &Path,
    free: impl Fn() -> io::Result<Option<u64>>,
    relieve: impl FnOnce(),
) -> io::Result<bool> {
    let short = || Ok::<_, io::Error>(free()?.is_some_and(|free| free < BYTES));
    if !short()? {
        return Ok(false);
    }
    relieve();
    let released = path.exists() && short()?;
    if released {
        fs::remove_file(path)?;
    }
    Ok(released)
}

/// Keeps the room, where it is a small part of what is free. Whatever prevents it is no trouble yet.
pub(crate) fn keep(dir: &Path) {
    const SHARE: u64 = 8;
    let path = dir.join(NAME);
    let plenty = || free(dir).ok().flatten().is_some_and(|free| free >= BYTES * SHARE);
    if path.exists() || !plenty() {
        return;
    }
    let make = || -> io::Result<()> {
        fallocate(
            private().write(true).create(true).truncate(true).open(&path)?,
            FallocateFlags::empty(),
            0,
            BYTES,
        )?;
        sync_dir(dir)
    };
    if let Err(error) = make() {
        log::debug!("no room is kept in {}: {error}", path.display());
        // It may be there in part.
        let _ = fs::remove_file(&path);
    }
}

/// Bytes free on the file system of `dir`, if that tells.
fn free(dir: &Path) -> io::Result<Option<u64>> {
    Ok(room(dir)?.map(|room| room.free))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_room_is_kept_by_real_blocks_and_stays_while_there_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        if free(dir.path()).unwrap().is_none_or(|free| free < BYTES * 16) {
            return;
        }
        keep(dir.path());
        let path = dir.path().join(NAME);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= BYTES);
        release_if_short(dir.path(), || panic!("there is enough")).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn the_room_is_given_back_only_if_what_others_may_need_is_gone_and_that_was_not_enough() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        for enough in [true, false] {
            fs::write(&path, "").unwrap();
            let relieved = Cell::new(false);
            let free = || Ok(Some(if enough && relieved.get() { BYTES } else { BYTES - 1 }));
            let released = release(&path, free, || {
                assert!(path.exists());
                relieved.set(true);
            });
            assert_eq!(released.unwrap(), !enough);
            assert_eq!((relieved.get(), path.exists()), (true, enough));
        }
    }
}
