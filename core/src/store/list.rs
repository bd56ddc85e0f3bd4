//! Listings, page by page. A page costs what it holds, not what lies below the nodes in it.

use super::key::Key;
use super::node::Node;
use super::path::{Path, end_of_subtree, is_below};
use super::tree::Tree;
use super::types::{Found, Page};
use alloc::vec::Vec;
use core::ops::Bound;

/// About how many bytes a page holds at most, unless its first node alone is larger.
pub const MAX_PAGE_BYTES: usize = 1 << 20;

/// What a node takes in a page besides its path and value.
const FIXED_BYTES: usize = 96;

impl Tree {
    pub(super) fn list(
        &self,
        path: &Path,
        recursive: bool,
        after: Option<&Path>,
        limit: u32,
        values: bool,
    ) -> Option<Page> {
        let top = path.key();
        if !self.nodes.contains_key(&top) {
            return None;
        }
        let after = after.map(Path::key).filter(|after| *after > top);
        let mut page = Page { nodes: Vec::new(), more: false };
        let mut room = MAX_PAGE_BYTES;
        for (key, node) in self.below(&top, &after.unwrap_or_else(|| top.clone()), recursive) {
            let size = FIXED_BYTES + key.len() + if values { node.value().len() } else { 0 };
            let full = room < size && !page.nodes.is_empty();
            if full || page.nodes.len() >= limit as usize {
                page.more = true;
                break;
            }
            room = room.saturating_sub(size);
            page.nodes.push(Found {
                path: Path::from_key(key),
                value: values.then(|| node.payload()),
                stat: node.stat(),
            });
        }
        Some(page)
    }

    /// The nodes below `top` and after `start`, in order; without `recursive` only its children.
    fn below<'a>(
        &'a self,
        top: &'a str,
        start: &str,
        recursive: bool,
    ) -> impl Iterator<Item = (&'a Key, &'a Node)> {
        let from = |start: Bound<&[u8]>| self.nodes.range::<[u8], _>((start, Bound::Unbounded));
        let mut nodes = from(Bound::Excluded(start.as_bytes()));
        core::iter::from_fn(move || {
            loop {
                let (key, node) = nodes.next().filter(|(key, _)| is_below(key, top))?;
                if recursive {
                    return Some((key, node));
                }
                let child = child_of(top, key);
                if child.len() < key.len() || node.stat().children > 0 {
                    let end = end_of_subtree(child);
                    nodes = from(Bound::Included(end.as_bytes()));
                }
                if child.len() == key.len() {
                    return Some((key, node));
                }
            }
        })
    }
}

/// The child of `top` that is `key` or above it. `key` must be below `top`.
fn child_of<'a>(top: &str, key: &'a str) -> &'a str {
    let name = if top.is_empty() { 0 } else { top.len() + 1 };
    match key.get(name..).and_then(|rest| rest.find('\0')) {
        Some(end) => key.get(..name + end).unwrap_or(key),
        None => key,
    }
}
