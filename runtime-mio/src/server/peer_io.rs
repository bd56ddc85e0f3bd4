//! The loop's part for connections between nodes.

use super::event_loop::{EventLoop, MESSAGES, SHARE_BYTES, SWEEP};
use super::peers::{Stage, conn_id};
use super::{lanes, wire};
use crate::net::Drained;
use crate::notes;
use log::Level;
use mio::Token;
use std::io::{self, ErrorKind};
use std::mem;
use zabkeeper_core::words::{ConnId, NodeId, Now};
use zabkeeper_core::zab::{CloseReason, Event, Message};
use zabkeeper_proto::frame::MAX_PEER_BODY;

/// Connections taken in one turn: few beside the number of strangers that are borne, so that who says
/// at once who it is does so before others can take its place.
const ACCEPTS: usize = 16;

/// The longest first message of a node that connects to this one.
const GREETING: usize = 4 << 10;

impl EventLoop {
    pub(super) fn accept_peers(&mut self, now: Now) {
        if !mem::take(&mut self.work.ready.messages) {
            return;
        }
        for _ in 0..ACCEPTS {
            let (stream, from) = match self.messages.accept() {
                Ok(accepted) => accepted,
                Err(error) => return self.accept_failed(now, MESSAGES, &error),
            };
            let token = self.next_token();
            if let Some(oldest) = self.peers.surplus() {
                let text = "too many unknown peer connections; closed the oldest of the address \
                            that has the most of them";
                self.complain("peer.too_many", Level::Warn, now, text);
                self.lose_peer(now, oldest);
            }
            match self.peers.accept(stream, from, token, self.poll.registry(), now.at) {
                Ok(()) => self.step(now, Event::Accepted(conn_id(token))),
                Err(error) => {
                    let text = format!("cannot take the peer connection of {from}: {error}");
                    self.complain("peer.broken", Level::Warn, now, &text);
                }
            }
        }
        self.work.ready.messages = true;
    }

    pub(super) fn accept_failed(&mut self, now: Now, listener: Token, error: &io::Error) {
        match error.kind() {
            ErrorKind::WouldBlock => return,
            ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
            _ => {
                let text = format!("cannot accept connections: {error}");
                self.complain("accept.failed", Level::Error, now, &text);
                let code = error.raw_os_error();
                let descriptors = [libc::EMFILE, libc::ENFILE].map(Some).contains(&code);
                if descriptors && listener == MESSAGES && self.shed_client(now) {
                    self.work.ready.messages = true;
                }
                // Most likely there are no file descriptors left: the sweep tries again.
                self.work.sweep_at.get_or_insert(now.at.after(SWEEP));
                self.work.retry_accept = true;
                return;
            }
        }
        match listener {
            MESSAGES => self.work.ready.messages = true,
            _ => self.work.ready.requests = true,
        }
    }

    pub(super) fn dial(&mut self, now: Now, to: NodeId) {
        let membership = self.replica.node().ensemble().latest();
        let name = membership.members().get(&to).map(|m| m.message_addr.as_str());
        let addr = name.and_then(|name| self.names.lookup(name, now.at));
        let Some(addr) = addr else {
            self.work.events.push_back(Event::ConnectFailed(to));
            return;
        };
        let token = self.next_token();
        let registry = self.poll.registry();
        if let Err(error) = self.peers.dial(to, addr, token, registry, now.at) {
            log::debug!("{}: cannot connect to {to} at {addr}: {error}", self.shared.node);
            self.work.events.push_back(match error.kind() {
                ErrorKind::ConnectionRefused => Event::ConnectRefused(to),
                _ => Event::ConnectFailed(to),
            });
        }
    }

    pub(super) fn read_peers(&mut self, now: Now) {
        for _ in 0..self.work.ready.peers.len() {
            let Some(id) = self.work.ready.peers.pop_front() else {
                return;
            };
            if self.read_peer(now, id) {
                self.work.ready.peers.push_back(id);
            }
        }
    }

