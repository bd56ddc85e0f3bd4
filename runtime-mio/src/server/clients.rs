//! Connections of clients. Requests may be pipelined; answers leave in the order in which the
//! requests came, however late one of them becomes ready.

use super::client::{self, Client, Fault};
use super::line::Line;
use super::places::{CONTROL, Places};
use super::room::Room;
use crate::net::Conn;
use mio::net::TcpStream;
use mio::{Registry, Token};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use std::{io, mem};
use zabkeeper_core::replica::{ClientRequest, Request};
use zabkeeper_core::store::{Answer, MAX_PAGE_BYTES, Query};
use zabkeeper_core::words::{Instant, Micros, ReadLevel, RefuseReason, Ticket};
use zabkeeper_proto::client::OpResult;

/// How long a client may stay that came when all places were taken.
const CONTROL_STAY: Micros = Micros::millis(5_000);
/// Who holds much while others wait for room must get on within this time.
const HOARD: Micros = Micros::millis(1_000);
/// How many of them go at a time.
const HOARDERS: usize = 8;

/// All client connections, and who waits for which ticket. What is looked up by are numbers that
/// this node counts itself: nobody outside can choose them, and a plain hash does.
pub(super) struct Clients {
    conns: FxHashMap<Token, Client>,
    waiting: FxHashMap<Ticket, Waiter>,
    next_ticket: u64,
    limits: Limits,
    places: Places,
    room: Room,
    /// Since when more is held than may be.
    over_since: Option<Instant>,
    /// Those that came when all places were taken, the oldest first.
    controls: VecDeque<Token>,
    /// Connections with something to write, in the order in which they get their turn.
    dirty: Line,
    /// Connections that something may be wrong with if it goes on.
    watched: FxHashSet<Token>,
    /// When all are looked at for having said nothing for long.
    next_idle: Instant,
    /// Who waits for room: with a large request, and with a listing.
    large: VecDeque<Token>,
    /// The latter apart for those of the node's own state, which come second.
    pages: [VecDeque<Token>; 2],
    /// Listings whose turn it is.
    due: Vec<ClientRequest<Query>>,
    making: Making,
}

/// The listings that the tree makes or will make next. Other reads wait behind them.
#[derive(Debug)]
struct Making {
    /// Of the node's own state, and those that wait for a leader's word first, for which the former do
    /// not wait.
    local: usize,
    confirmed: usize,
    /// About the bytes of a large one, as they were of late.
    typical: usize,
}

impl Making {
    /// Bytes that may be in the making, at least one page.
    const MOST: usize = 4 << 20;

    fn pages(&mut self, local: bool) -> &mut usize {
        if local { &mut self.local } else { &mut self.confirmed }
    }

    fn has_place(&self, local: bool) -> bool {
        let pages = if local { self.local } else { self.confirmed };
        pages == 0 || pages.saturating_mul(self.typical) < Self::MOST
    }

    fn begin(&mut self, local: bool) {
        *self.pages(local) += 1;
    }

    /// One is over: with so many bytes, if it was made.
    fn end(&mut self, local: bool, bytes: Option<usize>) {
        let pages = self.pages(local);
        *pages = pages.saturating_sub(1);
        if let Some(bytes) = bytes {
            self.typical = bytes.max(self.typical - self.typical / 16);
        }
    }
}

/// What a client connection may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) requests: usize,
    pub(super) buffer: usize,
    pub(super) stall: Micros,
    /// Bytes a second that a client must take of its answers.
    pub(super) rate: usize,
    /// How long a request may be incomplete.
    pub(super) request: Micros,
    /// How long a client may say nothing.
    pub(super) idle: Micros,
}

/// Who gets an answer.
enum Waiter {
    Client { token: Token, slot: u64 },
    Caller(SyncSender<OpResult>),
}

