//! One node: its place in memory, its share of the digest, its bytes as an element of a snapshot
//! or checkpoint.

use super::command::MAX_VALUE_BYTES;
use super::key::Key;
use super::path::check_key;
use super::types::Stat;
use super::wire::{DecodeError, Reader, put_number, put_txid};
use crate::words::{Digest, Digester, Epoch, Payload, Txid, WallTime};
use crate::zab::Item;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The first byte of every element. A new form gets a new byte.
const FORMAT: u8 = 1;

/// The largest value that is kept beside its stat, and copied for an answer. Larger ones are shared.
const SMALL: usize = 1 << 10;

/// All nodes, in the order of their keys.
pub(super) type Nodes = BTreeMap<Key, Node>;

/// What the tree keeps for a key, in few bytes and few places: what is searched holds no more than
/// two words of it, and what is read and written when a node is set lies in one piece. Most nodes
/// are leaves with a small value; only the others, and those with numbers that are out of the
/// ordinary, pay for more.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// A head of [`HEAD`] bytes, and after it the value. Nobody else has them, so that they are
    /// overwritten in their place.
    Lean(Box<[u8]>),
    Rare(Box<Rare>),
}

/// A node that is not lean.
#[derive(Clone, Debug)]
pub(super) struct Rare {
    digest: Digest,
    stat: Stat,
    /// Shared with answers.
    value: Arc<[u8]>,
}

/// What a lean node has besides its value, as it stands before the value: each number in eight
/// bytes.
#[derive(Clone, Copy)]
struct Head {
    /// What the node adds to the digest of the tree. It is kept so that a node can be taken out of
    /// the sum without a look at its value.
    digest: Digest,
    stat: Packed,
}

/// Bytes of a head.
const HEAD: usize = 40;

impl Head {
    fn to_bytes(self) -> [u8; HEAD] {
        let Packed { created, modified, created_at, modified_at } = self.stat;
        let words = [self.digest.get(), created, modified, created_at, modified_at];
        let mut bytes = [0; HEAD];
        for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        bytes
    }

    fn of(bytes: &[u8; HEAD]) -> Self {
        let mut words = [0; HEAD / 8];
        for (word, place) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*place);
        }
        let [digest, created, modified, created_at, modified_at] = words;
        let stat = Packed { created, modified, created_at, modified_at };
        Self { digest: Digest::new(digest), stat }
    }
}

/// The head and the value of a lean node.
fn parts(bytes: &[u8]) -> (Head, &[u8]) {
    let (head, value) = bytes.split_first_chunk().expect("a lean node begins with its head");
    (Head::of(head), value)
}

/// The stat of a leaf, in half its size: numbers beside each other in words.
#[derive(Clone, Copy, Debug, Default)]
struct Packed {
    created: u64,
    modified: u64,
    /// With the low half of the version below it.
    created_at: u64,
    /// With the high half.
    modified_at: u64,
}

/// Bits of a txid's counter; what is left is the epoch's.
const COUNTER: u32 = 40;
/// Bits of half a version; what is left is the time's.
const HALF: u32 = 16;

impl Packed {
    fn new(stat: &Stat) -> Option<Self> {
        let leaf = Stat { children_version: 0, children_changed: Txid::ZERO, children: 0, ..*stat };
        if *stat != leaf || stat.version >> (2 * HALF) != 0 {
            return None;
        }
        let txid = |txid: Txid| join(txid.epoch().get(), txid.counter(), COUNTER);
        let time = |time: WallTime, half| join(time.as_millis(), half & ((1 << HALF) - 1), HALF);
        Some(Self {
            created: txid(stat.created)?,
            modified: txid(stat.modified)?,
            created_at: time(stat.created_at, stat.version)?,
            modified_at: time(stat.modified_at, stat.version >> HALF)?,
        })
    }

    fn get(self) -> Stat {
        let txid = |word| {
            let (epoch, counter) = split(word, COUNTER);
            Txid::new(Epoch::new(epoch), counter).expect("it was made from a txid")
        };
        let (created_at, low) = split(self.created_at, HALF);
        let (modified_at, high) = split(self.modified_at, HALF);
        Stat {
            created: txid(self.created),
            modified: txid(self.modified),
            created_at: WallTime::from_millis(created_at),
            modified_at: WallTime::from_millis(modified_at),
            version: high << HALF | low,
            ..Stat::default()
        }
    }
}

/// Two numbers in one word, the second in so many bits; `None` if one does not fit.
fn join(high: u64, low: u64, bits: u32) -> Option<u64> {
    let fits = high >> (u64::BITS - bits) == 0 && low >> bits == 0;
    fits.then_some(high << bits | low)
}

/// The reverse of [`join`].
fn split(word: u64, bits: u32) -> (u64, u64) {
    (word >> bits, word & ((1 << bits) - 1))
}

