//! The load generator: one thread, one poll over all connections, no allocation for a request.

use super::conn::{Conn, Sent, State};
use super::frames::{Frames, Kind};
use super::pace::{Alarm, Pace};
use super::tally::{Fate, Tally};
use crate::cli::exit::{Failure, INVALID, NOT_DONE, OTHER};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a connection waits after a node refused a request, or could not be reached.
const PAUSE: u64 = 5_000;
/// How often slow things are looked at: connections without an answer, the wish to stop.
const HEARTBEAT: u64 = 100_000;
/// How much is read at a time.
const READ: usize = 256 << 10;
/// The token of the alarm; connections count from 0.
const ALARM: Token = Token(usize::MAX);

/// Where requests come from.
#[derive(Debug)]
pub(super) enum Source {
    /// None: only answers are waited for.
    Nothing,
    /// Random ones, as the load says.
    Load,
    /// Every key is written once.
    Fill { next: u32, again: Vec<u32>, done: u32 },
}

/// The load generator.
#[derive(Debug)]
pub(super) struct Engine {
    poll: Poll,
    events: Events,
    alarm: Alarm,
    endpoints: Vec<SocketAddr>,
    conns: Vec<Conn>,
    outstanding: usize,
    frames: Frames,
    source: Source,
    pace: Pace,
    /// A connection for each request that may be sent now; one that is gone or full is skipped.
    free: VecDeque<usize>,
    /// The same for requests that may be sent from a time on.
    later: VecDeque<(u64, usize)>,
    /// Connections to open, from a time on.
    redial: VecDeque<(u64, usize)>,
    /// Connections with something to write.
    dirty: Vec<usize>,
    scratch: Box<[u8]>,
    epoch: Instant,
    timeout: u64,
    stop: Arc<AtomicBool>,
    /// What came of the requests.
    pub(super) tally: Tally,
    /// False while answers are not measured, only errors.
    pub(super) measuring: bool,
    /// Set to find the first acknowledgement of a write sent after this time ...
    pub(super) watch_from: Option<u64>,
    /// ... which came at this time.
    pub(super) seen_at: Option<u64>,
}

