//! How far a long run is, on stderr: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Shows how far a run is.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    live: bool,
    told: Mutex<Instant>,
}

/// Characters of the bar.
const WIDTH: u64 = 30;

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Begins now.
    #[expect(clippy::disallowed_methods, reason = "measures the wall time of a run")]
    pub fn new() -> Self {
        let start = Instant::now();
        Self { start, live: std::io::stderr().is_terminal(), told: Mutex::new(start) }
    }

    /// So many of `total` seeds are done. Cheap: most calls show nothing.
    pub fn show(&self, done: u64, total: u64, failed: u64) {
        let pause = Duration::from_millis(if self.live { 100 } else { 10_000 });
        let Ok(mut told) = self.told.try_lock() else { return };
        let since = told.elapsed();
        if since < pause {
            return;
        }
        *told += since;
        let line = line(done, total, failed, self.start.elapsed());
        if self.live {
            eprint!("\r{line}  ");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    /// Leaves the bar's line.
    pub fn end(&self) {
        if self.live {
            eprintln!();
        }
    }
}

fn line(done: u64, total: u64, failed: u64, passed: Duration) -> String {
    let rate = done as f64 / passed.as_secs_f64().max(0.001);
    let full = (done * WIDTH / total.max(1)).min(WIDTH) as usize;
    let bar = format!("{}{}", "#".repeat(full), ".".repeat(WIDTH as usize - full));
    let left = total.saturating_sub(done) as f64 / rate.max(0.001);
    format!("[{bar}] {done}/{total} seeds, {rate:.0}/s, {left:.0} s left, {failed} failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_how_far_and_how_long_still() {
        assert_eq!(
            line(500, 2000, 1, Duration::from_secs(5)),
            "[#######.......................] 500/2000 seeds, 100/s, 15 s left, 1 failed"
        );
        assert!(line(0, 0, 0, Duration::ZERO).contains("0/0 seeds"));
    }
}
