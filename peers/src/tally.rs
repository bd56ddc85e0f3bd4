//! Latencies, and what is told of them.

use crate::Fallible;
use hdrhistogram::Histogram;
use serde_json::{Map, Value};
use std::time::Duration;

/// Percentiles that are told, by the names of their JSON fields.
const TOLD: [(f64, &str); 6] =
    [(50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (99.9, "p99_9"), (0.0, "min"), (100.0, "max")];

/// Latencies from a nanosecond to a minute, exact to three digits.
#[derive(Debug)]
pub(crate) struct Tally(Histogram<u64>);

impl Tally {
    /// An empty one.
    pub(crate) fn new() -> Fallible<Self> {
        Ok(Self(Histogram::new_with_bounds(1, 60_000_000_000, 3)?))
    }

    /// One more.
    pub(crate) fn add(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// In microseconds.
    pub(crate) fn json(&self) -> Value {
        let told = TOLD.map(|(percentile, name)| {
            let nanos = self.0.value_at_percentile(percentile);
            (name.to_owned(), Value::from(tenths(nanos as f64 / 1e3)))
        });
        Value::Object(Map::from_iter(told))
    }
}

/// Rounded to a tenth.
pub(crate) fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_a_thousandth() {
        let mut tally = Tally::new().unwrap();
        for micros in 1..=100_000 {
            tally.add(Duration::from_micros(micros));
        }
        let told = tally.json();
        for (name, exact) in [("p50", 50_000.0), ("p99", 99_000.0), ("p99_9", 99_900.0)] {
            let got = told[name].as_f64().unwrap();
            assert!((got - exact).abs() <= exact / 1000.0, "{name}: {got} for {exact}");
        }
    }
}
