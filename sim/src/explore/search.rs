//! Breadth first: the states of depth d, then those of depth d + 1, so that the first violation has
//! a shortest trace. Threads expand the states of a batch, one thread adds what they found, in the
//! order of the batch: the same counts and the same trace in every run, on any number of threads.

use super::print::print;
use super::step::Step;
use super::turn::Turns;
use super::world::{Parts, World};
use crate::check::Violation;
use crate::run::guarded;
use std::hash::{BuildHasherDefault, Hasher};
use std::thread;

/// States that the threads expand before what they found is added.
const BATCH: usize = 1 << 14;

/// Fingerprints of states. Nothing asks for their order.
#[expect(clippy::disallowed_types, reason = "never iterated; a tree would take twice the time")]
type Known = std::collections::HashSet<u128, BuildHasherDefault<Plain>>;

/// Where to stop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// No more states than this.
    pub states: usize,
    /// On how many threads.
    pub jobs: usize,
}

/// Why a search ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Every state was visited.
    Exhausted,
    /// There are more states than allowed.
    Full,
    /// A step broke an invariant.
    Violated(Violation),
}

/// How far a search came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Different states.
    pub states: usize,
    /// Steps from one state to another, those to known states included.
    pub transitions: usize,
    /// States in which nothing can happen any more.
    pub dead_ends: usize,
    /// Those of them in which no leader serves a quorum: only time could help.
    pub stuck: usize,
    /// The most steps that a state is away from the first.
    pub depth: usize,
    /// States whose steps are not known yet.
    pub frontier: usize,
}

/// A search under way.
pub(super) struct Search<'a> {
    turns: &'a Turns,
    limits: Limits,
    known: Known,
    /// From which state, by which step, each state was reached first.
    parents: Vec<(u32, Step)>,
    progress: Progress,
    parts: Parts,
}

/// What a state leads to: in how many steps, and to which states that are not known yet.
struct Successors {
    steps: usize,
    stuck: bool,
    found: Vec<Found>,
}

/// A step and where it leads.
struct Found {
    step: Step,
    next: Result<(u128, World), Violation>,
}

impl<'a> Search<'a> {
    pub(super) fn new(turns: &'a Turns, limits: Limits) -> Self {
        let (known, parents) = (Known::default(), Vec::new());
        let (progress, parts) = (Progress::default(), Parts::default());
        Self { turns, limits, known, parents, progress, parts }
    }

    /// Visits every state that can be reached from `root`, telling how far it is now and then.
    /// Returns the steps to a violation, if there is one.
    pub(super) fn run(
        &mut self,
        root: &World,
        mut tell: impl FnMut(&Progress),
    ) -> (Ending, Progress, Vec<Step>) {
        self.known.insert(print(root));
        self.parents.push((0, Step::Tick(0)));
        let mut level = vec![root.clone()];
        let mut first = 0;
        while !level.is_empty() {
            let mut next = Vec::new();
            let mut rest = level.into_iter();
            loop {
                let batch: Vec<World> = rest.by_ref().take(BATCH).collect();
                if batch.is_empty() {
                    break;
                }
                let found = self.expand(&batch);
                for (parent, found) in (first..).zip(found) {
                    if let Some(ending) = self.add(parent, found, &mut next) {
                        let steps = self.steps_to(&ending, parent);
                        return (ending, self.progress(next.len() + rest.len()), steps);
                    }
                }
                first += batch.len() as u32;
                tell(&self.progress(next.len() + rest.len()));
            }
            level = next;
            self.progress.depth += usize::from(!level.is_empty());
        }
        (Ending::Exhausted, self.progress(0), Vec::new())
    }

    fn progress(&self, frontier: usize) -> Progress {
        Progress { states: self.known.len(), frontier, ..self.progress }
    }

    /// What each state of a batch leads to, in order. Known states are left out.
    fn expand(&self, batch: &[World]) -> Vec<Successors> {
        let share = batch.len().div_ceil(self.limits.jobs.max(1)).max(64);
        let expand = |share: &[World]| share.iter().map(|world| self.successors(world)).collect();
        thread::scope(|scope| {
            let shares = batch.chunks(share);
            let threads: Vec<_> = shares.map(|share| scope.spawn(move || expand(share))).collect();
            let lists = threads.into_iter().map(|thread| {
                let list: Vec<Successors> = thread.join().expect("panics are caught");
                list
            });
            lists.flatten().collect()
        })
    }

    fn successors(&self, world: &World) -> Successors {
        let steps = world.steps();
        let (count, stuck) = (steps.len(), steps.is_empty() && !world.serves());
        let found = steps.into_iter().filter_map(|step| {
            let next = guarded(|| world.after(step, self.turns));
            let next = next.map(|next| (print(&next), next));
            let known = next.as_ref().is_ok_and(|(print, _)| self.known.contains(print));
            (!known).then_some(Found { step, next })
        });
        let mut found: Vec<Found> = found.collect();
        if stuck && let Err(violation) = guarded(|| world.ends_with_time(self.turns)) {
            found.push(Found { step: Step::Expire(0), next: Err(violation) });
        }
        Successors { steps: count, stuck, found }
    }

    /// Adds what a state leads to. The reason to end, if there is one.
    fn add(
        &mut self,
        parent: u32,
        Successors { steps, stuck, found }: Successors,
        next: &mut Vec<World>,
    ) -> Option<Ending> {
        self.progress.transitions += steps;
        self.progress.dead_ends += usize::from(steps == 0);
        self.progress.stuck += usize::from(stuck);
        for Found { step, next: state } in found {
            let (print, mut world) = match state {
                Ok(state) => state,
                Err(violation) => {
                    self.parents.push((parent, step));
                    return Some(Ending::Violated(violation));
                }
            };
            if !self.known.insert(print) {
                continue;
            }
            self.parents.push((parent, step));
            world.share(&mut self.parts);
            next.push(world);
            if self.known.len() >= self.limits.states {
                return Some(Ending::Full);
            }
        }
        None
    }

    /// The shortest way to the violation that was just found.
    fn steps_to(&self, ending: &Ending, parent: u32) -> Vec<Step> {
        let Ending::Violated(_) = ending else { return Vec::new() };
        let mut steps: Vec<Step> = self.parents.last().map(|(_, step)| *step).into_iter().collect();
        let mut state = parent;
        while state != 0 {
            let (parent, step) = self.parents[state as usize];
            steps.push(step);
            state = parent;
        }
        steps.reverse();
        steps
    }
}

/// Fingerprints are spread evenly already.
#[derive(Default)]
struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, print: u128) {
        self.0 = print as u64;
    }
}
