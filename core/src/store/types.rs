//! What clients say to the tree and what it answers.

use super::path::Path;
use crate::words::{Operation, Payload, ReadLevel, Txid, WallTime};
use crate::zab::Status;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// What the tree knows about a node besides its value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Stat {
    /// The entry that created it.
    pub created: Txid,
    /// The entry that last set its value.
    pub modified: Txid,
    /// When it was created, by the leader's wall clock.
    pub created_at: WallTime,
    /// When its value was last set, by the leader's wall clock.
    pub modified_at: WallTime,
    /// How often its value was set since it was created; 0 for a new node.
    pub version: u64,
    /// How often a child was added or deleted.
    pub children_version: u64,
    /// The entry that last added or deleted a child; [`Txid::ZERO`] if none ever did.
    pub children_changed: Txid,
    /// How many children it has.
    pub children: u64,
}

/// A change of the tree. Missing parents are created as empty nodes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Command {
    /// Creates a node; refused if there is one.
    Add {
        /// Where.
        path: Path,
        /// Its value.
        value: Payload,
    },
    /// Sets a node's value, creating it if there is none.
    Set {
        /// Where.
        path: Path,
        /// Its value.
        value: Payload,
    },
    /// Deletes a node; refused if there is none, or if it has children and `recursive` is false.
    Delete {
        /// Where.
        path: Path,
        /// With everything below, which may be [`DELETE_NODES`](super::DELETE_NODES) at most.
        recursive: bool,
    },
    /// Deletes a node and everything below in parts, of which this is one: the last
    /// [`CLEAR_NODES`](super::CLEAR_NODES) of them, so that every node that is left has its parent.
    /// [`CommandError::Unfinished`] while some are left.
    Clear {
        /// Where.
        path: Path,
    },
}

/// Why a command had no effect, or not all of it. This is an outcome like any other: it was decided in the order of
/// the log, and every replica decided the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CommandError {
    /// Add: there is a node already.
    Exists,
    /// Delete: there is no node.
    NotFound,
    /// Delete: the node has children.
    HasChildren,
    /// The root can be neither added, set nor deleted.
    Root,
    /// The command's bytes cannot be read.
    Malformed,
    /// Delete: there is more below the node than one command may delete.
    TooMany,
    /// Clear: a part is deleted, and more is left.
    Unfinished,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exists => "the key exists already",
            Self::NotFound => "the key does not exist",
            Self::HasChildren => "the key has children; delete it with --recursive",
            Self::Root => "the root cannot be changed",
            Self::Malformed => "the command cannot be read",
            Self::TooMany => "there are more keys below it than can be deleted at once",
            Self::Unfinished => "some of the keys below it are deleted, and some are left",
        })
    }
}

impl core::error::Error for CommandError {}

/// What a command did: the node's stat after it (for Delete: before it), or why nothing.
pub type Outcome = Result<Stat, CommandError>;

/// A read of the tree.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Query {
    /// One node.
    Get {
        /// Which.
        path: Path,
    },
    /// The nodes below one, without it, in the order of their paths.
    List {
        /// Below which.
        path: Path,
        /// All of them, not only the children.
        recursive: bool,
        /// Only those after this path: the last one of the page before.
        after: Option<Path>,
        /// At most so many.
        limit: u32,
        /// With their values.
        values: bool,
    },
}

/// What a client wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// A change of the tree.
    Write(Command),
    /// A look at the tree.
    Read {
        /// What.
        query: Query,
        /// How fresh.
        level: ReadLevel,
    },
    /// The state of the node asked.
    Status,
}

impl Operation for Op {
    fn is_write(&self) -> bool {
        matches!(self, Self::Write(_))
    }

    fn see(&mut self, seen: Txid) {
        if let Self::Read { level: ReadLevel::Local(floor), .. } = self {
            *floor = seen.max(*floor);
        }
    }
}

/// A node in an answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Found {
    /// Where it is.
    pub path: Path,
    /// Its value, if it was asked for.
    pub value: Option<Payload>,
    /// Its stat.
    pub stat: Stat,
}

/// What comes of an [`Op`] that was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To a command: what it did, or why nothing. Either way it is in the log for good.
    Written(Outcome),
    /// To Get: the node, or `None` if there is none.
    Node(Option<Found>),
    /// To List: `None` if the node itself does not exist.
    List(Option<Page>),
    /// To a question for the status of the node asked.
    Status(Box<Status>),
}

/// A part of a listing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Page {
    /// The nodes.
    pub nodes: Vec<Found>,
    /// True if there are more after the last one: limits of number or bytes ended the page.
    pub more: bool,
}
