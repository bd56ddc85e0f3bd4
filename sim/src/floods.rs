//! What outsiders do: forge votes, greet as somebody else, ask too much at once.

use crate::check::Check;
use crate::plan::{FloodKind, Lie, Op, OpKind};
use crate::world::{Occur, World};
use zabkeeper_core::event::Event;
use zabkeeper_core::ids::{Epoch, NodeId, Round, Txid};
use zabkeeper_core::message::{Candidate, Message, Stance};

/// The clients of floods, above all others.
const FLOODERS: u32 = 5_000;

/// The key of floods: nobody else's.
const FLOODED: u32 = 1_000;

impl World {
    /// A forged vote arrives, and then the next.
    pub(crate) fn forge(
        &mut self,
        to: NodeId,
        from: NodeId,
        lie: Lie,
        count: u32,
        gap: u64,
    ) -> Check {
        if count == 0 || self.quiet.is_some() || from == to {
            return Ok(());
        }
        let next = Occur::Forge { to, from, lie, count: count - 1, gap };
        self.queue.push(self.now + gap, next);
        let Some(mut vote) = self.net.overheard.between(from, to).cloned() else { return Ok(()) };
        let stands = |world: &Self, node: NodeId| {
            let issued = &world.host(node).issued;
            (issued.current, issued.log.last().txid)
        };
        let more = |(epoch, txid): (Epoch, Txid), node: NodeId| Candidate {
            epoch,
            txid: txid.next().unwrap_or(txid),
            node,
        };
        let round = self.host(to).round();
        vote.stance = Stance::Looking;
        vote.round = round.max(self.host(from).round());
        let third = self.hosts.iter().map(|host| host.id).find(|id| *id != from && *id != to);
        match lie {
            Lie::OwnMore => vote.candidate = more(stands(self, from), from),
            Lie::OwnLess => {
                vote.candidate = Candidate { epoch: Epoch::ZERO, txid: Txid::ZERO, node: from };
            }
            Lie::YoursMore => vote.candidate = more(stands(self, to), to),
            Lie::OthersMore => {
                let third = third.unwrap_or(from);
                vote.candidate = more(stands(self, third), third);
            }
            Lie::FarRound => vote.round = Round::new(round.get().saturating_add(1 << 20)),
            Lie::LastRound => vote.round = Round::new(u64::MAX),
            Lie::Leads => {
                let epoch = stands(self, to).0.next().unwrap_or_default();
                vote.stance = Stance::Leading(Some(epoch));
                vote.candidate.node = from;
            }
        }
        self.checks.epochs.voted(&vote);
        self.mark(&format!("forged: {lie:?}"));
        self.deliver(to, Event::Notified(vote))
    }

    /// A stranger connects, greets as a node does that has promised more, and leaves.
    pub(crate) fn stranger(&mut self, node: NodeId, from: NodeId, ahead: u64) -> Check {
        if self.quiet.is_some() || from == node {
            return Ok(());
        }
        let Some(mut info) = self.net.overheard.greeting_of(from).cloned() else { return Ok(()) };
        info.accepted = Epoch::new(info.accepted.get().saturating_add(ahead));
        let conn = self.net.strange_conn();
        let boot = self.host(node).boots;
        let events = [
            Event::Accepted(conn),
            Event::Received { conn, msg: Message::FollowerInfo(info) },
            Event::Closed(conn),
        ];
        for event in events {
            if self.is_life(node, boot) {
                self.deliver(node, event)?;
            }
        }
        Ok(())
    }

    /// Requests come to a node, all at once.
    pub(crate) fn flood(
        &mut self,
        node: NodeId,
        kind: FloodKind,
        count: u32,
        patience: u64,
    ) -> Check {
        if self.quiet.is_some() {
            return Ok(());
        }
        let (kind, future) = match kind {
            FloodKind::Writes => (OpKind::Set, false),
            FloodKind::Reads => (OpKind::Get, false),
            FloodKind::Local => (OpKind::Peek, false),
            FloodKind::Future => (OpKind::Peek, true),
        };
        let client = FLOODERS + self.clients.calls.len() as u32;
        let op =
            Op { at: self.now, client, node: node.get(), kind, key: FLOODED, size: 0, patience };
        let calls: Vec<usize> = (0..count).map(|_| self.clients.add(op.clone())).collect();
        for call in &calls {
            self.clients.ask(*call, self.now);
            if future {
                let seen = Txid::new(Epoch::new(9_000_000), 1).unwrap_or_default();
                self.clients.calls[*call].seen = seen;
            }
            self.queue.push(self.now + patience, Occur::GiveUp { call: *call });
        }
        self.request(calls)
    }
}
