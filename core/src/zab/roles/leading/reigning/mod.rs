//! Reigning: a quorum has promised this node its epoch, so that nobody else can lead it. Here is who
//! follows, and what becomes of connections; what is said to followers is in the files below.

mod broadcast;
mod establish;
mod heartbeat;
mod pace;
mod sync;

use super::claiming::Claiming;
use super::feed::Feed;
use super::office::{self, Guest, Office};
use super::rounds::Rounds;
use super::source::Source;
use super::waiting::Waiting;
use crate::words::{ConnId, Epoch, Instant, NodeId, Txid};
use crate::zab::cx::{Cx, Next};
use crate::zab::error::{CloseReason, PeerFault};
use crate::zab::ledger::Duty;
use crate::zab::message::{EpochAck, FollowerInfo, Message, Rejection, Vote};
use crate::zab::note::{LeaveReason, Note};
use crate::zab::state::{Pin, State};
use crate::zab::status::FollowerStatus;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The role of a node that alone can lead its epoch.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Reigning {
    office: Office,
    epoch: Epoch,
    /// True once the own disk has the epoch: only then does the leader count itself.
    entered: bool,
    established: bool,
    /// Nodes that are here and have not promised the epoch yet.
    guests: BTreeMap<ConnId, Guest>,
    followers: BTreeMap<ConnId, Follower>,
    /// When each node last acknowledged or answered in this epoch.
    heard: BTreeMap<NodeId, Instant>,
    rounds: Rounds,
    next_ping: Instant,
    /// States that were on their way when the connection broke, with when that was: their followers
    /// go on where they were.
    parked: BTreeMap<NodeId, (Source, Instant)>,
    /// The disk could not read what comes after this: who needs that gets the state.
    gone_log: Option<Txid>,
    /// Writes of followers' clients that wait for room.
    waiting: Waiting,
}

/// A node that promised the epoch: it is fed, by its present connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Follower {
    guest: Guest,
    ack: EpochAck,
    feed: Feed,
    /// When its connection or its disk last got on with something.
    worked: Instant,
    /// The last commit it was told.
    told: Txid,
    /// How many bytes more it can take in, as it last said, less what was proposed since; `None` if it
    /// has plenty.
    room: Option<u64>,
    /// True if it said that it has none: it is sent nothing until it has.
    busy: bool,
    /// True if it said that it has no room for more data.
    full: bool,
}

impl Follower {
    /// True once it has the history and the epoch on its disk.
    fn is_ready(&self) -> bool {
        self.feed.is_acked()
    }
}

/// What became of a follower's message.
type Handled = Result<Next, PeerFault>;

impl Reigning {
    /// A quorum has promised: what this leader has logged is the initial history of its epoch.
    pub(crate) fn begin(cx: &mut Cx<'_>, claiming: Claiming, epoch: Epoch) -> (Self, Next) {
        let Claiming { mut office, guests, promises, .. } = claiming;
        office.progress = cx.now.at;
        let mut reigning = Self {
            office,
            epoch,
            entered: planted!(cx, LeaderCountsUnflushed, false => true),
            established: false,
            guests,
            followers: BTreeMap::new(),
            heard: BTreeMap::new(),
            rounds: Rounds::default(),
            next_ping: cx.now.at.after(cx.s.cfg.timeouts.ping),
            parked: BTreeMap::new(),
            gone_log: None,
            waiting: Waiting::default(),
        };
        planted!(cx, DropInherited => cx.drop_inherited());
        cx.enter(epoch);
        for (conn, ack) in promises {
            reigning.attach(cx, conn, ack);
        }
        planted!(cx, ProposeEarly => reigning.propose_what_fits(cx));
        let next = reigning.establish(cx);
        (reigning, next)
    }

