//! A table: a file of sorted changes to the application's state, written once and never changed.
//!
//! ```text
//! header  magic 8 | version u32 | 0 u32
//! chunk   length u32 | crc u32 | records
//! record  key length u32 | value length u32, or all ones if the element is removed | key | value
//! ```
//! All numbers are little-endian. The checksums are of everything so far, so a chunk that is lost,
//! doubled or of another file is seen, and the last one stands for the whole table: whoever refers
//! to a table by its [`Table`] gets that one or learns that it is damaged.

use super::descriptors::patiently;
use super::error::{Damage, OpenError};
use super::pace::Pace;
use super::place::{about, private};
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The format that this release writes and reads.
const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"zktable\0";
const HEADER: usize = 16;
/// Bytes of records after which a chunk ends.
const CHUNK: usize = 64 << 10;
const CHUNK_HEAD: usize = 8;
const RECORD_HEAD: usize = 8;
const REMOVED: u32 = u32::MAX;

/// What names a finished table, and vouches for its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Table {
    /// The number in the file's name.
    pub number: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// How many elements it speaks of.
    pub records: u64,
    /// The checksum of the whole.
    pub checksum: u32,
}

/// An element as a table has it: its key, and its value unless it is removed.
pub(crate) type Record<'a> = (&'a [u8], Option<&'a [u8]>);

/// The name of a table's file.
pub(crate) fn table_name(number: u64) -> String {
    format!("table-{number:010}.zkt")
}

/// The number in the name of a table's file.
pub(crate) fn table_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("table-")?.strip_suffix(".zkt")?.parse().ok()?;
    (table_name(number) == name).then_some(number)
}

fn header() -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// A table that is being written.
pub(crate) struct Writer {
    path: PathBuf,
    file: File,
    table: Table,
    pace: Pace,
    flushed: u64,
    /// The chunk that grows, behind the room for its head.
    chunk: Vec<u8>,
}

impl Writer {
    /// Begins table `number` in `dir`, replacing what a crash may have left of one.
    pub(crate) fn create(dir: &Path, number: u64, pace: &Pace) -> io::Result<Self> {
        let path = dir.join(table_name(number));
        let header = header();
        let make = || -> io::Result<File> {
            let mut options = private();
            options.write(true).create(true).truncate(true);
            let mut file = patiently(|| options.open(&path))?;
            file.write_all(&header)?;
            Ok(file)
        };
        let file = make().map_err(about(&path))?;
        let (bytes, checksum) = (HEADER as u64, crc32c::crc32c(&header));
        let table = Table { number, bytes, records: 0, checksum };
        let pace = pace.clone();
        Ok(Self { path, file, table, pace, flushed: 0, chunk: vec![0; CHUNK_HEAD] })
    }

    /// Adds an element. Keys must come in strictly ascending order.
    pub(crate) fn push(&mut self, (key, value): Record<'_>) -> io::Result<()> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("far below 4 GiB");
        self.chunk.extend_from_slice(&length(key).to_le_bytes());
        self.chunk.extend_from_slice(&value.map_or(REMOVED, length).to_le_bytes());
        self.chunk.extend_from_slice(key);
        self.chunk.extend_from_slice(value.unwrap_or_default());
        self.table.records += 1;
        if self.chunk.len() >= CHUNK { self.write_chunk() } else { Ok(()) }
    }

    /// Ends the table. Its content survives a power cut; its name does once the directory is
    /// flushed.
    pub(crate) fn finish(mut self) -> io::Result<Table> {
        if self.chunk.len() > CHUNK_HEAD {
            self.write_chunk()?;
        }
        self.file.sync_all().map_err(about(&self.path))?;
        self.pace.wrote(self.table.bytes - self.flushed);
        Ok(self.table)
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        let records = self.chunk.get(CHUNK_HEAD..).unwrap_or_default();
        let length = u32::try_from(records.len()).expect("a chunk is far below 4 GiB");
        self.table.checksum = crc32c::crc32c_append(self.table.checksum, records);
        let [a, b, c, d] = length.to_le_bytes();
        let [e, f, g, h] = self.table.checksum.to_le_bytes();
        self.chunk[..CHUNK_HEAD].copy_from_slice(&[a, b, c, d, e, f, g, h]);
        self.file.write_all(&self.chunk).map_err(about(&self.path))?;
        self.table.bytes += self.chunk.len() as u64;
        self.chunk.truncate(CHUNK_HEAD);
        let unflushed = self.table.bytes - self.flushed;
        if unflushed >= self.pace.unit() {
            self.pace.flush(&self.file, unflushed).map_err(about(&self.path))?;
            self.flushed = self.table.bytes;
        }
        Ok(())
    }
}

