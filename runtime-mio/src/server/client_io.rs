//! The loop's part for client connections.
//!
//! Clients get a span of each turn for being read and one for being written: who is not reached is the
//! first of the next turn, see [`super::line`]. The more of them have something to say, the fewer requests
//! of each are taken at a time, so that one with a single request does not wait for all that the
//! others have sent.

use super::client::Fault;
use super::clients::Written;
use super::event_loop::{EventLoop, LONGEST_WAIT_MS, REQUESTS, SHARE_ACCEPTS, SHARE_BYTES};
use super::room::LARGE;
use super::wire::{self, Asked};
use crate::net::Drained;
use log::Level;
use mio::Token;
use std::mem;
use std::ops::ControlFlow::{Break, Continue};
use std::time::{Duration, Instant as StdInstant};
use zabkeeper_core::replica::{ClientRequest, Request};
use zabkeeper_core::store::Query;
use zabkeeper_core::words::{Micros, Now, RefuseReason};
use zabkeeper_proto::client::{self, Op, OpResult};

/// What clients get of a turn for being read, and as much for being written.
const SPAN: Duration = Duration::from_millis(10);
/// So many clients are read, or written to, between two looks at the clock: also a node whose thread
/// hardly gets the processor goes on with its line.
const READ: usize = 32;
const WRITTEN: usize = 16;
/// The requests of a turn, and of that what one client gets at least. A status is several. No more
/// than the tree answers in a few steps: what waits there is out of the reach of whose turn it is.
const BATCH: usize = 2 << 10;
const LEAST: usize = 8;
const STATUS: usize = 4;
/// What is read at a time from a client while memory is short.
const LITTLE: usize = 4 << 10;

/// How taking the requests of a client ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// All that was read.
    All,
    /// As many as it may have now; there may be more.
    Share,
    /// It may have no more now, or is gone.
    Stop,
}

impl EventLoop {
    pub(super) fn accept_clients(&mut self, now: Now) {
        if !mem::take(&mut self.work.ready.requests) {
            return;
        }
        for _ in 0..SHARE_ACCEPTS {
            let (stream, from) = match self.requests.accept() {
                Ok(accepted) => accepted,
                Err(error) => return self.accept_failed(now, REQUESTS, &error),
            };
            if self.work.stop_by.is_some() {
                continue;
            }
            let token = self.next_token();
            let registry = self.poll.registry();
            match self.clients.accept(stream, from, token, registry, now.at) {
                Ok(true) => {}
                Ok(false) => {
                    let text = format!("too many clients; {from} is told to ask another node");
                    self.complain("client.too_many", Level::Warn, now, &text);
                    while let Some(oldest) = self.clients.oldest_control() {
                        self.dismiss(now, oldest);
                    }
                }
                Err(error) => {
                    let text = format!("cannot take the connection of the client {from}: {error}");
                    self.complain("client.broken", Level::Warn, now, &text);
                }
            }
        }
        self.work.ready.requests = true;
    }

    /// Lets a client go that came when all places were taken; what it has asked by now is answered.
    fn dismiss(&mut self, now: Now, token: Token) {
        self.read_client(now, token, LEAST);
        self.write_client(now, token);
        self.close_client(token);
    }

    /// Gives each client with something to say its share of the turn, as far as the span goes.
    pub(super) fn read_clients(&mut self, now: Now) {
        if !self.work.blocked.is_empty() && !self.disk_is_behind() {
            for token in mem::take(&mut self.work.blocked) {
                if let Some(client) = self.clients.get_mut(token) {
                    client.blocked = false;
                    self.queue_client(token);
                }
            }
        }
        while let Some(token) = self.clients.next_granted() {
            self.queue_client(token);
        }
        let begun = StdInstant::now();
        let share = (BATCH / self.work.clients.len().max(1)).max(LEAST);
        for turn in 1..=self.work.clients.len() {
            // What was taken before and found no room in a step comes first.
            let full = self.work.batch.len() + self.replica.put_off() >= BATCH;
            if full || turn % READ == 0 && begun.elapsed() >= SPAN {
                break;
            }
            let Some(token) = self.work.clients.pop() else { break };
            if let Some(client) = self.clients.get_mut(token) {
                client.queued = false;
                let more = self.read_client(now, token, share);
                if let Some(client) = self.clients.get_mut(token) {
                    client.heavy = more;
                }
                if more {
                    self.queue_client(token);
                }
                self.clients.settle(token);
            }
        }
    }

