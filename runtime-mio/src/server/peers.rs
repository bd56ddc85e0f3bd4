//! Connections between nodes, in both directions. Each socket has a connection id of its own for
//! ever, so that nothing of a dead connection can be taken for the living one.

use super::lanes::{AHEAD, Waiting};
use crate::net::Conn;
use mio::net::TcpStream;
use mio::{Registry, Token};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use zabkeeper_core::words::{ConnId, Instant, Micros, NodeId};
use zabkeeper_proto::pieces::Assembly;

/// Connections that nobody vouched for yet: for more, the oldest of the address that has the most
/// of them makes room.
const STRANGERS: usize = 64;

/// All peer connections.
pub(super) struct Peers {
    conns: BTreeMap<ConnId, Peer>,
    buffer: usize,
    /// How long an attempt to connect, and the wait for a first message, may take.
    patience: Micros,
    /// Connections with something to write.
    dirty: Vec<ConnId>,
}

/// One peer connection.
pub(super) struct Peer {
    pub(super) conn: Conn,
    waiting: Waiting,
    /// A long message that arrives in pieces.
    pub(super) assembly: Assembly,
    pub(super) stage: Stage,
    pub(super) dirty: bool,
    since: Instant,
}

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// This node asked for it; it is not open yet.
    Dialling(NodeId),
    /// Somebody opened it and has said nothing yet.
    Stranger,
    /// It is in use.
    Open,
}

impl Peer {
    /// How many bytes wait for the socket.
    pub(super) fn backlog(&self) -> usize {
        self.conn.backlog() + self.waiting.len()
    }

    /// Writes what the socket takes.
    pub(super) fn write(&mut self) -> io::Result<()> {
        self.waiting.write(&mut self.conn)
    }

    /// Sets what only a connected socket can be set to.
    pub(super) fn tune(&self) -> io::Result<()> {
        self.conn.tune()?;
        self.conn.hold_back(AHEAD)
    }
}

impl Peers {
    pub(super) fn new(buffer: usize, patience: Micros) -> Self {
        Self { conns: BTreeMap::new(), buffer, patience, dirty: Vec::new() }
    }

    /// Puts a frame in line for a connection, ahead of others if it `overtakes`; false if too much
    /// waits there already.
    pub(super) fn push(&mut self, id: ConnId, frame: &[u8], overtakes: bool) -> bool {
        let Some(peer) = self.conns.get_mut(&id) else {
            return true;
        };
        if peer.backlog() + frame.len() > self.buffer {
            return false;
        }
        peer.waiting.put(&mut peer.conn, frame, overtakes);
        self.touch(id);
        true
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Peer> {
        self.conns.get_mut(&id)
    }

    /// Begins to connect to `to`.
    pub(super) fn dial(
        &mut self,
        to: NodeId,
        addr: SocketAddr,
        token: Token,
        registry: &Registry,
        now: Instant,
    ) -> io::Result<()> {
        let stream = TcpStream::connect(addr)?;
        self.add(stream, addr, token, registry, Stage::Dialling(to), now)
    }

    /// The stranger that makes room for another one, if there are too many.
    pub(super) fn surplus(&self) -> Option<ConnId> {
        let mut by_address: BTreeMap<IpAddr, Vec<ConnId>> = BTreeMap::new();
        let strangers = self.conns.iter().filter(|(_, peer)| peer.stage == Stage::Stranger);
        for (id, peer) in strangers {
            by_address.entry(peer.conn.peer().ip()).or_default().push(*id);
        }
        let all: usize = by_address.values().map(Vec::len).sum();
        // Ids only grow: the first is the oldest.
        let most = by_address.into_values().max_by_key(Vec::len)?;
        most.first().copied().filter(|_| all >= STRANGERS)
    }

    /// Takes in a connection that somebody opened.
    pub(super) fn accept(
        &mut self,
        stream: TcpStream,
        addr: SocketAddr,
        token: Token,
        registry: &Registry,
        now: Instant,
    ) -> io::Result<()> {
        self.add(stream, addr, token, registry, Stage::Stranger, now)?;
        let id = conn_id(token);
        match self.conns.get(&id).map(Peer::tune) {
            Some(Err(error)) => {
                self.remove(id, registry);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn add(
        &mut self,
        stream: TcpStream,
        addr: SocketAddr,
        token: Token,
        registry: &Registry,
        stage: Stage,
        since: Instant,
    ) -> io::Result<()> {
        let conn = Conn::new(stream, addr, token, registry)?;
        let (waiting, assembly) = (Waiting::default(), Assembly::default());
        let peer = Peer { conn, waiting, assembly, stage, dirty: false, since };
        self.conns.insert(conn_id(token), peer);
        Ok(())
    }

    /// Forgets a connection and closes its socket.
    pub(super) fn remove(&mut self, id: ConnId, registry: &Registry) -> Option<Peer> {
        let mut peer = self.conns.remove(&id)?;
        peer.conn.deregister(registry);
        Some(peer)
    }

    /// Has the connection written at the end of the turn.
    pub(super) fn touch(&mut self, id: ConnId) {
        if let Some(peer) = self.conns.get_mut(&id)
            && !peer.dirty
        {
            peer.dirty = true;
            self.dirty.push(id);
        }
    }

    /// True if some connection is to be written.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The connections to write now.
    pub(super) fn take_dirty(&mut self, into: &mut Vec<ConnId>) {
        into.append(&mut self.dirty);
    }

    /// True if some connection is watched for being slow to come up.
    pub(super) fn watched(&self) -> bool {
        self.conns.values().any(|peer| peer.stage != Stage::Open)
    }

    /// Connections that did not come up in time.
    pub(super) fn overdue(&self, now: Instant) -> Vec<ConnId> {
        let late = |peer: &Peer| peer.stage != Stage::Open && now.since(peer.since) > self.patience;
        let overdue = self.conns.iter().filter(|(_, peer)| late(peer));
        overdue.map(|(id, _)| *id).collect()
    }
}

/// The connection id of a socket: its token, which is never used twice.
pub(super) fn conn_id(token: Token) -> ConnId {
    ConnId::new(token.0 as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_strangers_the_oldest_of_the_address_with_the_most_makes_room() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let poll = mio::Poll::new().unwrap();
        let mut peers = Peers::new(1 << 20, Micros::millis(1_000));
        let accept = |peers: &mut Peers, token: usize, from: &str| {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            listener.accept().unwrap();
            let from = format!("{from}:1").parse().unwrap();
            let now = Instant::default();
            peers.accept(stream, from, Token(token), poll.registry(), now).unwrap();
        };
        // A member that has not said yet who it is came first.
        accept(&mut peers, 1, "10.0.0.2");
        for token in 2..=STRANGERS {
            assert_eq!(peers.surplus(), None, "{token} are not too many");
            accept(&mut peers, token, "10.0.0.9");
        }
        assert_eq!(peers.surplus(), Some(conn_id(Token(2))));
        peers.remove(conn_id(Token(2)), poll.registry());
        assert_eq!(peers.surplus(), None);
    }
}
