//! The replicated application: what committed entries do.

use crate::words::{ConnId, Digest, Payload, Txid, WallTime};
use crate::zab::{Change, Item};
use alloc::vec::Vec;
use core::fmt;

/// Why elements of a snapshot or checkpoint do not make a state.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// An element cannot be read.
    Malformed(&'static str),
    /// The elements do not fit together.
    Inconsistent(&'static str),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "an element cannot be read: {what}"),
            Self::Inconsistent(what) => write!(f, "the elements do not fit together: {what}"),
        }
    }
}

impl core::error::Error for LoadError {}

/// A deterministic state machine.
///
/// Commands are evaluated when they are applied, never before: every replica applies the same
/// command to the same state and gets the same outcome, a refusal included. Nothing else may enter
/// (no clock, no randomness): what a command needs is in it or in `time`.
pub trait App: Clone + fmt::Debug {
    /// What reads ask.
    type Query: Clone + fmt::Debug + PartialEq;
    /// What reads get, and what commands lead to.
    type Answer: Clone + fmt::Debug + PartialEq;

    /// The state before any command.
    fn empty() -> Self;

    /// Applies the committed command of entry `txid`. A command that cannot be read has an outcome
    /// too: it must never panic and never differ between replicas.
    fn apply(&mut self, txid: Txid, time: WallTime, command: &Payload) -> Self::Answer;

    /// Reads the present state.
    fn query(&self, query: &Self::Query) -> Self::Answer;

    /// What it took to make this answer, in units of the smallest: what one step answers has a
    /// limit, see [`Limits::read_part`](crate::zab::Limits::read_part).
    fn weight(answer: &Self::Answer) -> usize;

    /// What it took to apply the last command, in units of the smallest: what one step applies has a
    /// limit, see [`Limits::apply_part`](crate::zab::Limits::apply_part).
    fn effort(&self) -> usize {
        1
    }

    /// About what the present state takes in memory.
    fn bytes(&self) -> usize {
        0
    }

    /// True if the state may take more memory after this command: such ones are refused, before
    /// they become entries, by a node whose state is as large as may be.
    fn grows(&self, _command: &[u8]) -> bool {
        true
    }

    /// The digest of the present state. Equal states have equal digests.
    fn digest(&self) -> Digest;

    /// Holds what changed since the last call, each element as it is now, for
    /// [`App::read_changes`] while commands go on being applied. Not called again before all of it
    /// was read.
    fn begin_changes(&mut self);

    /// The next of those changes, about `max` but at least one if there is any; true with the last
    /// of them.
    fn read_changes(&mut self, max: usize) -> (Vec<Change>, bool);

    /// Holds the present state for [`App::read_snapshot`] while commands go on being applied.
    fn open_snapshot(&mut self, id: ConnId);

    /// The next elements of a held state, of about `max_bytes` in all but at least one; true with
    /// the last of them.
    fn read_snapshot(&mut self, id: ConnId, max_bytes: usize) -> (Vec<Item>, bool);

    /// Gives up a held state. Harmless if it was not held.
    fn close_snapshot(&mut self, id: ConnId);

    /// Adds an element of a snapshot or checkpoint to a state that is being built from
    /// [`App::empty`]. They come in any order.
    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), LoadError>;

    /// Ends the building of the state at `at`: checks that the elements fit together, and that none
    /// is later than that.
    fn finish_load(&mut self, at: Txid) -> Result<(), LoadError>;
}
