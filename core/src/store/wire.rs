//! Reading and writing the tree's own bytes: numbers of variable length (LEB128), lengths before
//! bytes. Every value has exactly one form; any other is refused.

use super::path::PathError;
use crate::words::{Epoch, Txid, WallTime};
use alloc::vec::Vec;
use core::fmt;

/// Why bytes are not a command or an element of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end too early.
    Short,
    /// Something follows the end.
    Trailing,
    /// A number is not in its shortest form, or too large.
    Number,
    /// A format that this release does not know.
    Format(u8),
    /// A kind of command, or a flag, that this release does not know.
    Kind(u8),
    /// Text is not UTF-8.
    Utf8,
    /// The key is not a path in its canonical form.
    Path(PathError),
    /// The key is written with its leading `/`.
    LeadingSlash,
    /// The value is larger than the limit.
    ValueTooLarge(usize),
    /// A txid that no entry can have.
    Txid,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the bytes end too early"),
            Self::Trailing => f.write_str("something follows the end"),
            Self::Number => f.write_str("a number is too large or not in its shortest form"),
            Self::Format(byte) => write!(f, "format {byte} is not known to this release"),
            Self::Kind(byte) => write!(f, "kind or flag {byte} is not known to this release"),
            Self::Utf8 => f.write_str("the key is not UTF-8"),
            Self::Path(error) => error.fmt(f),
            Self::LeadingSlash => f.write_str("the key is written with a leading '/'"),
            Self::ValueTooLarge(length) => write!(f, "the value has {length} bytes, too many"),
            Self::Txid => f.write_str("a txid cannot be an entry's"),
        }
    }
}

impl core::error::Error for DecodeError {}

pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_txid(out: &mut Vec<u8>, txid: Txid) {
    put_number(out, txid.epoch().get());
    put_number(out, txid.counter());
}

/// Takes values from the front of bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.0.split_first().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte has room for the one bit that is left.
            if shift == 63 && byte > 1 {
                return Err(DecodeError::Number);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let shortest = byte != 0 || shift == 0;
                return shortest.then_some(value).ok_or(DecodeError::Number);
            }
        }
        Err(DecodeError::Number)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.number()?).map_err(|_| DecodeError::Short)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn txid(&mut self) -> Result<Txid, DecodeError> {
        let (epoch, counter) = (self.number()?, self.number()?);
        Txid::new(Epoch::new(epoch), counter).ok_or(DecodeError::Txid)
    }

    pub(super) fn time(&mut self) -> Result<WallTime, DecodeError> {
        self.number().map(WallTime::from_millis)
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back_and_have_one_form(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader(&bytes);
            if let Ok(value) = reader.number() {
                let mut again = Vec::new();
                put_number(&mut again, value);
                prop_assert_eq!(&*again, &bytes[..bytes.len() - reader.0.len()]);
            }
        }

        #[test]
        fn every_number_can_be_written(value: u64, shift in 0..64) {
            let mut bytes = Vec::new();
            put_number(&mut bytes, value >> shift);
            let mut reader = Reader(&bytes);
            prop_assert_eq!(reader.number(), Ok(value >> shift));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Reader(&largest).number(), Ok(u64::MAX));
        let mut beyond = largest;
        beyond[9] = 2;
        assert_eq!(Reader(&beyond).number(), Err(DecodeError::Number));
        assert_eq!(Reader(&[0x80, 0]).number(), Err(DecodeError::Number));
        assert_eq!(Reader(&[0x80]).number(), Err(DecodeError::Short));
    }
}
