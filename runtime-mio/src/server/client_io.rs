//! The loop's part for client connections.

use super::clients::Written;
use super::event_loop::{EventLoop, LONGEST_WAIT_MS, REQUESTS, SHARE_ACCEPTS, SHARE_BYTES};
use super::wire::{self, Asked};
use crate::net::Drained;
use log::Level;
use mio::Token;
use std::mem;
use std::ops::ControlFlow::{Break, Continue};
use zabkeeper_core::replica::{ClientRequest, Request};
use zabkeeper_core::time::{Micros, Now};
use zabkeeper_core::tree::Query;
use zabkeeper_proto::client::{self, OpResult};

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
            match self.clients.accept(stream, from, token, registry) {
                Ok(true) => {}
                Ok(false) => {
                    let text = format!("too many clients; closed the connection of {from}");
                    self.complain("client.too_many", Level::Warn, now, &text);
                }
                Err(error) => {
                    let text = format!("cannot take the connection of the client {from}: {error}");
                    self.complain("client.broken", Level::Warn, now, &text);
                }
            }
        }
        self.work.ready.requests = true;
    }

    /// Gives each client with something to say its share of the turn.
    pub(super) fn read_clients(&mut self, now: Now) {
        if self.disk_is_behind() {
            return;
        }
        for _ in 0..self.work.clients.len() {
            let Some(token) = self.work.clients.pop_front() else {
                return;
            };
            if let Some(client) = self.clients.get_mut(token) {
                client.queued = false;
                if self.read_client(now, token) {
                    self.queue_client(token);
                }
            }
        }
    }

    /// Takes requests that were read before, then reads a share. True if there may be more.
    fn read_client(&mut self, now: Now, token: Token) -> bool {
        if !self.take_requests(now, token) {
            return false;
        }
        let Some(client) = self.clients.get_mut(token) else {
            return false;
        };
        let mut drained = Drained::Ended;
        if !client.ended {
            drained = match client.conn.read(SHARE_BYTES) {
                Ok(drained) => drained,
                Err(_) => {
                    self.close_client(token);
                    return false;
                }
            };
            client.ended = drained == Drained::Ended;
        }
        let goes_on = self.take_requests(now, token);
        let Some(client) = self.clients.get_mut(token) else {
            return false;
        };
        if client.ended && client.is_idle() {
            if !client.conn.unread().is_empty() {
                self.shared.counters.add("client.truncated");
            }
            self.close_client(token);
            return false;
        }
        goes_on && drained == Drained::More
    }

    /// Takes the requests that were read, as far as the client may have more under way. False if
    /// it may not, or is gone.
    fn take_requests(&mut self, now: Now, token: Token) -> bool {
        loop {
            let may_ask = self.clients.may_ask(token);
            let Some(client) = self.clients.get_mut(token) else {
                return false;
            };
            client.paused = !may_ask;
            if !may_ask {
                return false;
            }
            match wire::request(client.conn.unread(), self.shared.command_bytes) {
                Ok(None) => return true,
                Ok(Some((asked, size))) => {
                    client.conn.consume(size);
                    match asked {
                        Asked::Request(request) => self.take_request(now, token, request),
                        Asked::Invalid { id, why } => {
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
                    return false;
                }
            }
        }
    }

    fn take_request(&mut self, now: Now, token: Token, asked: client::ClientRequest) {
        let client::ClientRequest { id, timeout_ms, op } = asked;
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

    pub(super) fn write_client(&mut self, now: Now, token: Token) {
        match self.clients.write(token, now.at) {
            Written::Fine => {}
            Written::MayGoOn => self.queue_client(token),
            Written::Done | Written::Broken => self.close_client(token),
            Written::MoreToSend => self.clients.touch(token),
        }
    }

    pub(super) fn drop_stuck_client(&mut self, now: Now, token: Token) {
        if let Some(client) = self.clients.get_mut(token) {
            let from = client.conn.peer();
            let text = format!("dropped the client {from}: it does not read its answers");
            self.complain("client.stuck", Level::Warn, now, &text);
            self.close_client(token);
        }
    }

    fn close_client(&mut self, token: Token) {
        let mut forgotten = self.clients.remove(token, self.poll.registry());
        self.work.forgotten.append(&mut forgotten);
    }
}
