//! Leading: discovery here, synchronisation and broadcast in [`reign`].

mod feed;
mod pace;
mod reading;
mod reads;
mod reign;
mod source;
mod sync;

use crate::mutants::Mutant;
use crate::words::{ConnId, Epoch, Incarnation, Instant, Life, NodeId, Round, Txid};
use crate::zab::config::Timeouts;
use crate::zab::cx::{Cx, Next};
use crate::zab::error::{CloseReason, HaltReason, PeerFault};
use crate::zab::history::storage::Promise;
use crate::zab::ledger::Duty;
use crate::zab::message::{Candidate, EpochAck, FollowerInfo, Message, Rejection, Stance, Vote};
use crate::zab::note::{LeaveReason, Note};
use crate::zab::state::{Pin, State};
use crate::zab::status::FollowerStatus;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use feed::Feed;
use pace::Waiting;
use reign::Reign;
use source::Source;

/// The role of a node that leads, or tries to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Leading {
    round: Round,
    candidate: Candidate,
    /// When something last brought this leader closer to its establishment.
    progress: Instant,
    peers: BTreeMap<ConnId, Peer>,
    stage: Stage,
    /// Voters that have turned to another round, or support another leader of the same epoch.
    gone: BTreeSet<NodeId>,
    /// States that were on their way when the connection broke, with when that was: their followers
    /// go on where they were.
    parked: BTreeMap<NodeId, (Source, Instant)>,
    /// What each node has acknowledged to this leader, on whichever connection: of a node that
    /// promised the epoch and holds nothing of it yet, none.
    acked: BTreeMap<NodeId, Option<Txid>>,
    /// The disk could not read what comes after this: who needs that gets the state.
    gone_log: Option<Txid>,
    /// Writes of followers' clients that wait for room.
    waiting: Waiting,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Stage {
    /// Followers of a quorum are awaited.
    Gathering,
    /// The own promise is on its way to the disk.
    Promising(Epoch),
    /// LEADER-INFO is out, promises are awaited.
    Promised(Epoch),
    /// A quorum promised: this node alone can lead the epoch.
    Reigning(Reign),
}

/// A node that follows, by its present connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Peer {
    node: NodeId,
    incarnation: Incarnation,
    /// The present life of its disk.
    life: Option<Life>,
    client_addr: String,
    accepted: Epoch,
    ack: Option<EpochAck>,
    feed: Option<Feed>,
    /// When bytes last arrived from it.
    heard: Instant,
    /// The count of its work that it told last, and when that last grew.
    work: u64,
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

impl Leading {
    /// Takes office after an election, with the followers that came early.
    pub(crate) fn start(
        cx: &mut Cx<'_>,
        early: BTreeMap<ConnId, (FollowerInfo, Instant)>,
    ) -> Result<Self, Box<Next>> {
        cx.drop_parked();
        let mut leading = Self {
            round: cx.s.round,
            candidate: crate::zab::roles::looking::own(cx.s),
            progress: cx.now.at,
            peers: BTreeMap::new(),
            stage: Stage::Gathering,
            gone: BTreeSet::new(),
            parked: BTreeMap::new(),
            acked: BTreeMap::new(),
            gone_log: None,
            waiting: Waiting::default(),
        };
        let mut next = leading.choose_epoch(cx);
        for (conn, (info, _)) in early {
            if next == Next::Stay {
                next = leading.on_follower_info(cx, conn, info);
            } else {
                cx.close(conn, CloseReason::RoleChange);
            }
        }
        if next == Next::Stay {
            return Ok(leading);
        }
        leading.leave(cx);
        Err(Box::new(next))
    }

