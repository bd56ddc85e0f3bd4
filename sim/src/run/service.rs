//! What clients may use at the nodes of a run: see the service's own [`Limits`].

use crate::world::dice::Dice;
use serde::{Deserialize, Serialize};
use zabkeeper_core::mutants::Mutant;
use zabkeeper_core::service::Limits;
use zabkeeper_core::words::{Micros, Rng};

/// The limits of the service, small enough to be reached. Times in microseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the service's limits")]
pub struct ServiceOptions {
    pub places: usize,
    pub controls: usize,
    pub control_stay: u64,
    pub requests: usize,
    pub buffer: usize,
    pub memory: usize,
    pub large: usize,
    pub page: usize,
    pub pages: usize,
    pub batch: usize,
    pub share: usize,
    pub disk: usize,
    pub waiting: usize,
    pub stall: u64,
    pub rate: usize,
    pub request: u64,
    pub idle: u64,
    pub hoard: u64,
}

impl ServiceOptions {
    /// Limits in which a few guests make themselves felt.
    pub fn draw(rng: &mut Rng) -> Self {
        let mut size = |low: u64, high: u64| rng.magnitude(low, high) as usize;
        let page = size(500, 20_000);
        Self {
            places: size(12, 48),
            controls: size(1, 8),
            requests: size(1, 8),
            buffer: size(64, 4_096),
            memory: size(4_000, 200_000),
            large: size(80, 1_000),
            pages: page * size(1, 4),
            page,
            batch: size(4, 64),
            share: size(1, 4),
            disk: size(2_000, 1_000_000),
            waiting: size(2_000, 1_000_000),
            rate: size(10, 1_000),
            control_stay: rng.magnitude(100_000, 2_000_000),
            stall: rng.magnitude(200_000, 5_000_000),
            request: rng.magnitude(200_000, 5_000_000),
            idle: rng.magnitude(1_000_000, 20_000_000),
            hoard: rng.magnitude(50_000, 1_000_000),
        }
    }

    /// The service's limits.
    pub fn limits(&self) -> Limits {
        Limits {
            places: self.places,
            controls: self.controls,
            control_stay: Micros::new(self.control_stay),
            requests: self.requests,
            buffer: self.buffer,
            memory: self.memory,
            large: self.large,
            page: self.page,
            pages: self.pages,
            batch: self.batch,
            share: self.share,
            disk: self.disk,
            waiting: self.waiting,
            stall: Micros::new(self.stall),
            rate: self.rate,
            request: Micros::new(self.request),
            idle: Micros::new(self.idle),
            hoard: Micros::new(self.hoard),
            ..Limits::default()
        }
    }
}

/// The limits of a run: the defaults if it names none.
pub fn limits(options: Option<&ServiceOptions>, mutant: Option<Mutant>) -> Limits {
    let limits = options.map_or_else(Limits::default, ServiceOptions::limits);
    Limits { mutant, ..limits }
}
