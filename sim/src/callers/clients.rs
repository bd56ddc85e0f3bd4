//! The clients: what each asked, when, and what it was told.

use crate::callers::app;
use crate::run::plan;
use std::collections::BTreeMap;
use zabkeeper_core::store::{Answer, Command, Op, Query};
use zabkeeper_core::words::{End, Operation, Payload, ReadLevel, Txid};

/// One request of one client.
#[derive(Clone, Debug)]
pub struct Call {
    /// What was asked.
    pub op: plan::Op,
    /// What is asked, for reads; for writes, a read of their key.
    pub query: Query,
    /// The command's bytes, for writes.
    pub command: Option<Payload>,
    /// When it was asked; `None` until then.
    pub asked: Option<u64>,
    /// The newest txid that any client had been told of when it was asked.
    pub floor: Txid,
    /// The newest txid that this client had seen when it asked.
    pub seen: Txid,
    /// When and how it ended.
    pub ended: Option<(u64, End<Answer>)>,
}

/// All clients.
#[derive(Debug, Default)]
pub struct Clients {
    /// All calls, by number.
    pub calls: Vec<Call>,
    seen: BTreeMap<u32, Txid>,
    floor: Txid,
}

impl Clients {
    /// Clients that will ask for these.
    pub fn new(ops: &[plan::Op]) -> Self {
        let mut clients = Self::default();
        for op in ops {
            clients.add(op.clone());
        }
        clients
    }

    /// One more call; returns its number.
    pub fn add(&mut self, op: plan::Op) -> usize {
        let command = app::command(self.calls.len(), &op);
        let query = app::query(&op);
        self.push(op, query, command)
    }

    /// One more call, with a command of its own: the operation says only who asks whom and how.
    pub fn push(&mut self, op: plan::Op, query: Query, command: Option<Command>) -> usize {
        let id = self.calls.len();
        self.calls.push(Call {
            command: command.map(|command| command.encode()),
            query,
            op,
            asked: None,
            floor: Txid::ZERO,
            seen: Txid::ZERO,
            ended: None,
        });
        id
    }

    /// A client asks now.
    pub fn ask(&mut self, id: usize, now: u64) {
        let call = &mut self.calls[id];
        call.asked = Some(now);
        call.floor = self.floor;
        call.seen = self.seen.get(&call.op.client).copied().unwrap_or_default();
    }

    /// What a client asks, by its own account of what it has seen.
    pub fn op(&self, id: usize) -> Op {
        let mut op = self.first_op(id);
        op.see(self.calls[id].seen);
        op
    }

    /// What a client asks whose machine sees to that.
    pub fn first_op(&self, id: usize) -> Op {
        let call = &self.calls[id];
        match call.command.as_ref().map(|bytes| Command::decode(bytes)) {
            Some(Ok(command)) => Op::Write(command),
            Some(Err(why)) => panic!("{:?} has a command that is {why}", call.op),
            None => Op::Read {
                query: call.query.clone(),
                level: match call.op.kind.is_local() {
                    true => ReadLevel::Local(Txid::ZERO),
                    false => ReadLevel::Linearizable,
                },
            },
        }
    }

    /// A client is told how its call ended. False if it had ended already.
    pub fn end(&mut self, id: usize, now: u64, ending: End<Answer>) -> bool {
        let call = &mut self.calls[id];
        if call.ended.is_some() {
            return false;
        }
        let seen = ending.seen();
        let own = self.seen.entry(call.op.client).or_default();
        *own = seen.max(*own);
        if !call.op.kind.is_local() {
            self.floor = self.floor.max(seen);
        }
        call.ended = Some((now, ending));
        true
    }
}
