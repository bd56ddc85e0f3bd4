//! The loop's way to the codec: whole messages out of buffers, messages into buffers, and every
//! mistake of an outsider as a text and a counter.

use std::fmt;
use zabkeeper_core::service::Asked;
use zabkeeper_core::store::Answer;
use zabkeeper_core::words::{End, Micros, RefuseReason};
use zabkeeper_core::zab::Message;
use zabkeeper_proto::client::{self, ClientReply, ClientRequest};
use zabkeeper_proto::pieces::{self, Assembly};
use zabkeeper_proto::{DecodeError, FrameError, frame, peer};

/// Bytes of a request besides the command: names, limits, the frame.
const REQUEST_OVERHEAD: usize = 8 << 10;
/// What says that it is longer is not a request that is too long, but no request at all.
const LONGEST: usize = 1 << 30;
/// A request's number is among so many bytes at its start.
const ID_WITHIN: usize = 11;

/// Why bytes on a connection are no message.
#[derive(Debug)]
pub(super) enum Garbage {
    Frame(FrameError),
    Body(DecodeError),
}

/// The first message between nodes in `bytes` and how many bytes it takes; `None` if it is not
/// all there yet. A piece of a long message goes to `assembly`, and is no message unless it is the
/// last one.
pub(super) fn peer_message(
    bytes: &[u8],
    limit: usize,
    assembly: &mut Assembly,
) -> Result<Option<(Option<Message>, usize)>, Garbage> {
    if pieces::is_piece(bytes) {
        let Some(piece) = frame::parse(bytes, frame::Kind::Piece, limit.min(pieces::PIECE))? else {
            return Ok(None);
        };
        let whole = assembly.add(piece.body(), limit)?;
        let Some(message) = whole.map(|whole| peer::decode(&whole)).transpose()? else {
            return Ok(Some((None, piece.consumed())));
        };
        assembly.clear();
        return Ok(Some((Some(message), piece.consumed())));
    }
    match frame::parse(bytes, frame::Kind::Peer, limit)? {
        None => Ok(None),
        Some(found) => Ok(Some((Some(peer::decode(&found)?), found.consumed()))),
    }
}

/// A request that is here as a whole, or as far as it is looked at.
pub(super) struct Request {
    /// What is asked; or how it ends, if it makes no sense though the connection is in order, or is
    /// longer than any may be and is not read.
    pub(super) asked: Asked,
    /// How many bytes it takes.
    pub(super) size: usize,
    /// How many bytes of it follow that are not read.
    pub(super) more: usize,
}

/// The first request of a client in `bytes`, likewise. Commands have at most `command_bytes`.
pub(super) fn request(bytes: &[u8], command_bytes: usize) -> Result<Option<Request>, Garbage> {
    let limit = command_bytes + REQUEST_OVERHEAD;
    let found = match frame::parse(bytes, frame::Kind::Request, limit) {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(None),
        Err(FrameError::TooLong { len, .. }) if len <= LONGEST => return Ok(too_long(bytes, len)),
        Err(error) => return Err(error.into()),
    };
    let asked = match client::decode_request(&found) {
        Ok(ClientRequest { id, timeout_ms, op }) => {
            Asked { id, wait: Micros::millis(u64::from(timeout_ms)), op: Ok(op) }
        }
        Err(error) => match client::request_id(&found) {
            Some(id) => unasked(id, End::Invalid(error.to_string())),
            None => return Err(error.into()),
        },
    };
    Ok(Some(Request { asked, size: found.consumed(), more: 0 }))
}

/// A request that ends before it is asked.
const fn unasked(id: u64, end: End<Answer>) -> Asked {
    Asked { id, wait: Micros::new(0), op: Err(end) }
}

/// How many bytes of the request are missing at least.
pub(super) fn missing(bytes: &[u8], command_bytes: usize) -> usize {
    let limit = command_bytes + REQUEST_OVERHEAD;
    frame::missing(bytes, frame::Kind::Request, limit).unwrap_or_default()
}

/// A request with a body of `len` bytes, too many: all that is looked at is its number.
fn too_long(bytes: &[u8], len: usize) -> Option<Request> {
    let start = bytes.get(frame::HEADER..)?.first_chunk::<ID_WITHIN>()?;
    let (size, more) = (frame::HEADER + start.len(), len - start.len());
    let asked = unasked(client::id_at_start(start), End::Refused(RefuseReason::TooLarge));
    Some(Request { asked, size, more })
}

/// Appends a message between nodes.
pub(super) fn put_message(msg: &Message, out: &mut Vec<u8>) {
    peer::encode(msg, out);
}

/// Appends a reply to a client.
pub(super) fn put_reply(reply: &ClientReply, out: &mut Vec<u8>) {
    client::encode_reply(reply, out);
}

impl Garbage {
    /// What to count on a peer's connection.
    pub(super) fn counter_peer(&self) -> &'static str {
        self.counter([
            "peer.version",
            "peer.wrong_port",
            "peer.too_long",
            "peer.checksum",
            "peer.malformed",
        ])
    }

    /// What to count on a client's connection.
    pub(super) fn counter_client(&self) -> &'static str {
        self.counter([
            "client.version",
            "client.wrong_port",
            "client.too_long",
            "client.checksum",
            "client.malformed",
        ])
    }

    fn counter(&self, names: [&'static str; 5]) -> &'static str {
        let [version, kind, length, checksum, other] = names;
        match self {
            Self::Frame(FrameError::Version(_)) => version,
            Self::Frame(FrameError::Kind { .. }) => kind,
            Self::Frame(FrameError::TooLong { .. }) => length,
            Self::Frame(FrameError::Checksum) => checksum,
            Self::Frame(_) | Self::Body(_) => other,
        }
    }
}

/// What to count for a datagram that cannot be read.
pub(super) fn datagram_counter(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::Magic => "election.foreign",
        DecodeError::Version(_) => "election.version",
        DecodeError::Checksum => "election.checksum",
        DecodeError::TooLong { .. } => "election.too_long",
        DecodeError::Short(_) => "election.short",
        _ => "election.malformed",
    }
}

impl From<FrameError> for Garbage {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<DecodeError> for Garbage {
    fn from(error: DecodeError) -> Self {
        Self::Body(error)
    }
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => write!(f, "{error}"),
            Self::Body(error) => write!(f, "{error}"),
        }
    }
}