impl Clients {
    pub(super) fn new(limits: Limits, places: Places, room: Room) -> Self {
        Self {
            conns: FxHashMap::default(),
            waiting: FxHashMap::default(),
            next_ticket: 0,
            limits,
            places,
            room,
            over_since: None,
            controls: VecDeque::new(),
            dirty: Line::default(),
            watched: FxHashSet::default(),
            next_idle: Instant::default(),
            large: VecDeque::new(),
            pages: Default::default(),
            due: Vec::new(),
            making: Making { local: 0, confirmed: 0, typical: MAX_PAGE_BYTES },
        }
    }

    /// Takes in a connection. `Ok(false)` if all places are taken: then it only gets the status, for
    /// a moment.
    pub(super) fn accept(
        &mut self,
        stream: TcpStream,
        addr: SocketAddr,
        token: Token,
        registry: &Registry,
        now: Instant,
    ) -> io::Result<bool> {
        let conn = Conn::new(stream, addr, token, registry)?;
        conn.tune()?;
        let placed = self.places.take(addr.ip());
        if !placed {
            self.controls.push_back(token);
            self.watched.insert(token);
        }
        if self.conns.is_empty() {
            self.next_idle = now.after(self.limits.idle);
        }
        self.conns.insert(token, Client::new(conn, !placed, now));
        Ok(placed)
    }

    /// The client that must go before another one is told that all places are taken.
    pub(super) fn oldest_control(&self) -> Option<Token> {
        self.controls.front().copied().filter(|_| self.controls.len() > CONTROL)
    }

    /// The client that has said nothing for the longest time.
    pub(super) fn stalest(&self) -> Option<Token> {
        self.conns.iter().min_by_key(|(_, client)| client.heard).map(|(token, _)| *token)
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
        self.room.change(client.charge, 0);
        if client.page > 0 {
            self.making.end(client.page_is_local, None);
        }
        if client.control {
            self.controls.retain(|other| *other != token);
        } else {
            self.places.give_back(client.addr);
        }
        self.watched.remove(&token);
        let open = client.slots.iter().filter(|slot| slot.result.is_none());
        let tickets: Vec<Ticket> = open.filter_map(|slot| slot.ticket).collect();
        for ticket in &tickets {
            self.waiting.remove(ticket);
        }
        tickets
    }

    /// True if this client may have another request taken.
    pub(super) fn may_ask(&self, token: Token) -> bool {
        let over = self.room.is_over();
        self.conns.get(&token).is_some_and(|client| {
            let waits = over && client.charge > super::room::LARGE && !client.slots.is_empty();
            !waits && client.may_ask(self.limits.requests, self.limits.buffer)
        })
    }

    /// Opens a slot for a client's request `id` and names it by a ticket. A listing is then given
    /// to [`Clients::list`].
    pub(super) fn begin(&mut self, token: Token, id: u64, lists: bool) -> Option<Ticket> {
        let client = self.conns.get_mut(&token)?;
        self.next_ticket += 1;
        let ticket = Ticket::new(self.next_ticket);
        let slot = client.open(id, lists, ticket);
        self.waiting.insert(ticket, Waiter::Client { token, slot });
        Some(ticket)
    }

    /// Takes a listing, which is due once the one before it on this connection was put into the
    /// buffer, and there is room for a page and a place among those that are made.
    pub(super) fn list(&mut self, token: Token, request: ClientRequest<Query>) {
        if let Some(client) = self.conns.get_mut(&token) {
            client.later.push_back(request);
            self.next_listing(token);
        }
    }

    fn next_listing(&mut self, token: Token) {
        let Some(client) = self.conns.get_mut(&token).filter(|client| client.may_list()) else {
            return;
        };
        let local = client.later.front().is_some_and(is_local);
        if self.room.has(MAX_PAGE_BYTES) && self.making.has_place(local) {
            client.next_listing(&mut self.due);
            client.page_is_local = local;
            self.making.begin(local);
            self.settle(token);
        } else if !mem::replace(&mut client.waits_for_page, true) {
            self.pages[usize::from(local)].push_back(token);
        }
    }

