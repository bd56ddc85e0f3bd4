//! The client's connections: opened without blocking, read and written while somebody waits.
//!
//! That the kernel accepts a connection says nothing about the node behind it: it may be stopped,
//! full, or a stranger. So each connection begins with a question that costs nothing, the node's
//! status, and counts as open when the node has answered it. What was not sent by then is
//! certainly not done.

use super::error::refused;
use super::names::Names;
use super::socket::{Socket, Stage};
use super::{ClientError, Tried};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use zabkeeper_core::client::Event as MachineEvent;
use zabkeeper_core::store::{Answer, Op};
use zabkeeper_core::words::{ConnId, End};
use zabkeeper_proto::client::{ClientReply, ClientRequest, decode_reply, encode_request};
use zabkeeper_proto::frame::{self, Kind};

/// What the sockets tell the state machine.
type Event = MachineEvent<Op, Answer>;

/// The id of the question that opens a connection; requests have others.
const GREETING: u64 = 0;
/// How long a node may take over it; the state machine gives up earlier.
const GREETING_MS: u32 = 1000;
/// Wakes the poll when a name has been looked up. Connections are numbered from 1.
const LOOKED_UP: Token = Token(0);

/// All connections of a client.
#[derive(Debug)]
pub(super) struct Sockets {
    poll: Poll,
    names: Names,
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
    /// It closed the connection, or turned it away.
    Lost(String),
    /// What it said makes no sense.
    Invalid(String),
}

impl Sockets {
    pub(super) fn new(endpoints: Vec<String>) -> io::Result<Self> {
        let endpoint = |name| Endpoint { name, trouble: None };
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), LOOKED_UP)?);
        Ok(Self {
            poll,
            names: Names::new(waker),
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
        match self.names.find(&name, conn, endpoint) {
            Some(Ok(addrs)) => self.connect_next(conn, endpoint, addrs, None),
            Some(Err(error)) => self.connect_next(conn, endpoint, VecDeque::new(), Some(error)),
            // On the way: `wait` goes on with it.
            None => {}
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
                    self.conns.insert(conn, Socket::new(endpoint, stream, others));
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
        if let Some(endpoint) = self.names.forget(conn) {
            let why = "its name was not resolved in time".to_owned();
            self.trouble(endpoint, Trouble::Connect(why));
        }
        let Some(socket) = self.conns.remove(&conn) else {
            return;
        };
        let why = match socket.stage {
            Stage::Connecting => "no answer to the attempt to connect",
            Stage::Greeting => "it accepts connections and says nothing",
            Stage::Open => return,
        };
        self.trouble(socket.endpoint, Trouble::Connect(why.to_owned()));
        self.names.keep(socket.endpoint, socket.others);
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
            (socket.stage != Stage::Connecting && !socket.outgoing.is_empty()).then_some(*conn)
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
        let ready: Vec<_> = self.ready.iter().map(mio::event::Event::token).collect();
        for token in ready {
            match token {
                LOOKED_UP => self.take_addresses(),
                token => self.progress(conn_id(token)),
            }
        }
        Ok(std::mem::take(&mut self.news))
    }

    /// True if every endpoint's last attempt failed.
    pub(super) fn all_failed(&self) -> bool {
        self.endpoints.iter().all(|e| e.trouble.is_some())
    }

    /// What a request waits for, while its time is not up.
    pub(super) fn waits_for(&self, timeout: Duration) -> String {
        let troubles = self.endpoints.iter().filter_map(|Endpoint { name, trouble }| {
            let (Trouble::Connect(why) | Trouble::Lost(why) | Trouble::Invalid(why)) =
                trouble.as_ref()?;
            Some((name.clone(), why.clone()))
        });
        let tried = Tried(troubles.collect());
        match tried.0.is_empty() {
            true => format!("waiting for an answer, for {timeout:?} in all"),
            false => format!("no answer yet ({tried}); trying on, for {timeout:?} in all"),
        }
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

    fn take_addresses(&mut self) {
        for (conn, endpoint, found) in self.names.found() {
            match found {
                Ok(addrs) => self.connect_next(conn, endpoint, addrs, None),
                Err(error) => self.connect_next(conn, endpoint, VecDeque::new(), Some(error)),
            }
        }
    }

    fn progress(&mut self, conn: ConnId) {
        match self.conns.get_mut(&conn).map(|socket| socket.stage) {
            Some(Stage::Connecting) => self.finish_connect(conn),
            Some(Stage::Greeting | Stage::Open) => {}
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
                    socket.stage = Stage::Greeting;
                    // Without it small requests wait for nothing; a failure only costs time.
                    let _ = socket.stream.set_nodelay(true);
                    let greeting =
                        ClientRequest { id: GREETING, timeout_ms: GREETING_MS, op: Op::Status };
                    socket.asked.push_back(GREETING);
                    encode_request(&greeting, &mut socket.outgoing);
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
        let connected = |socket: &&mut Socket| socket.stage != Stage::Connecting;
        let Some(socket) = self.conns.get_mut(&conn).filter(connected) else {
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
            match (socket.stage, reply) {
                (Stage::Open, reply) => {
                    self.news.push(Event::Received { conn, end: reply.end });
                }
                (_, ClientReply { end: End::Refused(why), .. }) => {
                    return self.end(conn, Trouble::Lost(refused(why).to_owned()));
                }
                (_, _) => {
                    socket.stage = Stage::Open;
                    self.news.push(Event::Connected(conn));
                }
            }
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
        let Some(socket) = self.conns.remove(&conn) else {
            return;
        };
        self.trouble(socket.endpoint, why);
        match socket.stage {
            Stage::Open => self.news.push(Event::Closed(conn)),
            Stage::Connecting | Stage::Greeting if socket.others.is_empty() => {
                self.news.push(Event::ConnectFailed(conn));
            }
            Stage::Connecting | Stage::Greeting => {
                self.connect_next(conn, socket.endpoint, socket.others, None);
            }
        }
    }

    fn trouble(&mut self, endpoint: usize, why: Trouble) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.trouble = Some(why);
        }
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
