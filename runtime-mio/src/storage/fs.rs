//! The seam under the journal: the few things it does to a directory. A test puts its own directory
//! here, one that forgets what was not flushed.

use super::blocks::{BLOCK, Blocks, WholeBlocks};
use super::descriptors::patiently;
use super::place::{about, private};
use rustix::fs::{Advice, OFlags, fadvise, fcntl_getfl, fcntl_setfl};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A directory of journal files. Names change durably only with [`Fs::sync_names`]. A clone is the
/// same directory.
pub trait Fs: Clone + Send + 'static {
    /// An open file.
    type File: JournalFile;

    /// The names of all files.
    fn names(&self) -> io::Result<Vec<String>>;

    /// The whole content of a file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// The first bytes of a file, `most` at most.
    fn read_first(&self, name: &str, most: usize) -> io::Result<Vec<u8>>;

    /// The bytes of a file from `offset` on, `most` at most.
    fn read_part(&self, name: &str, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(self.read(name)?.into_iter().skip(skipped).take(most).collect())
    }

    /// Makes a file of `size` zero bytes with its space taken, replacing one of that name.
    fn create(&self, name: &str, size: u64) -> io::Result<Self::File>;

    /// Opens a file for writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every change of names so far survive a power cut.
    fn sync_names(&self) -> io::Result<()>;
}

/// A file of the journal.
pub trait JournalFile: Send + 'static {
    /// Writes all of `bytes` at `offset`, inside the file's size. What stood behind them may become
    /// zeros up to the next multiple of 4 KiB.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far survive a power cut.
    fn sync(&mut self) -> io::Result<()>;
}

/// A real directory.
#[derive(Clone, Debug)]
pub struct DirFs {
    dir: PathBuf,
}

impl DirFs {
    /// The directory `dir`, which exists.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf() }
    }
}

impl Fs for DirFs {
    type File = DirFile;

