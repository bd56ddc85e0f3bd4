//! What clients may use.

use crate::store::{MAX_PAGE_BYTES, MAX_VALUE_BYTES};
use crate::words::Micros;

/// What can be tuned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Places of connections.
    pub places: usize,
    /// Of those, for connections of one address; `None` leaves a few to others.
    pub places_of_one: Option<usize>,
    /// Connections that came when all places were taken, and are told that for a moment.
    pub controls: usize,
    /// How long such a one may stay.
    pub control_stay: Micros,
    /// Requests under way on one connection.
    pub requests: usize,
    /// Bytes of answers that wait on one connection.
    pub buffer: usize,
    /// Bytes of all connections together: buffers, answers, and what is granted in advance.
    pub memory: usize,
    /// A request of more bytes needs room of its own before it is read.
    pub large: usize,
    /// Bytes that are kept free for a page of a listing while it is made.
    pub page: usize,
    /// About so many bytes of pages may be in the making, at least one page.
    pub pages: usize,
    /// Bytes of the largest value.
    pub value: usize,
    /// The requests that one step takes in, so that what comes next does not wait for long.
    pub batch: usize,
    /// What a connection gets of that at least.
    pub share: usize,
    /// While so many bytes wait for the disk, no writes are taken.
    pub disk: usize,
    /// Nor while so many bytes of writes wait for their turn: half of what makes the node refuse.
    pub waiting: usize,
    /// A client whose answers wait must take `rate` bytes a second, in each span of so long.
    pub stall: Micros,
    /// See `stall`.
    pub rate: usize,
    /// How long a request may be incomplete.
    pub request: Micros,
    /// How long a client may say nothing.
    pub idle: Micros,
    /// Who holds much while others wait for room must get on within this time.
    pub hoard: Micros,
    /// The longest that a client may ask to wait.
    pub wait: Micros,
    /// The planted bug, if any: only with the `mutants` feature.
    #[cfg(feature = "mutants")]
    pub mutant: Option<crate::mutants::Mutant>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            places: 4096,
            places_of_one: None,
            controls: 16,
            control_stay: Micros::millis(5_000),
            requests: 1024,
            buffer: 1 << 20,
            memory: 64 << 20,
            large: 64 << 10,
            page: MAX_PAGE_BYTES,
            pages: 4 << 20,
            value: MAX_VALUE_BYTES,
            batch: 2 << 10,
            share: 8,
            disk: 64 << 20,
            waiting: 32 << 20,
            stall: Micros::millis(10_000),
            rate: 1 << 10,
            request: Micros::millis(30_000),
            idle: Micros::millis(3_600_000),
            hoard: Micros::millis(1_000),
            wait: Micros::millis(3_600_000),
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }
}
