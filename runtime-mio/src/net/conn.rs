//! One TCP connection: a buffer for what arrived and one for what must leave. How much may wait in
//! the second is the owner's to bound.
//!
//! Nothing here waits. Reading takes a bounded amount at a time and says whether there may be
//! more; writing happens once a turn and keeps what the socket did not take.

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// Room offered to the first read of a connection; doubled whenever a read fills it.
const READ_MIN: usize = 4 << 10;
/// Most room offered to one read.
const READ_MAX: usize = 64 << 10;
/// A buffer that grew beyond this for a large message is given back once it is empty.
const KEEP: usize = 1 << 20;
/// After this silence the kernel begins to ask whether the other side still exists, so often, so
/// many times. What was sent and is not acknowledged for as long as all that ends the connection too.
const KEEPALIVE: Duration = Duration::from_secs(30);
const PROBE: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// A connection.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: TcpStream,
    peer: SocketAddr,
    input: Input,
    output: Output,
}

/// How reading ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Drained {
    /// Everything the socket had was read; it will report when there is more.
    Dry,
    /// The turn's share is used up; there may be more.
    More,
    /// The other side sent everything it had to say.
    Ended,
}

#[derive(Debug)]
struct Input {
    bytes: Vec<u8>,
    /// Where the unread part starts and ends in `bytes`.
    start: usize,
    end: usize,
    /// Room offered to the next read.
    offer: usize,
    /// Bytes of the message that begins at `start`, if it is a large one and known; else 0.
    expected: usize,
    /// True once a short read no longer means that the socket is dry.
    exhaust: bool,
}

#[derive(Debug)]
struct Output {
    bytes: Vec<u8>,
    start: usize,
    /// How many bytes the socket has taken since the connection began.
    taken: u64,
}

impl Conn {
    /// Takes over a connected or connecting socket and has it report under `token`.
    pub(crate) fn new(
        mut stream: TcpStream,
        peer: SocketAddr,
        token: Token,
        registry: &Registry,
    ) -> io::Result<Self> {
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        registry.register(&mut stream, token, interest)?;
        Ok(Self {
            stream,
            peer,
            input: Input {
                bytes: Vec::new(),
                start: 0,
                end: 0,
                offer: READ_MIN,
                expected: 0,
                exhaust: false,
            },
            output: Output { bytes: Vec::new(), start: 0, taken: 0 },
        })
    }

    /// Sets what only a connected socket can be set to.
    pub(crate) fn tune(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(PROBE)
            .with_retries(PROBES);
        let socket = socket2::SockRef::from(&self.stream);
        // Nobody has a use for urgent data; as a part of the rest it does no harm.
        socket.set_out_of_band_inline(true)?;
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        socket.set_tcp_keepalive(&keepalive)
    }

