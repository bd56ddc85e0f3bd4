//! One connection of the load generator: requests out, answers in.

use crate::engine::{Answer, Workload};
use crate::proto::{Codec, Event, Op, Refused};
use mio::net::TcpStream;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// A connection.
pub(crate) struct Conn {
    stream: TcpStream,
    codec: Box<dyn Codec>,
    /// Where its node is in the round of all.
    pub(crate) place: usize,
    opened: Instant,
    /// The node takes requests.
    pub(crate) ready: bool,
    /// It cannot be used any more.
    pub(crate) lost: bool,
    /// Bytes of an answer whose rest has not come.
    incoming: Vec<u8>,
    /// Bytes to send when the socket takes them.
    outgoing: Vec<u8>,
    events: Vec<Event>,
    /// Slots for requests, and since when they have been free.
    free: Vec<(u32, Instant)>,
    /// By slot, the request under way and since when its latency counts.
    asked: Vec<Option<(Op, Instant)>>,
    last_sent: Instant,
}

impl Conn {
    /// A connection that is being opened.
    pub(crate) fn new(
        stream: TcpStream,
        mut codec: Box<dyn Codec>,
        place: usize,
        outstanding: u32,
    ) -> Self {
        let now = Instant::now();
        let mut outgoing = Vec::new();
        codec.hello(&mut outgoing);
        Self {
            stream,
            codec,
            place,
            opened: now,
            ready: false,
            lost: false,
            incoming: Vec::new(),
            outgoing,
            events: Vec::new(),
            free: (0..outstanding).rev().map(|slot| (slot, now)).collect(),
            asked: (0..outstanding).map(|_| None).collect(),
            last_sent: now,
        }
    }

    /// Since when the oldest request has been under way.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.asked.iter().flatten().map(|(_, since)| *since).min()
    }

    /// Since when the node has owed something: an answer, or to take requests at all. Now, if it
    /// owes nothing.
    pub(crate) fn waits_since(&self) -> Instant {
        match self.ready {
            true => self.oldest().unwrap_or_else(Instant::now),
            false => self.opened,
        }
    }

    /// Reads what has come, and tells the load of the answers.
    pub(crate) fn receive(&mut self, scratch: &mut [u8], load: &mut dyn Workload) {
        if self.lost {
            return;
        }
        let whole = self.read(scratch);
        let parsed = self.codec.parse(&self.incoming, &mut self.outgoing, &mut self.events);
        let now = Instant::now();
        for event in std::mem::take(&mut self.events) {
            match event {
                Event::Ready => {
                    self.ready = true;
                    self.free.iter_mut().for_each(|(_, since)| *since = now);
                }
                Event::Done { slot, result } => self.answered(slot, now, result, load),
            }
        }
        match parsed {
            Ok(used) if whole => drop(self.incoming.drain(..used)),
            _ => self.lose(load),
        }
    }

    /// Reads until there is no more; says whether the connection still stands.
    fn read(&mut self, scratch: &mut [u8]) -> bool {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return false,
                Ok(len) => {
                    self.incoming.extend_from_slice(&scratch[..len]);
                    // Less than there was room for: there is no more, or an event will tell.
                    if len < scratch.len() {
                        return true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn answered(
        &mut self,
        slot: u32,
        at: Instant,
        result: Result<usize, Refused>,
        load: &mut dyn Workload,
    ) {
        if let Some((op, since)) = self.asked.get_mut(slot as usize).and_then(Option::take) {
            self.free.push((slot, at));
            load.done(&Answer { op, since, at, result });
        }
    }

    /// Sends as many requests as may be under way.
    pub(crate) fn fill(&mut self, load: &mut dyn Workload, value: &[u8]) {
        while self.ready && !self.lost && self.codec.has_room(value.len()) {
            let Some((slot, since)) = self.free.pop() else { break };
            let Some((op, key)) = load.next() else {
                self.free.push((slot, since));
                break;
            };
            self.codec.request(slot, op, key, value, &mut self.outgoing);
            self.asked[slot as usize] = Some((op, since));
            self.last_sent = since;
        }
        self.flush();
    }

    /// Sends what the socket takes now. An event will tell when it takes more, or that it broke.
    fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.outgoing.len() && !self.lost {
            match self.stream.write(&self.outgoing[sent..]) {
                Ok(len) if len > 0 => sent += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        self.outgoing.drain(..sent);
    }

    /// Gives the connection up; what was asked has no answer.
    pub(crate) fn lose(&mut self, load: &mut dyn Workload) {
        self.lost = true;
        self.ready = false;
        let now = Instant::now();
        for slot in 0..self.asked.len() as u32 {
            self.answered(slot, now, Err(Refused), load);
        }
    }

    /// Says that the client lives, if it has been silent for so long.
    pub(crate) fn keep_alive(&mut self, now: Instant, silence: Duration) {
        if self.ready && now.saturating_duration_since(self.last_sent) > silence {
            self.last_sent = now;
            self.codec.ping(&mut self.outgoing);
            self.flush();
        }
    }

    /// Ends the session, and says whether the node will close the connection for that.
    pub(crate) fn end(&mut self) -> bool {
        let before = self.outgoing.len();
        self.codec.bye(&mut self.outgoing);
        let says = self.outgoing.len() > before && !self.lost;
        self.flush();
        says
    }
}
