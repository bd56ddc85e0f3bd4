//! Several tables read as one: of each element what the newest table says.

use super::error::{Damage, OpenError};
use super::table::{Reader, Record, Table};
use std::cmp::Ordering;
use std::path::Path;

/// A walk over the elements of tables, in the order of keys. It holds one chunk of each.
pub(crate) struct Merge {
    /// Oldest first.
    readers: Vec<Reader>,
    /// Which of them stand at the present element.
    taken: Vec<usize>,
    started: bool,
    /// What was found; then nothing more is said.
    damage: Option<Damage>,
}

impl Merge {
    /// Opens these tables, oldest first.
    pub(crate) fn open(dir: &Path, tables: &[Table]) -> Result<Self, OpenError> {
        let readers = tables.iter().map(|table| Reader::open(dir, *table));
        let readers = readers.collect::<Result<_, _>>()?;
        Ok(Self { readers, taken: Vec::new(), started: false, damage: None })
    }

    /// The next element, removed ones included.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, Damage> {
        self.advance()?;
        Ok(self.record())
    }

    /// The present element, what the newest table says of it; `None` at the end.
    pub(crate) fn record(&self) -> Option<Record<'_>> {
        self.readers.get(*self.taken.last()?)?.record()
    }

    /// Goes to the next element; false at the end. Damage stays damage: whoever asks on is told
    /// the same again.
    pub(crate) fn advance(&mut self) -> Result<bool, Damage> {
        if let Some(damage) = &self.damage {
            return Err(damage.clone());
        }
        let goes_on = self.step();
        if let Err(damage) = &goes_on {
            self.damage = Some(damage.clone());
        }
        goes_on
    }

    fn step(&mut self) -> Result<bool, Damage> {
        if !self.started {
            self.taken = (0..self.readers.len()).collect();
            self.started = true;
        }
        for index in self.taken.drain(..) {
            if let Some(reader) = self.readers.get_mut(index) {
                reader.advance()?;
            }
        }
        let mut least: Option<&[u8]> = None;
        for (index, reader) in self.readers.iter().enumerate() {
            let Some((key, _)) = reader.record() else {
                continue;
            };
            let order = least.map_or(Ordering::Less, |least| key.cmp(least));
            if order == Ordering::Less {
                self.taken.clear();
                least = Some(key);
            }
            // Of equal ones the newer comes later, for the order of the readers.
            if order != Ordering::Greater {
                self.taken.push(index);
            }
        }
        Ok(!self.taken.is_empty())
    }
}
