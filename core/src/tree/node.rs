//! One node: its place in memory, its share of the digest, its bytes as an element of a snapshot
//! or checkpoint.

use super::command::MAX_VALUE_BYTES;
use super::key::Key;
use super::path::Path;
use super::types::Stat;
use super::wire::{DecodeError, Reader, put_number, put_txid};
use crate::digest::{Digest, Digester};
use crate::entry::Payload;
use crate::ids::Txid;
use crate::message::Item;
use crate::time::WallTime;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The first byte of every element. A new form gets a new byte.
const FORMAT: u8 = 1;

/// A value and a stat. Most nodes are leaves that were set once: only the others pay for a whole
/// stat.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub(super) value: Payload,
    created: Txid,
    created_at: WallTime,
    /// The whole stat, unless it is that of a leaf just created. Equal stats have equal forms.
    whole: Option<Box<Stat>>,
}

impl Node {
    pub(super) fn new(value: Payload, stat: Stat) -> Self {
        let mut node =
            Self { value, created: stat.created, created_at: stat.created_at, whole: None };
        if stat != node.stat() {
            node.whole = Some(Box::new(stat));
        }
        node
    }

    pub(super) fn stat(&self) -> Stat {
        match &self.whole {
            Some(whole) => **whole,
            None => Stat::created(self.created, self.created_at),
        }
    }

    /// Gives the node another stat.
    pub(super) fn set_stat(&mut self, stat: Stat) {
        self.created = stat.created;
        self.created_at = stat.created_at;
        match &mut self.whole {
            // Mostly there is room for it already.
            Some(whole) if stat != Stat::created(stat.created, stat.created_at) => **whole = stat,
            _ => self.whole = Self::new(self.value.clone(), stat).whole,
        }
    }

    /// What the node adds to the digest of the tree.
    pub(super) fn digest(&self, key: &str) -> Digest {
        self.value_digest(key).plus(stat_digest(key, &self.stat()))
    }

    /// The value's share, apart from the stat's: a child that comes or goes changes the stat of a
    /// node whose value may be large. An empty value counts nothing.
    fn value_digest(&self, key: &str) -> Digest {
        if self.value.is_empty() {
            return Digest::ZERO;
        }
        Digester::after(Digest::ZERO).number(1).bytes(key.as_bytes()).bytes(&self.value).finish()
    }

    /// The node as an element: format, stat, value.
    pub(super) fn encode(&self) -> Payload {
        let stat = self.stat();
        let mut out = Vec::with_capacity(self.value.len() + 48);
        out.push(FORMAT);
        put_txid(&mut out, stat.created);
        put_txid(&mut out, stat.modified);
        put_number(&mut out, stat.created_at.as_millis());
        put_number(&mut out, stat.modified_at.as_millis());
        put_number(&mut out, stat.version);
        put_number(&mut out, stat.children_version);
        put_txid(&mut out, stat.children_changed);
        put_number(&mut out, stat.children);
        out.extend_from_slice(&self.value);
        out.into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        let format = reader.byte()?;
        if format != FORMAT {
            return Err(DecodeError::Format(format));
        }
        // Fields are read in the order in which they are written here.
        let stat = Stat {
            created: reader.txid()?,
            modified: reader.txid()?,
            created_at: reader.time()?,
            modified_at: reader.time()?,
            version: reader.number()?,
            children_version: reader.number()?,
            children_changed: reader.txid()?,
            children: reader.number()?,
        };
        if reader.0.len() > MAX_VALUE_BYTES {
            return Err(DecodeError::ValueTooLarge(reader.0.len()));
        }
        Ok(Self::new(reader.0.into(), stat))
    }
}

/// The stat's share of the digest. The stat of a root that nothing has touched counts nothing, so
/// that the digest of an empty tree is zero; no other node can have it.
pub(super) fn stat_digest(key: &str, stat: &Stat) -> Digest {
    if *stat == Stat::default() {
        return Digest::ZERO;
    }
    let txid =
        |digester: Digester, txid: Txid| digester.number(txid.epoch().get()).number(txid.counter());
    let digester = Digester::after(Digest::ZERO).number(2).bytes(key.as_bytes());
    let digester = txid(txid(digester, stat.created), stat.modified)
        .number(stat.created_at.as_millis())
        .number(stat.modified_at.as_millis())
        .number(stat.version)
        .number(stat.children_version);
    txid(digester, stat.children_changed).number(stat.children).finish()
}