    /// The listings to make now.
    pub(super) fn take_due(&mut self, into: &mut Vec<ClientRequest<Query>>) {
        for local in [false, true] {
            while self.room.has(MAX_PAGE_BYTES)
                && self.making.has_place(local)
                && let Some(token) = self.pages[usize::from(local)].pop_front()
            {
                if let Some(client) = self.conns.get_mut(&token) {
                    client.waits_for_page = false;
                    self.next_listing(token);
                }
            }
        }
        into.append(&mut self.due);
    }

    /// Asks for room for a request of so many bytes; if there is none, the client is in line for it.
    pub(super) fn grant(&mut self, token: Token, bytes: usize) -> bool {
        let Some(client) = self.conns.get_mut(&token) else { return false };
        if client.granted >= bytes {
            return true;
        }
        if !self.room.has(bytes) {
            if mem::replace(&mut client.wants, bytes) == 0 {
                self.large.push_back(token);
            }
            return false;
        }
        client.granted = bytes;
        client.wants = 0;
        client.conn.expect(bytes);
        self.settle(token);
        true
    }

    /// The next client that has waited for room which is there now.
    pub(super) fn next_granted(&mut self) -> Option<Token> {
        while let Some(token) = self.large.front().copied() {
            let wants = self.conns.get(&token).map_or(0, |client| client.wants);
            if wants > 0 && !self.room.has(wants) {
                return None;
            }
            self.large.pop_front();
            if let Some(client) = self.conns.get_mut(&token).filter(|_| wants > 0) {
                client.wants = 0;
                self.grant(token, wants);
                return Some(token);
            }
        }
        None
    }

    /// True if little is to be read at a time from a client that was granted nothing.
    pub(super) fn is_short(&self) -> bool {
        self.room.is_short()
    }

