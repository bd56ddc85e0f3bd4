//! Claiming an epoch: discovery, as the winner of an election sees it.

use super::office::{self, Guest, Office};
use crate::words::{ConnId, Epoch, Instant, NodeId, Txid};
use crate::zab::cx::{Cx, Next};
use crate::zab::error::{CloseReason, HaltReason, PeerFault};
use crate::zab::history::storage::Promise;
use crate::zab::ledger::Duty;
use crate::zab::message::{EpochAck, FollowerInfo, Message, Vote};
use crate::zab::note::{LeaveReason, Note};
use crate::zab::state::State;
use crate::zab::status::FollowerStatus;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The role of a node that was elected, until a quorum has promised it an epoch.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Claiming {
    pub(super) office: Office,
    stage: Stage,
    pub(super) guests: BTreeMap<ConnId, Guest>,
    /// What those of them said that promised the epoch, to this leader or to another.
    pub(super) promises: BTreeMap<ConnId, EpochAck>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Stage {
    /// Followers of a quorum are awaited.
    Gathering,
    /// The own promise is on its way to the disk.
    Promising(Epoch),
    /// LEADER-INFO is out, promises are awaited.
    Promised(Epoch),
}

impl Claiming {
    /// Takes office after an election, with the followers that came early.
    pub(crate) fn start(
        cx: &mut Cx<'_>,
        early: BTreeMap<ConnId, (FollowerInfo, Instant)>,
    ) -> (Self, Next) {
        cx.drop_parked();
        let mut claiming = Self {
            office: Office::take(cx),
            stage: Stage::Gathering,
            guests: BTreeMap::new(),
            promises: BTreeMap::new(),
        };
        let mut next = claiming.choose_epoch(cx);
        for (conn, (info, _)) in early {
            if next == Next::Stay {
                next = claiming.on_follower_info(cx, conn, info);
            } else {
                cx.close(conn, CloseReason::RoleChange);
            }
        }
        (claiming, next)
    }

    #[cfg(feature = "explore")]
    pub(crate) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase) {
        rebase.instant(&mut self.office.progress);
        self.guests.values_mut().for_each(|guest| rebase.instant(&mut guest.heard));
    }

    pub(crate) fn deadline(&self, s: &State) -> Instant {
        self.office.progress.after(s.cfg.timeouts.init)
    }

    /// The epoch, once it is chosen.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        match self.stage {
            Stage::Gathering => None,
            Stage::Promising(epoch) | Stage::Promised(epoch) => Some(epoch),
        }
    }

    pub(crate) fn holds(&self, conn: ConnId) -> bool {
        self.guests.contains_key(&conn)
    }

    /// What this node answers to those who look for a leader.
    pub(crate) fn ballot(&self, cx: &mut Cx<'_>, to: NodeId, asked: u64) -> Vote {
        self.office.ballot(cx, to, asked, None)
    }

    pub(crate) fn on_tick(&mut self, cx: &mut Cx<'_>) -> Next {
        if cx.s.disk_hangs(cx.now.at) {
            return Next::Look(LeaveReason::SlowDisk);
        }
        if cx.now.at >= self.deadline(cx.s) {
            cx.abstain();
            return Next::Look(LeaveReason::InitTimeout);
        }
        Next::Stay
    }

    /// A voter looks for a leader.
    pub(crate) fn on_looking(&mut self, cx: &mut Cx<'_>, vote: &Vote) -> Next {
        self.office.on_looking(cx, vote)
    }

    /// Bytes arrived on this connection, of a message that is not all there yet.
    pub(crate) fn on_heard(&mut self, cx: &Cx<'_>, conn: ConnId) {
        if let Some(guest) = self.guests.get_mut(&conn) {
            guest.heard = cx.now.at;
        }
    }

    /// A node that belongs here wants to follow: greets it.
    pub(crate) fn on_follower_info(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        info: FollowerInfo,
    ) -> Next {
        if !self.office.meet(cx, &info, self.epoch()) {
            office::refuse_old(cx, conn, info.node);
            cx.close(conn, CloseReason::Rejected);
            return Next::Stay;
        }
        let older = self.guests.iter().filter(|(_, guest)| guest.node == info.node);
        for conn in older.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.drop_guest(cx, conn, Some(CloseReason::Replaced));
        }
        self.guests.insert(conn, Guest::new(info, cx.now.at));
        match self.stage {
            Stage::Gathering => self.choose_epoch(cx),
            Stage::Promising(_) => Next::Stay,
            Stage::Promised(epoch) => self.greet(cx, &[conn], epoch),
        }
    }

    /// Chooses the epoch once a quorum is here: above everything that any of them promised.
    fn choose_epoch(&mut self, cx: &mut Cx<'_>) -> Next {
        let here = |id| id == cx.s.node() || self.guests.values().any(|guest| guest.node == id);
        if !cx.s.is_quorum(here) {
            return Next::Stay;
        }
        let promised = self.guests.values().map(|guest| guest.accepted);
        let highest = promised.fold(cx.s.accepted().max(cx.s.epoch_floor), Epoch::max);
        let Some(epoch) = highest.next() else {
            return Next::Halt(HaltReason::EpochsExhausted);
        };
        cx.note(Note::EpochProposed(epoch));
        self.stage = Stage::Promising(epoch);
        self.office.progress = cx.now.at;
        cx.promise(Promise { epoch, leader: cx.s.node() });
        planted!(cx, LeaderInfoUnflushed => return self.on_promised(cx));
        Next::Stay
    }

    /// The own promise is on disk: only now is the epoch offered to anybody.
    fn on_promised(&mut self, cx: &mut Cx<'_>) -> Next {
        let Stage::Promising(epoch) = self.stage else {
            return Next::Stay;
        };
        self.stage = Stage::Promised(epoch);
        // The followers' disks have as long as this one had.
        self.office.progress = cx.now.at;
        let all: Vec<ConnId> = self.guests.keys().copied().collect();
        match self.greet(cx, &all, epoch) {
            Next::Stay => self.count_promises(cx, epoch),
            next => next,
        }
    }

    fn greet(&mut self, cx: &mut Cx<'_>, conns: &[ConnId], epoch: Epoch) -> Next {
        let accepted = |conn: &ConnId| self.guests.get(conn).map_or(Epoch::ZERO, |g| g.accepted);
        let (higher, welcome): (Vec<ConnId>, Vec<ConnId>) =
            conns.iter().partition(|conn| accepted(conn) > epoch);
        if let Some(highest) = higher.iter().map(accepted).max() {
            return office::on_higher_promise(cx, highest, false);
        }
        office::offer(cx, welcome, epoch);
        Next::Stay
    }

    pub(crate) fn on_message(&mut self, cx: &mut Cx<'_>, conn: ConnId, msg: Message) -> Next {
        let Some(guest) = self.guests.get_mut(&conn) else {
            return Next::Stay;
        };
        guest.heard = cx.now.at;
        let fault = match msg {
            Message::EpochAck(ack) => match self.on_epoch_ack(cx, conn, ack) {
                Ok(next) => return next,
                Err(fault) => fault,
            },
            Message::EpochNack { accepted } if cx.is_too_far(accepted) => {
                PeerFault::EpochTooFar(accepted)
            }
            Message::EpochNack { accepted } => {
                self.drop_guest(cx, conn, Some(CloseReason::StaleEpoch));
                return office::on_higher_promise(cx, accepted, false);
            }
            Message::Alive { epoch, work } => {
                let expected = self.epoch().unwrap_or(Epoch::ZERO);
                if epoch == expected
                    && let Some(guest) = self.guests.get_mut(&conn)
                {
                    guest.work = work;
                    return Next::Stay;
                }
                PeerFault::Epoch { got: epoch, expected }
            }
            Message::Rejected(why) => {
                cx.note(Note::RejectedBy { peer: Some(guest.node), why });
                PeerFault::Unexpected("REJECTED")
            }
            msg => office::out_of_place(&msg),
        };
        cx.note(Note::PeerFault { conn, fault: fault.clone() });
        self.drop_guest(cx, conn, Some(CloseReason::Fault(fault)));
        Next::Stay
    }

    /// A follower promised the epoch and tells its history.
    fn on_epoch_ack(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        ack: EpochAck,
    ) -> Result<Next, PeerFault> {
        let expected = self.epoch().unwrap_or(Epoch::ZERO);
        if ack.epoch != expected || self.promises.contains_key(&conn) {
            return Err(PeerFault::Epoch { got: ack.epoch, expected });
        }
        if !office::is_possible(&ack, expected) {
            return Err(PeerFault::Claim(ack.last.txid));
        }
        let (Stage::Promised(epoch), Some(guest)) = (self.stage, self.guests.get(&conn)) else {
            return Err(PeerFault::Unexpected("EPOCH-ACK"));
        };
        let node = guest.node;
        let ahead = ack.counted && (ack.current, ack.last.txid) > (cx.s.current, cx.s.durable);
        planted!(cx, LeadThoughBehind: ahead = false);
        if !self.office.remembers(node, &ack, epoch) {
            office::refuse_old(cx, conn, node);
            self.drop_guest(cx, conn, Some(CloseReason::Rejected));
            return Ok(Next::Stay);
        }
        let ack = EpochAck { counted: ack.counted && !ahead, ..ack };
        self.promises.insert(conn, ack);
        self.office.acked.entry(node).or_default();
        // It may hold what is committed and this node lacks: not if a quorum without it holds no
        // more than this node.
        if ahead && !self.may_do_without(cx, node) {
            cx.abstain();
            return Ok(Next::Look(LeaveReason::Behind(node)));
        }
        self.office.progress = cx.now.at;
        if planted!(cx, CountUncounted, !ack.counted => false) {
            self.office.gone.insert(node);
            return Ok(self.office.give_up_if_deserted(cx));
        }
        Ok(self.count_promises(cx, epoch))
    }

    /// True if a quorum is connected without this follower and those that do not count.
    fn may_do_without(&self, cx: &Cx<'_>, node: NodeId) -> bool {
        let counts = |conn: &ConnId| self.promises.get(conn).is_none_or(|ack| ack.counted);
        cx.s.is_quorum(|id| {
            let mut guests = self.guests.iter();
            let here = guests.any(|(conn, guest)| guest.node == id && counts(conn));
            id == cx.s.node() || id != node && here
        })
    }

    /// With the promises of a quorum the reign begins: nobody else can lead this epoch.
    fn count_promises(&self, cx: &mut Cx<'_>, epoch: Epoch) -> Next {
        let counts = |conn: &ConnId| {
            let ack = self.promises.get(conn);
            ack.is_some_and(|ack| planted!(cx, CountUncounted, ack.counted => true))
        };
        let promised = |id| {
            let mut guests = self.guests.iter();
            id == cx.s.node() || guests.any(|(conn, guest)| guest.node == id && counts(conn))
        };
        if cx.s.is_quorum(promised) { Next::Reign(epoch) } else { Next::Stay }
    }

    /// The disk has what these duties waited for.
    pub(crate) fn on_duties(&mut self, cx: &mut Cx<'_>) -> Next {
        while let Some(duty) = cx.s.ledger.due() {
            match duty {
                Duty::Promised => match self.on_promised(cx) {
                    Next::Stay => {}
                    next => return next,
                },
                Duty::Logged(txid) => cx.logged(txid),
                Duty::Entered => {}
            }
        }
        Next::Stay
    }

    pub(crate) fn on_closed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if self.holds(conn) {
            self.drop_guest(cx, conn, None);
        } else {
            cx.note(Note::StaleConn(conn));
        }
    }

    /// Forgets a connection, and closes it if that is still to be done.
    fn drop_guest(&mut self, cx: &mut Cx<'_>, conn: ConnId, close: Option<CloseReason>) {
        let Some(guest) = self.guests.remove(&conn) else {
            return;
        };
        self.promises.remove(&conn);
        cx.note(Note::FollowerGone(guest.node));
        if let Some(why) = close {
            cx.close(conn, why);
        }
    }

    /// Gives up the claim.
    pub(crate) fn leave(mut self, cx: &mut Cx<'_>) {
        for conn in self.guests.keys().copied().collect::<Vec<_>>() {
            self.drop_guest(cx, conn, Some(CloseReason::RoleChange));
        }
    }

    /// The voters that have not joined.
    pub(crate) fn missing(&self, s: &State) -> Vec<NodeId> {
        let joined = |id| id == s.node() || self.guests.values().any(|guest| guest.node == id);
        s.ensemble.voters().filter(|id| !joined(*id)).collect()
    }

    pub(crate) fn followers(&self, s: &State, now: Instant) -> Vec<FollowerStatus> {
        let guests = self.guests.values();
        guests.map(|guest| guest.status(s, now, Txid::ZERO, false)).collect()
    }
}
