//! How elements of the application's state lie in sled: each in one or more values of at most 64
//! KiB. Larger values would become files of their own, which sled never flushes.

use super::error::Damage;
use sled::{Batch, IVec};
use zabkeeper_core::digest::{Digest, Digester};
use zabkeeper_core::message::Item;

/// All keys of elements begin with this.
pub(crate) const PREFIX: &[u8] = b"i";
/// Bytes of an element's content in one value.
const CHUNK: usize = (64 << 10) - SIZE;
/// Bytes before the content of the first chunk: the size of the whole.
const SIZE: usize = 4;
/// About how many bytes of elements are handed over at once.
const BATCH_BYTES: usize = 256 << 10;

/// The key of a part of an element. The length comes first so that no element's parts lie between
/// those of another.
fn chunk_key(key: &[u8], index: u32) -> Vec<u8> {
    let length = u32::try_from(key.len()).expect("keys are far below 4 GiB");
    let mut name = Vec::with_capacity(PREFIX.len() + key.len() + 8);
    name.extend_from_slice(PREFIX);
    name.extend_from_slice(&length.to_be_bytes());
    name.extend_from_slice(key);
    name.extend_from_slice(&index.to_be_bytes());
    name
}

/// How many chunks an element of `size` bytes has: at least one.
fn chunks(size: usize) -> u32 {
    u32::try_from(size.div_ceil(CHUNK).max(1)).expect("values are far below 4 GiB")
}

/// Adds to `batch` what makes the stored element `key` be `value`.
pub(crate) fn write(
    db: &sled::Db,
    batch: &mut Batch,
    key: &[u8],
    value: Option<&[u8]>,
) -> sled::Result<()> {
    let before = match db.get(chunk_key(key, 0))? {
        Some(first) => size_of(&first).map_or(1, chunks),
        None => 0,
    };
    let after = value.map_or(0, |value| chunks(value.len()));
    if let Some(value) = value {
        insert(batch, key, value);
    }
    for index in after..before {
        batch.remove(chunk_key(key, index));
    }
    Ok(())
}

/// Adds to `batch` an element that is not stored yet.
pub(crate) fn insert(batch: &mut Batch, key: &[u8], value: &[u8]) {
    let size = u32::try_from(value.len()).expect("values are far below 4 GiB");
    let mut parts = value.chunks(CHUNK);
    let mut first = size.to_be_bytes().to_vec();
    first.extend_from_slice(parts.next().unwrap_or_default());
    batch.insert(chunk_key(key, 0), first);
    for (index, part) in (1..).zip(parts) {
        batch.insert(chunk_key(key, index), part);
    }
}

/// A digest of the raw element: equal sums, equal sets of elements.
pub(crate) fn digest(item: &Item) -> Digest {
    let digester = Digester::after(Digest::ZERO);
    digester.bytes(&item.key).bytes(&item.value).finish()
}

/// The elements of a stored state, in batches.
pub struct Items {
    parts: sled::Iter,
    /// Where to look for damage.
    name: String,
    failed: bool,
    open: Option<Open>,
}

/// An element of which parts are still to come.
struct Open {
    key: Vec<u8>,
    size: usize,
    value: Vec<u8>,
    next: u32,
}

impl Items {
    pub(crate) fn new(db: &sled::Db, name: &str) -> Self {
        Self { parts: db.scan_prefix(PREFIX), name: name.to_owned(), failed: false, open: None }
    }

    fn batch(&mut self) -> Result<Vec<Item>, Damage> {
        let mut items = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            // sled panics on some damage.
            let next = super::state::guarded(|| self.parts.next().transpose());
            let damage = |what: String| Damage::new(what, &self.name);
            match next.map_err(damage)? {
                Some((name, part)) => {
                    if let Some(item) = self.part(&name, &part)? {
                        bytes += item.key.len() + item.value.len();
                        items.push(item);
                    }
                }
                None if self.open.is_some() => {
                    return Err(damage("the last part of a value is missing".into()));
                }
                None => break,
            }
        }
        Ok(items)
    }

    /// Takes a part, and gives the element that it completes.
    fn part(&mut self, name: &[u8], part: &IVec) -> Result<Option<Item>, Damage> {
        let damage = |what: &str| Damage::new(what, &self.name);
        let (key, index) = split(name).ok_or_else(|| damage("a key cannot be read"))?;
        let open = match (self.open.take(), index) {
            (None, 0) => {
                let size = size_of(part).ok_or_else(|| damage("a value has no size"))?;
                Open {
                    key: key.to_vec(),
                    size,
                    value: part.get(SIZE..).unwrap_or_default().to_vec(),
                    next: 1,
                }
            }
            (Some(mut open), index) if open.key == key && open.next == index => {
                open.value.extend_from_slice(part);
                open.next += 1;
                open
            }
            _ => return Err(damage("a part of a value is missing")),
        };
        match open.value.len().cmp(&open.size) {
            std::cmp::Ordering::Less => {
                self.open = Some(open);
                Ok(None)
            }
            std::cmp::Ordering::Equal => {
                Ok(Some(Item { key: open.key.into(), value: open.value.into() }))
            }
            std::cmp::Ordering::Greater => Err(damage("a value is longer than its size")),
        }
    }
}

impl Iterator for Items {
    type Item = Result<Vec<Item>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.batch() {
            Ok(items) if items.is_empty() => None,
            Ok(items) => Some(Ok(items)),
            Err(damage) => {
                self.failed = true;
                Some(Err(damage))
            }
        }
    }
}

/// The size of an element, from its first chunk.
fn size_of(first: &[u8]) -> Option<usize> {
    let (size, _) = first.split_first_chunk::<SIZE>()?;
    Some(u32::from_be_bytes(*size) as usize)
}

/// The element's key and the chunk's number, from a stored key.
fn split(name: &[u8]) -> Option<(&[u8], u32)> {
    let (length, rest) = name.strip_prefix(PREFIX)?.split_first_chunk::<4>()?;
    let (key, index) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let index = u32::from_be_bytes(index.try_into().ok()?);
    Some((key, index))
}