    /// Has the kernel take no more than about so many bytes that it cannot send yet: what waits
    /// behind them can be overtaken only here.
    pub(crate) fn hold_back(&self, bytes: usize) -> io::Result<()> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        socket2::SockRef::from(&self.stream).set_tcp_notsent_lowat(bytes)
    }

    /// The other side's address.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether an attempt to connect has succeeded: `None` while nobody knows.
    pub(crate) fn connected(&self) -> io::Result<Option<()>> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(Some(())),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes note of what the socket reports. If the other side has closed its direction, or the
    /// connection broke, reading then goes on to the end; if the other side sends urgent data, at
    /// which a read stops whatever comes after it, until there is no more.
    pub(crate) fn reported(&mut self, event: &Event) {
        self.input.exhaust |= event.is_read_closed() || event.is_error() || event.is_priority();
    }

    /// Reads until the socket is dry, or about `share` bytes were read.
    pub(crate) fn read(&mut self, share: usize) -> io::Result<Drained> {
        let mut taken = 0;
        loop {
            let room = self.input.room();
            let offered = room.len();
            match self.stream.read(room) {
                Ok(0) => return Ok(Drained::Ended),
                Ok(count) => {
                    self.input.end += count;
                    taken += count;
                    if self.input.is_expected() {
                        return Ok(Drained::More);
                    }
                    if count == offered {
                        self.input.offer = (self.input.offer * 2).min(READ_MAX);
                    } else if !self.input.exhaust {
                        // Less than there was room for: the socket is dry, and what comes later,
                        // an end included, is reported anew (epoll(7), on edges and streams).
                        return Ok(Drained::Dry);
                    }
                    if taken >= share {
                        return Ok(Drained::More);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Drained::Dry),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What was read and not consumed yet.
    pub(crate) fn unread(&self) -> &[u8] {
        self.input.bytes.get(self.input.start..self.input.end).unwrap_or_default()
    }

    /// Forgets the first `count` unread bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.input.start = (self.input.start + count).min(self.input.end);
        self.input.expected = 0;
        if self.input.start == self.input.end {
            self.input.start = 0;
            self.input.end = 0;
            if self.input.bytes.len() > KEEP {
                self.input.bytes = Vec::new();
            }
        }
    }

    /// The buffer for sending, to append to.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output.bytes
    }

    /// How many bytes wait for the socket.
    pub(crate) fn backlog(&self) -> usize {
        self.output.bytes.len() - self.output.start
    }

    /// How many bytes the socket has taken since the connection began.
    pub(crate) fn taken(&self) -> u64 {
        self.output.taken
    }

    /// Bytes of memory that the connection has for what arrived and for what must leave.
    pub(crate) fn memory(&self) -> usize {
        self.input.bytes.len() + self.output.bytes.capacity()
    }

    /// Makes room for a message of so many bytes, the first of what is unread, once and no more.
    pub(crate) fn expect(&mut self, bytes: usize) {
        self.input.expected = bytes;
    }

    /// Gives back memory that nothing is in.
    pub(crate) fn trim(&mut self) {
        if self.input.start == self.input.end {
            self.input.bytes = Vec::new();
        }
        if self.backlog() == 0 {
            self.output.bytes = Vec::new();
        }
    }

    /// Writes what is waiting, as far as the socket takes it.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        let output = &mut self.output;
        while let Some(waiting) = output.bytes.get(output.start..).filter(|w| !w.is_empty()) {
            match self.stream.write(waiting) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    output.start += count;
                    output.taken += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    output.compact();
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        output.start = 0;
        output.bytes.clear();
        if output.bytes.capacity() > KEEP {
            output.bytes = Vec::new();
        }
        Ok(())
    }

    /// Stops the socket from reporting. Dropping the connection closes it.
    pub(crate) fn deregister(&mut self, registry: &Registry) {
        // The socket is closed right after this: nothing depends on the answer.
        let _ = registry.deregister(&mut self.stream);
    }
}

impl Input {
    /// True if the large message that was expected is here.
    fn is_expected(&self) -> bool {
        self.expected > 0 && self.end - self.start >= self.expected
    }

    /// Free room for one read.
    fn room(&mut self) -> &mut [u8] {
        let lacks = self.expected.saturating_sub(self.end - self.start);
        let offer = if lacks > 0 { self.offer.min(lacks) } else { self.offer };
        if self.bytes.len() - self.end < offer {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.bytes.len() - self.end < offer {
                let wanted = match lacks {
                    0 => (self.end + offer).next_power_of_two(),
                    _ => self.expected,
                };
                self.bytes.reserve_exact(wanted - self.bytes.len());
                self.bytes.resize(wanted, 0);
            }
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }
}

impl Output {
    /// Gives the room of what was sent back, once that is most of the buffer.
    fn compact(&mut self) {
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::net::{TcpListener, TcpStream as Peer};

    /// A connection, its poll, and who talks to it.
    fn connection() -> (Conn, Poll, Peer) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = Peer::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, addr) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let poll = Poll::new().unwrap();
        let stream = TcpStream::from_std(stream);
        let conn = Conn::new(stream, addr, Token(1), poll.registry()).unwrap();
        conn.tune().unwrap();
        (conn, poll, peer)
    }

    /// Reads as a turn does, whenever the socket reports, until so many bytes are there.
    fn read(conn: &mut Conn, poll: &mut Poll, count: usize) -> Vec<u8> {
        let mut events = Events::with_capacity(8);
        while conn.unread().len() < count {
            poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
            assert!(!events.is_empty(), "only {:?} was read", conn.unread());
            events.iter().for_each(|event| conn.reported(event));
            while conn.read(KEEP).unwrap() == Drained::More {}
        }
        conn.unread().to_vec()
    }

    #[test]
    fn urgent_bytes_are_read_in_their_place_and_what_follows_is_not_left() {
        let (mut conn, mut poll, mut peer) = connection();
        peer.write_all(b"before").unwrap();
        socket2::SockRef::from(&peer).send_out_of_band(b"!").unwrap();
        peer.write_all(b"after").unwrap();
        assert_eq!(read(&mut conn, &mut poll, 12), b"before!after");
    }

    #[test]
    fn the_kernel_gives_up_who_is_gone_within_two_minutes() {
        let (conn, _poll, _peer) = connection();
        let socket = socket2::SockRef::from(&conn.stream);
        assert!(socket.keepalive().unwrap());
        let probes =
            socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        let silent = socket.tcp_keepalive_time().unwrap() + probes;
        let unacknowledged = socket.tcp_user_timeout().unwrap().unwrap();
        assert!(silent.max(unacknowledged) < Duration::from_secs(120));
        // A peer that is slow for a moment is not given up.
        assert!(silent.min(unacknowledged) >= Duration::from_secs(30));
    }

    #[test]
    fn a_large_message_that_is_expected_gets_room_for_itself_and_no_more() {
        let (mut conn, mut poll, mut peer) = connection();
        let bytes = vec![7; 300_000];
        conn.expect(bytes.len());
        let writer = std::thread::spawn(move || peer.write_all(&bytes).map(|()| peer));
        let mut events = Events::with_capacity(8);
        while conn.unread().len() < 300_000 {
            poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
            while conn.unread().len() < 300_000 && conn.read(KEEP).unwrap() == Drained::More {}
        }
        assert_eq!(conn.memory(), 300_000);
        conn.consume(300_000);
        conn.trim();
        assert_eq!(conn.memory(), 0);
        drop(writer.join().unwrap().unwrap());
    }
}
