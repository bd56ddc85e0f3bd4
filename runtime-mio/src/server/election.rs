//! Election datagrams. Receiving never ends, whatever arrives.

use mio::net::UdpSocket;
use std::io::ErrorKind;
use std::net::SocketAddr;

/// Larger than any datagram that nodes send, so that one that is too long is seen to be.
const ROOM: usize = 64 << 10;

/// The socket for votes.
pub(super) struct Election {
    socket: UdpSocket,
    room: Box<[u8]>,
}

impl Election {
    pub(super) fn new(socket: UdpSocket) -> Self {
        Self { socket, room: vec![0; ROOM].into_boxed_slice() }
    }

    /// The next datagram and its sender, or `None` when there is none now.
    pub(super) fn receive(&mut self) -> Option<(&[u8], SocketAddr)> {
        // Errors that arrive here belong to datagrams sent earlier, to a port where nobody
        // listens: they are taken off the socket and mean nothing. There can be only as many as
        // were sent, but a bound costs nothing.
        for _ in 0..1024 {
            match self.socket.recv_from(&mut self.room) {
                Ok((count, from)) => return Some((self.room.get(..count)?, from)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => {}
            }
        }
        None
    }

    /// Sends a datagram, if the system takes it now: votes are sent again anyway.
    pub(super) fn send(&self, bytes: &[u8], to: SocketAddr) -> bool {
        self.socket.send_to(bytes, to).is_ok()
    }
}
