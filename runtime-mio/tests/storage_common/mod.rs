//! What the storage tests share.
#![allow(dead_code, reason = "no test file uses all of it")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zabkeeper_core::words::{Digest, Epoch, Incarnation, Life, NodeId, Txid, WallTime};
use zabkeeper_core::zab::{Body, Change, Checkpoint, Entry, Item, Member, Membership, Position};
use zabkeeper_runtime_mio::storage::{Bootstrap, Items, Opened, Options, open};

/// A directory of this test's own, removed in the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("storage-{name}-{}-{n}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file system of this test's own, where the system lets us make one.
pub(crate) struct Mounted {
    pub(crate) dir: PathBuf,
    mount: Option<Scratch>,
}

impl Mounted {
    pub(crate) fn tmpfs(name: &str, options: &str) -> Option<Self> {
        let mount = Scratch::new(name);
        if let Err(why) = run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &text(&mount)]) {
            eprintln!("skipped: cannot mount a tmpfs ({why})");
            return None;
        }
        Some(Self { dir: mount.to_path_buf(), mount: Some(mount) })
    }

    /// Mounts an image of a file system; the error says why not.
    pub(crate) fn image(name: &str, image: &Path) -> Result<Self, String> {
        let mount = Scratch::new(name);
        run("mount", &["-o", "loop,noatime", &text(image), &text(&mount)])?;
        Ok(Self { dir: mount.to_path_buf(), mount: Some(mount) })
    }

    pub(crate) fn remount(&mut self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), &text(&self.dir)]).unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(why) = run("umount", &[&text(&self.dir)]) {
            // Busy for a moment, perhaps: then it goes when the last file is closed.
            eprintln!("{why}");
            let _ = run("umount", &["-l", &text(&self.dir)]);
        }
        drop(self.mount.take());
    }
}

/// Runs a program; the error is what it said.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output =
        Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// As in production, no two openings begin the same life.
static NEXT_LIFE: AtomicU64 = AtomicU64::new(1);

pub(crate) fn bootstrap(node: u32, members: u32, incarnation: u64) -> Bootstrap {
    let member = |id: u32| {
        let member = Member {
            voter: true,
            incarnation: None,
            life: None,
            election_addr: format!("host{id}:1"),
            message_addr: format!("host{id}:2"),
        };
        (NodeId::new(id), member)
    };
    Bootstrap {
        node: NodeId::new(node),
        membership: Arc::new(Membership::new(Txid::ZERO, (1..=members).map(member).collect())),
        incarnation: Incarnation::new(incarnation),
        secret: incarnation,
        life: Life::new(NEXT_LIFE.fetch_add(1, Ordering::Relaxed)),
    }
}

pub(crate) fn open_node(dir: &Path) -> Opened {
    open(dir, &Options::default(), &bootstrap(1, 3, 11)).unwrap_or_else(|error| panic!("{error}"))
}

/// Entries of one epoch, or of a later one, behind `last`.
pub(crate) fn chain(mut last: Position, epoch: u64, count: usize, size: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    for n in 0..count {
        let same = (last.txid.epoch().get() == epoch).then(|| last.txid.next().unwrap());
        let txid = same.unwrap_or(Txid::first(Epoch::new(epoch)));
        let body = Body::Command(vec![n as u8; size].into());
        let entry = Entry::new(last, txid, WallTime::default(), None, body);
        last = entry.position();
        entries.push(entry);
    }
    entries
}

pub(crate) fn item(key: &str, value: &[u8]) -> Item {
    Item { key: key.as_bytes().into(), value: value.into() }
}

pub(crate) fn checkpoint(
    at: Position,
    digest: u64,
    changes: &[(&str, Option<Vec<u8>>)],
) -> Checkpoint {
    let change = |(key, value): &(&str, Option<Vec<u8>>)| Change {
        key: key.as_bytes().into(),
        value: value.clone().map(Into::into),
    };
    Checkpoint { at, digest: Digest::new(digest), changes: changes.iter().map(change).collect() }
}

pub(crate) fn try_load(mut items: Items) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut found = BTreeMap::new();
    while let Some((key, value)) = items.next_element().map_err(|damage| damage.to_string())? {
        let key = String::from_utf8(key.to_vec()).unwrap();
        assert_eq!(found.insert(key, value.to_vec()), None, "an element twice");
    }
    Ok(found)
}

pub(crate) fn load(items: Items) -> BTreeMap<String, Vec<u8>> {
    try_load(items).unwrap()
}

/// All paths below a directory, sorted.
pub(crate) fn listing(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            names.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            if path.is_dir() {
                dirs.push(path);
            }
        }
    }
    names.retain(|name| name != "LOCK");
    names.sort();
    names
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    for name in listing(from) {
        let (source, target) = (from.join(&name), to.join(&name));
        if source.is_dir() {
            fs::create_dir_all(target).unwrap();
        } else {
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(source, target).unwrap();
        }
    }
}
