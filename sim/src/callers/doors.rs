//! The connections of clients at a process: what the kernel holds of them, and what the production
//! service decides about them.

use crate::callers::guests::Guest;
use crate::check::{Check, ensure};
use crate::world::dice::Dice;
use crate::world::lane::Lane;
use crate::world::net::{Packet, Side};
use crate::world::{Occur, World, place};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use zabkeeper_core::service::{Fault, Limits, Load, Service};
use zabkeeper_core::words::{ConnId, Instant, Micros, NodeId, Ticket};
use zabkeeper_proto::client::{ClientReply, ClientRequest};

/// What one answer of a few keys weighs at most.
const LARGEST: usize = 16 << 10;

/// How soon after something may be too slow a process looks for it, in microseconds.
const SWEEP: u64 = 20_000;

/// What a process has of its clients.
#[derive(Debug)]
pub struct Doors {
    /// The production service.
    pub service: Service,
    /// The connections, by the service's names for them.
    pub(super) doors: BTreeMap<ConnId, Door>,
    /// The same of those that a machine is at the other end of, by the network's names.
    by_net: BTreeMap<ConnId, ConnId>,
    /// Calls from within the process that no turn has taken yet.
    pub(super) calls: Vec<usize>,
    /// True while a turn is due.
    pub(super) due: bool,
    /// When the next one may begin: any takes some time.
    pub(super) next_turn: u64,
    /// True if it looks for clients that are too slow in its next turn.
    sweeps: bool,
    /// When it will do so again.
    sweep_at: Option<u64>,
}

/// One connection, as the kernel has it.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) at: At,
    /// Requests that were not read, oldest first.
    pub(super) inbox: VecDeque<ClientRequest>,
    /// True once the client has said all.
    pub(super) ended: bool,
    /// Answers that the client has not taken, oldest first, and their bytes.
    pub(super) outbox: VecDeque<(ClientReply, usize)>,
    /// How many bytes of them it takes in a second: `None` for all at once, 0 for none.
    pub(super) takes: Option<u64>,
    pub(super) backlog: usize,
    pub(super) taken: u64,
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(super) enum At {
    /// A machine, on this connection of the network.
    Net(ConnId),
    /// Somebody who means no good.
    Guest(Guest),
}

impl Doors {
    /// Nobody yet. Tickets of different processes differ.
    pub fn new(limits: Limits, node: NodeId, boot: u64) -> Self {
        let after = Ticket::new((u64::from(node.get()) << 48) + (boot << 32));
        Self {
            service: Service::new(limits, after),
            doors: BTreeMap::new(),
            by_net: BTreeMap::new(),
            calls: Vec::new(),
            due: false,
            next_turn: 0,
            sweeps: false,
            sweep_at: None,
        }
    }

    /// Which call a request is, unless it is a guest's.
    pub(super) fn call_of(&self, conn: Option<ConnId>, id: u64) -> Option<usize> {
        let guest = conn.and_then(|conn| self.doors.get(&conn)).is_some_and(Door::is_guests);
        (!guest).then_some(id as usize)
    }

    /// The calls that came from within the process, of these.
    pub fn own<'a>(
        &'a self,
        tickets: &'a BTreeMap<Ticket, Option<usize>>,
    ) -> impl Iterator<Item = usize> + 'a {
        let own = |ticket: &Ticket| matches!(self.service.asker(*ticket), Some((None, _)));
        let asked = tickets.iter().filter(move |(ticket, _)| own(ticket));
        let asked = asked.filter_map(|(_, call)| *call);
        asked.chain(self.calls.iter().copied())
    }
}

impl Door {
    /// True if the rest of its request never comes.
    pub(super) fn stops_amid(&self) -> bool {
        matches!(&self.at, At::Guest(guest) if guest.stops_amid())
    }

    const fn is_guests(&self) -> bool {
        matches!(self.at, At::Guest(_))
    }
}

impl World {
    /// A machine of a client has connected to a node.
    pub(crate) fn open_door(&mut self, node: NodeId, net: ConnId, client: u32) {
        let [_, _, c, d] = client.to_be_bytes();
        let addr = IpAddr::V4(Ipv4Addr::new(10, 1, c, d));
        let _ = self.admit_door(node, At::Net(net), addr);
    }

    /// Somebody who means no good has connected to a node, from this address.
    pub(crate) fn open_guest(&mut self, node: NodeId, guest: Guest, addr: IpAddr) {
        let asks = guest.asks();
        let Some(conn) = self.admit_door(node, At::Guest(guest), addr) else { return };
        let now = self.now;
        let host = self.host_mut(node);
        let clock = host.clock(now).at;
        let Some(process) = &mut host.process else { return };
        if let Some(door) = process.doors.doors.get_mut(&conn) {
            door.inbox.extend(asks);
        }
        process.doors.service.readable(clock, conn);
        self.door_turn(node);
    }

