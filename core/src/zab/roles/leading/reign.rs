//! The reign: synchronisation of followers, establishment, broadcast, heartbeats and reads.

use super::feed::{Feed, Gone};
use super::reads::{Asker, Rounds};
use super::{Leading, Stage};
use crate::mutants::Mutant;
use crate::words::{ConnId, Epoch, Instant, Life, NodeId, Txid};
use crate::zab::cx::{Cx, Next};
use crate::zab::error::{CloseReason, PeerFault};
use crate::zab::history::entry::{Body, Entry, Origin, Position};
use crate::zab::membership::lives::Recorded;
use crate::zab::membership::quorum::Membership;
use crate::zab::message::Message;
use crate::zab::note::{LeaveReason, Note};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a leader holds once a quorum has promised its epoch.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Reign {
    epoch: Epoch,
    /// True once the own disk has the epoch: only then does the leader count itself.
    entered: bool,
    established: bool,
    rounds: Rounds,
    next_ping: Instant,
    /// When each node last acknowledged or answered in this epoch.
    pub(super) heard: BTreeMap<NodeId, Instant>,
}

impl Reign {
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn is_established(&self) -> bool {
        self.established
    }

    pub(super) fn next_ping(&self) -> Instant {
        self.next_ping
    }

    #[cfg(feature = "explore")]
    pub(super) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase) {
        rebase.instant(&mut self.next_ping);
        self.heard.values_mut().for_each(|at| rebase.instant(at));
    }
}

pub(super) type Handled = Result<Next, PeerFault>;

impl Leading {
    /// A quorum has promised: what this leader has logged is the initial history of its epoch.
    pub(super) fn begin_reign(&mut self, cx: &mut Cx<'_>, epoch: Epoch) -> Next {
        self.stage = Stage::Reigning(Reign {
            epoch,
            entered: cx.s.cfg.mutant(Mutant::LeaderCountsUnflushed),
            established: false,
            rounds: Rounds::default(),
            next_ping: cx.now.at.after(cx.s.cfg.timeouts.ping),
            heard: BTreeMap::new(),
        });
        self.progress = cx.now.at;
        if cx.s.cfg.mutant(Mutant::DropInherited) {
            cx.truncate(cx.s.log.floor(cx.s.commit).unwrap_or_default());
        }
        cx.enter(epoch);
        let acked = self.peers.iter().filter(|(_, peer)| peer.ack.is_some());
        let acked: Vec<ConnId> = acked.map(|(conn, _)| *conn).collect();
        for conn in acked {
            self.attach(cx, conn);
        }
        if cx.s.cfg.mutant(Mutant::ProposeEarly) {
            let list = cx.s.requests.send_writes(usize::MAX).into_iter();
            let list = list.map(|w| (Some(w.origin), Body::Command(w.body))).collect();
            self.propose(cx, list);
        }
        self.establish(cx)
    }

    pub(super) fn reign(&mut self) -> Option<&mut Reign> {
        match &mut self.stage {
            Stage::Reigning(reign) => Some(reign),
            _ => None,
        }
    }

    /// Fixes where a follower's history ends and its proposals begin, and starts to feed it.
    pub(super) fn attach(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> Next {
        let Some(epoch) = self.epoch() else {
            return Next::Stay;
        };
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Next::Stay;
        };
        let Some(ack) = peer.ack else {
            return Next::Stay;
        };
        let held = self.parked.remove(&peer.node).map(|(source, _)| source);
        let (feed, plan) = Feed::start(cx, conn, &ack, held, self.gone_log);
        (peer.heard, peer.worked) = (cx.now.at, cx.now.at);
        if let Some(plan) = plan {
            cx.note(Note::SyncPlanned { peer: peer.node, kind: plan.kind() });
        }
        let feed = peer.feed.insert(feed);
        feed.pump(cx, conn, epoch);
        if cx.s.cfg.mutant(Mutant::CommitOldEpochByCounting) {
            feed.matched = ack.last.txid.min(feed.pin());
            return self.advance(cx);
        }
        Next::Stay
    }

