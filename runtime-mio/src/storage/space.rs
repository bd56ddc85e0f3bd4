//! The free space of the disk: writes that make the state grow are refused long before there is none,
//! so that what deletes, and a start, still find some.

use super::past::Give;
use rustix::fs::statvfs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// On a small file system less must be free: so much of the whole, as a divisor.
const SHARE: u64 = 16;

/// What a file system has, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Room {
    pub(super) free: u64,
    pub(super) whole: u64,
}

/// The room on the file system of `dir`; `None` if that does not tell.
pub(super) fn room(dir: &Path) -> io::Result<Option<Room>> {
    let disk = statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    let room = Room { free: bytes(disk.f_bavail), whole: bytes(disk.f_blocks) };
    Ok((disk.f_blocks > 0).then_some(room))
}

/// Watches whether there is enough of it.
pub(super) struct Space {
    dir: PathBuf,
    /// Bytes that should be free.
    keep: u64,
    short: bool,
    next: Option<Instant>,
}

impl Space {
    pub(super) fn new(dir: &Path, keep: u64) -> Self {
        Self { dir: dir.to_path_buf(), keep, short: false, next: None }
    }

    /// When to look again though nothing is written, while there is too little.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.short.then_some(EVERY)
    }

    /// Looks, now and then. Tells whether there is too little, if that changed: though `relieve` has
    /// given back what can be done without.
    pub(super) fn look(&mut self, now: Instant, relieve: impl FnMut(Give)) -> Option<bool> {
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.next = Some(now + EVERY);
        // What cannot be asked is no reason to refuse anything: a disk that fails is told elsewhere.
        let room = self.relieve(|| room(&self.dir).ok().flatten(), relieve)?;
        self.note(room)
    }

    /// Has given back what nobody is being fed from if there is too little, and all if there is less
    /// than half of what should be. Returns the room that there is then.
    fn relieve(
        &self,
        mut ask: impl FnMut() -> Option<Room>,
        mut relieve: impl FnMut(Give),
    ) -> Option<Room> {
        let mut room = ask()?;
        if self.judge(room) {
            relieve(Give::Unpinned);
            room = ask()?;
            if room.free < self.mark(room) / 2 {
                relieve(Give::Whole);
                room = ask()?;
            }
        }
        Some(room)
    }

    fn note(&mut self, room: Room) -> Option<bool> {
        let short = self.judge(room);
        if short == self.short {
            return None;
        }
        self.short = short;
        self.tell(room);
        Some(short)
    }

    /// There must be an eighth more than too little before it is enough again.
    fn judge(&self, room: Room) -> bool {
        let keep = self.mark(room);
        room.free < if self.short { keep + keep / 8 } else { keep }
    }

    /// Bytes that should be free.
    fn mark(&self, room: Room) -> u64 {
        self.keep.min(room.whole / SHARE)
    }

    fn tell(&self, room: Room) {
        let (dir, free) = (self.dir.display(), room.free >> 10);
        let keep = self.mark(room) >> 10;
        match self.short {
            true => log::warn!(
                "the file system of {dir} has {free} KiB free, less than {keep} (Limits.FreeBytes): \
                 writes that make the state grow are refused; delete keys, or free space on it"
            ),
            false => log::warn!(
                "the file system of {dir} has {free} KiB free: enough again, all writes are taken"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_is_a_limit_or_a_share_and_enough_is_an_eighth_more() {
        let mut space = Space::new(Path::new("/"), 160);
        let room = |free, whole| Room { free, whole };
        assert!(space.judge(room(159, 1 << 30)));
        assert!(!space.judge(room(160, 1 << 30)));
        // Of 1,600 bytes a sixteenth should be free.
        assert!(!space.judge(room(100, 1_600)));
        assert!(space.judge(room(99, 1_600)));
        space.short = true;
        assert!(space.judge(room(179, 1 << 30)));
        assert!(!space.judge(room(180, 1 << 30)));
    }

    #[test]
    fn a_change_is_told_once_and_while_there_is_too_little_it_is_looked_for_by_itself() {
        let mut space = Space::new(Path::new("/"), 160);
        let room = |free| Room { free, whole: 1 << 30 };
        assert_eq!((space.note(room(200)), space.wait()), (None, None));
        assert_eq!((space.note(room(100)), space.wait()), (Some(true), Some(EVERY)));
        assert_eq!(space.note(room(100)), None);
        assert_eq!((space.note(room(200)), space.wait()), (Some(false), None));
    }

    #[test]
    fn what_a_follower_is_being_fed_from_goes_only_below_half_of_what_should_be_free() {
        let space = Space::new(Path::new("/"), 160);
        let given = |rooms: &[u64]| {
            let mut rooms = rooms.iter().map(|free| Room { free: *free, whole: 1 << 30 });
            let mut given = Vec::new();
            let last = space.relieve(|| rooms.next(), |give| given.push(give));
            assert_eq!((rooms.next(), last.is_some()), (None, true));
            given
        };
        assert_eq!(given(&[160]), []);
        assert_eq!(given(&[20, 90]), [Give::Unpinned]);
        assert_eq!(given(&[159, 80]), [Give::Unpinned]);
        assert_eq!(given(&[159, 79, 90]), [Give::Unpinned, Give::Whole]);
    }

    #[test]
    fn this_file_system_has_room_and_is_asked_once_a_second() {
        let mut space = Space::new(Path::new("/"), 1);
        let now = Instant::now();
        assert_eq!(space.look(now, |_| ()), None);
        space.short = true;
        assert_eq!(space.look(now, |_| ()), None);
        assert_eq!(space.look(now + EVERY, |_| ()), Some(false));
    }
}
