//! What happens to a client's call between the client and its node.

use crate::check::{Check, Violation, client};
use crate::report::trace::What;
use crate::world::dice::Dice;
use crate::world::{Occur, World};
use zabkeeper_core::store::Answer;
use zabkeeper_core::words::{End, NodeId, RefuseReason, Ticket};
use zabkeeper_core::zab::RoleStatus;

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

    /// Calls of an application with a client of its own arrive at its node.
    pub(crate) fn request(&mut self, calls: Vec<usize>) -> Check {
        let Some(first) = calls.first() else { return Ok(()) };
        let node = NodeId::new(self.clients.calls[*first].op.node);
        if self.host(node).process.is_some() {
            self.call(node, calls);
            return Ok(());
        }
        for call in calls {
            let ending = Box::new(End::Refused(RefuseReason::Stopping));
            self.queue.push(self.now + 100, Occur::Answer { call, ending });
        }
        Ok(())
    }

    /// A replica has answered a request: the answer is checked, and given to the service.
    pub(crate) fn reply(&mut self, node: NodeId, ticket: Ticket, ending: End<Answer>) -> Check {
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
        let leads = matches!(process.status.role, RoleStatus::Leading { .. });
        let epoch = process.status.current;
        process.doors.service.answered(ticket, ending.clone());
        if let Some(call) = call {
            self.trace.keep(now, node.get(), || What::Reply(format!("#{call} {ending:?}")));
            self.trace.see(|view| view.replied(now, call));
            client::answered(&self.clients.calls[call], &ending, &self.checks.order)?;
        }
        if let (Some(taken), End::Done { .. }) = (self.checks.rounds.end(ticket, epoch), &ending)
            && leads
        {
            self.checks.rounds.read(node, taken, self.hosts.len())?;
        }
        Ok(())
    }

    pub(crate) fn answer(&mut self, call: usize, ending: End<Answer>) -> Check {
        if self.clients.calls[call].ended.is_some() {
            return Ok(());
        }
        client::ended(&self.clients.calls[call], &ending)?;
        self.mark(match &ending {
            End::Done { answer: Answer::Written(_), .. } => "client: written",
            End::Done { answer: Answer::List(_), .. } => "client: listed",
            End::Done { .. } => "client: read",
            End::Refused(RefuseReason::TimedOut) => "client: timed out",
            End::Refused(_) => "client: refused",
            End::Invalid(_) => "client: invalid",
            End::Unknown => "client: unknown",
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
        self.answer(call, End::Unknown)?;
        let node = NodeId::new(self.clients.calls[call].op.node);
        if self.host_mut(node).rng.chance(500_000) {
            self.abandon(node, call);
        }
        Ok(())
    }
}