    /// Feeds one follower, as far as its window allows.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(epoch) = self.epoch() else { return };
        let ready = self.peers.get_mut(&conn).filter(|peer| !peer.busy);
        let Some(feed) = ready.and_then(|peer| peer.feed.as_mut()) else {
            return;
        };
        feed.pump(cx, conn, epoch);
    }

    /// The disk answers what was asked of it for a follower. One whose next entry is gone is dropped:
    /// it comes back by a snapshot.
    pub(crate) fn on_log_read(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        from: Option<Position>,
        entries: Vec<Entry>,
    ) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let (Some(feed), Some(ack)) = (&mut peer.feed, peer.ack) else { return };
        peer.worked = cx.now.at;
        match feed.on_log_read(cx, conn, &ack, (from, entries)) {
            Ok(Some(plan)) => {
                cx.note(Note::SyncPlanned { peer: peer.node, kind: plan.kind() });
            }
            Ok(None) => {}
            Err(Gone(after)) => {
                // Else it would come back to the same place, if it has stored nothing by then.
                self.gone_log = self.gone_log.max(Some(after));
                return self.drop_peer(cx, conn, Some(CloseReason::TooSlow));
            }
        }
        self.progress = cx.now.at;
        self.pump(cx, conn);
    }

    pub(super) fn on_entries_ack(&mut self, cx: &mut Cx<'_>, conn: ConnId, upto: Txid) -> Handled {
        self.progress = cx.now.at;
        if !self.feed(conn)?.on_received(upto) {
            return Err(PeerFault::Beyond(upto));
        }
        self.pump(cx, conn);
        Ok(Next::Stay)
    }

    pub(super) fn feed(&mut self, conn: ConnId) -> Result<&mut Feed, PeerFault> {
        let peer = self.peers.get_mut(&conn);
        peer.and_then(|peer| peer.feed.as_mut()).ok_or(PeerFault::Unexpected("an acknowledgement"))
    }

    /// Checks that a follower speaks of this reign, and notes that it was heard.
    fn hear(&mut self, cx: &Cx<'_>, conn: ConnId, epoch: Epoch) -> Result<NodeId, PeerFault> {
        let node = self.peers.get(&conn).map(|peer| peer.node).unwrap_or_default();
        let Some(reign) = self.reign() else {
            return Err(PeerFault::Unexpected("a message of the broadcast"));
        };
        if epoch != reign.epoch {
            return Err(PeerFault::Epoch { got: epoch, expected: reign.epoch });
        }
        reign.heard.insert(node, cx.now.at);
        Ok(node)
    }

    /// A follower has the initial history, and then the epoch, on its disk.
    pub(super) fn on_new_leader_ack(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        epoch: Epoch,
        (end, full): (Txid, bool),
    ) -> Handled {
        let node = self.hear(cx, conn, epoch)?;
        self.progress = cx.now.at;
        if !self.feed(conn)?.on_history_ack(epoch, end) {
            return Err(PeerFault::History(end));
        }
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.full = full;
        }
        self.remember(node, end);
        cx.note(Note::FollowerReady(node));
        if self.is_established() {
            self.welcome(cx, conn);
            self.pump(cx, conn);
            return Ok(match self.record_lives(cx) {
                Next::Stay => self.advance(cx),
                next => next,
            });
        }
        Ok(self.establish(cx))
    }

    /// Remembers what a node has acknowledged, also beyond its connection.
    fn remember(&mut self, node: NodeId, upto: Txid) {
        let acked = self.acked.entry(node).or_default();
        *acked = (*acked).max(Some(upto));
    }

    /// Has the log record the present life of each voter whose disk is in this epoch, this node
    /// among them, if it does not yet. From then on no older copy of its disk is let in. Not before
    /// the disk is in the epoch: a disk forgets lives that never were.
    fn record_lives(&mut self, cx: &mut Cx<'_>) -> Next {
        let acked = |peer: &&super::Peer| peer.feed.as_ref().is_some_and(Feed::is_acked);
        let peers = self.peers.values().filter(acked);
        let entered = matches!(&self.stage, Stage::Reigning(reign) if reign.entered);
        let own = entered.then(|| (cx.s.node(), cx.s.lives.present()));
        let present = peers.map(|peer| (peer.node, peer.life)).chain(own);
        let new = present.filter_map(|(node, life)| {
            let known = cx.s.ensemble.life_of(node).map(|recorded| recorded.life);
            Some((node, life?)).filter(|_| known != life)
        });
        let lives: BTreeMap<NodeId, Life> = new.collect();
        if lives.is_empty() {
            return Next::Stay;
        }
        cx.note(Note::LivesProposed(lives.len()));
        self.propose(cx, alloc::vec![(None, Body::Lives(lives.into_iter().collect()))])
    }

    /// Lets a follower serve, telling it what is committed now.
    fn welcome(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(epoch) = self.epoch() else { return };
        let full = self.is_full(cx.s);
        if let Some(peer) = self.peers.get_mut(&conn) {
            let sent = peer.feed.as_ref().map_or(Txid::ZERO, Feed::pin);
            peer.told = cx.s.commit.min(sent);
            let old = peer.ack.filter(|_| cx.s.cfg.mutant(Mutant::OldCommit));
            let commit = old.map_or(peer.told, |ack| ack.commit);
            cx.send(conn, Message::UpToDate { epoch, commit, full });
        }
    }

    /// The own disk has the history and the epoch.
    pub(super) fn on_entered(&mut self, cx: &mut Cx<'_>) -> Next {
        if let Some(reign) = self.reign() {
            reign.entered = true;
        }
        self.progress = cx.now.at;
        if self.is_established() {
            return self.record_lives(cx);
        }
        self.establish(cx)
    }

    /// Once a quorum, this node's own disk included, holds the initial history under the new
    /// epoch, that history is committed and the leader may propose.
    fn establish(&mut self, cx: &mut Cx<'_>) -> Next {
        let Stage::Reigning(reign) = &self.stage else {
            return Next::Stay;
        };
        let holds = |id| {
            let acked = |peer: &super::Peer| peer.feed.as_ref().is_some_and(Feed::is_acked);
            let own = id == cx.s.node() && reign.entered;
            own || self.peers.values().any(|peer| peer.node == id && acked(peer))
        };
        if reign.established || !cx.s.ensemble.is_quorum(holds) {
            return Next::Stay;
        }
        let (epoch, last) = (reign.epoch, cx.s.log.last().txid);
        if let Some(reign) = self.reign() {
            reign.established = true;
        }
        cx.note(Note::Established { epoch, last });
        cx.serves();
        cx.s.standing.forgive(cx.s.node());
        cx.commit(last);
        let acked =
            self.peers.iter().filter(|(_, peer)| peer.feed.as_ref().is_some_and(Feed::is_acked));
        let acked: Vec<ConnId> = acked.map(|(conn, _)| *conn).collect();
        for conn in acked {
            self.welcome(cx, conn);
        }
        cx.rejoin();
        if self.is_full(cx.s) || cx.s.is_short_of_space() {
            cx.s.requests.refuse_growing(cx.out);
        }
        if cx.s.ensemble.is_forming()
            && cx.s.ensemble.pending().is_none()
            && let next @ (Next::Look(_) | Next::Halt(_)) = self.propose_formation(cx)
        {
            return next;
        }
        match self.record_lives(cx) {
            Next::Stay => self.serve(cx),
            next => next,
        }
    }

    /// The first entry of all: records by which disk, and which life of it, each initial member is
    /// known from now on.
    fn propose_formation(&mut self, cx: &mut Cx<'_>) -> Next {
        let mut members = cx.s.ensemble.committed().members().clone();
        let Some(version) = self.next_txid(cx) else {
            return Next::Look(LeaveReason::CounterFull);
        };
        let own = (cx.s.node(), cx.s.identity.incarnation, cx.s.lives.present());
        let disks = self.peers.values().map(|peer| (peer.node, peer.incarnation, peer.life));
        for (node, disk, life) in disks.chain([own]) {
            if let Some(member) = members.get_mut(&node) {
                member.incarnation = Some(disk);
                member.life = life.map(|life| Recorded { at: version, life });
            }
        }
        let membership = Arc::new(Membership::new(version, members));
        self.propose(cx, alloc::vec![(None, Body::Membership(membership))])
    }

    /// Proposes and asks what this node's own clients wait for.
    pub(crate) fn serve(&mut self, cx: &mut Cx<'_>) -> Next {
        if !self.is_established() {
            return Next::Stay;
        }
        if let next @ (Next::Look(_) | Next::Halt(_)) = self.propose_what_fits(cx) {
            return next;
        }
        if let Some(question) = cx.s.requests.ask() {
            self.ask(cx, Asker::Own(question));
        }
        Next::Stay
    }

    fn next_txid(&self, cx: &Cx<'_>) -> Option<Txid> {
        let epoch = self.epoch()?;
        let last = cx.s.log.last().txid;
        let next = if last.epoch() == epoch { last.next()? } else { Txid::first(epoch) };
        if cx.s.cfg.mutant(Mutant::CounterWraps) && next.counter() > cx.s.cfg.limits.counter_max {
            return Some(Txid::first(epoch));
        }
        (next.counter() <= cx.s.cfg.limits.counter_max).then_some(next)
    }

    /// Logs entries and sends them to every follower that is waiting for the next one.
    pub(super) fn propose(&mut self, cx: &mut Cx<'_>, bodies: Vec<(Option<Origin>, Body)>) -> Next {
        if bodies.is_empty() {
            return Next::Stay;
        }
        let before = cx.s.log.last();
        let mut end = before;
        let Some(mut txid) = self.next_txid(cx) else {
            return Next::Look(LeaveReason::CounterFull);
        };
        // What does not fit is not lost: who asked finds that the log lacks it, and asks again.
        let room = (cx.s.cfg.limits.counter_max - txid.counter()).saturating_add(1);
        let fits = usize::try_from(room).unwrap_or(usize::MAX);
        let all_fit = bodies.len() <= fits;
        let mut entries = Vec::with_capacity(bodies.len());
        for (origin, body) in bodies.into_iter().take(fits) {
            let entry = Entry::new(end, txid, cx.now.wall, origin, body);
            end = entry.position();
            txid = txid.next().unwrap_or(txid);
            entries.push(entry);
        }
        self.spend_room(entries.iter().map(Entry::size).sum());
        cx.append(entries);
        if cx.s.cfg.mutant(Mutant::LeaderCountsUnflushed) {
            cx.s.durable = end.txid;
        }
        self.broadcast(cx, before.txid);
        match self.advance(cx) {
            Next::Stay if !all_fit => Next::Look(LeaveReason::CounterFull),
            next => next,
        }
    }

    /// Sends the entries after `from` to all followers whose cursor is there: encoded once.
    fn broadcast(&mut self, cx: &mut Cx<'_>, from: Txid) {
        let Some(epoch) = self.epoch() else { return };
        let limits = &cx.s.cfg.limits;
        let (window, max_bytes) = (limits.window_bytes, limits.message_bytes);
        let mut cursor = from;
        loop {
            let mut to = Vec::new();
            let entries = cx.s.log.batch(cursor, cx.s.log.last().txid, max_bytes);
            let Some(last) = entries.last().map(|entry| entry.txid) else {
                break;
            };
            let bytes = entries.iter().map(Entry::size).sum();
            for (conn, peer) in self.peers.iter_mut().filter(|(_, peer)| !peer.busy) {
                if let Some(feed) = peer.feed.as_mut().filter(|f| f.is_live_at(cursor, window)) {
                    feed.sent(last, bytes);
                    to.push(*conn);
                }
            }
            if to.is_empty() {
                break;
            }
            cx.send_all(to, Message::Propose { epoch, entries });
            cursor = last;
        }
    }

    pub(super) fn on_ack(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        epoch: Epoch,
        upto: Txid,
    ) -> Handled {
        let node = self.hear(cx, conn, epoch)?;
        if !self.feed(conn)?.on_ack(epoch, upto) {
            return Err(PeerFault::Beyond(upto));
        }
        self.remember(node, upto);
        self.pump(cx, conn);
        Ok(self.advance(cx))
    }

    /// Commits what a quorum has on disk, and tells the followers. Only entries of this epoch are
    /// counted; those before it were committed by establishment.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) -> Next {
        let Stage::Reigning(reign) = &self.stage else {
            return Next::Stay;
        };
        let by_counting = cx.s.cfg.mutant(Mutant::CommitOldEpochByCounting);
        if !reign.established && !by_counting {
            return Next::Stay;
        }
        let at = |id: NodeId| {
            if id == cx.s.node() {
                return if reign.entered { cx.s.durable } else { Txid::ZERO };
            }
            let feeds = self.peers.values().filter(|peer| peer.node == id);
            feeds.filter_map(|p| p.feed.as_ref()).map(|f| f.matched).max().unwrap_or_default()
        };
        let reached = cx.s.ensemble.watermark(at);
        if (reached.epoch() == reign.epoch || by_counting) && reached > cx.s.commit {
            cx.commit(reached);
        }
        self.tell_commits(cx);
        Next::Stay
    }

    /// Tells followers what is committed, never more than they were sent.
    fn tell_commits(&mut self, cx: &mut Cx<'_>) {
        let Some(epoch) = self.epoch() else { return };
        let mut groups: BTreeMap<Txid, Vec<ConnId>> = BTreeMap::new();
        for (conn, peer) in &mut self.peers {
            let Some(feed) = peer.feed.as_ref().filter(|feed| feed.is_acked()) else {
                continue;
            };
            let upto = cx.s.commit.min(feed.pin());
            if upto > peer.told {
                peer.told = upto;
                groups.entry(upto).or_default().push(*conn);
            }
        }
        for (upto, to) in groups {
            cx.send_all(to, Message::Commit { epoch, upto });
        }
    }

    // Heartbeats and reads.

    pub(super) fn on_reign_tick(&mut self, cx: &mut Cx<'_>) -> Next {
        if cx.s.cfg.mutant(Mutant::NoHeartbeat) {
            self.ping(cx);
            return Next::Stay;
        }
        let timeouts = cx.s.cfg.timeouts.clone();
        let now = cx.now.at;
        self.drop_parked(cx, |_, since| now >= since.after(timeouts.patience()));
        let silent = self.peers.iter().filter(|(_, peer)| {
            let acked = peer.feed.as_ref().is_some_and(Feed::is_acked);
            let limit = if acked { timeouts.sync } else { timeouts.init };
            // Who is being synchronised must also get on with it.
            let idle = peer.feed.is_some() && !acked && now >= peer.worked.after(timeouts.init);
            idle || now >= peer.heard.after(limit)
        });
        let silent: Vec<ConnId> = silent.map(|(conn, _)| *conn).collect();
        for conn in silent {
            self.drop_peer(cx, conn, Some(CloseReason::Silent));
        }
        let Stage::Reigning(reign) = &self.stage else {
            return Next::Stay;
        };
        if reign.established {
            let alive = |id| {
                let heard = reign.heard.get(&id).map(|at| at.after(timeouts.sync));
                id == cx.s.node() || heard.is_some_and(|until| until > cx.now.at)
            };
            if !cx.s.ensemble.is_quorum(alive) {
                return Next::Look(LeaveReason::Silence);
            }
        } else if cx.now.at >= self.progress.after(timeouts.init) {
            return Next::Look(LeaveReason::InitTimeout);
        }
        if reign.next_ping <= cx.now.at {
            self.ping(cx);
        }
        self.refuse_late(cx);
        Next::Stay
    }

    /// Begins a round: a heartbeat to every follower. It may overtake what was sent before, so it
    /// tells those that are up to date no commit beyond what they have, and the others none.
    fn ping(&mut self, cx: &mut Cx<'_>) {
        let ping = cx.s.cfg.timeouts.ping;
        let Some(reign) = self.reign() else { return };
        reign.next_ping = cx.now.at.after(ping);
        let (epoch, nonce) = (reign.epoch, reign.rounds.begin());
        let full = self.is_full(cx.s);
        let mut groups: BTreeMap<Txid, Vec<ConnId>> = BTreeMap::new();
        for (conn, peer) in &self.peers {
            let Some(feed) = &peer.feed else { continue };
            let commit = peer.told.min(feed.held());
            let old = peer.ack.filter(|_| cx.s.cfg.mutant(Mutant::OldCommit));
            let commit = old.map_or(commit, |ack| ack.commit.min(commit));
            groups.entry(commit).or_default().push(*conn);
        }
        for (commit, to) in groups {
            cx.send_all(to, Message::Ping { epoch, nonce, commit, full });
        }
        self.answer_reads(cx);
    }

    pub(super) fn on_pong(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        epoch: Epoch,
        nonce: u64,
        (room, full): (Option<u64>, bool),
    ) -> Handled {
        let node = self.hear(cx, conn, epoch)?;
        if let Some(peer) = self.peers.get_mut(&conn) {
            (peer.room, peer.busy, peer.full) = (room, room == Some(0), full);
        }
        self.pump(cx, conn);
        if let Some(reign) = self.reign() {
            if nonce > reign.rounds.last() {
                return Err(PeerFault::Unexpected("an answer to a round to come"));
            }
            reign.rounds.answer(node, nonce);
        }
        self.answer_reads(cx);
        Ok(Next::Stay)
    }

    pub(super) fn on_read_index(&mut self, cx: &mut Cx<'_>, conn: ConnId, id: u64) -> Handled {
        if !self.is_established() {
            return Err(PeerFault::Unexpected("READ-INDEX"));
        }
        self.ask(cx, Asker::Peer(conn, id));
        Ok(Next::Stay)
    }

    fn ask(&mut self, cx: &mut Cx<'_>, asker: Asker) {
        let shares = cx.s.cfg.mutant(Mutant::ReadJoinsRound);
        let commit = cx.s.commit;
        if cx.s.cfg.mutant(Mutant::ReadWithoutRound) {
            return self.answer_read(cx, asker, commit);
        }
        let Some(reign) = self.reign() else { return };
        reign.rounds.ask(asker, commit, shares);
        if reign.rounds.is_wanted() {
            self.ping(cx);
        }
        self.answer_reads(cx);
    }

    /// Answers the reads whose round a quorum has confirmed, and begins the next round if some
    /// came in the meantime.
    fn answer_reads(&mut self, cx: &mut Cx<'_>) {
        while let Stage::Reigning(reign) = &mut self.stage {
            let own = cx.s.identity.node;
            let ensemble = &cx.s.ensemble;
            let confirmed =
                reign.rounds.confirmed(|has| ensemble.is_quorum(|id| id == own || has(id)));
            if let Some((asker, index)) = confirmed {
                self.answer_read(cx, asker, index);
            } else if reign.rounds.is_wanted() {
                return self.ping(cx);
            } else {
                return;
            }
        }
    }

    fn answer_read(&mut self, cx: &mut Cx<'_>, asker: Asker, index: Txid) {
        match asker {
            Asker::Own(question) => {
                cx.s.requests.indexed(question, index);
                cx.s.requests.readable(cx.s.applied, cx.out);
            }
            Asker::Peer(conn, id) if self.peers.contains_key(&conn) => {
                cx.send(conn, Message::ReadIndexAck { id, index });
            }
            Asker::Peer(..) => {}
        }
    }
}
