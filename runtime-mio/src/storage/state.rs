//! The application's state on disk, written behind the journal.
//!
//! Every generation of the state has a directory of its own, `state-<generation>`: an incoming
//! snapshot is written into a new one while the old one goes on; the journal's `Install` record
//! decides which is current, and all others are garbage.
//!
//! A generation is a row of tables and a catalogue. A checkpoint writes what changed since the one
//! before into a table of its own, flushes it, and then puts it into the catalogue, one value in
//! sled: the one act that makes it part of the state. Tables that became too many are folded into
//! one in the same manner. A file that the catalogue does not name is nothing.

use super::catalogue::{Catalogue, Meta};
use super::error::{Damage, Failure, OpenError};
use super::fold::{self, Fold, Stopped};
use super::fs::sync_dir;
use super::items::{self, Items};
use super::merge::Merge;
use super::pace::Pace;
use super::place::{about, private_dir};
use super::shelf::Shelf;
use super::table::{Table, Writer, table_name, table_number};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};
use zabkeeper_core::words::{Digest, Payload, Txid};
use zabkeeper_core::zab::{Change, Checkpoint, Position};

/// So many checkpoints after a fold failed it is tried again.
const RETRY: u32 = 8;

/// One generation of the stored state. After an error nothing more may be asked of it.
pub(crate) struct StateStore {
    dir: PathBuf,
    name: String,
    shelf: Shelf,
    pace: Pace,
    catalogue: Catalogue,
    /// The number of the next table.
    next: u64,
    fold: Option<Fold>,
    /// Checkpoints to come before a fold that failed is tried again.
    pause: u32,
    /// True if the last fold failed, which has been told.
    failing: bool,
    /// The tables of a checkpoint that is being received, and the entry that it will stand for.
    coming: Option<(Txid, Row)>,
}

/// Tables that are being written: as few as the order in which elements come allows, since a table is
/// sorted.
#[derive(Default)]
pub(crate) struct Row {
    done: Vec<Table>,
    /// The table that is being written, and its last key.
    open: Option<(Writer, Payload)>,
}

/// How far a fold has come.
enum Folding {
    /// There is nothing to fold.
    Idle,
    /// There is more to do.
    More,
    /// These tables became this one, durable with its name.
    Done(Vec<Table>, Table),
}

