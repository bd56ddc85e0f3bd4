//! What the journal adds up to: the pure fold that every recovery goes through, on a real disk and
//! on a simulated one.

use crate::entry::{Gap, Position};
use crate::ids::{Epoch, Txid};
use crate::log::Log;
use crate::storage::{Base, Identity, Promise, Record, Recovered};
use core::fmt;

/// The protocol state after a prefix of the journal.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Image {
    /// The highest promise.
    pub promise: Option<Promise>,
    /// `current_epoch`.
    pub current: Epoch,
    /// The newest membership entry known to be committed.
    pub activated: Txid,
    /// The log.
    pub log: Log,
    /// The staged snapshot that was installed last, if any.
    pub installed: Option<u64>,
}

/// A record that cannot follow the records before it: the journal is damaged, or the code that
/// wrote it was wrong. Never repaired by guessing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ImageError {
    /// A promise that is not above the one before.
    Promise(Epoch),
    /// An entered epoch below the current or above the promised one.
    Enter(Epoch),
    /// Entries that do not continue the log.
    Append(Gap),
    /// A truncation to a position that is not in the log.
    Truncate(Position),
    /// A prune to a position that is not in the log.
    Prune(Position),
    /// A snapshot that does not reach beyond the log.
    Install(Position),
    /// An activation of something that is not in the log.
    Activate(Txid),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promise(epoch) => write!(f, "a promise of {epoch} below an earlier promise"),
            Self::Enter(epoch) => write!(f, "epoch {epoch} was entered without its promise"),
            Self::Append(gap) => write!(f, "{gap}"),
            Self::Truncate(to) => write!(f, "a truncation to {}, which is not there", to.txid),
            Self::Prune(to) => write!(f, "a prune to {}, which is not there", to.txid),
            Self::Install(at) => write!(f, "a snapshot at {}, behind the log's end", at.txid),
            Self::Activate(txid) => write!(f, "an activation of {txid}, which is not there"),
        }
    }
}

impl core::error::Error for ImageError {}

impl Image {
    /// The state before any record: a log that starts at `base`.
    pub fn new(base: Base) -> Self {
        Self {
            promise: None,
            current: Epoch::ZERO,
            activated: Txid::ZERO,
            log: Log::new(base),
            installed: None,
        }
    }

    /// True if the node never promised anything to anybody, so that no ensemble has ever formed with
    /// this disk: forming needs the promise of every initial voter.
    pub fn is_blank(&self) -> bool {
        self.promise.is_none()
            && self.current == Epoch::ZERO
            && self.installed.is_none()
            && self.log.last() == Position::ZERO
    }

    /// Adds one record.
    pub fn apply(&mut self, record: &Record) -> Result<(), ImageError> {
        match record {
            Record::Promise(promise) => {
                if self.promise.is_some_and(|held| held.epoch >= promise.epoch) {
                    return Err(ImageError::Promise(promise.epoch));
                }
                self.promise = Some(*promise);
            }
            Record::Append(entries) => {
                for entry in entries {
                    self.log.append(entry.clone()).map_err(ImageError::Append)?;
                }
            }
            Record::Truncate(to) => {
                if self.log.position_at(to.txid) != Some(*to) {
                    return Err(ImageError::Truncate(*to));
                }
                self.log.truncate(*to);
            }
            Record::Enter(epoch) => {
                let promised = self.promise.map_or(Epoch::ZERO, |promise| promise.epoch);
                if *epoch < self.current || *epoch > promised {
                    return Err(ImageError::Enter(*epoch));
                }
                self.current = *epoch;
            }
            Record::Install { base, stage, .. } => {
                if base.at.txid <= self.log.last().txid {
                    return Err(ImageError::Install(base.at));
                }
                self.log = Log::new(base.clone());
                self.installed = Some(*stage);
            }
            Record::Prune(base) => {
                if self.log.position_at(base.at.txid) != Some(base.at) {
                    return Err(ImageError::Prune(base.at));
                }
                self.log.prune(base.at);
            }
            Record::Activate(txid) => {
                if self.log.position_at(*txid).is_none() {
                    return Err(ImageError::Activate(*txid));
                }
                self.activated = *txid;
            }
        }
        Ok(())
    }

    /// What a node starts from, given its identity and where the state store stands.
    pub fn recover(self, identity: Identity, applied: Position) -> Recovered {
        Recovered {
            identity,
            promise: self.promise,
            current: self.current,
            activated: self.activated,
            base: self.log.base().clone(),
            entries: self.log.iter().cloned().collect(),
            applied,
        }
    }
}
