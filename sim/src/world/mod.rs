//! The world: one queue of everything that will happen, one thread, virtual time.

pub mod codec;
pub mod dice;
pub mod disk;
pub(crate) mod flush;
pub mod host;
pub mod lane;
pub mod net;
pub mod past;
pub mod pipe;
pub mod queue;
pub mod reading;
pub mod size;
pub(crate) mod step;
pub(crate) mod turn;
pub mod wide;

use crate::callers::clients::Clients;
use crate::callers::doors::Doors;
use crate::callers::sessions::Sessions;
use crate::check::bounds::{Rates, Room, is_hostile};
use crate::check::liveness::Quiet;
use crate::check::{Check, Checks, Violation, client, linear, serves};
use crate::report::trace::{Trace, What};
use crate::run::plan::{Fault, FloodKind, Forgery, Plan, Tale};
use crate::world::dice::{Dice, Stream, stream};
use crate::world::host::{Host, Process};
use crate::world::lane::Lane;
use crate::world::net::{Net, Packet, client_of};
use crate::world::queue::Queue;
use crate::world::reading::Wanted;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use zabkeeper_core::replica::{Input, Replica};
use zabkeeper_core::store::Answer;
use zabkeeper_core::words::{ConnId, End, Incarnation, Life, NodeId};
use zabkeeper_core::zab::{Base, Event, Identity, Member, Membership, Vote};

/// Something that will happen.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields are those of the thing that happens")]
pub enum Occur {
    /// A process starts, if this is still its turn.
    Start { node: NodeId, boot: u64 },
    /// A timer fires.
    Timer { node: NodeId, boot: u64, at: u64 },
    /// A flush ends.
    Flushed { node: NodeId, boot: u64, lane: Lane, flush: u64 },
    /// A disk has read entries of the log.
    LogRead { node: NodeId, boot: u64, wanted: Wanted },
    /// A datagram arrives.
    Datagram { to: NodeId, vote: Arc<Vote>, sent: u64 },
    /// A damaged datagram arrives.
    Damaged { to: NodeId, vote: Arc<Vote>, seed: u64, sent: u64 },
    /// A connection attempt arrives.
    Dial { from: NodeId, boot: u64, to: NodeId, refused: bool, patience: u64 },
    /// A connection attempt has failed.
    DialFailed { from: NodeId, boot: u64, to: NodeId },
    /// Nobody listens there: the other machine says so.
    DialRefused { from: NodeId, boot: u64, to: NodeId },
    /// A datagram of `by` says that `to` does not belong to it.
    Denied { to: NodeId, by: NodeId },
    /// The next packet of a connection arrives.
    Arrive { pipe: u64, end: usize },
    /// A part of the next packet of a connection arrives.
    Part { pipe: u64, end: usize },
    /// A fault of the plan strikes.
    Strike(usize),
    /// A fault that waited for a transition of this node strikes.
    Ambush { node: NodeId, fault: Box<Fault> },
    /// Votes of an old reign arrive at a node once more.
    Echo { to: NodeId, back: u32, until: u64 },
    /// Forged votes arrive.
    Forge { to: NodeId, from: NodeId, forgery: Forgery },
    /// A stranger connects and greets.
    Stranger { node: NodeId, from: NodeId, tale: Tale },
    /// Requests come in a flood.
    Flood { node: NodeId, kind: FloodKind, count: u32, patience: u64 },
    /// A turn of a process is over: it takes what came meanwhile.
    Turn { node: NodeId, boot: u64 },
    /// What a fault cut is healed.
    Heal(Vec<(NodeId, NodeId)>),
    /// Connections that a fault cut are healed.
    HealStreams(Vec<(NodeId, NodeId)>),
    /// A paused process goes on.
    Resume { node: NodeId, boot: u64 },
    /// Clients ask: calls of the same client, node and time.
    Ask(Vec<usize>),
    /// The requests arrive at the node.
    Request(Vec<usize>),
    /// An answer arrives at the client.
    Answer { call: usize, ending: Box<End<Answer>> },
    /// A client that takes its answers slowly has taken one.
    Drained { node: NodeId, boot: u64, conn: ConnId },
    /// A process looks for clients that are too slow.
    Sweep { node: NodeId, boot: u64 },
    /// A client waits no longer.
    GiveUp { call: usize },
    /// A timer of a client's machine fires.
    ClientTick { client: u32, at: u64 },
    /// A client's connection attempt arrives at a node.
    Knock { client: u32, conn: ConnId, refused: bool },
    /// A client's connection attempt has failed.
    Turned { client: u32, conn: ConnId },
    /// A client's request must have ended.
    Overdue { call: usize },
    /// The faults end.
    Quiet,
    /// A look at whether the cluster has recovered.
    Look,
}

