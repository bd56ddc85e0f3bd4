//! Election datagrams.
//!
//! ```text
//! 0          4         5          9
//! +----------+---------+----------+---------------------------+
//! | "Zabk"   | version | checksum | Datagram of election.proto|
//! +----------+---------+----------+---------------------------+
//! ```
//!
//! The checksum is the CRC32C of all that follows it, big-endian.

use crate::convert::{epoch, need, node};
use crate::error::DecodeError;
use crate::wire;
use prost::Message as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use zabkeeper_core::words::{ClusterId, Epoch, Incarnation, Micros, NodeId, Round, Txid};
use zabkeeper_core::zab::{Candidate, Membership, Rejection, Stamp, Stance, Vote};

/// The version of the datagrams.
pub const DATAGRAM_VERSION: u8 = 1;

/// No vote is longer than this.
pub const MAX_VOTE: usize = 512;

/// No datagram is longer than this: it passes every network unsplit.
pub const MAX_DATAGRAM: usize = 1200;

const MAGIC: [u8; 4] = *b"Zabk";
const HEADER: usize = 9;

/// What nodes send each other over UDP.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Datagram {
    /// A vote in the election.
    Vote(Vote),
    /// The sender will not talk to the receiver.
    Rejected {
        /// The sender.
        from: NodeId,
        /// The sender's cluster.
        cluster: ClusterId,
        /// Why.
        why: Rejection,
        /// How many members the list in `why` lacks because they did not fit. A sender gives 0:
        /// the encoder counts what it leaves out.
        omitted: u32,
    },
}

/// The datagram's bytes, at most [`MAX_DATAGRAM`]: a list of members that is too long is cut at
/// its end, and says so.
pub fn encode_datagram(datagram: &Datagram) -> Vec<u8> {
    let mut message = wire::Datagram::from(datagram);
    while HEADER + message.encoded_len() > MAX_DATAGRAM && leave_out_one(&mut message) {}
    let mut out = Vec::with_capacity(HEADER + message.encoded_len());
    let body = message.encode_to_vec();
    out.extend_from_slice(&MAGIC);
    out.push(DATAGRAM_VERSION);
    out.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

/// Reads a datagram. [`DecodeError::Version`] means that the sender runs another release: it is to
/// be counted and ignored like every other error here.
pub fn decode_datagram(bytes: &[u8]) -> Result<Datagram, DecodeError> {
    if bytes.len() > MAX_DATAGRAM {
        return Err(DecodeError::TooLong { len: bytes.len(), limit: MAX_DATAGRAM });
    }
    let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(DecodeError::Short(bytes.len()));
    };
    let [m0, m1, m2, m3, version, c0, c1, c2, c3] = *header;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(DecodeError::Magic);
    }
    if version != DATAGRAM_VERSION {
        return Err(DecodeError::Version(version));
    }
    if crc32c::crc32c(body) != u32::from_be_bytes([c0, c1, c2, c3]) {
        return Err(DecodeError::Checksum);
    }
    wire::Datagram::decode(body)?.try_into()
}

/// Takes the last member out of a rejection's list. False if there is none.
fn leave_out_one(message: &mut wire::Datagram) -> bool {
    let Some(wire::datagram::Datagram::Rejected(rejected)) = &mut message.datagram else {
        return false;
    };
    let Some(wire::Rejection { why: Some(wire::rejection::Why::WrongCluster(list)) }) =
        &mut rejected.why
    else {
        return false;
    };
    let left_out = list.members.pop().is_some();
    rejected.omitted = rejected.omitted.saturating_add(u32::from(left_out));
    left_out
}

impl From<&Datagram> for wire::Datagram {
    fn from(datagram: &Datagram) -> Self {
        use wire::datagram::Datagram as Kind;
        let datagram = match datagram {
            Datagram::Vote(vote) => Kind::Vote(vote.into()),
            Datagram::Rejected { from, cluster, why, omitted } => Kind::Rejected(wire::Rejected {
                from: from.get(),
                cluster: cluster.get(),
                why: Some(why.into()),
                omitted: *omitted,
            }),
        };
        Self { datagram: Some(datagram) }
    }
}

impl TryFrom<wire::Datagram> for Datagram {
    type Error = DecodeError;

    fn try_from(wire: wire::Datagram) -> Result<Self, DecodeError> {
        use wire::datagram::Datagram as Kind;
        match wire.datagram.ok_or(DecodeError::Missing("datagram"))? {
            Kind::Vote(vote) => Ok(Self::Vote(vote.try_into()?)),
            Kind::Rejected(rejected) => Ok(Self::Rejected {
                from: node(rejected.from, "rejected.from")?,
                cluster: ClusterId::new(rejected.cluster),
                why: need(rejected.why, "rejected.why")?,
                omitted: rejected.omitted,
            }),
        }
    }
}

