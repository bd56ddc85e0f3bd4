//! The elements of a stored state, as the application loads them.

use super::error::Damage;
use super::merge::Merge;
use zabkeeper_core::digest::{Digest, Digester};
use zabkeeper_core::message::Item;

/// About how many bytes of elements are handed over at once.
const BATCH_BYTES: usize = 256 << 10;

/// A digest of the raw element: equal sums, equal sets of elements.
pub(crate) fn digest(item: &Item) -> Digest {
    let digester = Digester::after(Digest::ZERO);
    digester.bytes(&item.key).bytes(&item.value).finish()
}

/// The elements of a stored state, in batches, in the order of keys.
pub struct Items {
    merge: Merge,
    failed: bool,
}

impl Items {
    pub(crate) fn new(merge: Merge) -> Self {
        Self { merge, failed: false }
    }

    fn batch(&mut self) -> Result<Vec<Item>, Damage> {
        let mut items = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            match self.merge.next()? {
                Some((key, Some(value))) => {
                    bytes += key.len() + value.len();
                    items.push(Item { key: key.into(), value: value.into() });
                }
                Some((_, None)) => {}
                None => break,
            }
        }
        Ok(items)
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
