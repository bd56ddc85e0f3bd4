//! What is taken of clients, of whom, and when.
//!
//! The more of them have something to say, the fewer requests of each are taken at a time, so that one
//! with a single request does not wait for all that the others have sent.

use super::Service;
use super::limits::Limits;
use super::tickets::Waiter;
use crate::replica::{ClientRequest, Request};
use crate::store::{Answer, Op, Query};
use crate::words::{ConnId, End, Instant, Micros, ReadLevel, RefuseReason, Ticket};
use crate::zab::Status;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::ops::ControlFlow::{self, Break, Continue};

/// What a question for the status counts as, in requests.
const STATUS: usize = 4;

/// A request as it came.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// The client's name for it.
    pub id: u64,
    /// How long the client waits.
    pub wait: Micros,
    /// What it wants; or how the request ends, if it cannot be read.
    pub op: Result<Op, End<Answer>>,
}

/// What waits beside the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Bytes for the disk.
    pub disk: usize,
    /// Bytes of writes at the node.
    pub waiting: usize,
    /// Reads that found no room in a step of the replica.
    pub put_off: usize,
}

impl Limits {
    /// True if so much waits that writes have to wait, too.
    pub(super) const fn is_behind(&self, load: Load) -> bool {
        load.disk > self.disk || load.waiting > self.waiting
    }
}

/// How the taking of requests of a connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taking {
    /// The next one may be taken, if it is here.
    Go,
    /// It has had its share of the turn; there may be more.
    Share,
    /// It may have no more now, or is gone.
    Stop,
}

/// What to do about a request that is not here as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Read on.
    Read,
    /// Read on: there is room for so many bytes, which may be reserved.
    Granted(usize),
    /// Do not read: there is no room for it yet, see [`Service::next_grant`].
    Wait,
}

impl Service {
    /// Something may be read from a client.
    pub fn readable(&mut self, now: Instant, conn: ConnId) {
        if let Some(it) = self.conns.get_mut(conn)
            && !mem::replace(&mut it.queued, true)
        {
            self.line.push(conn, it.heavy, now);
        }
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now: Instant, load: Load) {
        self.load = load;
        if !self.is_behind() {
            for conn in mem::take(&mut self.blocked) {
                if let Some(it) = self.conns.get_mut(conn) {
                    it.blocked = false;
                    planted!(self.limits, KeepBlocked, self.readable(now, conn) => ());
                }
            }
        }
        self.grant_next(now);
        self.turns = self.line.len();
        self.share = (self.limits.batch / self.turns.max(1)).max(self.limits.share);
    }

    /// The next client to be read in this turn.
    pub fn next_turn(&mut self) -> Option<ConnId> {
        while let Some(left) = self.turns.checked_sub(1) {
            // What was taken before and found no room in a step comes first.
            if self.requests.len() + self.load.put_off >= self.limits.batch {
                return None;
            }
            self.turns = left;
            let conn = self.line.pop()?;
            if let Some(it) = self.conns.get_mut(conn) {
                it.queued = false;
                it.share = self.share;
                return Some(conn);
            }
        }
        None
    }

    /// Gives a client that has to go a last share.
    pub fn last_turn(&mut self, conn: ConnId) {
        if let Some(it) = self.conns.get_mut(conn) {
            it.share = self.limits.share;
        }
    }

    /// Something came from a client.
    pub fn heard(&mut self, now: Instant, conn: ConnId) {
        if let Some(it) = self.conns.get_mut(conn) {
            (it.heard, it.progress) = (now, now);
        }
    }

    /// Whether a client may have its next request taken.
    pub fn may_take(&mut self, conn: ConnId) -> Taking {
        let over = self.room.is_over();
        let Some(it) = self.conns.get_mut(conn) else { return Taking::Stop };
        let waits = over && it.charge > self.limits.large && it.open_requests() > 0;
        let may = !waits && it.may_ask(&self.limits);
        planted!(self.limits, TakeAll: may = true);
        it.paused = !may;
        match may {
            false => Taking::Stop,
            true if it.share == 0 => Taking::Share,
            true => Taking::Go,
        }
    }

