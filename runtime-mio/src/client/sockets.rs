//! The client's connections: opened without blocking, read and written while somebody waits.

use super::{Asked, ClientError, Tried};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;
use zabkeeper_core::client::{Answer, Event as MachineEvent};
use zabkeeper_core::ids::{ConnId, Txid};
use zabkeeper_proto::client::{ClientRequest, OpResult, decode_reply, encode_request};
use zabkeeper_proto::frame::{self, Kind};

/// What the sockets tell the state machine.
type Event = MachineEvent<Asked, OpResult>;

/// How much is read at a time.
const READ: usize = 64 << 10;

/// All connections of a client.
#[derive(Debug)]
pub(super) struct Sockets {
    poll: Poll,
    ready: Events,
    endpoints: Vec<Endpoint>,
    conns: BTreeMap<ConnId, Socket>,
    /// What happened and was not told yet.
    news: Vec<Event>,
}

#[derive(Debug)]
struct Endpoint {
    name: String,
    trouble: Option<Trouble>,
}

/// Why an endpoint did not answer lately.
#[derive(Debug)]
enum Trouble {
    /// It could not be reached.
    Connect(String),
    /// It closed the connection.
    Lost(String),
    /// What it said makes no sense.
    Invalid(String),
}

#[derive(Debug)]
struct Socket {
    endpoint: usize,
    stream: TcpStream,
    open: bool,
    /// Other addresses of the same name, if this one cannot be reached.
    others: VecDeque<SocketAddr>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// The ids of requests without an answer, oldest first.
    asked: VecDeque<u64>,
}

impl Sockets {
    pub(super) fn new(endpoints: Vec<String>) -> io::Result<Self> {
        let endpoint = |name| Endpoint { name, trouble: None };
        Ok(Self {
            poll: Poll::new()?,
            ready: Events::with_capacity(64),
            endpoints: endpoints.into_iter().map(endpoint).collect(),
            conns: BTreeMap::new(),
            news: Vec::new(),
        })
    }

    /// Starts to open a connection; success or failure comes from [`Sockets::wait`].
    pub(super) fn connect(&mut self, conn: ConnId, endpoint: usize) {
        let Some(name) = self.endpoints.get(endpoint).map(|e| e.name.clone()) else {
            return;
        };
        match name.to_socket_addrs() {
            Ok(addrs) => self.connect_next(conn, endpoint, addrs.collect(), None),
            Err(error) => self.connect_next(conn, endpoint, VecDeque::new(), Some(error)),
        }
    }

    fn connect_next(
        &mut self,
        conn: ConnId,
        endpoint: usize,
        mut others: VecDeque<SocketAddr>,
        mut error: Option<io::Error>,
    ) {
        while let Some(addr) = others.pop_front() {
            match self.open(conn, addr) {
                Ok(stream) => {
                    let socket = Socket {
                        endpoint,
                        stream,
                        open: false,
                        others,
                        incoming: Vec::new(),
                        outgoing: Vec::new(),
                        asked: VecDeque::new(),
                    };
                    self.conns.insert(conn, socket);
                    return;
                }
                Err(failed) => error = Some(failed),
            }
        }
        let why = error.map_or_else(|| "it has no address".to_owned(), |e| e.to_string());
        self.trouble(endpoint, Trouble::Connect(why));
        self.news.push(Event::ConnectFailed(conn));
    }

