//! A past state that is read in parts while the present one changes: the present nodes, corrected
//! by what those that changed were before. Opening costs nothing; what is read is not kept.

use super::key::Key;
use super::node::{Node, Nodes, to_item};
use crate::zab::Item;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Bound;

/// A state that is held.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Held {
    /// The last element read.
    cursor: Option<Key>,
    /// What nodes after the cursor were in the held state, if they changed since; `None` for those
    /// that did not exist.
    kept: BTreeMap<Key, Option<Node>>,
}

impl Held {
    /// True if it must be told what this node is before it changes.
    pub(super) fn wants(&self, key: &Key) -> bool {
        let unread = self.cursor.as_ref().is_none_or(|cursor| key > cursor);
        unread && !self.kept.contains_key(key)
    }

    /// Remembers a node that is changing.
    pub(super) fn keep(&mut self, key: &Key, old: Option<&Node>) {
        if self.wants(key) {
            self.kept.insert(key.clone(), old.cloned());
        }
    }

    /// The next elements, in the order of their keys: about `max_bytes` of them, at least one;
    /// and true if they are the last.
    pub(super) fn read(&mut self, nodes: &Nodes, max_bytes: usize) -> (Vec<Item>, bool) {
        let mut elements = elements(nodes, &self.kept, self.cursor.as_ref()).peekable();
        let mut items = Vec::new();
        let mut bytes = 0;
        let mut cursor = None;
        while bytes < max_bytes || items.is_empty() {
            let Some((key, node)) = elements.next() else {
                break;
            };
            let item = to_item(key, node);
            bytes += item.key.len() + item.value.len();
            items.push(item);
            cursor = Some(key.clone());
        }
        let last = elements.peek().is_none();
        drop(elements);
        if let Some(cursor) = cursor {
            while let Some(kept) = self.kept.first_entry()
                && *kept.key() <= cursor
            {
                kept.remove();
            }
            self.cursor = Some(cursor);
        }
        (items, last)
    }
}

/// The elements of the held state after `cursor`.
fn elements<'a>(
    nodes: &'a Nodes,
    kept: &'a BTreeMap<Key, Option<Node>>,
    cursor: Option<&Key>,
) -> impl Iterator<Item = (&'a Key, &'a Node)> {
    let start = cursor.map_or(Bound::Unbounded, |cursor| Bound::Excluded(cursor.as_bytes()));
    let bounds = (start, Bound::Unbounded);
    let mut present = nodes.range::<[u8], _>(bounds).peekable();
    let mut kept = kept.range::<[u8], _>(bounds).peekable();
    core::iter::from_fn(move || {
        loop {
            let order = match (present.peek(), kept.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((ours, _)), Some((old, _))) => ours.cmp(old),
            };
            if order.is_lt() {
                return present.next();
            }
            if order.is_eq() {
                present.next();
            }
            if let Some((key, Some(node))) = kept.next() {
                return Some((key, node));
            }
        }
    })
}
