//! The sockets of clients, and those of this process who wait for an answer. What is taken of them
//! and what they are told is the service's to decide: see [`zabkeeper_core::service`].

use super::wire;
use crate::net::Conn;
use mio::net::TcpStream;
use mio::{Registry, Token};
use rustc_hash::FxHashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use zabkeeper_core::service::{Service, place};
use zabkeeper_core::store::Answer;
use zabkeeper_core::words::{ConnId, End, Instant};
use zabkeeper_proto::client::ClientReply;

/// What tells the tokens of clients from all others.
const CLIENT: usize = 1 << (usize::BITS - 1);

/// All clients.
pub(super) struct Clients {
    pub(super) service: Service,
    /// By the place that the service gives them.
    sockets: Vec<Option<Socket>>,
    /// Who of this process waits for an answer.
    callers: FxHashMap<u64, SyncSender<End<Answer>>>,
    last_call: u64,
}

/// One connection.
pub(super) struct Socket {
    pub(super) conn: Conn,
    id: ConnId,
    /// Bytes of a request that is too long, still to come: they are dropped.
    pub(super) skip: usize,
    /// True once the client has said all it had to say.
    pub(super) ended: bool,
}

/// The token of a client.
#[allow(clippy::cast_possible_truncation, reason = "names of connections are far below 2^63")]
const fn token(conn: ConnId) -> Token {
    Token(CLIENT | conn.get() as usize)
}

/// The client of a token, if it is one's.
pub(super) fn client_of(token: Token) -> Option<ConnId> {
    (token.0 & CLIENT != 0).then(|| ConnId::new((token.0 & !CLIENT) as u64))
}

impl Clients {
    pub(super) fn new(service: Service) -> Self {
        Self { service, sockets: Vec::new(), callers: FxHashMap::default(), last_call: 0 }
    }

    /// Takes in a connection. `Ok(false)` if all places are taken.
    pub(super) fn accept(
        &mut self,
        stream: TcpStream,
        addr: SocketAddr,
        registry: &Registry,
        now: Instant,
    ) -> io::Result<bool> {
        let (id, placed) = self.service.opened(now, addr.ip());
        let open = || {
            let conn = Conn::new(stream, addr, token(id), registry)?;
            conn.tune()?;
            Ok(conn)
        };
        let conn = open().inspect_err(|_: &io::Error| self.service.closed(id))?;
        let at = place(id);
        if self.sockets.len() <= at {
            self.sockets.resize_with(at + 1, || None);
        }
        if let Some(socket) = self.sockets.get_mut(at) {
            *socket = Some(Socket { conn, id, skip: 0, ended: false });
        }
        Ok(placed)
    }

    pub(super) fn socket(&mut self, id: ConnId) -> Option<&mut Socket> {
        self.sockets.get_mut(place(id))?.as_mut().filter(|socket| socket.id == id)
    }

    /// Closes a connection.
    pub(super) fn close(&mut self, id: ConnId, registry: &Registry) {
        if let Some(socket) = self.sockets.get_mut(place(id))
            && let Some(mut closed) = socket.take_if(|socket| socket.id == id)
        {
            closed.conn.deregister(registry);
        }
        self.service.closed(id);
    }

    /// Names a request of this process itself.
    pub(super) fn call(&mut self, answer: SyncSender<End<Answer>>) -> u64 {
        self.last_call += 1;
        self.callers.insert(self.last_call, answer);
        self.last_call
    }

    /// Tells callers of this process how their requests ended. They may be gone.
    pub(super) fn tell_callers(&mut self) {
        while let Some((id, end)) = self.service.next_own() {
            if let Some(caller) = self.callers.remove(&id) {
                drop(caller.try_send(end));
            }
        }
    }

    /// Puts the answers that may leave into a connection's buffer and writes what the socket takes.
    /// `Ok(true)` if the client has all, and has said that it will ask no more.
    pub(super) fn write(&mut self, id: ConnId, now: Instant) -> io::Result<bool> {
        let socket = self.sockets.get_mut(place(id)).and_then(Option::as_mut);
        let Some(socket) = socket.filter(|socket| socket.id == id) else { return Ok(false) };
        let conn = &mut socket.conn;
        while let Some((name, end)) = self.service.next_answer(id, conn.backlog()) {
            wire::put_reply(&ClientReply { id: name, end }, conn.output());
        }
        conn.write()?;
        if self.service.is_short() {
            conn.trim();
        }
        let wrote = (conn.taken(), conn.backlog());
        Ok(self.service.wrote(now, id, wrote, conn.memory()))
    }
}
