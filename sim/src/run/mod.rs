//! Runs plans and reports on them.

pub(crate) mod climate;
pub mod hashes;
pub mod mutants;
pub mod options;
pub mod plan;
pub mod progress;
pub mod service;
pub mod shrink;
pub mod sweep;

use crate::check::Violation;
use crate::report::trace::Moment;
use crate::report::view::record::Record;
use crate::run::plan::Plan;
use crate::world::World;
use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};

/// The outcome of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The run's seed.
    pub seed: u64,
    /// What went wrong, if anything.
    pub violation: Option<Violation>,
    /// The hash of everything that happened.
    pub hash: u64,
    /// Steps of processes.
    pub steps: u64,
    /// Virtual time in microseconds.
    pub time: u64,
    /// Committed entries.
    pub committed: usize,
    /// Leaders established.
    pub reigns: usize,
    /// How often each transition and fault was seen.
    pub marks: BTreeMap<String, u64>,
    /// How near each bound came, in percent, and other maxima.
    pub peaks: BTreeMap<&'static str, u64>,
    /// What happened, if it was kept.
    pub moments: Vec<Moment>,
    /// What a drawing shows, if it was kept.
    pub view: Option<Box<Record>>,
}

thread_local! {
    /// What the last panic of this thread said, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics from being printed: they are reported with their run.
pub fn catch_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
        let text = format!("{} ({})", words(info.payload()), place.unwrap_or_default());
        PANIC.with(|last| *last.borrow_mut() = Some(text));
    }));
}

fn words(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<String>() {
        return text.clone();
    }
    payload
        .downcast_ref::<&str>()
        .map_or_else(|| "no words".to_string(), |text| (*text).to_string())
}

/// Does something that may break an assertion of the core, which is a violation like any other.
pub(crate) fn guarded<T>(action: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    panic::catch_unwind(AssertUnwindSafe(action)).unwrap_or_else(|payload| {
        let text = PANIC.with(|last| last.borrow_mut().take());
        let text = text.unwrap_or_else(|| words(&*payload));
        Err(Violation::new("the core's own assertions", text))
    })
}

/// Runs a plan. With `keep` the report holds the text of what happened.
pub fn run(plan: &Plan, keep: bool) -> Report {
    let mut world = World::new(plan.clone(), keep);
    let violation = guarded(|| world.run()).err();
    let mut marks = std::mem::take(&mut world.marks);
    for (what, count) in &world.net.counts {
        marks.insert(format!("net: {what}"), *count);
    }
    let mut view = world.trace.view.take();
    if let Some(view) = &mut view {
        view.end(world.now, world.net.lost.as_deref().unwrap_or_default());
    }
    Report {
        seed: plan.seed,
        violation,
        hash: world.trace.hash(),
        steps: world.trace.steps,
        time: world.now,
        committed: world.checks.order.entries().len(),
        reigns: world.checks.epochs.reigns(),
        marks,
        peaks: std::mem::take(&mut world.peaks),
        moments: world.trace.moments.take().unwrap_or_default(),
        view,
    }
}
