//! Time as the runtime tells it. The core has no clock.

use core::fmt;

/// A point on the runtime's monotonic clock, in microseconds since some start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

/// A span of time in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(u64);

/// Wall-clock time in milliseconds since 1970. Stamped into entries by the leader for people to
/// read; it never decides anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct WallTime(u64);

/// What the runtime says about time with every event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Now {
    /// The monotonic clock: drives all timers. Going backwards is clamped, never a fault.
    pub at: Instant,
    /// The wall clock: only stamped into entries.
    pub wall: WallTime,
}

impl Instant {
    /// A point given in microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the clock's start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// This point moved forward.
    #[must_use]
    pub const fn after(self, span: Micros) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span since `earlier`, zero if that lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Micros {
        Micros(self.0.saturating_sub(earlier.0))
    }
}

impl Micros {
    /// A span given in microseconds.
    pub const fn new(micros: u64) -> Self {
        Self(micros)
    }

    /// A span given in milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// The span in microseconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Twice the span, up to `cap`.
    #[must_use]
    pub fn doubled(self, cap: Self) -> Self {
        Self(self.0.saturating_mul(2)).min(cap)
    }
}

impl WallTime {
    /// Milliseconds since 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us if us % 1000 == 0 => write!(f, "{}ms", us / 1000),
            us => write!(f, "{us}us"),
        }
    }
}

impl fmt::Debug for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
