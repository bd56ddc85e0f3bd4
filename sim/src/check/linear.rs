//! Linearizable (23), from outside: a search for an order of each key's calls that respects their
//! times and explains their answers (Wing and Gong 1993, with Lowe's memory of visited states). A
//! call whose outcome nobody knows may take effect at any time after it was asked, or never.

use crate::app;
use crate::clients::{Clients, Ending};
use crate::plan::OpKind;
use std::collections::{BTreeMap, BTreeSet};
use zabkeeper_core::tree::CommandError;

/// A call on one key, as the search sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// When it was asked.
    pub asked: u64,
    /// When it was answered; `None` if it never was.
    pub ended: Option<u64>,
    /// What it did or found.
    pub kind: StepKind,
}

/// What a call does to its key. Values are numbers that no two writes share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    /// Sets the value.
    Set(usize),
    /// Sets the value if there was none; the flag says whether the client was told that it did.
    Add(usize, Option<bool>),
    /// Deletes; the flag says whether the client was told that there was something.
    Delete(Option<bool>),
    /// Found this.
    Get(Option<usize>),
}

/// The search's result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is such an order.
    Linearizable,
    /// There is none.
    Violated,
    /// The search was given up.
    TooHard,
}

/// The steps of a run by key, without local reads.
pub fn histories(clients: &Clients) -> BTreeMap<u32, Vec<Step>> {
    let mut keys: BTreeMap<u32, Vec<Step>> = BTreeMap::new();
    for (id, call) in clients.calls.iter().enumerate() {
        // Key 0 stands for calls whose values do not name them.
        let Some(asked) = call.asked.filter(|_| call.op.key > 0) else { continue };
        let (ended, ending) = match &call.ended {
            Some((at, ending)) => (Some(*at), ending),
            None => (None, &Ending::Unknown),
        };
        let (ended, told) = match ending {
            Ending::Refused(_) => continue,
            Ending::Unknown => (None, None),
            Ending::Written { outcome, .. } => (ended, Some(outcome)),
            Ending::Read { .. } => (ended, None),
        };
        let kind = match (call.op.kind, ending) {
            (OpKind::Set, _) => StepKind::Set(id),
            (OpKind::Add, _) => StepKind::Add(id, told.map(|o| *o != Err(CommandError::Exists))),
            (OpKind::Delete, _) => {
                StepKind::Delete(told.map(|o| *o != Err(CommandError::NotFound)))
            }
            (OpKind::Get, Ending::Read { answer, .. }) => StepKind::Get(app::found(answer)),
            (OpKind::Get | OpKind::Peek, _) => continue,
        };
        keys.entry(call.op.key).or_default().push(Step { asked, ended, kind });
    }
    keys
}

/// Searches an order of one key's steps, visiting at most `budget` states.
pub fn search(steps: &[Step], budget: usize) -> Verdict {
    let mut search = Search {
        steps,
        order: by_end(steps),
        done: vec![0; steps.len().div_ceil(64)],
        value: None,
        visited: BTreeSet::new(),
    };
    let mut stack: Vec<Choice> = vec![search.choices()];
    loop {
        if search.all_ended_are_done() {
            return Verdict::Linearizable;
        }
        if search.visited.len() > budget {
            return Verdict::TooHard;
        }
        let Some(top) = stack.last_mut() else { return Verdict::Violated };
        match top.open.pop() {
            Some(step) => {
                let before = search.value;
                if search.take(step) {
                    let mut choice = search.choices();
                    choice.undo = Some((step, before));
                    stack.push(choice);
                }
            }
            None => {
                if let Some((step, before)) = top.undo {
                    search.done[step / 64] &= !(1 << (step % 64));
                    search.value = before;
                }
                stack.pop();
            }
        }
    }
}

struct Choice {
    /// Steps that may come next, the most promising last.
    open: Vec<usize>,
    /// The step that led here, and the value before it.
    undo: Option<(usize, Option<usize>)>,
}

struct Search<'a> {
    steps: &'a [Step],
    order: Vec<usize>,
    done: Vec<u64>,
    value: Option<usize>,
    visited: BTreeSet<(Vec<u64>, Option<usize>)>,
}

fn by_end(steps: &[Step]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_key(|index| (steps[*index].ended.unwrap_or(u64::MAX), *index));
    order
}