    /// Takes requests that were read before, then reads a share. True if there may be more.
    fn read_client(&mut self, now: Now, token: Token, share: usize) -> bool {
        let mut left = share;
        match self.take_requests(now, token, &mut left) {
            Taken::All => {}
            Taken::Share => return true,
            Taken::Stop => return false,
        }
        let short = self.clients.is_short();
        let Some(client) = self.clients.get_mut(token) else {
            return false;
        };
        let mut drained = Drained::Ended;
        if !client.ended {
            let bytes = if short && client.granted == 0 { LITTLE } else { SHARE_BYTES };
            drained = match client.conn.read(bytes) {
                Ok(drained) => drained,
                Err(_) => {
                    self.close_client(token);
                    return false;
                }
            };
            client.ended = drained == Drained::Ended;
            (client.heard, client.progress) = (now.at, now.at);
        }
        let taken = self.take_requests(now, token, &mut left);
        let Some(client) = self.clients.get_mut(token) else {
            return false;
        };
        if client.ended && client.is_idle() && taken != Taken::Share && !client.blocked {
            if !client.conn.unread().is_empty() {
                self.shared.counters.add("client.truncated");
            }
            self.close_client(token);
            return false;
        }
        match taken {
            Taken::All => drained == Drained::More,
            Taken::Share => true,
            Taken::Stop => false,
        }
    }

    /// Takes the requests that were read, as far as the client may have more under way, and as far
    /// as its share goes.
    fn take_requests(&mut self, now: Now, token: Token, left: &mut usize) -> Taken {
        loop {
            let may_ask = self.clients.may_ask(token);
            let behind = self.disk_is_behind();
            let Some(client) = self.clients.get_mut(token) else {
                return Taken::Stop;
            };
            client.paused = !may_ask;
            if !may_ask {
                return Taken::Stop;
            }
            if *left == 0 {
                return Taken::Share;
            }
            if client.skip > 0 {
                let skipped = client.skip.min(client.conn.unread().len());
                client.conn.consume(skipped);
                client.skip -= skipped;
                client.took(client.skip == 0, now.at);
                if client.skip > 0 {
                    return Taken::All;
                }
            }
            match wire::request(client.conn.unread(), self.shared.command_bytes) {
                Ok(None) => return self.await_rest(now, token),
                Ok(Some((asked, size))) => {
                    let writes =
                        matches!(&asked, Asked::Request(r) if matches!(r.op, Op::Write(_)));
                    if behind && writes && !client.control {
                        // It is looked at again when the disk has caught up; meanwhile everybody
                        // may read, and ask for the status.
                        client.blocked = true;
                        client.took_all();
                        self.work.blocked.push(token);
                        return Taken::Stop;
                    }
                    client.conn.consume(size);
                    client.took(true, now.at);
                    match asked {
                        Asked::Request(request) => {
                            let units = if request.op == Op::Status { STATUS } else { 1 };
                            *left = left.saturating_sub(units);
                            self.take_request(now, token, request);
                        }
                        Asked::TooLong { id, more } => {
                            *left -= 1;
                            client.skip = more;
                            let refused = OpResult::Refused(RefuseReason::TooLarge);
                            self.clients.answer(token, id, refused);
                        }
                        Asked::Invalid { id, why } => {
                            *left -= 1;
                            self.shared.counters.add("client.invalid");
                            self.clients.answer(token, id, OpResult::Invalid(why));
                        }
                    }
                }
                Err(error) => {
                    let from = client.conn.peer();
                    let text = format!("closed the connection of the client {from}: {error}");
                    self.complain(error.counter_client(), Level::Warn, now, &text);
                    self.close_client(token);
                    return Taken::Stop;
                }
            }
        }
    }

