//! What a new segment must tell about all segments before it.

use super::past::Cuts;
use std::sync::Arc;
use zabkeeper_core::words::{Epoch, Txid};
use zabkeeper_core::zab::{
    Base, Body, Gap, Identity, Image, ImageError, Lives, Membership, Position, Promise, Record,
};

/// The first record of every segment: with it, the segment can be the oldest one. It says nothing
/// of the entries before it, so the older segments must stay until the log begins behind them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    /// Whose journal it is.
    pub identity: Identity,
    /// The members that the directory was made for.
    pub initial: Arc<Membership>,
    /// The promise in force.
    pub promise: Option<Promise>,
    /// `current_epoch`.
    pub current: Epoch,
    /// What is known to be committed, at least.
    pub committed: Txid,
    /// The lives of the disk.
    pub lives: Lives,
    /// True once the present life has entered an epoch.
    pub entered: bool,
    /// Which generation of the state store is current.
    pub generation: u64,
    /// The start of the log. Only for a check: nothing that is gone may be needed.
    pub base: Txid,
    /// Where the log was cut: for those who read it back from the segments.
    pub cuts: Cuts,
    /// The end of the log, and the membership in force there.
    pub start: Base,
}

/// The running state from which heads are written.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    head: Head,
    /// Memberships, with the lives recorded, by the position that made them, oldest first: those that a truncation could
    /// bring back. The first one is at or before every such position.
    memberships: Vec<(Txid, Arc<Membership>)>,
}

impl Summary {
    /// The state at the start of a segment.
    pub(crate) fn new(head: Head) -> Self {
        let membership = (head.start.at.txid, head.start.membership.clone());
        Self { head, memberships: vec![membership] }
    }

    /// The head that a segment beginning here gets.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Forgets truncations before `since`, where the log ended at `at`. Only when a segment is begun,
    /// whose head says so: else a recovery would not do the same.
    pub(crate) fn forget_cuts(&mut self, since: u64, at: Position) {
        self.head.cuts.forget(since, at);
    }

    /// The end of the log.
    pub(crate) fn last(&self) -> Position {
        self.head.start.at
    }

    /// The image with which a recovery that begins here starts.
    pub(crate) fn image(&self) -> Image {
        let mut image = Image::new(self.head.start.clone());
        image.promise = self.head.promise;
        image.current = self.head.current;
        image.committed = self.head.committed;
        image.lives = self.head.lives.clone();
        image.entered = self.head.entered;
        image.installed = (self.head.generation > 0).then_some(self.head.generation);
        image
    }

    /// Adds one record, which stands at `lsn` of the stream. Entries that do not continue the log are refused: a journal that could not
    /// be read again must not be written.
    pub(crate) fn apply(&mut self, record: &Record, lsn: u64) -> Result<(), ImageError> {
        self.head.cuts.note(record, lsn);
        match record {
            Record::Promise(promise) => self.head.promise = Some(*promise),
            Record::Enter(epoch) => {
                self.head.current = *epoch;
                self.head.entered = true;
            }
            Record::Commit(txid) => self.head.committed = self.head.committed.max(*txid),
            Record::Begin(lives) => {
                self.head.lives = lives.clone();
                self.head.entered = false;
            }
            Record::Append { entries, commit } => {
                self.head.committed = self.head.committed.max(*commit);
                for entry in entries {
                    let ends = self.last().txid;
                    if entry.prev != ends {
                        let claims = entry.prev;
                        return Err(ImageError::Append(Gap::NotNext { claims, ends }));
                    }
                    match &entry.body {
                        Body::Membership(membership) => {
                            self.memberships.push((entry.txid, membership.clone()));
                        }
                        Body::Lives(lives) => {
                            if let Some((_, there)) = self.memberships.last() {
                                let lives = [(entry.txid, lives.as_slice())];
                                let there = there.clone().with_lives(lives);
                                self.memberships.push((entry.txid, there));
                            }
                        }
                        Body::Command(_) => {}
                    }
                    self.head.start.at = entry.position();
                }
            }
            Record::Truncate(to) => {
                if to.txid > self.last().txid {
                    return Err(ImageError::Truncate(*to));
                }
                self.head.start.at = *to;
                while self.memberships.len() > 1
                    && self.memberships.last().is_some_and(|(at, _)| *at > to.txid)
                {
                    self.memberships.pop();
                }
            }
            Record::Install { base, stage, .. } => {
                self.head.generation = *stage;
                self.head.base = base.at.txid;
                self.head.start.at = base.at;
                self.memberships = vec![(base.at.txid, base.membership.clone())];
            }
            Record::Prune(base) => {
                let passed = |(at, _): &&(Txid, _)| *at <= base.at.txid;
                let passed = self.memberships.iter().take_while(passed).count();
                self.memberships.drain(..passed.saturating_sub(1));
                self.head.base = base.at.txid;
            }
        }
        if let Some((_, membership)) = self.memberships.last() {
            self.head.start.membership = membership.clone();
        }
        Ok(())
    }
}