impl Search<'_> {
    fn is_done(&self, step: usize) -> bool {
        self.done[step / 64] & (1 << (step % 64)) != 0
    }

    fn all_ended_are_done(&self) -> bool {
        self.order.iter().all(|s| self.steps[*s].ended.is_none() || self.is_done(*s))
    }

    /// Steps asked before any that is not done yet had ended.
    fn choices(&self) -> Choice {
        let mut undone = self.order.iter().filter(|step| !self.is_done(**step));
        let first_end = undone.next().and_then(|step| self.steps[*step].ended).unwrap_or(u64::MAX);
        let may = |step: &usize| !self.is_done(*step) && self.steps[*step].asked <= first_end;
        let open = self.order.iter().rev().copied().filter(may).collect();
        Choice { open, undo: None }
    }

    /// Does a step, if its answer fits and the state is new.
    fn take(&mut self, step: usize) -> bool {
        let value = match self.steps[step].kind {
            StepKind::Set(value) => Some(value),
            StepKind::Add(value, told) => match (self.value, told) {
                (None, None | Some(true)) => Some(value),
                (Some(present), Some(false)) => Some(present),
                // Without effect and without a witness: as good as never done.
                (Some(_), None | Some(true)) | (None, Some(false)) => return false,
            },
            StepKind::Delete(told) => match (self.value, told) {
                (Some(_), None | Some(true)) | (None, Some(false)) => None,
                (None, None | Some(true)) | (Some(_), Some(false)) => return false,
            },
            StepKind::Get(found) if found == self.value => found,
            StepKind::Get(_) => return false,
        };
        self.done[step / 64] |= 1 << (step % 64);
        if !self.visited.insert((self.done.clone(), value)) {
            self.done[step / 64] &= !(1 << (step % 64));
            return false;
        }
        self.value = value;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(asked: u64, ended: u64, kind: StepKind) -> Step {
        Step { asked, ended: (ended > 0).then_some(ended), kind }
    }

    fn verdict(steps: &[Step]) -> Verdict {
        search(steps, 10_000)
    }

    use StepKind::{Add, Delete, Get, Set};

    #[test]
    fn reads_see_what_was_written_before_they_began() {
        let set = step(1, 2, Set(7));
        assert_eq!(verdict(&[set, step(3, 4, Get(Some(7)))]), Verdict::Linearizable);
        assert_eq!(verdict(&[set, step(3, 4, Get(None))]), Verdict::Violated);
        assert_eq!(verdict(&[set, step(1, 4, Get(None))]), Verdict::Linearizable);
    }

    #[test]
    fn a_value_does_not_come_back() {
        let steps = [
            step(1, 2, Set(1)),
            step(3, 9, Set(2)),
            step(4, 5, Get(Some(2))),
            step(6, 7, Get(Some(1))),
        ];
        assert_eq!(verdict(&steps), Verdict::Violated);
    }

    #[test]
    fn an_unknown_write_may_come_late_or_never_but_not_twice() {
        let unknown = step(1, 0, Set(1));
        let other = step(2, 3, Set(2));
        let late = [unknown, other, step(4, 5, Get(Some(2))), step(6, 7, Get(Some(1)))];
        assert_eq!(verdict(&late), Verdict::Linearizable);
        assert_eq!(verdict(&[unknown, other, step(4, 5, Get(Some(2)))]), Verdict::Linearizable);
        let twice =
            [unknown, step(2, 3, Get(Some(1))), step(4, 5, Set(2)), step(6, 7, Get(Some(1)))];
        assert_eq!(verdict(&twice), Verdict::Violated);
    }

    #[test]
    fn adds_and_deletes_are_told_what_they_met() {
        let steps = [
            step(1, 2, Add(1, Some(true))),
            step(3, 4, Add(2, Some(false))),
            step(5, 6, Delete(Some(true))),
            step(7, 8, Delete(Some(false))),
        ];
        assert_eq!(verdict(&steps), Verdict::Linearizable);
        assert_eq!(
            verdict(&[step(1, 2, Add(1, Some(true))), step(3, 4, Add(2, Some(true)))]),
            Verdict::Violated
        );
        assert_eq!(verdict(&[step(1, 2, Delete(Some(true)))]), Verdict::Violated);
    }
}