    #[cfg(feature = "explore")]
    pub(crate) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase) {
        rebase.instant(&mut self.progress);
        for peer in self.peers.values_mut() {
            rebase.instant(&mut peer.heard);
            rebase.instant(&mut peer.worked);
        }
        self.waiting.rebase(rebase);
        if let Stage::Reigning(reign) = &mut self.stage {
            reign.rebase(rebase);
        }
    }

    pub(crate) fn deadline(&self, s: &State) -> Option<Instant> {
        match &self.stage {
            Stage::Reigning(reign) => Some(reign.next_ping()),
            _ => Some(self.progress.after(s.cfg.timeouts.init)),
        }
    }

    /// The epoch, once it is chosen.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        match &self.stage {
            Stage::Gathering => None,
            Stage::Promising(epoch) | Stage::Promised(epoch) => Some(*epoch),
            Stage::Reigning(reign) => Some(reign.epoch()),
        }
    }

    pub(crate) fn is_established(&self) -> bool {
        matches!(&self.stage, Stage::Reigning(reign) if reign.is_established())
    }

    /// True if a quorum has promised this epoch to this leader: no other can lead it.
    pub(crate) fn is_reigning(&self) -> bool {
        matches!(self.stage, Stage::Reigning(_))
    }

    pub(crate) fn holds(&self, conn: ConnId) -> bool {
        self.peers.contains_key(&conn)
    }

    /// What this node answers to those who look for a leader.
    pub(crate) fn ballot(&self, cx: &mut Cx<'_>, to: NodeId, asked: u64) -> Vote {
        let epoch = self.epoch().filter(|_| self.is_established());
        let vote = cx.ballot(to, Some(asked), Stance::Leading(epoch), self.round, self.candidate);
        Vote { hears: true, ..vote }
    }

    /// Entries after this are needed: a follower is being fed from there.
    pub(crate) fn pin(&self) -> Option<Pin> {
        let feeds = self.peers.values().filter_map(|peer| peer.feed.as_ref()).map(Feed::worth);
        feeds.chain(self.parked.values().map(|(source, _)| source.pin())).min()
    }

    pub(crate) fn on_tick(&mut self, cx: &mut Cx<'_>) -> Next {
        if cx.s.disk_hangs(cx.now.at) {
            return Next::Look(LeaveReason::SlowDisk);
        }
        if self.is_reigning() {
            return self.on_reign_tick(cx);
        }
        if cx.now.at >= self.progress.after(cx.s.cfg.timeouts.init) {
            cx.abstain();
            return Next::Look(LeaveReason::InitTimeout);
        }
        Next::Stay
    }

    /// A voter looks for a leader. Before this leader is established, those who have moved on to a
    /// later round will not come: it gives up as soon as the rest cannot be a quorum.
    pub(crate) fn on_looking(&mut self, cx: &mut Cx<'_>, vote: &Vote) -> Next {
        if vote.round <= self.round || self.is_established() {
            return Next::Stay;
        }
        self.gone.insert(vote.from);
        self.give_up_if_deserted(cx)
    }

    fn give_up_if_deserted(&self, cx: &mut Cx<'_>) -> Next {
        if cx.s.ensemble.is_quorum(|id| !self.gone.contains(&id)) {
            return Next::Stay;
        }
        cx.abstain();
        Next::Look(LeaveReason::Silence)
    }

    /// A node that belongs here wants to follow: greets it.
    pub(crate) fn on_follower_info(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        info: FollowerInfo,
    ) -> Next {
        if self.acked.contains_key(&info.node) && Some(info.accepted) < self.epoch() {
            return self.refuse_old(cx, conn, info.node);
        }
        // It knows a membership to be committed that this node holds and was never told about.
        let pending = cx.s.ensemble.pending().map(|membership| membership.version());
        if pending == Some(info.membership) {
            cx.commit(info.membership);
        }
        let older: Vec<ConnId> =
            self.peers.iter().filter(|(_, p)| p.node == info.node).map(|(c, _)| *c).collect();
        for conn in older {
            self.drop_peer(cx, conn, Some(CloseReason::Replaced));
        }
        self.gone.remove(&info.node);
        let peer = Peer {
            node: info.node,
            incarnation: info.incarnation,
            life: info.lives.present(),
            client_addr: info.client_addr,
            accepted: info.accepted,
            ack: None,
            feed: None,
            heard: cx.now.at,
            work: 0,
            worked: cx.now.at,
            told: Txid::ZERO,
            room: None,
            busy: false,
            full: false,
        };
        self.peers.insert(conn, peer);
        match self.stage {
            Stage::Gathering => self.choose_epoch(cx),
            Stage::Promising(_) => Next::Stay,
            Stage::Promised(epoch) => self.greet(cx, &[conn], epoch),
            Stage::Reigning(ref reign) => {
                let epoch = reign.epoch();
                self.greet(cx, &[conn], epoch)
            }
        }
    }

    /// Chooses the epoch once a quorum is here: above everything that any of them promised.
    fn choose_epoch(&mut self, cx: &mut Cx<'_>) -> Next {
        let here = |id| id == cx.s.node() || self.peers.values().any(|peer| peer.node == id);
        if !cx.s.ensemble.is_quorum(here) {
            return Next::Stay;
        }
        let promised = self.peers.values().map(|peer| peer.accepted);
        let highest = promised.fold(cx.s.accepted().max(cx.s.epoch_floor), Epoch::max);
        let Some(epoch) = highest.next() else {
            return Next::Halt(HaltReason::EpochsExhausted);
        };
        cx.note(Note::EpochProposed(epoch));
        self.stage = Stage::Promising(epoch);
        self.progress = cx.now.at;
        cx.promise(Promise { epoch, leader: cx.s.node() });
        if cx.s.cfg.mutant(Mutant::LeaderInfoUnflushed) {
            return self.on_promised(cx);
        }
        Next::Stay
    }

    /// The own promise is on disk: only now is the epoch offered to anybody.
    fn on_promised(&mut self, cx: &mut Cx<'_>) -> Next {
        let Stage::Promising(epoch) = self.stage else {
            return Next::Stay;
        };
        self.stage = Stage::Promised(epoch);
        // The followers' disks have as long as this one had.
        self.progress = cx.now.at;
        let all: Vec<ConnId> = self.peers.keys().copied().collect();
        match self.greet(cx, &all, epoch) {
            Next::Stay => self.count_promises(cx),
            next => next,
        }
    }

    fn greet(&mut self, cx: &mut Cx<'_>, conns: &[ConnId], epoch: Epoch) -> Next {
        let accepted = |conn: &ConnId| self.peers.get(conn).map_or(Epoch::ZERO, |p| p.accepted);
        let (higher, welcome): (Vec<ConnId>, Vec<ConnId>) =
            conns.iter().partition(|conn| accepted(conn) > epoch);
        if let Some(highest) = higher.iter().map(accepted).max()
            && let next @ Next::Look(_) = self.on_higher_promise(cx, highest)
        {
            return next;
        }
        for conn in higher {
            let wait = cx.s.rest_of_readmission(cx.now.at);
            cx.send(conn, Message::Rejected(Rejection::NotBefore { epoch, wait }));
            self.drop_peer(cx, conn, Some(CloseReason::Rejected));
        }
        let client_addr = cx.client_addr();
        let Timeouts { ping, sync, .. } = cx.s.cfg.timeouts;
        cx.send_all(welcome, Message::LeaderInfo { epoch, client_addr, ping, sync });
        Next::Stay
    }

    /// A voter has promised an epoch above this leader's to somebody who never got established: it
    /// can only come back in a still higher one. Giving up once readmits it.
    fn on_higher_promise(&self, cx: &mut Cx<'_>, higher: Epoch) -> Next {
        cx.s.epoch_floor = cx.s.epoch_floor.max(higher);
        if self.is_established() && !cx.s.may_readmit(cx.now.at) {
            return Next::Stay;
        }
        Next::Look(LeaveReason::HigherEpoch(higher))
    }

    pub(crate) fn on_message(&mut self, cx: &mut Cx<'_>, conn: ConnId, msg: Message) -> Next {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Next::Stay;
        };
        peer.heard = cx.now.at;
        if !matches!(msg, Message::Alive { .. } | Message::Pong { .. }) {
            peer.worked = cx.now.at;
        }
        let result = match msg {
            Message::EpochAck(ack) => return self.on_epoch_ack(cx, conn, ack),
            Message::EpochNack { accepted } if cx.is_too_far(accepted) => {
                Err(PeerFault::EpochTooFar(accepted))
            }
            Message::EpochNack { accepted } => {
                self.drop_peer(cx, conn, Some(CloseReason::StaleEpoch));
                return self.on_higher_promise(cx, accepted);
            }
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
            Message::Rejected(why) => {
                cx.note(Note::RejectedBy { peer: Some(peer.node), why });
                Err(PeerFault::Unexpected("REJECTED"))
            }
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
            | Message::ReadIndexAck { .. } => Err(PeerFault::Unexpected("a leader's message")),
        };
        match result {
            Ok(next) => next,
            Err(fault) => self.fault(cx, conn, fault),
        }
    }

    fn fault(&mut self, cx: &mut Cx<'_>, conn: ConnId, fault: PeerFault) -> Next {
        cx.note(Note::PeerFault { conn, fault: fault.clone() });
        self.drop_peer(cx, conn, Some(CloseReason::Fault(fault)));
        Next::Stay
    }

    /// A follower promised the epoch and tells its history.
    fn on_epoch_ack(&mut self, cx: &mut Cx<'_>, conn: ConnId, ack: EpochAck) -> Next {
        let epoch = self.epoch().unwrap_or_default();
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Next::Stay;
        };
        if ack.epoch != epoch || peer.ack.is_some() {
            let fault = PeerFault::Epoch { got: ack.epoch, expected: epoch };
            return self.fault(cx, conn, fault);
        }
        let last = ack.last.txid;
        if ack.current > epoch || last.epoch() > epoch || ack.base > last || ack.commit > last {
            return self.fault(cx, conn, PeerFault::Claim(last));
        }
        let own = (cx.s.current, cx.s.durable);
        let ahead = ack.counted
            && matches!(self.stage, Stage::Promised(_))
            && (ack.current, last) > own
            && !cx.s.cfg.mutant(Mutant::LeadThoughBehind);
        let ack = EpochAck { counted: ack.counted && !ahead, ..ack };
        let node = peer.node;
        let acked = self.acked.get(&node).copied().flatten();
        if acked.is_some_and(|upto| ack.current != epoch || ack.last.txid < upto) {
            return self.refuse_old(cx, conn, node);
        }
        peer.ack = Some(ack);
        self.acked.entry(node).or_default();
        match self.stage {
            Stage::Promised(_) => {
                // It may hold what is committed and this node lacks: not if a quorum without it
                // holds no more than this node.
                if ahead && !self.may_do_without(cx, node) {
                    cx.abstain();
                    return Next::Look(LeaveReason::Behind(node));
                }
                self.progress = cx.now.at;
                if !ack.counted && !cx.s.cfg.mutant(Mutant::CountUncounted) {
                    self.gone.insert(node);
                    return self.give_up_if_deserted(cx);
                }
                self.count_promises(cx)
            }
            Stage::Reigning(_) => self.attach(cx, conn),
            Stage::Gathering | Stage::Promising(_) => {
                self.fault(cx, conn, PeerFault::Unexpected("EPOCH-ACK"))
            }
        }
    }

    /// What a node has promised or acknowledged to this leader is not on its disk any more: it may
    /// have lost more, of which nobody knows.
    fn refuse_old(&mut self, cx: &mut Cx<'_>, conn: ConnId, node: NodeId) -> Next {
        cx.note(Note::OldDisk(node));
        cx.send(conn, Message::Rejected(Rejection::OldDisk));
        if self.holds(conn) {
            self.drop_peer(cx, conn, Some(CloseReason::Rejected));
        } else {
            cx.close(conn, CloseReason::Rejected);
        }
        Next::Stay
    }

    /// True if a quorum is connected without this follower and those that do not count.
    fn may_do_without(&self, cx: &Cx<'_>, node: NodeId) -> bool {
        let counts = |peer: &Peer| peer.ack.is_none_or(|ack| ack.counted);
        cx.s.ensemble.is_quorum(|id| {
            let here = self.peers.values().any(|peer| peer.node == id && counts(peer));
            id == cx.s.node() || id != node && here
        })
    }

    /// With the promises of a quorum the reign begins: nobody else can lead this epoch.
    fn count_promises(&mut self, cx: &mut Cx<'_>) -> Next {
        let Stage::Promised(epoch) = self.stage else {
            return Next::Stay;
        };
        let any = cx.s.cfg.mutant(Mutant::CountUncounted);
        let promised = |id| {
            let acked = |peer: &Peer| peer.ack.is_some_and(|ack| ack.counted || any);
            id == cx.s.node() || self.peers.values().any(|peer| peer.node == id && acked(peer))
        };
        if !cx.s.ensemble.is_quorum(promised) {
            return Next::Stay;
        }
        self.begin_reign(cx, epoch)
    }

    /// The disk has what these duties waited for.
    pub(crate) fn on_duties(&mut self, cx: &mut Cx<'_>) -> Next {
        while let Some(duty) = cx.s.ledger.due() {
            let next = match duty {
                Duty::Promised => self.on_promised(cx),
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
            self.drop_peer(cx, conn, None);
        } else {
            cx.note(Note::StaleConn(conn));
        }
    }

    /// Forgets a connection, and closes it if that is still to be done.
    fn drop_peer(&mut self, cx: &mut Cx<'_>, conn: ConnId, close: Option<CloseReason>) {
        let Some(peer) = self.peers.remove(&conn) else {
            return;
        };
        if let Some(source) = peer.feed.and_then(Feed::into_source) {
            match close {
                Some(CloseReason::Fault(_)) => source.close(cx),
                _ => drop(self.parked.insert(peer.node, (source, cx.now.at))),
            }
        }
        self.waiting.forget(conn);
        cx.note(Note::FollowerGone(peer.node));
        if let Some(why) = close {
            cx.close(conn, why);
        }
    }

    /// Gives up the office.
    pub(crate) fn leave(mut self, cx: &mut Cx<'_>) {
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for conn in conns {
            self.drop_peer(cx, conn, Some(CloseReason::RoleChange));
        }
        self.parked.values().for_each(|(source, _)| source.close(cx));
    }

    /// The voters that have not joined.
    pub(crate) fn missing(&self, s: &State) -> Vec<NodeId> {
        let joined = |id: &NodeId| *id == s.node() || self.peers.values().any(|p| p.node == *id);
        s.ensemble.voters().filter(|id| !joined(id)).collect()
    }

    pub(crate) fn followers(&self, s: &State, now: Instant) -> Vec<FollowerStatus> {
        let last = s.log.last().txid;
        let status = |peer: &Peer| {
            let feed = peer.feed.as_ref();
            let matched = feed.map_or(Txid::ZERO, |feed| feed.matched);
            FollowerStatus {
                node: peer.node,
                client_addr: peer.client_addr.clone(),
                matched,
                lag: s.log.distance(matched, last),
                heard: now.since(peer.heard),
                ready: feed.is_some_and(Feed::is_acked),
            }
        };
        self.peers.values().map(status).collect()
    }
}
