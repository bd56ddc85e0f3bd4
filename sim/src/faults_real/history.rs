//! What the clients asked and were told, in the simulator's own terms, judged by its checkers.

use crate::check::client;
use crate::check::linear::{Step, StepKind, Verdict, histories, search};
use crate::clients::{Clients, Ending};
use crate::plan::{Op, OpKind};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use zabkeeper_core::replica::Request;
use zabkeeper_core::tree::Query;

/// How many states the search for an order may visit for one key.
const BUDGET: usize = 300_000;

/// The history of a run; all clients write to it.
#[derive(Debug)]
pub struct History {
    start: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    clients: Clients,
    wrong: Option<String>,
    done: u64,
    refused: u64,
    unknown: u64,
}

/// How many requests ended how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Answered.
    pub done: u64,
    /// Certainly not done.
    pub refused: u64,
    /// Perhaps done.
    pub unknown: u64,
}

impl History {
    /// An empty one, that begins now.
    pub fn new(start: Instant) -> Self {
        Self { start, inner: Mutex::default() }
    }

    /// Microseconds since the start.
    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A client asks; gives the number of the call and what to ask.
    pub fn ask(&self, mut op: Op) -> (usize, Request<Query>) {
        let mut inner = self.lock();
        op.at = self.now();
        let at = op.at;
        let id = inner.clients.add(op);
        inner.clients.ask(id, at);
        (id, inner.clients.request(id))
    }

    /// A client is told.
    pub fn end(&self, id: usize, ending: Ending) {
        let mut inner = self.lock();
        let now = self.now();
        let Some(call) = inner.clients.calls.get(id).cloned() else { return };
        match &ending {
            Ending::Refused(_) => inner.refused += 1,
            Ending::Unknown => inner.unknown += 1,
            Ending::Written { .. } | Ending::Read { .. } => inner.done += 1,
        }
        if let Err(violation) = client::ended(&call, &ending) {
            inner.wrong.get_or_insert_with(|| format!("call {id}: {violation}"));
        }
        inner.clients.end(id, now, ending);
    }

    /// Something happened that never should.
    pub fn wrong(&self, what: impl Into<String>) {
        self.lock().wrong.get_or_insert_with(|| what.into());
    }

    /// What went wrong first, if anything did.
    pub fn trouble(&self) -> Option<String> {
        self.lock().wrong.clone()
    }

    /// How many requests ended how.
    pub fn counts(&self) -> Counts {
        let inner = self.lock();
        Counts { done: inner.done, refused: inner.refused, unknown: inner.unknown }
    }

    /// Every key that was asked for.
    pub fn keys(&self) -> Vec<u32> {
        let mut keys: Vec<u32> = self.lock().clients.calls.iter().map(|c| c.op.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Searches an order that explains each key's calls.
    pub fn judge(&self) -> Result<(), String> {
        let inner = self.lock();
        if let Some(wrong) = &inner.wrong {
            return Err(wrong.clone());
        }
        for (key, mut steps) in histories(&inner.clients) {
            seen_is_done(&mut steps);
            match search(&steps, BUDGET) {
                Verdict::Linearizable => {}
                Verdict::Violated => {
                    return Err(format!(
                        "Linearizable (23): no order of the {} calls on k/{key} explains what \
                         their clients were told",
                        steps.len()
                    ));
                }
                Verdict::TooHard => {
                    return Err(format!(
                        "undecided: the search for an order of the {} calls on k/{key} was given \
                         up after {BUDGET} states",
                        steps.len()
                    ));
                }
            }
        }
        Ok(())
    }

    /// All calls, one a line, by key and time.
    pub fn text(&self) -> String {
        let inner = self.lock();
        let mut calls: Vec<_> = inner.clients.calls.iter().enumerate().collect();
        calls.sort_by_key(|(id, call)| (call.op.key, call.asked, *id));
        let mut text = String::from("# key: call client kind asked..ended (microseconds) ending\n");
        for (id, call) in calls {
            let asked = call.asked.unwrap_or(0);
            let (op, key) = (call.op.kind, call.op.key);
            let _ = write!(text, "k/{key}: {id} c{} {op:?} {asked}..", call.op.client);
            let _ = match &call.ended {
                None => writeln!(text, " never ended"),
                Some((at, Ending::Written { txid, outcome })) => {
                    let outcome = outcome.as_ref().map(|_| "done");
                    writeln!(text, "{at} {txid} {outcome:?}")
                }
                Some((at, Ending::Read { applied, answer })) => {
                    writeln!(text, "{at} at {applied} v{:?}", crate::app::found(answer))
                }
                Some((at, ending)) => writeln!(text, "{at} {ending:?}"),
            };
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write whose value was read had taken effect when the read ended, whatever its client knows:
/// values are written once. Saying so changes no verdict and spares the search most of its guesses.
fn seen_is_done(steps: &mut [Step]) {
    let mut seen: BTreeMap<usize, u64> = BTreeMap::new();
    for step in steps.iter() {
        if let (StepKind::Get(Some(value)), Some(ended)) = (step.kind, step.ended) {
            let first = seen.entry(value).or_insert(ended);
            *first = ended.min(*first);
        }
    }
    for step in steps.iter_mut().filter(|step| step.ended.is_none()) {
        let (StepKind::Set(value) | StepKind::Add(value, _)) = step.kind else { continue };
        if let Some(at) = seen.get(&value) {
            step.ended = Some(*at);
            if let StepKind::Add(_, told) = &mut step.kind {
                *told = Some(true);
            }
        }
    }
}

/// A request of one client.
pub fn op(client: usize, kind: OpKind, key: u32, size: u32, patience: u64) -> Op {
    Op { at: 0, client: client as u32, node: 0, kind, key, size, patience }
}
