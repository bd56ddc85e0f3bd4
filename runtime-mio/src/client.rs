//! A blocking client. It owns no thread: it waits for its sockets while a call waits.
//!
//! What to send where, and what may be tried again, is decided by the state machine in
//! [`zabkeeper_core::client`]: a write is never sent twice, everything that is certainly not done
//! is tried at the other endpoints until the time is up.
//!
//! ```no_run
//! use zabkeeper_core::store::Path;
//! use zabkeeper_core::words::ReadLevel;
//! use zabkeeper_runtime_mio::client::{Client, ClientOptions};
//!
//! let endpoints = vec!["127.0.0.1:4213".to_owned(), "127.0.0.1:4223".to_owned()];
//! let mut client = Client::connect(ClientOptions::new(endpoints))?;
//! let key = Path::parse("answer")?;
//! client.set(&key, b"42".to_vec().into())?;
//! let read = client.get(&key, ReadLevel::Linearizable)?;
//! assert!(read.answer.is_some_and(|node| node.value.as_deref() == Some(b"42")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Client::submit`] and [`Client::collect`] keep many requests under way.

mod endpoint;
mod error;
mod names;
mod socket;
mod sockets;

pub use endpoint::endpoint_list;
pub use error::{ClientError, Tried};

use sockets::Sockets;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant as StdInstant};
use zabkeeper_core::client::{self as machine, Action, Event};
use zabkeeper_core::store::{
    Answer, Command, CommandError, Found, MAX_VALUE_BYTES, Op, Page, Path, Query, Stat,
};
use zabkeeper_core::words::{End, Instant, Micros, Payload, ReadLevel, RefuseReason, Ticket, Txid};
use zabkeeper_core::zab::Status;
use zabkeeper_proto::client::ClientRequest;

/// What a client can be told.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where nodes answer clients, `host:port`. The first is used until it fails.
    pub endpoints: Vec<String>,
    /// How long a request may take.
    pub timeout: Duration,
    /// Give up as soon as every endpoint failed once, instead of trying until the time is up. For
    /// one call of [`Client::status`] or a read.
    pub fail_fast: bool,
    /// Tells somebody when a call takes long.
    pub notice: Option<Notice>,
}

/// What to do when a call has waited for so long: once, `tell` is called with a sentence that says
/// what it waits for.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    /// For how long.
    pub after: Duration,
    /// Whom to tell.
    pub tell: fn(&str),
}

/// A write that was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// The entry.
    pub txid: Txid,
    /// The key's stat after it; for a deletion, before it.
    pub stat: Stat,
}

/// A deletion that was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deleted {
    /// The last part of it.
    pub written: Written,
    /// In how many parts; 1 if everything was deleted at once.
    pub parts: u64,
}

/// A read that was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read<T> {
    /// The last entry that it saw.
    pub applied: Txid,
    /// What it found; `None` if the key does not exist.
    pub answer: Option<T>,
}

/// What to list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// Below which key.
    pub path: Path,
    /// Everything below, not only the children.
    pub recursive: bool,
    /// Only what comes after this key, the last of the page before.
    pub after: Option<Path>,
    /// At most so many; a node may end a page earlier.
    pub limit: u32,
    /// With the values.
    pub values: bool,
}

/// An operation that was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// The entry that did it, or the last one that a read saw.
    pub txid: Txid,
    /// What came of it. A rejected command is a `Written` answer here.
    pub answer: Answer,
}

/// A submitted operation and its result.
pub type Completed = (Ticket, Result<Done, ClientError>);

/// A client of an ensemble. See the [module](self).
#[derive(Debug)]
pub struct Client {
    machine: machine::Client<Op>,
    sockets: Sockets,
    options: ClientOptions,
    start: StdInstant,
    next: u64,
    results: BTreeMap<Ticket, Result<Done, ClientError>>,
    actions: Vec<Action<Op, Answer>>,
}

impl ClientOptions {
    /// The defaults: ten seconds for a request.
    pub fn new(endpoints: Vec<String>) -> Self {
        Self { endpoints, timeout: Duration::from_secs(10), fail_fast: false, notice: None }
    }
}

impl Listing {
    /// The children of a key, without their values.
    pub fn below(path: Path) -> Self {
        Self { path, recursive: false, after: None, limit: u32::MAX, values: false }
    }
}