/// A running simulation.
#[derive(Debug)]
pub struct World {
    /// The plan.
    pub plan: Plan,
    /// The machines, by number.
    pub hosts: Vec<Host>,
    /// The network.
    pub net: Net,
    /// The clients.
    pub clients: Clients,
    /// The machines of those that drive one.
    pub sessions: Sessions,
    /// The checkers.
    pub checks: Checks,
    /// What happened.
    pub trace: Trace,
    /// How often each transition and fault was seen.
    pub marks: BTreeMap<String, u64>,
    /// How near each bound came, in percent, and other maxima.
    pub peaks: BTreeMap<&'static str, u64>,
    /// The virtual time in microseconds.
    pub now: u64,
    pub(crate) room: Room,
    pub(crate) rates: Rates,
    pub(crate) queue: Queue<Occur>,
    pub(crate) quiet: Option<Quiet>,
    /// Planned faults that wait for a transition, by index.
    pub(crate) armed: Vec<usize>,
    membership: Arc<Membership>,
    next_disk: u64,
    finished: bool,
}

/// Steps without any virtual time passing that count as a livelock.
const STEPS_AT_ONE_TIME: u64 = 100_000;

/// By so much later than due a node may notice something.
const SLACK: u64 = 100_000;

/// States that the search for a linear order may visit per key.
const LINEAR_BUDGET: usize = 20_000;

impl World {
    /// The world of a plan, before anything has happened. With `keep` the trace keeps its text.
    pub fn new(plan: Plan, keep: bool) -> Self {
        let (seed, nodes) = (plan.seed, plan.options.nodes);
        let members = (1..=nodes).map(|id| {
            let member = Member {
                voter: true,
                incarnation: None,
                life: None,
                election_addr: format!("e{id}"),
                message_addr: format!("m{id}"),
            };
            (NodeId::new(id), member)
        });
        let membership = Arc::new(Membership::new(Default::default(), members.collect()));
        let largest = plan.ops.iter().map(|op| u64::from(op.size)).max().unwrap_or_default();
        let mut world = Self {
            hosts: Vec::new(),
            net: Net::new(seed, &plan.options),
            clients: Clients::new(&plan.ops),
            sessions: Sessions::new(&plan),
            checks: Checks::default(),
            trace: Trace::new(keep),
            marks: BTreeMap::new(),
            peaks: BTreeMap::new(),
            room: Room::new(&plan.options, largest),
            rates: Rates::new(is_hostile(&plan)),
            now: 0,
            queue: Queue::default(),
            quiet: None,
            armed: Vec::new(),
            membership,
            next_disk: 1,
            finished: false,
            plan,
        };
        world.net.lost = keep.then(Vec::new);
        world.populate();
        world
    }

    fn populate(&mut self) {
        let (seed, nodes) = (self.plan.seed, self.plan.options.nodes);
        let mutant = self.plan.mutant.as_deref().and_then(crate::run::mutants::by_name);
        for id in 1..=nodes {
            let (identity, base) = self.blank_disk(NodeId::new(id));
            let mut host = Host::new(seed, identity, base, &self.plan.options);
            host.config.mutant = mutant;
            self.queue.push(host.rng.between(0, 200_000), Occur::Start { node: host.id, boot: 0 });
            self.hosts.push(host);
        }
        for (index, planned) in self.plan.faults.iter().enumerate() {
            self.queue.push(planned.at, Occur::Strike(index));
        }
        let mut group: Vec<usize> = Vec::new();
        let key = |id: usize| {
            let op = &self.plan.ops[id];
            (op.at, op.client, op.node)
        };
        for id in 0..self.plan.ops.len() {
            if group.first().is_some_and(|first| key(*first) != key(id)) {
                self.queue.push(key(group[0]).0, Occur::Ask(std::mem::take(&mut group)));
            }
            group.push(id);
        }
        if let Some(first) = group.first() {
            self.queue.push(key(*first).0, Occur::Ask(group));
        }
        self.queue.push(self.plan.options.duration, Occur::Quiet);
    }

