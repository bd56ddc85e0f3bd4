//! One connection to a node: how it opens, and its bytes.

use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

/// How much is read at a time.
const READ: usize = 64 << 10;

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// The kernel has not said yet that somebody accepts it.
    Connecting,
    /// Asked for its status; the node has said nothing yet.
    Greeting,
    /// The node has spoken: requests may be sent.
    Open,
}

/// A connection, or an attempt at one.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) endpoint: usize,
    pub(super) stream: TcpStream,
    pub(super) stage: Stage,
    /// Other addresses of the same name, if this one cannot be reached.
    pub(super) others: VecDeque<SocketAddr>,
    pub(super) incoming: Vec<u8>,
    pub(super) outgoing: Vec<u8>,
    /// The ids of requests without an answer, oldest first.
    pub(super) asked: VecDeque<u64>,
}

impl Socket {
    pub(super) fn new(endpoint: usize, stream: TcpStream, others: VecDeque<SocketAddr>) -> Self {
        Self {
            endpoint,
            stream,
            stage: Stage::Connecting,
            others,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            asked: VecDeque::new(),
        }
    }
}

impl Socket {
    pub(super) fn write(&mut self) -> io::Result<()> {
        let mut written = 0;
        let result = loop {
            match self.stream.write(self.outgoing.get(written..).unwrap_or_default()) {
                Ok(0) => break Ok(()),
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.outgoing.drain(..written);
        result
    }

    pub(super) fn read(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; READ];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    let what = "the node closed the connection";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, what));
                }
                Ok(n) => self.incoming.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
