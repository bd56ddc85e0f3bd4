//! One order for all: Integrity (1), TotalOrder (2), Agreement (3), LocalPrimaryOrder (4),
//! GlobalPrimaryOrder (5), LogMatching (9), NoGap (20), StateDigest (21).
//!
//! An entry's chain digests its whole history, so comparing chains compares histories.

use super::{Check, ensure};
use crate::world::host::Host;
use std::collections::{BTreeMap, BTreeSet};
use zabkeeper_core::replica::App;
use zabkeeper_core::store::{Answer, Command, Found, Outcome, Path, Query, Tree};
use zabkeeper_core::words::{Digest, NodeId, Payload, Txid};
use zabkeeper_core::zab::{Body, Entry, Origin, Position, Status};

/// What was proposed and what was committed, ever, by anyone.
#[derive(Debug)]
pub struct Order {
    proposed: BTreeMap<Txid, Digest>,
    committed: Vec<Entry>,
    places: BTreeMap<Txid, usize>,
    origins: BTreeSet<Origin>,
    commands: BTreeMap<Payload, Txid>,
    formed_at: Option<Txid>,
    oracle: Tree,
    digests: BTreeMap<Txid, Digest>,
    outcomes: BTreeMap<Txid, Outcome>,
    keys: BTreeMap<Path, Vec<(Txid, Answer)>>,
}

impl Default for Order {
    fn default() -> Self {
        let oracle = Tree::empty();
        let root = Path::root();
        let empty = oracle.query(&Query::Get { path: root.clone() });
        Self {
            proposed: BTreeMap::new(),
            committed: Vec::new(),
            places: BTreeMap::new(),
            origins: BTreeSet::new(),
            commands: BTreeMap::new(),
            formed_at: None,
            digests: BTreeMap::from([(Txid::ZERO, oracle.digest())]),
            oracle,
            outcomes: BTreeMap::new(),
            keys: BTreeMap::from([(root, vec![(Txid::ZERO, empty)])]),
        }
    }
}

impl Order {
    /// The last committed entry.
    pub fn committed(&self) -> Position {
        self.committed.last().map_or(Position::ZERO, Entry::position)
    }

