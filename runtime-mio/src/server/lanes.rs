//! What waits to be sent to a peer, in two lanes. Messages leave in the order in which they were
//! given, except that heartbeats overtake: they go ahead of what has not been handed to the socket,
//! of which there is never much, between the pieces of a long message if need be.

use crate::net::Conn;
use std::io;
use zabkeeper_core::zab::Message;
use zabkeeper_proto::pieces;

/// About how many bytes are on their way to the socket, where nothing overtakes them.
pub(super) const AHEAD: usize = 64 << 10;
/// A buffer that grew beyond this is given back once it is empty.
const KEEP: usize = 1 << 20;

/// Whole frames that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    frames: Vec<u8>,
    start: usize,
}

/// True for messages that may overtake others: they say only that the sender lives, or ask whether
/// the receiver does.
pub(super) fn overtakes(msg: &Message) -> bool {
    matches!(msg, Message::Ping { .. } | Message::Pong { .. } | Message::Alive { .. })
}

impl Waiting {
    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.frames.len() - self.start
    }

    /// Puts a frame in line.
    pub(super) fn put(&mut self, conn: &mut Conn, frame: &[u8], overtakes: bool) {
        let at_once = self.len() == 0 && conn.backlog() < AHEAD && frame.len() <= pieces::WHOLE;
        if overtakes || at_once {
            conn.output().extend_from_slice(frame);
        } else {
            pieces::put(frame, &mut self.frames);
        }
    }

    /// Writes what the socket takes.
    pub(super) fn write(&mut self, conn: &mut Conn) -> io::Result<()> {
        loop {
            while conn.backlog() < AHEAD && self.len() > 0 {
                let waiting = self.frames.get(self.start..).unwrap_or_default();
                let (next, _) = waiting.split_at(pieces::first(waiting));
                conn.output().extend_from_slice(next);
                self.start += next.len();
            }
            self.compact();
            conn.write()?;
            if self.len() == 0 || conn.backlog() > 0 {
                return Ok(());
            }
        }
    }

    /// Gives the room of what has left back, once that is most of the buffer.
    fn compact(&mut self) {
        if self.len() == 0 {
            self.start = 0;
            self.frames.clear();
            if self.frames.capacity() > KEEP {
                self.frames = Vec::new();
            }
        } else if self.start > self.frames.len() / 2 {
            self.frames.drain(..self.start);
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::net::TcpStream;
    use mio::{Poll, Token};
    use std::io::Read;
    use std::net::TcpListener;
    use zabkeeper_core::words::Epoch;
    use zabkeeper_proto::{frame, peer};

    #[test]
    fn a_heartbeat_leaves_between_the_pieces_of_a_long_message() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, addr) = listener.accept().unwrap();
        sender.set_nonblocking(true).unwrap();
        let poll = Poll::new().unwrap();
        let sender = TcpStream::from_std(sender);
        let mut conn = Conn::new(sender, addr, Token(1), poll.registry()).unwrap();
        conn.hold_back(AHEAD).unwrap();
        let mut waiting = Waiting::default();
        // Far more than the kernel takes at once; then a heartbeat.
        let bytes = vec![7; 4_000_000];
        let value = Message::SnapshotChunk { from: 0, bytes: bytes.into(), last: true };
        let ping = Message::Pong { epoch: Epoch::new(1), nonce: 9, room: None, full: false };
        for _ in 0..8 {
            put(&mut waiting, &mut conn, &value);
        }
        waiting.write(&mut conn).unwrap();
        assert!(waiting.len() > 0, "the kernel took everything");
        put(&mut waiting, &mut conn, &ping);
        let sent = std::thread::spawn(move || {
            let mut all = Vec::new();
            receiver.read_to_end(&mut all).unwrap();
            all
        });
        while waiting.len() + conn.backlog() > 0 {
            waiting.write(&mut conn).unwrap();
            std::thread::yield_now();
        }
        drop(conn);
        let all = sent.join().unwrap();
        let mut assembly = pieces::Assembly::default();
        let (mut unread, mut order) = (all.as_slice(), Vec::new());
        while !unread.is_empty() {
            let (one, rest) = unread.split_at(pieces::first(unread));
            unread = rest;
            if pieces::is_piece(one) {
                let piece = frame::parse(one, frame::Kind::Piece, one.len()).unwrap().unwrap();
                if assembly.add(piece.body(), 5_000_000).unwrap().is_some() {
                    assembly.clear();
                    order.push("value");
                }
            } else {
                order.push("heartbeat");
            }
        }
        assert_eq!(order.iter().filter(|what| **what == "value").count(), 8);
        assert_ne!(order.last(), Some(&"heartbeat"), "{order:?}");
    }

    fn put(waiting: &mut Waiting, conn: &mut Conn, msg: &Message) {
        let mut frame = Vec::new();
        peer::encode(msg, &mut frame);
        waiting.put(conn, &frame, overtakes(msg));
    }
}