    /// The next request of a client, which is here as a whole. False if it is not taken now and must
    /// be given again: it waits for the disk, while everybody may read and ask for the status.
    pub fn request(
        &mut self,
        now: Instant,
        conn: ConnId,
        asked: Asked,
        status: impl FnOnce() -> Status,
    ) -> bool {
        let behind = self.is_behind();
        if asked.op != Ok(Op::Status) {
            self.seat(conn);
        }
        let Some(it) = self.conns.get_mut(conn) else { return true };
        if behind && !it.control && matches!(asked.op, Ok(Op::Write(_))) {
            it.unfinished = None;
            if !mem::replace(&mut it.blocked, true) {
                self.blocked.push(conn);
            }
            return false;
        }
        planted!(self.limits, KeepGrant, it.took(now) => it.unfinished = None);
        let units = if asked.op == Ok(Op::Status) { STATUS } else { 1 };
        it.share = it.share.saturating_sub(units);
        let full = it.control && asked.op != Ok(Op::Status);
        let admitted = match asked.op {
            Err(end) => Break(end),
            Ok(_) if full => Break(End::Refused(RefuseReason::Full)),
            Ok(op) => self.admit(op, status),
        };
        match admitted {
            Break(end) => self.answer_at_once(conn, asked.id, end),
            Continue(request) => self.ask(now, conn, (asked.id, asked.wait), request),
        }
        true
    }

    /// Gives a client that came when all places were taken one that has become free: else it would be
    /// refused for as long as it asks, since it has no reason to connect anew.
    fn seat(&mut self, conn: ConnId) {
        let Some(it) = self.conns.get_mut(conn).filter(|it| it.control) else { return };
        if self.places.take(it.addr) {
            it.control = false;
            self.controls.retain(|other| *other != conn);
        }
    }

    /// What this process itself asks; the answer comes by [`Service::next_own`].
    pub fn call(&mut self, now: Instant, own: Asked, status: impl FnOnce() -> Status) {
        let admitted = match own.op {
            Ok(op) => self.admit(op, status),
            Err(end) => Break(end),
        };
        match admitted {
            Break(end) => self.own.push_back((own.id, end)),
            Continue(request) => {
                let ticket = self.tickets.begin(Waiter::Own(own.id));
                let deadline = now.after(own.wait);
                self.requests.push(ClientRequest { ticket, deadline, request });
            }
        }
    }

    /// Nobody waits any more for what this process asked by this ticket.
    pub fn abandon(&mut self, ticket: Ticket) {
        if self.tickets.end(ticket).is_some() {
            self.forgotten.push(ticket);
        }
    }

    /// A part of a client's next request is here, which is one of `whole` bytes at least; 0 for none.
    pub fn partial(&mut self, now: Instant, conn: ConnId, whole: usize) -> Rest {
        let Some(it) = self.conns.get_mut(conn) else { return Rest::Wait };
        if whole == 0 {
            it.unfinished = None;
            return Rest::Read;
        }
        it.unfinished.get_or_insert(now);
        if whole <= self.limits.large || it.granted >= whole {
            return Rest::Read;
        }
        match self.grant(conn, whole) {
            true => Rest::Granted(whole),
            false => Rest::Wait,
        }
    }

    /// A part of a request that is not taken has come and is dropped; `all` with the last of it.
    pub fn skipped(&mut self, now: Instant, conn: ConnId, all: bool) {
        if let Some(it) = self.conns.get_mut(conn) {
            match all {
                true => it.took(now),
                false => drop(it.unfinished.get_or_insert(now)),
            }
        }
    }

    /// The next client that waited for room and got it, with how many bytes; it is in line for being
    /// read.
    pub fn next_grant(&mut self) -> Option<(ConnId, usize)> {
        self.granted.pop_front()
    }

    /// A client's turn is over, as `taking` says; `more` if there is more to be read, `held` is what
    /// its buffers hold. True if it has said all and has all: then it is to be closed.
    pub fn end_turn(
        &mut self,
        now: Instant,
        conn: ConnId,
        (taking, more): (Taking, bool),
        held: usize,
    ) -> bool {
        let Some(it) = self.conns.get_mut(conn) else { return false };
        let share = taking == Taking::Share;
        if it.ended && it.is_idle() && !share && !it.blocked {
            return true;
        }
        it.heavy = share || more && taking == Taking::Go;
        if it.heavy {
            self.readable(now, conn);
        }
        self.settle(conn, Some(held));
        self.next_listings();
        false
    }

    /// The requests for the replica, in order.
    pub fn take_requests(&mut self) -> Vec<ClientRequest<Query>> {
        mem::take(&mut self.requests)
    }

    /// Tickets for which nobody waits any more.
    pub fn take_forgotten(&mut self) -> Vec<Ticket> {
        mem::take(&mut self.forgotten)
    }