impl StateStore {
    /// Makes generation `generation`, empty and without meaning until [`Self::seal`].
    pub(crate) fn create(parent: &Path, generation: u64, pace: Pace) -> Result<Self, OpenError> {
        let name = generation_name(generation);
        let dir = parent.join(&name);
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(OpenError::io("remove", &dir))?;
        }
        private_dir(&dir).map_err(OpenError::io("create", &dir))?;
        let shelf = Shelf::open(&dir, &name)?;
        let meta = Meta { generation, applied: Position::ZERO, digest: Digest::ZERO };
        let catalogue = Catalogue { meta, tables: Vec::new() };
        Ok(Self::new(dir, name, shelf, pace, catalogue))
    }

    /// Opens the generation that the journal names.
    pub(crate) fn open(parent: &Path, generation: u64, pace: Pace) -> Result<Self, OpenError> {
        let name = generation_name(generation);
        let dir = parent.join(&name);
        for file in ["conf", "db"] {
            // sled would make them anew: an empty state instead of a missing one.
            if !dir.join(file).is_file() {
                return Err(Damage::new("this file is missing", format!("{name}/{file}")).into());
            }
        }
        let shelf = Shelf::open(&dir, &name)?;
        let catalogue = shelf.read()?;
        let catalogue =
            catalogue.ok_or_else(|| Damage::new("the state's position is missing", &name))?;
        let catalogue = Catalogue::decode(&catalogue, &dir, &name)?;
        if catalogue.meta.generation != generation {
            let what = format!("this is generation {}, moved here", catalogue.meta.generation);
            return Err(Damage::new(what, name).into());
        }
        let store = Self::new(dir, name, shelf, pace, catalogue);
        // Also finds what is missing, before anything is removed.
        store.items()?;
        store.shelf.probe()?;
        store.shelf.sync_files().map_err(OpenError::io("flush", &store.dir))?;
        sync_dir(parent).map_err(OpenError::io("flush", parent))?;
        store.remove_unnamed().map_err(OpenError::io("tidy", &store.dir))?;
        Ok(store)
    }

    fn new(dir: PathBuf, name: String, shelf: Shelf, pace: Pace, catalogue: Catalogue) -> Self {
        let next = catalogue.tables.iter().map(|table| table.number).max().unwrap_or(0) + 1;
        Self {
            dir,
            name,
            shelf,
            pace,
            catalogue,
            next,
            fold: None,
            pause: 0,
            failing: false,
            coming: None,
        }
    }

    /// The same, at this pace from now on.
    pub(crate) fn at_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// How its flushes go.
    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    pub(crate) fn meta(&self) -> Meta {
        self.catalogue.meta
    }

    /// Everything stored.
    pub(crate) fn items(&self) -> Result<Items, OpenError> {
        Ok(Items::new(Merge::open(&self.dir, &self.catalogue.tables)?))
    }

    /// Adds elements, in strictly ascending order of their keys, to a row of tables: to its last one
    /// if they come after what is there, or else to another.
    pub(crate) fn write<'a>(
        &mut self,
        row: &mut Row,
        elements: impl IntoIterator<Item = (&'a Payload, Option<&'a Payload>)>,
    ) -> Result<(), String> {
        let mut elements = elements.into_iter().peekable();
        let Some((first, _)) = elements.peek().copied() else { return Ok(()) };
        if row.open.as_ref().is_some_and(|(_, last)| last >= first) {
            self.end_table(row)?;
        }
        let mut writer = match row.open.take() {
            Some((writer, _)) => writer,
            None => {
                let number = self.take_number();
                Writer::create(&self.dir, number, &self.pace).map_err(|error| self.failed(error))?
            }
        };
        let mut last = first;
        for (key, value) in elements {
            let value = value.map(Payload::as_slice);
            writer.push((key, value)).map_err(|error| self.failed(error))?;
            last = key;
        }
        row.open = Some((writer, last.clone()));
        Ok(())
    }

    fn end_table(&self, row: &mut Row) -> Result<(), String> {
        if let Some((writer, _)) = row.open.take() {
            row.done.push(writer.finish().map_err(|error| self.failed(error))?);
        }
        Ok(())
    }

    /// Ends a row: gives its tables, whose content is durable. Their names are with the directory.
    fn finish(&self, mut row: Row) -> Result<Vec<Table>, String> {
        self.end_table(&mut row)?;
        Ok(row.done)
    }

    /// Ends the building: from now on the state consists of these tables and stands for `meta`, and
    /// survives a power cut.
    pub(crate) fn seal(&mut self, parent: &Path, meta: Meta, row: Row) -> Result<(), String> {
        let tables = self.finish(row)?;
        self.publish(Catalogue { meta, tables })?;
        let sync = || -> io::Result<()> {
            self.shelf.sync_files()?;
            sync_dir(parent)
        };
        sync().map_err(|error| self.failed(error))
    }

    /// Writes changes of the checkpoint to come. Nothing depends on them before that.
    pub(crate) fn checkpoint_part(&mut self, at: Txid, changes: &[Change]) -> Result<(), String> {
        let (of, mut row) = self.coming.take().unwrap_or_else(|| (at, Row::default()));
        if of != at {
            return Err(format!("{}: a checkpoint at {at} amid one at {of}", self.name));
        }
        let elements = changes.iter().map(|change| (&change.key, change.value.as_ref()));
        if changes.is_sorted_by(|a, b| a.key < b.key) {
            self.write(&mut row, elements)?;
        } else {
            // Of a key that comes twice, the later change counts.
            let sorted: BTreeMap<_, _> = elements.collect();
            self.write(&mut row, sorted)?;
        }
        self.coming = Some((at, row));
        Ok(())
    }

    /// Brings the state to a later position, all of it or nothing, durable on return.
    pub(crate) fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), String> {
        let meta = Meta {
            generation: self.catalogue.meta.generation,
            applied: checkpoint.at,
            digest: checkpoint.digest,
        };
        self.pause = self.pause.saturating_sub(1);
        self.checkpoint_part(checkpoint.at.txid, &checkpoint.changes)?;
        let (_, row) = self.coming.take().unwrap_or_default();
        let new = self.finish(row)?;
        if !new.is_empty() {
            sync_dir(&self.dir).map_err(|error| self.failed(error))?;
        }
        let tables = [self.catalogue.tables.as_slice(), &new].concat();
        self.publish(Catalogue { meta, tables })
    }

    /// Goes on folding tables, if there are too many; true if there is more to do now. A fold that
    /// the system refuses to write is begun anew some checkpoints later. Not while a checkpoint comes
    /// in: the rest of it is on its way, and it waits for nothing.
    pub(crate) fn fold(&mut self) -> Result<bool, Failure> {
        if self.pause > 0 || self.coming.is_some() {
            return Ok(false);
        }
        match self.fold_on() {
            Ok(Folding::Idle) => Ok(false),
            Ok(Folding::More) => Ok(true),
            Ok(Folding::Done(old, new)) => {
                self.replace(&old, new)?;
                Ok(true)
            }
            Err(Stopped::Refused(why)) => {
                self.put_off(&why);
                Ok(false)
            }
            Err(Stopped::Damaged(damage)) => Err(Failure::Damaged(damage)),
        }
    }

    /// Brings the fold forward, up to where the state would depend on it.
    fn fold_on(&mut self) -> Result<Folding, Stopped> {
        let Some(mut fold) = self.fold.take() else {
            let Some(range) = fold::due(&self.catalogue.tables) else {
                return Ok(Folding::Idle);
            };
            let number = self.take_number();
            let tables = self.catalogue.tables.get(range).unwrap_or_default();
            // What the first table of all lacks need not be called removed.
            let whole = tables.first() == self.catalogue.tables.first();
            let pace = self.pace.aside();
            self.fold = Some(Fold::begin(&self.dir, tables, number, whole, &pace)?);
            return Ok(Folding::More);
        };
        let goes_on = fold.step(self.catalogue.tables.len())?;
        self.pace.wrote(0);
        if goes_on {
            self.fold = Some(fold);
            return Ok(Folding::More);
        }
        let (old, new) = fold.finish()?;
        sync_dir(&self.dir)?;
        Ok(Folding::Done(old, new))
    }

    /// Puts a table in the place of those that it was folded of, and removes these.
    fn replace(&mut self, old: &[Table], new: Table) -> Result<(), String> {
        let mut tables = self.catalogue.tables.clone();
        let first = tables.iter().position(|table| Some(table) == old.first());
        let first = first.ok_or("a fold of tables that are no part of the state")?;
        tables.splice(first..first + old.len(), [new]);
        self.publish(Catalogue { meta: self.catalogue.meta, tables })?;
        self.failing = false;
        for table in old {
            let path = self.dir.join(table_name(table.number));
            fs::remove_file(path).map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    /// Gives up a fold, whose table nothing depends on, until some checkpoints later.
    fn put_off(&mut self, why: &str) {
        self.pause = RETRY;
        if !std::mem::replace(&mut self.failing, true) {
            log::warn!(
                "the tables in {} cannot be merged: {why}. Nothing is lost, and it is tried again \
                 every {RETRY} checkpoints; until it succeeds the state takes more and more space. \
                 Free space on that file system, or check the disk",
                self.dir.display()
            );
        }
        if let Err(error) = self.remove_unnamed() {
            let dir = self.dir.display();
            log::warn!("a table that was given up cannot be removed from {dir}: {error}");
        }
    }

    /// Counts and digests everything stored, as read back; nothing if `goes_on`, which is asked now
    /// and then, says no.
    pub(crate) fn tally(
        &self,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<(u64, Digest)>, OpenError> {
        const PIECE: usize = 1 << 20;
        let mut count = 0;
        let mut sum = Digest::ZERO;
        let mut piece = 0;
        let mut elements = self.items()?;
        while let Some((key, value)) = elements.next_element()? {
            count += 1;
            sum = sum.plus(items::digest(key, value));
            piece += key.len() + value.len();
            if piece >= PIECE || count % 1024 == 0 {
                piece = 0;
                self.pace.wrote(0);
                if !goes_on() {
                    return Ok(None);
                }
            }
        }
        Ok(Some((count, sum)))
    }

    /// Removes the generation from the disk.
    pub(crate) fn destroy(self) -> io::Result<()> {
        let Self { dir, shelf, fold, .. } = self;
        drop((shelf, fold));
        fs::remove_dir_all(dir)
    }

    fn take_number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Makes the catalogue this one, whose tables are durable.
    fn publish(&mut self, catalogue: Catalogue) -> Result<(), String> {
        self.shelf.write(&catalogue.encode())?;
        self.pace.wrote(0);
        self.catalogue = catalogue;
        Ok(())
    }

    /// Removes what was being written, or being removed, when the process ended.
    fn remove_unnamed(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(table_number);
            let named = |number| self.catalogue.tables.iter().any(|table| table.number == number);
            if number.is_some_and(|number| !named(number)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> String {
        about(&self.dir)(error).to_string()
    }
}

/// The name of a generation's directory.
pub(crate) fn generation_name(generation: u64) -> String {
    format!("state-{generation:010}")
}
