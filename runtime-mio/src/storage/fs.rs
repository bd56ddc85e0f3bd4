//! The seam under the journal: the few things it does to a directory. A test puts its own directory
//! here, one that forgets what was not flushed.

use std::fs::{File, OpenOptions};
use std::io;
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
    /// Writes all of `bytes` at `offset`, inside the file's size.
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
    type File = File;

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            // A name that is not text is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.dir.join(name))
    }

    fn create(&self, name: &str, size: u64) -> io::Result<File> {
        const CHUNK: usize = 1 << 20;
        let path = self.dir.join(name);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
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
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.dir.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.dir.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        sync_dir(&self.dir)
    }
}

impl JournalFile for File {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Makes the names in a directory survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
