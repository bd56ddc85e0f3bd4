//! One node's process.

use super::layout::Place;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;

/// How much of a log is shown when a node ends.
const TAIL_LINES: usize = 12;
const TAIL_BYTES: u64 = 8 << 10;

/// What a node's process says by its standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Said {
    /// The ready line.
    Ready,
    /// The end: the process is gone, or as good as gone.
    Ended,
}

/// A node's process. It stops when its stdin closes, thus also when this process dies.
#[derive(Debug)]
pub(in crate::cli) struct Node {
    pub(in crate::cli) place: Place,
    pub(in crate::cli) pid: u32,
    /// None once the process was waited for.
    child: Option<Child>,
    stdin: Option<ChildStdin>,
}

impl Node {
    /// Starts the process; `tell` is called from another thread.
    pub(in crate::cli) fn start(
        place: Place,
        tell: impl Fn(Said) + Send + 'static,
    ) -> io::Result<Self> {
        let log = File::options().create(true).append(true).mode(0o600).open(&place.log)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["server", "--watch-stdin", "--config"])
            .arg(&place.config)
            .arg("--data-dir")
            .arg(&place.data)
            // A Ctrl-C in the terminal is for `dev` alone, which then stops its nodes.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let spawned = thread::Builder::new().name(place.name.clone()).spawn(move || {
            for line in stdout.into_iter().flat_map(|out| BufReader::new(out).lines()) {
                if line.is_ok_and(|line| line.starts_with("ready ")) {
                    tell(Said::Ready);
                }
            }
            tell(Said::Ended);
        });
        let node = Self { place, pid: child.id(), child: Some(child), stdin };
        spawned.map(|_| node)
    }

    /// True until the process was waited for.
    pub(in crate::cli) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Asks the process to stop.
    pub(in crate::cli) fn ask_to_stop(&mut self) {
        self.stdin = None;
    }

    /// Ends the process now.
    pub(in crate::cli) fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            // It fails only if the process has ended already.
            let _ = child.kill();
        }
    }

    /// Waits for the end of the process, and says how it ended.
    pub(in crate::cli) fn wait(&mut self) -> Option<io::Result<ExitStatus>> {
        self.child.take().map(|mut child| child.wait())
    }

    /// How the process ended, if it has.
    pub(in crate::cli) fn ended(&mut self) -> Option<io::Result<ExitStatus>> {
        self.child.as_mut()?.try_wait().transpose()
    }

    /// The last lines of its log.
    pub(in crate::cli) fn tail(&self) -> Vec<String> {
        tail(&self.place.log).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.ask_to_stop();
        self.kill();
        let _ = self.wait();
    }
}

/// How a process ended, for people.
pub(in crate::cli) fn describe(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}{}", meaning(code)),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => status.to_string(),
        },
        Err(error) => format!("an unknown exit code: {error}"),
    }
}

fn meaning(code: i32) -> &'static str {
    match code {
        0 => " (asked to stop)",
        2 => " (wrong configuration)",
        3 => " (damaged or foreign data; do not restart it)",
        4 => " (the disk failed)",
        5 => " (halted by the protocol)",
        _ => "",
    }
}

fn tail(log: &std::path::Path) -> io::Result<Vec<String>> {
    let mut file = File::open(log)?;
    let length = fs::metadata(log)?.len();
    let start = length.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line may be a part of one.
    let lines: Vec<_> = text.lines().skip(usize::from(start > 0)).collect();
    let skip = lines.len().saturating_sub(TAIL_LINES);
    Ok(lines.into_iter().skip(skip).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_is_its_last_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let lines: Vec<_> = (0..5000).map(|i| format!("line {i}")).collect();
        fs::write(&log, lines.join("\n")).unwrap();
        assert_eq!(tail(&log).unwrap(), lines[5000 - TAIL_LINES..]);
        fs::write(&log, "one\n").unwrap();
        assert_eq!(tail(&log).unwrap(), ["one"]);
    }
}
