//! Messages between nodes.

use crate::convert::{all, epoch, need, node, payload, refuse_reason, share, to_refuse_reason};
use crate::entries::{Entries, put_message};
use crate::error::DecodeError;
use crate::frame::{self, Frame, Kind};
use crate::wire::peer_message::Message as Wire;
use crate::{batches, payloads, wire};
use prost::Message as _;
use zabkeeper_core::words::{ClusterId, Digest, Epoch, Incarnation, Micros, Payload, Txid};
use zabkeeper_core::zab::{
    EpochAck, FollowerInfo, Forwarded, Message, Origin, SnapshotHead, Staged,
};

/// Appends the message to `out` as a whole frame.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    let begun = frame::begin(out, Kind::Peer);
    match message {
        Message::LogEntries { entries } => put_message(10, 0, Entries { tag: 1, entries }, out),
        Message::Propose { epoch, entries } => {
            put_message(15, epoch.get(), Entries { tag: 2, entries }, out);
        }
        other => wire::PeerMessage { message: Some(other.into()) }.encode_raw(out),
    }
    frame::finish(out, begun);
}

/// Reads the message of a frame.
pub fn decode(frame: &Frame<'_>) -> Result<Message, DecodeError> {
    if let Some(message) = batches::read(frame.body()) {
        return Ok(message);
    }
    let message = wire::PeerMessage::decode(frame.body())?;
    let message = message.message.ok_or(DecodeError::Missing("message"))?;
    message.try_into()
}

impl From<&Message> for Wire {
    fn from(message: &Message) -> Self {
        match message {
            Message::FollowerInfo(info) => Self::FollowerInfo(info.into()),
            Message::Rejected(why) => Self::Rejected(why.into()),
            Message::LeaderInfo { epoch, client_addr, ping, sync } => {
                Self::LeaderInfo(wire::LeaderInfo {
                    epoch: epoch.get(),
                    client_addr: client_addr.clone(),
                    ping: ping.get(),
                    sync: sync.get(),
                })
            }
            Message::EpochAck(ack) => Self::EpochAck((*ack).into()),
            Message::EpochNack { accepted } => {
                Self::EpochNack(wire::EpochNack { accepted: accepted.get() })
            }
            Message::Truncate { to } => Self::Truncate((*to).into()),
            Message::Snapshot(head) => Self::Snapshot(head.into()),
            Message::SnapshotResume { at, from } => {
                Self::SnapshotResume(wire::SnapshotResume { at: Some((*at).into()), from: *from })
            }
            Message::SnapshotChunk { from, bytes, last } => {
                Self::SnapshotChunk(wire::SnapshotChunk {
                    from: *from,
                    bytes: share(bytes),
                    last: *last,
                })
            }
            Message::SnapshotChunkAck { upto, done } => {
                Self::SnapshotChunkAck(wire::SnapshotChunkAck { upto: *upto, done: *done })
            }
            Message::LogEntriesAck { upto } => Self::LogEntriesAck((*upto).into()),
            Message::NewLeader { epoch, end } => {
                Self::NewLeader(wire::NewLeader { epoch: epoch.get(), end: Some((*end).into()) })
            }
            Message::NewLeaderAck { epoch, end, full } => Self::NewLeaderAck(wire::NewLeaderAck {
                epoch: epoch.get(),
                end: Some((*end).into()),
                full: *full,
            }),
            Message::UpToDate { epoch, commit, full } => Self::UpToDate(wire::UpToDate {
                epoch: epoch.get(),
                commit: Some((*commit).into()),
                full: *full,
            }),
            Message::LogEntries { .. } | Message::Propose { .. } => {
                unreachable!("entries are encoded as they are")
            }
            Message::Ack { epoch, upto } => Self::Ack(pair(*epoch, *upto)),
            Message::Commit { epoch, upto } => Self::Commit(pair(*epoch, *upto)),
            Message::Ping { epoch, nonce, commit, full } => Self::Ping(wire::Ping {
                epoch: epoch.get(),
                nonce: *nonce,
                commit: Some((*commit).into()),
                full: *full,
            }),
            Message::Pong { epoch, nonce, room, full } => Self::Pong(wire::Pong {
                epoch: epoch.get(),
                nonce: *nonce,
                room: *room,
                full: *full,
            }),
            Message::Alive { epoch, work } => {
                Self::Alive(wire::Alive { epoch: epoch.get(), work: *work })
            }
            Message::Forward { requests } => Self::Forward(wire::Forward {
                requests: requests.iter().map(payloads::Forwarded::from).collect(),
            }),
            Message::ForwardRefused { seqs, why } => Self::ForwardRefused(wire::ForwardRefused {
                origins: seqs.iter().copied().map(wire::Origin::from).collect(),
                why: refuse_reason(*why),
            }),
            Message::ReadIndex { id } => Self::ReadIndex(wire::ReadIndex { id: *id }),
            Message::ReadIndexAck { id, index } => {
                Self::ReadIndexAck(wire::ReadIndexAck { id: *id, index: Some((*index).into()) })
            }
        }
    }
}

