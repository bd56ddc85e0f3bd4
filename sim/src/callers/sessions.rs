//! Clients that drive the production client machine, on modelled connections to all nodes: what
//! the machine asks for is done, what comes of it is told to the machine, and what it tells its
//! caller is checked.

use crate::check::{Check, client, ensure};
use crate::run::options::ClientOptions;
use crate::run::plan::Plan;
use crate::world::dice::{Stream, stream};
use crate::world::net::{Packet, Side, machine_of};
use crate::world::{Occur, World, codec};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use zabkeeper_core::client::{Action, Client, Config, Event};
use zabkeeper_core::mutants::Mutant;
use zabkeeper_core::store::{Answer, Op};
use zabkeeper_core::words::{ConnId, End, Instant, Micros, NodeId, Operation, Rng, Ticket};
use zabkeeper_proto::client::ClientRequest;

/// All clients that drive a machine, by their number.
#[derive(Debug)]
pub struct Sessions {
    options: Option<ClientOptions>,
    rng: Rng,
    mutant: Option<Mutant>,
    all: BTreeMap<u32, Session>,
}

/// A client that drives a machine.
#[derive(Debug)]
struct Session {
    machine: Client<Op>,
    endpoints: Vec<NodeId>,
    wires: BTreeMap<ConnId, Wire>,
    /// When its timer is set to fire.
    tick_at: Option<u64>,
    /// Writes that were sent and not refused.
    out: BTreeSet<Ticket>,
}

/// A connection of a machine.
#[derive(Debug)]
struct Wire {
    node: NodeId,
    /// The network's name for it, once there is one.
    net: Option<ConnId>,
    /// Requests without an answer, oldest first.
    asked: VecDeque<Ticket>,
}

impl Sessions {
    /// No client yet.
    pub fn new(plan: &Plan) -> Self {
        Self {
            options: plan.options.clients.clone(),
            rng: stream(plan.seed, Stream::Clients).split(0),
            mutant: plan.mutant.as_deref().and_then(crate::run::mutants::by_name),
            all: BTreeMap::new(),
        }
    }

    /// A client with these endpoints, which it tries in this order; does nothing if there is one
    /// of this number.
    pub fn open(&mut self, client: u32, endpoints: Vec<NodeId>) {
        let Some(options) = &self.options else { return };
        let config = Config { mutant: self.mutant, ..options.config(endpoints.len()) };
        let seed = self.rng.split(u64::from(client)).next_u64();
        self.all.entry(client).or_insert_with(|| Session {
            machine: Client::new(config, seed, Instant::default()),
            endpoints,
            wires: BTreeMap::new(),
            tick_at: None,
            out: BTreeSet::new(),
        });
    }

    /// A client that waits for an answer, if there is one.
    pub fn waiting(&self) -> Option<u32> {
        let mut all = self.all.iter();
        all.find(|(_, session)| session.machine.pending() > 0).map(|(client, _)| *client)
    }
}

impl World {
    /// Clients ask by their machines. A client begins at the node of its first request.
    pub(crate) fn submit(&mut self, calls: Vec<usize>) -> Check {
        for call in calls {
            let now = self.now;
            self.clients.ask(call, now);
            let op = &self.clients.calls[call].op;
            self.trace.see(|view| view.asked(now, call, op));
            let (client, node, deadline) = (op.client, op.node, now + op.patience);
            self.tell(0, || format!("client {client} submits {call}"));
            self.begin_session(client, node);
            self.queue.push(deadline + 1, Occur::Overdue { call });
            let op = self.clients.first_op(call);
            let (id, deadline) = (Ticket::new(call as u64), Instant::from_micros(deadline));
            self.drive(client, Event::Submit { id, op, deadline })?;
        }
        Ok(())
    }

    fn begin_session(&mut self, client: u32, first: u32) {
        if self.sessions.all.contains_key(&client) {
            return;
        }
        let nodes = self.plan.options.nodes;
        let endpoints = (0..nodes).map(|n| NodeId::new((first - 1 + n) % nodes + 1));
        self.sessions.open(client, endpoints.collect());
        let seated = self.plan.options.clients.as_ref().is_some_and(|options| options.seated);
        if seated && self.quiet.is_none() {
            self.net.seat_client(client, NodeId::new(first));
        }
    }

    /// Tells a machine of an event and does what it wants.
    fn drive(&mut self, client: u32, event: Event<Op, Answer>) -> Check {
        let now = Instant::from_micros(self.now);
        let Some(session) = self.sessions.all.get_mut(&client) else { return Ok(()) };
        let mut actions = Vec::new();
        session.machine.handle(now, event, &mut actions);
        for action in actions {
            self.obey(client, action)?;
        }
        let Some(session) = self.sessions.all.get_mut(&client) else { return Ok(()) };
        let due = session.machine.deadline().map(Instant::as_micros);
        if let Some(at) = due
            && session.tick_at.is_none_or(|set| at < set)
        {
            session.tick_at = Some(at);
            self.queue.push(at, Occur::ClientTick { client, at });
        }
        Ok(())
    }

    pub(crate) fn client_tick(&mut self, client: u32, at: u64) -> Check {
        match self.sessions.all.get_mut(&client) {
            Some(session) if session.tick_at == Some(at) => session.tick_at = None,
            _ => return Ok(()),
        }
        self.drive(client, Event::Tick)
    }

