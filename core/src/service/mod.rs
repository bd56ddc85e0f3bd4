//! The half of a node that speaks to clients, as a pure state machine: who may have a place, what is
//! taken of whom and when, what is refused, in which order answers leave, and who has to go.
//!
//! A [`Service`] knows no bytes and no sockets. The shell around it reads and writes; the service
//! says of whom, and how much:
//!
//! ```text
//!   opened, heard, request, partial ─►┌─────────┐─► requests, forgotten    (to the replica)
//!   wrote, ended, closed, overdue   ─►│ Service │◄─ answered               (from the replica)
//!                                     └────┬────┘
//!                next_turn, next_grant ◄───┴───► next_due, next_answer     (to the shell)
//! ```
//!
//! One turn of the shell: [`Service::begin_turn`] with what the disk and the replica hold; each
//! connection of [`Service::next_turn`] is read, each request of it that is here as a whole given to
//! [`Service::request`] while [`Service::may_take`] says so, and then [`Service::end_turn`]; what
//! [`Service::take_forgotten`] and [`Service::take_requests`] give goes to the replica, its replies
//! to [`Service::answered`]; each connection of [`Service::next_due`] is written, as far as
//! [`Service::next_answer`] gives answers, and then [`Service::wrote`] is told.
//!
//! - Requests of one connection are taken, and answered, in the order in which they come.
//! - Clients get on by turns, and each turn has an end, however many of them want how much.
//! - All that clients hold together is bounded, and whoever holds much of it and does not get on has
//!   to go when others wait.

mod answering;
mod conn;
mod limits;
mod line;
mod listings;
mod overdue;
mod places;
#[cfg(feature = "mutants")]
mod planted;
mod room;
mod table;
mod taking;
#[cfg(test)]
mod tests;
mod tickets;

pub use conn::Fault;
pub use limits::Limits;
pub use table::place;
pub use taking::{Asked, Load, Rest, Taking};

use crate::replica::ClientRequest;
use crate::store::{Answer, Query};
use crate::words::{ConnId, End, Instant, Ticket};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use conn::Conn;
use core::mem;
use core::net::IpAddr;
use line::Line;
use listings::Listings;
use places::Places;
use room::Room;
use table::Table;
use tickets::{Tickets, Waiter};

/// All clients of a node. See the module.
#[derive(Clone, Debug)]
pub struct Service {
    limits: Limits,
    conns: Table<Conn>,
    tickets: Tickets,
    places: Places,
    room: Room,
    /// Since when more is held than may be.
    over_since: Option<Instant>,
    /// Those that came when all places were taken, the oldest first.
    controls: VecDeque<ConnId>,
    /// Connections that may have more to read, in the order in which they get their turn.
    line: Line,
    /// Connections with something to write, likewise.
    due: Line,
    /// Connections that something may be wrong with if it goes on.
    watched: BTreeSet<ConnId>,
    /// When all are looked at for having said nothing for long.
    next_idle: Instant,
    /// Who waits for room for a large request.
    large: VecDeque<ConnId>,
    /// Those that got it, and how much.
    granted: VecDeque<(ConnId, usize)>,
    /// Whose next write waits for the disk.
    blocked: Vec<ConnId>,
    listings: Listings,
    /// What the disk and the replica held when the turn began.
    load: Load,
    /// How many may still be read in this turn, and what each of them may ask.
    turns: usize,
    share: usize,
    /// For the replica.
    requests: Vec<ClientRequest<Query>>,
    forgotten: Vec<Ticket>,
    /// Answers to this process itself.
    own: VecDeque<(u64, End<Answer>)>,
    /// Room for encoding, kept from request to request.
    scratch: Vec<u8>,
    stops: bool,
}