impl TryFrom<Wire> for Message {
    type Error = DecodeError;

    fn try_from(wire: Wire) -> Result<Self, DecodeError> {
        Ok(match wire {
            Wire::FollowerInfo(info) => Self::FollowerInfo(info.try_into()?),
            Wire::Rejected(why) => Self::Rejected(why.try_into()?),
            Wire::LeaderInfo(info) => Self::LeaderInfo {
                epoch: epoch(info.epoch, "leader_info.epoch")?,
                client_addr: info.client_addr,
                ping: Micros::new(info.ping),
                sync: Micros::new(info.sync),
            },
            Wire::EpochAck(ack) => Self::EpochAck(ack.try_into()?),
            Wire::EpochNack(nack) => {
                Self::EpochNack { accepted: epoch(nack.accepted, "epoch_nack.accepted")? }
            }
            Wire::Truncate(to) => Self::Truncate { to: to.try_into()? },
            Wire::Snapshot(head) => Self::Snapshot(head.try_into()?),
            Wire::SnapshotResume(resume) => Self::SnapshotResume {
                at: need(resume.at, "snapshot_resume.at")?,
                from: resume.from,
            },
            Wire::SnapshotChunk(chunk) => Self::SnapshotChunk {
                from: chunk.from,
                bytes: payload(&chunk.bytes),
                last: chunk.last,
            },
            Wire::SnapshotChunkAck(ack) => {
                Self::SnapshotChunkAck { upto: ack.upto, done: ack.done }
            }
            Wire::LogEntries(log) => Self::LogEntries { entries: all(log.entries)? },
            Wire::LogEntriesAck(upto) => Self::LogEntriesAck { upto: upto.try_into()? },
            Wire::NewLeader(new) => Self::NewLeader {
                epoch: epoch(new.epoch, "new_leader.epoch")?,
                end: need(new.end, "new_leader.end")?,
            },
            Wire::NewLeaderAck(ack) => Self::NewLeaderAck {
                epoch: epoch(ack.epoch, "new_leader_ack.epoch")?,
                end: need(ack.end, "new_leader_ack.end")?,
                full: ack.full,
            },
            Wire::UpToDate(it) => Self::UpToDate {
                epoch: epoch(it.epoch, "up_to_date.epoch")?,
                commit: need(it.commit, "up_to_date.commit")?,
                full: it.full,
            },
            Wire::Propose(propose) => Self::Propose {
                epoch: epoch(propose.epoch, "propose.epoch")?,
                entries: all(propose.entries)?,
            },
            Wire::Ack(it) => unpair(it, |epoch, upto| Self::Ack { epoch, upto })?,
            Wire::Commit(it) => unpair(it, |epoch, upto| Self::Commit { epoch, upto })?,
            Wire::Ping(ping) => Self::Ping {
                epoch: epoch(ping.epoch, "ping.epoch")?,
                nonce: ping.nonce,
                commit: need(ping.commit, "ping.commit")?,
                full: ping.full,
            },
            Wire::Alive(alive) => {
                Self::Alive { epoch: epoch(alive.epoch, "alive.epoch")?, work: alive.work }
            }
            Wire::Pong(pong) => Self::Pong {
                epoch: epoch(pong.epoch, "pong.epoch")?,
                nonce: pong.nonce,
                room: pong.room,
                full: pong.full,
            },
            Wire::Forward(forward) => Self::Forward { requests: all(forward.requests)? },
            Wire::ForwardRefused(refused) => Self::ForwardRefused {
                seqs: all(refused.origins)?,
                why: to_refuse_reason(refused.why)?,
            },
            Wire::ReadIndex(question) => Self::ReadIndex { id: question.id },
            Wire::ReadIndexAck(answer) => Self::ReadIndexAck {
                id: answer.id,
                index: need(answer.index, "read_index_ack.index")?,
            },
        })
    }
}

