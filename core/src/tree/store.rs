//! The tree itself: what commands do to it.

use super::key::Key;
use super::node::{Node, stat_digest};
use super::path::{Path, is_below, parent_key};
use super::snapshot::Held;
use super::types::{Answer, Command, CommandError, Found, Outcome, Query, Stat};
use crate::app::{App, LoadError};
use crate::digest::Digest;
use crate::entry::Payload;
use crate::ids::{ConnId, Txid};
use crate::message::Item;
use crate::storage::Change;
use crate::time::WallTime;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;

pub(super) type Nodes = BTreeMap<Key, Node>;

/// The metadata tree. The root always exists.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(super) nodes: Nodes,
    /// The sum over all nodes.
    pub(super) digest: Digest,
    /// The nodes touched since the last [`App::take_changes`], some of them more than once.
    changed: Vec<Key>,
    /// Nodes touched by a later entry than this are in `changed`.
    taken: Txid,
    /// The last entry applied, as far as is known.
    newest: Txid,
    /// The states held for reading in parts.
    held: BTreeMap<ConnId, Held>,
}

/// The entry that is being applied.
#[derive(Clone, Copy)]
struct At {
    txid: Txid,
    time: WallTime,
}

impl Tree {
    /// How many nodes there are, the root included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True if there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.len() == 1
    }

    /// Takes note that a node last touched by this entry is stored already.
    pub(super) fn loaded(&mut self, touched: Txid) {
        self.newest = self.newest.max(touched);
        self.taken = self.newest;
    }

    fn execute(&mut self, at: At, command: Command) -> Outcome {
        if command.path().is_root() {
            return Err(CommandError::Root);
        }
        match command {
            Command::Add { path, value } => {
                let key = path.key();
                match self.nodes.contains_key(key.as_bytes()) {
                    true => Err(CommandError::Exists),
                    false => Ok(self.create(at, &key, value)),
                }
            }
            Command::Set { path, value } => {
                let key = path.key();
                Ok(match self.set(at, &key, &value) {
                    Some(stat) => stat,
                    None => self.create(at, &key, value),
                })
            }
            Command::Delete { path, recursive } => self.delete(at, &path.key(), recursive),
        }
    }

    /// Makes a node that does not exist, and what is missing above it.
    fn create(&mut self, at: At, key: &str, value: Payload) -> Stat {
        let stat = Stat::created(at.txid, at.time);
        self.insert(key, Node::new(value, stat));
        let mut child = key;
        while let Some(parent) = parent_key(child) {
            if self.count_child(at, parent, |children| children.saturating_add(1)) {
                break;
            }
            let stat = stat.with_children(at.txid, 1);
            self.insert(parent, Node::new(Payload::from(Vec::new()), stat));
            child = parent;
        }
        stat
    }

    fn delete(&mut self, at: At, key: &str, recursive: bool) -> Outcome {
        let stat = match self.nodes.get(key.as_bytes()) {
            Some(node) => node.stat(),
            None => return Err(CommandError::NotFound),
        };
        if stat.children > 0 {
            if !recursive {
                return Err(CommandError::HasChildren);
            }
            let below: Vec<Key> = self
                .nodes
                .range::<[u8], _>((Bound::Excluded(key.as_bytes()), Bound::Unbounded))
                .map(|(below, _)| below.clone())
                .take_while(|below| is_below(below, key))
                .collect();
            for key in below {
                self.remove(&key);
            }
        }
        self.remove(key);
        if let Some(parent) = parent_key(key) {
            let counted = self.count_child(at, parent, |children| children.saturating_sub(1));
            assert!(counted, "a node had no parent");
        }
        Ok(stat)
    }

    // All that depends on the nodes is kept up by what follows, and nowhere else.

    // All that depends on the nodes is kept up by what follows, and nowhere else.

    /// Sets the value of a node, if there is one.
    fn set(&mut self, at: At, key: &str, value: &Payload) -> Option<Stat> {
        let node = self.nodes.get_mut(key.as_bytes())?;
        let (before, held) = (node.stat(), (!self.held.is_empty()).then(|| node.clone()));
        let after = before.set(at.txid, at.time);
        self.digest = self.digest.minus(node.digest(key));
        node.value = value.clone();
        node.set_stat(after);
        self.digest = self.digest.plus(node.digest(key));
        self.changed(key, Some(&before), held);
        Some(after)
    }

    /// Changes the number of children of a node; false if there is none.
    fn count_child(&mut self, at: At, key: &str, count: impl FnOnce(u64) -> u64) -> bool {
        let Some(node) = self.nodes.get_mut(key.as_bytes()) else { return false };
        let (before, held) = (node.stat(), (!self.held.is_empty()).then(|| node.clone()));
        let after = before.with_children(at.txid, count(before.children));
        node.set_stat(after);
        // The value is the same: only the stat's share of the digest changes.
        self.digest = self.digest.minus(stat_digest(key, &before)).plus(stat_digest(key, &after));
        self.changed(key, Some(&before), held);
        true
    }

    fn insert(&mut self, key: &str, node: Node) {
        self.digest = self.digest.plus(node.digest(key));
        let old = self.nodes.insert(key.into(), node);
        assert!(old.is_none(), "a node was made that existed");
        self.changed(key, None, None);
    }

    fn remove(&mut self, key: &str) {
        let Some(old) = self.nodes.remove(key.as_bytes()) else { return };
        self.digest = self.digest.minus(old.digest(key));
        self.changed(key, Some(&old.stat()), Some(old));
    }

    /// Remembers that a node was changed: for the next checkpoint, unless it is listed already,
    /// and what it was before for the states that are held.
    fn changed(&mut self, key: &str, before: Option<&Stat>, old: Option<Node>) {
        let listed = before.is_some_and(|before| before.touched() > self.taken);
        if listed && self.held.is_empty() {
            return;
        }
        let shared = self.nodes.get_key_value(key.as_bytes()).map(|(key, _)| key.clone());
        let key = shared.unwrap_or_else(|| key.into());
        for held in self.held.values_mut() {
            held.keep(&key, old.as_ref());
        }
        if !listed {
            self.changed.push(key);
        }
    }

    fn get(&self, path: &Path) -> Option<Found> {
        self.nodes.get(path.key().as_bytes()).map(|node| Found {
            path: path.clone(),
            value: Some(node.value.clone()),
            stat: node.stat(),
        })
    }
}

