//! A client of the real ensemble: the production client logic over plain sockets, one thread for
//! the client and one that reads for each of its connections.

use super::history::{self, History};
use crate::run::plan::OpKind;
use crate::world::dice::Dice;
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;
use zabkeeper_core::client::{Action, Client, Config, Event};
use zabkeeper_core::store::{Answer, Op};
use zabkeeper_core::words::{ConnId, End, Instant, Micros, Rng, Ticket};
use zabkeeper_proto::client::{ClientRequest, decode_reply, encode_request};
use zabkeeper_proto::frame::{self, Kind};

/// Keys in use at one time. After a while clients turn to new ones, which keeps the history of
/// each short enough to be judged.
const KEYS: u64 = 4;
/// How long keys are in use, in microseconds.
const WHILE: u64 = 3_000_000;
const CONNECT: Duration = Duration::from_millis(500);

type ClientEvent = Event<Op, Answer>;

/// What a reading thread has to tell.
enum News {
    Connected(ConnId, TcpStream),
    Failed(ConnId),
    Reply(ConnId, u64, End<Answer>),
    Broken(ConnId, String),
    Closed(ConnId),
}

/// A client.
pub(super) struct Caller<'a> {
    number: usize,
    history: &'a History,
    rng: Rng,
    endpoints: Vec<SocketAddr>,
    machine: Client<Op>,
    conns: BTreeMap<ConnId, Conn>,
    tell: Sender<News>,
    told: Receiver<News>,
    /// How many requests it has under way at most, and how long it rests in between at most.
    depth: usize,
    rest: u64,
}

struct Conn {
    stream: TcpStream,
    /// Requests without an answer, oldest first.
    asked: VecDeque<u64>,
}

impl<'a> Caller<'a> {
    /// A client that knows these nodes.
    pub(super) fn new(
        number: usize,
        history: &'a History,
        endpoints: &[SocketAddr],
        rng: &Rng,
    ) -> Self {
        let mut rng = rng.split(number as u64);
        let mut endpoints = endpoints.to_vec();
        rng.shuffle(&mut endpoints);
        let (tell, told) = channel();
        Self {
            number,
            history,
            machine: Client::new(Config::new(endpoints.len()), rng.next_u64(), Instant::default()),
            endpoints,
            conns: BTreeMap::new(),
            tell,
            told,
            depth: rng.between(1, 4) as usize,
            rest: rng.magnitude(500, 30_000),
            rng,
        }
    }

    /// Asks this and that until `stop`, then waits until everything asked has ended.
    pub(super) fn run(&mut self, stop: impl Fn() -> bool) {
        let mut next = 0;
        loop {
            let stopped = stop();
            if stopped && self.machine.pending() == 0 {
                return;
            }
            let now = self.history.now();
            let idle = !stopped && self.machine.pending() < self.depth;
            if idle && next <= now {
                self.ask_something(now);
                next = now + self.rng.between(0, self.rest);
            }
            self.turn(if idle { next.saturating_sub(now) } else { 50_000 });
        }
    }

    /// Reads these keys, one after the other, at the very end.
    pub(super) fn read_all(&mut self, keys: &[u32], patience: u64) {
        for key in keys {
            self.ask(OpKind::Get, *key, 0, patience);
            while self.machine.pending() > 0 {
                self.turn(50_000);
            }
        }
    }

    fn ask_something(&mut self, now: u64) {
        let kinds = [OpKind::Set, OpKind::Add, OpKind::Delete, OpKind::Get, OpKind::Peek];
        let kind = kinds[self.rng.weighted(&[30, 15, 15, 35, 5])];
        let key = (now / WHILE * KEYS + self.rng.below(KEYS)) as u32;
        let size = if self.rng.chance(100_000) { self.rng.magnitude(1, 64 << 10) } else { 0 };
        let patience = self.rng.magnitude(300_000, 4_000_000);
        self.ask(kind, key, size as u32, patience);
    }

    fn ask(&mut self, kind: OpKind, key: u32, size: u32, patience: u64) {
        let op = history::op(self.number, kind, key, size, patience);
        let (id, op) = self.history.ask(op);
        let deadline = self.now().after(Micros::new(patience));
        self.handle(Event::Submit { id: Ticket::new(id as u64), op, deadline });
    }

