//! The elements of a stored state, as the application loads them.

use super::error::Damage;
use super::merge::Merge;
use zabkeeper_core::words::{Digest, Digester};

/// A digest of the raw element: equal sums, equal sets of elements.
pub(crate) fn digest(key: &[u8], value: &[u8]) -> Digest {
    Digester::after(Digest::ZERO).bytes(key).bytes(value).finish()
}

/// A key and its value.
pub type Element<'a> = (&'a [u8], &'a [u8]);

/// The elements of a stored state, in the order of keys.
pub struct Items {
    merge: Merge,
}

impl Items {
    pub(crate) fn new(merge: Merge) -> Self {
        Self { merge }
    }

    /// The next element; `None` after the last one.
    ///
    /// # Errors
    /// If what is stored is damaged. Whoever asks on is told the same again.
    pub fn next_element(&mut self) -> Result<Option<Element<'_>>, Damage> {
        // Over what was removed.
        while self.merge.advance()? && matches!(self.merge.record(), Some((_, None))) {}
        Ok(self.merge.record().and_then(|(key, value)| Some((key, value?))))
    }
}
