//! What asks a process to stop: SIGTERM, SIGINT, and the end of stdin for supervised processes.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, Read};
use std::thread;

/// Calls `stop` with the reason whenever somebody asks the process to stop.
pub(crate) fn watch(stdin: bool, stop: impl Fn(&str) + Clone + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
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
    use super::wait_for_line;

    #[test]
    fn a_newline_or_the_end_of_stdin_asks_to_stop() {
        assert_eq!(wait_for_line(&mut b"".as_slice()), "the end of stdin");
        assert_eq!(wait_for_line(&mut b"abc".as_slice()), "the end of stdin");
        let mut input = b"abc\nrest".as_slice();
        assert_eq!(wait_for_line(&mut input), "a line on stdin");
        assert_eq!(input, b"rest");
    }
}