    fn admit_door(&mut self, node: NodeId, at: At, addr: IpAddr) -> Option<ConnId> {
        let (now, slow) = (self.now, self.plan.options.service.as_ref().map(|it| it.stall));
        let host = self.host_mut(node);
        let clock = host.clock(now).at;
        let takes = match &at {
            At::Guest(guest) => guest.takes(),
            // Slow, but with an answer in far less time than one that does not read.
            At::Net(_) => slow
                .filter(|_| host.rng.chance(300_000))
                .map(|stall| host.rng.magnitude(1, 50) * LARGEST as u64 * 2_000_000 / stall),
        };
        let doors = &mut host.process.as_mut()?.doors;
        let (conn, placed) = doors.service.opened(clock, addr);
        if let At::Net(net) = at {
            doors.by_net.insert(net, conn);
        }
        let (inbox, outbox) = (VecDeque::new(), VecDeque::new());
        let door = Door { at, inbox, ended: false, outbox, takes, backlog: 0, taken: 0 };
        doors.doors.insert(conn, door);
        self.mark(if placed { "client: has a place" } else { "client: all places are taken" });
        while let Some(oldest) = self.doors(node).and_then(|doors| doors.service.oldest_control()) {
            self.dismiss(node, oldest);
        }
        Some(conn)
    }

    /// Something comes to a node's end of a client's connection.
    pub(crate) fn at_door(&mut self, end: &Side, packet: Packet) -> Check {
        let now = self.now;
        let host = self.host_mut(end.node);
        let (clock, broken) = (host.clock(now).at, host.rng.chance(500_000));
        let Some(process) = &mut host.process else { return Ok(()) };
        let Some(conn) = process.doors.by_net.get(&end.conn).copied() else { return Ok(()) };
        let Some(door) = process.doors.doors.get_mut(&conn) else { return Ok(()) };
        match packet {
            Packet::Request(request) => {
                let call = request.id as usize;
                door.inbox.push_back(*request);
                self.trace.see(|view| view.request(now, call));
            }
            // It broke: the process notices at once, or the client has only stopped to speak.
            Packet::Fin if broken => {
                self.close_door(end.node, conn);
                self.door_turn(end.node);
                return Ok(());
            }
            Packet::Fin => door.ended = true,
            Packet::Open | Packet::Message(..) | Packet::Reply(_) => return Ok(()),
        }
        if let Some(process) = &mut self.host_mut(end.node).process {
            process.doors.service.readable(clock, conn);
        }
        self.door_turn(end.node);
        Ok(())
    }

    /// Calls from within a process.
    pub(crate) fn call(&mut self, node: NodeId, calls: Vec<usize>) {
        if let Some(process) = &mut self.host_mut(node).process {
            process.doors.calls.extend(calls);
        }
        self.door_turn(node);
    }

    /// Nobody waits for a call from within a process any more.
    pub(crate) fn abandon(&mut self, node: NodeId, call: usize) {
        let Some(process) = &mut self.host_mut(node).process else { return };
        process.doors.calls.retain(|other| *other != call);
        let ticket =
            process.tickets.iter().find(|(_, asked)| **asked == Some(call)).map(|(t, _)| *t);
        if let Some(ticket) = ticket {
            process.doors.service.abandon(ticket);
        }
        self.door_turn(node);
    }

    /// Has a process take a turn, if its service has something to do.
    pub(crate) fn door_turn(&mut self, node: NodeId) {
        let (now, load) = (self.now, self.load(node));
        let host = &mut self.hosts[place(node)];
        let boot = host.boots;
        let Some(process) = &mut host.process else { return };
        let doors = &mut process.doors;
        let busy = doors.service.is_busy(load) || !doors.calls.is_empty() || doors.sweeps;
        if busy && process.paused.is_none() && !std::mem::replace(&mut doors.due, true) {
            let at = process.busy_until.max(now).max(doors.next_turn);
            self.queue.push(at, Occur::Turn { node, boot });
        }
        self.next_sweep(node);
    }

    /// It is time for a process to look for clients that are too slow: it will in its next turn.
    pub(crate) fn sweep_doors(&mut self, node: NodeId, boot: u64) -> Check {
        if self.is_life(node, boot)
            && let Some(doors) = self.doors(node)
        {
            doors.sweep_at = None;
            doors.sweeps = true;
            self.door_turn(node);
        }
        Ok(())
    }

