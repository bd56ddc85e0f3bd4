//! A directory in memory that forgets like a disk whose power is cut: of what was written and not
//! flushed, any sectors survive in any of their versions; of changes of names that were not
//! flushed, the first few.

use crate::storage::blocks::{BLOCK, Blocks, WholeBlocks};
use crate::storage::fs::{Fs, JournalFile};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use zabkeeper_core::words::Rng;

const SECTOR: usize = 512;

/// The disk's content at a moment, flushed or not.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unflushed_names: Vec<Change>,
    /// Bytes that the files take at most, if there is a limit.
    room: Option<usize>,
    /// A file that cannot be removed.
    stuck: Option<String>,
}

#[derive(Clone)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// What each sector has held since the last flush.
    unflushed: BTreeMap<usize, Vec<Vec<u8>>>,
}

#[derive(Clone)]
enum Change {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, file) => drop(names.insert(name.clone(), *file)),
            Self::Rename(from, to) => {
                let file = names.remove(from).expect("a file to rename");
                names.insert(to.clone(), file);
            }
            Self::Remove(name) => drop(names.remove(name)),
        }
    }
}

impl Disk {
    /// What may be found after a power cut.
    pub(crate) fn cut(&self, rng: &mut Rng) -> Self {
        let mut names = self.durable_names.clone();
        let kept = rng.below(self.unflushed_names.len() as u64 + 1) as usize;
        for change in &self.unflushed_names[..kept] {
            change.apply(&mut names);
        }
        // Sometimes nearly everything survives, sometimes nearly nothing.
        let odds = 1 + rng.below(9);
        let files = self.files.iter().map(|file| file.cut(odds, rng)).collect();
        Self { files, durable_names: names.clone(), names, ..Self::default() }
    }

    /// The bytes of a file, to be damaged.
    pub(crate) fn bytes(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.files[self.names[name]].bytes
    }

    /// Puts a file there.
    pub(crate) fn put(&mut self, name: &str, bytes: Vec<u8>) {
        let durable = bytes.clone();
        self.files.push(Content { bytes, durable, unflushed: BTreeMap::new() });
        self.names.insert(name.to_owned(), self.files.len() - 1);
    }

    /// Loses a file.
    pub(crate) fn lose(&mut self, name: &str) {
        self.names.remove(name).expect("the file exists");
    }

    /// The names of all files.
    pub(crate) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    fn taken(&self) -> usize {
        self.names.values().map(|file| self.files[*file].bytes.len()).sum()
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.unflushed_names.push(change);
    }

    fn file(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Content {
    fn cut(&self, odds: u64, rng: &mut Rng) -> Self {
        let mut bytes = self.durable.clone();
        for (sector, versions) in &self.unflushed {
            if rng.below(10) < odds {
                let version = &versions[rng.below(versions.len() as u64) as usize];
                let start = sector * SECTOR;
                bytes[start..start + version.len()].copy_from_slice(version);
            }
        }
        Self { durable: bytes.clone(), bytes, unflushed: BTreeMap::new() }
    }
}

/// A handle to a forgetful disk. Keeps what the disk held before each operation.
#[derive(Clone, Default)]
pub(crate) struct Forgetful {
    disk: Arc<Mutex<Disk>>,
    moments: Arc<Mutex<Vec<Disk>>>,
}

impl Forgetful {
    pub(crate) fn new(disk: Disk) -> Self {
        Self { disk: Arc::new(Mutex::new(disk)), moments: Arc::default() }
    }

    /// What the disk holds.
    pub(crate) fn now(&self) -> Disk {
        self.disk.lock().unwrap().clone()
    }

    /// What the disk held before each operation since the last call.
    pub(crate) fn moments(&self) -> Vec<Disk> {
        std::mem::take(&mut *self.moments.lock().unwrap())
    }

    /// From now on there is no room for more than there is.
    pub(crate) fn is_full(&self) {
        let mut disk = self.disk.lock().unwrap();
        disk.room = Some(disk.taken());
    }

    /// From now on this file cannot be removed.
    pub(crate) fn stick(&self, name: Option<String>) {
        self.disk.lock().unwrap().stuck = name;
    }

    fn step<T>(&self, run: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.disk.lock().unwrap();
        self.moments.lock().unwrap().push(disk.clone());
        run(&mut disk)
    }
}

/// An open file, written in whole blocks like a real one.
pub(crate) struct OpenFile {
    raw: Raw,
    blocks: Blocks,
}

struct Raw {
    fs: Forgetful,
    file: usize,
}

impl OpenFile {
    fn new(fs: Forgetful, file: usize) -> Self {
        Self { raw: Raw { fs, file }, blocks: Blocks::default() }
    }
}

impl Fs for Forgetful {
    type File = OpenFile;

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.now().names())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let disk = self.disk.lock().unwrap();
        Ok(disk.files[disk.file(name)?].bytes.clone())
    }

    fn read_first(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Fs::read(self, name)?;
        bytes.truncate(most);
        Ok(bytes)
    }

    fn create(&self, name: &str, size: u64) -> io::Result<OpenFile> {
        let file = self.step(|disk| {
            if disk.room.is_some_and(|room| disk.taken() + size as usize > room) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let zeros = vec![0; size as usize];
            let sectors = zeros.chunks(SECTOR).map(<[u8]>::to_vec).enumerate();
            // Before its first flush a file may hold what its blocks held under another name.
            disk.files.push(Content {
                durable: vec![0xa5; zeros.len()],
                unflushed: sectors.map(|(sector, zeros)| (sector, vec![zeros])).collect(),
                bytes: zeros,
            });
            let file = disk.files.len() - 1;
            disk.change(Change::Create(name.to_owned(), file));
            Ok(file)
        })?;
        Ok(OpenFile::new(self.clone(), file))
    }

    fn open(&self, name: &str) -> io::Result<OpenFile> {
        let file = self.disk.lock().unwrap().file(name)?;
        Ok(OpenFile::new(self.clone(), file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step(|disk| {
            disk.file(from)?;
            disk.change(Change::Rename(from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.step(|disk| {
            disk.file(name)?;
            if disk.stuck.as_deref() == Some(name) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            disk.change(Change::Remove(name.to_owned()));
            Ok(())
        })
    }

    fn sync_names(&self) -> io::Result<()> {
        self.step(|disk| {
            disk.durable_names = disk.names.clone();
            disk.unflushed_names.clear();
            Ok(())
        })
    }
}

impl JournalFile for OpenFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.blocks.write_at(&mut self.raw, bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        let file = self.raw.file;
        self.raw.fs.step(|disk| {
            let content = &mut disk.files[file];
            content.durable = content.bytes.clone();
            content.unflushed.clear();
            Ok(())
        })
    }
}

impl WholeBlocks for Raw {
    fn read(&mut self, block: &mut [u8], offset: u64) -> io::Result<()> {
        let disk = self.fs.disk.lock().unwrap();
        let start = offset as usize;
        block.copy_from_slice(&disk.files[self.file].bytes[start..start + BLOCK]);
        Ok(())
    }

    fn write(&mut self, blocks: &[u8], offset: u64) -> io::Result<()> {
        let file = self.file;
        self.fs.step(|disk| {
            let content = &mut disk.files[file];
            let start = offset as usize;
            content.bytes[start..start + blocks.len()].copy_from_slice(blocks);
            for (index, version) in blocks.chunks(SECTOR).enumerate() {
                let versions = content.unflushed.entry(start / SECTOR + index).or_default();
                versions.push(version.to_vec());
            }
            Ok(())
        })
    }
}
