//! Parts that several messages share, from the core's types to the wire's and, checked, back.

use crate::error::DecodeError;
use crate::{payloads, wire};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use zabkeeper_core::words::{
    Digest, Epoch, Incarnation, Life, NodeId, Payload, RefuseReason, Txid, WallTime,
};
use zabkeeper_core::zab::{Body, Entry, Lives, Member, Membership, Origin, Position, Recorded};

/// The content of a required field.
pub(crate) fn need<W, D>(field: Option<W>, name: &'static str) -> Result<D, DecodeError>
where
    D: TryFrom<W, Error = DecodeError>,
{
    field.ok_or(DecodeError::Missing(name))?.try_into()
}

/// The elements of a repeated field.
pub(crate) fn all<W, D>(list: Vec<W>) -> Result<Vec<D>, DecodeError>
where
    D: TryFrom<W, Error = DecodeError>,
{
    list.into_iter().map(D::try_from).collect()
}

/// A node's id, which is never 0.
pub(crate) fn node(raw: u32, name: &'static str) -> Result<NodeId, DecodeError> {
    match raw {
        0 => Err(DecodeError::Invalid(name)),
        raw => Ok(NodeId::new(raw)),
    }
}

/// The epoch of a leader, which is never 0.
pub(crate) fn epoch(raw: u64, name: &'static str) -> Result<Epoch, DecodeError> {
    match raw {
        0 => Err(DecodeError::Invalid(name)),
        raw => Ok(Epoch::new(raw)),
    }
}

/// A txid that names an entry.
pub(crate) fn entry_id(field: Option<wire::Txid>, name: &'static str) -> Result<Txid, DecodeError> {
    let txid: Txid = need(field, name)?;
    if txid.is_zero() {
        return Err(DecodeError::Invalid(name));
    }
    Ok(txid)
}

/// Shares the bytes with the encoder instead of copying them.
pub(crate) fn share(payload: &Payload) -> Bytes {
    struct Shared(Payload);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Shared(payload.clone()))
}

/// The bytes as the core keeps them.
pub(crate) fn payload(bytes: &Bytes) -> Payload {
    Payload::from(&**bytes)
}

impl From<Txid> for wire::Txid {
    fn from(txid: Txid) -> Self {
        Self { epoch: txid.epoch().get(), counter: txid.counter() }
    }
}

impl TryFrom<wire::Txid> for Txid {
    type Error = DecodeError;

    fn try_from(wire: wire::Txid) -> Result<Self, DecodeError> {
        Self::new(Epoch::new(wire.epoch), wire.counter).ok_or(DecodeError::Invalid("txid"))
    }
}

impl From<Position> for wire::Position {
    fn from(position: Position) -> Self {
        Self { txid: Some(position.txid.into()), chain: position.chain.get() }
    }
}

impl TryFrom<wire::Position> for Position {
    type Error = DecodeError;

    fn try_from(wire: wire::Position) -> Result<Self, DecodeError> {
        let txid: Txid = need(wire.txid, "position.txid")?;
        if txid.is_zero() && wire.chain != 0 {
            return Err(DecodeError::Invalid("position.chain"));
        }
        Ok(Self { txid, chain: Digest::new(wire.chain) })
    }
}

impl From<(u32, u32)> for wire::Versions {
    fn from((oldest, newest): (u32, u32)) -> Self {
        Self { oldest, newest }
    }
}

impl TryFrom<wire::Versions> for (u32, u32) {
    type Error = DecodeError;

    fn try_from(wire: wire::Versions) -> Result<Self, DecodeError> {
        if wire.oldest > wire.newest {
            return Err(DecodeError::Invalid("versions"));
        }
        Ok((wire.oldest, wire.newest))
    }
}

impl From<&Membership> for wire::Membership {
    fn from(membership: &Membership) -> Self {
        let members = membership.members().iter();
        Self {
            version: Some(membership.version().into()),
            members: members
                .map(|(id, member)| wire::Member {
                    node: id.get(),
                    voter: member.voter,
                    incarnation: member.incarnation.map(Incarnation::get),
                    election_addr: member.election_addr.clone(),
                    message_addr: member.message_addr.clone(),
                    life: member.life.map(wire::Recorded::from),
                })
                .collect(),
        }
    }
}

impl TryFrom<wire::Membership> for Membership {
    type Error = DecodeError;

    fn try_from(wire: wire::Membership) -> Result<Self, DecodeError> {
        if wire.members.is_empty() {
            return Err(DecodeError::Missing("membership.members"));
        }
        let mut members = BTreeMap::new();
        for member in wire.members {
            let id = node(member.node, "member.node")?;
            if members.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(DecodeError::Invalid("membership.members: their order"));
            }
            let member = Member {
                voter: member.voter,
                incarnation: member.incarnation.map(Incarnation::new),
                election_addr: member.election_addr,
                message_addr: member.message_addr,
                life: member.life.map(Recorded::try_from).transpose()?,
            };
            members.insert(id, member);
        }
        Ok(Self::new(need(wire.version, "membership.version")?, members))
    }
}

impl TryFrom<wire::Membership> for Arc<Membership> {
    type Error = DecodeError;

    fn try_from(wire: wire::Membership) -> Result<Self, DecodeError> {
        Membership::try_from(wire).map(Self::new)
    }
}

