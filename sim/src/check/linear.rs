//! Linearizable (23), from outside: a search for an order of each key's calls that respects their
//! times and explains their answers (Wing and Gong 1993, with Lowe's memory of visited states). A
//! call whose outcome nobody knows may take effect at any time after it was asked, or never.

use crate::callers::app;
use crate::callers::clients::Clients;
use crate::run::plan::OpKind;
use std::collections::{BTreeMap, BTreeSet};
use zabkeeper_core::store::{Answer, CommandError};
use zabkeeper_core::words::End;

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
            None => (None, &End::Unknown),
        };
        let (ended, told) = match ending {
            End::Refused(_) | End::Invalid(_) => continue,
            End::Unknown => (None, None),
            End::Done { answer: Answer::Written(outcome), .. } => (ended, Some(outcome)),
            End::Done { .. } => (ended, None),
        };
        let kind = match (call.op.kind, ending) {
            (OpKind::Set, _) => StepKind::Set(id),
            (OpKind::Add, _) => StepKind::Add(id, told.map(|o| *o != Err(CommandError::Exists))),
            (OpKind::Delete, _) => {
                StepKind::Delete(told.map(|o| *o != Err(CommandError::NotFound)))
            }
            (OpKind::Get, End::Done { answer, .. }) => StepKind::Get(app::found(answer)),
            (OpKind::Get | OpKind::Peek | OpKind::List | OpKind::PeekList, _) => continue,
        };
        keys.entry(call.op.key).or_default().push(Step { asked, ended, kind });
    }
    keys
}

/// Searches an order of one key's steps, visiting at most `budget` states.
///
/// Writes of unknown outcome that nobody saw are left out at first: an order without them is an
/// order, since they may never have taken effect. Only if there is none are they tried.
pub fn search(steps: &[Step], budget: usize) -> Verdict {
    let seen: BTreeSet<usize> = steps.iter().filter_map(|step| step.kind.finds()).collect();
    let matters = |step: &&Step| {
        step.ended.is_some() || step.kind.writes().is_none_or(|value| seen.contains(&value))
    };
    let fewer: Vec<Step> = steps.iter().filter(matters).copied().collect();
    match fewer.len() < steps.len() {
        true if Search::new(&fewer).run(budget) == Verdict::Linearizable => Verdict::Linearizable,
        _ => Search::new(steps).run(budget),
    }
}

impl StepKind {
    /// The value that this writes, if it takes effect.
    fn writes(self) -> Option<usize> {
        match self {
            Self::Set(value) | Self::Add(value, _) => Some(value),
            Self::Delete(_) | Self::Get(_) => None,
        }
    }

    /// The value that this saw.
    fn finds(self) -> Option<usize> {
        match self {
            Self::Get(found) => found,
            _ => None,
        }
    }

    /// The value after this step where it was `before`; `None` if its answer does not fit, or if
    /// it has no effect and no witness, which is as good as never done.
    fn after(self, before: Option<usize>) -> Option<Option<usize>> {
        match (self, before) {
            (Self::Set(value), _) => Some(Some(value)),
            (Self::Add(value, None | Some(true)), None) => Some(Some(value)),
            (Self::Add(_, Some(false)), Some(present)) => Some(Some(present)),
            (Self::Add(..), _) => None,
            (Self::Delete(None | Some(true)), Some(_)) => Some(None),
            (Self::Delete(Some(false)), None) => Some(None),
            (Self::Delete(_), _) => None,
            (Self::Get(found), _) => (found == before).then_some(before),
        }
    }
}

/// A state on the way to an order, with what may come next.
struct Choice {
    /// Steps that may come next, the most promising last.
    open: Vec<usize>,
    /// The step that led here, and the value before it.
    undo: Option<(usize, Option<usize>)>,
}

struct Search<'a> {
    steps: &'a [Step],
    /// The steps by the time of their answer.
    order: Vec<usize>,
    done: Vec<u64>,
    /// Answered steps that are not done.
    left: usize,
    value: Option<usize>,
    /// How many answered reads that are not done saw each value.
    awaited: BTreeMap<usize, usize>,
    visited: BTreeSet<(Vec<u64>, Option<usize>)>,
}

impl<'a> Search<'a> {
    fn new(steps: &'a [Step]) -> Self {
        let mut order: Vec<usize> = (0..steps.len()).collect();
        order.sort_by_key(|index| (steps[*index].ended.unwrap_or(u64::MAX), *index));
        let mut awaited = BTreeMap::new();
        for value in steps.iter().filter_map(|step| step.kind.finds()) {
            *awaited.entry(value).or_default() += 1;
        }
        Self {
            steps,
            order,
            done: vec![0; steps.len().div_ceil(64)],
            left: steps.iter().filter(|step| step.ended.is_some()).count(),
            value: None,
            awaited,
            visited: BTreeSet::new(),
        }
    }

