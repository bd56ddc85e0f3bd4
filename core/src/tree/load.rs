//! Building a tree from the elements of a snapshot or checkpoint.

use super::node::from_item;
use super::path::parent_key;
use super::store::Tree;
use super::types::Stat;
use crate::app::LoadError;
use crate::message::Item;
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
    pub(super) fn load_item(&mut self, item: &Item) -> Result<(), LoadError> {
        let (key, node) =
            from_item(item).map_err(|_| LoadError::Malformed("not a node of the tree"))?;
        if node.stat().created.is_zero() != key.is_empty() {
            return Err(LoadError::Inconsistent("only the root was created by no entry"));
        }
        if key.is_empty() && !node.value().is_empty() {
            return Err(LoadError::Inconsistent("the root has a value"));
        }
        self.loaded(node.stat().touched());
        self.digest = self.digest.plus(node.digest());
        match self.nodes.insert(key, node) {
            // The root is there from the start.
            Some(old) if old.stat() != Stat::default() => {
                Err(LoadError::Inconsistent("two elements are the same node"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that every node has its parent and as many children as it says.
    pub(super) fn check_shape(&self) -> Result<(), LoadError> {
        // The order of keys visits a node, then all below it: `open` is the way down to a node.
        let mut open: Vec<Open<'_>> = Vec::new();
        for (key, node) in &self.nodes {
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
}
