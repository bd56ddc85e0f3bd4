//! The numbers of hot messages, put together in a place of fixed size and appended in one go. Byte by
//! byte into a vector, which looks each time whether it has to grow, they take longer than the
//! texts and values beside them. All tags are below 16, so that a key is one byte.

use prost::encoding::{WireType, encoded_len_varint};
use zabkeeper_core::words::Txid;

/// Bytes of the longest number.
const LONGEST: usize = 10;

/// Room for the largest of what is put together: a stat, of three txids and five numbers, or all
/// that an entry has before its body; and behind it for a number, which is put down in full.
const ROOM: usize = 128 + LONGEST;

/// Up to [`ROOM`] bytes of a message.
pub(crate) struct Short {
    bytes: [u8; ROOM],
    len: usize,
}

impl Short {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; ROOM], len: 0 }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn varint(&mut self, mut value: u64) {
        let mut bytes = [0; LONGEST];
        let mut len = 0;
        for byte in &mut bytes {
            len += 1;
            *byte = value as u8 & 0x7f;
            value >>= 7;
            if value == 0 {
                break;
            }
            *byte |= 0x80;
        }
        // All of it, since a copy of a known length is one of a few instructions.
        self.put(bytes);
        self.len -= LONGEST - len;
    }

    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        let Some(place) = self.bytes.get_mut(self.len..self.len + N) else {
            unreachable!("there is room for the largest part of a message");
        };
        place.copy_from_slice(&bytes);
        self.len += N;
    }

    fn key(&mut self, tag: u8, wire_type: WireType) {
        self.put([tag << 3 | wire_type as u8]);
    }

    /// A number; zero is left out.
    pub(crate) fn number(&mut self, tag: u8, value: u64) {
        if value != 0 {
            self.key(tag, WireType::Varint);
            self.varint(value);
        }
    }

    /// A number of eight bytes; zero is left out.
    pub(crate) fn fixed(&mut self, tag: u8, value: u64) {
        if value != 0 {
            self.key(tag, WireType::SixtyFourBit);
            self.put(value.to_le_bytes());
        }
    }

    pub(crate) fn txid(&mut self, tag: u8, txid: Txid) {
        self.delimited(tag, txid_len(txid));
        self.number(1, txid.epoch().get());
        self.number(2, txid.counter());
    }

    /// The key and the length of a text, a value or a message, which follows.
    pub(crate) fn delimited(&mut self, tag: u8, length: usize) {
        self.key(tag, WireType::LengthDelimited);
        self.varint(length as u64);
    }
}

/// Bytes of a number as a field; zero is left out.
pub(crate) fn number_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + encoded_len_varint(value) }
}

/// Bytes of a number of eight bytes as a field; zero is left out.
pub(crate) fn fixed_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + size_of::<u64>() }
}

/// Bytes of a text, a value or a message of `length` bytes as a field.
pub(crate) fn delimited_len(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

/// Bytes of a txid, without its key and length.
pub(crate) fn txid_len(txid: Txid) -> usize {
    number_len(txid.epoch().get()) + number_len(txid.counter())
}
