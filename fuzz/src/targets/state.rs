//! What the tree is made of: commands from the log, elements from snapshots and checkpoints.

use crate::input::Input;
use zabkeeper_core::replica::App;
use zabkeeper_core::store::{Command, Tree};
use zabkeeper_core::words::{ConnId, Epoch, Txid, WallTime};

/// A log of commands, each preceded by its length: what is a command is one in one form only, and
/// a tree that applied them all goes through a snapshot unharmed.
pub fn tree_commands(input: &[u8]) {
    let mut tree = Tree::empty();
    for (command, txid) in parts(input).zip(1..) {
        if let Ok(decoded) = Command::decode(command) {
            assert_eq!(decoded.encode().as_slice(), command, "{decoded:?}");
        }
        let txid = Txid::new(Epoch::new(1), txid).expect("a txid");
        let _ = tree.apply(txid, WallTime::from_millis(txid.counter()), &command.into());
    }
    tree.begin_changes();
    let _ = tree.read_changes(usize::MAX);
    assert_eq!(reload(&mut tree).as_ref().map(App::digest), Some(tree.digest()));
}

/// Elements, each a length and a key and a length and a value: what makes a tree is the tree that
/// its own snapshot makes.
pub fn snapshots(input: &[u8]) {
    let mut tree = Tree::empty();
    let parts: Vec<&[u8]> = parts(input).collect();
    let mut pairs = parts.chunks_exact(2);
    let loaded = pairs.all(|pair| tree.load(pair[0], pair[1]).is_ok());
    if loaded && tree.finish_load(LATE).is_ok() {
        let digest = tree.digest();
        let again = reload(&mut tree).expect("a good tree makes a good snapshot");
        assert_eq!(again.digest(), digest);
        assert_eq!(again.len(), tree.len());
    }
}

/// After every entry.
const LATE: Txid = Txid::first(Epoch::new(u64::MAX));

/// A tree made from the snapshot of another.
fn reload(tree: &mut Tree) -> Option<Tree> {
    let id = ConnId::new(1);
    tree.open_snapshot(id);
    let mut again = Tree::empty();
    loop {
        let (items, last) = tree.read_snapshot(id, 64);
        items.iter().try_for_each(|item| again.load(&item.key, &item.value)).ok()?;
        if last {
            break;
        }
    }
    again.finish_load(LATE).ok()?;
    Some(again)
}

/// The parts of an input: each a length byte and that many bytes, as far as there are.
fn parts(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut input = Input(input);
    std::iter::from_fn(move || {
        if input.is_empty() {
            return None;
        }
        let length = usize::from(input.byte()).min(input.0.len());
        let (part, rest) = input.0.split_at(length);
        input.0 = rest;
        Some(part)
    })
}