/// A node as an element of a snapshot.
pub(super) fn to_item(key: &str, node: &Node) -> Item {
    Item { key: key.as_bytes().into(), value: node.encode() }
}

/// The key and node of an element from outside.
pub(super) fn from_item(item: &Item) -> Result<(Key, Node), DecodeError> {
    let key = core::str::from_utf8(&item.key).map_err(|_| DecodeError::Utf8)?;
    Path::parse_key(key).map_err(DecodeError::Path)?;
    Ok((key.into(), Node::decode(&item.value)?))
}

impl Stat {
    /// The stat of a node that this entry creates.
    pub(super) fn created(txid: Txid, time: WallTime) -> Self {
        Self {
            created: txid,
            modified: txid,
            created_at: time,
            modified_at: time,
            ..Self::default()
        }
    }

    /// The last entry that changed anything about the node.
    pub(super) fn touched(&self) -> Txid {
        self.modified.max(self.children_changed)
    }

    /// The stat after this entry set the value.
    pub(super) const fn set(mut self, txid: Txid, time: WallTime) -> Self {
        self.modified = txid;
        self.modified_at = time;
        self.version = self.version.saturating_add(1);
        self
    }

    /// The stat after this entry added or deleted a child.
    pub(super) const fn with_children(mut self, txid: Txid, children: u64) -> Self {
        self.children_version = self.children_version.saturating_add(1);
        self.children_changed = txid;
        self.children = children;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use proptest::prelude::*;

    fn txid(epoch: u64, counter: u64) -> Txid {
        Txid::new(Epoch::new(epoch), counter).unwrap()
    }

    #[test]
    fn format_is_frozen() {
        // State stores hold these bytes: a change here is a change of format.
        let stat = Stat {
            created: txid(1, 2),
            modified: txid(3, 300),
            created_at: WallTime::from_millis(4),
            modified_at: WallTime::from_millis(5),
            version: 6,
            children_version: 7,
            children_changed: txid(8, 9),
            children: 10,
        };
        let node = Node::new(b"xy".as_slice().into(), stat);
        let bytes = b"\x01\x01\x02\x03\xac\x02\x04\x05\x06\x07\x08\x09\x0axy";
        assert_eq!(node.encode().as_slice(), bytes);
        assert_eq!(Node::decode(bytes), Ok(node.clone()));
        assert_eq!(to_item("a\0b", &node).key.as_slice(), b"a\0b");
        assert_eq!(
            alloc::format!("{} {}", node.digest("a\0b"), stat_digest("a\0b", &stat)),
            "53e793772a2f9fda 21c980aa22b42413"
        );
    }

    #[test]
    fn keys_from_outside_are_checked() {
        let value = Node::new(b"".as_slice().into(), Stat::default()).encode();
        for (key, good) in [
            (b"a\0b".as_slice(), true),
            (b"", true),
            (b"a/b", false),
            (b"\0a", false),
            (b"a\0", false),
            (b"a\0..", false),
            (b"\xff", false),
        ] {
            let item = Item { key: key.into(), value: value.clone() };
            assert_eq!(from_item(&item).is_ok(), good, "{key:?}");
        }
    }

    #[test]
    fn leaves_are_lean() {
        assert!(size_of::<Node>() <= 48);
        let fresh = Stat::created(txid(1, 1), WallTime::from_millis(7));
        assert!(Node::new(b"".as_slice().into(), fresh).whole.is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_node_in_its_one_form_or_an_error(
            bytes in prop::collection::vec(0..3u8, 0..16),
        ) {
            let bytes: Vec<u8> = core::iter::once(FORMAT).chain(bytes).collect();
            if let Ok(node) = Node::decode(&bytes) {
                prop_assert_eq!(node.encode(), Payload::from(bytes));
            }
        }
    }
}
