//! Connections of clients. Requests may be pipelined; answers leave in the order in which the
//! requests came, however late one of them becomes ready.

use super::wire;
use crate::net::Conn;
use mio::net::TcpStream;
use mio::{Registry, Token};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use zabkeeper_core::ids::Ticket;
use zabkeeper_core::message::RefuseReason;
use zabkeeper_core::replica::ClientRequest;
use zabkeeper_core::time::{Instant, Micros};
use zabkeeper_core::tree::Query;
use zabkeeper_proto::client::{ClientReply, OpResult};

/// All client connections, and who waits for which ticket. What is looked up by are numbers that
/// this node counts itself: nobody outside can choose them, and a plain hash does.
pub(super) struct Clients {
    conns: FxHashMap<Token, Client>,
    waiting: FxHashMap<Ticket, Waiter>,
    next_ticket: u64,
    limits: Limits,
    /// Connections with something to write.
    dirty: Vec<Token>,
    /// Connections whose socket did not take all that was written.
    stuck: FxHashSet<Token>,
    /// Listings whose turn it is.
    due: Vec<ClientRequest<Query>>,
}

/// What a client connection may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) clients: usize,
    pub(super) requests: usize,
    pub(super) buffer: usize,
    pub(super) stall: Micros,
}

/// One client connection.
pub(super) struct Client {
    pub(super) conn: Conn,
    /// True once the client has said all it had to say; it may still read.
    pub(super) ended: bool,
    /// True if it must be looked at again when answers have left.
    pub(super) paused: bool,
    /// True while it is in line for being read.
    pub(super) queued: bool,
    dirty: bool,
    /// True while a page of a listing is being made, or waits to be sent.
    lists: bool,
    /// The listings that it asked for and that are not being made yet. Pages are large, so that a
    /// client gets one at a time, however many it asks for.
    later: VecDeque<ClientRequest<Query>>,
    /// Requests without an answer on its way, oldest first; the first has the number `first`.
    slots: VecDeque<Slot>,
    first: u64,
}

struct Slot {
    id: u64,
    /// True if the next listing is due when this is answered.
    lists: bool,
    ticket: Option<Ticket>,
    result: Option<OpResult>,
}

/// Who gets an answer.
enum Waiter {
    Client { token: Token, slot: u64 },
    Caller(SyncSender<OpResult>),
}

