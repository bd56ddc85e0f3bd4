//! Files that cannot be opened because descriptors have run out. That says nothing about the disk:
//! whoever has them gives them back sooner or later.

use rustix::io::Errno;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long descriptors are waited for. Longer than the core waits for a disk that stands still: by
/// then the node has left its leader, or stepped down.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Opens something, and waits while the process, or the system, has no descriptor left for it.
pub(crate) fn patiently<T>(open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    within(PATIENCE, open)
}

fn within<T>(patience: Duration, mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        match open() {
            Err(error) if has_run_out(&error) && begun.elapsed() < patience => {
                if !std::mem::replace(&mut told, true) {
                    log::warn!("the disk waits for a file descriptor: {error}");
                }
                sleep(PAUSE);
            }
            other => return other,
        }
    }
}

fn has_run_out(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::MFILE.raw_os_error()) || code == Some(Errno::NFILE.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_waited_for_and_nothing_else_is() {
        let fails = |code: Errno, times: u32| {
            let mut left = times;
            let patience = Duration::from_millis(200);
            let opened = within(patience, || match left.checked_sub(1) {
                Some(less) => {
                    left = less;
                    Err(io::Error::from_raw_os_error(code.raw_os_error()))
                }
                None => Ok(()),
            });
            (opened.is_ok(), times - left)
        };
        assert_eq!(fails(Errno::MFILE, 3), (true, 3));
        assert_eq!(fails(Errno::NFILE, 1), (true, 1));
        assert_eq!(fails(Errno::NOSPC, 3), (false, 1));
        // And not for ever.
        let (opened, tried) = fails(Errno::MFILE, u32::MAX);
        assert!(!opened && (2..20).contains(&tried), "{tried}");
    }
}
