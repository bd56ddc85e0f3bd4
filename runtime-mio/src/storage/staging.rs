//! Which generation of the application's state is written: the current one, and one that is being
//! received.

use super::catalogue::Meta;
use super::error::Failure;
use super::items;
use super::pace::Pace;
use super::state::{Row, StateStore};
use std::path::{Path, PathBuf};
use zabkeeper_core::words::{Digest, Txid};
use zabkeeper_core::zab::{Change, Checkpoint, Item, Position};

/// The generations in use. After an error nothing more may be asked of it.
pub struct States {
    dir: PathBuf,
    /// The generations that stand for something, oldest first. More than one only from when the
    /// journal was told of a snapshot until it has made it the current one.
    named: Vec<StateStore>,
    incoming: Option<Incoming>,
    /// A snapshot that is durable, with its number, and that the journal was not told of.
    sealed: Option<(u64, StateStore)>,
    /// The newest generation ever begun.
    newest: u64,
    pace: Pace,
}

/// A snapshot that is being received.
struct Incoming {
    stage: u64,
    store: StateStore,
    row: Row,
    /// What is not in a table yet.
    items: Vec<Item>,
    bytes: usize,
    /// Parts that were stored.
    parts: u64,
    count: u64,
    sum: Digest,
}

/// About how many bytes of a snapshot are put in order in memory. They come in order, but who sends
/// them is not to be trusted with that.
const ORDERED_BYTES: usize = 1 << 20;

/// What an `Install` of anything else is: no disk can make it good.
pub(crate) const NEVER_SEALED: &str = "a snapshot was to be installed that was never sealed";

impl States {
    pub(crate) fn new(dir: &Path, current: StateStore) -> Self {
        Self {
            dir: dir.to_path_buf(),
            newest: current.meta().generation,
            pace: current.pace().clone(),
            named: vec![current],
            incoming: None,
            sealed: None,
        }
    }

    /// How the flushes of all of them go.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Begins to store a snapshot aside, dropping any begun earlier.
    ///
    /// # Errors
    /// Final.
    pub fn stage_open(&mut self, stage: u64) -> Result<(), String> {
        self.drop_staged(|_| true);
        self.newest += 1;
        let store = StateStore::create(&self.dir, self.newest, self.pace.bulk());
        self.incoming = Some(Incoming {
            stage,
            store: store.map_err(|error| error.to_string())?,
            row: Row::default(),
            items: Vec::new(),
            bytes: 0,
            parts: 0,
            count: 0,
            sum: Digest::ZERO,
        });
        Ok(())
    }

    /// Stores a part of it, and tells how many were stored. A part of a snapshot that was given up is
    /// ignored.
    ///
    /// # Errors
    /// Final.
    pub fn stage(&mut self, stage: u64, items: &[Item]) -> Result<u64, String> {
        let Some(incoming) = self.incoming.as_mut().filter(|i| i.stage == stage) else {
            return Ok(0);
        };
        incoming.add(items)?;
        incoming.parts += 1;
        Ok(incoming.parts)
    }

    /// Gives it up, be it sealed or not.
    pub fn stage_drop(&mut self, stage: u64) {
        self.drop_staged(|it| it == stage);
    }

    fn drop_staged(&mut self, which: impl Fn(u64) -> bool) {
        let incoming = self.incoming.take_if(|incoming| which(incoming.stage));
        let sealed = self.sealed.take_if(|(stage, _)| which(*stage));
        let incoming = incoming.map(|incoming| incoming.store);
        let sealed = sealed.map(|(_, store)| store);
        incoming.into_iter().chain(sealed).for_each(remove);
    }

    /// Makes the snapshot received durable, and reads it back. It stands for nothing until
    /// [`Self::adopt`].
    ///
    /// # Errors
    /// Final. If the snapshot was never begun, or reads back otherwise than it was written.
    pub fn seal(&mut self, stage: u64, at: Position, digest: Digest) -> Result<(), String> {
        self.seal_slowly(stage, at, digest, &mut |_| true).map(|_| ())
    }

