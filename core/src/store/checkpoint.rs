//! The changes for a checkpoint, read in parts while the tree changes on: the keys of all nodes that
//! were touched before it began, and what those of them were that were touched again since.
//!
//! There may be millions, and nothing here takes longer than a part of them does: the keys are
//! sorted in runs of bounded length as they come, and the runs are merged as they are read.

use super::key::Key;
use super::node::{Node, Nodes};
use super::types::Stat;
use crate::words::Txid;
use crate::zab::Change;
use alloc::collections::{BTreeMap, BinaryHeap};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::mem;

/// Keys that are sorted at a time.
const RUN: usize = 16 << 10;

/// The keys of nodes that were touched, in runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Touched {
    /// Each in falling order, without doubles.
    runs: Vec<Vec<Key>>,
    /// The last ones, as they came.
    tail: Vec<Key>,
}

/// Changes that are being read.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    /// What is left of the runs but for their first keys, each the next one last.
    runs: Vec<Vec<Key>>,
    /// The first key of each run, with the number of the run.
    heads: BinaryHeap<Reverse<(Key, usize)>>,
    /// The last key read.
    cursor: Option<Key>,
    /// The nodes that exist and are not read yet were touched after the first of these, not after
    /// the second.
    span: (Txid, Txid),
    /// What nodes that are not read yet were, if they changed since; `None` for those that did not
    /// exist.
    kept: BTreeMap<Key, Option<Node>>,
}

impl Touched {
    /// Adds a key, which may be there already.
    pub(super) fn push(&mut self, key: Key) {
        self.tail.push(key);
        if self.tail.len() >= RUN {
            self.end_run();
        }
    }

    fn end_run(&mut self) {
        let mut run = mem::take(&mut self.tail);
        run.sort_unstable_by(|a, b| b.cmp(a));
        run.dedup();
        self.runs.push(run);
    }

    /// All keys, some of them more than once.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.runs.iter().flatten().chain(&self.tail)
    }
}

impl Taking {
    /// The changes of the nodes that were touched after `from`, and not after `to`.
    pub(super) fn new(mut touched: Touched, from: Txid, to: Txid) -> Self {
        touched.end_run();
        let mut taking = Self {
            runs: touched.runs,
            heads: BinaryHeap::new(),
            cursor: None,
            span: (from, to),
            kept: BTreeMap::new(),
        };
        for run in 0..taking.runs.len() {
            taking.advance(run);
        }
        taking
    }

    /// True if it must be told what this node is before it changes. Called for every change while a
    /// checkpoint is read: a node that exists tells by its stat whether it is among the changes.
    pub(super) fn wants(&self, key: &Key, before: Option<&Stat>) -> bool {
        if self.cursor.as_ref().is_some_and(|cursor| key <= cursor) {
            return false;
        }
        match before.map(Stat::touched) {
            Some(touched) => self.span.0 < touched && touched <= self.span.1,
            None => self.lists(key) && !self.kept.contains_key(key),
        }
    }

    /// True if the node is among the changes that are not read yet.
    fn lists(&self, key: &Key) -> bool {
        self.heads.iter().any(|Reverse((head, _))| head == key)
            || self.runs.iter().any(|run| run.binary_search_by(|other| key.cmp(other)).is_ok())
    }

    /// Remembers a node that is changing.
    pub(super) fn keep(&mut self, key: &Key, before: Option<&Stat>, old: Option<Node>) {
        if self.wants(key, before) {
            self.kept.insert(key.clone(), old);
        }
    }

    /// The next changes, at most `max` but at least one if there is any, in the order of their
    /// keys; and true if they are the last.
    pub(super) fn read(&mut self, nodes: &Nodes, max: usize) -> (Vec<Change>, bool) {
        let mut changes = Vec::new();
        while changes.len() < max.max(1)
            && let Some(key) = self.next()
        {
            let value = match self.kept.remove(&key) {
                Some(old) => old.as_ref().map(Node::encode),
                None => nodes.get(&key).map(Node::encode),
            };
            changes.push(Change { key: key.as_bytes().into(), value });
            self.cursor = Some(key);
        }
        (changes, self.heads.is_empty())
    }

    /// Takes the next key.
    fn next(&mut self) -> Option<Key> {
        let Reverse((key, run)) = self.heads.pop()?;
        self.advance(run);
        while let Some(Reverse((other, run))) = self.heads.peek()
            && *other == key
        {
            let run = *run;
            self.heads.pop();
            self.advance(run);
        }
        Some(key)
    }

    /// Puts the next key of a run among the heads.
    fn advance(&mut self, run: usize) {
        if let Some(key) = self.runs.get_mut(run).and_then(Vec::pop) {
            self.heads.push(Reverse((key, run)));
        }
    }
}

/// The same changes still to be read.
impl PartialEq for Taking {
    fn eq(&self, other: &Self) -> bool {
        let left = |taking: &Self| {
            let heads = taking.heads.iter().map(|Reverse((key, _))| key);
            let mut keys: Vec<Key> = heads.chain(taking.runs.iter().flatten()).cloned().collect();
            keys.sort_unstable();
            keys.dedup();
            keys
        };
        self.kept == other.kept && left(self) == left(other)
    }
}

impl Eq for Taking {}