    fn open(&self, conn: ConnId, addr: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(addr)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token(conn), interest)?;
        Ok(stream)
    }

    /// Closes a connection, or stops opening it.
    pub(super) fn close(&mut self, conn: ConnId) {
        if let Some(socket) = self.conns.remove(&conn)
            && !socket.open
        {
            let why = "no answer to the attempt to connect".to_owned();
            self.trouble(socket.endpoint, Trouble::Connect(why));
        }
    }

    /// Takes a request; it leaves with the next [`Sockets::wait`].
    pub(super) fn send(&mut self, conn: ConnId, request: &ClientRequest) {
        if let Some(socket) = self.conns.get_mut(&conn) {
            socket.asked.push_back(request.id);
            encode_request(request, &mut socket.outgoing);
        }
    }

    /// Writes what is to be written, waits until something happens or the time is up, and tells
    /// what happened.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<Event>> {
        let unsent = |(conn, socket): (&ConnId, &Socket)| {
            (socket.open && !socket.outgoing.is_empty()).then_some(*conn)
        };
        let writers: Vec<_> = self.conns.iter().filter_map(unsent).collect();
        for conn in writers {
            self.drive(conn, Socket::write);
        }
        let timeout = match self.news.is_empty() {
            true => timeout,
            false => Some(Duration::ZERO),
        };
        match self.poll.poll(&mut self.ready, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => result?,
        }
        let ready: Vec<_> = self.ready.iter().map(|e| conn_id(e.token())).collect();
        for conn in ready {
            self.progress(conn);
        }
        Ok(std::mem::take(&mut self.news))
    }

    /// True if every endpoint's last attempt failed.
    pub(super) fn all_failed(&self) -> bool {
        self.endpoints.iter().all(|e| e.trouble.is_some())
    }

    /// Why a request got no answer in time.
    pub(super) fn failure(&self, timeout: Duration) -> ClientError {
        let mut tried = Vec::new();
        let mut reached = false;
        for Endpoint { name, trouble } in &self.endpoints {
            let why = match trouble {
                Some(Trouble::Invalid(why)) => return ClientError::Invalid(why.clone()),
                Some(Trouble::Connect(why)) => why,
                Some(Trouble::Lost(why)) => {
                    reached = true;
                    why
                }
                None => {
                    reached = true;
                    continue;
                }
            };
            tried.push((name.clone(), why.clone()));
        }
        match reached {
            true => ClientError::Timeout(timeout, Tried(tried)),
            false => ClientError::Unreachable(Tried(tried)),
        }
    }

    fn progress(&mut self, conn: ConnId) {
        match self.conns.get_mut(&conn).map(|socket| socket.open) {
            Some(false) => self.finish_connect(conn),
            Some(true) => {}
            None => return,
        }
        self.drive(conn, Socket::write);
        self.drive(conn, Socket::read);
        self.take_replies(conn);
    }

    fn finish_connect(&mut self, conn: ConnId) {
        let Some(socket) = self.conns.get_mut(&conn) else {
            return;
        };
        let failed = match socket.stream.take_error() {
            Ok(Some(error)) | Err(error) => error,
            Ok(None) => match socket.stream.peer_addr() {
                Ok(_) => {
                    socket.open = true;
                    // Without it small requests wait for nothing; a failure only costs time.
                    let _ = socket.stream.set_nodelay(true);
                    self.news.push(Event::Connected(conn));
                    return;
                }
                // Still under way.
                Err(error) if error.kind() == ErrorKind::NotConnected => return,
                Err(error) => error,
            },
        };
        if let Some(socket) = self.conns.remove(&conn) {
            self.connect_next(conn, socket.endpoint, socket.others, Some(failed));
        }
    }

    /// Reads or writes, unless the connection is gone or not open yet.
    fn drive(&mut self, conn: ConnId, step: fn(&mut Socket) -> io::Result<()>) {
        let Some(socket) = self.conns.get_mut(&conn).filter(|socket| socket.open) else {
            return;
        };
        if let Err(error) = step(socket) {
            // What arrived before the end counts.
            self.take_replies(conn);
            self.end(conn, Trouble::Lost(error.to_string()));
        }
    }

    /// Tells the replies that have arrived completely.
    fn take_replies(&mut self, conn: ConnId) {
        let Some(socket) = self.conns.get_mut(&conn) else {
            return;
        };
        let mut used = 0;
        let invalid = loop {
            let rest = socket.incoming.get(used..).unwrap_or_default();
            let frame = match frame::parse(rest, Kind::Reply, frame::MAX_REPLY_BODY) {
                Ok(Some(frame)) => frame,
                Ok(None) => break None,
                Err(error) => break Some(error.to_string()),
            };
            used += frame.consumed();
            let reply = match decode_reply(&frame) {
                Ok(reply) => reply,
                Err(error) => break Some(error.to_string()),
            };
            if socket.asked.pop_front() != Some(reply.id) {
                break Some("an answer to another question".to_owned());
            }
            let answer = answer(reply.result);
            self.news.push(Event::Received { conn, answer });
        };
        socket.incoming.drain(..used);
        let endpoint = socket.endpoint;
        match invalid {
            Some(why) => self.end(conn, Trouble::Invalid(why)),
            None if used > 0 => {
                if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
                    endpoint.trouble = None;
                }
            }
            None => {}
        }
    }

    fn end(&mut self, conn: ConnId, why: Trouble) {
        if let Some(socket) = self.conns.remove(&conn) {
            self.trouble(socket.endpoint, why);
            self.news.push(Event::Closed(conn));
        }
    }

    fn trouble(&mut self, endpoint: usize, why: Trouble) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.trouble = Some(why);
        }
    }
}

impl Socket {
    fn write(&mut self) -> io::Result<()> {
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

    fn read(&mut self) -> io::Result<()> {
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

/// What a reply means to the state machine.
fn answer(result: OpResult) -> Answer<OpResult> {
    match result {
        OpResult::Refused(why) => Answer::Refused(why),
        OpResult::Unknown => Answer::Unknown,
        reply => Answer::Done {
            txid: match &reply {
                OpResult::Written { txid, .. } => *txid,
                OpResult::Read { applied, .. } => *applied,
                _ => Txid::ZERO,
            },
            reply,
        },
    }
}

/// Connections are numbered from 1 within a client, far from the end of `usize`.
#[allow(clippy::cast_possible_truncation)]
fn token(conn: ConnId) -> Token {
    Token(conn.get() as usize)
}

fn conn_id(token: Token) -> ConnId {
    ConnId::new(token.0 as u64)
}
