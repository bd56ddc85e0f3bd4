//! The tree itself: what commands do to it.

use super::node::{Key, Node, stat_digest};
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    pub(super) nodes: Nodes,
    /// The sum over all nodes.
    pub(super) digest: Digest,
    /// The nodes touched since the last [`App::take_changes`].
    changed: BTreeSet<Key>,
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

    fn execute(&mut self, at: At, command: Command) -> Outcome {
        if command.path().is_root() {
            return Err(CommandError::Root);
        }
        match command {
            Command::Add { path, value } => {
                let key = path.key();
                match self.nodes.contains_key(&*key) {
                    true => Err(CommandError::Exists),
                    false => Ok(self.create(at, &key, value)),
                }
            }
            Command::Set { path, value } => {
                let key = path.key();
                let Some(node) = self.nodes.get(&*key) else {
                    return Ok(self.create(at, &key, value));
                };
                let stat = node.stat().set(at.txid, at.time);
                self.put(&key, Some(Node::new(value, stat)));
                Ok(stat)
            }
            Command::Delete { path, recursive } => self.delete(at, &path.key(), recursive),
        }
    }

    /// Makes a node that does not exist, and what is missing above it.
    fn create(&mut self, at: At, key: &str, value: Payload) -> Stat {
        let stat = Stat::created(at.txid, at.time);
        self.put(key, Some(Node::new(value, stat)));
        let mut child = key;
        while let Some(parent) = parent_key(child) {
            if self.count_child(at, parent, |children| children.saturating_add(1)) {
                break;
            }
            let stat = stat.with_children(at.txid, 1);
            self.put(parent, Some(Node::new(Payload::from(Vec::new()), stat)));
            child = parent;
        }
        stat
    }

    fn delete(&mut self, at: At, key: &str, recursive: bool) -> Outcome {
        let stat = match self.nodes.get(key) {
            Some(node) => node.stat(),
            None => return Err(CommandError::NotFound),
        };
        if stat.children > 0 {
            if !recursive {
                return Err(CommandError::HasChildren);
            }
            let below: Vec<Key> = self
                .nodes
                .range::<str, _>((Bound::Excluded(key), Bound::Unbounded))
                .map(|(below, _)| below.clone())
                .take_while(|below| is_below(below, key))
                .collect();
            for key in below {
                self.put(&key, None);
            }
        }
        self.put(key, None);
        if let Some(parent) = parent_key(key) {
            let counted = self.count_child(at, parent, |children| children.saturating_sub(1));
            assert!(counted, "a node had no parent");
        }
        Ok(stat)
    }

    /// Changes the number of children of a node; false if there is none.
    fn count_child(&mut self, at: At, key: &str, count: impl FnOnce(u64) -> u64) -> bool {
        let bounds = (Bound::Included(key), Bound::Included(key));
        let Some((key, node)) = self.nodes.range_mut::<str, _>(bounds).next() else {
            return false;
        };
        let before = node.stat();
        let after = before.with_children(at.txid, count(before.children));
        let changed = Node::new(node.value.clone(), after);
        let old = core::mem::replace(node, changed);
        // The value is the same: only the stat's share of the digest changes.
        self.digest = self.digest.minus(stat_digest(key, &before)).plus(stat_digest(key, &after));
        let key = key.clone();
        self.changed(key, Some(old));
        true
    }

    /// Sets or removes a node. All that depends on the nodes is kept up here and in
    /// [`Tree::count_child`], nowhere else.
    fn put(&mut self, key: &str, node: Option<Node>) {
        let key = match self.nodes.get_key_value(key) {
            Some((known, _)) => known.clone(),
            None => Key::from(key),
        };
        if let Some(node) = &node {
            self.digest = self.digest.plus(node.digest(&key));
        }
        let old = match node {
            Some(node) => self.nodes.insert(key.clone(), node),
            None => self.nodes.remove(&key),
        };
        if let Some(old) = &old {
            self.digest = self.digest.minus(old.digest(&key));
        }
        self.changed(key, old);
    }

    fn changed(&mut self, key: Key, old: Option<Node>) {
        for held in self.held.values_mut() {
            held.keep(&key, old.as_ref());
        }
        self.changed.insert(key);
    }

    fn get(&self, path: &Path) -> Option<Found> {
        self.nodes.get(&*path.key()).map(|node| Found {
            path: path.clone(),
            value: Some(node.value.clone()),
            stat: node.stat(),
        })
    }
}

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
            changed: BTreeSet::new(),
            held: BTreeMap::new(),
        }
    }

    fn apply(&mut self, txid: Txid, time: WallTime, command: &[u8]) -> Outcome {
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
        core::mem::take(&mut self.changed)
            .into_iter()
            .map(|key| Change {
                key: key.as_bytes().into(),
                value: self.nodes.get(&key).map(Node::encode),
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
