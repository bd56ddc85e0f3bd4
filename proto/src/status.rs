//! A node's state, as clients see it.

use crate::convert::{all, need, node};
use crate::error::DecodeError;
use crate::wire;
use zabkeeper_core::words::{Digest, Epoch, Incarnation, Micros, NodeId, Round};
use zabkeeper_core::zab::{FollowerStatus, Obstacle, RoleStatus, Status, Stray};

impl From<&Status> for wire::Status {
    fn from(status: &Status) -> Self {
        Self {
            node: status.node.get(),
            incarnation: status.incarnation.get(),
            role: Some(status.role.into()),
            leader_addr: status.leader_addr.clone(),
            accepted_epoch: status.accepted.get(),
            current_epoch: status.current.get(),
            round: status.round.get(),
            base: Some(status.base.into()),
            last: Some(status.last.into()),
            durable: Some(status.durable.into()),
            committed: Some(status.committed.into()),
            applied: Some(status.applied.into()),
            digest: status.digest.get(),
            membership: Some((&*status.membership).into()),
            log_bytes: status.log_bytes as u64,
            waiting: status.waiting as u64,
            longest_turn_us: status.longest_turn.get(),
            strays: status.strays.iter().map(wire::Stray::from).collect(),
            followers: status.followers.iter().map(wire::FollowerStatus::from).collect(),
            obstacles: status.obstacles.iter().map(wire::Obstacle::from).collect(),
        }
    }
}

impl TryFrom<wire::Status> for Status {
    type Error = DecodeError;

    fn try_from(wire: wire::Status) -> Result<Self, DecodeError> {
        Ok(Self {
            node: node(wire.node, "status.node")?,
            incarnation: Incarnation::new(wire.incarnation),
            role: need(wire.role, "status.role")?,
            leader_addr: wire.leader_addr,
            accepted: Epoch::new(wire.accepted_epoch),
            current: Epoch::new(wire.current_epoch),
            round: Round::new(wire.round),
            base: need(wire.base, "status.base")?,
            last: need(wire.last, "status.last")?,
            durable: need(wire.durable, "status.durable")?,
            committed: need(wire.committed, "status.committed")?,
            applied: need(wire.applied, "status.applied")?,
            digest: Digest::new(wire.digest),
            membership: need(wire.membership, "status.membership")?,
            log_bytes: size(wire.log_bytes, "status.log_bytes")?,
            waiting: size(wire.waiting, "status.waiting")?,
            longest_turn: Micros::new(wire.longest_turn_us),
            strays: all(wire.strays)?,
            followers: all(wire.followers)?,
            obstacles: all(wire.obstacles)?,
        })
    }
}

impl From<RoleStatus> for wire::status::Role {
    fn from(role: RoleStatus) -> Self {
        match role {
            RoleStatus::Looking => Self::Looking(wire::Empty {}),
            RoleStatus::Following { leader, serving } => {
                Self::Following(wire::FollowingRole { leader: leader.get(), serving })
            }
            RoleStatus::Leading { established } => Self::Leading(wire::LeadingRole { established }),
            RoleStatus::Halted => Self::Halted(wire::Empty {}),
        }
    }
}

impl TryFrom<wire::status::Role> for RoleStatus {
    type Error = DecodeError;

    fn try_from(wire: wire::status::Role) -> Result<Self, DecodeError> {
        use wire::status::Role as Wire;
        Ok(match wire {
            Wire::Looking(wire::Empty {}) => Self::Looking,
            Wire::Following(role) => Self::Following {
                leader: node(role.leader, "status.following.leader")?,
                serving: role.serving,
            },
            Wire::Leading(role) => Self::Leading { established: role.established },
            Wire::Halted(wire::Empty {}) => Self::Halted,
        })
    }
}

impl From<&FollowerStatus> for wire::FollowerStatus {
    fn from(status: &FollowerStatus) -> Self {
        Self {
            node: status.node.get(),
            client_addr: status.client_addr.clone(),
            matched: Some(status.matched.into()),
            lag: status.lag,
            heard_us: status.heard.get(),
            ready: status.ready,
        }
    }
}

