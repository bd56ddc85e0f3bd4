//! What the daemons hold over a run, and how long clients were served by none.

use super::weather::NODES;
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

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
    /// The longest time without an answer to any client while a quorum was up and linked and
    /// nothing changed.
    pub gap: Duration,
    calm: Option<(u64, Instant)>,
    done: u64,
}

impl Vitals {
    /// All nodes serve: keeps a mark if the last is a minute old, or in any case.
    pub(super) fn mark(&mut self, mark: Mark, always: bool) {
        let minute = |mark: &Mark| mark.at.as_secs() / 60;
        if always || self.marks.last().is_none_or(|last| minute(last) < minute(&mark)) {
            self.marks.push(mark);
        }
    }

    /// Looks at the present: by a number for what is up and linked, if that is a quorum, and how
    /// many requests were answered so far.
    pub(super) fn look(&mut self, quorum: Option<u64>, done: u64) {
        let now = Instant::now();
        match (quorum, self.calm) {
            (Some(state), Some((before, since))) if state == before && done == self.done => {
                self.gap = self.gap.max(now - since);
            }
            (quorum, _) => self.calm = quorum.map(|state| (state, now)),
        }
        self.done = done;
    }

    /// By how many percent the memory of a node differs between the marks from minute 20 to 60,
    /// the worst of all; `None` if there are not two such marks.
    fn spread(&self) -> Option<u64> {
        let late = |mark: &&Mark| (20..=60).contains(&(mark.at.as_secs() / 60));
        let of = |node: usize| -> Option<u64> {
            let marks = self.marks.iter().filter(late);
            let all: Vec<u64> = marks.filter_map(|mark| Some(mark.held[node]?.memory)).collect();
            let (least, most) = (*all.iter().min()?, *all.iter().max()?);
            (all.len() > 1).then(|| (most - least) * 100 / least.max(1))
        };
        (0..NODES).filter_map(of).max()
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
        match self.spread() {
            Some(percent) => writeln!(f, "memory: within {percent} % from minute 20 to 60")?,
            None => writeln!(f, "memory: the run is too short to compare minutes 20 to 60")?,
        }
        write!(
            f,
            "the longest gap while a quorum was up and linked: {:.2} s",
            self.gap.as_secs_f64()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_compared_between_minutes_20_and_60_only() {
        let mut vitals = Vitals::default();
        for (minute, memory) in [(0, 10), (19, 500), (20, 100), (40, 108), (61, 900)] {
            let held = [Some(Held { descriptors: 9, memory }); NODES];
            vitals.mark(Mark { at: Duration::from_secs(60 * minute + 1), held }, false);
        }
        assert_eq!(vitals.marks.len(), 5);
        assert_eq!(vitals.spread(), Some(8));
    }
}
