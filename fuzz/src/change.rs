//! Changes to inputs, at random.

use rand::rngs::SmallRng;
use rand::{Rng, RngExt};

/// Inputs never grow beyond this.
const LONGEST: usize = 8 << 10;

/// An input of the corpus with up to eight changes, or noise.
pub fn mutated(inputs: &[Vec<u8>], rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = inputs[rng.random_range(0..inputs.len())].clone();
    if rng.random_range(0..16) == 0 {
        bytes = vec![0; rng.random_range(1..600)];
        rng.fill_bytes(&mut bytes);
    }
    for _ in 0..rng.random_range(0..=8) {
        change(&mut bytes, inputs, rng);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], rng: &mut SmallRng) {
    const ENDS: [u64; 8] = [0, 1, 0x7f, 0x80, 0xffff, 0x7fff_ffff, i64::MAX as u64, u64::MAX];
    if bytes.is_empty() {
        return bytes.push(rng.random());
    }
    let at = rng.random_range(0..bytes.len());
    let length = rng.random_range(1..=(bytes.len() - at).min(32));
    match rng.random_range(0..8) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = rng.random(),
        2 => {
            let number = ENDS[rng.random_range(0..ENDS.len())].to_le_bytes();
            let width = length.min(8);
            bytes[at..at + width].copy_from_slice(&number[..width]);
        }
        3 => drop(bytes.drain(at..at + length)),
        4 => {
            let copy = bytes[at..at + length].to_vec();
            let to = rng.random_range(0..=bytes.len());
            bytes.splice(to..to, copy);
        }
        5 => bytes.insert(at, rng.random()),
        6 => bytes.truncate(at),
        _ => {
            let other = &inputs[rng.random_range(0..inputs.len())];
            if !other.is_empty() {
                let from = rng.random_range(0..other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}