fn pair(epoch: Epoch, txid: Txid) -> wire::EpochTxid {
    wire::EpochTxid { epoch: epoch.get(), txid: Some(txid.into()) }
}

fn unpair(
    wire: wire::EpochTxid,
    message: impl FnOnce(Epoch, Txid) -> Message,
) -> Result<Message, DecodeError> {
    Ok(message(epoch(wire.epoch, "epoch")?, need(wire.txid, "txid")?))
}

impl From<&FollowerInfo> for wire::FollowerInfo {
    fn from(info: &FollowerInfo) -> Self {
        Self {
            node: info.node.get(),
            cluster: info.cluster.get(),
            incarnation: info.incarnation.get(),
            accepted: info.accepted.get(),
            membership: Some(info.membership.into()),
            versions: Some(info.versions.into()),
            client_addr: info.client_addr.clone(),
            lives: Some((&info.lives).into()),
        }
    }
}

impl TryFrom<wire::FollowerInfo> for FollowerInfo {
    type Error = DecodeError;

    fn try_from(wire: wire::FollowerInfo) -> Result<Self, DecodeError> {
        Ok(Self {
            node: node(wire.node, "follower_info.node")?,
            cluster: ClusterId::new(wire.cluster),
            incarnation: Incarnation::new(wire.incarnation),
            accepted: Epoch::new(wire.accepted),
            membership: need(wire.membership, "follower_info.membership")?,
            versions: need(wire.versions, "follower_info.versions")?,
            client_addr: wire.client_addr,
            lives: need(wire.lives, "follower_info.lives")?,
        })
    }
}

impl From<EpochAck> for wire::EpochAck {
    fn from(ack: EpochAck) -> Self {
        Self {
            epoch: ack.epoch.get(),
            counted: ack.counted,
            current: ack.current.get(),
            last: Some(ack.last.into()),
            base: Some(ack.base.into()),
            commit: Some(ack.commit.into()),
            staged: ack.staged.map(|staged| wire::Staged {
                at: Some(staged.at.into()),
                received: staged.received,
                whole: staged.whole,
            }),
        }
    }
}

impl TryFrom<wire::EpochAck> for EpochAck {
    type Error = DecodeError;

    fn try_from(wire: wire::EpochAck) -> Result<Self, DecodeError> {
        Ok(Self {
            epoch: epoch(wire.epoch, "epoch_ack.epoch")?,
            counted: wire.counted,
            current: Epoch::new(wire.current),
            last: need(wire.last, "epoch_ack.last")?,
            base: need(wire.base, "epoch_ack.base")?,
            commit: need(wire.commit, "epoch_ack.commit")?,
            staged: wire.staged.map(Staged::try_from).transpose()?,
        })
    }
}

impl TryFrom<wire::Staged> for Staged {
    type Error = DecodeError;

    fn try_from(wire: wire::Staged) -> Result<Self, DecodeError> {
        let at = need(wire.at, "staged.at")?;
        Ok(Self { at, received: wire.received, whole: wire.whole })
    }
}

impl From<&SnapshotHead> for wire::SnapshotHead {
    fn from(head: &SnapshotHead) -> Self {
        Self {
            at: Some(head.at.into()),
            membership: Some((&*head.membership).into()),
            digest: head.digest.get(),
            bytes: head.bytes,
        }
    }
}

impl TryFrom<wire::SnapshotHead> for SnapshotHead {
    type Error = DecodeError;

    fn try_from(wire: wire::SnapshotHead) -> Result<Self, DecodeError> {
        Ok(Self {
            at: need(wire.at, "snapshot.at")?,
            membership: need(wire.membership, "snapshot.membership")?,
            digest: Digest::new(wire.digest),
            bytes: wire.bytes,
        })
    }
}

impl From<&Forwarded> for payloads::Forwarded {
    fn from(forwarded: &Forwarded) -> Self {
        Self { origin: Some(forwarded.origin.into()), body: Some(forwarded.body.clone()) }
    }
}

impl TryFrom<payloads::Forwarded> for Forwarded {
    type Error = DecodeError;

    fn try_from(wire: payloads::Forwarded) -> Result<Self, DecodeError> {
        Ok(Self {
            origin: need::<_, Origin>(wire.origin, "forwarded.origin")?,
            body: wire.body.unwrap_or_else(|| Payload::from(Vec::new())),
        })
    }
}
