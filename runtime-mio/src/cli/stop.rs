//! What asks a process to stop: SIGTERM, SIGINT, SIGHUP, and the end of stdin for supervised
//! processes.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, Read};
use std::thread;

/// Holds back the signals that ask a process to stop: they wait until somebody watches.
#[derive(Debug)]
pub(crate) struct Held(io::Result<Signals>);

impl Held {
    /// From now on these signals end the process no more.
    pub(crate) fn now() -> Self {
        Self(Signals::new(heeded()))
    }

    /// Calls `stop` with the reason whenever somebody asks the process to stop, or has asked it.
    pub(crate) fn watch(
        self,
        stdin: bool,
        stop: impl Fn(&str) + Clone + Send + 'static,
    ) -> io::Result<()> {
        let mut signals = self.0?;
        let on_signal = stop.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                on_signal(match signal {
                    SIGINT => "SIGINT",
                    SIGHUP => "SIGHUP",
                    _ => "SIGTERM",
                });
            }
        })?;
        if stdin {
            thread::Builder::new()
                .name("stdin".to_owned())
                .spawn(move || stop(wait_for_line(&mut io::stdin().lock())))?;
        }
        Ok(())
    }
}

/// The signals that ask this process to stop: not those that whoever started it had it ignore, as
/// `nohup` does with SIGHUP and a shell with SIGINT for what runs in the background.
pub(crate) fn heeded() -> Vec<i32> {
    // Without /proc nothing is known to be ignored.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored(&status);
    let all = [SIGTERM, SIGINT, SIGHUP].into_iter();
    all.filter(|signal| ignored & (1 << (signal - 1)) == 0).collect()
}

/// The signals that a process ignores, one bit each, from its `/proc/PID/status`.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Waits for a newline or the end, and says which.
fn wait_for_line(input: &mut impl Read) -> &'static str {
    let mut byte = [0];
    loop {
        match input.read(&mut byte) {
            Ok(0) => return "the end of stdin",
            Ok(_) if byte == *b"\n" => return "a line on stdin",
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return "the loss of stdin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newline_or_the_end_of_stdin_asks_to_stop() {
        assert_eq!(wait_for_line(&mut b"".as_slice()), "the end of stdin");
        assert_eq!(wait_for_line(&mut b"abc".as_slice()), "the end of stdin");
        let mut input = b"abc\nrest".as_slice();
        assert_eq!(wait_for_line(&mut input), "a line on stdin");
        assert_eq!(input, b"rest");
    }

    #[test]
    fn ignored_signals_are_read_as_the_kernel_writes_them() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001003\nSigCgt:\t01\n"), 0x1003);
        assert_eq!(ignored(""), 0);
    }
}
