//! The connections of clients at a process, by the rules of the production server: requests are
//! taken in the order in which they come, answers leave in that order, and what was asked on a
//! connection that is gone is forgotten.

use crate::check::Check;
use crate::world::dice::Dice;
use crate::world::net::{End, Packet};
use crate::world::{World, codec};
use std::collections::{BTreeMap, VecDeque};
use zabkeeper_core::replica::{ClientRequest, Input, Reply, Request};
use zabkeeper_core::store::{Query, Tree};
use zabkeeper_core::words::{ConnId, Micros, NodeId, Ticket};
use zabkeeper_core::zab::Event;
use zabkeeper_proto::client::{self as wire, ClientReply, Op, OpResult};

/// The connections of clients at one process.
#[derive(Debug, Default)]
pub struct Doors {
    /// The requests of each connection whose answers have not left, oldest first.
    slots: BTreeMap<ConnId, VecDeque<Slot>>,
    /// Which connection waits for which ticket.
    waits: BTreeMap<Ticket, ConnId>,
    /// What came while the process stood still.
    held: Vec<(End, Packet)>,
}

#[derive(Debug)]
struct Slot {
    /// The client's name for the request.
    id: u64,
    ticket: Ticket,
    result: Option<OpResult>,
}

impl Doors {
    /// True if the ticket's request came on a connection.
    pub fn has(&self, ticket: Ticket) -> bool {
        self.waits.contains_key(&ticket)
    }

    /// The result of a ticket: where it goes and the answers that may leave with it, in order.
    fn settle(&mut self, ticket: Ticket, result: OpResult) -> Option<(ConnId, Vec<ClientReply>)> {
        let conn = self.waits.remove(&ticket)?;
        let slots = self.slots.get_mut(&conn)?;
        if let Some(slot) = slots.iter_mut().find(|slot| slot.ticket == ticket) {
            slot.result = Some(result);
        }
        let mut due = Vec::new();
        while let Some((id, result)) =
            slots.front_mut().and_then(|slot| Some((slot.id, slot.result.take()?)))
        {
            slots.pop_front();
            due.push(ClientReply { id, result });
        }
        Some((conn, due))
    }

    /// A connection is gone. Returns the tickets for which nobody waits any more.
    fn remove(&mut self, conn: ConnId) -> Vec<Ticket> {
        let slots = self.slots.remove(&conn).unwrap_or_default();
        let tickets = slots.iter().filter(|slot| slot.result.is_none()).map(|slot| slot.ticket);
        let tickets: Vec<Ticket> = tickets.collect();
        for ticket in &tickets {
            self.waits.remove(ticket);
        }
        tickets
    }
}

impl World {
    /// Something comes to a node's end of a client's connection.
    pub(crate) fn at_door(&mut self, end: &End, packet: Packet) -> Check {
        let Some(process) = &mut self.host_mut(end.node).process else { return Ok(()) };
        if process.paused.is_some() {
            process.doors.held.push((end.clone(), packet));
            return Ok(());
        }
        match packet {
            Packet::Request(request) => self.take_request(end, *request),
            Packet::Fin => self.close_door(end.node, end.conn),
            Packet::Open | Packet::Message(..) | Packet::Reply(_) => Ok(()),
        }
    }

    /// A process goes on after a pause: it reads what its clients have said.
    pub(crate) fn open_doors(&mut self, node: NodeId, boot: u64) -> Check {
        if !self.is_life(node, boot) {
            return Ok(());
        }
        let process = self.host_mut(node).process.as_mut();
        let held = process.map(|process| std::mem::take(&mut process.doors.held));
        for (end, packet) in held.unwrap_or_default() {
            if self.is_life(node, boot) {
                self.at_door(&end, packet)?;
            }
        }
        Ok(())
    }

