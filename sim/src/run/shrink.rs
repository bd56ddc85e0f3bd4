//! From a failing plan to one that a person can read: drop whole classes of faults and chances,
//! then delete faults and requests by halves, then shorten the time. What is kept is the violation:
//! the same invariant must still break. A plan that is still long then is tried with other seeds.

use crate::run::plan::Plan;
use crate::run::{Report, run};

/// The result of shrinking.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest plan found.
    pub plan: Plan,
    /// What it leads to.
    pub report: Report,
    /// How many plans were tried.
    pub tries: usize,
}

/// Shrinks a failing plan, trying at most `budget` others. `None` if the plan does not fail.
pub fn shrink(plan: &Plan, budget: usize) -> Option<Shrunk> {
    let report = run(plan, false);
    let invariant = report.violation.as_ref()?.invariant;
    let best = Shrunk { plan: plan.clone(), report, tries: 0 };
    let mut search = Search { best, invariant, budget, luck: 1 };
    search.cut_the_end();
    while search.pass() && search.best.tries < search.budget {}
    search.luck = LUCK;
    while search.steps() > READABLE && search.pass() && search.best.tries < search.budget {}
    Some(search.best)
}

/// A plan of so many faults and requests can be read.
const READABLE: usize = 20;

/// A plan that cannot be read yet is tried with so many seeds.
const LUCK: u64 = 8;

struct Search {
    best: Shrunk,
    invariant: &'static str,
    budget: usize,
    /// With how many seeds each plan is tried.
    luck: u64,
}

impl Search {
    fn steps(&self) -> usize {
        self.best.plan.faults.len() + self.best.plan.ops.len()
    }

    /// Takes the plan if it still fails alike. The fate of a message hangs on how many went before
    /// it, so a plan with fewer requests may need other luck to fail. That is the seed's part: a
    /// plan names its options, faults and requests itself.
    fn attempt(&mut self, mut plan: Plan) -> bool {
        if plan == self.best.plan {
            return false;
        }
        (0..self.luck).any(|_| {
            let same = self.fails(&plan);
            plan.seed = plan.seed.wrapping_add(1);
            same
        })
    }

    /// Runs the plan, and keeps it if it fails alike.
    fn fails(&mut self, plan: &Plan) -> bool {
        if self.best.tries >= self.budget {
            return false;
        }
        self.best.tries += 1;
        let report = run(plan, false);
        let same = report.violation.as_ref().is_some_and(|v| v.invariant == self.invariant);
        if same {
            self.best.plan = plan.clone();
            self.best.report = report;
        }
        same
    }

    fn with(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.best.plan.clone();
        change(&mut plan);
        self.attempt(plan)
    }

    /// One round of everything. True if something got smaller.
    fn pass(&mut self) -> bool {
        let mut smaller = self.cut_the_end();
        let mut classes: Vec<&str> =
            self.best.plan.faults.iter().map(|planned| planned.fault.class()).collect();
        classes.sort_unstable();
        classes.dedup();
        for class in classes {
            smaller |= self.with(|plan| plan.faults.retain(|p| p.fault.class() != class));
        }
        for calm in CHANCES {
            smaller |= self.with(calm);
        }
        smaller |= self.halve(
            |plan| plan.faults.len(),
            |plan, from, to| {
                plan.faults.drain(from..to);
            },
        );
        smaller |= self.halve(
            |plan| plan.ops.len(),
            |plan, from, to| {
                plan.ops.drain(from..to);
            },
        );
        smaller
    }

    /// Drops what comes after the violation, and begins the quiet period there.
    fn cut_the_end(&mut self) -> bool {
        let end = self.best.report.time + 1;
        let mut smaller = self.with(|plan| {
            plan.faults.retain(|planned| planned.at <= end);
            plan.ops.retain(|op| op.at <= end);
            plan.options.duration = plan.options.duration.min(end);
        });
        let mut duration = self.best.plan.options.duration / 2;
        while duration > 1_000
            && self.with(|plan| {
                plan.options.duration = duration;
                plan.faults.retain(|planned| planned.at <= duration);
                plan.ops.retain(|op| op.at <= duration);
            })
        {
            smaller = true;
            duration /= 2;
        }
        smaller
    }

    /// Deletes parts of a list: halves first, then ever smaller pieces down to single elements.
    fn halve(
        &mut self,
        length: impl Fn(&Plan) -> usize,
        delete: impl Fn(&mut Plan, usize, usize),
    ) -> bool {
        let mut smaller = false;
        let mut piece = length(&self.best.plan).div_ceil(2);
        while piece > 0 && self.best.tries < self.budget {
            let mut from = 0;
            while from < length(&self.best.plan) {
                let to = (from + piece).min(length(&self.best.plan));
                if self.with(|plan| delete(plan, from, to)) {
                    smaller = true;
                } else {
                    from = to;
                }
            }
            piece /= 2;
        }
        smaller
    }
}

/// Takes away one kind of chance each.
const CHANCES: [fn(&mut Plan); 13] = [
    |plan| plan.options.net.slow = 0,
    |plan| plan.options.net.lose = 0,
    |plan| plan.options.net.twice = 0,
    |plan| plan.options.net.replay = 0,
    |plan| plan.options.net.corrupt = 0,
    |plan| plan.options.net.cut = 0,
    |plan| plan.options.net.half_open = 0,
    |plan| plan.options.net.refuse = 0,
    |plan| plan.options.disk.slow = 0,
    |plan| plan.options.drift_ppm = 0,
    |plan| plan.options.tick_late = 0,
    |plan| plan.options.codec = false,
    |plan| plan.options.clients = None,
];
