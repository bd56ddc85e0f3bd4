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
}

impl Merge {
    /// Opens these tables, oldest first.
    pub(crate) fn open(dir: &Path, tables: &[Table]) -> Result<Self, OpenError> {
        let readers = tables.iter().map(|table| Reader::open(dir, *table));
        Ok(Self { readers: readers.collect::<Result<_, _>>()?, taken: Vec::new(), started: false })
    }

    /// The next element, removed ones included.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, Damage> {
        if !self.started {
            self.taken = (0..self.readers.len()).collect();
            self.started = true;
        }
        for index in self.taken.drain(..) {
            if let Some(reader) = self.readers.get_mut(index) {
                reader.advance()?;
            }
        }
        let mut least: Option<Record<'_>> = None;
        for (index, reader) in self.readers.iter().enumerate() {
            let Some(record) = reader.record() else {
                continue;
            };
            match least.map_or(Ordering::Less, |(key, _)| record.0.cmp(key)) {
                Ordering::Less => {
                    self.taken.clear();
                    self.taken.push(index);
                    least = Some(record);
                }
                // Newer, for the order of the readers.
                Ordering::Equal => {
                    self.taken.push(index);
                    least = Some(record);
                }
                Ordering::Greater => {}
            }
        }
        Ok(least)
    }
}
