//! What outsiders do: forge votes, greet as somebody else, ask too much at once.

use crate::check::Check;
use crate::run::plan::{FloodKind, Forgery, Knows, Lie, Op, OpKind, Tale};
use crate::world::dice::{Stream, stream};
use crate::world::{Occur, World};
use zabkeeper_core::store::{Command, Path, Query};
use zabkeeper_core::words::{Epoch, Incarnation, Life, NodeId, Round, Txid};
use zabkeeper_core::zab::{Candidate, Event, Message, Record, Stamp, Stance, Vote};

/// The clients of floods, above all others.
const FLOODERS: u32 = 5_000;

/// The key of floods: nobody else's.
const FLOODED: u32 = 1_000;

impl World {
    /// A forged vote arrives, and then the next.
    pub(crate) fn forge(&mut self, to: NodeId, from: NodeId, forgery: Forgery) -> Check {
        let Some(left) = forgery.count.checked_sub(1) else { return Ok(()) };
        if self.quiet.is_some() || from == to {
            return Ok(());
        }
        let next = Occur::Forge { to, from, forgery: Forgery { count: left, ..forgery } };
        self.queue.push(self.now + forgery.gap, next);
        let Some(mut vote) = self.net.overheard.between(from, to).cloned() else { return Ok(()) };
        self.lie(&mut vote, to, forgery.lie);
        vote.stamp = match forgery.knows {
            Knows::Nothing => {
                let mut rng = stream(self.plan.seed, Stream::Network).split(self.now);
                let (boot, seq) = (rng.next_u64(), rng.next_u64());
                Stamp { boot, seq, asks: rng.next_u64(), answers: rng.next_u64() }
            }
            Knows::Old => vote.stamp,
            Knows::Present { ahead } => {
                Stamp { seq: vote.stamp.seq.saturating_add(ahead), ..vote.stamp }
            }
        };
        self.checks.epochs.forged(&vote);
        self.mark(&format!("forged: {:?}", forgery.lie));
        self.deliver(to, Event::Notified(vote))
    }

    /// Makes a vote say something false.
    fn lie(&self, vote: &mut Vote, to: NodeId, lie: Lie) {
        let from = vote.from;
        let stands = |node: NodeId| {
            let issued = &self.host(node).issued;
            (issued.current, issued.log.last().txid)
        };
        let more = |node: NodeId| {
            let (epoch, txid) = stands(node);
            Candidate { epoch, txid: txid.next().unwrap_or(txid), node }
        };
        let round = self.host(to).round();
        vote.stance = Stance::Looking;
        vote.round = round.max(self.host(from).round());
        match lie {
            Lie::OwnMore => {
                vote.own = more(from);
                vote.candidate = vote.own;
            }
            Lie::OwnLess => {
                vote.own = Candidate { epoch: Epoch::ZERO, txid: Txid::ZERO, node: from };
                vote.candidate = vote.own;
            }
            Lie::YoursMore => vote.candidate = more(to),
            Lie::OthersMore => {
                let third = self.hosts.iter().map(|host| host.id);
                let third = third.into_iter().find(|id| *id != from && *id != to);
                vote.candidate = more(third.unwrap_or(from));
            }
            Lie::FarRound => vote.round = Round::new(round.get().saturating_add(1 << 20)),
            Lie::LastRound => vote.round = Round::new(u64::MAX),
            Lie::Leads => {
                let epoch = stands(to).0.next().unwrap_or_default();
                vote.stance = Stance::Leading(Some(epoch));
                vote.candidate.node = from;
            }
        }
    }

    /// A stranger connects, says something in the name of a node, and leaves, if it says anything.
    pub(crate) fn stranger(&mut self, node: NodeId, from: NodeId, tale: Tale) -> Check {
        if self.quiet.is_some() || from == node {
            return Ok(());
        }
        let Some(mut info) = self.net.overheard.greeting_of(from).cloned() else { return Ok(()) };
        let everything = self.host(node).issued.log.last().txid;
        let acknowledges = Message::Ack { epoch: everything.epoch(), upto: everything };
        let says = match tale {
            Tale::Silence => vec![],
            Tale::Promised { ahead } => {
                info.accepted = Epoch::new(info.accepted.get().saturating_add(ahead));
                vec![Message::FollowerInfo(info)]
            }
            Tale::OtherDisk => {
                info.incarnation = Incarnation::new(u64::MAX);
                vec![Message::FollowerInfo(info)]
            }
            Tale::Cloned => {
                let image = &self.host(from).disk.image;
                let mut rng = stream(self.plan.seed, Stream::Boot).split(self.now);
                let begin = image.begin(from, Life::new(rng.next_u64()));
                if let Record::Begin(lives) = begin {
                    info.lives = lives;
                }
                info.accepted = image.promise.map_or(Epoch::ZERO, |promise| promise.epoch);
                vec![Message::FollowerInfo(info)]
            }
            Tale::Acknowledged => vec![Message::FollowerInfo(info), acknowledges],
            Tale::OutOfTurn => vec![acknowledges],
        };
        self.mark(&format!("stranger: {}", crate::report::show::name(&tale)));
        let conn = self.net.strange_conn();
        let boot = self.host(node).boots;
        let leaves = !says.is_empty();
        let says = says.into_iter().map(|msg| Event::Received { conn, msg });
        let events = std::iter::once(Event::Accepted(conn)).chain(says);
        for event in events.chain(leaves.then_some(Event::Closed(conn))) {
            if self.is_life(node, boot) {
                self.deliver(node, event)?;
            }
        }
        Ok(())
    }

    /// Many keys below one are written, and then deleted with it.
    fn bulk(&mut self, node: NodeId, count: u32, patience: u64) -> Check {
        let path = |text: String| Path::parse(&text).expect("plain segments");
        let top = path(format!("bulk/{}", self.clients.calls.len()));
        let client = FLOODERS + self.clients.calls.len() as u32;
        let sets = (0..count).map(|n| {
            let value = vec![b'b'; 8].into();
            (OpKind::Set, Command::Set { path: path(format!("{top}/{n}")), value })
        });
        let deletes = [
            Command::Clear { path: top.clone() },
            Command::Clear { path: top.clone() },
            Command::Delete { path: top.clone(), recursive: true },
            Command::Delete { path: top.clone(), recursive: false },
        ];
        let deletes = deletes.map(|command| (OpKind::Delete, command));
        let mut calls = Vec::new();
        // Key 0: their values do not name them.
        for (kind, command) in sets.chain(deletes).collect::<Vec<_>>() {
            let op = Op { at: self.now, client, node: node.get(), kind, key: 0, size: 0, patience };
            let query = Query::Get { path: top.clone() };
            let call = self.clients.push(op, query, Some(command));
            self.clients.ask(call, self.now);
            self.queue.push(self.now + patience, Occur::GiveUp { call });
            calls.push(call);
        }
        self.mark("flood: many keys, and their deletion");
        self.request(calls)
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
        if kind == FloodKind::Bulk {
            return self.bulk(node, count, patience);
        }
        let (kind, future) = match kind {
            FloodKind::Writes => (OpKind::Set, false),
            FloodKind::Reads => (OpKind::Get, false),
            FloodKind::Local => (OpKind::Peek, false),
            FloodKind::Future | FloodKind::Bulk => (OpKind::Peek, true),
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
