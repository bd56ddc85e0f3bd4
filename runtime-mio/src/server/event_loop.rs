//! The loop: one thread that owns the node, all sockets and nothing that blocks.
//!
//! A turn, in order: wait until something is ready or the core's deadline; take a bounded share
//! from each peer that has something and, if nothing is to be written to peers before, give the
//! disk what they want stored; tick if it is time; take a share from clients, for no longer than a
//! span; take in what the disk completed; tick if it is time; hand all requests of the turn to the
//! core as one batch; write to each peer once, give the disk what is left to store, write to clients,
//! for no longer than a span. The core's actions are carried out after every event, which only fills
//! buffers and queues. So a turn has an end however many clients want how much, and peers wait for
//! nobody.

use super::clients::{Clients, client_of};
use super::clock::Clock;
use super::election::Election;
use super::peers::{Peers, conn_id};
use super::turn::{Phase, Turns};
use super::{Call, ExitReason, Shared};
use crate::net::Names;
use crate::notes::{self, RateLimit};
use crate::storage::{Completion, StorageCommand, StorageHandle};
use log::Level;
use mio::net::TcpListener;
use mio::{Events, Poll, Token};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant as StdInstant;
use zabkeeper_core::replica::{Input, Outputs, Replica};
use zabkeeper_core::service::Asked;
use zabkeeper_core::store::Tree;
use zabkeeper_core::words::{ConnId, Instant, Micros, NodeId, Now};
use zabkeeper_core::zab::{Action, Event, HaltReason, Note, Status, Stray};

pub(super) const WAKER: Token = Token(0);
pub(super) const ELECTION: Token = Token(1);
pub(super) const MESSAGES: Token = Token(2);
pub(super) const REQUESTS: Token = Token(3);
const FIRST_CONN: usize = 16;

/// What one socket may take of a turn.
pub(super) const SHARE_BYTES: usize = 256 << 10;
pub(super) const SHARE_DATAGRAMS: usize = 64;
pub(super) const SHARE_ACCEPTS: usize = 64;
/// How often slow connections are looked for, while there are any.
pub(super) const SWEEP: Micros = Micros::millis(100);
/// Clients that are not read for longer are worth a line in the log.
const UNREAD: Micros = Micros::millis(1_000);
/// With so many clients in line, what is for peers leaves before they are read.
const CROWD: usize = 32;
/// How soon a line that says the same as the last one is logged again: after twice as long each
/// time, up to the second.
const REPEAT: (Micros, Micros) = (Micros::millis(10_000), Micros::millis(600_000));
/// How long a stopping server waits for answers that are on their way.
const DRAIN: Micros = Micros::millis(1_000);

/// Everything that the thread owns.
pub(super) struct EventLoop {
    pub(super) poll: Poll,
    pub(super) clock: Clock,
    pub(super) replica: Replica<Tree>,
    pub(super) outputs: Outputs<Tree>,
    pub(super) storage: StorageHandle,
    pub(super) election: Election,
    pub(super) messages: TcpListener,
    pub(super) requests: TcpListener,
    pub(super) peers: Peers,
    pub(super) clients: Clients,
    pub(super) names: Names,
    pub(super) calls: Receiver<Call>,
    pub(super) shared: Arc<Shared>,
    pub(super) turns: Turns,
    pub(super) work: Work,
}

/// What is left to do, in this turn or a later one.
#[derive(Default)]
pub(super) struct Work {
    /// Sockets that may have more to read than they were given time for.
    pub(super) ready: Ready,
    /// What happened while actions were carried out, not told to the core yet.
    pub(super) events: VecDeque<Event>,
    /// Where the datagram came from that the core looks at just now.
    pub(super) sender: Option<SocketAddr>,
    /// From where votes came last that did not come from their sender's address, and how many.
    pub(super) elsewhere: BTreeMap<NodeId, (SocketAddr, u64)>,
    last_token: usize,
    /// True if accepting failed and is to be tried again.
    pub(super) retry_accept: bool,
    pub(super) sweep_at: Option<Instant>,
    pub(super) stop_by: Option<Instant>,
    pub(super) limit: RateLimit,
    /// The last line logged about the node's role, when, and how soon it may be logged again.
    told: Option<(String, Instant, Micros)>,
    pub(super) exit: Option<ExitReason>,
    /// Room for encoding, and for lists of connections, kept from turn to turn.
    pub(super) bytes: Vec<u8>,
    /// For the disk, at the end of the turn.
    pub(super) to_store: Vec<StorageCommand>,
    pub(super) dirty_peers: Vec<ConnId>,
}

#[derive(Default)]
pub(super) struct Ready {
    pub(super) election: bool,
    pub(super) messages: bool,
    pub(super) requests: bool,
    pub(super) peers: VecDeque<ConnId>,
}

