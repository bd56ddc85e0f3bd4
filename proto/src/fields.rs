//! Reading hot messages without prost: field by field, in the order in which this project writes them.
//! Whoever reads so leaves all else, such as a field that is not known or stands twice, to prost.

use zabkeeper_core::words::{Epoch, Txid};

const VARINT: u8 = 0;
const FIXED: u8 = 1;
const DELIMITED: u8 = 2;

/// What is left of a message. A step is `None` if the bytes are not what it reads.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// The number in this field; zero if there is none.
    pub(crate) fn number(&mut self, tag: u8) -> Option<u64> {
        match self.take_key(tag, VARINT) {
            true => self.varint(),
            false => Some(0),
        }
    }

    /// The number of eight bytes in this field; zero if there is none.
    pub(crate) fn fixed(&mut self, tag: u8) -> Option<u64> {
        if !self.take_key(tag, FIXED) {
            return Some(0);
        }
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    /// The bytes in this field, if it is there.
    pub(crate) fn bytes(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        if !self.take_key(tag, DELIMITED) {
            return Some(None);
        }
        let length = usize::try_from(self.varint()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Some(bytes))
    }

    /// The txid that is a message of these bytes.
    pub(crate) fn txid(bytes: &[u8]) -> Option<Txid> {
        let mut fields = Fields(bytes);
        let (epoch, counter) = (fields.number(1)?, fields.number(2)?);
        fields.end(Txid::new(Epoch::new(epoch), counter)?)
    }

    /// The result, if nothing is left.
    pub(crate) fn end<T>(&self, result: T) -> Option<T> {
        self.0.is_empty().then_some(result)
    }

    /// Takes the key of a field, if it comes next: two bytes for a tag from 16 on, up to 31.
    fn take_key(&mut self, tag: u8, wire_type: u8) -> bool {
        debug_assert!(tag < 32, "a key of more than two bytes");
        let key = [(tag & 0xf) << 3 | wire_type | (tag >> 4 << 7), tag >> 4];
        let rest = match tag {
            0..16 => self.0.strip_prefix(&key[..1]),
            _ => self.0.strip_prefix(&key),
        };
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A number, of at most ten bytes.
    fn varint(&mut self) -> Option<u64> {
        const LAST: usize = 9;
        let mut value = 0;
        for (index, byte) in self.0.iter().enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 && (index < LAST || *byte <= 1) {
                self.0 = self.0.get(index + 1..)?;
                return Some(value);
            }
            if index == LAST {
                return None;
            }
        }
        None
    }
}
