//! Log entries and the chain that ties each to its whole history.

use crate::words::{Digest, Digester, Life, NodeId, Payload, Txid, WallTime};
use crate::zab::membership::quorum::Membership;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::Hash;

/// A place in the history of the log: an entry's txid and the digest of everything up to it.
/// Equal positions have equal histories.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Position {
    /// The last entry of the history.
    pub txid: Txid,
    /// The running digest over the history, this entry included.
    pub chain: Digest,
}

impl Position {
    /// The empty history.
    pub const ZERO: Self = Self { txid: Txid::ZERO, chain: Digest::ZERO };
}

/// Who asked for an entry: lets the node that took the request answer it when it applies the
/// entry, whichever leader committed it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin {
    /// Drawn at random at each start of the asking process, so that a restarted node never takes
    /// an old life's request for its own.
    pub boot: u64,
    /// Grows with each request of that life.
    pub seq: u64,
}

/// What an entry does.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Body {
    /// A command of the application; its outcome is decided when it is applied.
    Command(Payload),
    /// A new membership; its version is the entry's txid.
    Membership(Arc<Membership>),
    /// The present lives of some members, at least one, ascending by node. Changes no quorum.
    Lives(Vec<(NodeId, Life)>),
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// The entry's own name.
    pub txid: Txid,
    /// The entry before it in the log; a reader that holds another one has found a hole.
    pub prev: Txid,
    /// The leader's wall clock when it was proposed.
    pub time: WallTime,
    /// Whose request it is, if a client's.
    pub origin: Option<Origin>,
    /// What it does.
    pub body: Body,
    /// Digest of the whole history up to and including this entry.
    pub chain: Digest,
}

/// Why an entry does not continue a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Gap {
    /// Its predecessor is not the end of the history.
    NotNext {
        /// What the entry claims to follow.
        claims: Txid,
        /// What the history ends with.
        ends: Txid,
    },
    /// Its txid does not follow its predecessor's.
    Order(Txid),
    /// Its digest is not that of the history plus the entry.
    Chain(Txid),
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNext { claims, ends } => {
                write!(f, "an entry that follows {claims} where the log ends with {ends}")
            }
            Self::Order(txid) => write!(f, "entry {txid} is out of order"),
            Self::Chain(txid) => write!(f, "the digest of entry {txid} does not match its history"),
        }
    }
}

impl core::error::Error for Gap {}

impl Body {
    /// Bytes that an entry with this body takes, for limits.
    pub(crate) fn size(&self) -> usize {
        const FIXED: usize = 96;
        match self {
            Self::Command(payload) => FIXED + payload.len(),
            Self::Membership(membership) => FIXED + membership.members().len() * FIXED,
            Self::Lives(lives) => FIXED + size_of_val(lives.as_slice()),
        }
    }
}

impl Entry {
    /// Makes the entry `txid` that follows `after`.
    pub fn new(
        after: Position,
        txid: Txid,
        time: WallTime,
        origin: Option<Origin>,
        body: Body,
    ) -> Self {
        let mut entry = Self { txid, prev: after.txid, time, origin, body, chain: Digest::ZERO };
        entry.chain = entry.digest_after(after.chain);
        entry
    }

    /// The place in the history that this entry makes.
    pub fn position(&self) -> Position {
        Position { txid: self.txid, chain: self.chain }
    }

    /// Checks that this entry continues the history that ends at `after`: no hole, no disorder,
    /// no other content. Called on every send, receive and recovery.
    pub fn follows(&self, after: Position) -> Result<(), Gap> {
        if self.prev != after.txid {
            return Err(Gap::NotNext { claims: self.prev, ends: after.txid });
        }
        let in_order = if self.txid.epoch() == after.txid.epoch() {
            Some(self.txid) == after.txid.next()
        } else {
            self.txid.epoch() > after.txid.epoch() && self.txid.counter() == 1
        };
        if !in_order {
            return Err(Gap::Order(self.txid));
        }
        if self.chain != self.digest_after(after.chain) {
            return Err(Gap::Chain(self.txid));
        }
        Ok(())
    }

    /// Bytes that the entry takes, for limits: the body and a fixed allowance for the rest.
    pub fn size(&self) -> usize {
        self.body.size()
    }

    fn digest_after(&self, chain: Digest) -> Digest {
        let digester = Digester::after(chain)
            .number(self.txid.epoch().get())
            .number(self.txid.counter())
            .number(self.time.as_millis());
        let digester = match self.origin {
            Some(origin) => digester.number(origin.boot).number(origin.seq),
            None => digester,
        };
        match &self.body {
            Body::Command(payload) => digester.number(1).bytes(payload).finish(),
            Body::Membership(membership) => membership.digest(digester.number(2)).finish(),
            Body::Lives(lives) => {
                let start = digester.number(3).number(lives.len() as u64);
                let all = lives.iter().fold(start, |digester, (node, life)| {
                    digester.number(u64::from(node.get())).number(life.get())
                });
                all.finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Epoch;

    fn entry(after: Position, txid: Txid, text: &str) -> Entry {
        Entry::new(after, txid, WallTime::default(), None, Body::Command(text.as_bytes().into()))
    }

    #[test]
    fn an_entry_follows_only_the_history_it_was_made_for() {
        let e1 = Epoch::new(1);
        let first = entry(Position::ZERO, Txid::first(e1), "a");
        let other = entry(Position::ZERO, Txid::first(e1), "b");
        let second = entry(first.position(), Txid::new(e1, 2).unwrap(), "c");
        assert_eq!(first.follows(Position::ZERO), Ok(()));
        assert_eq!(second.follows(first.position()), Ok(()));
        assert_eq!(second.follows(other.position()), Err(Gap::Chain(second.txid)));
        assert!(matches!(second.follows(Position::ZERO), Err(Gap::NotNext { .. })));
        let skips = entry(second.position(), Txid::new(e1, 4).unwrap(), "d");
        assert_eq!(skips.follows(second.position()), Err(Gap::Order(skips.txid)));
        let next_epoch = entry(second.position(), Txid::first(Epoch::new(5)), "e");
        assert_eq!(next_epoch.follows(second.position()), Ok(()));
    }

    #[test]
    fn a_changed_body_breaks_the_chain() {
        let mut first = entry(Position::ZERO, Txid::first(Epoch::new(1)), "a");
        first.body = Body::Command(b"b".as_slice().into());
        assert_eq!(first.follows(Position::ZERO), Err(Gap::Chain(first.txid)));
    }
}
