//! The load generator: one thread that polls all connections. A closed loop: each connection keeps
//! so many requests under way, and sends the next when an answer comes.

use crate::proto::{Codec, Key, Op, Protocol, Refused, SILENCE};
use crate::{Fallible, conn::Conn};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long connections may take at the start.
const CONNECT: Duration = Duration::from_secs(30);
/// How often slow things are looked at: lost and silent connections, the end of the run.
const LOOK: Duration = Duration::from_millis(10);
/// How long answers are waited for at the end, and then the ends of sessions.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where requests come from, and where their results go.
pub(crate) trait Workload {
    /// The next request, if there is one now.
    fn next(&mut self) -> Option<(Op, Key)>;
    /// A request has an answer, or will have none.
    fn done(&mut self, answer: &Answer);
    /// Called often; says whether the run is over.
    fn is_over(&mut self, now: Instant) -> Fallible<bool>;
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) op: Op,
    /// When it could be sent, as the request before it had its answer: from here its latency
    /// counts.
    pub(crate) since: Instant,
    pub(crate) at: Instant,
    /// Bytes received, of which a value is the most.
    pub(crate) result: Result<usize, Refused>,
}

/// What to connect to, and how.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) protocol: Protocol,
    pub(crate) nodes: Vec<SocketAddr>,
    pub(crate) connections: usize,
    /// Requests under way on each connection.
    pub(crate) outstanding: u32,
    /// What is written.
    pub(crate) value: Vec<u8>,
    /// How long a node may leave a request without an answer before the connection goes to the
    /// next node.
    pub(crate) patience: Duration,
}

/// The load generator.
pub(crate) struct Engine {
    plan: Plan,
    poll: Poll,
    conns: Vec<Conn>,
    scratch: Vec<u8>,
    look_at: Instant,
}

impl Engine {
    /// Connects to the nodes in turn, and waits until all of them take requests.
    pub(crate) fn connect(plan: Plan) -> Fallible<Self> {
        let mut engine = Self {
            poll: Poll::new()?,
            conns: Vec::new(),
            scratch: vec![0; 256 << 10],
            look_at: Instant::now(),
            plan,
        };
        for index in 0..engine.plan.connections {
            let conn = engine.open(index, index)?;
            engine.conns.push(conn);
        }
        let mut events = Events::with_capacity(1024);
        let mut silence = Silence { end: Instant::now() + CONNECT };
        while !engine.conns.iter().all(|conn| conn.ready) {
            if engine.step(&mut events, &mut silence)? {
                return Err(format!("no connections after {CONNECT:?}").into());
            }
        }
        Ok(engine)
    }

    /// Runs a load until it is over, or has nothing more to send and all answers.
    pub(crate) fn run(&mut self, load: &mut dyn Workload) -> Fallible<()> {
        let mut events = Events::with_capacity(1024);
        for conn in &mut self.conns {
            conn.fill(load, &self.plan.value);
        }
        while !self.step(&mut events, load)? && self.under_way() {}
        Ok(())
    }

    /// Waits for answers, then ends the sessions.
    pub(crate) fn finish(mut self) -> Fallible<()> {
        let mut events = Events::with_capacity(1024);
        let mut silence = Silence { end: Instant::now() + LAST_ANSWERS };
        while self.under_way() && !self.step(&mut events, &mut silence)? {}
        let mut ending: Vec<bool> = self.conns.iter_mut().map(Conn::end).collect();
        let end = Instant::now() + LAST_WORDS;
        while ending.contains(&true) && Instant::now() < end {
            self.poll.poll(&mut events, Some(LOOK))?;
            for event in &events {
                let Some(conn) = self.conns.get_mut(event.token().0) else { continue };
                conn.receive(&mut self.scratch, &mut silence);
                ending[event.token().0] &= !conn.lost;
            }
        }
        Ok(())
    }

    fn under_way(&self) -> bool {
        self.conns.iter().any(|conn| !conn.ready || conn.oldest().is_some())
    }

    /// A connection with this token, to the node at this place of the round.
    fn open(&self, token: usize, place: usize) -> Fallible<Conn> {
        let place_of = place.checked_rem(self.plan.nodes.len());
        let addr = place_of.and_then(|at| self.plan.nodes.get(at)).ok_or("no node is given")?;
        let mut stream = TcpStream::connect(*addr)?;
        // It fails if the node is gone already, and then so does all else.
        let _ = stream.set_nodelay(true);
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(token), both)?;
        let codec: Box<dyn Codec> = self.plan.protocol.codec();
        Ok(Conn::new(stream, codec, place, self.plan.outstanding))
    }

    fn step(&mut self, events: &mut Events, load: &mut dyn Workload) -> Fallible<bool> {
        match self.poll.poll(events, Some(LOOK)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &*events {
            let Some(conn) = self.conns.get_mut(event.token().0) else { continue };
            if event.is_readable() || event.is_read_closed() {
                conn.receive(&mut self.scratch, load);
            }
            conn.fill(load, &self.plan.value);
        }
        let now = Instant::now();
        if now >= self.look_at {
            self.look_at = now + LOOK;
            self.look(now, load);
        }
        load.is_over(now)
    }

    /// Replaces connections that are lost or wait for too long, and keeps silent ones alive.
    fn look(&mut self, now: Instant, load: &mut dyn Workload) {
        for index in 0..self.conns.len() {
            let conn = &mut self.conns[index];
            if now.duration_since(conn.waits_since()) > self.plan.patience {
                conn.lose(load);
            }
            let place = conn.place + 1;
            if conn.lost {
                // A node that is gone may refuse at once; the next round tries the one after it.
                if let Ok(conn) = self.open(index, place) {
                    self.conns[index] = conn;
                }
            } else {
                conn.keep_alive(now, SILENCE);
            }
        }
    }
}

/// Sends nothing until a time.
struct Silence {
    end: Instant,
}

impl Workload for Silence {
    fn next(&mut self) -> Option<(Op, Key)> {
        None
    }

    fn done(&mut self, _answer: &Answer) {}

    fn is_over(&mut self, now: Instant) -> Fallible<bool> {
        Ok(now >= self.end)
    }
}
