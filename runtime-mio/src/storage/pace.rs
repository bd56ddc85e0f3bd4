//! The pace of the state store: what it has written is told, so that a slow disk is known from one
//! that hangs, and its flushes are as large as its disk wants them.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Bytes between two flushes on a disk that is not slow: neither such a flush nor any of the
/// journal's, which share the disk, may take long.
const LEAST: u64 = 256 << 10;
/// The same for a state that comes in whole: the node has no journal to write meanwhile.
const BULK: u64 = 4 << 20;
/// And at most.
const MOST: u64 = 16 << 20;
/// A flush that takes longer is worth a try with more at once.
const SLOW: Duration = Duration::from_millis(20);
/// Flushes after which that is tried again, if it was not worth it.
const AGAIN: u32 = 64;

/// Told of bytes that were made durable.
type Told = Box<dyn Fn(u64) + Send + Sync>;

/// Shared by all that writes the application's state.
#[derive(Clone, Default)]
pub(crate) struct Pace {
    told: Arc<OnceLock<Told>>,
    unit: Arc<Mutex<Unit>>,
    /// True for what does not bring a checkpoint forward: it is told without its bytes.
    aside: bool,
}

impl Pace {
    /// The same, for what does not bring a checkpoint forward.
    pub(crate) fn aside(&self) -> Self {
        Self { aside: true, ..self.clone() }
    }

    /// The same, for a state that comes in whole beside the present one.
    pub(crate) fn bulk(&self) -> Self {
        let unit = Unit { calm: BULK, ..Unit::default() };
        Self { unit: Arc::new(Mutex::new(unit)), ..self.aside() }
    }

    /// Has `told` called with the bytes of every flush from now on; with 0 for a mere sign of life.
    pub(crate) fn tell(&self, told: impl Fn(u64) + Send + Sync + 'static) {
        // The first one stays: a store has one owner.
        let _ = self.told.set(Box::new(told));
    }

    /// Bytes after which a file is flushed before more is written to it.
    pub(crate) fn unit(&self) -> u64 {
        self.unit_mut().bytes
    }

    /// Flushes `bytes` written to a file since the last flush.
    pub(crate) fn flush(&self, file: &File, bytes: u64) -> io::Result<()> {
        let begun = Instant::now();
        file.sync_data()?;
        self.unit_mut().learn(bytes, begun.elapsed());
        self.wrote(bytes);
        Ok(())
    }

    /// Takes note of bytes that were made durable, or read back.
    pub(crate) fn wrote(&self, bytes: u64) {
        if let Some(told) = self.told.get() {
            told(if self.aside { 0 } else { bytes });
        }
    }

    fn unit_mut(&self) -> std::sync::MutexGuard<'_, Unit> {
        // Plain numbers are whole at every moment.
        self.unit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much is flushed at once. Where a flush takes a time of its own, whatever it flushes, twice as
/// much at once is nearly twice as fast; where it takes as long as its bytes take, less is better.
struct Unit {
    bytes: u64,
    /// What it is while flushes are quick.
    calm: u64,
    /// Bytes a second that half of it, and the last flush with it, reached.
    rate: f64,
    /// Flushes to come before more is tried.
    pause: u32,
}

impl Default for Unit {
    fn default() -> Self {
        Self { bytes: LEAST, calm: LEAST, rate: 0.0, pause: 0 }
    }
}

impl Unit {
    fn learn(&mut self, bytes: u64, took: Duration) {
        // Ends of files say little.
        if bytes < self.bytes {
            return;
        }
        let rate = bytes as f64 / took.as_secs_f64().max(1e-6);
        if took < SLOW {
            // What is quick need not be larger; it is made smaller when it can still be quick.
            if self.bytes < self.calm {
                self.set(self.bytes * 2, 0.0, 0);
            } else if self.bytes > self.calm && took < SLOW / 4 {
                self.set(self.bytes / 2, 0.0, 0);
            }
        } else if self.pause > 0 {
            self.pause -= 1;
        } else if rate > self.rate * 1.3 {
            // At the most it stays for a while, and then sees whether half is as good.
            let pause = if self.bytes == MOST { AGAIN } else { 0 };
            self.set(self.bytes * 2, rate, pause);
        } else {
            self.set(self.bytes / 2, 0.0, AGAIN);
        }
    }

    fn set(&mut self, bytes: u64, rate: f64, pause: u32) {
        *self = Self { bytes: bytes.clamp(LEAST, MOST), calm: self.calm, rate, pause };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The unit after so many flushes on a disk of this latency and rate.
    fn settled(latency_ms: u64, bytes_per_ms: u64, flushes: u32) -> u64 {
        let mut unit = Unit::default();
        for _ in 0..flushes {
            let took = Duration::from_millis(latency_ms + unit.bytes / bytes_per_ms);
            unit.learn(unit.bytes, took);
        }
        unit.bytes
    }

    #[test]
    fn flushes_grow_where_each_takes_long_and_stay_small_where_the_bytes_do() {
        assert_eq!(settled(1, 500_000, 100), LEAST, "a healthy disk");
        assert!(settled(60, 200_000, 8) >= 4 << 20, "60 ms a flush");
        assert!(settled(200, 200_000, 8) >= 8 << 20, "200 ms a flush");
        assert_eq!(settled(1000, 500_000, 8), MOST, "a second a flush");
        assert!(settled(1, 2_000, 40) <= 2 * LEAST, "2 MB a second, however much at once");
        let mut bulk = Unit { calm: BULK, ..Unit::default() };
        (0..10).for_each(|_| bulk.learn(bulk.bytes, Duration::from_millis(6)));
        assert_eq!(bulk.bytes, BULK, "a state that comes in whole, on a healthy disk");
        let mut unit = Unit { bytes: MOST, rate: 1e6, ..Unit::default() };
        (0..10).for_each(|_| unit.learn(unit.bytes, Duration::from_millis(2)));
        assert_eq!(unit.bytes, LEAST, "a disk that has become quick");
    }
}
