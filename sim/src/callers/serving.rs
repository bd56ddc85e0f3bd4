//! The turns in which a process reads and writes its clients, as the loop of production does.

use crate::callers::doors::At;
use crate::check::Check;
use crate::world::dice::Dice;
use crate::world::host::Process;
use crate::world::net::Packet;
use crate::world::{Occur, World, codec, place, size, wide};
use zabkeeper_core::replica::Input;
use zabkeeper_core::service::{Asked, Rest, Taking};
use zabkeeper_core::words::{ConnId, End, Micros, NodeId};
use zabkeeper_core::zab::Event;
use zabkeeper_proto::client::ClientReply;

impl World {
    /// A turn of a process has time for its clients.
    pub(crate) fn serve(&mut self, node: NodeId) -> Check {
        let (now, load, boot) = (self.now, self.load(node), self.host(node).boots);
        let host = &mut self.hosts[place(node)];
        let clock = host.clock(now).at;
        let Some(process) = &mut host.process else { return Ok(()) };
        if !std::mem::take(&mut process.doors.due) {
            return Ok(());
        }
        process.doors.next_turn = now + 1;
        process.doors.service.begin_turn(clock, load);
        // Nothing is reserved here.
        while process.doors.service.next_grant().is_some() {}
        for call in std::mem::take(&mut process.doors.calls) {
            let op = &self.clients.calls[call].op;
            let wait = Micros::new(op.patience);
            let asked = Asked { id: call as u64, wait, op: Ok(self.clients.op(call)) };
            self.trace.see(|view| view.request(now, call));
            let Process { doors, replica, .. } = process;
            doors.service.call(clock, asked, || replica.status());
        }
        while let Some(conn) = self.doors(node).and_then(|doors| doors.service.next_turn()) {
            self.read_door(node, conn);
            if self.is_spent(node) {
                break;
            }
        }
        self.submit_requests(node)?;
        if self.is_life(node, boot) {
            self.write_doors(node);
            self.sweep(node)?;
            self.look_at_doors(node)?;
            self.door_turn(node);
        }
        Ok(())
    }

    /// Gives the replica what the service has for it.
    fn submit_requests(&mut self, node: NodeId) -> Check {
        let boot = self.host(node).boots;
        let Some(process) = &mut self.host_mut(node).process else { return Ok(()) };
        let forgotten = process.doors.service.take_forgotten();
        let requests = process.doors.service.take_requests();
        for request in &requests {
            let asker = process.doors.service.asker(request.ticket);
            let call = asker.and_then(|(conn, id)| process.doors.call_of(conn, id));
            process.tickets.insert(request.ticket, call);
        }
        for ticket in &forgotten {
            process.tickets.remove(ticket);
            process.forgotten.insert(*ticket);
        }
        if !forgotten.is_empty() {
            self.step(node, Input::Event(Event::Forget(forgotten)))?;
        }
        if self.is_life(node, boot) && !requests.is_empty() {
            self.step(node, Input::Requests(requests))?;
        }
        Ok(())
    }

    /// Reads a connection: its requests that are here as a whole, as far as the service takes them.
    pub(super) fn read_door(&mut self, node: NodeId, conn: ConnId) {
        let now = self.now;
        let host = &mut self.hosts[place(node)];
        let clock = host.clock(now).at;
        let Some(Process { doors, replica, .. }) = &mut host.process else { return };
        let Some(door) = doors.doors.get_mut(&conn) else { return };
        let service = &mut doors.service;
        service.heard(clock, conn);
        let (mut waits, mut room) = (false, true);
        let taking = loop {
            let taking = service.may_take(conn);
            if taking != Taking::Go {
                break taking;
            }
            let Some(next) = door.inbox.front() else {
                service.partial(clock, conn, 0);
                break Taking::Go;
            };
            let whole = size::asked(&next.op);
            let stops = door.stops_amid();
            let large = whole > service.limits().large;
            room = !(stops || large) || service.partial(clock, conn, whole) != Rest::Wait;
            if !room {
                break Taking::Stop;
            }
            if stops {
                break Taking::Go;
            }
            let wait = Micros::millis(u64::from(next.timeout_ms));
            let op = match &door.at {
                At::Guest(guest) if guest.is_confused() => Err(End::Invalid("no".to_string())),
                _ => Ok(next.op.clone()),
            };
            let asked = Asked { id: next.id, wait, op };
            if !service.request(clock, conn, asked, || replica.status()) {
                waits = true;
                break Taking::Stop;
            }
            door.inbox.pop_front();
        };
        // The end is known once all before it was read, though not taken.
        if door.ended && room {
            service.ended(conn);
        }
        if service.end_turn(clock, conn, (taking, false), door.backlog) {
            self.close_door(node, conn);
        }
        if waits {
            self.mark("client: waits for the disk");
        }
    }