    /// The same, asking now and then whether to go on, with the number of parts there are. False if
    /// not: then the snapshot is given up.
    pub(crate) fn seal_slowly(
        &mut self,
        stage: u64,
        at: Position,
        digest: Digest,
        goes_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<bool, String> {
        let Some(mut incoming) = self.incoming.take_if(|incoming| incoming.stage == stage) else {
            return Err("a snapshot was to be sealed that was never received".into());
        };
        incoming.write()?;
        let generation = incoming.store.meta().generation;
        let meta = Meta { generation, applied: at, digest };
        incoming.store.seal(&self.dir, meta, std::mem::take(&mut incoming.row))?;
        let parts = incoming.parts;
        let tally = incoming.store.tally(&mut || goes_on(parts));
        let Some(tally) = tally.map_err(|error| error.to_string())? else {
            remove(incoming.store);
            return Ok(false);
        };
        if tally != (incoming.count, incoming.sum) {
            return Err("a snapshot reads back otherwise than it was written".into());
        }
        self.sealed = Some((stage, incoming.store.at_pace(self.pace.clone())));
        Ok(true)
    }

    /// The snapshot that is sealed, if it is this one: the number of its generation.
    pub(crate) fn sealed(&self, stage: u64) -> Option<u64> {
        let sealed = self.sealed.as_ref().filter(|(it, _)| *it == stage);
        sealed.map(|(_, store)| store.meta().generation)
    }

    /// The journal is told of the snapshot that is sealed: gives the number of its generation for
    /// the record. The old one stays until [`Self::retire`].
    ///
    /// # Errors
    /// Final. If it was not sealed.
    pub fn adopt(&mut self, stage: u64) -> Result<u64, String> {
        let Some((_, store)) = self.sealed.take_if(|(it, _)| *it == stage) else {
            return Err(NEVER_SEALED.into());
        };
        let generation = store.meta().generation;
        self.named.push(store);
        Ok(generation)
    }

    /// Removes all generations before this one, which the journal has made the current one.
    pub fn retire(&mut self, current: u64) {
        let old = self.named.iter().position(|s| s.meta().generation >= current);
        self.named.drain(..old.unwrap_or(0)).for_each(remove);
    }

    /// Brings the state to a later position; durable on return. While a snapshot waits to be made
    /// current, a checkpoint of the state before it still goes to that one.
    ///
    /// # Errors
    /// Final.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), String> {
        self.before(checkpoint.at.txid)?.checkpoint(checkpoint)
    }

    /// Stores a part of the changes of the checkpoint at `at`, which comes after it.
    ///
    /// # Errors
    /// Final.
    pub fn checkpoint_part(&mut self, at: Txid, changes: &[Change]) -> Result<(), String> {
        self.before(at)?.checkpoint_part(at, changes)
    }

    /// The state that a checkpoint at `at` brings forward.
    fn before(&mut self, at: Txid) -> Result<&mut StateStore, String> {
        let fits = |s: &&mut StateStore| s.meta().applied.txid <= at;
        let store = self.named.iter_mut().rev().find(fits);
        store.ok_or_else(|| format!("a checkpoint at {at} behind the stored state"))
    }

    /// Goes on making few tables of many, a little at a time; true if there is more to do now. Not
    /// while a snapshot comes in: that must not wait, and most likely replaces these tables.
    ///
    /// # Errors
    /// Final.
    pub fn fold(&mut self) -> Result<bool, Failure> {
        if self.incoming.is_some() || self.sealed.is_some() {
            return Ok(false);
        }
        self.named.last_mut().map_or(Ok(false), StateStore::fold)
    }
}

impl Incoming {
    fn add(&mut self, parts: &[Item]) -> Result<(), String> {
        self.count += parts.len() as u64;
        let digests = parts.iter().map(|item| items::digest(&item.key, &item.value));
        self.sum = digests.fold(self.sum, Digest::plus);
        self.bytes += parts.iter().map(|item| item.key.len() + item.value.len()).sum::<usize>();
        self.items.extend_from_slice(parts);
        if self.bytes < ORDERED_BYTES { Ok(()) } else { self.write() }
    }

    /// Writes what is in memory, into the same table as what came before if it comes after that.
    fn write(&mut self) -> Result<(), String> {
        let mut items = std::mem::take(&mut self.items);
        self.bytes = 0;
        items.sort_by(|a, b| a.key.cmp(&b.key));
        // An element that comes twice is found when the snapshot is read back.
        items.dedup_by(|a, b| a.key == b.key);
        let elements = items.iter().map(|item| (&item.key, Some(&item.value)));
        self.store.write(&mut self.row, elements)
    }
}

/// Removes a generation that stands for nothing. What remains of it takes space and does no harm,
/// and goes at the next start.
fn remove(store: StateStore) {
    if let Err(error) = store.destroy() {
        log::warn!("an unused state cannot be removed from the disk: {error}");
    }
}
