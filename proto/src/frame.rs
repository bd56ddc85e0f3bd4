//! Frames: how messages follow each other on a TCP connection.
//!
//! ```text
//! 0       4         5      6          10
//! +-------+---------+------+----------+------------------+
//! | length| version | kind | checksum | body             |
//! +-------+---------+------+----------+------------------+
//! ```
//!
//! Numbers are big-endian. `length` counts the body alone; `checksum` is the CRC32C of the body.
//! Everything in the header is checked before the body is waited for.

use crate::error::FrameError;
use crate::wire;
use std::fmt;

/// The version of the frames and of what is in them.
pub const VERSION: u8 = 1;

/// Bytes before the body.
pub const HEADER: usize = 10;

/// The longest body of a message between nodes. The core stops filling a message far below, but
/// never splits one entry, and refuses all waiting requests of a node in one message.
pub const MAX_PEER_BODY: usize = 4 << 20;

/// The longest body of a client's request by default: a value of 1 MiB, its path and the rest.
pub const MAX_REQUEST_BODY: usize = (1 << 20) + (16 << 10);

/// The longest body of a reply that a client should be ready for.
pub const MAX_REPLY_BODY: usize = 8 << 20;

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A message between nodes.
    Peer = 1,
    /// A client's request.
    Request = 2,
    /// A reply to a client.
    Reply = 3,
    /// A piece of a long message between nodes; see [`pieces`](crate::pieces).
    Piece = 4,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peer => "message between nodes",
            Self::Request => "client's request",
            Self::Reply => "reply to a client",
            Self::Piece => "piece of a message between nodes",
        })
    }
}

/// A whole frame at the start of a buffer, its checksum verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    kind: Kind,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// What it carries.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its content.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// How many bytes of the buffer it takes, header included.
    pub fn consumed(&self) -> usize {
        HEADER + self.body.len()
    }
}

/// Finds the frame at the start of `buf`, which must be of `kind` and have a body of at most
/// `limit` bytes. `None` if more bytes are needed; [`missing`] tells how many.
pub fn parse(buf: &[u8], kind: Kind, limit: usize) -> Result<Option<Frame<'_>>, FrameError> {
    let Some((header, rest)) = split_header(buf) else {
        return Ok(None);
    };
    let len = header.check(kind, limit)?;
    let Some(body) = rest.get(..len) else {
        return Ok(None);
    };
    if crc32c::crc32c(body) != header.checksum {
        return Err(FrameError::Checksum);
    }
    Ok(Some(Frame { kind, body }))
}

/// How many more bytes `buf` needs at least before [`parse`] can find a frame in it, so that a
/// reader can make room. 0 if it holds a whole frame; an error as in [`parse`].
pub fn missing(buf: &[u8], kind: Kind, limit: usize) -> Result<usize, FrameError> {
    match split_header(buf) {
        None => Ok(HEADER - buf.len()),
        Some((header, rest)) => Ok(header.check(kind, limit)?.saturating_sub(rest.len())),
    }
}

/// Where a frame begins in the buffer it is written to.
#[derive(Debug)]
#[must_use = "a frame that is not finished has no valid header"]
pub struct Begun(usize);

/// Begins a frame at the end of `out`: append its body, then call [`finish`].
pub fn begin(out: &mut Vec<u8>, kind: Kind) -> Begun {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, VERSION, kind as u8, 0, 0, 0, 0]);
    Begun(start)
}

/// Completes the header of a frame whose body has been appended to `out`.
///
/// A body of 4 GiB or more gets a length that every reader refuses.
pub fn finish(out: &mut [u8], begun: Begun) {
    let Some((header, body)) =
        out.get_mut(begun.0..).and_then(<[u8]>::split_first_chunk_mut::<HEADER>)
    else {
        unreachable!("the buffer was cut while a frame was being written to it");
    };
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let [l0, l1, l2, l3] = len.to_be_bytes();
    let [c0, c1, c2, c3] = crc32c::crc32c(body).to_be_bytes();
    let [_, _, _, _, version, kind, ..] = *header;
    *header = [l0, l1, l2, l3, version, kind, c0, c1, c2, c3];
}

/// Writes a protobuf message as one frame, straight into `out`.
pub(crate) fn write(out: &mut Vec<u8>, kind: Kind, message: &impl prost::Message) {
    let begun = begin(out, kind);
    wire::put(message, out);
    finish(out, begun);
}

struct Header {
    len: usize,
    version: u8,
    kind: u8,
    checksum: u32,
}

impl Header {
    /// The length of the body, if such a frame may come here.
    fn check(&self, kind: Kind, limit: usize) -> Result<usize, FrameError> {
        if self.version != VERSION {
            return Err(FrameError::Version(self.version));
        }
        if self.kind != kind as u8 {
            return Err(FrameError::Kind { got: self.kind, expected: kind });
        }
        if self.len > limit {
            return Err(FrameError::TooLong { len: self.len, limit });
        }
        Ok(self.len)
    }
}

fn split_header(buf: &[u8]) -> Option<(Header, &[u8])> {
    let (header, rest) = buf.split_first_chunk::<HEADER>()?;
    let [l0, l1, l2, l3, version, kind, c0, c1, c2, c3] = *header;
    let header = Header {
        len: u32::from_be_bytes([l0, l1, l2, l3]) as usize,
        version,
        kind,
        checksum: u32::from_be_bytes([c0, c1, c2, c3]),
    };
    Some((header, rest))
}
