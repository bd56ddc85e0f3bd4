//! The canonical bytes of commands: what the log carries.

use super::path::Path;
use super::types::Command;
use super::wire::{DecodeError, Reader, put_bytes, put_number};
use crate::words::Payload;
use alloc::vec::Vec;

/// The largest value that a node can have.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// The most nodes that one recursive Delete takes away, the named one not counted: all of them are
/// gone in one step, in which a node does nothing else.
pub const DELETE_NODES: u32 = 100_000;

/// The most nodes that one Clear takes away.
pub const CLEAR_NODES: u32 = 10_000;

/// The first byte of every command. A new form gets a new byte; old ones stay readable, since the
/// log outlives releases.
const FORMAT: u8 = 1;
const ADD: u8 = 1;
const SET: u8 = 2;
const DELETE: u8 = 3;
const DELETE_RECURSIVE: u8 = 4;
const CLEAR: u8 = 5;

impl Command {
    /// The node that the command is about.
    pub const fn path(&self) -> &Path {
        match self {
            Self::Add { path, .. }
            | Self::Set { path, .. }
            | Self::Delete { path, .. }
            | Self::Clear { path } => path,
        }
    }

    /// The bytes of the value that it brings; none if it brings no value.
    pub fn value_bytes(&self) -> usize {
        match self {
            Self::Add { value, .. } | Self::Set { value, .. } => value.len(),
            Self::Delete { .. } | Self::Clear { .. } => 0,
        }
    }

    /// The command's bytes: format, kind, path, then for Add and Set the value, for Clear and a
    /// recursive Delete the number of nodes that it may take away. That is in the command because
    /// it is judged when the command is applied, by nodes that must all judge alike.
    pub fn encode(&self) -> Payload {
        let mut out = Vec::new();
        self.put(&mut out);
        out.into()
    }

    /// Appends the command's bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        let (kind, path, value, nodes) = match self {
            Self::Add { path, value } => (ADD, path, Some(value), None),
            Self::Set { path, value } => (SET, path, Some(value), None),
            Self::Delete { path, recursive: false } => (DELETE, path, None, None),
            Self::Delete { path, recursive: true } => {
                (DELETE_RECURSIVE, path, None, Some(DELETE_NODES))
            }
            Self::Clear { path } => (CLEAR, path, None, Some(CLEAR_NODES)),
        };
        let path = path.as_str().as_bytes();
        out.reserve(path.len() + value.map_or(0, |v| v.len()) + 8);
        out.extend([FORMAT, kind]);
        put_bytes(out, path);
        if let Some(value) = value {
            put_bytes(out, value);
        }
        if let Some(nodes) = nodes {
            put_number(out, u64::from(nodes));
        }
    }

    /// Reads a command. Never panics; accepts exactly what [`Command::encode`] makes of commands
    /// within the limits. (To apply one is to accept other numbers of nodes as well.)
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (path, act) = read(bytes)?;
        let path = Path::parse(path).map_err(DecodeError::Path)?;
        Ok(match act {
            Act::Add(value) => Self::Add { path, value: value.into() },
            Act::Set(value) => Self::Set { path, value: value.into() },
            Act::Delete => Self::Delete { path, recursive: false },
            Act::DeleteAll(DELETE_NODES) => Self::Delete { path, recursive: true },
            Act::Clear(CLEAR_NODES) => Self::Clear { path },
            Act::DeleteAll(_) | Act::Clear(_) => return Err(DecodeError::Number),
        })
    }
}

/// What a command does, in the command's own bytes. They end with the value, if there is one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act<'a> {
    Add(&'a [u8]),
    Set(&'a [u8]),
    Delete,
    /// With what is below, if that is no more than so many nodes.
    DeleteAll(u32),
    /// With what is below, as far as so many nodes go.
    Clear(u32),
}

/// The path of a command, checked and without a leading `/`, and what is to be done there.
pub(super) fn read(bytes: &[u8]) -> Result<(&str, Act<'_>), DecodeError> {
    let mut reader = Reader(bytes);
    let format = reader.byte()?;
    if format != FORMAT {
        return Err(DecodeError::Format(format));
    }
    let kind = reader.byte()?;
    if !(ADD..=CLEAR).contains(&kind) {
        return Err(DecodeError::Kind(kind));
    }
    let path = read_path(&mut reader)?;
    let act = match kind {
        ADD => Act::Add(read_value(&mut reader)?),
        SET => Act::Set(read_value(&mut reader)?),
        DELETE => Act::Delete,
        DELETE_RECURSIVE => Act::DeleteAll(read_nodes(&mut reader)?),
        _ => Act::Clear(read_nodes(&mut reader)?),
    };
    reader.end()?;
    Ok((path, act))
}

fn read_path<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let text = core::str::from_utf8(reader.bytes()?).map_err(|_| DecodeError::Utf8)?;
    if text.starts_with('/') {
        return Err(DecodeError::LeadingSlash);
    }
    Path::check(text).map_err(DecodeError::Path)?;
    Ok(text)
}

