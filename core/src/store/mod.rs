//! The metadata tree: the application that Zabkeeper replicates.
//!
//! [`Tree`] is one ordered map from keys to nodes. A key is a [`Path`] in which `/` is replaced by
//! a byte below all others, so that a subtree is one contiguous range of the map and nothing but
//! the map is needed for listings, snapshots and recursive deletes. Every change goes through one
//! function, which keeps up what depends on the nodes: the digest, the set of changes for the next
//! checkpoint, and the states held for snapshots.

mod checkpoint;
mod command;
mod key;
mod list;
mod load;
mod node;
mod path;
mod snapshot;
#[cfg(test)]
mod tests;
mod tree;
mod types;
mod wire;

pub use command::{CLEAR_NODES, DELETE_NODES, MAX_VALUE_BYTES};
pub use list::MAX_PAGE_BYTES;
pub use path::{MAX_PATH_BYTES, Path, PathError};
pub use tree::Tree;
pub use types::{Answer, Command, CommandError, Found, Op, Outcome, Page, Query, Stat};
pub use wire::DecodeError;