    fn names(&self) -> io::Result<Vec<String>> {
        let names = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(&self.dir)? {
                // A name that is not text is not one of ours.
                if let Ok(name) = entry?.file_name().into_string() {
                    names.push(name);
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        names().map_err(about(&self.dir))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let path = self.dir.join(name);
        std::fs::read(&path).map_err(about(path))
    }

    fn read_first(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        self.read_part(name, 0, most)
    }

    fn read_part(&self, name: &str, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let path = self.dir.join(name);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(offset))?;
            file.take(most as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(about(&path))
    }

    fn create(&self, name: &str, size: u64) -> io::Result<DirFile> {
        const CHUNK: usize = 1 << 20;
        let path = self.dir.join(name);
        let make = || -> io::Result<File> {
            let mut options = private();
            options.read(true).write(true).create(true).truncate(true);
            let file = patiently(|| options.open(&path))?;
            // Real zeros, not a hole and not only reserved space: later flushes into written blocks
            // have no metadata to write.
            let zeros = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
            let mut at = 0;
            while at < size {
                let room = usize::try_from(size - at).unwrap_or(usize::MAX);
                let part = zeros.get(..room).unwrap_or(&zeros);
                file.write_all_at(part, at)?;
                at += part.len() as u64;
            }
            Ok(file)
        };
        let file = make().map_err(about(&path))?;
        DirFile::new(file, path)
    }

    fn open(&self, name: &str) -> io::Result<DirFile> {
        let path = self.dir.join(name);
        let opened = patiently(|| private().read(true).write(true).open(&path));
        DirFile::new(opened.map_err(about(&path))?, path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = self.dir.join(to);
        std::fs::rename(self.dir.join(from), &to).map_err(about(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.dir.join(name);
        std::fs::remove_file(&path).map_err(about(path))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_dir(&self.dir)
    }
}

/// A file of a real directory. It is written past the page cache where that can be done: a flush then
/// has one write to wait for and no pages to look for.
#[derive(Debug)]
pub struct DirFile {
    file: File,
    /// Where it was opened; it may have another name by now.
    path: PathBuf,
    /// `None` if it is written through the cache.
    blocks: Option<Blocks>,
}

impl DirFile {
    /// Takes over a file. Not every file system can do without the cache, and none can write a part of
    /// a block so.
    fn new(file: File, path: PathBuf) -> io::Result<Self> {
        let whole = file.metadata()?.len().is_multiple_of(BLOCK as u64);
        let mut opened = Self { file, path, blocks: None };
        if whole {
            match past_cache(&opened.file, true) {
                Err(error) if is_unable(&error) => {}
                set => {
                    set?;
                    opened.blocks = Some(Blocks::default());
                }
            }
        }
        Ok(opened)
    }
}

/// True if a file system says by this error that it cannot do without the cache, or that it wants
/// larger blocks.
fn is_unable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// Has a file written past the cache, or through it.
fn past_cache(file: &File, past: bool) -> io::Result<()> {
    let before = fcntl_getfl(file)?;
    let mut flags = before;
    flags.set(OFlags::DIRECT, past);
    if flags != before {
        fcntl_setfl(file, flags)?;
    }
    Ok(())
}

/// Writes past the cache. False if that cannot be done here: then some of it may be written.
fn write_past(
    blocks: &mut Blocks,
    file: &mut impl WholeBlocks,
    bytes: &[u8],
    offset: u64,
) -> io::Result<bool> {
    match blocks.write_at(file, bytes, offset) {
        Err(error) if is_unable(&error) => Ok(false),
        written => written.map(|()| true),
    }
}

impl DirFile {
    /// Where the file is now, for messages.
    fn place(&self) -> PathBuf {
        let link = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        std::fs::read_link(link).unwrap_or_else(|_| self.path.clone())
    }

    fn write_either_way(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Some(blocks) = &mut self.blocks {
            if write_past(blocks, &mut self.file, bytes, offset)? {
                return Ok(());
            }
            past_cache(&self.file, false)?;
            self.blocks = None;
            log::debug!("journal files are written through the page cache here");
        }
        self.file.write_all_at(bytes, offset)
    }
}

impl JournalFile for DirFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_either_way(bytes, offset).map_err(|error| about(self.place())(error))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data().map_err(|error| about(self.place())(error))
    }
}

impl WholeBlocks for File {
    fn read(&mut self, block: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(block, offset)
    }

    fn write(&mut self, blocks: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(blocks, offset)
    }
}

/// Has what is read from here on come from the disk, where a life that ended by a failed write may
/// have left pages in memory that the disk never got: Linux marks them clean, so that a later flush
/// finds nothing to do and succeeds. Pages that are still to be written stay.
pub(crate) fn forget_pages(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            forget_pages(&entry.path())?;
        } else if kind.is_file() {
            fadvise(File::open(entry.path())?, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

/// Makes the names in a directory survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    let sync = || patiently(|| File::open(dir))?.sync_all();
    sync().map_err(about(dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;

    /// Writes pieces of many sizes after one another, in two lives of the file, and reads it.
    fn written(dir: &Path, size: u64) -> DirFile {
        let fs = DirFs::new(dir);
        let mut file = fs.create("a", size).unwrap();
        let mut expected = Vec::new();
        for (number, length) in [64, 300, 4096, 1, 5000, 12_288, 30, 4062].into_iter().enumerate() {
            if number == 4 {
                file = fs.open("a").unwrap();
            }
            let piece = vec![number as u8 + 1; length];
            file.write_at(&piece, expected.len() as u64).unwrap();
            file.sync().unwrap();
            expected.extend(piece);
        }
        expected.resize(usize::try_from(size).unwrap(), 0);
        assert!(fs.read("a").unwrap() == expected, "of {size} bytes");
        file
    }

    #[test]
    fn a_file_holds_what_was_written_whether_past_the_cache_or_through_it() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 64 << 10);
        let odd = written(dir.path(), (64 << 10) + 512);
        assert!(odd.blocks.is_none(), "a part of a block cannot be written past the cache");
    }

    /// A file that refuses to be written, by this error.
    struct Refusing(rustix::io::Errno);

    impl WholeBlocks for Refusing {
        fn read(&mut self, _: &mut [u8], _: u64) -> io::Result<()> {
            Ok(())
        }

        fn write(&mut self, _: &[u8], _: u64) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn only_a_file_system_that_wants_other_blocks_makes_for_the_cache() {
        use rustix::io::Errno;
        let write = |error| write_past(&mut Blocks::default(), &mut Refusing(error), b"x", 9);
        assert!(!write(Errno::INVAL).unwrap() && !write(Errno::OPNOTSUPP).unwrap());
        assert!(write(Errno::IO).is_err() && write(Errno::NOSPC).is_err());
    }

    /// True if the first page of a file is in memory.
    fn is_in_memory(path: &Path) -> bool {
        use rustix::io::{ReadWriteFlags, preadv2};
        let mut byte = [0];
        let mut parts = [io::IoSliceMut::new(&mut byte)];
        let file = File::open(path).unwrap();
        preadv2(&file, &mut parts, 0, ReadWriteFlags::NOWAIT).is_ok()
    }

    #[test]
    fn what_a_failed_life_left_in_memory_is_not_taken_for_what_is_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub").join("table");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(&path, vec![7; 64 << 10]).unwrap();
        // Clean, as pages of a failed write are: those that are dirty still reach the disk.
        File::open(&path).unwrap().sync_all().unwrap();
        assert!(is_in_memory(&path));
        forget_pages(dir.path()).unwrap();
        let of_memory = rustix::fs::statfs(dir.path()).unwrap().f_type == 0x0102_1994;
        assert!(of_memory || !is_in_memory(&path), "the next reader must ask the disk");
        assert_eq!(std::fs::read(&path).unwrap(), vec![7; 64 << 10]);
    }

    #[test]
    fn a_file_is_written_past_the_cache_wherever_one_can_be_opened_so() {
        let dir = tempfile::tempdir().unwrap();
        let file = written(dir.path(), 64 << 10);
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(OFlags::DIRECT.bits().try_into().unwrap());
        assert_eq!(file.blocks.is_some(), options.open(dir.path().join("a")).is_ok());
        let flags = fcntl_getfl(&file.file).unwrap();
        assert_eq!(file.blocks.is_some(), flags.contains(OFlags::DIRECT));
    }
}