impl TryFrom<wire::FollowerStatus> for FollowerStatus {
    type Error = DecodeError;

    fn try_from(wire: wire::FollowerStatus) -> Result<Self, DecodeError> {
        Ok(Self {
            node: node(wire.node, "follower.node")?,
            client_addr: wire.client_addr,
            matched: need(wire.matched, "follower.matched")?,
            lag: wire.lag,
            heard: Micros::new(wire.heard_us),
            ready: wire.ready,
        })
    }
}

impl From<&Stray> for wire::Stray {
    fn from(stray: &Stray) -> Self {
        Self { node: stray.node.get(), from: stray.from.clone(), votes: stray.votes }
    }
}

impl TryFrom<wire::Stray> for Stray {
    type Error = DecodeError;

    fn try_from(wire: wire::Stray) -> Result<Self, DecodeError> {
        Ok(Self { node: node(wire.node, "stray.node")?, from: wire.from, votes: wire.votes })
    }
}

impl From<&Obstacle> for wire::Obstacle {
    fn from(obstacle: &Obstacle) -> Self {
        use wire::obstacle::Kind;
        let nodes = |missing: &[NodeId]| wire::Nodes {
            nodes: missing.iter().map(|node| node.get()).collect(),
        };
        Self {
            kind: Some(match obstacle {
                Obstacle::Forming { missing } => Kind::Forming(nodes(missing)),
                Obstacle::NoLeader { missing } => Kind::NoLeader(nodes(missing)),
                Obstacle::CatchingUp { leader } => Kind::CatchingUp(leader.get()),
                Obstacle::Installing { leader, bytes, total, sealing } => {
                    Kind::Installing(wire::Installing {
                        leader: leader.get(),
                        bytes: *bytes,
                        total: total.unwrap_or(0),
                        sealing: *sealing,
                    })
                }
                Obstacle::TakingOver { missing } => Kind::TakingOver(nodes(missing)),
                Obstacle::Disk { unflushed } => Kind::DiskUs(unflushed.get()),
                Obstacle::Halted => Kind::Halted(wire::Empty {}),
                Obstacle::DiskFull => Kind::DiskFull(wire::Empty {}),
                Obstacle::StateFull => Kind::StateFull(wire::Empty {}),
                Obstacle::EnsembleFull => Kind::EnsembleFull(wire::Empty {}),
            }),
        }
    }
}

impl TryFrom<wire::Obstacle> for Obstacle {
    type Error = DecodeError;

    fn try_from(wire: wire::Obstacle) -> Result<Self, DecodeError> {
        use wire::obstacle::Kind;
        let nodes = |list: wire::Nodes| -> Result<Vec<NodeId>, DecodeError> {
            list.nodes.into_iter().map(|id| node(id, "obstacle.nodes")).collect()
        };
        Ok(match wire.kind.ok_or(DecodeError::Invalid("obstacle.kind"))? {
            Kind::Forming(missing) => Self::Forming { missing: nodes(missing)? },
            Kind::NoLeader(missing) => Self::NoLeader { missing: nodes(missing)? },
            Kind::CatchingUp(leader) => {
                Self::CatchingUp { leader: node(leader, "obstacle.catching_up")? }
            }
            Kind::Installing(wire) => Self::Installing {
                leader: node(wire.leader, "obstacle.installing")?,
                bytes: wire.bytes,
                total: Some(wire.total).filter(|total| *total > 0),
                sealing: wire.sealing,
            },
            Kind::TakingOver(missing) => Self::TakingOver { missing: nodes(missing)? },
            Kind::DiskUs(micros) => Self::Disk { unflushed: Micros::new(micros) },
            Kind::Halted(wire::Empty {}) => Self::Halted,
            Kind::DiskFull(wire::Empty {}) => Self::DiskFull,
            Kind::StateFull(wire::Empty {}) => Self::StateFull,
            Kind::EnsembleFull(wire::Empty {}) => Self::EnsembleFull,
        })
    }
}

fn size(value: u64, name: &'static str) -> Result<usize, DecodeError> {
    usize::try_from(value).map_err(|_| DecodeError::Invalid(name))
}
