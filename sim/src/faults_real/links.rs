//! Real daemons over links that are slow all the time: how long a node that was away takes to get
//! what it lacks, and what one large value does to the ensemble.

use super::ensemble::Ensemble;
use super::weather::{CLIENTS, NODES};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use zabkeeper_core::words::{Epoch, Rng};
use zabkeeper_core::zab::{RoleStatus, Status};

const LOOK: Duration = Duration::from_millis(20);
/// The node that is away.
const AWAY: usize = NODES - 1;
const VALUE: u64 = 1 << 10;

/// Three daemons in a directory of their own, which goes with them.
struct Slow {
    ensemble: Ensemble,
    binary: PathBuf,
    _dir: Dir,
}

/// Removed when it is dropped.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Slow {
    fn start(binary: &Path, name: &str) -> Result<Self, String> {
        let dir = Dir::new(name)?;
        let ensemble = Ensemble::new(binary, &dir.0, &Rng::new(1))?;
        let mut slow = Self { ensemble, binary: binary.to_path_buf(), _dir: dir };
        for node in 0..NODES {
            slow.ensemble.start(node).map_err(|error| error.to_string())?;
        }
        slow.until(Duration::from_secs(30), "all nodes serve", |slow| slow.serving() == NODES)?;
        Ok(slow)
    }

    /// Every connection between two of these nodes takes so many bytes a second from now on.
    fn narrow(&self, which: impl Fn(usize, usize) -> bool, rate: u64) {
        let peers = |from, to| from != CLIENTS && to != CLIENTS;
        let which = |from, to| peers(from, to) && which(from, to);
        self.ensemble.weather.change(which, |path| path.rate = rate);
    }

    fn statuses(&self) -> Vec<Status> {
        (0..NODES).filter_map(|node| self.ensemble.status(node)).collect()
    }

    fn serving(&self) -> usize {
        self.statuses().iter().filter(|status| serves(status)).count()
    }

    fn epoch(&self) -> Option<Epoch> {
        self.statuses().iter().filter(|status| serves(status)).map(|status| status.current).max()
    }

    /// Writes so many values of so many bytes through the first node.
    fn fill(&self, keys: u64, bytes: u64) -> Result<(), String> {
        let output = Command::new(&self.binary)
            .args(["bench", "--load=local-read", "--connections=1", "--duration=1s"])
            .args([format!("--keys={keys}"), format!("--value-size={bytes}")])
            .args(["--timeout=120s", "--endpoints"])
            .arg(self.ensemble.endpoints()[0].to_string())
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn until(
        &mut self,
        patience: Duration,
        what: &str,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<Duration, String> {
        let start = Instant::now();
        while start.elapsed() < patience {
            if done(self) {
                return Ok(start.elapsed());
            }
            thread::sleep(LOOK);
        }
        let log = std::fs::read_to_string(self.ensemble.log(AWAY)).unwrap_or_default();
        Err(format!("after {} s not yet: {what}; the last node says:\n{log}", patience.as_secs()))
    }
}

fn serves(status: &Status) -> bool {
    match status.role {
        RoleStatus::Leading { established } => established,
        RoleStatus::Following { serving, .. } => serving,
        _ => false,
    }
}

/// How long a node that was away takes to get about `bytes` over links of `rate` bytes a second
/// that are reset every `cut`.
///
/// # Errors
/// If it does not within ten times what the bytes take on the wire, or no daemon could be started.
pub fn laggard(binary: &Path, bytes: u64, rate: u64, cut: Duration) -> Result<Duration, String> {
    let mut slow = Slow::start(binary, "zabkeeper-laggard")?;
    slow.ensemble.kill(AWAY);
    slow.fill(bytes.div_ceil(VALUE), VALUE)?;
    let away = |from, to| from == AWAY || to == AWAY;
    slow.narrow(away, rate);
    slow.ensemble.start(AWAY).map_err(|error| error.to_string())?;
    let wire = Duration::from_secs(bytes.div_ceil(rate.max(1)));
    let mut next = Instant::now() + cut;
    slow.until(wire * 10, "the node serves", |slow| {
        if Instant::now() >= next {
            next += cut;
            slow.ensemble.weather.change(away, |path| path.cuts += 1);
        }
        slow.ensemble.status(AWAY).is_some_and(|status| serves(&status))
    })
}

/// How long one value of `bytes` takes to be written where links take `rate` bytes a second, and
/// through how many epochs the ensemble went meanwhile and until all nodes had it.
///
/// # Errors
/// If it is not written, or no daemon could be started.
pub fn large_value(binary: &Path, bytes: u64, rate: u64) -> Result<(Duration, u64), String> {
    let mut slow = Slow::start(binary, "zabkeeper-large-value")?;
    slow.narrow(|_, _| true, rate);
    let before = slow.epoch().ok_or("nobody leads")?;
    let start = Instant::now();
    slow.fill(1, bytes)?;
    let took = start.elapsed().saturating_sub(Duration::from_secs(1));
    slow.until(Duration::from_secs(60), "all nodes have the value", |slow| {
        let all = slow.statuses();
        all.len() == NODES && all.windows(2).all(|two| two[0].applied == two[1].applied)
    })?;
    let after = slow.epoch().ok_or("nobody leads in the end")?;
    Ok((took, after.get() - before.get()))
}