/// Reads a table from its beginning, checking everything.
pub(crate) struct Reader {
    file: File,
    table: Table,
    /// For messages.
    name: String,
    /// Bytes read, elements read, and the checksum of both.
    at: u64,
    records: u64,
    checksum: u32,
    chunk: Vec<u8>,
    /// Where in the chunk the next record begins.
    next: usize,
    /// The present element.
    key: Range<usize>,
    value: Option<Range<usize>>,
    /// The last key of the chunk before.
    last: Vec<u8>,
    ended: bool,
}

impl Reader {
    /// Opens a table, which must have the length that it was finished with.
    pub(crate) fn open(dir: &Path, table: Table) -> Result<Self, OpenError> {
        let path = dir.join(table_name(table.number));
        let parent = dir.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{parent}/{}", table_name(table.number));
        let mut file = match patiently(|| File::open(&path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Damage::new("this file is missing", name).into());
            }
            file => file.map_err(OpenError::io("open", &path))?,
        };
        let found = file.metadata().map_err(OpenError::io("read", &path))?.len();
        if found != table.bytes {
            let what = format!("the file has {found} bytes; it was made with {}", table.bytes);
            return Err(Damage::new(what, name).into());
        }
        let mut head = [0; HEADER];
        file.read_exact(&mut head).map_err(OpenError::io("read", &path))?;
        if head != header() {
            return Err(Damage::new("the header cannot be read", name).at(0).into());
        }
        Ok(Self {
            file,
            table,
            name,
            at: HEADER as u64,
            records: 0,
            checksum: crc32c::crc32c(&head),
            chunk: Vec::new(),
            next: 0,
            key: 0..0,
            value: None,
            last: Vec::new(),
            ended: false,
        })
    }

    /// The present element: after the first [`Self::advance`], until the end.
    pub(crate) fn record(&self) -> Option<Record<'_>> {
        if self.ended || self.next == 0 {
            return None;
        }
        let value = match &self.value {
            Some(range) => Some(self.chunk.get(range.clone())?),
            None => None,
        };
        Some((self.chunk.get(self.key.clone())?, value))
    }

    /// Goes to the next element, or to the end.
    pub(crate) fn advance(&mut self) -> Result<(), Damage> {
        let first = self.next >= self.chunk.len();
        if first && !self.next_chunk()? {
            return Ok(());
        }
        let previous = self.key.clone();
        let (key, value) =
            parse(&self.chunk, self.next).ok_or_else(|| self.damage("a record is cut short"))?;
        self.next = value.as_ref().map_or(key.end, |value| value.end);
        (self.key, self.value) = (key, value);
        self.records += 1;
        let before = match first {
            true => Some(self.last.as_slice()),
            false => self.chunk.get(previous),
        };
        let key = self.chunk.get(self.key.clone());
        if self.records > 1 && before >= key {
            return Err(self.damage("a record is out of order"));
        }
        Ok(())
    }

    /// Reads the next chunk; false at the end.
    fn next_chunk(&mut self) -> Result<bool, Damage> {
        if self.at == self.table.bytes {
            let found = (self.records, self.checksum);
            if !self.ended && found != (self.table.records, self.table.checksum) {
                return Err(self.damage("the table is not the one that was written here"));
            }
            self.ended = true;
            return Ok(false);
        }
        self.last.clear();
        self.last.extend_from_slice(self.chunk.get(self.key.clone()).unwrap_or_default());
        let mut head = [0; CHUNK_HEAD];
        self.fill(&mut head)?;
        let [a, b, c, d, crc @ ..] = head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        // The file is no longer than it should be, so this bounds the memory.
        if length == 0 || length as u64 > self.table.bytes - self.at {
            return Err(self.damage("a chunk has an impossible length"));
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.resize(length, 0);
        self.fill(&mut chunk)?;
        self.checksum = crc32c::crc32c_append(self.checksum, &chunk);
        if self.checksum.to_le_bytes() != crc {
            return Err(self.damage("the checksum is wrong"));
        }
        (self.chunk, self.next) = (chunk, 0);
        Ok(true)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Damage> {
        let read = self.file.read_exact(bytes);
        read.map_err(|error| self.damage(&format!("it cannot be read: {error}")))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn damage(&self, what: &str) -> Damage {
        Damage::new(what, self.name.as_str()).at(self.at)
    }
}

/// Where the key and the value of the record at `offset` are.
fn parse(chunk: &[u8], offset: usize) -> Option<(Range<usize>, Option<Range<usize>>)> {
    let (key, rest) = chunk.get(offset..)?.split_first_chunk()?;
    let (value, _) = rest.split_first_chunk()?;
    let (key, value) = (u32::from_le_bytes(*key), u32::from_le_bytes(*value));
    let start = offset + RECORD_HEAD;
    let key = start..start.checked_add(key as usize)?;
    let value = match value {
        REMOVED => None,
        length => Some(key.end..key.end.checked_add(length as usize)?),
    };
    let end = value.as_ref().map_or(key.end, |value| value.end);
    (end <= chunk.len()).then_some((key, value))
}