impl From<&Vote> for wire::Vote {
    fn from(vote: &Vote) -> Self {
        use wire::vote::Stance as Kind;
        let established = |epoch: Option<Epoch>| wire::Established { epoch: epoch.map(Epoch::get) };
        Self {
            from: vote.from.get(),
            cluster: vote.cluster.get(),
            incarnation: vote.incarnation.get(),
            round: vote.round.get(),
            candidate: Some((&vote.candidate).into()),
            membership: Some(vote.membership.into()),
            own: Some((&vote.own).into()),
            abstains: vote.abstains,
            hears: vote.hears,
            stamp: Some(wire::Stamp {
                boot: vote.stamp.boot,
                seq: vote.stamp.seq,
                asks: vote.stamp.asks,
                answers: vote.stamp.answers,
            }),
            stance: Some(match vote.stance {
                Stance::Looking => Kind::Looking(wire::Empty {}),
                Stance::Following(epoch) => Kind::Following(established(epoch)),
                Stance::Leading(epoch) => Kind::Leading(established(epoch)),
            }),
            lives: Some((&vote.lives).into()),
        }
    }
}

impl TryFrom<wire::Vote> for Vote {
    type Error = DecodeError;

    fn try_from(wire: wire::Vote) -> Result<Self, DecodeError> {
        use wire::vote::Stance as Kind;
        let established =
            |it: wire::Established| it.epoch.map(|raw| epoch(raw, "vote.stance.epoch")).transpose();
        Ok(Self {
            from: node(wire.from, "vote.from")?,
            cluster: ClusterId::new(wire.cluster),
            incarnation: Incarnation::new(wire.incarnation),
            stance: match wire.stance.ok_or(DecodeError::Missing("vote.stance"))? {
                Kind::Looking(wire::Empty {}) => Stance::Looking,
                Kind::Following(it) => Stance::Following(established(it)?),
                Kind::Leading(it) => Stance::Leading(established(it)?),
            },
            round: Round::new(wire.round),
            candidate: need(wire.candidate, "vote.candidate")?,
            membership: need(wire.membership, "vote.membership")?,
            lives: need(wire.lives, "vote.lives")?,
            own: need(wire.own, "vote.own")?,
            abstains: wire.abstains,
            hears: wire.hears,
            stamp: need(wire.stamp, "vote.stamp")?,
        })
    }
}

impl TryFrom<wire::Stamp> for Stamp {
    type Error = DecodeError;

    fn try_from(wire: wire::Stamp) -> Result<Self, DecodeError> {
        let wire::Stamp { boot, seq, asks, answers } = wire;
        if boot == 0 {
            Err(DecodeError::Invalid("stamp.boot"))
        } else {
            Ok(Self { boot, seq, asks, answers })
        }
    }
}

impl From<&Candidate> for wire::Candidate {
    fn from(candidate: &Candidate) -> Self {
        Self {
            epoch: candidate.epoch.get(),
            txid: Some(candidate.txid.into()),
            node: candidate.node.get(),
        }
    }
}

impl TryFrom<wire::Candidate> for Candidate {
    type Error = DecodeError;

    fn try_from(wire: wire::Candidate) -> Result<Self, DecodeError> {
        Ok(Self {
            epoch: Epoch::new(wire.epoch),
            txid: need(wire.txid, "candidate.txid")?,
            node: node(wire.node, "candidate.node")?,
        })
    }
}

impl From<&Rejection> for wire::Rejection {
    fn from(why: &Rejection) -> Self {
        use wire::rejection::Why;
        Self {
            why: Some(match why {
                Rejection::WrongCluster { members } => Why::WrongCluster((&**members).into()),
                Rejection::WrongDisk => Why::WrongDisk(wire::Empty {}),
                Rejection::NotMember { version } => Why::NotMember((*version).into()),
                Rejection::NotBefore { epoch, wait } => {
                    Why::NotBefore(wire::NotBefore { epoch: epoch.get(), wait: wait.get() })
                }
                Rejection::OldDisk => Why::OldDisk(wire::Empty {}),
                Rejection::Version { speaks } => Why::Version((*speaks).into()),
            }),
        }
    }
}

impl TryFrom<wire::Rejection> for Rejection {
    type Error = DecodeError;

    fn try_from(wire: wire::Rejection) -> Result<Self, DecodeError> {
        use wire::rejection::Why;
        Ok(match wire.why.ok_or(DecodeError::Missing("rejection.why"))? {
            // Only members are told who the members are.
            Why::WrongCluster(list) if list.members.is_empty() => Self::WrongCluster {
                members: Arc::new(Membership::new(Txid::ZERO, BTreeMap::new())),
            },
            Why::WrongCluster(list) => {
                Self::WrongCluster { members: Arc::new(Membership::try_from(list)?) }
            }
            Why::WrongDisk(wire::Empty {}) => Self::WrongDisk,
            Why::NotMember(version) => Self::NotMember { version: version.try_into()? },
            Why::NotBefore(it) => Self::NotBefore {
                epoch: epoch(it.epoch, "rejection.not_before.epoch")?,
                wait: Micros::new(it.wait),
            },
            Why::OldDisk(wire::Empty {}) => Self::OldDisk,
            Why::Version(versions) => Self::Version { speaks: versions.try_into()? },
        })
    }
}