impl Service {
    /// No client yet. Tickets count up from the one after `after`.
    pub fn new(limits: Limits, after: Ticket) -> Self {
        Self {
            conns: Table::new(),
            tickets: Tickets::new(after),
            places: Places::new(limits.places, limits.places_of_one),
            room: Room::new(limits.memory),
            over_since: None,
            controls: VecDeque::new(),
            line: Line::default(),
            due: Line::default(),
            watched: BTreeSet::new(),
            next_idle: Instant::default(),
            large: VecDeque::new(),
            granted: VecDeque::new(),
            blocked: Vec::new(),
            listings: Listings::new(limits.page, limits.pages),
            load: Load::default(),
            turns: 0,
            share: 0,
            requests: Vec::new(),
            forgotten: Vec::new(),
            own: VecDeque::new(),
            scratch: Vec::new(),
            stops: false,
            limits,
        }
    }

    /// What clients may use.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A client has connected: its name, and whether it has a place. Without one it only gets the
    /// status, for a moment; then whoever is [`Service::oldest_control`] has to go.
    pub fn opened(&mut self, now: Instant, addr: IpAddr) -> (ConnId, bool) {
        let placed = self.places.take(addr);
        if self.conns.is_empty() {
            self.next_idle = now.after(self.limits.idle);
        }
        planted!(self.limits, ServeWithoutPlace: placed = true);
        let conn = self.conns.insert(Conn::new(addr, !placed, now));
        if !placed {
            self.controls.push_back(conn);
            self.watch(conn);
        }
        (conn, placed)
    }

    /// The client will say no more.
    pub fn ended(&mut self, conn: ConnId) {
        if let Some(it) = self.conns.get_mut(conn) {
            it.ended = true;
        }
    }

    /// The connection is gone, or is to go. Nothing more is said of it.
    pub fn closed(&mut self, conn: ConnId) {
        let Some(it) = self.conns.remove(conn) else { return };
        planted!(self.limits, KeepCharge, self.room.change(it.charge, 0) => ());
        if it.page > 0 {
            planted!(self.limits, KeepPage, self.listings.end(it.page_is_local, None) => ());
        }
        if it.control {
            self.controls.retain(|other| *other != conn);
        } else {
            planted!(self.limits, KeepPlace, self.places.give_back(it.addr) => ());
        }
        self.watched.remove(&conn);
        if it.wants > 0 {
            self.large.retain(|other| *other != conn);
        }
        if it.waits_for_page {
            self.listings.leave(conn);
        }
        for ticket in it.unanswered() {
            planted!(self.limits, KeepTickets, self.tickets.end(ticket) => None);
            self.forgotten.push(ticket);
        }
        // What the replica has not been asked yet it need not be asked.
        self.requests.retain(|request| self.tickets.get(request.ticket).is_some());
        self.next_listings();
    }

    /// The node is to stop: no new request is taken.
    pub const fn stop(&mut self) {
        self.stops = true;
    }

    /// True if nobody waits for an answer, nor for its last bytes.
    pub fn is_settled(&self) -> bool {
        self.tickets.open() == 0
            && self.own.is_empty()
            && self.conns.iter().all(|(_, it)| it.is_idle())
    }

    /// True if the shell has something to do in its next turn without anybody else's doing, if this
    /// waits beside the service.
    pub fn is_busy(&self, load: Load) -> bool {
        let wakes = !self.blocked.is_empty() && !self.limits.is_behind(load);
        let asks = !self.requests.is_empty() || !self.forgotten.is_empty();
        let large = self.large.front().and_then(|conn| self.conns.get(*conn));
        let grants = large.is_some_and(|it| self.room.has(it.wants));
        let turns = !self.line.is_empty() || !self.due.is_empty() || !self.own.is_empty();
        wakes || asks || grants || turns
    }

