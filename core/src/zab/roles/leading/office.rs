//! What a leader keeps from its election to its end, whether it claims an epoch or reigns in one.

use crate::words::{ConnId, Epoch, Incarnation, Instant, Life, NodeId, Round, Txid};
use crate::zab::config::Timeouts;
use crate::zab::cx::{Cx, Next};
use crate::zab::error::PeerFault;
use crate::zab::message::{Candidate, EpochAck, FollowerInfo, Message, Rejection, Stance, Vote};
use crate::zab::note::{LeaveReason, Note};
use crate::zab::state::State;
use crate::zab::status::FollowerStatus;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// The office of a leader.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Office {
    round: Round,
    candidate: Candidate,
    /// When something last brought this leader closer to its establishment.
    pub(super) progress: Instant,
    /// Voters that have turned to another round, or support another leader of the same epoch.
    pub(super) gone: BTreeSet<NodeId>,
    /// What each node has acknowledged to this leader, on whichever connection: of a node that
    /// promised the epoch and holds nothing of it yet, none.
    pub(super) acked: BTreeMap<NodeId, Option<Txid>>,
}

/// A node that said who it is, by its present connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Guest {
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    /// The present life of its disk.
    pub(super) life: Option<Life>,
    client_addr: String,
    pub(super) accepted: Epoch,
    /// When bytes last arrived from it.
    pub(super) heard: Instant,
    /// The count of its work that it told last.
    pub(super) work: u64,
}

impl Guest {
    pub(super) fn new(info: FollowerInfo, now: Instant) -> Self {
        Self {
            node: info.node,
            incarnation: info.incarnation,
            life: info.lives.present(),
            client_addr: info.client_addr,
            accepted: info.accepted,
            heard: now,
            work: 0,
        }
    }

    pub(super) fn status(
        &self,
        s: &State,
        now: Instant,
        matched: Txid,
        ready: bool,
    ) -> FollowerStatus {
        FollowerStatus {
            node: self.node,
            client_addr: self.client_addr.clone(),
            matched,
            lag: s.log.distance(matched, s.log.last().txid),
            heard: now.since(self.heard),
            ready,
        }
    }
}

impl Office {
    /// The office of the winner of this node's round.
    pub(super) fn take(cx: &Cx<'_>) -> Self {
        Self {
            round: cx.s.round,
            candidate: crate::zab::roles::looking::own(cx.s),
            progress: cx.now.at,
            gone: BTreeSet::new(),
            acked: BTreeMap::new(),
        }
    }

    /// What this node answers to those who look for a leader. `epoch` is that of an established
    /// leader.
    pub(super) fn ballot(
        &self,
        cx: &mut Cx<'_>,
        to: NodeId,
        asked: u64,
        epoch: Option<Epoch>,
    ) -> Vote {
        let vote = cx.ballot(to, Some(asked), Stance::Leading(epoch), self.round, self.candidate);
        Vote { hears: true, ..vote }
    }

    /// A voter looks for a leader. Before this leader is established, those who have moved on to a
    /// later round will not come: it gives up as soon as the rest cannot be a quorum.
    pub(super) fn on_looking(&mut self, cx: &mut Cx<'_>, vote: &Vote) -> Next {
        if vote.round <= self.round {
            return Next::Stay;
        }
        self.gone.insert(vote.from);
        self.give_up_if_deserted(cx)
    }

    pub(super) fn give_up_if_deserted(&self, cx: &mut Cx<'_>) -> Next {
        if cx.s.is_quorum(|id| !self.gone.contains(&id)) {
            return Next::Stay;
        }
        cx.abstain();
        Next::Look(LeaveReason::Silence)
    }