    /// Counts anew what a client holds.
    pub(super) fn settle(&mut self, token: Token) {
        if let Some(client) = self.conns.get_mut(&token) {
            if self.room.is_short() {
                client.conn.trim();
            }
            let weight = client.weight();
            self.room.change(mem::replace(&mut client.charge, weight), weight);
            if client.is_watched() {
                self.watched.insert(token);
            }
        }
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
            client.open_answered(id, result);
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
                let page = matches!(&result, OpResult::Read { answer: Answer::List(Some(_)), .. });
                let (bytes, making) = (client::weight(&result), client.page > 0);
                let lists = client.answer(slot, result);
                if lists && making {
                    self.making.end(client.page_is_local, page.then_some(bytes));
                }
                if let Some(why) = why.filter(|_| lists) {
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
        for request in mem::take(&mut client.later) {
            if let Some(Waiter::Client { slot, .. }) = self.waiting.remove(&request.ticket) {
                client.refuse(slot, OpResult::Refused(why));
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
            self.dirty.push(token, client.heavy, Instant::default());
        }
    }

    /// True if some connection has something to write.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// How many connections have something to write.
    pub(super) fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// The next connection to write.
    pub(super) fn next_dirty(&mut self) -> Option<Token> {
        self.dirty.pop()
    }

    /// Sends one connection the answers that are due, as far as its socket takes them. What to do
    /// with it then is the caller's to decide.
    pub(super) fn write(&mut self, token: Token, now: Instant) -> Written {
        let Some(client) = self.conns.get_mut(&token) else {
            return Written::Fine;
        };
        client.dirty = false;
        client.encode_ready(self.limits.buffer);
        let before = client.conn.taken();
        if client.conn.write().is_err() {
            return Written::Broken;
        }
        client.wrote(before, now);
        self.next_listing(token);
        self.settle(token);
        let Some(client) = self.conns.get_mut(&token) else {
            return Written::Fine;
        };
        if client.conn.backlog() > 0 {
            return Written::Fine;
        }
        match client.slots.front() {
            Some(slot) if slot.result.is_some() => Written::MoreToSend,
            _ if client.paused => Written::MayGoOn,
            // One that is in line still has requests here that were not taken.
            None if client.ended && !client.queued && !client.blocked => Written::Done,
            _ => Written::Fine,
        }
    }

    /// When the clients are to be looked at next.
    pub(super) fn next_look(&self, soon: Instant) -> Option<Instant> {
        match self.watched.is_empty() {
            false => Some(soon),
            true => (!self.conns.is_empty()).then_some(self.next_idle),
        }
    }

    /// Clients that have to go, and why.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(Token, Fault)> {
        let Limits { stall, rate, request, idle, .. } = self.limits;
        let mut overdue = Vec::new();
        let conns = &mut self.conns;
        self.watched.retain(|token| {
            let Some(client) = conns.get_mut(token) else { return false };
            if client.control && now.since(client.heard) > CONTROL_STAY {
                overdue.push((*token, Fault::Idle));
            } else if let Some(fault) = client.fault(now, (request, stall, rate)) {
                overdue.push((*token, fault));
            }
            client.is_watched()
        });
        if self.next_idle <= now {
            let late = |client: &Client| client.is_idle() && now.since(client.heard) > idle;
            let idle = self.conns.iter().filter(|(_, client)| late(client));
            overdue.extend(idle.map(|(token, _)| (*token, Fault::Idle)));
            self.next_idle = now.after(Micros::new(self.limits.idle.get() / 8 + 1));
        }
        self.hoarders(now, &mut overdue);
        overdue
    }

    /// While others wait for room: those who hold most of it and do not get on. If that does not
    /// help, whoever holds most.
    fn hoarders(&mut self, now: Instant, overdue: &mut Vec<(Token, Fault)>) {
        if self.room.is_over() {
            self.over_since.get_or_insert(now);
        } else {
            self.over_since = None;
        }
        let waits = !self.large.is_empty() || self.pages.iter().any(|line| !line.is_empty());
        if !waits && self.over_since.is_none() {
            return;
        }
        let watched = self.watched.iter().filter_map(|token| {
            let client = self.conns.get(token)?;
            client.hoards(now, HOARD).then_some((client.charge, *token))
        });
        let mut hoarders: Vec<_> = watched.collect();
        hoarders.sort_unstable_by(|a, b| b.cmp(a));
        hoarders.truncate(HOARDERS);
        let over = self.over_since.is_some_and(|since| now.since(since) > HOARD);
        if hoarders.is_empty() && over {
            let most = self.conns.iter().max_by_key(|(_, client)| client.charge);
            hoarders.extend(most.map(|(token, client)| (client.charge, *token)));
            self.over_since = Some(now);
        }
        overdue.extend(hoarders.into_iter().map(|(_, token)| (token, Fault::Greedy)));
    }

    /// True if nobody waits for an answer, nor for its last bytes.
    pub(super) fn settled(&self) -> bool {
        self.waiting.is_empty() && self.conns.values().all(Client::is_idle)
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

/// True if the read is of the node's own state: it waits for nobody else's word.
fn is_local(read: &ClientRequest<Query>) -> bool {
    matches!(read.request, Request::Read { level: ReadLevel::Local(_), .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_large_pages_are_made_at_a_time_and_many_small_ones() {
        let mut making = Making { local: 0, confirmed: 0, typical: MAX_PAGE_BYTES };
        let fill = |making: &mut Making, local| {
            while making.has_place(local) {
                making.begin(local);
            }
            *making.pages(local)
        };
        assert_eq!(fill(&mut making, false), 4);
        // Those that wait for a leader leave the others their places.
        assert_eq!(fill(&mut making, true), 4);
        // What was refused or found nothing says nothing of the size of a page.
        for _ in 0..200 {
            making.end(true, None);
            making.begin(true);
        }
        assert!(!making.has_place(true));
        for _ in 0..200 {
            making.end(true, Some(1000));
            making.begin(true);
        }
        assert!(fill(&mut making, true) > 1000, "{making:?}");
        // One large page is enough to be careful again.
        making.end(true, Some(MAX_PAGE_BYTES));
        assert!(!making.has_place(true));
        (making.local, making.typical) = (0, usize::MAX);
        assert!(making.has_place(true));
    }
}