impl EventLoop {
    /// Runs until the node stops, and says why it did.
    pub(super) fn run(mut self) -> ExitReason {
        let mut events = Events::with_capacity(1024);
        // What the core wanted when it was restored.
        let now = self.clock.now();
        self.execute(now);
        self.drain_events(now);
        while self.work.exit.is_none() {
            if let Err(error) = self.turn(&mut events) {
                self.work.exit = Some(ExitReason::Failed(format!("cannot wait: {error}")));
            }
        }
        self.clients.tell_callers();
        let reason = self.work.exit.take().unwrap_or(ExitReason::Stopped);
        if matches!(reason, ExitReason::Halted(HaltReason::StateStoreStalled)) {
            // A thread that does not come back cannot be waited for.
            return reason;
        }
        // What was to be stored is stored; a failure on the way still counts.
        self.hand_over();
        let late = self.storage.stop().into_iter().find_map(|it| match it {
            Completion::Failed(failure) => Some(ExitReason::StorageFailed(failure)),
            Completion::Persisted(_)
            | Completion::Checkpointed(_)
            | Completion::Staged { .. }
            | Completion::Sealed(_)
            | Completion::SpaceShort(_)
            | Completion::LogRead { .. }
            | Completion::Progress(_) => None,
        });
        match reason {
            ExitReason::Stopped => late.unwrap_or(reason),
            reason => reason,
        }
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.wait(events)?;
        self.turns.begin(StdInstant::now());
        for event in events.iter() {
            self.mark(event);
        }
        let now = self.clock.now();
        self.names.take_answers(now.at);
        self.take_calls(now);
        self.read_election(now);
        self.accept_peers(now);
        self.read_peers(now);
        // What peers sent begins its way to the disk, unless it makes work for other disks first.
        if !self.peers.is_dirty() {
            self.hand_over();
        }
        self.tick(now);
        if self.clients.service.waiting().0 > CROWD {
            self.write_peers(now);
        }
        self.turns.mark(Phase::Peers, StdInstant::now());
        self.accept_clients(now);
        self.read_clients(now);
        self.turns.mark(Phase::Clients, StdInstant::now());
        // Reading may have taken its whole span.
        let now = self.clock.now();
        self.take_completions(now);
        self.tick(now);
        self.submit(now);
        self.turns.mark(Phase::Core, StdInstant::now());
        self.write_peers(now);
        // After the peers: the disk's thread takes the processor at once, and what goes to a disk by
        // way of a peer has the longer way.
        self.hand_over();
        self.write_clients(now);
        self.sweep(now);
        self.clients.tell_callers();
        self.wind_up(now.at);
        self.turns.mark(Phase::Write, StdInstant::now());
        if let Some(long) = self.turns.end() {
            let text = format!("{}: {long}", self.shared.node);
            self.complain("turn.long", Level::Warn, now, &text);
        }
        Ok(())
    }

    /// Has the core look at its timers, if one of them is due.
    fn tick(&mut self, now: Now) {
        if self.replica.deadline().is_some_and(|at| at <= now.at) {
            self.step(now, Event::Tick);
        }
    }

    /// Waits until there is something to do.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let work = &self.work;
        let ready = &work.ready;
        let at_once = ready.election
            || ready.messages
            || ready.requests
            || !ready.peers.is_empty()
            || !work.to_store.is_empty()
            || self.peers.is_dirty()
            || self.clients.service.is_busy(self.load());
        let timeout = if at_once {
            Some(std::time::Duration::ZERO)
        } else {
            let moments = [self.replica.deadline(), work.sweep_at, work.stop_by];
            let next = moments.into_iter().flatten().min();
            next.map(|at| self.clock.until(at))
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }

    /// Notes which socket wants what.
    fn mark(&mut self, event: &mio::event::Event) {
        let token = event.token();
        match token {
            // All that threads have put into queues is looked at in every turn.
            WAKER => {}
            ELECTION => self.work.ready.election = true,
            MESSAGES => self.work.ready.messages = true,
            REQUESTS => self.work.ready.requests = true,
            _ => match client_of(token) {
                Some(conn) => self.mark_client(conn, event),
                None => self.mark_peer(conn_id(token), event),
            },
        }
    }

    fn mark_client(&mut self, id: ConnId, event: &mio::event::Event) {
        let now = self.clock.at();
        let Some(socket) = self.clients.socket(id) else { return };
        socket.conn.reported(event);
        let backlog = socket.conn.backlog() > 0;
        if event.is_writable() && backlog {
            self.clients.service.writable(id);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.clients.service.readable(now, id);
        }
    }