impl Node {
    pub(super) fn new(key: &str, value: &[u8], stat: Stat) -> Self {
        Self::with(digest(key, value, &stat), value, stat)
    }

    fn with(digest: Digest, value: &[u8], stat: Stat) -> Self {
        match Packed::new(&stat).filter(|_| value.len() <= SMALL) {
            Some(stat) => {
                let mut bytes = Vec::with_capacity(HEAD + value.len());
                bytes.extend_from_slice(&Head { digest, stat }.to_bytes());
                bytes.extend_from_slice(value);
                Self::Lean(bytes.into())
            }
            None => Self::Rare(Box::new(Rare { digest, stat, value: value.into() })),
        }
    }

    pub(super) fn value(&self) -> &[u8] {
        match self {
            Self::Lean(bytes) => parts(bytes).1,
            Self::Rare(rare) => &rare.value,
        }
    }

    /// What it takes in memory elsewhere, with what the allocator adds.
    pub(super) fn footprint(&self) -> usize {
        const ALLOCATOR: usize = 16;
        match self {
            Self::Lean(bytes) => ALLOCATOR + bytes.len(),
            Self::Rare(rare) => 3 * ALLOCATOR + size_of::<Rare>() + rare.value.len(),
        }
    }

    /// The value for an answer.
    pub(super) fn payload(&self) -> Payload {
        match self {
            Self::Lean(bytes) => parts(bytes).1.into(),
            Self::Rare(rare) => rare.value.clone().into(),
        }
    }

    pub(super) fn stat(&self) -> Stat {
        match self {
            Self::Lean(bytes) => parts(bytes).0.stat.get(),
            Self::Rare(rare) => rare.stat,
        }
    }

    /// Looks at all of a lean node's bytes, so that they come from memory together. Nothing hangs on
    /// what is seen. A processor that sets a node of a large tree without this waits twice: for the
    /// head, and when it has overwritten the value for the rest of that.
    pub(super) fn fetch(&self) {
        if let Self::Lean(bytes) = self {
            core::hint::black_box(bytes.iter().step_by(64).fold(0, |a, b| a ^ b));
        }
    }

    /// What the node adds to the digest of the tree.
    pub(super) fn digest(&self) -> Digest {
        match self {
            Self::Lean(bytes) => parts(bytes).0.digest,
            Self::Rare(rare) => rare.digest,
        }
    }

    /// Gives the node another value and stat.
    pub(super) fn set(&mut self, key: &str, value: &[u8], stat: Stat) {
        let digest = digest(key, value, &stat);
        if let Self::Lean(bytes) = self
            && let Some((head, old)) = bytes.split_first_chunk_mut()
            && old.len() == value.len()
            && let Some(stat) = Packed::new(&stat)
        {
            *head = Head { digest, stat }.to_bytes();
            old.copy_from_slice(value);
        } else {
            *self = Self::with(digest, value, stat);
        }
    }

    /// Gives the node another stat. Its value, which may be large, is not looked at.
    pub(super) fn restat(&mut self, key: &str, stat: Stat) {
        let without = self.digest().minus(stat_digest(key, &self.stat()));
        let digest = without.plus(stat_digest(key, &stat));
        match self {
            Self::Lean(bytes) => match Packed::new(&stat).zip(bytes.split_first_chunk_mut()) {
                Some((stat, (head, _))) => *head = Head { digest, stat }.to_bytes(),
                None => *self = Self::with(digest, self.value(), stat),
            },
            Self::Rare(rare) => (rare.digest, rare.stat) = (digest, stat),
        }
    }

    /// The node as an element: format, stat, value.
    pub(super) fn encode(&self) -> Payload {
        let stat = self.stat();
        let value = self.value();
        let mut out = Vec::with_capacity(value.len() + 48);
        out.push(FORMAT);
        put_txid(&mut out, stat.created);
        put_txid(&mut out, stat.modified);
        put_number(&mut out, stat.created_at.as_millis());
        put_number(&mut out, stat.modified_at.as_millis());
        put_number(&mut out, stat.version);
        put_number(&mut out, stat.children_version);
        put_txid(&mut out, stat.children_changed);
        put_number(&mut out, stat.children);
        out.extend_from_slice(value);
        out.into()
    }

    /// Reads the element of `key`.
    pub(super) fn decode(key: &str, bytes: &[u8]) -> Result<Self, DecodeError> {
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
        Ok(Self::new(key, reader.0, stat))
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        let rest = |node: &Self| (node.stat(), node.digest());
        self.value() == other.value() && rest(self) == rest(other)
    }
}

impl Eq for Node {}

/// What a node adds to the digest of the tree.
fn digest(key: &str, value: &[u8], stat: &Stat) -> Digest {
    value_digest(key, value).plus(stat_digest(key, stat))
}