impl From<Recorded> for wire::Recorded {
    fn from(recorded: Recorded) -> Self {
        Self { at: Some(recorded.at.into()), life: recorded.life.get() }
    }
}

impl TryFrom<wire::Recorded> for Recorded {
    type Error = DecodeError;

    fn try_from(wire: wire::Recorded) -> Result<Self, DecodeError> {
        Ok(Self { at: entry_id(wire.at, "recorded.at")?, life: Life::new(wire.life) })
    }
}

impl From<&Lives> for wire::Lives {
    fn from(lives: &Lives) -> Self {
        Self {
            recorded: lives.recorded.map(wire::Recorded::from),
            drawn: lives.drawn.iter().map(|life| life.get()).collect(),
        }
    }
}

impl TryFrom<wire::Lives> for Lives {
    type Error = DecodeError;

    fn try_from(wire: wire::Lives) -> Result<Self, DecodeError> {
        if wire.drawn.len() > Self::KEPT {
            return Err(DecodeError::Invalid("lives.drawn: too many"));
        }
        Ok(Self {
            recorded: wire.recorded.map(Recorded::try_from).transpose()?,
            drawn: wire.drawn.into_iter().map(Life::new).collect(),
        })
    }
}

/// Present lives, as an entry records them.
pub(crate) fn node_lives(lives: &[(NodeId, Life)]) -> wire::NodeLives {
    let one = |(node, life): &(NodeId, Life)| wire::NodeLife { node: node.get(), life: life.get() };
    wire::NodeLives { lives: lives.iter().map(one).collect() }
}

fn to_node_lives(wire: wire::NodeLives) -> Result<Vec<(NodeId, Life)>, DecodeError> {
    let mut lives: Vec<(NodeId, Life)> = Vec::with_capacity(wire.lives.len());
    for one in wire.lives {
        let id = node(one.node, "entry.lives.node")?;
        if lives.last().is_some_and(|(last, _)| *last >= id) {
            return Err(DecodeError::Invalid("entry.lives: their order"));
        }
        lives.push((id, Life::new(one.life)));
    }
    if lives.is_empty() { Err(DecodeError::Missing("entry.lives")) } else { Ok(lives) }
}

impl From<Origin> for wire::Origin {
    fn from(origin: Origin) -> Self {
        Self { boot: origin.boot, seq: origin.seq }
    }
}

impl TryFrom<wire::Origin> for Origin {
    type Error = DecodeError;

    fn try_from(wire: wire::Origin) -> Result<Self, DecodeError> {
        Ok(Self { boot: wire.boot, seq: wire.seq })
    }
}

impl TryFrom<payloads::Entry> for Entry {
    type Error = DecodeError;

    fn try_from(wire: payloads::Entry) -> Result<Self, DecodeError> {
        use payloads::Body as Kind;
        let txid = entry_id(wire.txid, "entry.txid")?;
        let body = match wire.body.ok_or(DecodeError::Missing("entry.body"))? {
            Kind::Command(command) => Body::Command(command),
            Kind::Membership(membership) => Body::Membership(membership.try_into()?),
            Kind::Lives(lives) => Body::Lives(to_node_lives(lives)?),
        };
        if matches!(&body, Body::Membership(membership) if membership.version() != txid) {
            return Err(DecodeError::Invalid("entry.membership.version"));
        }
        Ok(Self {
            txid,
            prev: need(wire.prev, "entry.prev")?,
            time: WallTime::from_millis(wire.time_ms),
            origin: wire.origin.map(Origin::try_from).transpose()?,
            body,
            chain: Digest::new(wire.chain),
        })
    }
}

/// The number of a reason. The core may grow more: one that is not added here would be sent as "not
/// set", which every reader takes for a broken reply.
pub(crate) fn refuse_reason(why: RefuseReason) -> i32 {
    use wire::RefuseReason as Wire;
    i32::from(match why {
        RefuseReason::NoLeader => Wire::NoLeader,
        RefuseReason::Busy => Wire::Busy,
        RefuseReason::TooLarge => Wire::TooLarge,
        RefuseReason::Stopping => Wire::Stopping,
        RefuseReason::Full => Wire::Full,
        RefuseReason::NoSpace => Wire::NoSpace,
        RefuseReason::TimedOut => Wire::TimedOut,
    })
}

/// The reason of a number.
pub(crate) fn to_refuse_reason(value: i32) -> Result<RefuseReason, DecodeError> {
    use wire::RefuseReason as Wire;
    match Wire::try_from(value) {
        Ok(Wire::NoLeader) => Ok(RefuseReason::NoLeader),
        Ok(Wire::Busy) => Ok(RefuseReason::Busy),
        Ok(Wire::TooLarge) => Ok(RefuseReason::TooLarge),
        Ok(Wire::Stopping) => Ok(RefuseReason::Stopping),
        Ok(Wire::Full) => Ok(RefuseReason::Full),
        Ok(Wire::NoSpace) => Ok(RefuseReason::NoSpace),
        Ok(Wire::TimedOut) => Ok(RefuseReason::TimedOut),
        Ok(Wire::Unspecified) | Err(_) => {
            Err(DecodeError::Unknown { field: "refuse reason", value })
        }
    }
}
