//! A node's disk: the journal of the protocol's state, and the application's state behind it.
//!
//! Layout of a data directory:
//!
//! | name | what |
//! | --- | --- |
//! | `journal-<number>.zkj` | the journal's segments, consecutive; see [`segment`] |
//! | `past-<number>.zkj` | segments before those, kept for followers that lack them |
//! | `spare-<number>.zkj` | files that will be segments |
//! | `state-<generation>/` | the application's state: `table-<number>.zkt`, and sled for the rest |
//! | `reserve` | room for a start on a full disk, where there is plenty |
//! | `LOCK` | locked by the process that works on the directory |
//! | `initialising` | only while the directory is made |
//!
//! [`open`] checks everything and hands over what is stored; [`StorageThread`] then takes writes
//! without making the caller wait. What the disk takes at most: the journal of the log and two
//! segments, what is kept of the log before that, three spare segments, and the state: its tables hold at most three times what the
//! oldest of them holds and 32 MiB, a fold as much again, and so does a snapshot while it is
//! received.

mod blocks;
mod catalogue;
mod codec;
mod cure;
mod descriptors;
mod disk;
mod error;
mod fold;
pub mod fs;
mod items;
mod journal;
mod lock;
mod merge;
mod pace;
mod past;
mod place;
mod recover;
mod reserve;
pub mod segment;
mod shelf;
mod space;
mod spares;
mod staging;
mod state;
mod summary;
mod table;
mod thread;

pub use disk::{Bootstrap, Contents, DiskStorage, Opened, Options, open, open_on};
pub use error::{Damage, Failure, OpenError};
pub use items::{Element, Items};
pub use journal::{Journal, JournalOptions};
pub use recover::inspect;
pub use staging::States;
pub use thread::{Completion, StorageCommand, StorageHandle, StorageThread};

#[cfg(test)]
mod tests;
