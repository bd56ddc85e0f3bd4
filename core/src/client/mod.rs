//! What a client does between its caller and the ensemble, as a pure state machine: events in,
//! actions out, like the nodes.
//!
//! - Requests go down one connection in the order in which they were submitted, and are answered in
//!   that order. Nothing is promised about the order of requests that end up on two connections.
//! - A write that was sent and got no answer is [`End::Unknown`]: it is never sent twice. Reads,
//!   writes that were not sent, and everything that a node refused are tried at another endpoint
//!   until their deadline.
//! - A connection that answers nothing for [`Config::attempt_timeout`] gets no new requests, and
//!   its reads are asked elsewhere; its writes go on waiting for their answers.
//! - A request is sent only on a connection on which the node has spoken lately: one that was
//!   unused for [`Config::idle_timeout`] is opened anew. So a node that hangs gets no write whose
//!   outcome would then be unknown.
//!
//! Operations and replies are opaque: codecs and sockets are the runtime's.

use crate::words::{ConnId, End, Instant, Micros, Operation, RefuseReason, Rng, Ticket, Txid};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

#[cfg(feature = "mutants")]
mod planted;
mod types;

pub use types::{Action, Config, Event};

/// Less time than this is not halved.
const HALVED: u64 = 1_000_000;
/// A node gets a millisecond at least.
const LEAST: u64 = 1_000;

/// A request that has not ended.
#[derive(Clone, Debug)]
struct Pending<O> {
    id: Ticket,
    op: O,
    deadline: Instant,
    refused: Option<RefuseReason>,
}

/// A request on a connection.
#[derive(Clone, Debug)]
struct Sent<O> {
    at: Instant,
    /// `None` if nobody waits for the answer any more; it is still the next one to come.
    live: Option<Pending<O>>,
}

#[derive(Clone, Debug)]
struct Conn<O> {
    sent: VecDeque<Sent<O>>,
    /// When the last answer came.
    heard: Instant,
    /// Left unanswered for too long: its reads were taken away.
    given_up: bool,
}

/// Where new requests go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    None,
    Connecting { conn: ConnId, until: Instant },
    Open(ConnId),
}

/// A client. See the module.
#[derive(Clone, Debug)]
pub struct Client<O> {
    config: Config,
    rng: Rng,
    now: Instant,
    seen: Txid,
    link: Link,
    /// Where the link goes, or would go next.
    endpoint: usize,
    last_conn: u64,
    /// Open connections: the link's, and older ones on which answers are awaited.
    conns: BTreeMap<ConnId, Conn<O>>,
    /// Not sent, in the order in which they will be.
    queue: VecDeque<Pending<O>>,
    /// All requests that have not ended.
    deadlines: BTreeSet<(Instant, Ticket)>,
    /// Endpoints that failed since the last answer.
    failures: usize,
    backoff: Micros,
    /// Nothing is sent and nobody is called before.
    resume: Instant,
}