impl Client {
    /// A client of these endpoints. The first request opens the connection.
    pub fn connect(mut options: ClientOptions) -> Result<Self, ClientError> {
        if options.endpoints.is_empty() {
            return Err(ClientError::Options("there is no endpoint".to_owned()));
        }
        for name in &mut options.endpoints {
            *name = endpoint::endpoint(name)?;
        }
        let sockets = Sockets::new(options.endpoints.clone())
            .map_err(|error| ClientError::Options(format!("cannot wait for sockets: {error}")))?;
        let seed = RandomState::new().build_hasher().finish();
        let config = config(&options);
        Ok(Self {
            machine: machine::Client::new(config, seed, Instant::default()),
            sockets,
            options,
            start: StdInstant::now(),
            next: 0,
            results: BTreeMap::new(),
            actions: Vec::new(),
        })
    }

    /// Reads one key. A local read never sees an older state than this client has seen.
    pub fn get(&mut self, path: &Path, level: ReadLevel) -> Result<Read<Found>, ClientError> {
        let query = Query::Get { path: path.clone() };
        match self.call(Op::Read { query, level })? {
            Done { txid: applied, answer: Answer::Node(answer) } => Ok(Read { applied, answer }),
            _ => Err(mismatch()),
        }
    }

    /// Sets a key, creating it if needed.
    pub fn set(&mut self, path: &Path, value: Payload) -> Result<Written, ClientError> {
        let path = path.clone();
        self.write(Command::Set { path, value })
    }

    /// Creates a key; rejected if it exists.
    pub fn add(&mut self, path: &Path, value: Payload) -> Result<Written, ClientError> {
        let path = path.clone();
        self.write(Command::Add { path, value })
    }

    /// Deletes a key and everything below it: at once if that is at most
    /// [`DELETE_NODES`](zabkeeper_core::store::DELETE_NODES) keys, else in parts, the last keys first.
    /// While it goes on in parts, others see what is left, and an error leaves that behind.
    pub fn delete_all(&mut self, path: &Path) -> Result<Deleted, ClientError> {
        match self.delete(path, true) {
            Err(ClientError::Rejected(CommandError::TooMany)) => {}
            other => return other.map(|written| Deleted { written, parts: 1 }),
        }
        for parts in 1.. {
            match self.write(Command::Clear { path: path.clone() }) {
                Err(ClientError::Rejected(CommandError::Unfinished)) => {}
                other => return other.map(|written| Deleted { written, parts }),
            }
        }
        unreachable!("parts have no end")
    }

    /// Deletes a key; rejected if it does not exist, has children and `recursive` is false, or has
    /// more below it than can be deleted at once.
    pub fn delete(&mut self, path: &Path, recursive: bool) -> Result<Written, ClientError> {
        let path = path.clone();
        self.write(Command::Delete { path, recursive })
    }

    /// Reads one page of a listing.
    pub fn list(&mut self, listing: &Listing, level: ReadLevel) -> Result<Read<Page>, ClientError> {
        let query = Query::List {
            path: listing.path.clone(),
            recursive: listing.recursive,
            after: listing.after.clone(),
            limit: listing.limit,
            values: listing.values,
        };
        match self.call(Op::Read { query, level })? {
            Done { txid: applied, answer: Answer::List(answer) } => Ok(Read { applied, answer }),
            _ => Err(mismatch()),
        }
    }

