//! The loop's part for client connections: it reads and writes those that the service names, for no
//! longer than a span of each turn. Who is not reached is the first of the next turn.

use super::clients::Clients;
use super::event_loop::{EventLoop, REQUESTS, SHARE_ACCEPTS, SHARE_BYTES};
use super::wire;
use crate::net::Drained;
use log::Level;
use std::mem;
use std::time::{Duration, Instant as StdInstant};
use zabkeeper_core::service::{Asked, Fault, Load, Rest, Taking};
use zabkeeper_core::words::{ConnId, End, Now};

/// What clients get of a turn for being read, and as much for being written.
const SPAN: Duration = Duration::from_millis(10);
/// So many clients are read, or written to, between two looks at the clock: also a node whose thread
/// hardly gets the processor goes on with its line.
const READ: usize = 32;
const WRITTEN: usize = 16;
/// What is read at a time from a client while memory is short.
const LITTLE: usize = 4 << 10;

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
            match self.clients.accept(stream, from, self.poll.registry(), now.at) {
                Ok(true) => {}
                Ok(false) => {
                    let text = format!("too many clients; {from} is told to ask another node");
                    self.complain("client.too_many", Level::Warn, now, &text);
                    while let Some(oldest) = self.clients.service.oldest_control() {
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
    fn dismiss(&mut self, now: Now, conn: ConnId) {
        self.clients.service.last_turn(conn);
        self.read_client(now, conn);
        self.write_client(now, conn);
        self.close_client(conn);
    }

    /// Gives each client with something to say its share of the turn, as far as the span goes.
    pub(super) fn read_clients(&mut self, now: Now) {
        self.clients.service.begin_turn(now.at, self.load());
        while let Some((conn, bytes)) = self.clients.service.next_grant() {
            if let Some(socket) = self.clients.socket(conn) {
                socket.conn.expect(bytes);
            }
        }
        let begun = StdInstant::now();
        let mut turns = 0;
        while let Some(conn) = self.clients.service.next_turn() {
            self.read_client(now, conn);
            turns += 1;
            if turns % READ == 0 && begun.elapsed() >= SPAN {
                break;
            }
        }
    }

    /// Takes requests that were read before, then reads a share and takes what came.
    fn read_client(&mut self, now: Now, conn: ConnId) {
        let mut taking = self.take_requests(now, conn);
        let mut drained = Drained::Ended;
        if taking == Taking::Go {
            drained = match self.read_share(now, conn) {
                Some(drained) => drained,
                None => return self.close_client(conn),
            };
            taking = self.take_requests(now, conn);
        }
        let Clients { service, .. } = &mut self.clients;
        let short = service.is_short();
        let Some(socket) = self.clients.socket(conn) else { return };
        if short {
            socket.conn.trim();
        }
        let (held, truncated) = (socket.conn.memory(), !socket.conn.unread().is_empty());
        let more = drained == Drained::More;
        if self.clients.service.end_turn(now.at, conn, (taking, more), held) {
            if truncated {
                self.shared.counters.add("client.truncated");
            }
            self.close_client(conn);
        }
    }

    /// Reads once. `None` if the connection is broken.
    fn read_share(&mut self, now: Now, conn: ConnId) -> Option<Drained> {
        let bytes = match self.clients.service.is_short() && !self.clients.service.is_granted(conn)
        {
            true => LITTLE,
            false => SHARE_BYTES,
        };
        let socket = self.clients.socket(conn)?;
        if socket.ended {
            return Some(Drained::Ended);
        }
        let drained = socket.conn.read(bytes).ok()?;
        socket.ended = drained == Drained::Ended;
        if socket.ended {
            self.clients.service.ended(conn);
        }
        self.clients.service.heard(now.at, conn);
        Some(drained)
    }

    /// Takes the requests that were read, as far as the service takes them.
    fn take_requests(&mut self, now: Now, conn: ConnId) -> Taking {
        loop {
            let taking = self.clients.service.may_take(conn);
            if taking != Taking::Go {
                return taking;
            }
            let Some(socket) = self.clients.socket(conn) else { return Taking::Stop };
            if socket.skip > 0 {
                let skipped = socket.skip.min(socket.conn.unread().len());
                socket.conn.consume(skipped);
                socket.skip -= skipped;
                let all = socket.skip == 0;
                self.clients.service.skipped(now.at, conn, all);
                if !all {
                    return Taking::Go;
                }
                continue;
            }
            match wire::request(socket.conn.unread(), self.shared.command_bytes) {
                Ok(None) => return self.await_rest(now, conn),
                Ok(Some(request)) => {
                    if !self.take_request(now, conn, request) {
                        return Taking::Stop;
                    }
                }
                Err(error) => {
                    let from = socket.conn.peer();
                    let text = format!("closed the connection of the client {from}: {error}");
                    self.complain(error.counter_client(), Level::Warn, now, &text);
                    self.close_client(conn);
                    return Taking::Stop;
                }
            }
        }
    }

    /// What is here of the next request is not all of it. A large one needs room.
    fn await_rest(&mut self, now: Now, conn: ConnId) -> Taking {
        let Some(socket) = self.clients.socket(conn) else { return Taking::Stop };
        let here = socket.conn.unread();
        let whole = match here.is_empty() {
            true => 0,
            false => here.len() + wire::missing(here, self.shared.command_bytes),
        };
        match self.clients.service.partial(now.at, conn, whole) {
            Rest::Read => Taking::Go,
            Rest::Wait => Taking::Stop,
            Rest::Granted(bytes) => {
                if let Some(socket) = self.clients.socket(conn) {
                    socket.conn.expect(bytes);
                }
                Taking::Go
            }
        }
    }

    /// Gives a request to the service. False if it must be given again later.
    fn take_request(&mut self, now: Now, conn: ConnId, request: wire::Request) -> bool {
        let wire::Request { asked: Asked { id, wait, op }, size, more } = request;
        if matches!(op, Err(End::Invalid(_))) {
            self.shared.counters.add("client.invalid");
        }
        let asked = Asked { id, wait, op };
        let Self { clients, replica, turns, work, .. } = self;
        let status = || super::event_loop::status(replica, turns, work);
        let taken = clients.service.request(now.at, conn, asked, status);
        if let Some(socket) = clients.socket(conn).filter(|_| taken) {
            socket.conn.consume(size);
            socket.skip = more;
        }
        taken
    }

    /// Writes to the clients that have something to be written, as far as the span goes.
    pub(super) fn write_clients(&mut self, now: Now) {
        let begun = StdInstant::now();
        for turn in 1..=self.clients.service.due() {
            let Some(conn) = self.clients.service.next_due() else { break };
            self.write_client(now, conn);
            if turn % WRITTEN == 0 && begun.elapsed() >= SPAN {
                break;
            }
        }
    }

    fn write_client(&mut self, now: Now, conn: ConnId) {
        match self.clients.write(conn, now.at) {
            Ok(false) => {}
            Ok(true) | Err(_) => self.close_client(conn),
        }
    }

    /// Drops a client for what it does to others.
    pub(super) fn drop_client(&mut self, now: Now, conn: ConnId, fault: Fault) {
        if self.clients.service.is_control(conn) {
            return self.dismiss(now, conn);
        }
        let holds = self.clients.service.charge(conn);
        let Some(socket) = self.clients.socket(conn) else { return };
        let from = socket.conn.peer();
        let (kind, level, why) = match fault {
            Fault::Stuck => ("client.stuck", Level::Warn, "it does not read its answers"),
            Fault::Unfinished => ("client.unfinished", Level::Warn, "it does not end its request"),
            Fault::Idle => ("client.idle", Level::Info, "it has said nothing for long"),
            Fault::Greedy => ("client.greedy", Level::Warn, "it holds what others wait for"),
        };
        let text = format!("dropped the client {from}, which holds {holds} bytes: {why}");
        self.complain(kind, level, now, &text);
        self.close_client(conn);
    }

    /// Closes the client that has said nothing for the longest time: something that the node needs
    /// to live wants its descriptor.
    pub(super) fn shed_client(&mut self, now: Now) -> bool {
        let Some(conn) = self.clients.service.stalest() else { return false };
        let text = "closed a client: there are no descriptors left".to_owned();
        self.complain("client.shed", Level::Warn, now, &text);
        self.close_client(conn);
        true
    }

    fn close_client(&mut self, conn: ConnId) {
        self.clients.close(conn, self.poll.registry());
    }

    /// What waits beside the service.
    pub(super) fn load(&self) -> Load {
        Load {
            disk: self.storage.queued_bytes(),
            waiting: self.replica.node().waiting_bytes(),
            put_off: self.replica.put_off(),
        }
    }
}
