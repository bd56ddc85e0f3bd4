//! What processes use, from `/proc`.

use crate::Fallible;
use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::Duration;

/// CPU time that processes have used together, in user and kernel mode.
pub(crate) fn cpu(pids: &[u32]) -> Fallible<Duration> {
    let mut sum = Duration::ZERO;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
            .map_err(|error| format!("cannot read what process {pid} uses: {error}"))?;
        let ticks = ticks(&stat).ok_or_else(|| format!("/proc/{pid}/stat is no such file"))?;
        sum += Duration::from_micros(ticks * 1_000_000 / clock_ticks_per_second().max(1));
    }
    Ok(sum)
}

/// Resident memory of processes together, in bytes.
pub(crate) fn memory(pids: &[u32]) -> Fallible<u64> {
    let mut sum = 0;
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .map_err(|error| format!("cannot read what process {pid} uses: {error}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        sum += kilobytes.ok_or_else(|| format!("/proc/{pid}/status has no VmRSS"))? * 1024;
    }
    Ok(sum)
}

/// CPU time that this process has used.
pub(crate) fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The ticks of user and kernel mode: fields 14 and 15, counted after the name, which may hold
/// anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    user.checked_add(kernel)
}