impl<O: Operation> Client<O> {
    /// A client that has sent nothing. Panics if there is no endpoint.
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        assert!(config.endpoints > 0, "a client needs an endpoint");
        Self {
            backoff: config.backoff_min,
            config,
            rng: Rng::new(seed),
            now,
            seen: Txid::ZERO,
            link: Link::None,
            endpoint: 0,
            last_conn: 0,
            conns: BTreeMap::new(),
            queue: VecDeque::new(),
            deadlines: BTreeSet::new(),
            failures: 0,
            resume: now,
        }
    }

    /// The newest state that this client has seen. Local reads never show it an older one.
    pub const fn seen(&self) -> Txid {
        self.seen
    }

    /// How many requests have not ended.
    pub fn pending(&self) -> usize {
        self.deadlines.len()
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let expiry = self.deadlines.first().map(|(deadline, _)| *deadline);
        let connect = match self.link {
            Link::Connecting { until, .. } => Some(until),
            Link::None | Link::Open(_) => None,
        };
        let resume = (!self.queue.is_empty() && self.resume > self.now).then_some(self.resume);
        let stale = self.conns.values().filter_map(|conn| self.stale_at(conn));
        [expiry, connect, resume].into_iter().flatten().chain(stale).min()
    }

    /// Takes one event; appends to `out` what is to be done, in order.
    pub fn handle<R>(&mut self, now: Instant, event: Event<O, R>, out: &mut Vec<Action<O, R>>) {
        self.now = self.now.max(now);
        match event {
            Event::Submit { id, op, deadline } => {
                self.deadlines.insert((deadline, id));
                self.queue.push_back(Pending { id, op, deadline, refused: None });
            }
            Event::Connected(conn) => self.connected(conn),
            Event::ConnectFailed(conn) => self.connect_failed(conn),
            Event::Received { conn, end } => self.received(conn, end, out),
            Event::Closed(conn) => self.lost(conn, out),
            Event::Tick => {}
        }
        self.run_timers(out);
        self.close_unused(out);
        self.close_idle(out);
        self.connect(out);
        self.send(out);
    }

    fn connected(&mut self, conn: ConnId) {
        if matches!(self.link, Link::Connecting { conn: ours, .. } if ours == conn) {
            self.link = Link::Open(conn);
            let fresh = Conn { sent: VecDeque::new(), heard: self.now, given_up: false };
            self.conns.insert(conn, fresh);
        }
    }

    fn connect_failed(&mut self, conn: ConnId) {
        if matches!(self.link, Link::Connecting { conn: ours, .. } if ours == conn) {
            self.leave();
        }
    }

    fn received<R>(&mut self, id: ConnId, end: End<R>, out: &mut Vec<Action<O, R>>) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        conn.heard = self.now;
        let Some(sent) = conn.sent.pop_front() else {
            // An answer to nothing: what the next ones would belong to cannot be known.
            out.push(Action::Close(id));
            self.lost(id, out);
            return;
        };
        if let End::Done { .. } | End::Invalid(_) = &end {
            planted!(self.config, ForgetSeen, self.seen = self.seen.max(end.seen()) => ());
            self.failures = 0;
            self.backoff = self.config.backoff_min;
        }
        let Some(pending) = sent.live else { return };
        match end {
            End::Refused(why) => self.refused(id, pending, why, out),
            End::Unknown if !pending.op.is_write() => self.retry(id, pending),
            end => self.done(pending, end, out),
        }
    }

    fn refused<R>(
        &mut self,
        conn: ConnId,
        mut pending: Pending<O>,
        why: RefuseReason,
        out: &mut Vec<Action<O, R>>,
    ) {
        pending.refused = Some(why);
        match why {
            RefuseReason::NoLeader
            | RefuseReason::Busy
            | RefuseReason::Stopping
            | RefuseReason::Full
            | RefuseReason::TimedOut => {
                self.retry(conn, pending);
            }
            // Every node would say the same.
            RefuseReason::TooLarge | RefuseReason::NoSpace => {
                self.done(pending, End::Refused(why), out);
            }
        }
    }

    /// Asks again, elsewhere and later. Other requests of this connection may still be answered.
    fn retry(&mut self, conn: ConnId, pending: Pending<O>) {
        self.queue.push_back(pending);
        // One pause for all that are refused in a row on one connection.
        if self.link == Link::Open(conn) && self.resume <= self.now {
            if self.config.endpoints > 1 {
                self.leave();
            }
            self.pause();
        }
    }

    /// A connection is gone, and with it the answers.
    fn lost<R>(&mut self, id: ConnId, out: &mut Vec<Action<O, R>>) {
        // A connection can also end before anyone said that it was open.
        self.connect_failed(id);
        let Some(mut conn) = self.conns.remove(&id) else {
            return;
        };
        if self.link == Link::Open(id) {
            self.leave();
        }
        self.take_reads(&mut conn);
        for pending in conn.sent.into_iter().filter_map(|sent| sent.live) {
            self.done(pending, End::Unknown, out);
        }
    }

    /// Puts the reads of a connection back in front of the queue, in their order.
    fn take_reads(&mut self, conn: &mut Conn<O>) {
        for sent in conn.sent.iter_mut().rev() {
            let again = |pending: &Pending<O>| planted!(self.config, ResendUnanswered, !pending.op.is_write() => true);
            if let Some(read) = sent.live.take_if(|pending| again(pending)) {
                self.queue.push_front(read);
            }
        }
    }

    /// Turns to the next endpoint: at once, unless all have failed.
    fn leave(&mut self) {
        self.link = Link::None;
        self.endpoint = (self.endpoint + 1) % self.config.endpoints;
        self.failures += 1;
        if self.failures.is_multiple_of(self.config.endpoints) {
            self.pause();
        }
    }

    fn pause(&mut self) {
        let half = self.backoff.get() / 2;
        let pause = Micros::new(half + self.rng.below(half + 1));
        self.resume = self.resume.max(self.now.after(pause));
        self.backoff = self.backoff.doubled(self.config.backoff_max);
    }

    fn run_timers<R>(&mut self, out: &mut Vec<Action<O, R>>) {
        while let Some((deadline, id)) = self.deadlines.first().copied() {
            if deadline > self.now {
                break;
            }
            self.expire(deadline, id, out);
        }
        if let Link::Connecting { conn, until } = self.link
            && until <= self.now
        {
            out.push(Action::Close(conn));
            self.leave();
        }
        let stale = |conn: &Conn<O>| self.stale_at(conn).is_some_and(|at| at <= self.now);
        let stale: Vec<ConnId> =
            self.conns.iter().filter_map(|(id, conn)| stale(conn).then_some(*id)).collect();
        for id in stale {
            self.give_up(id);
        }
    }

    /// When a connection will have left a request unanswered for too long.
    fn stale_at(&self, conn: &Conn<O>) -> Option<Instant> {
        let oldest = conn.sent.front().filter(|_| !conn.given_up)?;
        Some(oldest.at.max(conn.heard).after(self.config.attempt_timeout))
    }

    fn give_up(&mut self, id: ConnId) {
        if self.link == Link::Open(id) {
            self.leave();
        }
        if let Some(mut conn) = self.conns.remove(&id) {
            conn.given_up = true;
            self.take_reads(&mut conn);
            self.conns.insert(id, conn);
        }
    }

    fn expire<R>(&mut self, deadline: Instant, id: Ticket, out: &mut Vec<Action<O, R>>) {
        self.deadlines.remove(&(deadline, id));
        let ours = |pending: &Pending<O>| pending.id == id;
        let queued = self.queue.iter().position(ours);
        let (pending, sent) = match queued.and_then(|index| self.queue.remove(index)) {
            Some(pending) => (Some(pending), false),
            None => {
                let mut all = self.conns.values_mut().flat_map(|conn| &mut conn.sent);
                (all.find_map(|sent| sent.live.take_if(|p| ours(p))), true)
            }
        };
        let Some(pending) = pending else { return };
        planted!(self.config, ForgetExpired => self.forget_expired());
        planted!(self.config, CallSentTimedOut: sent = false);
        let end = match pending.refused {
            _ if sent && pending.op.is_write() => End::Unknown,
            why => End::Refused(why.unwrap_or(RefuseReason::TimedOut)),
        };
        self.done(pending, end, out);
    }

    fn done<R>(&mut self, pending: Pending<O>, end: End<R>, out: &mut Vec<Action<O, R>>) {
        self.deadlines.remove(&(pending.deadline, pending.id));
        let id = pending.id;
        out.push(Action::Done { id, end });
    }

    /// Closes the connections that get no new requests and have none that waits.
    fn close_unused<R>(&mut self, out: &mut Vec<Action<O, R>>) {
        let link = self.link;
        self.conns.retain(|id, conn| {
            let used = link == Link::Open(*id) || conn.sent.iter().any(|sent| sent.live.is_some());
            if !used {
                out.push(Action::Close(*id));
            }
            used
        });
    }

    /// A connection on which nothing was said for long is not trusted with a request: its node is
    /// called again.
    fn close_idle<R>(&mut self, out: &mut Vec<Action<O, R>>) {
        let Link::Open(id) = self.link else { return };
        let until = |conn: &Conn<O>| conn.heard.after(self.config.idle_timeout);
        let idle = |conn: &Conn<O>| conn.sent.is_empty() && until(conn) <= self.now;
        if !self.queue.is_empty() && self.conns.get(&id).is_some_and(idle) {
            self.conns.remove(&id);
            self.link = Link::None;
            out.push(Action::Close(id));
        }
    }

    fn connect<R>(&mut self, out: &mut Vec<Action<O, R>>) {
        if self.link != Link::None || self.queue.is_empty() || self.resume > self.now {
            return;
        }
        self.last_conn += 1;
        let conn = ConnId::new(self.last_conn);
        let until = self.now.after(self.config.connect_timeout);
        self.link = Link::Connecting { conn, until };
        let endpoint = self.endpoint;
        out.push(Action::Connect { conn, endpoint });
    }

    fn send<R>(&mut self, out: &mut Vec<Action<O, R>>) {
        let Link::Open(id) = self.link else { return };
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if self.resume > self.now {
            return;
        }
        for pending in self.queue.drain(..) {
            let mut op = pending.op.clone();
            op.see(self.seen);
            let wait = self.config.told(pending.deadline.since(self.now));
            out.push(Action::Send { conn: id, id: pending.id, op, wait });
            conn.sent.push_back(Sent { at: self.now, live: Some(pending) });
        }
    }
}

impl Config {
    /// For how long a node may hold a request that has so much time left. One that is cut off from
    /// the others holds it in vain, so while there are others to ask it gets half of the time.
    fn told(&self, left: Micros) -> Micros {
        let left = left.get() - self.margin.get().min(left.get() / 8);
        let told = match self.endpoints {
            1 => left,
            _ => (left / 2).max(left.min(HALVED)),
        };
        Micros::new(told.max(LEAST))
    }
}

#[cfg(test)]
mod tests;