    /// What the node asked is doing.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.call(Op::Status)? {
            Done { answer: Answer::Status(status), .. } => Ok(*status),
            _ => Err(mismatch()),
        }
    }

    /// Does one operation and waits for its result.
    pub fn call(&mut self, op: Op) -> Result<Done, ClientError> {
        let ticket = self.submit(op)?;
        let mut notice = self.options.notice.map(|n| (self.now().after(micros(n.after)), n.tell));
        loop {
            if let Some(result) = self.results.remove(&ticket) {
                return result;
            }
            if let Some((_, tell)) = notice.take_if(|(at, _)| *at <= self.now()) {
                tell(&self.sockets.waits_for(self.options.timeout));
            }
            self.turn(notice.map(|(at, _)| at))?;
            if self.options.fail_fast && self.sockets.all_failed() {
                return Err(self.sockets.failure(self.options.timeout));
            }
        }
    }

    /// Sends an operation without waiting; [`Client::collect`] gives its result. Writes take effect
    /// in the order in which they were submitted for as long as the connection holds; a read may
    /// see writes that were submitted after it.
    pub fn submit(&mut self, op: Op) -> Result<Ticket, ClientError> {
        if let Op::Write(Command::Add { value, .. } | Command::Set { value, .. }) = &op
            && value.len() > MAX_VALUE_BYTES
        {
            return Err(ClientError::TooLarge { bytes: value.len() as u64 });
        }
        if self.machine.pending() == 0 {
            // The node may have closed the connection since it was last looked at.
            self.take_events(Some(Duration::ZERO))?;
        }
        self.next += 1;
        let id = Ticket::new(self.next);
        let deadline = self.now().after(micros(self.options.timeout));
        self.handle(Event::Submit { id, op, deadline });
        Ok(id)
    }

    /// Waits for the result of any submitted operation; `None` if all results were collected.
    pub fn collect(&mut self) -> Result<Option<Completed>, ClientError> {
        loop {
            if let Some(result) = self.results.pop_first() {
                return Ok(Some(result));
            }
            if self.machine.pending() == 0 {
                return Ok(None);
            }
            self.turn(None)?;
        }
    }

    fn write(&mut self, command: Command) -> Result<Written, ClientError> {
        match self.call(Op::Write(command))? {
            Done { txid, answer: Answer::Written(outcome) } => match outcome {
                Ok(stat) => Ok(Written { txid, stat }),
                Err(why) => Err(ClientError::Rejected(why)),
            },
            // Whatever this answers, the write was sent.
            _ => Err(ClientError::Unknown),
        }
    }

    /// Waits for the sockets, the next timer or until then, and handles what happened.
    fn turn(&mut self, until: Option<Instant>) -> Result<(), ClientError> {
        let wait = self.machine.deadline().into_iter().chain(until).min().map(|at| {
            let left = at.since(self.now());
            Duration::from_micros(left.get())
        });
        self.take_events(wait)?;
        self.handle(Event::Tick);
        Ok(())
    }

    fn take_events(&mut self, longest: Option<Duration>) -> Result<(), ClientError> {
        let events = self
            .sockets
            .wait(longest)
            .map_err(|error| ClientError::Options(format!("cannot wait for sockets: {error}")))?;
        for event in events {
            self.handle(event);
        }
        Ok(())
    }

    fn handle(&mut self, event: Event<Op, Answer>) {
        let now = self.now();
        let mut actions = std::mem::take(&mut self.actions);
        self.machine.handle(now, event, &mut actions);
        for action in actions.drain(..) {
            self.execute(action);
        }
        self.actions = actions;
    }

    fn execute(&mut self, action: Action<Op, Answer>) {
        match action {
            Action::Connect { conn, endpoint } => self.sockets.connect(conn, endpoint),
            Action::Close(conn) => self.sockets.close(conn),
            Action::Send { conn, id, op, wait } => {
                let timeout_ms = u32::try_from(wait.get() / 1000).unwrap_or(u32::MAX);
                self.sockets.send(conn, &ClientRequest { id: id.get(), timeout_ms, op });
            }
            Action::Done { id, end } => {
                let result = self.conclude(end);
                self.results.insert(id, result);
            }
        }
    }

    fn conclude(&self, end: End<Answer>) -> Result<Done, ClientError> {
        match end {
            End::Done { txid, answer } => Ok(Done { txid, answer }),
            End::Refused(RefuseReason::TimedOut) => Err(self.sockets.failure(self.options.timeout)),
            End::Refused(why) => Err(ClientError::Refused(why)),
            End::Invalid(why) => Err(ClientError::Invalid(why)),
            End::Unknown => Err(ClientError::Unknown),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(micros(self.start.elapsed()).get())
    }
}

/// Each endpoint gets a share of the time, so that a few that hang do not use all of it up.
fn config(options: &ClientOptions) -> machine::Config {
    let endpoints = options.endpoints.len();
    let share = micros(options.timeout).get() / (endpoints as u64 + 1);
    let longest = Micros::millis(if endpoints == 1 { 2000 } else { 1000 });
    let shortest = Micros::millis(50);
    machine::Config {
        connect_timeout: Micros::new(share).clamp(shortest, longest),
        ..machine::Config::new(endpoints)
    }
}

fn micros(span: Duration) -> Micros {
    Micros::new(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}

fn mismatch() -> ClientError {
    ClientError::Invalid("the answer does not belong to the question".to_owned())
}