    fn run(mut self, budget: usize) -> Verdict {
        let mut stack = vec![self.choices(None)];
        while self.left > 0 {
            if self.visited.len() > budget {
                return Verdict::TooHard;
            }
            let Some(top) = stack.last_mut() else { return Verdict::Violated };
            match top.open.pop() {
                Some(step) => {
                    let before = self.value;
                    if self.take(step) {
                        let choice = self.choices(Some((step, before)));
                        stack.push(choice);
                    }
                }
                None => {
                    if let Some((step, before)) = top.undo {
                        self.undo(step, before);
                    }
                    stack.pop();
                }
            }
        }
        Verdict::Linearizable
    }

    fn is_done(&self, step: usize) -> bool {
        self.done[step / 64] & (1 << (step % 64)) != 0
    }

    /// Steps asked before any that is not done yet had ended.
    fn choices(&self, undo: Option<(usize, Option<usize>)>) -> Choice {
        let mut undone = self.order.iter().filter(|step| !self.is_done(**step));
        let first_end = undone.next().and_then(|step| self.steps[*step].ended).unwrap_or(u64::MAX);
        let may = |step: &usize| !self.is_done(*step) && self.steps[*step].asked <= first_end;
        let open: Vec<usize> = self.order.iter().rev().copied().filter(may).collect();
        // A step that fits and changes nothing may as well come now: in any order that comes later
        // it can be moved here.
        let idle = |step: &usize| self.steps[*step].kind.after(self.value) == Some(self.value);
        match open.iter().rfind(|step| idle(step)) {
            Some(step) => Choice { open: vec![*step], undo },
            None => Choice { open, undo },
        }
    }

    /// Does a step, if its answer fits, no read is left behind and the state is new.
    fn take(&mut self, step: usize) -> bool {
        let Some(value) = self.steps[step].kind.after(self.value) else { return false };
        // A value is written once: a read that saw it cannot come after the value is gone.
        let gone = self.value.filter(|_| value != self.value);
        if gone.is_some_and(|value| self.awaited.get(&value).is_some_and(|reads| *reads > 0)) {
            return false;
        }
        self.done[step / 64] |= 1 << (step % 64);
        if !self.visited.insert((self.done.clone(), value)) {
            self.done[step / 64] &= !(1 << (step % 64));
            return false;
        }
        self.left -= usize::from(self.steps[step].ended.is_some());
        if let Some(value) = self.steps[step].kind.finds() {
            *self.awaited.entry(value).or_default() -= 1;
        }
        self.value = value;
        true
    }

    fn undo(&mut self, step: usize, before: Option<usize>) {
        self.done[step / 64] &= !(1 << (step % 64));
        self.left += usize::from(self.steps[step].ended.is_some());
        if let Some(value) = self.steps[step].kind.finds() {
            *self.awaited.entry(value).or_default() += 1;
        }
        self.value = before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::dice::{Dice, Stream, stream};

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
    fn the_search_agrees_with_trying_every_order() {
        fn any_order(steps: &[Step], done: u32, value: Option<usize>) -> bool {
            let is_open = |i: usize| done & (1 << i) == 0;
            if (0..steps.len()).all(|i| !is_open(i) || steps[i].ended.is_none()) {
                return true;
            }
            let ends = (0..steps.len()).filter(|i| is_open(*i)).filter_map(|i| steps[i].ended);
            let first_end = ends.min().unwrap_or(u64::MAX);
            (0..steps.len()).filter(|i| is_open(*i) && steps[*i].asked <= first_end).any(|i| {
                let after = steps[i].kind.after(value);
                after.is_some_and(|value| any_order(steps, done | 1 << i, value))
            })
        }
        let mut rng = stream(1, Stream::Workload);
        let mut seen = [0; 2];
        for _ in 0..20_000 {
            let count = rng.between(2, 8) as usize;
            let steps: Vec<Step> = (0..count)
                .map(|id| {
                    let asked = rng.between(1, 12);
                    let unknown = rng.chance(250_000);
                    let told = (!unknown).then(|| rng.chance(500_000));
                    let kind = match rng.below(5) {
                        0 | 1 => Set(id),
                        2 => Add(id, told),
                        3 => Delete(told),
                        _ if rng.chance(300_000) => Get(None),
                        _ => Get(Some(rng.below(count as u64) as usize)),
                    };
                    let unknown = unknown && !matches!(kind, Get(_));
                    step(asked, if unknown { 0 } else { asked + rng.between(0, 8) }, kind)
                })
                .collect();
            let expected = any_order(&steps, 0, None);
            seen[usize::from(expected)] += 1;
            let found = verdict(&steps);
            assert_eq!(found == Verdict::Linearizable, expected, "{steps:?}");
            assert_ne!(found, Verdict::TooHard, "{steps:?}");
        }
        assert!(seen.iter().all(|count| *count > 1_000), "both verdicts are common: {seen:?}");
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