/// Equal states, with the same changes still to be taken and the same states held.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        let pending = |tree: &Self| -> BTreeSet<Key> { tree.changed.iter().cloned().collect() };
        self.nodes == other.nodes
            && self.digest == other.digest
            && self.held == other.held
            && pending(self) == pending(other)
    }
}

impl Eq for Tree {}

impl Default for Tree {
    fn default() -> Self {
        Self::empty()
    }
}

impl App for Tree {
    type Query = Query;
    type Answer = Answer;
    type Outcome = Outcome;

    fn empty() -> Self {
        let root = Node::new(Payload::from(Vec::new()), Stat::default());
        Self {
            nodes: BTreeMap::from([(Key::from(""), root)]),
            digest: Digest::ZERO,
            changed: Vec::new(),
            taken: Txid::ZERO,
            newest: Txid::ZERO,
            held: BTreeMap::new(),
        }
    }

    fn apply(&mut self, txid: Txid, time: WallTime, command: &[u8]) -> Outcome {
        debug_assert!(txid > self.newest, "entries are applied in their order");
        self.newest = txid;
        let command = Command::decode(command).map_err(|_| CommandError::Malformed)?;
        self.execute(At { txid, time }, command)
    }

    fn query(&self, query: &Query) -> Answer {
        match query {
            Query::Get { path } => Answer::Node(self.get(path)),
            Query::List { path, recursive, after, limit, values } => {
                Answer::List(self.list(path, *recursive, after.as_ref(), *limit, *values))
            }
        }
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn take_changes(&mut self) -> Vec<Change> {
        let mut changed = core::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        self.taken = self.newest;
        changed
            .into_iter()
            .map(|key| Change {
                key: key.as_bytes().into(),
                value: self.nodes.get(key.as_bytes()).map(Node::encode),
            })
            .collect()
    }

    fn open_snapshot(&mut self, id: ConnId) {
        self.held.insert(id, Held::default());
    }

    fn read_snapshot(&mut self, id: ConnId, max_bytes: usize) -> (Vec<Item>, bool) {
        let Some(held) = self.held.get_mut(&id) else {
            return (Vec::new(), true);
        };
        let (items, last) = held.read(&self.nodes, max_bytes);
        if last {
            // Nothing is left to read, so no old state needs to be kept any more.
            self.held.remove(&id);
        }
        (items, last)
    }

    fn close_snapshot(&mut self, id: ConnId) {
        self.held.remove(&id);
    }

    fn load(&mut self, items: Vec<Item>) -> Result<(), LoadError> {
        items.iter().try_for_each(|item| self.load_item(item))
    }

    fn finish_load(&mut self) -> Result<(), LoadError> {
        self.check_shape()
    }
}
