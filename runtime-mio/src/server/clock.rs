//! The only place where the server reads clocks.

use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};
use zabkeeper_core::words::{Instant, Now, WallTime};

/// The clocks of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: StdInstant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self { start: StdInstant::now() }
    }

    /// Both times, for the core.
    pub(crate) fn now(&self) -> Now {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            at: self.at(),
            wall: WallTime::from_millis(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// The monotonic time.
    pub(crate) fn at(&self) -> Instant {
        let micros = self.start.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// How long until `at`, rounded up to what the operating system's wait can express: waking up
    /// a little early would only mean to wait again.
    pub(crate) fn until(&self, at: Instant) -> Duration {
        let micros = at.since(self.at()).get();
        Duration::from_millis(micros.div_ceil(1000))
    }
}