impl Clients {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            conns: FxHashMap::default(),
            waiting: FxHashMap::default(),
            next_ticket: 0,
            limits,
            dirty: Vec::new(),
            stuck: FxHashSet::default(),
            due: Vec::new(),
        }
    }

    /// Takes in a connection. `Ok(false)` if there are as many as may be.
    pub(super) fn accept(
        &mut self,
        stream: TcpStream,
        addr: SocketAddr,
        token: Token,
        registry: &Registry,
    ) -> io::Result<bool> {
        if self.conns.len() >= self.limits.clients {
            return Ok(false);
        }
        let conn = Conn::new(stream, addr, token, registry)?;
        conn.tune()?;
        let client = Client {
            conn,
            ended: false,
            paused: false,
            queued: false,
            dirty: false,
            lists: false,
            later: VecDeque::new(),
            slots: VecDeque::new(),
            first: 0,
        };
        self.conns.insert(token, client);
        Ok(true)
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Client> {
        self.conns.get_mut(&token)
    }

    /// Closes a connection. Returns the tickets for which nobody waits any more.
    pub(super) fn remove(&mut self, token: Token, registry: &Registry) -> Vec<Ticket> {
        let Some(mut client) = self.conns.remove(&token) else {
            return Vec::new();
        };
        client.conn.deregister(registry);
        self.stuck.remove(&token);
        let open = client.slots.iter().filter(|slot| slot.result.is_none());
        let tickets: Vec<Ticket> = open.filter_map(|slot| slot.ticket).collect();
        for ticket in &tickets {
            self.waiting.remove(ticket);
        }
        tickets
    }

    /// True if this client may have another request taken.
    pub(super) fn may_ask(&self, token: Token) -> bool {
        self.conns.get(&token).is_some_and(|client| client.slots.len() < self.limits.requests)
    }

    /// Opens a slot for a client's request `id` and names it by a ticket. A listing is then given
    /// to [`Clients::list`].
    pub(super) fn begin(&mut self, token: Token, id: u64, lists: bool) -> Option<Ticket> {
        let client = self.conns.get_mut(&token)?;
        self.next_ticket += 1;
        let ticket = Ticket::new(self.next_ticket);
        let slot = client.first + client.slots.len() as u64;
        client.slots.push_back(Slot { id, lists, ticket: Some(ticket), result: None });
        self.waiting.insert(ticket, Waiter::Client { token, slot });
        Some(ticket)
    }

    /// Takes a listing, which is due once the one before it on this connection was put into the
    /// buffer.
    pub(super) fn list(&mut self, token: Token, request: ClientRequest<Query>) {
        if let Some(client) = self.conns.get_mut(&token) {
            client.later.push_back(request);
            client.next_listing(&mut self.due);
        }
    }

    /// The listings to make now.
    pub(super) fn take_due(&mut self, into: &mut Vec<ClientRequest<Query>>) {
        into.append(&mut self.due);
    }

    /// Names a request of this process itself.
    pub(super) fn begin_call(&mut self, answer: SyncSender<OpResult>) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket::new(self.next_ticket);
        self.waiting.insert(ticket, Waiter::Caller(answer));
        ticket
    }

    /// Answers a request at once, in its turn.
    pub(super) fn answer(&mut self, token: Token, id: u64, result: OpResult) {
        if let Some(client) = self.conns.get_mut(&token) {
            client.slots.push_back(Slot { id, lists: false, ticket: None, result: Some(result) });
            self.send_ready(token);
        }
    }

    /// Hands over the answer to a ticket.
    pub(super) fn reply(&mut self, ticket: Ticket, result: OpResult) {
        match self.waiting.remove(&ticket) {
            // The client is gone.
            None => {}
            // So may be the caller.
            Some(Waiter::Caller(answer)) => drop(answer.try_send(result)),
            Some(Waiter::Client { token, slot }) => {
                let Some(client) = self.conns.get_mut(&token) else {
                    return;
                };
                let why = match &result {
                    OpResult::Refused(why) => Some(*why),
                    _ => None,
                };
                let Some(slot) = client.slot_mut(slot) else { return };
                slot.result = Some(result);
                if let Some(why) = why.filter(|_| slot.lists) {
                    self.refuse_later(token, why);
                }
                self.send_ready(token);
            }
        }
    }

    /// A listing was refused after all the time it had, so those that wait behind it are too: else
    /// each would take that time again, and all that was asked behind them would wait for it.
    fn refuse_later(&mut self, token: Token, why: RefuseReason) {
        let Some(client) = self.conns.get_mut(&token) else { return };
        for request in std::mem::take(&mut client.later) {
            if let Some(Waiter::Client { slot, .. }) = self.waiting.remove(&request.ticket)
                && let Some(slot) = client.slot_mut(slot)
            {
                // None of them was ever being made.
                slot.lists = false;
                slot.result = Some(OpResult::Refused(why));
            }
        }
    }

    /// Has the answers that are due sent at the end of the turn.
    fn send_ready(&mut self, token: Token) {
        let due = |client: &Client| client.slots.front().is_some_and(|slot| slot.result.is_some());
        if self.conns.get(&token).is_some_and(due) {
            self.touch(token);
        }
    }

    /// Has the connection written at the end of the turn.
    pub(super) fn touch(&mut self, token: Token) {
        if let Some(client) = self.conns.get_mut(&token)
            && !client.dirty
        {
            client.dirty = true;
            self.dirty.push(token);
        }
    }

    /// True if some connection has something to write.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The connections to write now.
    pub(super) fn take_dirty(&mut self, into: &mut Vec<Token>) {
        into.append(&mut self.dirty);
    }

    /// Sends one connection the answers that are due, as far as its socket takes them. What to do
    /// with it then is the caller's to decide.
    pub(super) fn write(&mut self, token: Token, now: Instant) -> Written {
        let Some(client) = self.conns.get_mut(&token) else {
            return Written::Fine;
        };
        client.dirty = false;
        client.encode_ready(self.limits.buffer);
        if client.conn.write(now).is_err() {
            return Written::Broken;
        }
        client.next_listing(&mut self.due);
        if client.conn.backlog() > 0 {
            self.stuck.insert(token);
            return Written::Fine;
        }
        self.stuck.remove(&token);
        match client.slots.front() {
            Some(slot) if slot.result.is_some() => Written::MoreToSend,
            _ if client.paused => Written::MayGoOn,
            None if client.ended => Written::Done,
            _ => Written::Fine,
        }
    }

    /// True if some client is watched for not reading.
    pub(super) fn watched(&self) -> bool {
        !self.stuck.is_empty()
    }

    /// Clients that have read nothing for too long.
    pub(super) fn overdue(&self, now: Instant) -> Vec<Token> {
        let since = |token: &Token| self.conns.get(token)?.conn.stuck_since();
        let late =
            |token: &&Token| since(token).is_some_and(|since| now.since(since) > self.limits.stall);
        self.stuck.iter().filter(late).copied().collect()
    }

    /// True if nobody waits for an answer, nor for its last bytes.
    pub(super) fn settled(&self) -> bool {
        self.waiting.is_empty() && self.conns.values().all(Client::is_idle)
    }
}

impl Client {
    /// Puts the answers that are due into the connection's buffer, up to about `enough` bytes.
    /// The others stay what they are, mostly shared with the tree, until there is room.
    fn encode_ready(&mut self, enough: usize) {
        while self.conn.backlog() < enough {
            let Some(mut slot) = self.slots.pop_front_if(|slot| slot.result.is_some()) else {
                return;
            };
            self.first += 1;
            self.lists &= !slot.lists;
            if let Some(result) = slot.result.take() {
                wire::put_reply(&ClientReply { id: slot.id, result }, self.conn.output());
            }
        }
    }

    /// The slot with this number, unless its answer was sent.
    fn slot_mut(&mut self, number: u64) -> Option<&mut Slot> {
        let index = usize::try_from(number.wrapping_sub(self.first)).ok()?;
        self.slots.get_mut(index)
    }

    /// Makes the next listing due if none is under way.
    fn next_listing(&mut self, due: &mut Vec<ClientRequest<Query>>) {
        if !self.lists
            && let Some(next) = self.later.pop_front()
        {
            self.lists = true;
            due.push(next);
        }
    }

    /// True if no request waits for its answer.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.conn.backlog() == 0
    }
}

/// How a write went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Written {
    /// Nothing else to do.
    Fine,
    /// The client was not read because too much waited for it; now it may be.
    MayGoOn,
    /// It has all it asked for, and has said that it will ask no more.
    Done,
    /// There are more answers for the next turn.
    MoreToSend,
    /// The connection is broken.
    Broken,
}