    /// True unless a node that wants to follow has promised less than it acknowledged before.
    /// `epoch` is this leader's, once it is chosen.
    pub(super) fn meet(
        &mut self,
        cx: &mut Cx<'_>,
        info: &FollowerInfo,
        epoch: Option<Epoch>,
    ) -> bool {
        if self.acked.contains_key(&info.node) && Some(info.accepted) < epoch {
            return false;
        }
        // It knows a membership to be committed that this node holds and was never told about.
        let pending = cx.s.ensemble.pending().map(|membership| membership.version());
        if pending == Some(info.membership) {
            cx.commit(info.membership);
        }
        self.gone.remove(&info.node);
        true
    }

    /// True if what a node tells of its history holds all that it acknowledged to this leader.
    pub(super) fn remembers(&self, node: NodeId, ack: &EpochAck, epoch: Epoch) -> bool {
        let acked = self.acked.get(&node).copied().flatten();
        acked.is_none_or(|upto| ack.current == epoch && ack.last.txid >= upto)
    }
}

/// What a node tells of itself when it promises an epoch must be possible.
pub(super) fn is_possible(ack: &EpochAck, epoch: Epoch) -> bool {
    let last = ack.last.txid;
    ack.current <= epoch && last.epoch() <= epoch && ack.base <= last && ack.commit <= last
}

/// What is wrong with a message to a leader that nobody expects from this node now.
pub(super) fn out_of_place(msg: &Message) -> PeerFault {
    PeerFault::Unexpected(match msg {
        Message::EpochAck(_)
        | Message::EpochNack { .. }
        | Message::SnapshotChunkAck { .. }
        | Message::LogEntriesAck { .. }
        | Message::NewLeaderAck { .. }
        | Message::Ack { .. }
        | Message::Alive { .. }
        | Message::Pong { .. }
        | Message::Forward { .. }
        | Message::ReadIndex { .. } => "a message before EPOCH-ACK",
        Message::Rejected(_) => "REJECTED",
        Message::FollowerInfo(_)
        | Message::LeaderInfo { .. }
        | Message::Truncate { .. }
        | Message::Snapshot(_)
        | Message::SnapshotResume { .. }
        | Message::SnapshotChunk { .. }
        | Message::LogEntries { .. }
        | Message::NewLeader { .. }
        | Message::UpToDate { .. }
        | Message::Propose { .. }
        | Message::Commit { .. }
        | Message::Ping { .. }
        | Message::ForwardRefused { .. }
        | Message::ReadIndexAck { .. } => "a leader's message",
    })
}

/// What a node has promised or acknowledged to this leader is not on its disk any more: it may have
/// lost more, of which nobody knows. Its connection is to be closed.
pub(super) fn refuse_old(cx: &mut Cx<'_>, conn: ConnId, node: NodeId) {
    cx.note(Note::OldDisk(node));
    cx.send(conn, Message::Rejected(Rejection::OldDisk));
}

/// Offers an epoch: LEADER-INFO.
pub(super) fn offer(cx: &mut Cx<'_>, to: Vec<ConnId>, epoch: Epoch) {
    let client_addr = cx.client_addr();
    let Timeouts { ping, sync, .. } = cx.s.cfg.timeouts;
    cx.send_all(to, Message::LeaderInfo { epoch, client_addr, ping, sync });
}

/// Tells a node that promised more when it can come back. Its connection is to be closed.
pub(super) fn put_off(cx: &mut Cx<'_>, conn: ConnId, epoch: Epoch) {
    let wait = cx.s.rest_of_readmission(cx.now.at);
    cx.send(conn, Message::Rejected(Rejection::NotBefore { epoch, wait }));
}

/// A voter has promised an epoch above this leader's to somebody who never got established: it can
/// only come back in a still higher one. Giving up once readmits it.
pub(super) fn on_higher_promise(cx: &mut Cx<'_>, higher: Epoch, established: bool) -> Next {
    cx.s.epoch_floor = cx.s.epoch_floor.max(higher);
    if established && !cx.s.may_readmit(cx.now.at) {
        return Next::Stay;
    }
    Next::Look(LeaveReason::HigherEpoch(higher))
}