fn read_nodes(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    u32::try_from(reader.number()?).map_err(|_| DecodeError::Number)
}

fn read_value<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let bytes = reader.bytes()?;
    if bytes.len() > MAX_VALUE_BYTES {
        return Err(DecodeError::ValueTooLarge(bytes.len()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::path::PathError;
    use super::*;
    use proptest::prelude::*;

    fn add(path: &str, value: &[u8]) -> Command {
        Command::Add { path: Path::parse(path).unwrap(), value: value.into() }
    }

    fn set(path: &str, value: &[u8]) -> Command {
        Command::Set { path: Path::parse(path).unwrap(), value: value.into() }
    }

    fn delete(path: &str, recursive: bool) -> Command {
        Command::Delete { path: Path::parse(path).unwrap(), recursive }
    }

    fn clear(path: &str) -> Command {
        Command::Clear { path: Path::parse(path).unwrap() }
    }

    #[test]
    fn format_is_frozen() {
        // Logs hold these bytes: a change here is a change of format.
        for (command, bytes) in [
            (add("a/b", b"xy"), b"\x01\x01\x03a/b\x02xy".as_slice()),
            (set("a", b""), b"\x01\x02\x01a\x00"),
            (delete("a", false), b"\x01\x03\x01a"),
            (delete("", true), b"\x01\x04\x00\xa0\x8d\x06"),
            (clear("a"), b"\x01\x05\x01a\x90\x4e"),
        ] {
            assert_eq!(command.encode().as_slice(), bytes);
            assert_eq!(Command::decode(bytes), Ok(command));
        }
    }

    #[test]
    fn what_is_not_a_command_is_refused() {
        for (bytes, error) in [
            (b"".as_slice(), DecodeError::Short),
            (b"\x02\x01\x01a\x00", DecodeError::Format(2)),
            (b"\x01\x00\x01a\x00", DecodeError::Kind(0)),
            (b"\x01\x06\x01a", DecodeError::Kind(6)),
            (b"\x01\x04\x01a", DecodeError::Short),
            (b"\x01\x04\x01a\x07", DecodeError::Number),
            (b"\x01\x05\x01a\xff\xff\xff\xff\x7f", DecodeError::Number),
            (b"\x01\x01\x01a", DecodeError::Short),
            (b"\x01\x03\x02a", DecodeError::Short),
            (b"\x01\x03\x01a\x00", DecodeError::Trailing),
            (b"\x01\x03\x02/a", DecodeError::LeadingSlash),
            (b"\x01\x03\x81\x00a", DecodeError::Number),
            (b"\x01\x03\x01\xff", DecodeError::Utf8),
            (b"\x01\x03\x02a/", DecodeError::Path(PathError::EmptySegment)),
        ] {
            assert_eq!(Command::decode(bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn values_have_a_limit() {
        let largest = set("a", &[7; MAX_VALUE_BYTES]);
        assert_eq!(Command::decode(&largest.encode()), Ok(largest));
        let larger = set("a", &[7; MAX_VALUE_BYTES + 1]);
        assert_eq!(
            Command::decode(&larger.encode()),
            Err(DecodeError::ValueTooLarge(MAX_VALUE_BYTES + 1))
        );
    }

    proptest! {
        #[test]
        fn commands_come_back(path in "([a-c]{1,3}/){0,3}[a-c]", value: Vec<u8>, kind in 0..5) {
            let command = match kind {
                0 => add(&path, &value),
                1 => set(&path, &value),
                2 => clear(&path),
                _ => delete(&path, kind == 3),
            };
            prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
        }

        #[test]
        fn whatever_can_be_read_has_one_form(
            kind in 0..6u8,
            bytes in prop::collection::vec(prop_oneof![0..4u8, Just(b'a'), any::<u8>()], 0..10),
        ) {
            let bytes: Vec<u8> = [FORMAT, kind].into_iter().chain(bytes).collect();
            if let Ok(command) = Command::decode(&bytes) {
                prop_assert_eq!(command.encode(), Payload::from(bytes));
            }
        }
    }
}