impl Engine {
    /// A generator with `connections` connections to the endpoints in turn. A request without an
    /// answer for `timeout` counts as lost; `stop` ends everything early.
    pub(super) fn new(
        endpoints: Vec<SocketAddr>,
        connections: u32,
        outstanding: u32,
        frames: Frames,
        timeout: Duration,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let poll = Poll::new().map_err(cannot_wait)?;
        let alarm = Alarm::new(poll.registry(), ALARM).map_err(cannot_wait)?;
        let outstanding = usize::try_from(outstanding).unwrap_or(usize::MAX);
        let count = usize::try_from(connections).unwrap_or(usize::MAX);
        let turn = endpoints.len().max(1);
        let mut engine = Self {
            poll,
            events: Events::with_capacity(1024),
            alarm,
            endpoints,
            conns: (0..count).map(|index| Conn::new(index % turn, outstanding)).collect(),
            outstanding,
            frames,
            source: Source::Nothing,
            pace: Pace::Closed,
            free: VecDeque::new(),
            later: VecDeque::new(),
            redial: VecDeque::new(),
            dirty: Vec::new(),
            scratch: vec![0; READ].into(),
            epoch: Instant::now(),
            timeout: u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX),
            stop,
            tally: Tally::new()?,
            measuring: false,
            watch_from: None,
            seen_at: None,
        };
        for index in 0..count {
            engine.dial(index);
        }
        Ok(engine)
    }

    /// Microseconds since the generator began.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// True if somebody asked to stop.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Sends random requests of the load from now on.
    pub(super) fn start_load(&mut self, pace: Pace) {
        self.source = Source::Load;
        self.pace = pace;
    }

    /// How many requests of an open loop should have been sent until `now`, and were not.
    pub(super) fn backlog(&self, now: u64) -> u64 {
        self.pace.backlog(now)
    }

    /// Writes every key once.
    pub(super) fn fill(&mut self) -> Result<(), Failure> {
        self.source = Source::Fill { next: 0, again: Vec::new(), done: 0 };
        self.pace = Pace::Closed;
        let (mut before, mut since) = (0, self.now());
        loop {
            let until = self.now() + HEARTBEAT;
            self.run_until(until)?;
            let now = self.now();
            match self.source {
                Source::Fill { done, .. } if done == self.frames.keys() => break,
                _ if self.stopped() => {
                    return Err(Failure::new(OTHER, "stopped before all keys were written"));
                }
                Source::Fill { done, .. } if done > before => (before, since) = (done, now),
                _ if now - since > self.timeout => {
                    return Err(Failure::new(
                        NOT_DONE,
                        format_args!(
                            "no key could be written for {:?} ({}); see `zabkeeper status`",
                            Duration::from_micros(now - since),
                            self.tally.errors.words(),
                        ),
                    ));
                }
                _ => {}
            }
        }
        // What went wrong on the way was done again.
        self.tally.reset();
        self.source = Source::Nothing;
        Ok(())
    }

    /// Waits for the answers of all requests that were sent.
    pub(super) fn drain(&mut self) -> Result<(), Failure> {
        self.source = Source::Nothing;
        while self.conns.iter().any(|conn| !conn.asked.is_empty()) && !self.stopped() {
            self.run_until(self.now() + 1_000)?;
        }
        Ok(())
    }

    /// Sends and receives until a time, until all keys are filled, or until the
    /// acknowledgement that is watched for.
    pub(super) fn run_until(&mut self, until: u64) -> Result<(), Failure> {
        let mut heartbeat = 0;
        loop {
            let now = self.now();
            if now >= heartbeat {
                heartbeat = now + HEARTBEAT;
                self.look_for_lost(now);
            }
            self.send(now)?;
            self.flush()?;
            let seen = self.watch_from.is_some() && self.seen_at.is_some();
            let filled =
                matches!(self.source, Source::Fill { done, .. } if done == self.frames.keys());
            if now >= until || seen || filled || self.stopped() {
                return Ok(());
            }
            self.wait(now, until.min(heartbeat)).map_err(cannot_wait)?;
            let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
            for event in &events {
                match event.token() {
                    ALARM => self.alarm.rang(),
                    Token(index) => self.progress(index)?,
                }
            }
            self.events = events;
        }
    }

    /// Waits for sockets or the next thing to do, at `until` at the latest.
    fn wait(&mut self, now: u64, until: u64) -> io::Result<()> {
        let mut next = until;
        next = self.later.front().map_or(next, |(at, _)| next.min(*at));
        next = self.redial.front().map_or(next, |(at, _)| next.min(*at));
        if let (Source::Load, Some(due), false) =
            (&self.source, self.pace.next_due(), self.free.is_empty())
        {
            next = next.min(due);
            self.alarm.set(due.saturating_sub(now))?;
        }
        let timeout = Duration::from_micros(next.saturating_sub(now));
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    /// Encodes every request that is due and has a free place.
    fn send(&mut self, now: u64) -> Result<(), Failure> {
        while let Some((_, index)) = self.redial.pop_front_if(|(at, _)| *at <= now) {
            self.dial(index);
        }
        while let Some((_, index)) = self.later.pop_front_if(|(at, _)| *at <= now) {
            self.free.push_back(index);
        }
        while let Some(&index) = self.free.front() {
            let room = self
                .conns
                .get_mut(index)
                .filter(|conn| conn.state == State::Open && conn.asked.len() < self.outstanding);
            let Some(conn) = room else {
                self.free.pop_front();
                continue;
            };
            let (kind, key, due) = match &mut self.source {
                Source::Nothing => return Ok(()),
                Source::Load => {
                    let Some(due) = self.pace.take(now) else {
                        return Ok(());
                    };
                    let (kind, key) = self.frames.draw();
                    (kind, key, due)
                }
                Source::Fill { next, again, .. } => {
                    let key = match again.pop() {
                        Some(key) => key,
                        None if *next < self.frames.keys() => {
                            *next += 1;
                            *next - 1
                        }
                        None => return Ok(()),
                    };
                    (Kind::Write, key, now)
                }
            };
            self.free.pop_front();
            self.frames.put(kind, key, &mut conn.outgoing)?;
            conn.asked.push_back(Sent { kind, key, due, at: now });
            if !conn.dirty {
                conn.dirty = true;
                self.dirty.push(index);
            }
        }
        Ok(())
    }

    /// Writes what was encoded: one write for a connection.
    fn flush(&mut self) -> Result<(), Failure> {
        while let Some(index) = self.dirty.pop() {
            if let Some(conn) = self.conns.get_mut(index) {
                conn.dirty = false;
                if let Err(error) = conn.flush() {
                    self.broken(index, &error)?;
                }
            }
        }
        Ok(())
    }

    /// A connection is ready for something.
    fn progress(&mut self, index: usize) -> Result<(), Failure> {
        let Some(conn) = self.conns.get_mut(index) else {
            return Ok(());
        };
        if conn.state == State::Opening {
            match conn.opened() {
                Ok(true) => self.free.extend(std::iter::repeat_n(index, self.outstanding)),
                Ok(false) => {}
                Err(_) => {
                    conn.close();
                    conn.endpoint = (conn.endpoint + 1) % self.endpoints.len().max(1);
                    self.redial.push_back((self.now() + PAUSE, index));
                }
            }
            return Ok(());
        }
        let result = conn.flush();
        let now = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
        let read = conn.read(&mut self.scratch, |sent, fate| {
            match fate {
                Fate::Refused | Fate::Unknown => self.later.push_back((now + PAUSE, index)),
                _ => self.free.push_back(index),
            }
            if fate == Fate::Good {
                if self.measuring {
                    self.tally.good(sent.kind, now.saturating_sub(sent.due));
                }
                if sent.kind == Kind::Write && self.watch_from.is_some_and(|from| sent.at > from) {
                    self.seen_at.get_or_insert(now);
                }
            }
            ended(&mut self.source, &mut self.tally, sent, fate);
        });
        match result.and(read) {
            Ok(()) => Ok(()),
            Err(error) => self.broken(index, &error),
        }
    }

    /// A connection ended: what was asked on it is lost, and the next endpoint is tried.
    fn broken(&mut self, index: usize, error: &io::Error) -> Result<(), Failure> {
        if error.kind() == ErrorKind::InvalidData {
            return Err(Failure::new(
                INVALID,
                format_args!("an answer of a node makes no sense: {error}"),
            ));
        }
        if let Some(conn) = self.conns.get_mut(index) {
            conn.close();
            for sent in conn.asked.drain(..) {
                ended(&mut self.source, &mut self.tally, sent, Fate::Lost);
            }
            conn.endpoint = (conn.endpoint + 1) % self.endpoints.len().max(1);
            self.dial(index);
        }
        Ok(())
    }

    /// Gives up connections whose oldest request has no answer for too long.
    fn look_for_lost(&mut self, now: u64) {
        for index in 0..self.conns.len() {
            let late = |conn: &&mut Conn| {
                conn.asked.front().is_some_and(|sent| now.saturating_sub(sent.at) > self.timeout)
            };
            if self.conns.get_mut(index).filter(late).is_some() {
                // It is no answer that makes no sense, thus no failure.
                let _ = self.broken(index, &ErrorKind::TimedOut.into());
            }
        }
    }

    fn dial(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else {
            return;
        };
        let Some(addr) = self.endpoints.get(conn.endpoint) else {
            return;
        };
        let opened = TcpStream::connect(*addr).and_then(|mut stream| {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(index), interest)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                conn.stream = Some(stream);
                conn.state = State::Opening;
            }
            Err(_) => {
                conn.endpoint = (conn.endpoint + 1) % self.endpoints.len().max(1);
                let at = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.redial.push_back((at + PAUSE, index));
            }
        }
    }
}

/// Counts the end of a request that was not good, and keeps account of the keys to fill.
fn ended(source: &mut Source, tally: &mut Tally, sent: Sent, fate: Fate) {
    tally.errors.count(fate);
    if let Source::Fill { again, done, .. } = source {
        match fate {
            Fate::Good => *done += 1,
            _ => again.push(sent.key),
        }
    }
}

fn cannot_wait(error: io::Error) -> Failure {
    Failure::new(OTHER, format_args!("cannot wait for sockets: {error}"))
}