    /// All committed entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.committed
    }

    /// The committed entry of this name, or the empty history for zero.
    pub fn committed_at(&self, txid: Txid) -> Option<Position> {
        if txid.is_zero() {
            return Some(Position::ZERO);
        }
        self.entry(txid).map(Entry::position)
    }

    /// The committed entry of this name.
    pub fn entry(&self, txid: Txid) -> Option<&Entry> {
        self.committed.get(*self.places.get(&txid)?)
    }

    /// The last committed entry of an epoch below this one.
    pub fn committed_before(&self, epoch: zabkeeper_core::words::Epoch) -> Position {
        let end = self.committed.partition_point(|entry| entry.txid.epoch() < epoch);
        end.checked_sub(1)
            .and_then(|index| self.committed.get(index))
            .map_or(Position::ZERO, Entry::position)
    }

    /// The chain under which an entry was proposed.
    pub fn proposed_chain(&self, txid: Txid) -> Option<Digest> {
        if txid.is_zero() {
            return Some(Digest::ZERO);
        }
        self.proposed.get(&txid).copied()
    }

    /// The entry that made the first membership, once it is committed.
    pub fn formed_at(&self) -> Option<Txid> {
        self.formed_at
    }

    /// Bytes of the committed entries after one and up to another.
    pub fn bytes_between(&self, after: Txid, upto: Txid) -> u64 {
        let place = |txid: Txid| self.committed.partition_point(|entry| entry.txid <= txid);
        self.committed.get(place(after)..place(upto)).map_or(0, crate::world::size::entries)
    }

    /// The txid of the committed command with these bytes, of those that are unique.
    pub fn command(&self, bytes: &Payload) -> Option<Txid> {
        self.commands.get(bytes).copied()
    }

    /// What the command of an entry led to.
    pub fn outcome(&self, txid: Txid) -> Option<&Outcome> {
        self.outcomes.get(&txid)
    }

    /// True if this is the right answer after the entry `at`. A page of a listing may end early if
    /// it says so.
    pub fn explains(&self, query: &Query, at: Txid, answer: &Answer) -> bool {
        match (query, answer) {
            (Query::Get { path }, Answer::Node(found)) => self.found(path, at) == found.as_ref(),
            (Query::List { path, .. }, Answer::List(None)) => self.found(path, at).is_none(),
            (Query::List { path, recursive, after, limit, values }, Answer::List(Some(page))) => {
                let below = self.keys.range(path..).take_while(|(key, _)| key.starts_with(path));
                let asked = |key: &Path| {
                    let listed = *recursive || key.parent().as_ref() == Some(path);
                    key != path && listed && after.as_ref().is_none_or(|after| key > after)
                };
                let there = below
                    .filter(|(key, _)| asked(key))
                    .filter_map(|(key, _)| self.found(key, at).cloned())
                    .map(|found| Found { value: found.value.filter(|_| *values), ..found });
                let there: Vec<Found> = there.collect();
                there.starts_with(&page.nodes)
                    && page.more == (page.nodes.len() < there.len())
                    && page.nodes.len() <= *limit as usize
                    && self.found(path, at).is_some()
            }
            _ => false,
        }
    }

    /// What a key was after the entry `at`.
    fn found(&self, path: &Path, at: Txid) -> Option<&Found> {
        let changes = self.keys.get(path)?;
        let end = changes.partition_point(|(txid, _)| *txid <= at);
        match changes.get(end.checked_sub(1)?)? {
            (_, Answer::Node(found)) => found.as_ref(),
            _ => None,
        }
    }

    /// A node logs an entry: whoever logs it, now or ever, under this name, logs the same.
    pub fn proposed(&mut self, node: NodeId, entry: &Entry) -> Check {
        let chain = *self.proposed.entry(entry.txid).or_insert(entry.chain);
        ensure!(
            chain == entry.chain,
            "LogMatching (9)",
            "{node} logs {} with the history {}, others have it with {chain}",
            entry.txid,
            entry.chain
        );
        Ok(())
    }

    /// A node's commit mark must lie on the one committed sequence, or extend it.
    pub fn extend(&mut self, host: &Host, status: &Status) -> Check {
        let upto = status.committed;
        let end = self.committed().txid;
        if upto <= end {
            ensure!(
                upto.is_zero() || self.places.contains_key(&upto),
                "TotalOrder (2)",
                "{} holds {upto} to be committed, which is not among the committed entries up to \
                 {end}",
                host.id
            );
            return self.agrees(host, upto);
        }
        let log = &host.issued.log;
        ensure!(
            log.base().at.txid <= end,
            "TotalOrder (2)",
            "{}'s log starts at {}, after the last committed entry {end}",
            host.id,
            log.base().at.txid
        );
        ensure!(
            log.position_at(upto).is_some(),
            "TotalOrder (2)",
            "{} holds {upto} to be committed but does not have it",
            host.id
        );
        self.agrees(host, end)?;
        let new: Vec<Entry> = log.after(end).take_while(|e| e.txid <= upto).cloned().collect();
        new.into_iter().try_for_each(|entry| self.commit(host.id, entry))
    }

    /// A node's own history at `txid`, if it still has it, is the committed one.
    fn agrees(&self, host: &Host, txid: Txid) -> Check {
        let Some(theirs) = host.issued.log.position_at(txid) else { return Ok(()) };
        ensure!(
            self.committed_at(txid) == Some(theirs),
            "Agreement (3)",
            "{} holds {txid} committed with the history {}, the committed one is {:?}",
            host.id,
            theirs.chain,
            self.committed_at(txid).map(|p| p.chain)
        );
        Ok(())
    }

    fn commit(&mut self, node: NodeId, entry: Entry) -> Check {
        if let Err(gap) = entry.follows(self.committed()) {
            ensure!(
                false,
                "TotalOrder (2), GlobalPrimaryOrder (5), NoGap (20)",
                "{node} commits {} but {gap}",
                entry.txid
            );
        }
        ensure!(
            self.proposed.get(&entry.txid) == Some(&entry.chain),
            "Integrity (1)",
            "{node} commits {}, which nobody proposed so",
            entry.txid
        );
        if let Some(origin) = entry.origin {
            ensure!(
                self.origins.insert(origin),
                "Integrity (1)",
                "request {origin:?} is committed twice, the second time as {}",
                entry.txid
            );
        }
        match &entry.body {
            Body::Command(command) => self.apply(&entry, command),
            Body::Lives(_) => {}
            Body::Membership(membership) => {
                ensure!(
                    membership.version() == entry.txid,
                    "ConfigMonotone (27)",
                    "the membership in {} has the version {}",
                    entry.txid,
                    membership.version()
                );
                self.formed_at.get_or_insert(entry.txid);
            }
        }
        self.digests.insert(entry.txid, self.oracle.digest());
        self.places.insert(entry.txid, self.committed.len());
        self.committed.push(entry);
        Ok(())
    }

    fn apply(&mut self, entry: &Entry, command: &Payload) {
        let outcome = self.oracle.change(entry.txid, entry.time, command);
        self.outcomes.insert(entry.txid, outcome);
        self.commands.entry(command.clone()).or_insert(entry.txid);
        if let Ok(command) = Command::decode(command) {
            self.touched(&command).into_iter().for_each(|path| self.keep(entry.txid, path));
        }
    }

    /// The keys that a command may change: its own, those above it, which it may create and which
    /// count their children, and those below it if it deletes them too.
    fn touched(&self, command: &Command) -> Vec<Path> {
        let path = command.path();
        let mut touched: Vec<Path> =
            std::iter::successors(Some(path.clone()), |path| path.parent()).collect();
        if let Command::Delete { recursive: true, .. } | Command::Clear { .. } = command {
            let known = self.keys.range(path..).map(|(below, _)| below);
            touched.extend(known.take_while(|below| below.starts_with(path)).cloned());
        }
        touched
    }

    /// Remembers what a key is after an entry, if that is new.
    fn keep(&mut self, at: Txid, path: Path) {
        let answer = self.oracle.query(&Query::Get { path: path.clone() });
        let changes = self.keys.entry(path).or_default();
        if changes.last().is_none_or(|(_, last)| *last != answer) {
            changes.push((at, answer));
        }
    }

    /// Equal positions have equal states.
    pub fn digest(&self, node: NodeId, status: &Status) -> Check {
        let Some(expected) = self.digests.get(&status.applied) else {
            ensure!(
                false,
                "Integrity (1)",
                "{node} has applied up to {}, which is not committed",
                status.applied
            );
            return Ok(());
        };
        ensure!(
            status.digest == *expected,
            "StateDigest (21)",
            "{node}'s state at {} has the digest {}, it should be {expected}",
            status.applied,
            status.digest
        );
        Ok(())
    }
}
