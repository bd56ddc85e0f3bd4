//! The clients: what each asked, when, and what it was told.

use crate::callers::app;
use crate::run::plan::Op;
use std::collections::BTreeMap;
use zabkeeper_core::replica::{Reply, Request};
use zabkeeper_core::store::{Answer, Command, Outcome, Query, Tree};
use zabkeeper_core::words::{Payload, ReadLevel, RefuseReason, Txid};
use zabkeeper_proto::client as wire;

/// How a call ended for the client.
#[derive(Clone, PartialEq, Debug)]
pub enum Ending {
    /// It was written.
    Written {
        /// The entry.
        txid: Txid,
        /// What it led to.
        outcome: Outcome,
    },
    /// It was read.
    Read {
        /// What the read saw.
        applied: Txid,
        /// The answer.
        answer: Answer,
    },
    /// It was certainly not done.
    Refused(RefuseReason),
    /// Its time was up before a node took it, or answered the read: certainly not done.
    TimedOut,
    /// Nobody knows.
    Unknown,
}

/// One request of one client.
#[derive(Clone, Debug)]
pub struct Call {
    /// What was asked.
    pub op: Op,
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
    pub ended: Option<(u64, Ending)>,
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
    pub fn new(ops: &[Op]) -> Self {
        let mut clients = Self::default();
        for op in ops {
            clients.add(op.clone());
        }
        clients
    }

    /// One more call; returns its number.
    pub fn add(&mut self, op: Op) -> usize {
        let command = app::command(self.calls.len(), &op);
        let query = Query::Get { path: app::path(op.key) };
        self.push(op, query, command)
    }

    /// One more call, with a command of its own: the operation says only who asks whom and how.
    pub fn push(&mut self, op: Op, query: Query, command: Option<Command>) -> usize {
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

    /// What the node is asked.
    pub fn request(&self, id: usize) -> Request<Query> {
        let call = &self.calls[id];
        match &call.command {
            Some(command) => Request::Write(command.clone()),
            None => Request::Read {
                query: call.query.clone(),
                level: match call.op.kind {
                    crate::run::plan::OpKind::Peek => ReadLevel::Local(call.seen),
                    _ => ReadLevel::Linearizable,
                },
            },
        }
    }

    /// What a client says to a node, on a connection, when it has seen `seen`.
    pub fn op(&self, id: usize, seen: Txid) -> wire::Op {
        let call = &self.calls[id];
        match self.request(id) {
            Request::Write(_) => match call.command.as_ref().map(|bytes| Command::decode(bytes)) {
                Some(Ok(command)) => wire::Op::Write(command),
                other => panic!("{:?} has the command {other:?}", call.op),
            },
            Request::Read { query, level } => wire::Op::Read {
                query,
                level: match level {
                    ReadLevel::Local(_) => ReadLevel::Local(seen),
                    ReadLevel::Linearizable => level,
                },
            },
        }
    }

    /// A client is told how its call ended. False if it had ended already.
    pub fn end(&mut self, id: usize, now: u64, ending: Ending) -> bool {
        let call = &mut self.calls[id];
        if call.ended.is_some() {
            return false;
        }
        let seen = match &ending {
            Ending::Written { txid, .. } => *txid,
            Ending::Read { applied, .. } => *applied,
            Ending::Refused(_) | Ending::TimedOut | Ending::Unknown => Txid::ZERO,
        };
        let own = self.seen.entry(call.op.client).or_default();
        *own = seen.max(*own);
        if call.op.kind != crate::run::plan::OpKind::Peek {
            self.floor = self.floor.max(seen);
        }
        call.ended = Some((now, ending));
        true
    }
}

impl From<Reply<Tree>> for Ending {
    fn from(reply: Reply<Tree>) -> Self {
        match reply {
            Reply::Written { txid, outcome } => Self::Written { txid, outcome },
            Reply::Read { applied, answer } => Self::Read { applied, answer },
            Reply::Refused(why) => Self::Refused(why),
            Reply::Unknown => Self::Unknown,
        }
    }
}