    /// A new disk for a node.
    pub(crate) fn blank_disk(&mut self, node: NodeId) -> (Identity, Base) {
        let incarnation = Incarnation::new(self.next_disk);
        self.next_disk += 1;
        let identity = Identity { cluster: self.membership.cluster_id(), node, incarnation };
        let base = Base { at: Default::default(), membership: self.membership.clone() };
        (identity, base)
    }

    /// Runs to the end of the plan and of the quiet period after it.
    pub fn run(&mut self) -> Check {
        let mut at_once = 0;
        while !self.finished {
            let before = self.now;
            if !self.advance()? {
                break;
            }
            at_once = if self.now > before { 0 } else { at_once + 1 };
            if at_once > STEPS_AT_ONE_TIME {
                return Err(Violation::new("progress", "events follow each other in no time"));
            }
        }
        self.finish()
    }

    /// Lets the next thing happen. False if there is none.
    pub fn advance(&mut self) -> Result<bool, Violation> {
        let Some((at, what)) = self.queue.pop() else { return Ok(false) };
        self.now = self.now.max(at);
        self.occur(what)?;
        Ok(true)
    }

    /// Lets the `n`-th of all things to come happen now, or the last if there are not so many. What
    /// is skipped comes late. The quiet period waits for its turn. False if there is nothing.
    pub fn advance_out_of_turn(&mut self, n: usize) -> Result<bool, Violation> {
        let may = |what: &Occur| !matches!(what, Occur::Quiet);
        let Some((at, what)) = self.queue.take(n, may) else { return Ok(false) };
        self.now = self.now.max(at);
        self.occur(what)?;
        Ok(true)
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<u64> {
        self.queue.next_at()
    }

    /// The checks that look at a whole run.
    pub fn finish(&mut self) -> Check {
        if self.plan.mutant.as_deref() == Some(crate::run::mutants::CANARY)
            && !self.checks.order.entries().is_empty()
        {
            return Err(Violation::new("the canary", "something was committed, as it should be"));
        }
        client::refused_never_done(&self.clients, &self.checks.order)?;
        for (key, steps) in linear::histories(&self.clients) {
            match linear::search(&steps, LINEAR_BUDGET) {
                linear::Verdict::Linearizable => {}
                linear::Verdict::TooHard => self.mark("history too long for the search"),
                linear::Verdict::Violated => {
                    let what = format!("no order explains the answers about key {key}: {steps:?}");
                    return Err(Violation::new("Linearizable (23)", what));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn end(&mut self) {
        self.finished = true;
    }

    /// The machine of a node.
    pub fn host(&self, node: NodeId) -> &Host {
        &self.hosts[place(node)]
    }

    pub(crate) fn host_mut(&mut self, node: NodeId) -> &mut Host {
        &mut self.hosts[place(node)]
    }

    /// Counts something worth knowing about a sweep.
    pub fn mark(&mut self, what: &str) {
        match self.marks.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                self.marks.insert(what.to_string(), 1);
            }
        }
    }

    /// Keeps the greatest of these.
    pub(crate) fn peak(&mut self, what: &'static str, value: u64) {
        let peak = self.peaks.entry(what).or_default();
        *peak = value.max(*peak);
    }

    pub(crate) fn tell(&mut self, node: u32, what: impl FnOnce() -> String) {
        self.trace.keep(self.now, node, || What::World(what()));
    }

    fn occur(&mut self, what: Occur) -> Check {
        match what {
            Occur::Start { node, boot } => self.start(node, boot),
            Occur::Timer { node, boot, at } => self.timer(node, boot, at),
            Occur::Flushed { node, boot, lane, flush } => self.flushed(node, boot, lane, flush),
            Occur::LogRead { node, boot, wanted } => self.log_read(node, boot, wanted),
            Occur::Datagram { to, vote, sent } => {
                self.arrived(to, sent);
                self.deliver(to, Event::Notified(Arc::unwrap_or_clone(vote)))
            }
            Occur::Damaged { to, vote, seed, sent } => match codec::damaged(&vote, seed) {
                Some(vote) => {
                    self.arrived(to, sent);
                    self.deliver(to, Event::Notified(vote))
                }
                None => {
                    self.trace.see(|view| view.lost(sent));
                    Ok(())
                }
            },
            Occur::Dial { from, boot, to, refused, patience } => {
                self.dial(from, boot, to, refused, patience)
            }
            Occur::DialFailed { from, boot, to } => {
                if self.is_life(from, boot) {
                    return self.deliver(from, Event::ConnectFailed(to));
                }
                Ok(())
            }
            Occur::DialRefused { from, boot, to } => {
                if self.is_life(from, boot) {
                    return self.deliver(from, Event::ConnectRefused(to));
                }
                Ok(())
            }
            Occur::Denied { to, by } => self.deliver(to, Event::Denied(by)),
            Occur::Arrive { pipe, end } => self.arrive(pipe, end),
            Occur::Part { pipe, end } => self.part(pipe, end),
            Occur::Strike(index) => self.strike(index),
            Occur::Ambush { node, fault } => self.inflict(*fault, node),
            Occur::Echo { to, back, until } => self.echo(to, back, until),
            Occur::Forge { to, from, forgery } => self.forge(to, from, forgery),
            Occur::Stranger { node, from, tale } => self.stranger(node, from, tale),
            Occur::Flood { node, kind, count, patience } => self.flood(node, kind, count, patience),
            Occur::Turn { node, boot } => self.turn(node, boot),
            // In the quiet period only its own cuts count.
            Occur::Heal(_) | Occur::HealStreams(_) if self.quiet.is_some() => Ok(()),
            Occur::Heal(links) => {
                for (from, to) in links {
                    self.net.heal(from, to, self.now, &mut self.queue);
                }
                Ok(())
            }
            Occur::HealStreams(links) => {
                for (from, to) in links {
                    self.net.heal_streams(from, to, self.now, &mut self.queue);
                }
                Ok(())
            }
            Occur::Resume { node, boot } => self.resume(node, boot),
            Occur::Ask(calls) => self.ask(calls),
            Occur::Request(calls) => self.request(calls),
            Occur::Answer { call, ending } => self.answer(call, *ending),
            Occur::GiveUp { call } => self.give_up(call),
            Occur::ClientTick { client, at } => self.client_tick(client, at),
            Occur::Knock { client, conn, refused } => self.knock(client, conn, refused),
            Occur::Turned { client, conn } => self.turned(client, conn),
            Occur::Overdue { call } => client::ended_in_time(&self.clients.calls[call]),
            Occur::Drained { node, boot, conn } => self.drained(node, boot, conn),
            Occur::Sweep { node, boot } => self.sweep_doors(node, boot),
            Occur::Quiet => self.quieten(),
            Occur::Look => self.look(),
        }
    }

    /// A message reached a machine: for the drawing.
    fn arrived(&mut self, to: NodeId, sent: u64) {
        let (now, alive) = (self.now, self.host(to).process.is_some());
        self.trace.see(|view| if alive { view.arrived(sent, now) } else { view.lost(sent) });
    }

    pub(crate) fn is_life(&self, node: NodeId, boot: u64) -> bool {
        let host = self.host(node);
        host.boots == boot && host.process.is_some()
    }

    fn start(&mut self, node: NodeId, boot: u64) -> Check {
        let now = self.now;
        let seed = stream(self.plan.seed, Stream::Boot)
            .split(u64::from(node.get()))
            .split(boot)
            .next_u64();
        let limits = self.plan.options.service(self.plan.mutant.as_deref());
        let host = self.host_mut(node);
        if host.process.is_some() || host.boots != boot || host.wiped && host.halted.is_some() {
            return Ok(());
        }
        host.boots += 1;
        host.wake(now);
        host.halted = None;
        host.crash_after = None;
        let life = Life::new(seed);
        let begin = host.disk.image.begin(node, life);
        host.disk.image.apply(&begin).map_err(|what| {
            Violation::new("storage rules", format!("{node} cannot begin a life: {what}"))
        })?;
        host.issued = host.disk.image.clone();
        let (recovered, tree) =
            host.disk.recover().map_err(|what| Violation::new("state store", what))?;
        let clock = host.clock(now);
        let restored = Replica::restore(host.config.clone(), recovered, tree, seed, clock);
        let (replica, out) = restored
            .map_err(|error| Violation::new("recovery", format!("{node} cannot start: {error}")))?;
        let status = replica.status();
        host.process = Some(Process {
            replica,
            status: status.clone(),
            paused: None,
            tick_at: None,
            busy_until: 0,
            held: VecDeque::new(),
            saw_membership: false,
            checkpoint: None,
            parts: Vec::new(),
            reads: BTreeMap::new(),
            tickets: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            doors: Doors::new(limits, node, boot),
        });
        self.checks.started(&self.hosts[place(node)], &status)?;
        self.tell(node.get(), || "starts".to_string());
        self.after_step(node, out)
    }

    fn timer(&mut self, node: NodeId, boot: u64, at: u64) -> Check {
        if !self.is_life(node, boot) {
            return Ok(());
        }
        let process = self.host_mut(node).process.as_mut();
        let process = process.expect("a life has a process");
        if process.tick_at != Some(at) {
            return Ok(());
        }
        process.tick_at = None;
        self.deliver(node, Event::Tick)?;
        self.serves_by_a_sound_disk(node)
    }

    /// Nobody serves whose journal has hung for longer than it may. It knows when its timer fires.
    fn serves_by_a_sound_disk(&self, node: NodeId) -> Check {
        let host = self.host(node);
        let patience = self.plan.options.timeouts.disk / 10 * 11 + self.plan.options.tick_late;
        let Some(process) = &host.process else { return Ok(()) };
        let idle = process.paused.is_none() && process.held.is_empty();
        if serves(&process.status) && idle && host.journal_hangs(self.now, patience + SLACK) {
            let hung = host.stands(Lane::Journal, self.now);
            let what = format!("{node} serves, though its disk has hung for {hung} us");
            return Err(Violation::new("nobody serves with a hung disk", what));
        }
        Ok(())
    }

    fn dial(&mut self, from: NodeId, boot: u64, to: NodeId, refused: bool, patience: u64) -> Check {
        if !self.is_life(from, boot) {
            return Ok(());
        }
        let silent = self.net.is_stream_cut(from, to) || self.net.is_stream_cut(to, from);
        let calm = self.quiet.is_some();
        if !silent && self.host(to).process.is_none() {
            self.queue.push(self.now + 100, Occur::DialRefused { from, boot, to });
            return Ok(());
        }
        if silent || refused && !calm {
            let wait = if silent { patience } else { 100 };
            self.queue.push(self.now + wait, Occur::DialFailed { from, boot, to });
            return Ok(());
        }
        let to_boot = self.host(to).boots;
        let [_, conn] = self.net.open((from, boot), (to, to_boot), self.now, &mut self.queue);
        self.deliver(to, Event::Accepted(conn))
    }

    fn arrive(&mut self, pipe: u64, end: usize) -> Check {
        let Some((end, packet)) = self.net.arrive(pipe, end, self.now, &mut self.queue) else {
            return Ok(());
        };
        if let Some(client) = client_of(end.node) {
            return self.hear(client, &end, packet);
        }
        if !self.is_life(end.node, end.boot) {
            if let Packet::Message(sent, _) = packet {
                self.trace.see(|view| view.lost(sent));
            }
            return Ok(());
        }
        if client_of(end.peer).is_some() {
            return self.at_door(&end, packet);
        }
        let conn = end.conn;
        let event = match packet {
            Packet::Open => match self.net.peer(conn) {
                Some(to) => Event::Connected { conn, to },
                None => return Ok(()),
            },
            Packet::Message(sent, msg) => {
                self.arrived(end.node, sent);
                Event::Received { conn, msg }
            }
            Packet::Request(_) | Packet::Reply(_) => return Ok(()),
            Packet::Fin => Event::Closed(conn),
        };
        self.deliver(end.node, event)
    }

    /// A part of a long message has come to a node.
    fn part(&mut self, pipe: u64, end: usize) -> Check {
        let Some((node, boot, conn)) = self.net.part(pipe, end) else { return Ok(()) };
        if !self.is_life(node, boot) {
            return Ok(());
        }
        self.mark("net: part of a message");
        self.deliver(node, Event::Heard(conn))
    }

    fn resume(&mut self, node: NodeId, boot: u64) -> Check {
        if !self.is_life(node, boot) {
            return Ok(());
        }
        let now = self.now;
        let host = self.host_mut(node);
        host.wake(now);
        let tick_first = host.rng.chance(500_000);
        let process = host.process.as_mut().expect("a life has a process");
        let Some(backlog) = process.paused.take() else { return Ok(()) };
        self.tell(node.get(), || "goes on".to_string());
        let tick = Input::Event(Event::Tick);
        let inputs = match tick_first {
            true => [vec![tick], backlog].concat(),
            false => [backlog, vec![tick]].concat(),
        };
        self.queue.push(now, Occur::Turn { node, boot });
        for input in inputs {
            if self.is_life(node, boot) {
                self.input(node, input)?;
            }
        }
        self.door_turn(node);
        Ok(())
    }
}

/// Where a node's machine is in the list.
pub(crate) fn place(node: NodeId) -> usize {
    node.get() as usize - 1
}