    fn mark_peer(&mut self, id: ConnId, event: &mio::event::Event) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.conn.reported(event);
        }
        if event.is_writable() {
            self.peers.touch(id);
        }
        if !self.work.ready.peers.contains(&id) {
            self.work.ready.peers.push_back(id);
        }
    }

    pub(super) fn next_token(&mut self) -> Token {
        self.work.last_token = self.work.last_token.max(FIRST_CONN) + 1;
        Token(self.work.last_token)
    }

    /// Counts something that an outsider did wrong and logs it, though not too often.
    pub(super) fn complain(&mut self, kind: &'static str, level: Level, now: Now, text: &str) {
        self.shared.counters.add(kind);
        self.work.limit.log(kind, level, now.at, text);
    }

    // The core.

    /// Tells the core what happened and carries out what it wants, until nothing follows.
    pub(super) fn step(&mut self, now: Now, event: Event) {
        self.work.events.push_back(event);
        while let Some(event) = self.work.events.pop_front() {
            if self.work.exit.is_some() {
                return;
            }
            self.replica.handle(now, Input::Event(event), &mut self.outputs);
            self.execute(now);
        }
    }

    /// Hands the requests of this turn to the core.
    fn submit(&mut self, now: Now) {
        let forgotten = self.clients.service.take_forgotten();
        if !forgotten.is_empty() {
            self.step(now, Event::Forget(forgotten));
        }
        let requests = self.clients.service.take_requests();
        if !requests.is_empty() && self.work.exit.is_none() {
            self.replica.handle(now, Input::Requests(requests), &mut self.outputs);
            self.execute(now);
            self.drain_events(now);
        }
        self.clients.tell_callers();
    }

    fn drain_events(&mut self, now: Now) {
        if let Some(event) = self.work.events.pop_front() {
            self.step(now, event);
        }
    }

    /// Carries out what the core wants.
    fn execute(&mut self, now: Now) {
        let mut actions = mem::take(&mut self.outputs.actions);
        for action in actions.drain(..) {
            self.act(now, action);
            // Nothing that the core says after it halted may leave the node.
            if self.work.exit.is_some() {
                return;
            }
        }
        self.outputs.actions = actions;
        let mut replies = mem::take(&mut self.outputs.replies);
        for (ticket, end) in replies.drain(..) {
            self.clients.service.answered(ticket, end);
        }
        self.outputs.replies = replies;
    }

    fn act(&mut self, now: Now, action: Action) {
        match action {
            Action::Notify { to, vote } => self.notify(now, to, vote),
            Action::NotifyRejected { to, why } => self.reject(now, to, &why),
            Action::Connect(to) => self.dial(now, to),
            Action::Send { to, msg } => self.send(now, &to, &msg),
            Action::Close { conn, why } => self.close_by_core(conn, &why),
            Action::Persist { id, record } => self.store(StorageCommand::Persist { id, record }),
            Action::KeepLog(keep) => self.store(StorageCommand::KeepLog(keep)),
            Action::ReadLog { conn, after, upto, max_bytes } => {
                self.store(StorageCommand::ReadLog { conn, after, upto, max_bytes });
            }
            Action::StageOpen(stage) => self.store(StorageCommand::StageOpen(stage)),
            Action::Stage { stage, items } => self.store(StorageCommand::Stage { stage, items }),
            Action::Seal { stage, at, digest } => {
                self.store(StorageCommand::Seal { stage, at, digest });
            }
            Action::StageDrop(stage) => self.store(StorageCommand::StageDrop(stage)),
            Action::CheckpointPart { at, changes } => {
                self.store(StorageCommand::CheckpointPart { at, changes });
            }
            Action::Checkpoint(checkpoint) => self.store(StorageCommand::Checkpoint(checkpoint)),
            Action::Note(note) => self.tell(now, &note),
            Action::Halt(reason) => {
                log::error!("{} halts: {reason}", self.shared.node);
                if self.work.exit.is_none() {
                    self.work.exit = Some(ExitReason::Halted(reason));
                }
            }
        }
    }

    /// Counts a note and logs it: a line that says what the last one said only now and then, and
    /// trouble that outsiders can cause over and over not too often.
    fn tell(&mut self, now: Now, note: &Note) {
        let (kind, level, text) = notes::describe(note, self.replica.node().ensemble().latest());
        self.shared.counters.add(kind);
        let text = format!("{}: {text}", self.shared.node);
        if level <= Level::Warn {
            return self.work.limit.log(kind, level, now.at, &text);
        }
        let pause = match &self.work.told {
            Some((last, at, pause)) if *last == text => {
                (now.at.since(*at) >= *pause).then(|| pause.doubled(REPEAT.1))
            }
            _ => Some(REPEAT.0),
        };
        match pause {
            Some(pause) if level == Level::Info => {
                log::info!("{text}");
                self.work.told = Some((text, now.at, pause));
            }
            _ => log::debug!("{text}"),
        }
    }

    // Disk, calls and endings.

    fn store(&mut self, command: StorageCommand) {
        self.work.to_store.push(command);
    }

    fn take_completions(&mut self, now: Now) {
        for completion in self.storage.completions() {
            match completion {
                Completion::Persisted(id) => self.step(now, Event::Persisted(id)),
                Completion::Checkpointed(at) => self.step(now, Event::Checkpointed(at)),
                Completion::Staged { stage, parts } => {
                    self.step(now, Event::Staged { stage, parts });
                }
                Completion::Sealed(stage) => self.step(now, Event::Sealed(stage)),
                Completion::SpaceShort(short) => self.step(now, Event::SpaceShort(short)),
                Completion::LogRead { conn, from, entries } => {
                    self.step(now, Event::LogRead { conn, from, entries });
                }
                Completion::Progress(bytes) => self.step(now, Event::StateProgress(bytes)),
                Completion::Failed(failure) => {
                    log::error!("{}: {failure}", self.shared.node);
                    self.step(now, Event::StorageFailed);
                    self.work.exit = Some(ExitReason::StorageFailed(failure));
                    return;
                }
            }
        }
    }

    fn take_calls(&mut self, now: Now) {
        while let Ok(call) = self.calls.try_recv() {
            match call {
                Call::Status(answer) => {
                    drop(answer.try_send(status(&self.replica, &self.turns, &self.work)));
                }
                Call::Stop => {
                    self.work.stop_by.get_or_insert(now.at.after(DRAIN));
                    self.clients.service.stop();
                }
                Call::Request { op, wait, answer } => {
                    let asked = Asked { id: self.clients.call(answer), wait, op: Ok(op) };
                    let Self { clients, replica, turns, work, .. } = self;
                    clients.service.call(now.at, asked, || status(replica, turns, work));
                }
            }
        }
    }

    /// Gives the disk what it is to store.
    fn hand_over(&mut self) {
        if !self.work.to_store.is_empty() {
            self.storage.submit(mem::take(&mut self.work.to_store));
        }
    }

    fn write_peers(&mut self, now: Now) {
        let mut peers = mem::take(&mut self.work.dirty_peers);
        self.peers.take_dirty(&mut peers);
        for id in peers.drain(..) {
            self.write_peer(now, id);
        }
        self.work.dirty_peers = peers;
    }

    /// Looks for connections that are too slow, now and then, while there are candidates.
    fn sweep(&mut self, now: Now) {
        if self.work.sweep_at.is_some_and(|at| at <= now.at) {
            self.work.sweep_at = None;
            if mem::take(&mut self.work.retry_accept) {
                self.work.ready.messages = true;
                self.work.ready.requests = true;
            }
            for id in self.peers.overdue(now.at) {
                self.drop_overdue_peer(now, id);
            }
            for (conn, fault) in self.clients.service.overdue(now.at) {
                self.drop_client(now, conn, fault);
            }
            self.tell_unread(now);
        }
        let soon = now.at.after(SWEEP);
        let next = match self.peers.watched() || self.work.retry_accept {
            true => Some(soon),
            false => self.clients.service.next_look(soon),
        };
        self.work.sweep_at = self.work.sweep_at.into_iter().chain(next).min();
    }

    /// Says why clients are not read for long, if so.
    fn tell_unread(&mut self, now: Now) {
        let (waiting, Some(since)) = self.clients.service.waiting() else { return };
        let span = now.at.since(since);
        if span > UNREAD {
            let text = format!(
                "{}: clients wait for their turn for {} ms: {waiting} are in line, {} bytes wait for the \
                 disk, {} reads for the tree; the longest turn of late took {:?}",
                self.shared.node,
                span.get() / 1000,
                self.storage.queued_bytes(),
                self.replica.put_off(),
                self.turns.longest(),
            );
            self.complain("client.unread", Level::Warn, now, &text);
        }
    }

    /// Ends the run once a stop was asked for and no answer is on its way, or it takes too long.
    fn wind_up(&mut self, now: Instant) {
        if let Some(by) = self.work.stop_by
            && (self.clients.service.is_settled() || by <= now)
            && self.work.exit.is_none()
        {
            self.work.exit = Some(ExitReason::Stopped);
        }
    }
}

/// What the node does just now, as anybody may know it: not by which lives the members prove their
/// disks.
pub(super) fn status(replica: &Replica<Tree>, turns: &Turns, work: &Work) -> Status {
    let longest = u64::try_from(turns.longest().as_micros()).unwrap_or(u64::MAX);
    let status = replica.status();
    let membership = status.membership.without_lives();
    let strays = work.elsewhere.iter().map(|(node, (from, votes))| Stray {
        node: *node,
        from: from.to_string(),
        votes: *votes,
    });
    let strays = strays.collect();
    Status { longest_turn: Micros::new(longest), strays, membership, ..status }
}
