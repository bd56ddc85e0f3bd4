//! One connection of the load generator: bytes out, answers in.

use super::frames::Kind;
use super::tally::Fate;
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use zabkeeper_proto::client::{Outline, decode_outline};
use zabkeeper_proto::frame;

/// A request without an answer yet. Times are microseconds since the generator began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) kind: Kind,
    pub(super) key: u32,
    /// From when its latency counts: when it should have been sent.
    pub(super) due: u64,
    /// When it was sent.
    pub(super) at: u64,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Opening,
    Open,
    Closed,
}

/// A connection. Answers come in the order of the requests.
#[derive(Debug)]
pub(super) struct Conn {
    /// The endpoint it goes to.
    pub(super) endpoint: usize,
    pub(super) stream: Option<TcpStream>,
    pub(super) state: State,
    /// Requests without an answer, oldest first.
    pub(super) asked: VecDeque<Sent>,
    /// Encoded and not written yet, from `written` on.
    pub(super) outgoing: Vec<u8>,
    written: usize,
    /// The beginning of an answer whose rest has not come.
    incoming: Vec<u8>,
    /// It is on the list of those to write.
    pub(super) dirty: bool,
}

impl Conn {
    pub(super) fn new(endpoint: usize, outstanding: usize) -> Self {
        Self {
            endpoint,
            stream: None,
            state: State::Closed,
            asked: VecDeque::with_capacity(outstanding),
            outgoing: Vec::new(),
            written: 0,
            incoming: Vec::new(),
            dirty: false,
        }
    }

    /// Forgets the connection; what was asked stays listed.
    pub(super) fn close(&mut self) {
        self.stream = None;
        self.state = State::Closed;
        self.outgoing.clear();
        self.written = 0;
        self.incoming.clear();
    }

    /// After it became writable for the first time: true if it is open now, false if it still
    /// opens.
    pub(super) fn opened(&mut self) -> io::Result<bool> {
        let Some(stream) = &self.stream else {
            return Ok(false);
        };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => {
                stream.set_nodelay(true)?;
                self.state = State::Open;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        while let Some(rest) = self.outgoing.get(self.written..)
            && !rest.is_empty()
        {
            match stream.write(rest) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what there is, and tells of each answer. `scratch` is any buffer.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        mut answer: impl FnMut(Sent, Fate),
    ) -> io::Result<()> {
        loop {
            let Some(stream) = &mut self.stream else {
                return Ok(());
            };
            let got = match stream.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let new = scratch.get(..got).unwrap_or_default();
            if self.incoming.is_empty() {
                let used = answers(new, &mut self.asked, &mut answer)?;
                self.incoming.extend_from_slice(new.get(used..).unwrap_or_default());
            } else {
                self.incoming.extend_from_slice(new);
                let used = answers(&self.incoming, &mut self.asked, &mut answer)?;
                self.incoming.drain(..used);
            }
            // The socket had less than it could have given: it is empty, as the man page of epoll
            // promises for streams.
            if got < scratch.len() {
                return Ok(());
            }
        }
    }
}

/// Takes the whole answers at the start of `bytes`, and says how many bytes they were.
fn answers(
    bytes: &[u8],
    asked: &mut VecDeque<Sent>,
    answer: &mut impl FnMut(Sent, Fate),
) -> io::Result<usize> {
    let mut used = 0;
    let invalid = |why: String| io::Error::new(ErrorKind::InvalidData, why);
    loop {
        let rest = bytes.get(used..).unwrap_or_default();
        let frame = match frame::parse(rest, frame::Kind::Reply, frame::MAX_REPLY_BODY) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(used),
            Err(error) => return Err(invalid(error.to_string())),
        };
        used += frame.consumed();
        let (id, said) = decode_outline(&frame).map_err(|error| invalid(error.to_string()))?;
        match asked.front().copied() {
            Some(sent) if u64::from(sent.key) == id => {
                asked.pop_front();
                answer(sent, fate(sent.kind, said));
            }
            _ => return Err(invalid("an answer to another question".to_owned())),
        }
    }
}

/// What an answer to such a request means.
fn fate(kind: Kind, said: Outline) -> Fate {
    match (kind, said) {
        (Kind::Write, Outline::Written) | (Kind::Read, Outline::Found) => Fate::Good,
        (Kind::Write, Outline::Failed) => Fate::Rejected,
        (Kind::Read, Outline::Missing) => Fate::Missing,
        (_, Outline::Refused) => Fate::Refused,
        (_, Outline::Unknown) => Fate::Unknown,
        _ => Fate::Invalid,
    }
}
