//! A node's disk: the journal of the protocol's state, and the application's state behind it.
//!
//! Layout of a data directory:
//!
//! | name | what |
//! | --- | --- |
//! | `journal-<number>.zkj` | the journal's segments, consecutive; see [`segment`] |
//! | `spare-<number>.zkj` | files that will be segments |
//! | `state-<generation>/` | the application's state, in sled |
//! | `LOCK` | locked by the process that works on the directory |
//! | `initialising` | only while the directory is made |
//!
//! [`open`] checks everything and hands over what is stored; [`StorageThread`] then takes writes
//! without making the caller wait. What the disk takes at most: the journal of the retained log and
//! two segments, two spare segments, and the state in sled (about five times its live size), twice
//! while a snapshot is received.

mod codec;
mod cure;
mod disk;
mod error;
pub mod fs;
mod items;
mod journal;
mod lock;
mod recover;
pub mod segment;
mod staging;
mod state;
mod summary;
mod thread;

pub use disk::{Bootstrap, Contents, DiskStorage, Opened, Options, open, open_on};
pub use error::{Damage, OpenError};
pub use items::Items;
pub use journal::{Journal, JournalOptions};
pub use recover::inspect;
pub use staging::States;
pub use thread::{Completion, StorageCommand, StorageHandle, StorageThread};

#[cfg(test)]
mod tests;
