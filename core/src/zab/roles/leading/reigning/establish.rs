//! Establishment: a quorum's disks have the history and the epoch.

use super::{Follower, Handled, Reigning};
use crate::words::{ConnId, Epoch, Life, NodeId, Txid};
use crate::zab::cx::{Cx, Next};
use crate::zab::error::PeerFault;
use crate::zab::history::entry::Body;
use crate::zab::membership::lives::Recorded;
use crate::zab::membership::quorum::Membership;
use crate::zab::message::Message;
use crate::zab::note::{LeaveReason, Note};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

impl Reigning {
    /// Checks that a follower speaks of this reign, and notes that it was heard.
    pub(super) fn hear(
        &mut self,
        cx: &Cx<'_>,
        conn: ConnId,
        epoch: Epoch,
    ) -> Result<NodeId, PeerFault> {
        let node = self.follower(conn)?.guest.node;
        if epoch != self.epoch {
            return Err(PeerFault::Epoch { got: epoch, expected: self.epoch });
        }
        self.heard.insert(node, cx.now.at);
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
        self.office.progress = cx.now.at;
        let follower = self.follower(conn)?;
        if !follower.feed.on_history_ack(epoch, end) {
            return Err(PeerFault::History(end));
        }
        follower.full = full;
        self.remember(node, end);
        cx.note(Note::FollowerReady(node));
        if self.established {
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
    pub(super) fn remember(&mut self, node: NodeId, upto: Txid) {
        let acked = self.office.acked.entry(node).or_default();
        *acked = (*acked).max(Some(upto));
    }

    /// Those who have the history and the epoch on their disks.
    pub(super) fn ready(&self) -> impl Iterator<Item = (ConnId, &Follower)> {
        let followers = self.followers.iter().map(|(conn, follower)| (*conn, follower));
        followers.filter(|(_, follower)| follower.is_ready())
    }

    /// Has the log record the present life of each voter whose disk is in this epoch, this node
    /// among them, if it does not yet. From then on no older copy of its disk is let in. Not before
    /// the disk is in the epoch: a disk forgets lives that never were.
    fn record_lives(&mut self, cx: &mut Cx<'_>) -> Next {
        let peers = self.ready().map(|(_, follower)| (follower.guest.node, follower.guest.life));
        let own = self.entered.then(|| (cx.s.node(), cx.s.lives.present()));
        let new = peers.chain(own).filter_map(|(node, life)| {
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
        let (epoch, full) = (self.epoch, self.is_full(cx.s));
        if let Some(follower) = self.followers.get_mut(&conn) {
            follower.told = cx.s.commit.min(follower.feed.pin());
            let commit = planted!(cx, OldCommit, follower.told => follower.ack.commit);
            cx.send(conn, Message::UpToDate { epoch, commit, full });
        }
    }

    /// The own disk has the history and the epoch.
    pub(super) fn on_entered(&mut self, cx: &mut Cx<'_>) -> Next {
        self.entered = true;
        self.office.progress = cx.now.at;
        if self.established {
            return self.record_lives(cx);
        }
        self.establish(cx)
    }

    /// Once a quorum, this node's own disk included, holds the initial history under the new
    /// epoch, that history is committed and the leader may propose.
    pub(super) fn establish(&mut self, cx: &mut Cx<'_>) -> Next {
        let holds = |id| {
            let own = id == cx.s.node() && self.entered;
            own || self.ready().any(|(_, follower)| follower.guest.node == id)
        };
        if self.established || !cx.s.is_quorum(holds) {
            return Next::Stay;
        }
        self.established = true;
        let last = cx.s.log.last().txid;
        cx.note(Note::Established { epoch: self.epoch, last });
        cx.serves();
        cx.s.standing.forgive(cx.s.node());
        cx.commit(last);
        for conn in self.ready().map(|(conn, _)| conn).collect::<Vec<_>>() {
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
        let disks = self.conns().map(|(_, guest)| (guest.node, guest.incarnation, guest.life));
        for (node, disk, life) in disks.chain([own]) {
            if let Some(member) = members.get_mut(&node) {
                member.incarnation = Some(disk);
                member.life = life.map(|life| Recorded { at: version, life });
            }
        }
        let membership = Arc::new(Membership::new(version, members));
        self.propose(cx, alloc::vec![(None, Body::Membership(membership))])
    }
}