    #[cfg(feature = "explore")]
    pub(crate) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase) {
        rebase.instant(&mut self.office.progress);
        rebase.instant(&mut self.next_ping);
        self.heard.values_mut().for_each(|at| rebase.instant(at));
        self.guests.values_mut().for_each(|guest| rebase.instant(&mut guest.heard));
        for follower in self.followers.values_mut() {
            rebase.instant(&mut follower.guest.heard);
            rebase.instant(&mut follower.worked);
        }
        self.waiting.rebase(rebase);
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.next_ping
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// True once a quorum, this node's own disk included, holds the initial history.
    pub(crate) fn is_established(&self) -> bool {
        self.established
    }

    pub(crate) fn holds(&self, conn: ConnId) -> bool {
        self.followers.contains_key(&conn) || self.guests.contains_key(&conn)
    }

    /// What this node answers to those who look for a leader.
    pub(crate) fn ballot(&self, cx: &mut Cx<'_>, to: NodeId, asked: u64) -> Vote {
        self.office.ballot(cx, to, asked, self.established.then_some(self.epoch))
    }

    /// A voter looks for a leader.
    pub(crate) fn on_looking(&mut self, cx: &mut Cx<'_>, vote: &Vote) -> Next {
        if self.established {
            return Next::Stay;
        }
        self.office.on_looking(cx, vote)
    }

    /// Entries after this are needed: a follower is being fed from there.
    pub(crate) fn pin(&self) -> Option<Pin> {
        let feeds = self.followers.values().map(|follower| follower.feed.worth());
        feeds.chain(self.parked.values().map(|(source, _)| source.pin())).min()
    }

    pub(crate) fn on_tick(&mut self, cx: &mut Cx<'_>) -> Next {
        if cx.s.disk_hangs(cx.now.at) {
            return Next::Look(LeaveReason::SlowDisk);
        }
        planted!(cx, NoHeartbeat => { self.ping(cx); return Next::Stay; });
        self.drop_old_parked(cx);
        for conn in self.silent(cx) {
            self.drop_conn(cx, conn, Some(CloseReason::Silent));
        }
        if self.established && !self.hears_quorum(cx) {
            return Next::Look(LeaveReason::Silence);
        }
        if !self.established && cx.now.at >= self.office.progress.after(cx.s.cfg.timeouts.init) {
            return Next::Look(LeaveReason::InitTimeout);
        }
        if self.next_ping <= cx.now.at {
            self.ping(cx);
        }
        self.refuse_late(cx);
        Next::Stay
    }

    /// The connections that have been silent for too long, or get nowhere.
    fn silent(&self, cx: &Cx<'_>) -> Vec<ConnId> {
        let (now, timeouts) = (cx.now.at, &cx.s.cfg.timeouts);
        let guests = self.guests.iter();
        let guests = guests.filter(|(_, guest)| now >= guest.heard.after(timeouts.init));
        let followers = self.followers.iter().filter(|(_, follower)| {
            let limit = if follower.is_ready() { timeouts.sync } else { timeouts.init };
            // Who is being synchronised must also get on with it.
            let idle = !follower.is_ready() && now >= follower.worked.after(timeouts.init);
            idle || now >= follower.guest.heard.after(limit)
        });
        let guests = guests.map(|(conn, _)| *conn);
        let mut silent: Vec<ConnId> = guests.chain(followers.map(|(conn, _)| *conn)).collect();
        silent.sort_unstable();
        silent
    }

    /// True while a quorum has been heard of late.
    fn hears_quorum(&self, cx: &Cx<'_>) -> bool {
        cx.s.is_quorum(|id| {
            let heard = self.heard.get(&id).map(|at| at.after(cx.s.cfg.timeouts.sync));
            id == cx.s.node() || heard.is_some_and(|until| until > cx.now.at)
        })
    }

    /// A node that belongs here wants to follow: greets it.
    pub(crate) fn on_follower_info(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        info: FollowerInfo,
    ) -> Next {
        if !self.office.meet(cx, &info, Some(self.epoch)) {
            office::refuse_old(cx, conn, info.node);
            cx.close(conn, CloseReason::Rejected);
            return Next::Stay;
        }
        let older = self.conns().filter(|(_, guest)| guest.node == info.node);
        for conn in older.map(|(conn, _)| conn).collect::<Vec<_>>() {
            self.drop_conn(cx, conn, Some(CloseReason::Replaced));
        }
        let accepted = info.accepted;
        self.guests.insert(conn, Guest::new(info, cx.now.at));
        if accepted <= self.epoch {
            office::offer(cx, alloc::vec![conn], self.epoch);
            return Next::Stay;
        }
        let next = office::on_higher_promise(cx, accepted, self.established);
        if next == Next::Stay {
            office::put_off(cx, conn, self.epoch);
            self.drop_conn(cx, conn, Some(CloseReason::Rejected));
        }
        next
    }

    pub(crate) fn on_message(&mut self, cx: &mut Cx<'_>, conn: ConnId, msg: Message) -> Next {
        let handled = if let Some(guest) = self.guests.get_mut(&conn) {
            guest.heard = cx.now.at;
            self.on_guest_message(cx, conn, msg)
        } else if let Some(follower) = self.followers.get_mut(&conn) {
            follower.guest.heard = cx.now.at;
            if !matches!(msg, Message::Alive { .. } | Message::Pong { .. }) {
                follower.worked = cx.now.at;
            }
            self.on_follower_message(cx, conn, msg)
        } else {
            return Next::Stay;
        };
        handled.unwrap_or_else(|fault| {
            cx.note(Note::PeerFault { conn, fault: fault.clone() });
            self.drop_conn(cx, conn, Some(CloseReason::Fault(fault)));
            Next::Stay
        })
    }

    /// A node answers LEADER-INFO.
    fn on_guest_message(&mut self, cx: &mut Cx<'_>, conn: ConnId, msg: Message) -> Handled {
        match msg {
            Message::EpochAck(ack) => self.on_epoch_ack(cx, conn, ack),
            Message::EpochNack { accepted } => self.on_epoch_nack(cx, conn, accepted),
            Message::Rejected(why) => Err(self.rejected(cx, conn, why)),
            // It may overtake the EPOCH-ACK.
            Message::Alive { epoch, .. } if epoch == self.epoch => {
                self.on_heard(cx, conn);
                Ok(Next::Stay)
            }
            msg => Err(office::out_of_place(&msg)),
        }
    }

    fn on_follower_message(&mut self, cx: &mut Cx<'_>, conn: ConnId, msg: Message) -> Handled {
        match msg {
            Message::EpochNack { accepted } => self.on_epoch_nack(cx, conn, accepted),
            Message::SnapshotChunkAck { upto, done } => self.on_chunk_ack(cx, conn, upto, done),
            Message::LogEntriesAck { upto } => self.on_entries_ack(cx, conn, upto),
            Message::NewLeaderAck { epoch, end, full } => {
                self.on_new_leader_ack(cx, conn, epoch, (end, full))
            }
            Message::Ack { epoch, upto } => self.on_ack(cx, conn, epoch, upto),
            Message::Alive { epoch, work } => self.on_alive(cx, conn, epoch, work),
            Message::Pong { epoch, nonce, room, full } => {
                self.on_pong(cx, conn, epoch, nonce, (room, full))
            }
            Message::Forward { requests } => self.on_forward(cx, conn, requests),
            Message::ReadIndex { id } => self.on_read_index(cx, conn, id),
            Message::Rejected(why) => Err(self.rejected(cx, conn, why)),
            Message::EpochAck(ack) => {
                Err(PeerFault::Epoch { got: ack.epoch, expected: self.epoch })
            }
            msg => Err(office::out_of_place(&msg)),
        }
    }

    /// A node promised the epoch and tells its history: from now on it is fed.
    fn on_epoch_ack(&mut self, cx: &mut Cx<'_>, conn: ConnId, ack: EpochAck) -> Handled {
        if ack.epoch != self.epoch {
            return Err(PeerFault::Epoch { got: ack.epoch, expected: self.epoch });
        }
        if !office::is_possible(&ack, self.epoch) {
            return Err(PeerFault::Claim(ack.last.txid));
        }
        let Some(node) = self.guests.get(&conn).map(|guest| guest.node) else {
            return Ok(Next::Stay);
        };
        if !self.office.remembers(node, &ack, self.epoch) {
            office::refuse_old(cx, conn, node);
            self.drop_conn(cx, conn, Some(CloseReason::Rejected));
            return Ok(Next::Stay);
        }
        self.office.acked.entry(node).or_default();
        Ok(self.attach(cx, conn, ack))
    }

    fn on_epoch_nack(&mut self, cx: &mut Cx<'_>, conn: ConnId, accepted: Epoch) -> Handled {
        if cx.is_too_far(accepted) {
            return Err(PeerFault::EpochTooFar(accepted));
        }
        self.drop_conn(cx, conn, Some(CloseReason::StaleEpoch));
        Ok(office::on_higher_promise(cx, accepted, self.established))
    }

    fn rejected(&self, cx: &mut Cx<'_>, conn: ConnId, why: Rejection) -> PeerFault {
        let peer = self.conns().find(|(of, _)| *of == conn).map(|(_, guest)| guest.node);
        cx.note(Note::RejectedBy { peer, why });
        PeerFault::Unexpected("REJECTED")
    }

    /// Bytes arrived on this connection, of a message that is not all there yet.
    pub(crate) fn on_heard(&mut self, cx: &Cx<'_>, conn: ConnId) {
        let follower = self.followers.get_mut(&conn).map(|follower| &mut follower.guest);
        if let Some(guest) = follower.or_else(|| self.guests.get_mut(&conn)) {
            guest.heard = cx.now.at;
            self.heard.insert(guest.node, cx.now.at);
        }
    }

    /// The disk has what these duties waited for.
    pub(crate) fn on_duties(&mut self, cx: &mut Cx<'_>) -> Next {
        while let Some(duty) = cx.s.ledger.due() {
            let next = match duty {
                Duty::Promised => Next::Stay,
                Duty::Logged(txid) => {
                    cx.logged(txid);
                    self.advance(cx)
                }
                Duty::Entered => self.on_entered(cx),
            };
            if next != Next::Stay {
                return next;
            }
        }
        Next::Stay
    }

    pub(crate) fn on_closed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if self.holds(conn) {
            self.drop_conn(cx, conn, None);
        } else {
            cx.note(Note::StaleConn(conn));
        }
    }

    /// Forgets a connection, and closes it if that is still to be done.
    fn drop_conn(&mut self, cx: &mut Cx<'_>, conn: ConnId, close: Option<CloseReason>) {
        let node = if let Some(guest) = self.guests.remove(&conn) {
            guest.node
        } else if let Some(follower) = self.followers.remove(&conn) {
            let node = follower.guest.node;
            match (follower.feed.into_source(), &close) {
                (Some(source), Some(CloseReason::Fault(_))) => source.close(cx),
                (Some(source), _) => drop(self.parked.insert(node, (source, cx.now.at))),
                (None, _) => {}
            }
            self.waiting.forget(conn);
            node
        } else {
            return;
        };
        cx.note(Note::FollowerGone(node));
        if let Some(why) = close {
            cx.close(conn, why);
        }
    }

    /// Steps down.
    pub(crate) fn leave(mut self, cx: &mut Cx<'_>) {
        let mut conns: Vec<ConnId> = self.conns().map(|(conn, _)| conn).collect();
        conns.sort_unstable();
        for conn in conns {
            self.drop_conn(cx, conn, Some(CloseReason::RoleChange));
        }
        self.parked.values().for_each(|(source, _)| source.close(cx));
    }

    /// Everybody who is here.
    fn conns(&self) -> impl Iterator<Item = (ConnId, &Guest)> {
        let followers = self.followers.iter().map(|(conn, follower)| (*conn, &follower.guest));
        self.guests.iter().map(|(conn, guest)| (*conn, guest)).chain(followers)
    }

    /// The voters that have not joined.
    pub(crate) fn missing(&self, s: &State) -> Vec<NodeId> {
        let joined = |id| id == s.node() || self.conns().any(|(_, guest)| guest.node == id);
        s.ensemble.voters().filter(|id| !joined(*id)).collect()
    }

    pub(crate) fn followers(&self, s: &State, now: Instant) -> Vec<FollowerStatus> {
        let guests = self
            .guests
            .iter()
            .map(|(conn, guest)| (*conn, guest.status(s, now, Txid::ZERO, false)));
        let followers = self
            .followers
            .iter()
            .map(|(conn, it)| (*conn, it.guest.status(s, now, it.feed.matched, it.is_ready())));
        let all: BTreeMap<ConnId, FollowerStatus> = guests.chain(followers).collect();
        all.into_values().collect()
    }
}