    /// What is here of the next request is not all of it. A large one needs room.
    fn await_rest(&mut self, now: Now, token: Token) -> Taken {
        let Some(client) = self.clients.get_mut(token) else { return Taken::Stop };
        let here = client.conn.unread();
        if here.is_empty() {
            client.took_all();
            return Taken::All;
        }
        let whole = here.len() + wire::missing(here, self.shared.command_bytes);
        client.took(false, now.at);
        match whole <= LARGE || self.clients.grant(token, whole) {
            true => Taken::All,
            false => Taken::Stop,
        }
    }

    fn take_request(&mut self, now: Now, token: Token, asked: client::ClientRequest) {
        let client::ClientRequest { id, timeout_ms, op } = asked;
        let control = self.clients.get_mut(token).is_some_and(|client| client.control);
        if control && op != Op::Status {
            let full = OpResult::Refused(RefuseReason::Full);
            return self.clients.answer(token, id, full);
        }
        let request = match self.admit(op) {
            Break(result) => return self.clients.answer(token, id, result),
            Continue(request) => request,
        };
        let lists = matches!(request, Request::Read { query: Query::List { .. }, .. });
        let Some(ticket) = self.clients.begin(token, id, lists) else {
            return;
        };
        let wait = Micros::millis(u64::from(timeout_ms).min(LONGEST_WAIT_MS));
        let request = ClientRequest { ticket, deadline: now.at.after(wait), request };
        if lists {
            self.clients.list(token, request);
            self.clients.take_due(&mut self.work.batch);
        } else {
            self.work.batch.push(request);
        }
    }

    /// Writes to the clients that have something to be written, as far as the span goes.
    pub(super) fn write_clients(&mut self, now: Now) {
        let begun = StdInstant::now();
        for turn in 1..=self.clients.dirty() {
            let Some(token) = self.clients.next_dirty() else { break };
            self.write_client(now, token);
            if turn % WRITTEN == 0 && begun.elapsed() >= SPAN {
                break;
            }
        }
        self.clients.take_due(&mut self.work.batch);
    }

    fn write_client(&mut self, now: Now, token: Token) {
        match self.clients.write(token, now.at) {
            Written::Fine => {}
            Written::MayGoOn => self.queue_client(token),
            Written::Done | Written::Broken => self.close_client(token),
            Written::MoreToSend => self.clients.touch(token),
        }
    }

    /// Drops a client for what it does to others.
    pub(super) fn drop_client(&mut self, now: Now, token: Token, fault: Fault) {
        let Some(client) = self.clients.get_mut(token) else { return };
        if client.control {
            return self.dismiss(now, token);
        }
        let from = client.conn.peer();
        let holds = client.charge;
        let (kind, level, why) = match fault {
            Fault::Stuck => ("client.stuck", Level::Warn, "it does not read its answers"),
            Fault::Unfinished => ("client.unfinished", Level::Warn, "it does not end its request"),
            Fault::Idle => ("client.idle", Level::Info, "it has said nothing for long"),
            Fault::Greedy => ("client.greedy", Level::Warn, "it holds what others wait for"),
        };
        let text = format!("dropped the client {from}, which holds {holds} bytes: {why}");
        self.complain(kind, level, now, &text);
        self.close_client(token);
    }

    /// Closes the client that has said nothing for the longest time: something that the node needs
    /// to live wants its descriptor.
    pub(super) fn shed_client(&mut self, now: Now) -> bool {
        let Some(token) = self.clients.stalest() else { return false };
        let text = "closed a client: there are no descriptors left".to_owned();
        self.complain("client.shed", Level::Warn, now, &text);
        self.close_client(token);
        true
    }

    fn close_client(&mut self, token: Token) {
        let mut forgotten = self.clients.remove(token, self.poll.registry());
        self.work.forgotten.append(&mut forgotten);
    }
}