    /// How many connections wait to be read, and since when the first of them does.
    pub fn waiting(&self) -> (usize, Option<Instant>) {
        (self.line.len(), self.line.oldest())
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// True if there is no connection.
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// True if a connection was granted room for the request that is being read.
    pub fn is_granted(&self, conn: ConnId) -> bool {
        self.conns.get(conn).is_some_and(|it| it.granted > 0)
    }

    /// Bytes that a connection holds.
    pub fn charge(&self, conn: ConnId) -> usize {
        self.conns.get(conn).map_or(0, |it| it.charge)
    }

    /// Bytes that all connections hold.
    pub const fn used(&self) -> usize {
        self.room.used()
    }

    /// True if buffers should be given back, and little is to be read at a time.
    pub const fn is_short(&self) -> bool {
        self.room.is_short()
    }

    /// Whose request a ticket is: of which connection, if not of this process itself, and by which
    /// name; for checkers.
    pub fn asker(&self, ticket: Ticket) -> Option<(Option<ConnId>, u64)> {
        match self.tickets.get(ticket)? {
            Waiter::Own(id) => Some((None, id)),
            Waiter::Client { conn, slot } => Some((Some(conn), self.conns.get(conn)?.name(slot)?)),
        }
    }

    /// True if a connection that may have more to say will be looked at again by itself: it is in
    /// line, or waits for something that it needs first; for checkers.
    pub fn is_waiting(&self, conn: ConnId) -> bool {
        let blocked = |it: &Conn| it.blocked && self.blocked.contains(&conn);
        let wants = |it: &Conn| it.wants > 0 && self.large.contains(&conn);
        let waits = |it: &Conn| it.queued || it.paused || wants(it) || blocked(it);
        self.conns.get(conn).is_some_and(waits)
    }

    /// Asserts what must hold at any time.
    pub fn check(&self) {
        let all = || self.conns.iter().map(|(_, it)| it);
        let charges: usize = all().map(|it| it.charge).sum();
        assert_eq!(self.room.used(), charges, "what is counted is what is held");
        let placed = all().filter(|it| !it.control).count();
        let (taken, most) = self.places.taken();
        assert!(placed == taken && taken <= most, "{placed} have {taken} of {most} places");
        let gone = |waiter| match waiter {
            Waiter::Client { conn, .. } => self.conns.get(conn).is_none(),
            Waiter::Own(_) => false,
        };
        assert!(!self.tickets.all().any(gone), "somebody who is gone waits for an answer");
        let making = all().filter(|it| it.page > 0).count();
        assert_eq!(self.listings.making(), making, "listings that somebody waits for are made");
        for it in all() {
            let open = it.open_requests();
            assert!(open <= self.limits.requests, "{open} requests on a connection");
            let waits = it.queued || it.has_answer() || it.unanswered().next().is_some();
            assert!(!it.paused || waits || it.backlog > 0, "a client waits for nothing");
            let waits = it.blocked || it.queued || it.paused;
            let grown = it.granted == 0 || it.unfinished.is_some() || waits;
            assert!(grown, "room is granted for no request");
            assert!(!it.may_list() || it.waits_for_page, "a listing waits for nothing");
            assert!(!it.has_answer() || it.due || it.backlog > 0, "an answer waits for nothing");
        }
    }

    /// Asserts that nobody waits for what is there: between two turns.
    pub fn check_rest(&self) {
        for local in [false, true] {
            let may = self.room.has(self.limits.page) && self.listings.has_place(local);
            assert!(!may || !self.listings.has_line(local), "a listing waits for a free place");
        }
    }

    /// Counts anew what a client holds, of which its buffers are `held`.
    fn settle(&mut self, conn: ConnId, held: Option<usize>) {
        let Some(it) = self.conns.get_mut(conn) else { return };
        it.held = held.unwrap_or(it.held);
        let weight = it.weight();
        self.room.change(mem::replace(&mut it.charge, weight), weight);
        if it.is_watched() {
            self.watch(conn);
        }
    }

    fn watch(&mut self, conn: ConnId) {
        if let Some(it) = self.conns.get_mut(conn)
            && !mem::replace(&mut it.watched, true)
        {
            self.watched.insert(conn);
        }
    }
}
