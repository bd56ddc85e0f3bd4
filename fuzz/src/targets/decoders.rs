//! What a node reads from its own disk: the configuration and the journal.

use std::io;
use std::path::Path;
use zabkeeper_core::words::Epoch;
use zabkeeper_core::zab::{Base, Image, Position};
use zabkeeper_proto::record;
use zabkeeper_runtime_mio::config::{ClientConfig, ServerConfig};
use zabkeeper_runtime_mio::storage::fs::{Fs, JournalFile};
use zabkeeper_runtime_mio::storage::inspect;

/// The text of a configuration file, a server's and a client's.
pub fn configuration(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Err(error) = ServerConfig::parse("file", text) {
        assert!(!error.to_string().is_empty());
    }
    if let Err(error) = ClientConfig::parse("file", text) {
        assert!(!error.to_string().is_empty());
    }
}

/// Records of the journal without their frames, each a length (two bytes) and its bytes: what can
/// be read is written alike, and folds into an image or is refused.
pub fn journal_records(input: &[u8]) {
    let mut rest = input;
    let mut image: Option<Image> = None;
    while let Some(([low, high], after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        let (bytes, after) = after.split_at(length);
        rest = after;
        let _ = record::decode_identity(bytes);
        if let Ok(head) = record::decode_head(bytes) {
            let mut again = Vec::new();
            record::encode_head(&head, &mut again);
            assert_eq!(record::decode_head(&again), Ok(head.clone()));
            let base = Base { at: Position::ZERO, membership: head.initial };
            image.get_or_insert_with(|| Image::new(base));
        }
        if let Ok(decoded) = record::decode(bytes) {
            let mut again = Vec::new();
            record::encode(&decoded, &mut again);
            assert_eq!(record::decode(&again), Ok(decoded.clone()));
            // The first record that cannot follow ends the reading.
            image = image.and_then(|mut image| image.apply(&decoded).is_ok().then_some(image));
            if let Some(image) = &image {
                image.log.check_ends();
                assert!(image.current <= image.promise.map_or(Epoch::ZERO, |p| p.epoch));
            }
        }
    }
}

/// The last file of a journal, zeros to its end left away: it is read, or the damage is named.
pub fn journal_files(input: &[u8]) {
    const MOST: usize = 256 << 10;
    let Some(size) = input.get(40..48).and_then(|raw| raw.try_into().ok()) else { return };
    let size = usize::try_from(u64::from_le_bytes(size)).unwrap_or(usize::MAX);
    let mut bytes = input.to_vec();
    if (input.len()..=MOST).contains(&size) {
        bytes.resize(size, 0);
    }
    let number = input.get(16..24).and_then(|raw| raw.try_into().ok()).map(u64::from_le_bytes);
    let name = format!("journal-{:010}.zkj", number.unwrap_or(0));
    match inspect(&OneFile { name, bytes }, Path::new("journal")) {
        Ok(image) => assert!(image.log.last().txid >= image.log.base().at.txid),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A directory with one file that nobody writes.
#[derive(Clone)]
struct OneFile {
    name: String,
    bytes: Vec<u8>,
}

/// No file of that directory is open for writing.
struct Closed;

impl Fs for OneFile {
    type File = Closed;

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(vec![self.name.clone()])
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        match name == self.name {
            true => Ok(self.bytes.clone()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read_first(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Fs::read(self, name)?;
        bytes.truncate(most);
        Ok(bytes)
    }

    fn create(&self, _: &str, _: u64) -> io::Result<Closed> {
        panic!("reading makes no file")
    }

    fn open(&self, _: &str) -> io::Result<Closed> {
        panic!("reading opens no file for writing")
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        panic!("reading renames nothing")
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        panic!("reading removes nothing")
    }

    fn sync_names(&self) -> io::Result<()> {
        panic!("reading changes no names")
    }
}

impl JournalFile for Closed {
    fn write_at(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        panic!("reading writes nothing")
    }

    fn sync(&mut self) -> io::Result<()> {
        panic!("reading flushes nothing")
    }
}