    fn take_request(&mut self, end: &End, request: wire::ClientRequest) -> Check {
        let (now, call) = (self.now, request.id as usize);
        self.trace.see(|view| view.request(now, call));
        self.tickets += 1;
        let ticket = Ticket::new(self.tickets);
        let host = self.host_mut(end.node);
        let deadline = host.clock(now).at.after(Micros::millis(u64::from(request.timeout_ms)));
        let Some(process) = &mut host.process else { return Ok(()) };
        process.tickets.insert(ticket, call);
        process.doors.waits.insert(ticket, end.conn);
        let slot = Slot { id: request.id, ticket, result: None };
        process.doors.slots.entry(end.conn).or_default().push_back(slot);
        let Some(request) = asked(request.op) else { return Ok(()) };
        let requests = vec![ClientRequest { ticket, deadline, request }];
        self.input(end.node, Input::Requests(requests))
    }

    /// A process answers a request that came on a connection.
    pub(crate) fn answer_door(
        &mut self,
        node: NodeId,
        ticket: Ticket,
        reply: Reply<Tree>,
    ) -> Check {
        let result = match reply {
            Reply::Written { txid, outcome } => OpResult::Written { txid, outcome },
            Reply::Read { applied, answer } => OpResult::Read { applied, answer },
            Reply::Refused(why) => OpResult::Refused(why),
            Reply::Unknown => OpResult::Unknown,
        };
        let Some(process) = &mut self.host_mut(node).process else { return Ok(()) };
        let Some((conn, due)) = process.doors.settle(ticket, result) else { return Ok(()) };
        for reply in due {
            let reply = if self.plan.options.codec { codec::reply(reply) } else { reply };
            self.net.push(conn, Packet::Reply(Box::new(reply)), self.now, &mut self.queue);
        }
        Ok(())
    }

    /// A client's connection has ended. The process may notice at once, or only when it answers.
    fn close_door(&mut self, node: NodeId, conn: ConnId) -> Check {
        let host = self.host_mut(node);
        if host.rng.chance(500_000) {
            return Ok(());
        }
        let Some(process) = &mut host.process else { return Ok(()) };
        let tickets = process.doors.remove(conn);
        for ticket in &tickets {
            process.tickets.remove(ticket);
            process.forgotten.insert(*ticket);
        }
        match tickets.is_empty() {
            true => Ok(()),
            false => self.deliver(node, Event::Forget(tickets)),
        }
    }
}

/// What a node is asked by a client's words.
fn asked(op: Op) -> Option<Request<Query>> {
    match op {
        Op::Write(command) => Some(Request::Write(command.encode())),
        Op::Read { query, level } => Some(Request::Read { query, level }),
        Op::Status => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONN: ConnId = ConnId::new(7);

    /// Doors with one connection, and on it requests of these names, which are their tickets too.
    fn doors(ids: &[u64]) -> Doors {
        let mut doors = Doors::default();
        for id in ids {
            let ticket = Ticket::new(*id);
            let slot = Slot { id: *id, ticket, result: None };
            doors.slots.entry(CONN).or_default().push_back(slot);
            doors.waits.insert(ticket, CONN);
        }
        doors
    }

    fn leave(doors: &mut Doors, id: u64) -> Option<Vec<u64>> {
        let (_, due) = doors.settle(Ticket::new(id), OpResult::Unknown)?;
        Some(due.into_iter().map(|reply| reply.id).collect())
    }

    #[test]
    fn answers_leave_in_the_order_of_the_requests() {
        let mut doors = doors(&[1, 2, 3]);
        assert_eq!(leave(&mut doors, 2), Some(vec![]));
        assert_eq!(leave(&mut doors, 1), Some(vec![1, 2]));
        assert_eq!(leave(&mut doors, 3), Some(vec![3]));
    }

    #[test]
    fn what_was_asked_on_a_lost_connection_is_forgotten() {
        let mut doors = doors(&[1, 2, 3]);
        leave(&mut doors, 2);
        assert_eq!(doors.remove(CONN), [Ticket::new(1), Ticket::new(3)]);
        assert!(!doors.has(Ticket::new(1)));
        assert_eq!(leave(&mut doors, 3), None);
    }
}