/// The value's share of the digest, apart from the stat's. An empty value counts nothing.
fn value_digest(key: &str, value: &[u8]) -> Digest {
    if value.is_empty() {
        return Digest::ZERO;
    }
    Digester::after(Digest::ZERO).number(1).bytes(key.as_bytes()).bytes(value).finish()
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
pub(super) fn from_element(key: &[u8], value: &[u8]) -> Result<(Key, Node), DecodeError> {
    let key = core::str::from_utf8(key).map_err(|_| DecodeError::Utf8)?;
    check_key(key).map_err(DecodeError::Path)?;
    Ok((key.into(), Node::decode(key, value)?))
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
    use crate::words::Epoch;
    use alloc::vec;
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
        let node = Node::new("a\0b", b"xy", stat);
        let bytes = b"\x01\x01\x02\x03\xac\x02\x04\x05\x06\x07\x08\x09\x0axy";
        assert_eq!(node.encode().as_slice(), bytes);
        assert_eq!(Node::decode("a\0b", bytes), Ok(node.clone()));
        assert_eq!(to_item("a\0b", &node).key.as_slice(), b"a\0b");
        assert_eq!(
            alloc::format!("{} {}", node.digest(), stat_digest("a\0b", &stat)),
            "53e793772a2f9fda 21c980aa22b42413"
        );
    }

    #[test]
    fn keys_from_outside_are_checked() {
        let value = Node::new("", b"", Stat::default()).encode();
        for (key, good) in [
            (b"a\0b".as_slice(), true),
            (b"", true),
            (b"a/b", false),
            (b"\0a", false),
            (b"a\0", false),
            (b"a\0..", false),
            (b"\xff", false),
        ] {
            assert_eq!(from_element(key, &value).is_ok(), good, "{key:?}");
        }
    }

    #[test]
    fn leaves_are_lean() {
        assert_eq!(size_of::<Node>(), 16);
        let fresh = Stat::created(txid(1, 1), WallTime::from_millis(7));
        let set = fresh.set(txid(2, 9), WallTime::from_millis(8));
        let lean = |stat| matches!(Node::new("a", b"", stat), Node::Lean(_));
        assert!(lean(fresh) && lean(set));
        assert!(!lean(set.with_children(txid(2, 10), 1)));
    }

    #[test]
    fn every_stat_comes_back() {
        let fresh = Stat::created(txid(1, 1), WallTime::from_millis(7));
        let last = txid((1 << 24) - 1, (1 << 40) - 1);
        let limits = [last, txid(1 << 24, 1), txid(1, 1 << 40), txid(u64::MAX, u64::MAX)];
        let changed = limits.map(|created| Stat { created, modified: created, ..fresh });
        let versions =
            [u64::from(u32::MAX), 1 << 32, u64::MAX].map(|v| Stat { version: v, ..fresh });
        let mut node = Node::new("a", b"x", fresh);
        let far = WallTime::from_millis((1 << 48) - 1);
        let beyond = WallTime::from_millis(1 << 48);
        let times = [far, beyond].map(|at| Stat { created_at: at, modified_at: at, ..fresh });
        for stat in changed
            .into_iter()
            .chain(versions)
            .chain(times)
            .chain([fresh.with_children(last, 3), fresh])
        {
            node.restat("a", stat);
            assert_eq!(node.stat(), stat);
            assert_eq!(node, Node::new("a", b"x", stat));
        }
    }

    #[test]
    fn a_value_that_was_handed_out_does_not_change() {
        let stat = Stat::created(txid(1, 1), WallTime::from_millis(7));
        let values = [b"old".to_vec(), vec![1; SMALL], vec![2; SMALL + 1], vec![3; SMALL + 1]];
        let others = values.clone();
        for (before, after) in values.iter().flat_map(|a| others.iter().map(move |b| (a, b))) {
            let mut node = Node::new("a", before, stat);
            let answer = node.payload();
            node.set("a", after, stat.set(txid(1, 2), WallTime::from_millis(8)));
            assert_eq!((answer.as_slice(), node.value()), (&**before, &**after));
            node.restat("a", stat);
            assert_eq!(node, Node::new("a", after, stat));
        }
    }

    #[test]
    fn small_values_are_overwritten_in_their_place_and_large_ones_are_shared() {
        let stat = Stat::created(txid(1, 1), WallTime::from_millis(7));
        let mut node = Node::new("a", b"old", stat);
        let place = node.value().as_ptr();
        node.set("a", b"new", stat);
        assert_eq!((node.value(), node.value().as_ptr()), (b"new".as_slice(), place));
        let large = Node::new("a", &[1; SMALL + 1], stat);
        assert_eq!(large.payload().as_ptr(), large.payload().as_ptr());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_node_in_its_one_form_or_an_error(
            bytes in prop::collection::vec(0..3u8, 0..16),
        ) {
            let bytes: Vec<u8> = core::iter::once(FORMAT).chain(bytes).collect();
            if let Ok(node) = Node::decode("a", &bytes) {
                prop_assert_eq!(node.encode(), bytes.into());
            }
        }
    }
}
