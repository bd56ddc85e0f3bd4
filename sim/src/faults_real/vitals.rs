//! What the daemons hold over a run, and how long clients were served by none.

use super::weather::NODES;
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

/// So many of the last things that were done are worth knowing about a gap.
const AMID: usize = 8;
/// Fewer storms than this say nothing about memory.
const FEW: usize = 5;

/// What one daemon holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Open descriptors.
    pub descriptors: usize,
    /// Resident memory in KiB.
    pub memory: u64,
}

impl Held {
    /// What a process holds now, if the system can tell.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let memory = line.split_whitespace().next()?.parse().ok()?;
        Some(Self { descriptors, memory })
    }
}

/// The state of the daemons at one moment at which all serve.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Since the start.
    pub at: Duration,
    /// What each holds; nothing where the system cannot tell.
    pub held: [Option<Held>; NODES],
}

/// What was seen over a run.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    /// The first mark, one about each minute, and the last.
    pub marks: Vec<Mark>,
    /// KiB that a node held in the mean, after each storm.
    memory: Vec<(Duration, u64)>,
    /// The longest time without an answer to any client while a quorum was up and linked and
    /// nothing changed.
    pub gap: Duration,
    /// What was done before it and during it, with the time of each.
    pub amid: Vec<String>,
    calm: Option<(u64, Instant)>,
    done: u64,
}

impl Vitals {
    /// All nodes serve: keeps a mark if the last is a minute old, or in any case.
    pub(super) fn mark(&mut self, mark: Mark, always: bool) {
        let held = mark.held.iter().flatten().map(|held| held.memory);
        let nodes = mark.held.iter().flatten().count() as u64;
        self.memory.push((mark.at, held.sum::<u64>() / nodes.max(1)));
        let minute = |mark: &Mark| mark.at.as_secs() / 60;
        if always || self.marks.last().is_none_or(|last| minute(last) < minute(&mark)) {
            self.marks.push(mark);
        }
    }

    /// Looks at the present: by a number for what is up and linked, if that is a quorum, and how
    /// many requests were answered so far.
    pub(super) fn look(&mut self, quorum: Option<u64>, done: u64, told: &[String]) {
        let now = Instant::now();
        match (quorum, self.calm) {
            (Some(state), Some((before, since))) if state == before && done == self.done => {
                if now - since > self.gap {
                    self.gap = now - since;
                    self.amid = told.iter().rev().take(AMID).rev().cloned().collect();
                }
            }
            (quorum, _) => self.calm = quorum.map(|state| (state, now)),
        }
        self.done = done;
    }

    /// KiB that a node held in the mean in the second and in the last third of the run: one that
    /// was just started holds little, so only the mean of many storms tells whether it grows.
    /// `None` if a third has too few storms for that.
    fn thirds(&self) -> Option<(u64, u64)> {
        let end = self.memory.last()?.0;
        let mean = |third: u32| {
            let (from, to) = (end * third / 3, end * (third + 1) / 3);
            let within = self.memory.iter().filter(|(at, _)| (from..=to).contains(at));
            let all: Vec<u64> = within.map(|(_, memory)| *memory).collect();
            (all.len() >= FEW).then(|| all.iter().sum::<u64>() / all.len() as u64)
        };
        Some((mean(1)?, mean(2)?))
    }

    /// True if no node has more descriptors than at first.
    pub(super) fn closed_all(&self, mark: &Mark) -> bool {
        let count = |mark: &Mark| -> usize {
            mark.held.iter().map(|held| held.map_or(0, |held| held.descriptors)).sum()
        };
        self.marks.first().is_none_or(|first| count(mark) <= count(first))
    }
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mark in &self.marks {
            let node = |held: &Option<Held>| match held {
                Some(held) => format!("{} descriptors {} MiB", held.descriptors, held.memory >> 10),
                None => "?".to_string(),
            };
            let nodes: Vec<String> = mark.held.iter().map(node).collect();
            writeln!(f, "at {:>4} s: {}", mark.at.as_secs(), nodes.join(", "))?;
        }
        let descriptors = |mark: Option<&Mark>| -> String {
            let held = mark.map(|mark| mark.held).unwrap_or_default();
            let held = held.iter().map(|held| held.map_or(0, |held| held.descriptors).to_string());
            held.collect::<Vec<_>>().join(", ")
        };
        writeln!(
            f,
            "descriptors: {} at first, {} at last",
            descriptors(self.marks.first()),
            descriptors(self.marks.last())
        )?;
        match self.thirds() {
            Some((second, last)) => {
                let percent = last * 100 / second.max(1);
                writeln!(
                    f,
                    "memory: {second} KiB a node in the mean of the second third, {last} of the \
                     last: {percent} % of that"
                )?;
            }
            None => writeln!(f, "memory: the run is too short to compare its thirds")?,
        }
        write!(
            f,
            "the longest gap while a quorum was up and linked: {:.2} s",
            self.gap.as_secs_f64()
        )?;
        self.amid.iter().try_for_each(|done| write!(f, "\n    {done}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(second: u64, memory: u64) -> Mark {
        let held = [Some(Held { descriptors: 9, memory }); NODES];
        Mark { at: Duration::from_secs(second), held }
    }

    #[test]
    fn memory_is_compared_between_the_second_and_the_last_third() {
        let mut vitals = Vitals::default();
        // What it was in the first third does not count; nor does what one storm left behind.
        for second in 0..=90 {
            let memory = if second < 30 { 900 } else { 100 + second % 2 * 50 };
            vitals.mark(mark(second, memory), false);
        }
        let (before, after) = vitals.thirds().unwrap();
        assert!(before.abs_diff(after) <= 2, "{before} and {after}");
        for second in 91..=180 {
            vitals.mark(mark(second, second), false);
        }
        let (before, after) = vitals.thirds().unwrap();
        assert!(after > before + 30, "it grows: {before} and {after}");
        assert_eq!(vitals.marks.len(), 4, "one a minute");
    }

    #[test]
    fn a_run_of_few_storms_says_nothing_about_memory() {
        let mut vitals = Vitals::default();
        (0..10).for_each(|second| vitals.mark(mark(second, 100), false));
        assert_eq!(vitals.thirds(), None);
    }

    #[test]
    fn descriptors_count_as_closed_when_there_are_as_few_as_at_first() {
        let mut vitals = Vitals::default();
        vitals.mark(mark(0, 100), true);
        let mut later = mark(60, 100);
        assert!(vitals.closed_all(&later));
        later.held[1] = Some(Held { descriptors: 10, memory: 100 });
        assert!(!vitals.closed_all(&later));
    }
}
