//! The tree against its naive twin, over random commands on few keys.

mod commands;
mod load;
mod naive;
mod snapshot;

use super::{Command, Path, Tree};
use crate::replica::App;
use crate::zab::{Change, Item};
use alloc::string::String;
use alloc::vec::Vec;
use naive::{Naive, entry};
use proptest::prelude::*;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

/// Paths of few segments, so that commands meet, with the bytes that plain byte order would put
/// between a node and its children.
fn paths() -> impl Strategy<Value = Path> {
    prop::collection::vec(prop::sample::select(&["a", "b", "a-", "a\u{1}"][..]), 0..4)
        .prop_map(|segments| path(&segments.join("/")))
}

fn command() -> impl Strategy<Value = Command> {
    let value = prop::collection::vec(any::<u8>(), 0..3);
    (paths(), value, 0..8u8).prop_map(|(path, value, kind)| match kind {
        0..3 => Command::Add { path, value: value.into() },
        3..5 => Command::Set { path, value: value.into() },
        5 => Command::Clear { path },
        _ => Command::Delete { path, recursive: kind == 7 },
    })
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    prop::collection::vec(command(), 0..60)
}

/// A tree and its twin.
struct Twins {
    tree: Tree,
    naive: Naive,
    applied: u64,
}

impl Twins {
    fn new() -> Self {
        Self { tree: Tree::empty(), naive: Naive::new(), applied: 0 }
    }

    fn after(commands: &[Command]) -> Self {
        let mut twins = Self::new();
        for command in commands {
            twins.apply(command);
        }
        twins
    }

    /// Clears a part of a subtree in both, of so many nodes, and checks that they say the same.
    fn clear(&mut self, path: &Path, most: u8) {
        self.applied += 1;
        let (txid, time) = entry(self.applied);
        let mut command = Command::Clear { path: path.clone() }.encode().to_vec();
        // The number is the last in the command.
        command.truncate(command.len() - 2);
        command.push(most);
        let outcome = self.tree.change(txid, time, &command);
        assert_eq!(outcome, self.naive.clear(self.applied, path, usize::from(most)));
    }

    /// Applies a command to both and checks that they say the same.
    fn apply(&mut self, command: &Command) {
        self.applied += 1;
        let (txid, time) = entry(self.applied);
        let outcome = self.tree.change(txid, time, &command.encode());
        assert_eq!(outcome, self.naive.apply(self.applied, command));
    }
}

/// Everything that changed, in one part.
fn changes(tree: &mut Tree) -> Vec<Change> {
    tree.begin_changes();
    let (changes, last) = tree.read_changes(usize::MAX);
    assert!(last);
    changes
}

/// Everything of a new snapshot, in one part.
fn items(tree: &mut Tree) -> Vec<Item> {
    let id = crate::words::ConnId::new(u64::MAX);
    tree.open_snapshot(id);
    let (items, last) = tree.read_snapshot(id, usize::MAX);
    assert!(last);
    items
}

fn set(text: &str, value: &str) -> Command {
    Command::Set { path: path(text), value: String::from(value).into_bytes().into() }
}
