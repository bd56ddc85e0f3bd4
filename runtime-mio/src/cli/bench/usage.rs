//! What processes use, from `/proc`.

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::Duration;

/// CPU time that a process has used, in user and kernel mode.
pub(super) fn cpu(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = ticks(&stat)?;
    Some(Duration::from_micros(ticks.saturating_mul(1_000_000) / clock_ticks_per_second().max(1)))
}

/// CPU time that this process has used.
pub(super) fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Memory of a process in bytes: resident, and its share of it (PSS) where the kernel tells.
pub(super) fn memory(pid: u32) -> Option<(u64, Option<u64>)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
    Some((kilobytes(&status, "VmRSS:")?, rollup.and_then(|text| kilobytes(&text, "Pss:"))))
}

/// The ticks of user and kernel mode: fields 14 and 15, counted after the name, which may hold
/// anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(user + kernel)
}

/// The bytes of a line like `VmRSS:    1234 kB`.
fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_does_not_confuse_its_times() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 1 0 100 0 0";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a"), None);
    }

    #[test]
    fn this_process_uses_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu(pid).is_some());
        assert!(own_cpu() > Duration::ZERO);
        let (resident, shared) = memory(pid).unwrap();
        assert!(resident > 1 << 20);
        assert!(shared.is_none_or(|pss| pss <= resident + (1 << 20)));
        assert_eq!(kilobytes("Pss:    12 kB\n", "Pss:"), Some(12 << 10));
    }
}