    /// Reads one peer's share. True if there may be more.
    fn read_peer(&mut self, now: Now, id: ConnId) -> bool {
        if !self.finish_dial(now, id) {
            return false;
        }
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        let before = peer.conn.unread().len();
        let drained = peer.conn.read(SHARE_BYTES);
        let heard = peer.conn.unread().len() > before && peer.stage == Stage::Open;
        let mut said = false;
        loop {
            let Some(peer) = self.peers.get_mut(id) else {
                return false;
            };
            // Whoever has not said who it is gets no room for more than that.
            let limit = if peer.stage == Stage::Stranger { GREETING } else { MAX_PEER_BODY };
            match wire::peer_message(peer.conn.unread(), limit, &mut peer.assembly) {
                Ok(None) => break,
                Ok(Some((msg, size))) => {
                    peer.conn.consume(size);
                    let Some(msg) = msg else { continue };
                    peer.stage = Stage::Open;
                    said = true;
                    self.step(now, Event::Received { conn: id, msg });
                }
                Err(error) => {
                    let text = format!(
                        "closed the connection {id} of the peer at {}: {error}",
                        peer.conn.peer()
                    );
                    self.complain(error.counter_peer(), Level::Warn, now, &text);
                    self.lose_peer(now, id);
                    return false;
                }
            }
        }
        if heard && !said {
            self.step(now, Event::Heard(id));
        }
        match drained {
            Ok(Drained::Dry) => false,
            Ok(Drained::More) => true,
            Ok(Drained::Ended) => {
                if self.peers.get_mut(id).is_some_and(|p| !p.conn.unread().is_empty()) {
                    self.shared.counters.add("peer.truncated");
                }
                log::debug!("{}: {id} was closed by the peer", self.shared.node);
                self.lose_peer(now, id);
                false
            }
            Err(error) => {
                log::debug!("{}: {id} broke: {error}", self.shared.node);
                self.lose_peer(now, id);
                false
            }
        }
    }

    /// Sees whether an attempt to connect came to its end. True if the connection may be read.
    fn finish_dial(&mut self, now: Now, id: ConnId) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        let Stage::Dialling(to) = peer.stage else {
            return true;
        };
        match peer.conn.connected().and_then(|done| match done {
            Some(()) => peer.tune().map(|()| true),
            None => Ok(false),
        }) {
            Ok(true) => {
                peer.stage = Stage::Open;
                self.step(now, Event::Connected { conn: id, to });
                true
            }
            Ok(false) => false,
            Err(error) => {
                log::debug!("{}: cannot connect to {to}: {error}", self.shared.node);
                if error.kind() == ErrorKind::ConnectionRefused {
                    self.peers.remove(id, self.poll.registry());
                    self.step(now, Event::ConnectRefused(to));
                } else {
                    self.lose_peer(now, id);
                }
                false
            }
        }
    }

    /// Forgets a connection that is gone and tells the core.
    fn lose_peer(&mut self, now: Now, id: ConnId) {
        let event = match self.peers.remove(id, self.poll.registry()).map(|p| p.stage) {
            None => return,
            Some(Stage::Dialling(to)) => Event::ConnectFailed(to),
            Some(_) => Event::Closed(id),
        };
        self.step(now, event);
    }

    pub(super) fn send(&mut self, now: Now, to: &[ConnId], msg: &Message) {
        let mut bytes = mem::take(&mut self.work.bytes);
        bytes.clear();
        wire::put_message(msg, &mut bytes);
        let overtakes = lanes::overtakes(msg);
        for id in to {
            if self.peers.push(*id, &bytes, overtakes) {
                continue;
            }
            let Some(peer) = self.peers.get_mut(*id) else {
                continue;
            };
            let text = format!(
                "dropped the peer at {}: {} bytes wait for it, and it does not take them",
                peer.conn.peer(),
                peer.backlog()
            );
            self.complain("peer.too_slow", Level::Warn, now, &text);
            self.peers.remove(*id, self.poll.registry());
            self.work.events.push_back(Event::Closed(*id));
        }
        self.work.bytes = bytes;
    }

    pub(super) fn close_by_core(&mut self, id: ConnId, why: &CloseReason) {
        let Some(mut peer) = self.peers.remove(id, self.poll.registry()) else {
            return;
        };
        log::debug!("{}: closing {id}: {}", self.shared.node, notes::close_reason(why));
        // The last message may say why. If the socket does not take it now, it is not sent.
        let _ = peer.write();
    }

    pub(super) fn write_peer(&mut self, now: Now, id: ConnId) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        peer.dirty = false;
        // Writing to a socket that is not connected yet tells nothing; reading finds out.
        if !self.finish_dial(now, id) {
            return;
        }
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if let Err(error) = peer.write() {
            log::debug!("{}: {id} broke: {error}", self.shared.node);
            self.lose_peer(now, id);
        }
    }

    pub(super) fn drop_overdue_peer(&mut self, now: Now, id: ConnId) {
        if let Some(peer) = self.peers.get_mut(id) {
            let addr = peer.conn.peer();
            let text = match peer.stage {
                Stage::Dialling(to) => format!("{to} at {addr} does not answer"),
                _ => format!("closed the peer connection of {addr}: it said nothing"),
            };
            self.complain("peer.silent", Level::Warn, now, &text);
            self.lose_peer(now, id);
        }
    }
}
