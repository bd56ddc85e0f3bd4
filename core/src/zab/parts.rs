//! A snapshot on its way: its elements in one stream of bytes, cut wherever it suits the link, so
//! that a value takes as many messages as it needs, and a transfer goes on at any byte.
//!
//! ```text
//! element  key length u32 | value length u32 | key | value
//! ```
//! All numbers are big-endian.

use crate::zab::message::Item;
use alloc::vec::Vec;

const HEAD: usize = 8;

/// The longest element that is waited for: far above what a command may bring.
const LONGEST: usize = 64 << 20;

/// Appends an element to a stream.
pub fn put(item: &Item, out: &mut Vec<u8>) {
    for part in [&item.key, &item.value] {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
    }
    out.extend_from_slice(&item.key);
    out.extend_from_slice(&item.value);
}

/// Finds elements in a stream that arrives in parts.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Parser {
    /// The beginning of an element whose end has not arrived.
    rest: Vec<u8>,
}

impl Parser {
    /// Takes the next bytes and gives the elements that they complete; `None` if such a stream is
    /// no snapshot.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Vec<Item>> {
        self.rest.extend_from_slice(bytes);
        let mut items = Vec::new();
        let mut unread = self.rest.as_slice();
        while let Some((head, body)) = unread.split_first_chunk::<HEAD>() {
            let [a, b, c, d, e, f, g, h] = *head;
            let key = u32::from_be_bytes([a, b, c, d]) as usize;
            let value = u32::from_be_bytes([e, f, g, h]) as usize;
            if key.saturating_add(value) > LONGEST {
                return None;
            }
            let Some((item, after)) = body.split_at_checked(key + value) else { break };
            let (key, value) = item.split_at(key);
            items.push(Item { key: key.into(), value: value.into() });
            unread = after;
        }
        let read = self.rest.len() - unread.len();
        self.rest.drain(..read);
        Some(items)
    }

    /// Bytes that arrived of an element whose end has not.
    pub fn pending(&self) -> usize {
        self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn items() -> Vec<Item> {
        let item = |key: &[u8], value: &[u8]| Item { key: key.into(), value: value.into() };
        vec![item(b"a", b"1"), item(b"", b""), item(b"bc", &[7; 300]), item(b"d", b"")]
    }

    #[test]
    fn a_stream_gives_its_elements_wherever_it_is_cut() {
        let mut stream = Vec::new();
        items().iter().for_each(|item| put(item, &mut stream));
        for size in [1, 2, 7, 8, 9, 100, stream.len()] {
            let mut parser = Parser::default();
            let parts = stream.chunks(size).map(|part| parser.take(part).unwrap());
            let found: Vec<Item> = parts.flatten().collect();
            assert_eq!(found, items(), "in parts of {size}");
            assert_eq!(parser.pending(), 0);
        }
    }

    #[test]
    fn an_element_of_an_impossible_length_is_no_snapshot() {
        assert_eq!(Parser::default().take(&[0xff; HEAD]), None);
    }
}
