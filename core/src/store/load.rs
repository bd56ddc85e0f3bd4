//! Building a tree from the elements of a snapshot or checkpoint.

use super::key::Key;
use super::node::{Node, from_element};
use super::path::parent_key;
use super::tree::{Tree, footprint};
use crate::replica::LoadError;
use alloc::vec::Vec;

/// A node whose children are being counted.
struct Open<'a> {
    key: &'a str,
    claimed: u64,
    found: u64,
}

impl Open<'_> {
    fn close(self) -> Result<(), LoadError> {
        if self.claimed == self.found {
            Ok(())
        } else {
            Err(LoadError::Inconsistent("a node has another number of children than it says"))
        }
    }
}

impl Tree {
    pub(super) fn load_node(&mut self, key: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let (key, node) =
            from_element(key, value).map_err(|_| LoadError::Malformed("not a node of the tree"))?;
        if node.stat().created.is_zero() != key.is_empty() {
            return Err(LoadError::Inconsistent("only the root was created by no entry"));
        }
        if key.is_empty() && !node.value().is_empty() {
            return Err(LoadError::Inconsistent("the root has a value"));
        }
        self.loaded(node.stat().touched());
        self.digest = self.digest.plus(node.digest());
        self.bytes += footprint(&key, &node);
        self.loading.push((key, node));
        Ok(())
    }

    /// Puts the loaded nodes, checked, in the place of what was there: the root alone. Built at once
    /// from sorted nodes, the map's own nodes are full, where one after the other they would be half
    /// empty.
    pub(super) fn build(&mut self) -> Result<(), LoadError> {
        let mut loaded = core::mem::take(&mut self.loading);
        loaded.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        check_shape(&loaded)?;
        let before = core::mem::replace(&mut self.nodes, loaded.into_iter().collect());
        for (key, node) in before {
            self.nodes.entry(key).or_insert(node);
        }
        Ok(())
    }
}

/// Checks that no node is there twice, and that every node has its parent and as many children as it
/// says.
fn check_shape(nodes: &[(Key, Node)]) -> Result<(), LoadError> {
    // The order of keys visits a node, then all below it: `open` is the way down to a node.
    let mut open: Vec<Open<'_>> = Vec::new();
    for (key, node) in nodes {
        // Once: a short key is checked to be a text each time it is taken for one.
        let key: &str = key;
        if open.last().is_some_and(|before| before.key == key) {
            return Err(LoadError::Inconsistent("two elements are the same node"));
        }
        if let Some(parent) = parent_key(key) {
            while let Some(done) = open.pop_if(|above| above.key != parent) {
                done.close()?;
            }
            match open.last_mut() {
                Some(above) => above.found += 1,
                None => return Err(LoadError::Inconsistent("a node has no parent")),
            }
        }
        open.push(Open { key, claimed: node.stat().children, found: 0 });
    }
    open.into_iter().try_for_each(Open::close)
}
