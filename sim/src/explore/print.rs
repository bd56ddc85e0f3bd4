//! Fingerprints: 128 bits by which states are told apart.
//!
//! Two of ten million different states share a fingerprint with a probability of 10^-25: less than
//! a fault of the machine that searches.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// The fingerprint of a value. The same in every run.
pub(super) fn print(value: &impl Hash) -> u128 {
    let mut hasher = SipHasher13::new();
    value.hash(&mut hasher);
    hasher.finish128().as_u128()
}

/// The fingerprint of what has changed.
const UNSEALED: u128 = 0;

/// A part of a state that most of its successors share, with its fingerprint.
#[derive(Debug)]
pub(super) struct Shared<T> {
    print: u128,
    value: Arc<T>,
}

impl<T: Hash> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        Self { print: print(&value), value: Arc::new(value) }
    }

    /// Takes the fingerprint anew after changes.
    pub(super) fn seal(&mut self) {
        if self.print == UNSEALED {
            self.print = print(&*self.value);
        }
    }
}

impl<T: Clone> Shared<T> {
    /// The value, to be changed, and sealed before it is compared.
    pub(super) fn open(&mut self) -> &mut T {
        self.print = UNSEALED;
        Arc::make_mut(&mut self.value)
    }
}

/// Keeps one copy of each value, for all the states that it is part of.
#[derive(Debug)]
pub(super) struct Copies<T> {
    known: BTreeMap<u128, Shared<T>>,
}

impl<T> Copies<T> {
    /// With more than so many values it begins anew.
    const MOST: usize = 100_000;

    pub(super) fn share(&mut self, value: &mut Shared<T>) {
        if self.known.len() >= Self::MOST {
            self.known.clear();
        }
        *value = self.known.entry(value.print).or_insert_with(|| value.clone()).clone();
    }
}

impl<T> Default for Copies<T> {
    fn default() -> Self {
        Self { known: BTreeMap::new() }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { print: self.print, value: self.value.clone() }
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl<T> Eq for Shared<T> {}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.print);
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
