//! What the clients asked and were told, in the simulator's own terms, judged by its checkers.

use crate::callers::clients::Clients;
use crate::check::client;
use crate::check::linear::{Step, StepKind, Verdict, histories, search};
use crate::run::plan::{Op, OpKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use zabkeeper_core::store::{self, Answer};
use zabkeeper_core::words::End;

/// How many states the search for an order may visit for one key.
const BUDGET: usize = 300_000;

/// The history of a run; all clients write to it.
#[derive(Debug)]
pub(super) struct History {
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
    pub(super) fn new(start: Instant) -> Self {
        Self { start, inner: Mutex::default() }
    }

    /// Microseconds since the start.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A client asks; gives the number of the call and what to ask.
    pub(super) fn ask(&self, mut op: Op) -> (usize, store::Op) {
        let mut inner = self.lock();
        op.at = self.now();
        let at = op.at;
        let id = inner.clients.add(op);
        inner.clients.ask(id, at);
        let asks = inner.clients.first_op(id);
        // Values can be large, and long runs have millions of calls: what the value was, the
        // number of the call tells.
        inner.clients.calls[id].command = None;
        (id, asks)
    }

    /// A client is told.
    pub(super) fn end(&self, id: usize, ending: End<Answer>) {
        let mut inner = self.lock();
        let now = self.now();
        let Some(call) = inner.clients.calls.get(id).cloned() else { return };
        match &ending {
            End::Refused(_) | End::Invalid(_) => inner.refused += 1,
            End::Unknown => inner.unknown += 1,
            End::Done { .. } => inner.done += 1,
        }
        if let Err(violation) = client::ended(&call, &ending) {
            inner.wrong.get_or_insert_with(|| format!("call {id}: {violation}"));
        }
        inner.clients.end(id, now, ending);
    }

    /// Something happened that never should.
    pub(super) fn wrong(&self, what: impl Into<String>) {
        self.lock().wrong.get_or_insert_with(|| what.into());
    }

    /// What went wrong first, if anything did.
    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().wrong.clone()
    }

    /// How many requests ended how.
    pub(super) fn counts(&self) -> Counts {
        let inner = self.lock();
        Counts { done: inner.done, refused: inner.refused, unknown: inner.unknown }
    }

    /// Every key that was asked for.
    pub(super) fn keys(&self) -> Vec<u32> {
        let mut keys: Vec<u32> = self.lock().clients.calls.iter().map(|c| c.op.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Searches an order that explains each key's calls.
    pub(super) fn judge(&self) -> Result<(), String> {
        let inner = self.lock();
        if let Some(wrong) = &inner.wrong {
            return Err(wrong.clone());
        }
        let named = in_order_of_txids(&inner.clients)?;
        let all = histories(&inner.clients);
        for (key, mut steps) in histories(&named) {
            seen_is_done(&mut steps);
            done_when_seen(&mut steps);
            let steps_as_they_were = all.get(&key).map_or(&[][..], Vec::as_slice);
            match search(&steps, BUDGET) {
                Verdict::Linearizable => {}
                verdict => return Err(explain(key, verdict, steps_as_they_were)),
            }
        }
        Ok(())
    }

    /// All calls, one a line, by key and time.
    pub(super) fn text(&self) -> String {
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
                Some((at, End::Done { txid, answer: Answer::Written(outcome) })) => {
                    let outcome = outcome.as_ref().map(|_| "done");
                    writeln!(text, "{at} {txid} {outcome:?}")
                }
                Some((at, End::Done { txid: applied, answer })) => {
                    writeln!(text, "{at} at {applied} v{:?}", crate::callers::app::found(answer))
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

/// The answers name txids: the order that the ensemble itself claims. Here each answered call has
/// shrunk to the one moment that this order leaves it, so that the search has nothing to guess but
/// the calls of unknown outcome. An order of these is an order of the calls as they were.
fn in_order_of_txids(clients: &Clients) -> Result<Clients, String> {
    /// How many moments a microsecond has.
    const FINE: u64 = 1 << 20;
    let mut named = Clients::default();
    named.calls.clone_from(&clients.calls);
    let mut order = Vec::new();
    for (id, call) in named.calls.iter_mut().enumerate() {
        call.asked = call.asked.map(|asked| asked * FINE);
        let Some((at, ending)) = &mut call.ended else { continue };
        *at = (*at + 1) * FINE;
        match ending {
            End::Done { txid, answer: Answer::Written(_) } => order.push((*txid, false, *at, id)),
            End::Done { txid: applied, .. } if call.op.kind == OpKind::Get => {
                order.push((*applied, true, *at, id));
            }
            _ => {}
        }
    }
    order.sort_unstable();
    // As late as can be: that leaves the most room for the calls of unknown outcome.
    let mut moment = u64::MAX;
    for (txid, _, ended, id) in order.into_iter().rev() {
        moment = ended.min(moment) - 1;
        let call = &mut named.calls[id];
        if call.asked > Some(moment) {
            return Err(format!(
                "Linearizable (23): call {id} at {txid} was asked when a call had ended that \
                 comes after it in the order of txids"
            ));
        }
        call.asked = Some(moment);
        call.ended = call.ended.take().map(|(_, ending)| (moment, ending));
    }
    Ok(named)
}

/// Among calls that have shrunk to moments: a value that was read was not there yet when another
/// call last met or left something else. Its writer comes after that, if nobody knows when.
fn done_when_seen(steps: &mut [Step]) {
    let known = |step: &&Step| step.ended == Some(step.asked);
    // An Add that met a value does not tell which.
    let tells = |step: &&Step| !matches!(step.kind, StepKind::Add(_, Some(false)));
    let moments: BTreeSet<u64> =
        steps.iter().filter(known).filter(tells).map(|step| step.asked).collect();
    for step in steps.iter_mut() {
        if let Some(ended) = step.ended
            && let Some(before) = moments.range(..ended).next_back()
        {
            step.asked = step.asked.max(*before + 1);
        }
    }
}

/// Says what is wrong with the calls on a key that the order of their txids does not explain.
fn explain(key: u32, named: Verdict, steps: &[Step]) -> String {
    let mut steps = steps.to_vec();
    seen_is_done(&mut steps);
    let count = steps.len();
    let what = format!("what clients were told of their {count} calls on k/{key}");
    match (search(&steps, BUDGET), named) {
        (Verdict::Violated, _) => {
            format!("Linearizable (23): no order whatever explains {what}")
        }
        (other, Verdict::Violated) => format!(
            "Linearizable (23): the order of the txids does not explain {what}; the search for \
             another order ends with: {other:?}"
        ),
        _ => format!(
            "undecided: the search for an order that explains {what} was given up after {BUDGET} \
             states, because too many outcomes are unknown; run another seed"
        ),
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
pub(super) fn op(client: usize, kind: OpKind, key: u32, size: u32, patience: u64) -> Op {
    Op { at: 0, client: client as u32, node: 0, kind, key, size, patience }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zabkeeper_core::store::{Answer, CommandError, Found, Stat};
    use zabkeeper_core::words::{Epoch, Txid};

    fn txid(counter: u64) -> Txid {
        Txid::new(Epoch::new(1), counter).expect("the name of an entry")
    }

    fn found(call: usize) -> Answer {
        let value = Some(crate::callers::app::value(call, 0));
        Answer::Node(Some(Found {
            path: crate::callers::app::path(1),
            value,
            stat: Stat::default(),
        }))
    }

    fn written(counter: u64) -> End<Answer> {
        End::Done { txid: txid(counter), answer: Answer::Written(Ok(Stat::default())) }
    }

    /// Calls one after the other on one key, each with how it ended.
    fn history(calls: Vec<(OpKind, End<Answer>)>) -> History {
        let history = History::new(Instant::now());
        for (kind, ending) in calls {
            let (id, _) = history.ask(op(0, kind, 1, 0, 1));
            history.end(id, ending);
        }
        history
    }

    fn read(counter: u64, answer: Answer) -> (OpKind, End<Answer>) {
        (OpKind::Get, End::Done { txid: txid(counter), answer })
    }

    #[test]
    fn what_an_unknown_write_may_explain_is_accepted() {
        let answer = Answer::Written(Err(CommandError::Exists));
        let exists = End::Done { txid: txid(3), answer };
        let calls = vec![
            (OpKind::Set, written(1)),
            (OpKind::Delete, End::Unknown),
            (OpKind::Add, End::Unknown),
            read(2, Answer::Node(None)),
            (OpKind::Add, exists),
            read(3, found(2)),
        ];
        assert_eq!(history(calls).judge(), Ok(()));
    }

    #[test]
    fn many_writes_of_unknown_outcome_are_no_riddle() {
        let mut calls: Vec<_> = (0..40).map(|_| (OpKind::Set, End::Unknown)).collect();
        for round in 1..20 {
            calls.push(read(100 * round, found(2 * round as usize)));
            calls.extend((1..80).map(|n| (OpKind::Set, written(100 * round + n))));
        }
        assert_eq!(history(calls).judge(), Ok(()));
    }

    #[test]
    fn a_write_that_came_late_is_not_tried_early() {
        let mut calls = vec![(OpKind::Set, written(1))];
        calls.extend((0..30).map(|_| (OpKind::Set, End::Unknown)));
        calls.extend((0..5).map(|_| (OpKind::Delete, End::Unknown)));
        calls.push(read(50, Answer::Node(None)));
        calls.push(read(60, found(7)));
        assert_eq!(history(calls).judge(), Ok(()));
    }

    #[test]
    fn a_lost_write_is_found() {
        let calls = vec![(OpKind::Set, written(1)), read(1, Answer::Node(None))];
        let wrong = history(calls).judge().expect_err("the write is lost");
        assert!(wrong.contains("no order whatever"), "{wrong}");
    }

    #[test]
    fn a_refused_write_that_was_done_is_found() {
        let refused = End::Refused(zabkeeper_core::words::RefuseReason::NoLeader);
        let calls = vec![(OpKind::Set, refused), read(1, found(0))];
        assert!(history(calls).judge().is_err());
    }

    #[test]
    fn a_txid_that_goes_back_is_found() {
        let calls = vec![(OpKind::Set, written(2)), (OpKind::Set, written(1))];
        let wrong = history(calls).judge().expect_err("the order contradicts the times");
        assert!(wrong.contains("Linearizable (23)"), "{wrong}");
    }
}
