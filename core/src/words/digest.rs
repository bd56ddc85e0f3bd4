//! A 64-bit digest of fixed definition: the running chain of the log and the digest of the state.
//! It finds accidents (a hole, a flipped bit, a replica that went its own way), not attackers.

use core::fmt;

/// A digest value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(u64);

impl Digest {
    /// The digest of nothing: the chain before the first entry, the sum over an empty state.
    pub const ZERO: Self = Self(0);

    /// Wraps a stored value.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Adds an element to a digest of a set: order does not matter, and [`Digest::minus`] undoes it.
    #[must_use]
    pub const fn plus(self, element: Self) -> Self {
        Self(self.0.wrapping_add(element.0))
    }

    /// Takes an element out of a digest of a set.
    #[must_use]
    pub const fn minus(self, element: Self) -> Self {
        Self(self.0.wrapping_sub(element.0))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const SEED: u64 = 0xa076_1d64_78bd_642f;
const STEP: u64 = 0xe703_7ed1_a0b4_28db;

/// One for each lane in which long bytes are digested.
const LANES: [u64; 4] =
    [SEED, STEP, SEED.rotate_left(29) ^ STEP.rotate_left(7), STEP.rotate_left(43) ^ SEED];
/// Bytes that each lane takes at a time.
const PART: usize = 16;

/// Digests a sequence of fields. Bytes are preceded by their length, so that no two different
/// sequences of fields read alike.
#[derive(Clone, Debug)]
pub struct Digester(u64);

impl Digester {
    /// Starts from an earlier digest, so that a chain covers all that came before.
    pub const fn after(previous: Digest) -> Self {
        Self(previous.0)
    }

    /// Adds a number.
    #[must_use]
    pub const fn number(self, value: u64) -> Self {
        Self(fold(self.0 ^ SEED, value ^ STEP))
    }

    /// Adds bytes. Long ones go through four lanes at once, since a processor that waits for each
    /// product before the next could do several in the same time.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut state = self.number(bytes.len() as u64);
        let (blocks, rest) = bytes.as_chunks::<{ PART * LANES.len() }>();
        if !blocks.is_empty() {
            let mut lanes = LANES;
            for block in blocks {
                for (lane, part) in lanes.iter_mut().zip(block.as_chunks::<PART>().0) {
                    *lane = add_part(*lane, part);
                }
            }
            state = lanes.into_iter().fold(state, Self::number);
        }
        let (parts, rest) = rest.as_chunks::<PART>();
        let raw = parts.iter().fold(state.0, |raw, part| add_part(raw ^ SEED, part));
        let mut last = [0; PART];
        if let Some(head) = last.get_mut(..rest.len()) {
            head.copy_from_slice(rest);
        }
        Self(add_part(raw ^ SEED, &last))
    }

    /// The digest of all fields added.
    pub const fn finish(self) -> Digest {
        Digest(fold(self.0, STEP))
    }
}

/// Adds two words to a state.
fn add_part(state: u64, part: &[u8; PART]) -> u64 {
    let raw = u128::from_le_bytes(*part);
    fold(state ^ (raw as u64), (raw >> 64) as u64 ^ STEP)
}

/// The two halves of a 128-bit product, folded together.
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    // The last term keeps either operand when the other is zero and the product says nothing.
    (product as u64) ^ ((product >> 64) as u64) ^ a.rotate_left(32).wrapping_add(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_every_boundary_counts() {
        let of = |parts: &[&[u8]]| {
            parts.iter().fold(Digester::after(Digest::ZERO), |d, part| d.bytes(part)).finish()
        };
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a"]), of(&[b"a\0"]));
        assert_ne!(of(&[b""]), of(&[b"", b""]));
        assert_ne!(of(&[]), of(&[b""]));
        for bit in 0..64 {
            let flipped = Digester::after(Digest::ZERO).number(1 << bit).finish();
            assert_ne!(flipped, Digester::after(Digest::ZERO).number(0).finish());
        }
    }

    #[test]
    fn every_bit_and_every_length_of_long_bytes_counts() {
        let of = |bytes: &[u8]| Digester::after(Digest::ZERO).bytes(bytes).finish();
        let zeros = [0; 200];
        let mut seen: alloc::collections::BTreeSet<Digest> =
            (0..=zeros.len()).map(|length| of(&zeros[..length])).collect();
        for bit in 0..zeros.len() * 8 {
            let mut flipped = zeros;
            flipped[bit / 8] |= 1 << (bit % 8);
            seen.insert(of(&flipped));
        }
        assert_eq!(seen.len(), zeros.len() + 1 + zeros.len() * 8);
    }

    #[test]
    fn definition_is_frozen() {
        // The journal holds these values: a change here is a change of format.
        let digest = Digester::after(Digest::ZERO).number(7).bytes(b"metadata store").finish();
        assert_eq!(alloc::format!("{digest}"), "733582996db22be0");
        let long: alloc::vec::Vec<u8> = (0..200).collect();
        let digest = Digester::after(digest).bytes(&long).finish();
        assert_eq!(alloc::format!("{digest}"), "a44193a653fac7fa");
    }

    #[test]
    fn sets_do_not_depend_on_order() {
        let (a, b) = (Digest::new(u64::MAX), Digest::new(17));
        assert_eq!(Digest::ZERO.plus(a).plus(b), Digest::ZERO.plus(b).plus(a));
        assert_eq!(Digest::ZERO.plus(a).plus(b).minus(a), b);
    }
}
