//! What a drawing needs, recorded when it happens: when each message was sent and arrived, when a
//! record was issued and durable, what each process was and when it lived. Nothing is inferred.

use crate::run::plan::Op;
use std::collections::BTreeMap;
use zabkeeper_core::words::{NodeId, Txid, WriteId};
use zabkeeper_core::zab::{RoleStatus, Status};

/// A message or datagram.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its sender and its receiver.
    pub ends: (u32, u32),
    /// When it was sent, in microseconds.
    pub at: u64,
    /// Its kind: the name of the message.
    pub kind: String,
    /// What it says.
    pub text: String,
    /// True if it got lost.
    pub lost: bool,
    /// When it arrived: more than once if it was doubled or replayed.
    pub arrived: Vec<u64>,
}

/// A record on its way to a disk.
#[derive(Clone, Debug)]
pub struct Write {
    /// The machine.
    pub node: u32,
    /// When it was issued.
    pub at: u64,
    /// When it was durable, or when its process died without knowing.
    pub until: Option<u64>,
    /// True once it was durable.
    pub durable: bool,
    /// The write and its record.
    pub text: String,
}

/// A stretch of a machine's life in which nothing changed that a band shows.
#[derive(Clone, Debug)]
pub struct Band {
    /// The machine.
    pub node: u32,
    /// From when.
    pub at: u64,
    /// What it was; `None` while no process runs.
    pub role: Option<RoleStatus>,
    /// The epoch whose history it held.
    pub epoch: u64,
}

/// Entries applied in one step.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The machine.
    pub node: u32,
    /// When.
    pub at: u64,
    /// Up to this entry.
    pub to: Txid,
}

/// A client's request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The machine asked.
    pub node: u32,
    /// When it was asked.
    pub asked: u64,
    /// When the request reached the machine.
    pub arrived: Option<u64>,
    /// When the machine answered.
    pub replied: Option<u64>,
    /// When the client knew, and what.
    pub ended: Option<(u64, String)>,
    /// What was asked.
    pub text: String,
}

/// Everything recorded of a run.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// All messages, by their number.
    pub messages: BTreeMap<u64, Sent>,
    /// All writes, in the order in which they were issued.
    pub writes: Vec<Write>,
    /// All changes of role, epoch and life, in order of time.
    pub bands: Vec<Band>,
    /// All deliveries.
    pub applied: Vec<Applied>,
    /// All requests, by number.
    pub calls: BTreeMap<usize, Call>,
    /// When the run ended.
    pub end: u64,
    waiting: BTreeMap<u32, BTreeMap<WriteId, usize>>,
    last: BTreeMap<u32, Status>,
}

impl Record {
    /// A message leaves its sender; `going` is false if it was lost at once.
    pub fn sent(
        &mut self,
        id: u64,
        at: u64,
        (from, to): (NodeId, NodeId),
        kind: &str,
        text: String,
        going: bool,
    ) {
        let ends = (from.get(), to.get());
        let kind = kind.to_string();
        self.messages.insert(id, Sent { ends, at, kind, text, lost: !going, arrived: Vec::new() });
    }

    /// A message reaches its receiver. Those without a number were made up by the world.
    pub fn arrived(&mut self, id: u64, at: u64) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.arrived.push(at);
        }
    }

    /// A message gets lost.
    pub fn lost(&mut self, id: u64) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.lost = true;
        }
    }

    /// A record is issued.
    pub fn write(&mut self, at: u64, node: NodeId, id: WriteId, record: String) {
        let (node, text) = (node.get(), format!("{id} {record}"));
        self.waiting.entry(node).or_default().insert(id, self.writes.len());
        self.writes.push(Write { node, at, until: None, durable: false, text });
    }

    /// Every record up to this one is durable.
    pub fn durable(&mut self, at: u64, node: NodeId, id: WriteId) {
        let waiting = self.waiting.entry(node.get()).or_default();
        while let Some((first, index)) = waiting.pop_first() {
            if first > id {
                waiting.insert(first, index);
                return;
            }
            let write = &mut self.writes[index];
            (write.until, write.durable) = (Some(at), true);
        }
    }

    /// A process has made a step.
    pub fn status(&mut self, at: u64, node: NodeId, status: &Status) {
        let node = node.get();
        let before = self.last.insert(node, status.clone());
        let same = before
            .as_ref()
            .is_some_and(|old| (old.role, old.current) == (status.role, status.current));
        if !same {
            let epoch = status.current.get();
            self.bands.push(Band { node, at, role: Some(status.role), epoch });
        }
        if before.is_some_and(|old| old.applied < status.applied) {
            self.applied.push(Applied { node, at, to: status.applied });
        }
    }

    /// A process is gone.
    pub fn down(&mut self, at: u64, node: NodeId) {
        let node = node.get();
        self.last.remove(&node);
        for index in self.waiting.remove(&node).unwrap_or_default().into_values() {
            self.writes[index].until = Some(at);
        }
        self.bands.push(Band { node, at, role: None, epoch: 0 });
    }

    /// A client asks.
    pub fn asked(&mut self, at: u64, call: usize, op: &Op) {
        let text = format!("#{call} client {} {:?} k/{}", op.client, op.kind, op.key);
        let (arrived, replied, ended) = (None, None, None);
        let call_seen = Call { node: op.node, asked: at, arrived, replied, ended, text };
        self.calls.insert(call, call_seen);
    }

    /// A request goes to this node.
    pub fn asks(&mut self, call: usize, node: NodeId) {
        if let Some(call) = self.calls.get_mut(&call) {
            call.node = node.get();
        }
    }

    /// A request reaches its node.
    pub fn request(&mut self, at: u64, call: usize) {
        if let Some(call) = self.calls.get_mut(&call) {
            call.arrived = Some(at);
        }
    }

    /// A node answers a request.
    pub fn replied(&mut self, at: u64, call: usize) {
        if let Some(call) = self.calls.get_mut(&call) {
            call.replied = Some(at);
        }
    }

    /// A client knows how its request ended.
    pub fn ended(&mut self, at: u64, call: usize, how: String) {
        if let Some(call) = self.calls.get_mut(&call) {
            call.ended = Some((at, how));
        }
    }

    /// The run is over, and these messages got lost on the way.
    pub fn end(&mut self, at: u64, lost: &[u64]) {
        self.end = at;
        for id in lost {
            self.lost(*id);
        }
    }
}
