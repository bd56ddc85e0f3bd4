//! The tree in its most obvious form: a map of texts, every question answered by looking at all.

use crate::store::node::{Node, to_item};
use crate::store::{Command, CommandError, Found, Outcome, Page, Path, Stat};
use crate::words::{Digest, Epoch, Payload, Txid, WallTime};
use crate::zab::Item;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

#[derive(Clone, Default)]
pub(super) struct Naive(BTreeMap<String, (Payload, Stat)>);

/// The entry number `n` from 1, with a time of its own; a new epoch begins every ten.
pub(super) fn entry(n: u64) -> (Txid, WallTime) {
    let txid = Txid::new(Epoch::new(1 + n / 10), 1 + n % 10).unwrap();
    (txid, WallTime::from_millis(1_000_000 + 7 * n))
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').collect()
}

impl Naive {
    /// All paths begin with `/`; the root is empty text.
    pub(super) fn new() -> Self {
        Self([(String::new(), (b"".as_slice().into(), Stat::default()))].into())
    }

    fn text(path: &Path) -> String {
        path.to_string().trim_end_matches('/').to_string()
    }

    fn below<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a String> {
        let prefix = path.to_string() + "/";
        self.0.keys().filter(move |key| key.starts_with(&prefix))
    }

    fn children(&self, path: &str) -> u64 {
        self.below(path).filter(|key| parent(key) == Some(path)).count() as u64
    }

    pub(super) fn apply(&mut self, n: u64, command: &Command) -> Outcome {
        let path = Self::text(command.path());
        let (txid, time) = entry(n);
        if path.is_empty() {
            return Err(CommandError::Root);
        }
        match command {
            Command::Add { .. } if self.0.contains_key(&path) => Err(CommandError::Exists),
            Command::Add { value, .. } => Ok(self.create(n, &path, value.clone())),
            Command::Set { value, .. } => match self.0.get_mut(&path) {
                None => Ok(self.create(n, &path, value.clone())),
                Some((old, stat)) => {
                    *old = value.clone();
                    stat.version += 1;
                    stat.modified = txid;
                    stat.modified_at = time;
                    Ok(*stat)
                }
            },
            Command::Clear { path } => self.clear(n, path, usize::MAX),
            Command::Delete { recursive, .. } => {
                let stat = self.0.get(&path).ok_or(CommandError::NotFound)?.1;
                if stat.children > 0 && !recursive {
                    return Err(CommandError::HasChildren);
                }
                let gone: Vec<_> = self.below(&path).cloned().collect();
                for key in gone {
                    self.0.remove(&key);
                }
                self.0.remove(&path);
                self.child_changed(txid, &path);
                Ok(stat)
            }
        }
    }

    pub(super) fn clear(&mut self, n: u64, path: &Path, most: usize) -> Outcome {
        let path = Self::text(path);
        let (txid, _) = entry(n);
        let stat = match self.0.get(&path) {
            _ if path.is_empty() => return Err(CommandError::Root),
            None => return Err(CommandError::NotFound),
            Some((_, stat)) => *stat,
        };
        let mut all: Vec<String> = self.below(&path).cloned().chain([path.clone()]).collect();
        all.sort_by_key(|key| segments(key).iter().map(ToString::to_string).collect::<Vec<_>>());
        let gone: Vec<String> = all.iter().rev().take(most.max(1)).cloned().collect();
        gone.iter().for_each(|key| drop(self.0.remove(key)));
        let parents: BTreeMap<&str, &String> =
            gone.iter().map(|key| (parent(key).unwrap(), key)).collect();
        for (above, child) in parents {
            if self.0.contains_key(above) {
                self.child_changed(txid, child);
            }
        }
        if gone.len() < all.len() { Err(CommandError::Unfinished) } else { Ok(stat) }
    }

    fn create(&mut self, n: u64, path: &str, value: Payload) -> Stat {
        let (txid, time) = entry(n);
        let above = parent(path).unwrap();
        if !self.0.contains_key(above) {
            self.create(n, above, b"".as_slice().into());
        }
        let stat = Stat {
            created: txid,
            modified: txid,
            created_at: time,
            modified_at: time,
            ..Stat::default()
        };
        self.0.insert(path.to_string(), (value, stat));
        self.child_changed(txid, path);
        stat
    }

    fn child_changed(&mut self, txid: Txid, child: &str) {
        let above = parent(child).unwrap();
        let children = self.children(above);
        let stat = &mut self.0.get_mut(above).unwrap().1;
        stat.children = children;
        stat.children_version += 1;
        stat.children_changed = txid;
    }

    fn found(&self, path: &str, values: bool) -> Found {
        let (value, stat) = &self.0[path];
        Found {
            path: Path::parse(path).unwrap(),
            value: values.then(|| value.clone()),
            stat: *stat,
        }
    }

    pub(super) fn get(&self, path: &Path) -> Option<Found> {
        let path = Self::text(path);
        self.0.contains_key(&path).then(|| self.found(&path, true))
    }

    pub(super) fn list(
        &self,
        path: &Path,
        recursive: bool,
        after: Option<&Path>,
        limit: u32,
        values: bool,
    ) -> Option<Page> {
        let path = Self::text(path);
        if !self.0.contains_key(&path) {
            return None;
        }
        let after = after.map(Self::text);
        let mut keys: Vec<_> = self
            .below(&path)
            .filter(|key| recursive || parent(key) == Some(&path))
            .filter(|key| after.iter().all(|after| segments(key) > segments(after)))
            .collect();
        keys.sort_by_key(|key| segments(key));
        Some(Page {
            more: keys.len() > limit as usize,
            nodes: keys
                .into_iter()
                .take(limit as usize)
                .map(|key| self.found(key, values))
                .collect(),
        })
    }

    /// The whole state as a snapshot should give it.
    pub(super) fn items(&self) -> Vec<Item> {
        let mut nodes: Vec<_> = self.nodes().collect();
        nodes.sort_by(|(a, _), (b, _)| a.cmp(b));
        nodes.iter().map(|(key, node)| to_item(key, node)).collect()
    }

    /// The digest from scratch.
    pub(super) fn digest(&self) -> Digest {
        self.nodes().fold(Digest::ZERO, |sum, (_, node)| sum.plus(node.digest()))
    }

    fn nodes(&self) -> impl Iterator<Item = (String, Node)> {
        self.0.iter().map(|(path, (value, stat))| {
            let key = path.trim_start_matches('/').replace('/', "\0");
            let node = Node::new(&key, value, *stat);
            (key, node)
        })
    }
}
