//! The tree itself: what commands do to it.

use super::command::{self, Act};
use super::key::Key;
use super::node::Node;
use super::path::{Path, is_below, parent_key};
use super::snapshot::Held;
use super::taking::Taking;
use super::types::{Answer, CommandError, Found, Outcome, Query, Stat};
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
    /// Nodes that are being loaded, and counted in the digest already.
    pub(super) loading: Vec<(Key, Node)>,
    /// The nodes touched since the last [`App::begin_changes`], some of them more than once.
    changed: Vec<Key>,
    /// The changes before it, as far as they were not read yet.
    taking: Option<Taking>,
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

    /// Takes note that what this entry changed is stored already.
    pub(super) fn loaded(&mut self, touched: Txid) {
        self.newest = self.newest.max(touched);
        self.taken = self.newest;
    }

    fn execute(&mut self, at: At, path: &str, act: Act<'_>) -> Outcome {
        if path.is_empty() {
            return Err(CommandError::Root);
        }
        let key = Key::of(path);
        match act {
            Act::Add(_) if self.nodes.contains_key(&key) => Err(CommandError::Exists),
            Act::Add(value) => Ok(self.create(at, &key, value)),
            Act::Set(value) => {
                let set = self.set(at, &key, value);
                Ok(set.unwrap_or_else(|| self.create(at, &key, value)))
            }
            Act::Delete { recursive } => self.delete(at, &key, recursive),
        }
    }

    /// Makes a node that does not exist, and what is missing above it.
    fn create(&mut self, at: At, key: &Key, value: &[u8]) -> Stat {
        let stat = Stat::created(at.txid, at.time);
        self.insert(key.clone(), Node::new(key, value, stat));
        let mut child: &str = key;
        while let Some(parent) = parent_key(child) {
            if self.count_child(at, parent, |children| children.saturating_add(1)) {
                break;
            }
            let stat = stat.with_children(at.txid, 1);
            self.insert(parent.into(), Node::new(parent, b"", stat));
            child = parent;
        }
        stat
    }

    fn delete(&mut self, at: At, key: &Key, recursive: bool) -> Outcome {
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

    /// Sets the value of a node; `None` if there is none.
    fn set(&mut self, at: At, key: &Key, value: &[u8]) -> Option<Stat> {
        let held = self.is_held(key);
        let node = self.nodes.get_mut(key)?;
        node.fetch();
        let (before, old) = (node.stat(), held.then(|| node.clone()));
        let after = before.set(at.txid, at.time);
        self.digest = self.digest.minus(node.digest());
        node.set(key, value, after);
        self.digest = self.digest.plus(node.digest());
        self.changed(key, Some(&before), old);
        Some(after)
    }

    /// Changes the number of children of a node; false if there is none.
    fn count_child(&mut self, at: At, key: &str, count: impl FnOnce(u64) -> u64) -> bool {
        let key = &Key::from(key);
        let held = self.is_held(key);
        let Some(node) = self.nodes.get_mut(key) else { return false };
        let (before, old) = (node.stat(), held.then(|| node.clone()));
        self.digest = self.digest.minus(node.digest());
        node.restat(key, before.with_children(at.txid, count(before.children)));
        self.digest = self.digest.plus(node.digest());
        self.changed(key, Some(&before), old);
        true
    }

    fn insert(&mut self, key: Key, node: Node) {
        self.digest = self.digest.plus(node.digest());
        self.changed(&key, None, None);
        let old = self.nodes.insert(key, node);
        assert!(old.is_none(), "a node was made that existed");
    }

    fn remove(&mut self, key: &Key) {
        let Some(old) = self.nodes.remove(key) else { return };
        self.digest = self.digest.minus(old.digest());
        self.changed(key, Some(&old.stat()), Some(old));
    }

    /// True if somebody wants to know what this node was before it changes.
    fn is_held(&self, key: &Key) -> bool {
        self.held.values().any(|held| held.wants(key))
            || self.taking.as_ref().is_some_and(|taking| taking.wants(key))
    }

    /// Remembers that a node was changed: for the next checkpoint, unless it is listed already,
    /// and what it was before for the states that are held.
    fn changed(&mut self, key: &Key, before: Option<&Stat>, old: Option<Node>) {
        for held in self.held.values_mut() {
            held.keep(key, old.as_ref());
        }
        if let Some(taking) = &mut self.taking {
            taking.keep(key, old);
        }
        if before.is_none_or(|before| before.touched() <= self.taken) {
            self.changed.push(key.clone());
        }
    }

    fn get(&self, path: &Path) -> Option<Found> {
        self.nodes.get(&path.key()).map(|node| Found {
            path: path.clone(),
            value: Some(node.payload()),
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
            && self.loading == other.loading
            && self.taking == other.taking
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
        let root = Node::new("", b"", Stat::default());
        Self {
            nodes: BTreeMap::from([(Key::from(""), root)]),
            digest: Digest::ZERO,
            changed: Vec::new(),
            taking: None,
            loading: Vec::new(),
            taken: Txid::ZERO,
            newest: Txid::ZERO,
            held: BTreeMap::new(),
        }
    }

    fn apply(&mut self, txid: Txid, time: WallTime, command: &Payload) -> Outcome {
        debug_assert!(txid > self.newest, "entries are applied in their order");
        self.newest = txid;
        let (path, act) = command::read(command).map_err(|_| CommandError::Malformed)?;
        self.execute(At { txid, time }, path, act)
    }

    fn query(&self, query: &Query) -> Answer {
        match query {
            Query::Get { path } => Answer::Node(self.get(path)),
            Query::List { path, recursive, after, limit, values } => {
                Answer::List(self.list(path, *recursive, after.as_ref(), *limit, *values))
            }
        }
    }

    fn weight(answer: &Answer) -> usize {
        match answer {
            Answer::Node(_) | Answer::List(None) => 1,
            Answer::List(Some(page)) => 1 + page.nodes.len(),
        }
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn begin_changes(&mut self) {
        assert!(self.taking.is_none(), "the changes before were not read to their end");
        self.taking = Some(Taking::new(core::mem::take(&mut self.changed)));
        self.taken = self.newest;
    }

    fn read_changes(&mut self, max: usize) -> (Vec<Change>, bool) {
        let Some(taking) = &mut self.taking else { return (Vec::new(), true) };
        let (changes, last) = taking.read(&self.nodes, max);
        if last {
            self.taking = None;
        }
        (changes, last)
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

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), LoadError> {
        self.load_node(key, value)
    }

    fn finish_load(&mut self, at: Txid) -> Result<(), LoadError> {
        if self.newest > at {
            return Err(LoadError::Inconsistent("a node was changed after the state's position"));
        }
        self.loaded(at);
        self.build()
    }
}
