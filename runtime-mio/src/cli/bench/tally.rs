//! What came of requests: latencies of the good ones, and how many were not.

use super::frames::Kind;
use crate::cli::exit::{Failure, NOT_DONE, OTHER, UNKNOWN};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Latencies from a microsecond to an hour, in microseconds, exact to three digits.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    writes: Histogram<u64>,
    reads: Histogram<u64>,
    pub(super) errors: Errors,
}

/// Requests without a good answer, by what is wrong. None of them counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Errors {
    /// Certainly not done: no leader, busy, stopping.
    pub(super) refused: u64,
    /// The node does not know whether it was done.
    pub(super) unknown: u64,
    /// Decided, and without effect; no command of a load should be.
    pub(super) rejected: u64,
    /// A read did not find a key that had been written.
    pub(super) missing: u64,
    /// The node took the request, or the bench the answer, for nonsense.
    pub(super) invalid: u64,
    /// The connection ended, or gave no answer in time.
    pub(super) lost: u64,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Good,
    Refused,
    Unknown,
    Rejected,
    Missing,
    Invalid,
    Lost,
}

/// Percentiles that are shown, with the names of their JSON fields.
pub(super) const SHOWN: [(f64, &str); 4] =
    [(50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (99.9, "p99_9")];

impl Tally {
    pub(super) fn new() -> Result<Self, Failure> {
        let histogram = || {
            Histogram::new_with_bounds(1, 3_600_000_000, 3)
                .map_err(|error| Failure::new(OTHER, format_args!("no histogram: {error}")))
        };
        Ok(Self { writes: histogram()?, reads: histogram()?, errors: Errors::default() })
    }

    /// A request was answered well after so many microseconds.
    pub(super) fn good(&mut self, kind: Kind, micros: u64) {
        match kind {
            Kind::Write => self.writes.saturating_record(micros),
            Kind::Read => self.reads.saturating_record(micros),
        }
    }

    /// How many requests were answered well.
    pub(super) fn ops(&self) -> u64 {
        self.writes.len() + self.reads.len()
    }

    /// Adds what another one counted.
    pub(super) fn add(&mut self, other: &Self) {
        // It fails only for values out of bounds; the bounds are the same.
        let _ = self.writes.add(&other.writes);
        let _ = self.reads.add(&other.reads);
        self.errors.add(other.errors);
    }

    /// Starts again from nothing.
    pub(super) fn reset(&mut self) {
        self.writes.reset();
        self.reads.reset();
        self.errors = Errors::default();
    }

    /// The histogram of all requests.
    pub(super) fn all(&self) -> Histogram<u64> {
        let mut all = self.writes.clone();
        let _ = all.add(&self.reads);
        all
    }

    /// The histograms that hold something, by name: of all, and of each kind if both were sent.
    pub(super) fn parts(&self) -> Vec<(&'static str, Histogram<u64>)> {
        let mut parts = vec![("all", self.all())];
        if !self.writes.is_empty() && !self.reads.is_empty() {
            parts.push(("writes", self.writes.clone()));
            parts.push(("reads", self.reads.clone()));
        }
        parts
    }
}

impl Errors {
    /// One more request that ended like this.
    pub(super) fn count(&mut self, fate: Fate) {
        let counter = match fate {
            Fate::Good => return,
            Fate::Refused => &mut self.refused,
            Fate::Unknown => &mut self.unknown,
            Fate::Rejected => &mut self.rejected,
            Fate::Missing => &mut self.missing,
            Fate::Invalid => &mut self.invalid,
            Fate::Lost => &mut self.lost,
        };
        *counter += 1;
    }

    pub(super) fn add(&mut self, other: Self) {
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.rejected += other.rejected;
        self.missing += other.missing;
        self.invalid += other.invalid;
        self.lost += other.lost;
    }

    /// What the worst of them means for a script.
    pub(super) fn exit_code(&self) -> u8 {
        if self.rejected + self.missing + self.invalid > 0 {
            OTHER
        } else if self.unknown + self.lost > 0 {
            UNKNOWN
        } else {
            NOT_DONE
        }
    }

    fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("refused", self.refused),
            ("unknown", self.unknown),
            ("rejected", self.rejected),
            ("missing", self.missing),
            ("invalid", self.invalid),
            ("lost", self.lost),
        ]
    }

    pub(super) fn total(&self) -> u64 {
        self.named().iter().map(|(_, count)| count).sum()
    }

    /// The kinds that occurred, for people.
    pub(super) fn words(&self) -> String {
        let some = self.named().into_iter().filter(|(_, count)| *count > 0);
        let words: Vec<_> = some.map(|(name, count)| format!("{count} {name}")).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    }

    pub(super) fn json(&self) -> Value {
        self.named().into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect()
    }
}

/// The JSON fields of a histogram, in microseconds. `histogram` lists `[latency, count]` of
/// buckets whose bounds double; `latency` is the largest that a bucket holds.
pub(super) fn json(histogram: &Histogram<u64>) -> Value {
    let mut fields = serde_json::Map::new();
    for (percentile, name) in SHOWN {
        fields.insert(name.to_owned(), histogram.value_at_percentile(percentile).into());
    }
    fields.insert("max".to_owned(), histogram.max().into());
    fields.insert("mean".to_owned(), json!(histogram.mean().round()));
    let buckets = histogram.iter_log(16, 2.0);
    let buckets: Vec<_> = buckets
        .map(|bucket| (bucket.value_iterated_to(), bucket.count_since_last_iteration()))
        .filter(|(_, count)| *count > 0)
        .collect();
    fields.insert("histogram".to_owned(), json!(buckets));
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buckets_of_the_json_hold_every_request() {
        let mut tally = Tally::new().unwrap();
        for micros in 0..5000 {
            tally.good(if micros % 3 == 0 { Kind::Write } else { Kind::Read }, micros * 7);
        }
        let mut twice = tally.clone();
        twice.add(&tally);
        assert_eq!(twice.ops(), 10_000);
        let json = json(&twice.all());
        let buckets = json["histogram"].as_array().unwrap();
        let sum: u64 = buckets.iter().map(|bucket| bucket[1].as_u64().unwrap()).sum();
        assert_eq!(sum, 10_000);
        assert!((17_400..=17_600).contains(&json["p50"].as_u64().unwrap()), "{json}");
        twice.reset();
        assert_eq!(twice.ops(), 0);
    }

    #[test]
    fn only_errors_that_occurred_are_told() {
        let mut errors = Errors::default();
        assert_eq!(errors.words(), "none");
        for fate in [Fate::Lost, Fate::Good, Fate::Refused, Fate::Lost] {
            errors.count(fate);
        }
        assert_eq!(errors.words(), "1 refused, 2 lost");
        assert_eq!(errors.total(), 3);
        assert_eq!(errors.exit_code(), UNKNOWN);
        assert_eq!(Errors { refused: 1, ..Errors::default() }.exit_code(), NOT_DONE);
        errors.count(Fate::Missing);
        assert_eq!(errors.exit_code(), OTHER);
    }
}
