//! What happens to a client's call between the client and its node.

use crate::callers::clients::Ending;
use crate::check::{Check, Violation, client};
use crate::report::trace::What;
use crate::world::dice::Dice;
use crate::world::{Occur, World};
use zabkeeper_core::replica::{ClientRequest, Input, Reply};
use zabkeeper_core::store::Tree;
use zabkeeper_core::words::{Micros, NodeId, RefuseReason, Ticket};
use zabkeeper_core::zab::{Event, RoleStatus};

/// The client that asks the whole ensemble in the quiet period; those behind it ask one node each.
pub(crate) const PROBER: u32 = 1_000;

impl World {
    pub(crate) fn ask(&mut self, calls: Vec<usize>) -> Check {
        let Some(first) = calls.first() else { return Ok(()) };
        let op = self.clients.calls[*first].op.clone();
        if self.plan.options.clients.is_some() && op.client <= PROBER {
            return self.submit(calls);
        }
        for call in &calls {
            let now = self.now;
            self.clients.ask(*call, now);
            let asked = &self.clients.calls[*call].op;
            self.trace.see(|view| view.asked(now, *call, asked));
            self.queue.push(self.now + op.patience, Occur::GiveUp { call: *call });
        }
        self.tell(0, || format!("client {} asks n{}: {calls:?} {op:?}", op.client, op.node));
        if let Some(delay) = self.net.client_delay(op.client, NodeId::new(op.node), true) {
            self.queue.push(self.now + delay, Occur::Request(calls));
        }
        Ok(())
    }

    pub(crate) fn request(&mut self, calls: Vec<usize>) -> Check {
        let Some(first) = calls.first() else { return Ok(()) };
        let op = self.clients.calls[*first].op.clone();
        let node = NodeId::new(op.node);
        if self.host(node).process.is_none() {
            for call in calls {
                let ending = Box::new(Ending::Refused(RefuseReason::Stopping));
                self.queue.push(self.now + 100, Occur::Answer { call, ending });
            }
            return Ok(());
        }
        let host = self.host(node);
        let deadline = host.clock(self.now).at.after(Micros::new(op.patience));
        let mut requests = Vec::new();
        let now = self.now;
        for call in calls {
            self.trace.see(|view| view.request(now, call));
            self.tickets += 1;
            let ticket = Ticket::new(self.tickets);
            requests.push(ClientRequest { ticket, deadline, request: self.clients.request(call) });
            if let Some(process) = &mut self.host_mut(node).process {
                process.tickets.insert(ticket, call);
            }
        }
        self.input(node, Input::Requests(requests))
    }

    pub(crate) fn reply(&mut self, node: NodeId, ticket: Ticket, reply: Reply<Tree>) -> Check {
        let now = self.now;
        let host = self.host_mut(node);
        let Some(process) = &mut host.process else { return Ok(()) };
        if process.forgotten.remove(&ticket) {
            return Ok(());
        }
        let Some(call) = process.tickets.remove(&ticket) else {
            let what = format!("{node} answers {ticket}, which nobody asked or it had answered");
            return Err(Violation::new("one answer a request", what));
        };
        let at_door = process.doors.has(ticket);
        let leads = matches!(process.status.role, RoleStatus::Leading { .. });
        let epoch = process.status.current;
        self.trace.keep(now, node.get(), || What::Reply(format!("#{call} {reply:?}")));
        self.trace.see(|view| view.replied(now, call));
        let ending = Ending::from(reply.clone());
        let asked = &self.clients.calls[call];
        client::answered(asked, &ending, &self.checks.order)?;
        let client = asked.op.client;
        if let (Some(taken), Ending::Read { .. }) = (self.checks.rounds.end(ticket, epoch), &ending)
            && leads
        {
            self.checks.rounds.read(node, taken, self.hosts.len())?;
        }
        if at_door {
            return self.answer_door(node, ticket, reply);
        }
        if let Some(delay) = self.net.client_delay(client, node, false) {
            self.queue.push(now + delay, Occur::Answer { call, ending: Box::new(ending) });
        }
        Ok(())
    }

    pub(crate) fn answer(&mut self, call: usize, ending: Ending) -> Check {
        if self.clients.calls[call].ended.is_some() {
            return Ok(());
        }
        client::ended(&self.clients.calls[call], &ending)?;
        self.mark(match &ending {
            Ending::Written { .. } => "client: written",
            Ending::Read { .. } => "client: read",
            Ending::Refused(_) => "client: refused",
            Ending::TimedOut => "client: timed out",
            Ending::Unknown => "client: unknown",
        });
        let now = self.now;
        self.trace.see(|view| view.ended(now, call, format!("{ending:?}")));
        self.clients.end(call, now, ending);
        Ok(())
    }

    pub(crate) fn give_up(&mut self, call: usize) -> Check {
        if self.clients.calls[call].ended.is_some() {
            return Ok(());
        }
        self.answer(call, Ending::Unknown)?;
        let node = NodeId::new(self.clients.calls[call].op.node);
        let host = self.host_mut(node);
        let forget = host.rng.chance(500_000);
        let Some(process) = &mut host.process else { return Ok(()) };
        let ticket = process.tickets.iter().find(|(_, asked)| **asked == call).map(|(t, _)| *t);
        if let (true, Some(ticket)) = (forget, ticket) {
            process.tickets.remove(&ticket);
            process.forgotten.insert(ticket);
            return self.deliver(node, Event::Forget(vec![ticket]));
        }
        Ok(())
    }
}
