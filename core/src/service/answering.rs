//! What clients are answered, and when it leaves.

use super::Service;
use super::conn::weight;
use super::tickets::Waiter;
use crate::store::Answer;
use crate::words::{ConnId, End, Instant, RefuseReason, Ticket};
use core::mem;

impl Service {
    /// The replica has answered.
    pub fn answered(&mut self, ticket: Ticket, end: End<Answer>) {
        match self.tickets.end(ticket) {
            // The client is gone.
            None => {}
            Some(Waiter::Own(id)) => self.own.push_back((id, end)),
            Some(Waiter::Client { conn, slot }) => {
                self.answer(conn, slot, end);
            }
        }
    }

    /// The next answer to this process itself, with the name of what it asked.
    pub fn next_own(&mut self) -> Option<(u64, End<Answer>)> {
        self.own.pop_front()
    }

    /// Something more may be written to a client.
    pub fn writable(&mut self, conn: ConnId) {
        if let Some(it) = self.conns.get_mut(conn)
            && !mem::replace(&mut it.due, true)
        {
            self.due.push(conn, it.heavy, Instant::default());
        }
    }

    /// How many connections have something to be written.
    pub fn due(&self) -> usize {
        self.due.len()
    }

    /// The next of them.
    pub fn next_due(&mut self) -> Option<ConnId> {
        let conn = self.due.pop()?;
        if let Some(it) = self.conns.get_mut(conn) {
            it.due = false;
        }
        Some(conn)
    }

    /// The next answer that may leave on a connection whose buffer holds `backlog` bytes to be
    /// written. The others stay what they are, mostly shared with the tree, until there is room.
    pub fn next_answer(&mut self, conn: ConnId, backlog: usize) -> Option<(u64, End<Answer>)> {
        if backlog >= self.limits.buffer {
            return None;
        }
        self.conns.get_mut(conn)?.leave()
    }

    /// The socket of a connection has taken so many bytes in all and has so many still to take; its
    /// buffers hold `held`. True if the client has said all and has all: then it is to be closed.
    pub fn wrote(
        &mut self,
        now: Instant,
        conn: ConnId,
        (taken, backlog): (u64, usize),
        held: usize,
    ) -> bool {
        let Some(it) = self.conns.get_mut(conn) else { return false };
        it.wrote(taken, backlog, now);
        self.next_listing(conn, false);
        self.settle(conn, Some(held));
        self.next_listings();
        let Some(it) = self.conns.get_mut(conn).filter(|it| it.backlog == 0) else { return false };
        if it.has_answer() {
            self.writable(conn);
            return false;
        }
        if it.paused {
            planted!(self.limits, KeepPaused, self.readable(now, conn) => ());
            return false;
        }
        // One that is in line still has requests here that were not taken.
        it.ended && it.is_idle() && !it.queued && !it.blocked
    }

    /// Answers a request at once, in its turn.
    pub(super) fn answer_at_once(&mut self, conn: ConnId, id: u64, end: End<Answer>) {
        if let Some(it) = self.conns.get_mut(conn) {
            it.open_answered(id, end);
            self.leaves(conn);
        }
    }

    fn answer(&mut self, conn: ConnId, slot: u64, end: End<Answer>) {
        let Some(it) = self.conns.get_mut(conn) else { return };
        let why = match &end {
            End::Refused(why) => Some(*why),
            End::Done { .. } | End::Invalid(_) | End::Unknown => None,
        };
        let page = matches!(&end, End::Done { answer: Answer::List(Some(_)), .. });
        let (bytes, making) = (weight(&end), it.page > 0);
        let lists = it.answer(slot, end);
        if lists && making {
            self.listings.end(it.page_is_local, page.then_some(bytes));
            planted!(self.limits, KeepListingsWaiting, self.next_listings() => ());
        }
        if let Some(why) = why.filter(|_| lists) {
            self.refuse_later(conn, why);
        }
        planted!(self.limits, AnswerAsReady => self.overtake(conn, slot));
        self.leaves(conn);
    }

    /// A listing was refused after all the time it had, so those that wait behind it are too: else
    /// each would take that time again, and all that was asked behind them would wait for it.
    fn refuse_later(&mut self, conn: ConnId, why: RefuseReason) {
        let Some(it) = self.conns.get_mut(conn) else { return };
        for request in mem::take(&mut it.later) {
            if let Some(Waiter::Client { slot, .. }) = self.tickets.end(request.ticket) {
                it.refuse(slot, End::Refused(why));
            }
        }
    }

    /// Has a connection written whose next answer is here.
    fn leaves(&mut self, conn: ConnId) {
        if self.conns.get(conn).is_some_and(super::conn::Conn::has_answer) {
            self.writable(conn);
        }
    }
}
