//! The texts by which the map is sorted, in memory: short ones in place, so that a search down the
//! map stays in its nodes. Most keys of a metadata store are short.

use alloc::sync::Arc;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::ops::Deref;

/// Stands for `/` in a key: below every byte that a segment can hold, so that the plain byte order
/// of keys is the order of the tree.
pub(super) const SEPARATOR: char = '\0';

/// Bytes of a key that is kept in place: with its length and the mark of its kind, three words.
const ROOM: usize = 22;

/// A path by which the map is sorted; see [`Path::key`](super::Path). Ordered by its bytes.
#[derive(Clone)]
pub(super) enum Key {
    Short { len: u8, bytes: [u8; ROOM] },
    Long(Arc<str>),
}

impl Key {
    /// The key of a path, which is given by its text without a leading `/`.
    pub(super) fn of(path: &str) -> Self {
        let mut key = match path.len() <= ROOM || !path.contains('/') {
            true => Self::from(path),
            false => Self::Long(path.replace('/', SEPARATOR.encode_utf8(&mut [0])).into()),
        };
        if let Self::Short { bytes, .. } = &mut key {
            bytes.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = SEPARATOR as u8);
        }
        key
    }

    /// What it takes in memory elsewhere.
    pub(super) fn footprint(&self) -> usize {
        match self {
            Self::Short { .. } => 0,
            Self::Long(text) => text.len() + 32,
        }
    }

    /// The bytes of its text.
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        let mut bytes = [0; ROOM];
        match bytes.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text.as_bytes());
                Self::Short { len: text.len() as u8, bytes }
            }
            None => Self::Long(text.into()),
        }
    }
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Short { .. } => {
                core::str::from_utf8(self.as_bytes()).expect("a key is made of a text")
            }
            Self::Long(text) => text,
        }
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // What a text does not fill is zero, so that of two texts that are the same up to the end
            // of the room one goes on with zeros, and is the longer one.
            (Self::Short { len, bytes }, Self::Short { len: other_len, bytes: others }) => {
                (words(bytes), len).cmp(&(words(others), other_len))
            }
            _ => self.as_bytes().cmp(other.as_bytes()),
        }
    }
}

/// Numbers with the order of the bytes: a search compares keys a dozen times, and this way without a
/// look at each byte.
fn words(bytes: &[u8; ROOM]) -> (u128, u64) {
    const FIRST: usize = size_of::<u128>();
    let mut first = [0; FIRST];
    let mut last = [0; size_of::<u64>()];
    first.copy_from_slice(&bytes[..FIRST]);
    last[..ROOM - FIRST].copy_from_slice(&bytes[FIRST..]);
    (u128::from_be_bytes(first), u64::from_be_bytes(last))
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_lean() {
        assert_eq!(size_of::<Key>(), 24);
    }

    proptest! {
        #[test]
        fn keys_of_paths_are_those_of_their_texts(text in "(a|bb|cccccccc){1,3}(/(a|bb|ccccc)){0,6}") {
            let path = super::super::Path::parse(&text).unwrap();
            prop_assert_eq!(Key::of(&text), Key::from(&*path.as_str().replace('/', "\0")));
        }

        #[test]
        fn keys_are_their_texts_in_their_order(a in "[ab\0é]{0,30}", b in "[ab\0é]{0,30}") {
            let (x, y) = (Key::from(&*a), Key::from(&*b));
            prop_assert_eq!(&*x, &*a);
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x == y, a == b);
        }

        #[test]
        fn keys_that_differ_late_are_in_order(
            common in "a{0,22}",
            a in "[ab\0]{0,3}",
            b in "[ab\0]{0,3}",
        ) {
            let (a, b) = (alloc::format!("{common}{a}"), alloc::format!("{common}{b}"));
            prop_assert_eq!(Key::from(&*a).cmp(&Key::from(&*b)), a.cmp(&b));
        }
    }
}