    /// True while writes wait for the disk.
    const fn is_behind(&self) -> bool {
        self.limits.is_behind(self.load)
    }

    /// What the replica is asked for an operation, or the answer if it need not be asked.
    fn admit(
        &mut self,
        op: Op,
        status: impl FnOnce() -> Status,
    ) -> ControlFlow<End<Answer>, Request<Query>> {
        match op {
            Op::Status => {
                let status = status();
                let txid = status.applied;
                Break(End::Done { txid, answer: Answer::Status(Box::new(status)) })
            }
            _ if self.stops => Break(End::Refused(RefuseReason::Stopping)),
            Op::Write(command) if command.value_bytes() > self.limits.value => {
                Break(End::Refused(RefuseReason::TooLarge))
            }
            Op::Write(command) => {
                // By way of memory that is there already: one copy, in one place, is what is kept.
                self.scratch.clear();
                command.put(&mut self.scratch);
                Continue(Request::Write(self.scratch.as_slice().into()))
            }
            Op::Read { query, level } => Continue(Request::Read { query, level }),
        }
    }

    fn ask(
        &mut self,
        now: Instant,
        conn: ConnId,
        (id, wait): (u64, Micros),
        request: Request<Query>,
    ) {
        let Some(it) = self.conns.get_mut(conn) else { return };
        let lists = matches!(request, Request::Read { query: Query::List { .. }, .. });
        let ticket = self.tickets.begin(Waiter::Client { conn, slot: it.next_slot() });
        it.open(id, lists, ticket);
        let deadline = now.after(wait.min(self.limits.wait));
        let request = ClientRequest { ticket, deadline, request };
        if lists {
            it.later.push_back(request);
            self.next_listing(conn, false);
            self.next_listings();
        } else {
            self.requests.push(request);
        }
    }

    /// A connection's next listing is made once the one before it was put into the buffer, there is
    /// room for a page and a place among those that are made, and it is its `turn`, or nobody waits.
    pub(super) fn next_listing(&mut self, conn: ConnId, turn: bool) {
        let Some(it) = self.conns.get_mut(conn).filter(|it| it.may_list()) else { return };
        let local = it.later.front().is_some_and(is_local);
        let first = turn || !self.listings.has_line(local);
        if first && self.room.has(self.limits.page) && self.listings.has_place(local) {
            self.requests.extend(it.next_listing(self.limits.page));
            it.page_is_local = local;
            self.listings.begin(local);
            self.settle(conn, None);
        } else if !mem::replace(&mut it.waits_for_page, true) {
            self.listings.wait(local, conn);
        }
    }

    /// Those that waited for room are made, as far as there is some: of the leader's word first.
    pub(super) fn next_listings(&mut self) {
        for local in [false, true] {
            while self.room.has(self.limits.page)
                && self.listings.has_place(local)
                && let Some(conn) = self.listings.next(local)
            {
                if let Some(it) = self.conns.get_mut(conn) {
                    it.waits_for_page = false;
                    self.next_listing(conn, true);
                }
            }
        }
    }

    /// Asks for room for a request of so many bytes; if there is none, the client is in line for it.
    fn grant(&mut self, conn: ConnId, bytes: usize) -> bool {
        let Some(it) = self.conns.get_mut(conn) else { return false };
        if !self.room.has(bytes) {
            if mem::replace(&mut it.wants, bytes) == 0 {
                self.large.push_back(conn);
            }
            return false;
        }
        it.granted = bytes;
        if mem::take(&mut it.wants) > 0 {
            match self.large.front() == Some(&conn) {
                true => drop(self.large.pop_front()),
                false => self.large.retain(|other| *other != conn),
            }
        }
        self.settle(conn, None);
        true
    }

    /// Those that waited for room get it, as far as there is some.
    fn grant_next(&mut self, now: Instant) {
        while let Some(conn) = self.large.front().copied() {
            let wants = self.conns.get(conn).map_or(0, |it| it.wants);
            if wants > 0 && !self.room.has(wants) {
                return;
            }
            if wants == 0 {
                self.large.pop_front();
            } else if self.grant(conn, wants) {
                self.granted.push_back((conn, wants));
                self.readable(now, conn);
            }
        }
    }
}

/// True if the read is of the node's own state: it waits for nobody else's word.
fn is_local(read: &ClientRequest<Query>) -> bool {
    matches!(read.request, Request::Read { level: ReadLevel::Local(_), .. })
}