    fn obey(&mut self, client: u32, action: Action<Op, Answer>) -> Check {
        let now = self.now;
        let Some(session) = self.sessions.all.get_mut(&client) else { return Ok(()) };
        match action {
            Action::Connect { conn, endpoint } => {
                let node = session.endpoints[endpoint];
                session.wires.insert(conn, Wire { node, net: None, asked: VecDeque::new() });
                let (delay, refused) = self.net.client_dial(client, node);
                self.tell(0, || format!("client {client} calls {node} on {conn}"));
                self.mark("client: calls a node");
                self.queue.push(now + delay, Occur::Knock { client, conn, refused });
            }
            Action::Close(conn) => {
                let wire = session.wires.remove(&conn);
                if let Some(net) = wire.and_then(|wire| wire.net) {
                    self.net.close(net, now, &mut self.queue);
                }
                self.tell(0, || format!("client {client} closes {conn}"));
            }
            Action::Send { conn, id, op, wait } => {
                return self.send_request(client, conn, (id, op), wait);
            }
            Action::Done { id, end } => return self.conclude(id, end),
        }
        Ok(())
    }

    fn send_request(
        &mut self,
        client: u32,
        conn: ConnId,
        (id, op): (Ticket, Op),
        wait: Micros,
    ) -> Check {
        let Some(session) = self.sessions.all.get_mut(&client) else { return Ok(()) };
        ensure!(
            !op.is_write() || session.out.insert(id),
            "one write a request",
            "client {client} sends the write {id} again, though it may be done"
        );
        let timeout_ms = (wait.get() / 1000) as u32;
        let wire = session.wires.get_mut(&conn);
        let Some((wire, net)) = wire.and_then(|wire| wire.net.map(|net| (wire, net))) else {
            let what = format!("client {client} sends {id} on {conn}, which is not open");
            return Err(crate::check::Violation::new("clients keep to their connections", what));
        };
        wire.asked.push_back(id);
        let (now, node, call) = (self.now, wire.node, id.get() as usize);
        self.trace.see(|view| view.asks(call, node));
        self.tell(0, || format!("client {client} sends {call} to {node} on {conn}: {op:?}"));
        let request = ClientRequest { id: id.get(), timeout_ms, op };
        let request = if self.plan.options.codec { codec::request(request) } else { request };
        self.net.push(net, Packet::Request(Box::new(request)), now, &mut self.queue);
        Ok(())
    }

    /// An attempt to connect arrives. If the way is cut, nobody hears of it.
    pub(crate) fn knock(&mut self, client: u32, conn: ConnId, refused: bool) -> Check {
        let session = self.sessions.all.get(&client);
        let Some(wire) = session.and_then(|session| session.wires.get(&conn)) else {
            return Ok(());
        };
        let (machine, node) = (machine_of(client), wire.node);
        if self.net.is_stream_cut(machine, node) || self.net.is_stream_cut(node, machine) {
            return Ok(());
        }
        let boot = self.host(node).boots;
        if refused && self.quiet.is_none() || self.host(node).process.is_none() {
            self.queue.push(self.now + 100, Occur::Turned { client, conn });
            return Ok(());
        }
        let [net, door] = self.net.open((machine, 0), (node, boot), self.now, &mut self.queue);
        let session = self.sessions.all.get_mut(&client);
        if let Some(wire) = session.and_then(|session| session.wires.get_mut(&conn)) {
            wire.net = Some(net);
        }
        self.open_door(node, door, client);
        Ok(())
    }

    /// An attempt to connect has failed.
    pub(crate) fn turned(&mut self, client: u32, conn: ConnId) -> Check {
        let session = self.sessions.all.get_mut(&client);
        match session.and_then(|session| session.wires.remove(&conn)) {
            Some(_) => self.drive(client, Event::ConnectFailed(conn)),
            None => Ok(()),
        }
    }

    /// Something comes to a client's end of a connection.
    pub(crate) fn hear(&mut self, client: u32, end: &Side, packet: Packet) -> Check {
        let Some(session) = self.sessions.all.get_mut(&client) else { return Ok(()) };
        let mut wires = session.wires.iter_mut();
        let Some((conn, wire)) = wires.find(|(_, wire)| wire.net == Some(end.conn)) else {
            return Ok(());
        };
        let conn = *conn;
        let event = match packet {
            Packet::Open => Event::Connected(conn),
            Packet::Reply(reply) => {
                let oldest = wire.asked.pop_front();
                ensure!(
                    oldest == Some(Ticket::new(reply.id)),
                    "answers come in the order of the requests",
                    "client {client} is told {reply:?} by {}, but waits for {oldest:?}",
                    wire.node
                );
                if let (End::Refused(_), Some(id)) = (&reply.end, oldest) {
                    session.out.remove(&id);
                }
                Event::Received { conn, end: reply.end }
            }
            Packet::Fin => {
                session.wires.remove(&conn);
                Event::Closed(conn)
            }
            Packet::Request(_) | Packet::Message(..) => return Ok(()),
        };
        self.drive(client, event)
    }

    /// A machine tells its caller how a request ended.
    fn conclude(&mut self, id: Ticket, ending: End<Answer>) -> Check {
        let call = id.get() as usize;
        let asked = &self.clients.calls[call];
        client::ends_once(asked, self.now)?;
        client::answered(asked, &ending, &self.checks.order)?;
        self.trace.feed(&(self.now, call));
        self.answer(call, ending)
    }
}
