//! The trace hashes of some seeds, written down: the same seed must give the same run on every
//! machine, in debug and in release. Whoever changes what a run does rewrites them.

use crate::run::plan::Plan;
use crate::run::run;
use crate::run::sweep::{Sweep, sweep};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;

/// The trace hashes of the seeds from 1 to `seeds`, run on so many threads.
pub fn measure(seeds: u64, jobs: usize) -> BTreeMap<u64, u64> {
    let found = Mutex::new(BTreeMap::new());
    let one = |seed| {
        let report = run(&Plan::draw(seed), false);
        let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        found.insert(seed, report.hash);
        report
    };
    sweep(&Sweep { from: 1, seeds, jobs, stop_after: 0 }, one, |_| {});
    found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The hashes as text: a line for each seed, `SEED HASH`.
pub fn write(hashes: &BTreeMap<u64, u64>) -> String {
    hashes.iter().fold(String::new(), |mut text, (seed, hash)| {
        let _ = writeln!(text, "{seed} {hash:016x}");
        text
    })
}

/// Reads that text; the line that makes no sense, if there is one.
pub fn read(text: &str) -> Result<BTreeMap<u64, u64>, String> {
    let parse = |line: &str| {
        let (seed, hash) = line.split_once(' ')?;
        Some((seed.parse().ok()?, u64::from_str_radix(hash, 16).ok()?))
    };
    text.lines().map(|line| parse(line).ok_or_else(|| format!("not `SEED HASH`: {line}"))).collect()
}

/// Runs the seeds of a text again. How many there are, or which give another hash.
pub fn compare(text: &str, jobs: usize) -> Result<usize, String> {
    let expected = read(text)?;
    let last = expected.keys().next_back().copied().unwrap_or_default();
    if last == 0 || expected.len() as u64 != last {
        return Err("the file must list all seeds from 1 on".to_string());
    }
    let found = measure(last, jobs);
    let other = expected.iter().filter(|(seed, hash)| found.get(seed) != Some(hash));
    let other: Vec<String> = other.map(|(seed, _)| seed.to_string()).collect();
    match other.is_empty() {
        true => Ok(expected.len()),
        false => Err(format!("other runs than those written down: seeds {}", other.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nonsense_is_refused() {
        let hashes = BTreeMap::from([(1, 7), (2, u64::MAX)]);
        assert_eq!(read(&write(&hashes)), Ok(hashes));
        assert!(read("1 zz").is_err());
        assert!(compare("2 00", 1).is_err());
    }

    #[test]
    fn another_hash_is_noticed() {
        let mut hashes = measure(2, 1);
        assert_eq!(compare(&write(&hashes), 1), Ok(2));
        hashes.insert(2, 0);
        assert_eq!(
            compare(&write(&hashes), 1),
            Err("other runs than those written down: seeds 2".to_string())
        );
    }
}
