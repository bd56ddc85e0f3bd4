//! Choices drawn from a seed. Integers only, so that every machine draws the same.

use zabkeeper_core::words::Rng;

/// The labels under which the seed is split. Each stream is independent: taking away one fault
/// leaves every other choice as it was, which is what makes shrinking work.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Stream {
    /// The swarm options.
    Options = 1,
    /// The timed faults.
    Faults,
    /// What clients do.
    Workload,
    /// The fate of each message.
    Network,
    /// The latency of each flush, and what a crash leaves.
    Disk,
    /// The seed of each process life.
    Boot,
    /// Clock drift and late timers.
    Clock,
    /// The quiet period at the end.
    Quiet,
    /// Whether clients drive the production machine, and its pauses.
    Clients,
    /// What is slow, and how wide things are.
    Wide,
    /// What clients may use, and who else comes.
    Service,
}

/// A generator for one purpose.
pub fn stream(seed: u64, stream: Stream) -> Rng {
    Rng::new(seed).split(stream as u64)
}

/// Convenient draws from the core's generator.
pub trait Dice {
    /// A number from `low` up to and including `high`.
    fn between(&mut self, low: u64, high: u64) -> u64;
    /// True in `ppm` of a million draws.
    fn chance(&mut self, ppm: u32) -> bool;
    /// One of the given. Panics if there is none.
    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T;
    /// An index, each as likely as its weight says. Panics if all weights are zero.
    fn weighted(&mut self, weights: &[u32]) -> usize;
    /// Any order of the given.
    fn shuffle<T>(&mut self, items: &mut [T]);
    /// A number of wildly varying magnitude, up to `high`: each power of two is equally likely.
    fn magnitude(&mut self, low: u64, high: u64) -> u64;
}

impl Dice for Rng {
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    fn chance(&mut self, ppm: u32) -> bool {
        self.below(1_000_000) < u64::from(ppm)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    fn weighted(&mut self, weights: &[u32]) -> usize {
        let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        assert!(total > 0, "nothing to choose from");
        let mut at = self.below(total);
        for (index, weight) in weights.iter().enumerate() {
            let weight = u64::from(*weight);
            if at < weight {
                return index;
            }
            at -= weight;
        }
        unreachable!("the draw is below the sum of the weights")
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1) as usize);
        }
    }

    fn magnitude(&mut self, low: u64, high: u64) -> u64 {
        let span = high.saturating_sub(low).max(1);
        let bits = u64::from(64 - span.leading_zeros());
        let top = 1u64 << self.between(0, bits - 1);
        (low + self.between(top / 2, top)).min(high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_their_range() {
        let mut rng = Rng::new(3);
        for _ in 0..1000 {
            assert!((5..=9).contains(&rng.between(5, 9)));
            assert!((5..=900).contains(&rng.magnitude(5, 900)));
            assert_eq!(rng.weighted(&[0, 3, 0]), 1);
        }
        assert!(!rng.chance(0));
        assert!(rng.chance(1_000_000));
    }

    #[test]
    fn streams_of_one_seed_differ() {
        let first = stream(1, Stream::Network).next_u64();
        assert_ne!(first, stream(1, Stream::Disk).next_u64());
        assert_ne!(first, stream(2, Stream::Network).next_u64());
        assert_eq!(first, stream(1, Stream::Network).next_u64());
    }
}
