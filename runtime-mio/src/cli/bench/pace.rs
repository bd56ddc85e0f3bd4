//! When requests are due, and an alarm that is finer than poll's milliseconds.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;

/// When requests are due. Times are microseconds since the generator began.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// As soon as there is a free place.
    Closed,
    /// Request i is due at `start + i / rate`, whether or not it can be sent.
    Open { start: u64, rate: u32, sent: u64 },
}

impl Pace {
    /// An open loop that begins now.
    pub(super) fn open(start: u64, rate: u32) -> Self {
        Self::Open { start, rate, sent: 0 }
    }

    /// When the next request is due; `None` for a closed loop.
    pub(super) fn next_due(&self) -> Option<u64> {
        match *self {
            Self::Closed => None,
            Self::Open { start, rate, sent } => {
                Some(start + sent.saturating_mul(1_000_000) / u64::from(rate.max(1)))
            }
        }
    }

    /// Takes the next request if it is due, and says since when.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.next_due().unwrap_or(now);
        if due > now {
            return None;
        }
        if let Self::Open { sent, .. } = self {
            *sent += 1;
        }
        Some(due)
    }

    /// How many requests are due and were not taken.
    pub(super) fn backlog(&self, now: u64) -> u64 {
        match *self {
            Self::Closed => 0,
            Self::Open { start, rate, sent } => {
                (now.saturating_sub(start) * u64::from(rate) / 1_000_000).saturating_sub(sent)
            }
        }
    }
}

/// Wakes a poll after microseconds.
#[derive(Debug)]
pub(super) struct Alarm(OwnedFd);

impl Alarm {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self(fd))
    }

    /// Rings after so many microseconds, and forgets what was set before.
    pub(super) fn set(&self, micros: u64) -> io::Result<()> {
        // A time of zero would turn it off.
        let nanos = i64::try_from(micros.max(1)).unwrap_or(i64::MAX / 1000) * 1000;
        let it_value = Timespec { tv_sec: nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval, it_value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &spec)?;
        Ok(())
    }

    /// It rang: makes it ready for the next time.
    pub(super) fn rang(&self) {
        let mut count = [0; 8];
        // Nothing to read means that it was set again meanwhile.
        let _ = rustix::io::read(&self.0, &mut count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_loop_does_not_forget_requests_that_could_not_be_sent() {
        let mut pace = Pace::open(1000, 500);
        assert_eq!(pace.take(999), None);
        assert_eq!(pace.take(1000), Some(1000));
        assert_eq!(pace.take(2999), None);
        // A stall of ten milliseconds: the five requests count from when they were due.
        assert_eq!(pace.backlog(13_000), 5);
        let due: Vec<_> = std::iter::from_fn(|| pace.take(12_000)).collect();
        assert_eq!(due, [3000, 5000, 7000, 9000, 11_000]);
        assert_eq!(pace.next_due(), Some(13_000));
    }

    #[test]
    fn a_closed_loop_is_due_whenever_there_is_a_place() {
        let mut pace = Pace::Closed;
        assert_eq!((pace.take(7), pace.take(7)), (Some(7), Some(7)));
        assert_eq!((pace.next_due(), pace.backlog(9)), (None, 0));
    }
}