    /// Writes the connections that have something to be written.
    fn write_doors(&mut self, node: NodeId) {
        let due = self.doors(node).map_or(0, |doors| doors.service.due());
        for _ in 0..due {
            let Some(conn) = self.doors(node).and_then(|doors| doors.service.next_due()) else {
                break;
            };
            self.write_door(node, conn);
            if self.is_spent(node) {
                break;
            }
        }
        while let Some((call, ending)) = self.doors(node).and_then(|d| d.service.next_own()) {
            let call = call as usize;
            let client = self.clients.calls[call].op.client;
            if let Some(delay) = self.net.client_delay(client, node, false) {
                let ending = Box::new(ending);
                self.queue.push(self.now + delay, Occur::Answer { call, ending });
            }
        }
    }

    pub(super) fn write_door(&mut self, node: NodeId, conn: ConnId) {
        let Some(doors) = self.doors(node) else { return };
        let Some(door) = doors.doors.get_mut(&conn) else { return };
        let idle = door.outbox.is_empty();
        while let Some((id, end)) = doors.service.next_answer(conn, door.backlog) {
            let bytes = size::ending(&end);
            door.outbox.push_back((ClientReply { id, end }, bytes));
            door.backlog += bytes;
        }
        match door.takes {
            None => while self.take_answer(node, conn) {},
            Some(_) if idle => self.next_drain(node, conn),
            Some(_) => {}
        }
        let now = self.now;
        let host = &mut self.hosts[place(node)];
        let clock = host.clock(now).at;
        let Some(doors) = host.process.as_mut().map(|process| &mut process.doors) else { return };
        let Some(door) = doors.doors.get_mut(&conn) else { return };
        let wrote = (door.taken, door.backlog);
        if doors.service.wrote(clock, conn, wrote, door.backlog) {
            self.close_door(node, conn);
        }
    }

    /// The kernel takes the next answer on a connection, and it is on its way. False if there is none.
    fn take_answer(&mut self, node: NodeId, conn: ConnId) -> bool {
        let Some(doors) = self.doors(node) else { return false };
        let Some(door) = doors.doors.get_mut(&conn) else { return false };
        let Some((reply, bytes)) = door.outbox.pop_front() else { return false };
        door.taken += bytes as u64;
        door.backlog -= bytes;
        if let At::Net(net) = door.at {
            let reply = if self.plan.options.codec { codec::reply(reply) } else { reply };
            self.net.push(net, Packet::Reply(Box::new(reply)), self.now, &mut self.queue);
        }
        true
    }

    /// When a client that takes its answers slowly will have taken the next.
    fn next_drain(&mut self, node: NodeId, conn: ConnId) {
        let (now, boot) = (self.now, self.host(node).boots);
        let Some(door) = self.doors(node).and_then(|doors| doors.doors.get(&conn)) else { return };
        let rate = door.takes.filter(|rate| *rate > 0);
        if let Some(((_, bytes), rate)) = door.outbox.front().zip(rate) {
            let at = now + wide::time(*bytes as u64, rate);
            self.queue.push(at, Occur::Drained { node, boot, conn });
        }
    }

    /// A client that takes its answers slowly has taken one.
    pub(crate) fn drained(&mut self, node: NodeId, boot: u64, conn: ConnId) -> Check {
        if self.is_life(node, boot) && self.take_answer(node, conn) {
            if let Some(doors) = self.doors(node) {
                doors.service.writable(conn);
            }
            self.next_drain(node, conn);
            self.door_turn(node);
        }
        Ok(())
    }

    /// True now and then: the span of a turn that clients get is used up.
    fn is_spent(&mut self, node: NodeId) -> bool {
        let small = self.plan.options.service.is_some();
        small && self.host_mut(node).rng.chance(100_000)
    }
}
