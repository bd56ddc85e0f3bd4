//! What the journal adds up to: the pure fold that every recovery goes through, on a real disk and
//! on a simulated one.

use crate::words::{Epoch, Life, NodeId, Txid};
use crate::zab::history::entry::{Gap, Position};
use crate::zab::history::log::Log;
use crate::zab::history::storage::{Base, Identity, Promise, Record, Recovered};
use crate::zab::membership::lives::Lives;
use core::fmt;

/// The protocol state after a prefix of the journal.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Image {
    /// The highest promise.
    pub promise: Option<Promise>,
    /// `current_epoch`.
    pub current: Epoch,
    /// What is known to be committed, at least.
    pub committed: Txid,
    /// The lives of the disk.
    pub lives: Lives,
    /// True once the present life has entered an epoch: a leader may have recorded it.
    pub entered: bool,
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
    /// A truncation to a position that is not in the log, or below what is known to be committed.
    Truncate(Position),
    /// A prune to a position that is not in the log.
    Prune(Position),
    /// A snapshot that does not reach beyond the log.
    Install(Position),
    /// A commit beyond the end of the log.
    Commit(Txid),
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
            Self::Commit(txid) => write!(f, "a commit of {txid}, beyond the log's end"),
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
            committed: Txid::ZERO,
            lives: Lives::default(),
            entered: false,
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
            Record::Append { entries, commit } => {
                for entry in entries {
                    self.log.append(entry.clone()).map_err(ImageError::Append)?;
                }
                self.commit(*commit)?;
            }
            Record::Truncate(to) => {
                if self.log.position_at(to.txid) != Some(*to) || to.txid < self.committed {
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
                self.entered = true;
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
            Record::Commit(txid) => self.commit(*txid)?,
            Record::Begin(lives) => {
                self.lives = lives.clone();
                self.entered = false;
            }
        }
        Ok(())
    }

    fn commit(&mut self, upto: Txid) -> Result<(), ImageError> {
        if upto > self.log.last().txid {
            return Err(ImageError::Commit(upto));
        }
        self.committed = self.committed.max(upto);
        Ok(())
    }

    /// The record with which the node's next life begins, named by a random number. It must be
    /// durable before the node is restored.
    pub fn begin(&self, node: NodeId, life: Life) -> Record {
        let known = self.log.membership_at(self.committed);
        let recorded = known.members().get(&node).and_then(|member| member.life);
        Record::Begin(self.lives.begin(recorded, self.entered, life))
    }

    /// What a node starts from, given its identity and where the state store stands.
    pub fn recover(self, identity: Identity, applied: Position) -> Recovered {
        Recovered {
            identity,
            promise: self.promise,
            current: self.current,
            committed: self.committed,
            lives: self.lives,
            base: self.log.base().clone(),
            entries: self.log.iter().cloned().collect(),
            applied,
        }
    }
}
