//! What a node writes to its journal. The storage frames, numbers and checksums these payloads.

use crate::convert::{all, entry_id, epoch, need, node};
use crate::entries::put_append;
use crate::error::DecodeError;
use crate::wire;
use prost::Message as _;
use std::sync::Arc;
use zabkeeper_core::words::{ClusterId, Digest, Epoch, Incarnation, Txid};
use zabkeeper_core::zab::{Base, Identity, Lives, Membership, Position, Promise, Record};

/// The head of a journal segment: what the records before it add up to, without the entries.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SegmentHead {
    /// Whose journal it is.
    pub identity: Identity,
    /// The list of peers with which the directory was initialised.
    pub initial: Arc<Membership>,
    /// The highest promise.
    pub promise: Option<Promise>,
    /// `current_epoch`.
    pub current: Epoch,
    /// What is known to be committed, at least.
    pub committed: Txid,
    /// The start of the log.
    pub base: Base,
    /// The end of the log.
    pub last: Position,
    /// The lives of the disk.
    pub lives: Lives,
    /// True once the present life has entered an epoch.
    pub entered: bool,
}

/// Appends the record's bytes to `out`.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::Append { entries, commit } => put_append(2, entries, *commit, out),
        other => wire::put(&wire::Record::from(other), out),
    }
}

/// Reads a record.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    wire::Record::decode(bytes)?.try_into()
}

/// Appends the identity's bytes to `out`.
pub fn encode_identity(identity: Identity, out: &mut Vec<u8>) {
    wire::put(&wire::Identity::from(identity), out);
}

/// Reads an identity.
pub fn decode_identity(bytes: &[u8]) -> Result<Identity, DecodeError> {
    wire::Identity::decode(bytes)?.try_into()
}

/// Appends the head's bytes to `out`.
pub fn encode_head(head: &SegmentHead, out: &mut Vec<u8>) {
    wire::put(&wire::SegmentHead::from(head), out);
}

/// Reads a head.
pub fn decode_head(bytes: &[u8]) -> Result<SegmentHead, DecodeError> {
    wire::SegmentHead::decode(bytes)?.try_into()
}

impl From<&Record> for wire::Record {
    fn from(record: &Record) -> Self {
        use wire::record::Record as Wire;
        Self {
            record: Some(match record {
                Record::Promise(promise) => Wire::Promise((*promise).into()),
                Record::Append { .. } => unreachable!("entries are encoded as they are"),
                Record::Truncate(to) => Wire::Truncate((*to).into()),
                Record::Enter(epoch) => Wire::Enter(epoch.get()),
                Record::Install { base, stage, digest } => Wire::Install(wire::Install {
                    base: Some(base.into()),
                    stage: *stage,
                    digest: digest.get(),
                }),
                Record::Prune(base) => Wire::Prune(base.into()),
                Record::Commit(txid) => Wire::Commit((*txid).into()),
                Record::Begin(lives) => Wire::Begin(lives.into()),
            }),
        }
    }
}

impl TryFrom<wire::Record> for Record {
    type Error = DecodeError;

    fn try_from(wire: wire::Record) -> Result<Self, DecodeError> {
        use wire::record::Record as Wire;
        Ok(match wire.record.ok_or(DecodeError::Missing("record"))? {
            Wire::Promise(promise) => Self::Promise(promise.try_into()?),
            Wire::Append(append) => Self::Append {
                entries: all(append.entries)?,
                commit: append.commit.map_or(Ok(Txid::ZERO), Txid::try_from)?,
            },
            Wire::Truncate(to) => Self::Truncate(to.try_into()?),
            Wire::Enter(raw) => Self::Enter(epoch(raw, "enter")?),
            Wire::Install(install) => Self::Install {
                base: need(install.base, "install.base")?,
                stage: install.stage,
                digest: Digest::new(install.digest),
            },
            Wire::Prune(base) => Self::Prune(base.try_into()?),
            Wire::Commit(txid) => Self::Commit(entry_id(Some(txid), "commit")?),
            Wire::Begin(lives) => Self::Begin(lives.try_into()?),
        })
    }
}

impl From<Promise> for wire::Promise {
    fn from(promise: Promise) -> Self {
        Self { epoch: promise.epoch.get(), leader: promise.leader.get() }
    }
}

impl TryFrom<wire::Promise> for Promise {
    type Error = DecodeError;

    fn try_from(wire: wire::Promise) -> Result<Self, DecodeError> {
        Ok(Self {
            epoch: epoch(wire.epoch, "promise.epoch")?,
            leader: node(wire.leader, "promise.leader")?,
        })
    }
}

impl From<&Base> for wire::Base {
    fn from(base: &Base) -> Self {
        Self { at: Some(base.at.into()), membership: Some((&*base.membership).into()) }
    }
}

impl TryFrom<wire::Base> for Base {
    type Error = DecodeError;

    fn try_from(wire: wire::Base) -> Result<Self, DecodeError> {
        Ok(Self {
            at: need(wire.at, "base.at")?,
            membership: need(wire.membership, "base.membership")?,
        })
    }
}

impl From<Identity> for wire::Identity {
    fn from(identity: Identity) -> Self {
        Self {
            cluster: identity.cluster.get(),
            node: identity.node.get(),
            incarnation: identity.incarnation.get(),
        }
    }
}

impl TryFrom<wire::Identity> for Identity {
    type Error = DecodeError;

    fn try_from(wire: wire::Identity) -> Result<Self, DecodeError> {
        Ok(Self {
            cluster: ClusterId::new(wire.cluster),
            node: node(wire.node, "identity.node")?,
            incarnation: Incarnation::new(wire.incarnation),
        })
    }
}

impl From<&SegmentHead> for wire::SegmentHead {
    fn from(head: &SegmentHead) -> Self {
        Self {
            identity: Some(head.identity.into()),
            initial: Some((&*head.initial).into()),
            promise: head.promise.map(wire::Promise::from),
            current_epoch: head.current.get(),
            committed: Some(head.committed.into()),
            base: Some((&head.base).into()),
            last: Some(head.last.into()),
            lives: Some((&head.lives).into()),
            entered: head.entered,
        }
    }
}

impl TryFrom<wire::SegmentHead> for SegmentHead {
    type Error = DecodeError;

    fn try_from(wire: wire::SegmentHead) -> Result<Self, DecodeError> {
        Ok(Self {
            identity: need(wire.identity, "head.identity")?,
            initial: need(wire.initial, "head.initial")?,
            promise: wire.promise.map(Promise::try_from).transpose()?,
            current: Epoch::new(wire.current_epoch),
            committed: need(wire.committed, "head.committed")?,
            base: need(wire.base, "head.base")?,
            last: need(wire.last, "head.last")?,
            lives: need(wire.lives, "head.lives")?,
            entered: wire.entered,
        })
    }
}
