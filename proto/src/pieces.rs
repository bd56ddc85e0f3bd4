//! Pieces: a long frame between nodes is cut into several, so that short ones, which keep peers
//! from being taken for dead, may come in between. The pieces' bodies, one after the other, are the
//! frame.

use crate::error::FrameError;
use crate::frame::{self, Frame, HEADER, Kind};

/// Longer frames are cut.
pub const WHOLE: usize = 64 << 10;

/// Bytes of a frame in one piece.
pub const PIECE: usize = 32 << 10;

/// Appends a whole frame to `out`, cut into pieces if it is long.
pub fn put(whole: &[u8], out: &mut Vec<u8>) {
    if whole.len() <= WHOLE {
        out.extend_from_slice(whole);
        return;
    }
    for piece in whole.chunks(PIECE) {
        let begun = frame::begin(out, Kind::Piece);
        out.extend_from_slice(piece);
        frame::finish(out, begun);
    }
}

/// How many bytes the first frame of a buffer of whole ones takes.
pub fn first(frames: &[u8]) -> usize {
    let length = frames.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    HEADER.saturating_add(length).min(frames.len())
}

/// True if the frame at the start of `bytes` says that it is a piece.
pub fn is_piece(bytes: &[u8]) -> bool {
    bytes.get(5) == Some(&(Kind::Piece as u8))
}

/// Puts pieces together.
#[derive(Clone, Debug, Default)]
pub struct Assembly {
    bytes: Vec<u8>,
}

impl Assembly {
    /// Adds a piece. Gives the whole frame if it was the last one; [`Self::clear`] then makes room
    /// for the next. An error if they do not make a frame of a body of at most `limit` bytes.
    pub fn add(&mut self, piece: &[u8], limit: usize) -> Result<Option<Frame<'_>>, FrameError> {
        self.bytes.extend_from_slice(piece);
        let len = self.bytes.len();
        match frame::parse(&self.bytes, Kind::Peer, limit)? {
            Some(found) if found.consumed() < len => {
                Err(FrameError::TooLong { len, limit: found.consumed() })
            }
            found => Ok(found),
        }
    }

    /// Forgets what was put together.
    pub fn clear(&mut self) {
        self.bytes = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer;
    use zabkeeper_core::zab::Message;

    fn long() -> (Message, Vec<u8>) {
        let bytes: Vec<u8> = (0..300_000_u32).map(|byte| byte as u8).collect();
        let message = Message::SnapshotChunk { from: 7, bytes: bytes.into(), last: true };
        let mut whole = Vec::new();
        peer::encode(&message, &mut whole);
        (message, whole)
    }

    #[test]
    fn a_long_frame_is_cut_into_pieces_that_make_it_again() {
        let (message, whole) = long();
        let mut sent = Vec::new();
        put(&whole, &mut sent);
        let mut assembly = Assembly::default();
        let mut unread = sent.as_slice();
        let mut pieces = 0;
        loop {
            assert!(is_piece(unread) && first(unread) <= PIECE + HEADER);
            let (piece, rest) = unread.split_at(first(unread));
            let piece = frame::parse(piece, Kind::Piece, PIECE).unwrap().unwrap();
            pieces += 1;
            let found = assembly.add(piece.body(), frame::MAX_PEER_BODY).unwrap();
            if let Some(found) = found {
                assert_eq!((peer::decode(&found).unwrap(), rest.len()), (message, 0));
                break;
            }
            unread = rest;
        }
        assert_eq!(pieces, whole.len().div_ceil(PIECE));
    }

    #[test]
    fn a_short_frame_stays_whole() {
        let mut whole = Vec::new();
        peer::encode(&Message::ReadIndex { id: 1 }, &mut whole);
        let mut sent = Vec::new();
        put(&whole, &mut sent);
        assert_eq!(sent, whole);
        assert!(!is_piece(&sent));
        assert_eq!(first(&sent), whole.len());
    }

    #[test]
    fn pieces_that_are_longer_than_their_frame_or_than_the_limit_are_refused() {
        let (_, mut whole) = long();
        let limit = frame::MAX_PEER_BODY;
        assert!(matches!(
            Assembly::default().add(&whole, 1000),
            Err(FrameError::TooLong { limit: 1000, .. })
        ));
        whole.push(0);
        assert!(Assembly::default().add(&whole, limit).is_err());
    }
}
