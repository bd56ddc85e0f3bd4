//! The tree itself: what commands do to it.

use super::checkpoint::{Taking, Touched};
use super::command::{self, Act};
use super::key::Key;
use super::node::{Node, Nodes};
use super::path::{Path, end_of_subtree, is_below, parent_key};
use super::snapshot::Held;
use super::types::{Answer, CommandError, Found, Outcome, Query, Stat};
use crate::replica::{App, LoadError};
use crate::words::{ConnId, Digest, Payload, Txid, WallTime};
use crate::zab::{Change, Item};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;

/// To look at a node costs so much less than to change it.
const LOOKS: usize = 8;

/// The metadata tree. The root always exists.
#[derive(Clone, Debug)]
pub struct Tree {
    pub(super) nodes: Nodes,
    /// The sum over all nodes.
    pub(super) digest: Digest,
    /// Nodes that are being loaded, and counted in the digest already.
    pub(super) loading: Vec<(Key, Node)>,
    /// About what the nodes take in memory.
    pub(super) bytes: usize,
    /// How many nodes the last command touched or looked at.
    effort: usize,
    /// The nodes touched since the last [`App::begin_changes`], some of them more than once.
    changed: Touched,
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

    /// Applies the committed command of entry `txid`: what it did.
    pub fn change(&mut self, txid: Txid, time: WallTime, command: &[u8]) -> Outcome {
        debug_assert!(txid > self.newest, "entries are applied in their order");
        self.newest = txid;
        self.effort = 1;
        let (path, act) = command::read(command).map_err(|_| CommandError::Malformed)?;
        self.execute(At { txid, time }, path, act)
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
            Act::Delete => self.delete(at, &key, None),
            Act::DeleteAll(most) => self.delete(at, &key, Some(most as usize)),
            Act::Clear(most) => self.clear(at, &key, most as usize),
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

    /// Deletes a node, and what is below it if that may be, and is no more than `most` nodes.
    fn delete(&mut self, at: At, key: &Key, most: Option<usize>) -> Outcome {
        let stat = match self.nodes.get(key) {
            Some(node) => node.stat(),
            None => return Err(CommandError::NotFound),
        };
        if stat.children > 0 {
            let most = most.ok_or(CommandError::HasChildren)?;
            let below: Vec<Key> = self
                .nodes
                .range::<[u8], _>((Bound::Excluded(key.as_bytes()), Bound::Unbounded))
                .map(|(below, _)| below.clone())
                .take_while(|below| is_below(below, key))
                .take(most.saturating_add(1))
                .collect();
            if below.len() > most {
                self.effort += below.len() / LOOKS;
                return Err(CommandError::TooMany);
            }
            for key in below {
                self.remove(&key);
            }
        }
        self.remove(key);
        self.uncount(at, key);
        Ok(stat)
    }

    /// Deletes the last nodes at and below a node, at most `most` but at least one. What is below a
    /// node comes after it, so that nothing is left without its parent.
    fn clear(&mut self, at: At, key: &Key, most: usize) -> Outcome {
        let Some(stat) = self.nodes.get(key).map(Node::stat) else {
            return Err(CommandError::NotFound);
        };
        let end = end_of_subtree(key);
        let bounds = (Bound::Included(key.as_bytes()), Bound::Excluded(end.as_bytes()));
        let last = self.nodes.range::<[u8], _>(bounds).rev().map(|(key, _)| key.clone());
        let last: Vec<Key> = last.take(most.max(1)).collect();
        for gone in &last {
            self.remove(gone);
        }
        // Those that lost their parent lost it to this command; all others have one of the few nodes
        // above the first of them, and each of these lost children.
        let mut lost: BTreeMap<&str, u64> = BTreeMap::new();
        for parent in last.iter().filter_map(|gone| parent_key(gone)) {
            if self.nodes.contains_key(parent.as_bytes()) {
                *lost.entry(parent).or_default() += 1;
            }
        }
        for (parent, lost) in lost {
            let counted = self.count_child(at, parent, |children| children.saturating_sub(lost));
            assert!(counted, "a node had no parent");
        }
        if self.nodes.contains_key(key) { Err(CommandError::Unfinished) } else { Ok(stat) }
    }

    /// The parent of a node that is gone has a child less.
    fn uncount(&mut self, at: At, key: &Key) {
        if let Some(parent) = parent_key(key) {
            let counted = self.count_child(at, parent, |children| children.saturating_sub(1));
            assert!(counted, "a node had no parent");
        }
    }

    // All that depends on the nodes is kept up by what follows, and nowhere else.

    /// Sets the value of a node; `None` if there is none.
    fn set(&mut self, at: At, key: &Key, value: &[u8]) -> Option<Stat> {
        let node = self.nodes.get_mut(key)?;
        node.fetch();
        let before = node.stat();
        let old = is_held(&self.held, self.taking.as_ref(), key, &before).then(|| node.clone());
        let after = before.set(at.txid, at.time);
        self.digest = self.digest.minus(node.digest());
        self.bytes = self.bytes.saturating_sub(node.footprint());
        node.set(key, value, after);
        self.bytes += node.footprint();
        self.digest = self.digest.plus(node.digest());
        self.changed(key, Some(&before), old);
        Some(after)
    }

    /// Changes the number of children of a node; false if there is none.
    fn count_child(&mut self, at: At, key: &str, count: impl FnOnce(u64) -> u64) -> bool {
        let key = &Key::from(key);
        let Some(node) = self.nodes.get_mut(key) else { return false };
        let before = node.stat();
        let old = is_held(&self.held, self.taking.as_ref(), key, &before).then(|| node.clone());
        self.digest = self.digest.minus(node.digest());
        self.bytes = self.bytes.saturating_sub(node.footprint());
        node.restat(key, before.with_children(at.txid, count(before.children)));
        self.bytes += node.footprint();
        self.digest = self.digest.plus(node.digest());
        self.changed(key, Some(&before), old);
        true
    }

    fn insert(&mut self, key: Key, node: Node) {
        self.digest = self.digest.plus(node.digest());
        self.bytes += footprint(&key, &node);
        self.changed(&key, None, None);
        let old = self.nodes.insert(key, node);
        assert!(old.is_none(), "a node was made that existed");
    }

    fn remove(&mut self, key: &Key) {
        let Some(old) = self.nodes.remove(key) else { return };
        self.digest = self.digest.minus(old.digest());
        self.bytes = self.bytes.saturating_sub(footprint(key, &old));
        self.changed(key, Some(&old.stat()), Some(old));
    }

    /// Remembers that a node was changed: for the next checkpoint, unless it is listed already,
    /// and what it was before for the states that are held.
    fn changed(&mut self, key: &Key, before: Option<&Stat>, old: Option<Node>) {
        self.effort += 1;
        for held in self.held.values_mut() {
            held.keep(key, old.as_ref());
        }
        if let Some(taking) = &mut self.taking {
            taking.keep(key, before, old);
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

/// True if somebody wants to know what this node was before it changes.
fn is_held(
    held: &BTreeMap<ConnId, Held>,
    taking: Option<&Taking>,
    key: &Key,
    before: &Stat,
) -> bool {
    held.values().any(|held| held.wants(key))
        || taking.is_some_and(|taking| taking.wants(key, Some(before)))
}

/// About what a node takes in memory: its place in the map, and what is kept elsewhere.
pub(super) fn footprint(key: &Key, node: &Node) -> usize {
    /// The key and the node in a map whose nodes are not full.
    const PLACE: usize = 64;
    PLACE + key.footprint() + node.footprint()
}

/// Equal states, with the same changes still to be taken and the same states held.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        let pending = |tree: &Self| -> BTreeSet<Key> { tree.changed.keys().cloned().collect() };
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

    fn empty() -> Self {
        let root = Node::new("", b"", Stat::default());
        Self {
            nodes: BTreeMap::from([(Key::from(""), root)]),
            digest: Digest::ZERO,
            bytes: 0,
            effort: 0,
            changed: Touched::default(),
            taking: None,
            loading: Vec::new(),
            taken: Txid::ZERO,
            newest: Txid::ZERO,
            held: BTreeMap::new(),
        }
    }

    fn apply(&mut self, txid: Txid, time: WallTime, command: &Payload) -> Answer {
        Answer::Written(self.change(txid, time, command))
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
            Answer::Written(_) | Answer::Node(_) | Answer::List(None) | Answer::Status(_) => 1,
            Answer::List(Some(page)) => 1 + page.nodes.len(),
        }
    }

    fn effort(&self) -> usize {
        self.effort
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn grows(&self, command: &[u8]) -> bool {
        match command::read(command) {
            Ok((path, Act::Set(value))) => {
                let node = self.nodes.get(&Key::of(path));
                node.is_none_or(|node| node.value().len() < value.len())
            }
            Ok((_, act)) => matches!(act, Act::Add(_)),
            // It will be refused for what it is.
            Err(_) => false,
        }
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn begin_changes(&mut self) {
        assert!(self.taking.is_none(), "the changes before were not read to their end");
        let touched = core::mem::take(&mut self.changed);
        self.taking = Some(Taking::new(touched, self.taken, self.newest));
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