    /// Waits for news, for so many microseconds at most, and handles them.
    fn turn(&mut self, longest: u64) {
        let timer = self.machine.deadline().map(|at| at.since(self.now()).get());
        let wait = Duration::from_micros(timer.unwrap_or(longest).min(longest));
        match self.told.recv_timeout(wait) {
            Ok(news) => self.hear(news),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        while let Ok(news) = self.told.try_recv() {
            self.hear(news);
        }
        self.handle(Event::Tick);
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Connected(conn, stream) => {
                self.conns.insert(conn, Conn { stream, asked: VecDeque::new() });
                self.handle(Event::Connected(conn));
            }
            News::Failed(conn) => self.handle(Event::ConnectFailed(conn)),
            News::Reply(conn, id, end) => {
                let Some(known) = self.conns.get_mut(&conn) else { return };
                if known.asked.pop_front() != Some(id) {
                    self.history.wrong(format!("a node answers request {id} out of turn"));
                }
                if let End::Invalid(why) = &end {
                    self.history.wrong(format!("a node calls request {id} invalid: {why}"));
                }
                self.handle(Event::Received { conn, end });
            }
            News::Broken(conn, why) => {
                self.history.wrong(format!("what a node answers cannot be read: {why}"));
                self.lose(conn);
            }
            News::Closed(conn) => self.lose(conn),
        }
    }

    fn lose(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
        self.handle(Event::Closed(conn));
    }

    fn handle(&mut self, event: ClientEvent) {
        let now = self.now();
        let mut actions = Vec::new();
        self.machine.handle(now, event, &mut actions);
        for action in actions {
            match action {
                Action::Connect { conn, endpoint } => {
                    let (addr, tell) = (self.endpoints[endpoint], self.tell.clone());
                    thread::spawn(move || connect(conn, addr, &tell));
                }
                Action::Send { conn, id, op, wait } => self.send(conn, id, op, wait),
                Action::Close(conn) => {
                    if let Some(conn) = self.conns.remove(&conn) {
                        let _ = conn.stream.shutdown(Shutdown::Both);
                    }
                }
                Action::Done { id, end } => self.history.end(id.get() as usize, end),
            }
        }
    }

    fn send(&mut self, conn: ConnId, id: Ticket, op: Op, wait: Micros) {
        let timeout_ms = (wait.get() / 1000) as u32;
        let mut bytes = Vec::new();
        encode_request(&ClientRequest { id: id.get(), timeout_ms, op }, &mut bytes);
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.asked.push_back(id.get());
            // If it fails, the reading thread tells that the connection is gone.
            if conn.stream.write_all(&bytes).is_err() {
                let _ = conn.stream.shutdown(Shutdown::Both);
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.history.now())
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        for conn in self.conns.values() {
            let _ = conn.stream.shutdown(Shutdown::Both);
        }
    }
}

/// Opens a connection and reads it to its end.
fn connect(conn: ConnId, addr: SocketAddr, tell: &Sender<News>) {
    let open = || {
        let stream = TcpStream::connect_timeout(&addr, CONNECT)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        Ok::<_, std::io::Error>((stream.try_clone()?, stream))
    };
    let Ok((ours, theirs)) = open() else {
        let _ = tell.send(News::Failed(conn));
        return;
    };
    let _ = tell.send(News::Connected(conn, theirs));
    let last = match read_replies(conn, ours, tell) {
        Ok(()) => News::Closed(conn),
        Err(why) => News::Broken(conn, why),
    };
    let _ = tell.send(last);
}

fn read_replies(conn: ConnId, mut stream: TcpStream, tell: &Sender<News>) -> Result<(), String> {
    let mut bytes = Vec::new();
    let mut room = vec![0; 64 << 10];
    loop {
        match stream.read(&mut room) {
            Ok(0) | Err(_) => return Ok(()),
            Ok(len) => bytes.extend_from_slice(&room[..len]),
        }
        while let Some(frame) = frame::parse(&bytes, Kind::Reply, frame::MAX_REPLY_BODY)
            .map_err(|error| error.to_string())?
        {
            let reply = decode_reply(&frame).map_err(|error| error.to_string())?;
            let used = frame.consumed();
            bytes.drain(..used);
            let _ = tell.send(News::Reply(conn, reply.id, reply.end));
        }
    }
}

/// What a node says of itself, asked without a proxy.
pub(super) fn status(addr: SocketAddr, patience: Duration) -> Option<zabkeeper_core::zab::Status> {
    let mut stream = TcpStream::connect_timeout(&addr, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    let timeout_ms = patience.as_millis() as u32;
    let mut bytes = Vec::new();
    encode_request(&ClientRequest { id: 1, timeout_ms, op: Op::Status }, &mut bytes);
    stream.write_all(&bytes).ok()?;
    bytes.clear();
    let mut room = [0; 4096];
    loop {
        match stream.read(&mut room) {
            Ok(0) | Err(_) => return None,
            Ok(len) => bytes.extend_from_slice(&room[..len]),
        }
        let found = frame::parse(&bytes, Kind::Reply, frame::MAX_REPLY_BODY).ok()?;
        if let Some(frame) = found {
            let end = decode_reply(&frame).ok()?.end;
            let End::Done { answer: Answer::Status(status), .. } = end else { return None };
            return Some(*status);
        }
    }
}
