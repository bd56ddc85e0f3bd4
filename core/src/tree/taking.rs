//! The changes for a checkpoint, read in parts while the tree changes on: the keys of all nodes that
//! were touched before it began, and what those of them were that were touched again since.

use super::key::Key;
use super::node::Node;
use super::store::Nodes;
use crate::storage::Change;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Changes that are being read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Taking {
    /// The nodes that are not read yet, the next one last.
    keys: Vec<Key>,
    /// What nodes among them were, if they changed since; `None` for those that did not exist.
    kept: BTreeMap<Key, Option<Node>>,
}

impl Taking {
    /// The changes of these nodes, which may be named more than once.
    pub(super) fn new(mut keys: Vec<Key>) -> Self {
        keys.sort_unstable_by(|a, b| b.cmp(a));
        keys.dedup();
        Self { keys, kept: BTreeMap::new() }
    }

    /// True if it must be told what this node is before it changes.
    pub(super) fn wants(&self, key: &Key) -> bool {
        self.keys.binary_search_by(|other| key.cmp(other)).is_ok() && !self.kept.contains_key(key)
    }

    /// Remembers a node that is changing.
    pub(super) fn keep(&mut self, key: &Key, old: Option<Node>) {
        if self.wants(key) {
            self.kept.insert(key.clone(), old);
        }
    }

    /// The next changes, at most `max` but at least one if there is any, in the order of their
    /// keys; and true if they are the last.
    pub(super) fn read(&mut self, nodes: &Nodes, max: usize) -> (Vec<Change>, bool) {
        let rest = self.keys.len().saturating_sub(max.max(1));
        let read = self.keys.split_off(rest).into_iter().rev();
        let changes = read.map(|key| {
            let value = match self.kept.remove(&key) {
                Some(old) => old.as_ref().map(Node::encode),
                None => nodes.get(&key).map(Node::encode),
            };
            Change { key: key.as_bytes().into(), value }
        });
        (changes.collect(), self.keys.is_empty())
    }
}