    /// A process looks for clients that are too slow, after it has written to all.
    pub(super) fn sweep(&mut self, node: NodeId) -> Check {
        let now = self.now;
        let host = self.host_mut(node);
        let clock = host.clock(now).at;
        let Some(doors) = host.process.as_mut().map(|process| &mut process.doors) else {
            return Ok(());
        };
        if !std::mem::take(&mut doors.sweeps) {
            return Ok(());
        }
        for (conn, fault) in doors.service.overdue(clock) {
            self.drop_client(node, conn, fault)?;
        }
        Ok(())
    }

    fn drop_client(&mut self, node: NodeId, conn: ConnId, fault: Fault) -> Check {
        let Some(doors) = self.doors(node) else { return Ok(()) };
        let control = doors.service.is_control(conn);
        let Some(door) = doors.doors.get(&conn) else { return Ok(()) };
        let honest = matches!(door.at, At::Net(_));
        self.mark(&format!("client: dropped, {fault:?}"));
        ensure!(
            !honest || matches!(fault, Fault::Idle | Fault::Greedy),
            "no client is dropped without cause",
            "{node} drops {conn}, which is {fault:?}, but does all it should"
        );
        match control {
            true => self.dismiss(node, conn),
            false => self.close_door(node, conn),
        }
        Ok(())
    }

    /// Lets a client go that came when all places were taken; what it has asked by now is answered.
    fn dismiss(&mut self, node: NodeId, conn: ConnId) {
        if let Some(doors) = self.doors(node) {
            doors.service.last_turn(conn);
        }
        self.read_door(node, conn);
        self.write_door(node, conn);
        self.close_door(node, conn);
    }

    /// The guests of a node leave.
    pub(crate) fn see_guests_off(&mut self, node: NodeId) {
        let Some(doors) = self.doors(node) else { return };
        let guests = doors.doors.iter().filter(|(_, door)| door.is_guests());
        let guests: Vec<ConnId> = guests.map(|(conn, _)| *conn).collect();
        for conn in guests {
            self.close_door(node, conn);
        }
        self.door_turn(node);
    }

    /// A process closes a client's connection, or hears that it is closed.
    pub(super) fn close_door(&mut self, node: NodeId, conn: ConnId) {
        let Some(doors) = self.doors(node) else { return };
        doors.service.closed(conn);
        if let Some(Door { at: At::Net(net), .. }) = doors.doors.remove(&conn) {
            doors.by_net.remove(&net);
            self.net.close(net, self.now, &mut self.queue);
        }
    }

    /// What must hold at the service between two turns.
    pub(super) fn look_at_doors(&mut self, node: NodeId) -> Check {
        let Some(doors) = self.doors(node) else { return Ok(()) };
        doors.service.check();
        doors.service.check_rest();
        for (conn, door) in &doors.doors {
            ensure!(
                door.inbox.is_empty() || door.stops_amid() || doors.service.is_waiting(*conn),
                "nobody is forgotten",
                "{node} has not read all of {conn}, and will not"
            );
        }
        let (used, limits) = (doors.service.used(), doors.service.limits());
        // What comes on top: small requests, and answers to what was taken.
        let one = limits.large + limits.buffer + limits.page + 4 * LARGEST;
        let most = limits.memory + (limits.places + limits.controls) * one;
        ensure!(
            used <= most,
            "bounded queues (L6)",
            "clients of {node} hold {used} bytes, there is room for {most}"
        );
        Ok(())
    }

    fn next_sweep(&mut self, node: NodeId) {
        let now = self.now;
        let host = &mut self.hosts[place(node)];
        let (clock, boot) = (host.clock(now).at, host.boots);
        let soon = clock.after(Micros::new(SWEEP));
        let wanted = host.process.as_ref().and_then(|it| it.doors.service.next_look(soon));
        let Some(at) = wanted.map(|at: Instant| host.when(at).max(now + 1)) else { return };
        let Some(process) = &mut host.process else { return };
        let set = process.doors.sweep_at;
        if process.paused.is_none() && set.is_none_or(|set| at < set) {
            process.doors.sweep_at = Some(at);
            self.queue.push(at, Occur::Sweep { node, boot });
        }
    }

    /// What waits at a process beside its service.
    pub(super) fn load(&self, node: NodeId) -> Load {
        let host = self.host(node);
        let Some(process) = &host.process else { return Load::default() };
        Load {
            disk: usize::try_from(host.disk.line(Lane::Journal).bytes()).unwrap_or(usize::MAX),
            waiting: process.replica.node().waiting_bytes(),
            put_off: process.replica.put_off(),
        }
    }

    pub(super) fn doors(&mut self, node: NodeId) -> Option<&mut Doors> {
        self.hosts[place(node)].process.as_mut().map(|process| &mut process.doors)
    }
}
