//! Broadcast: what is proposed, acknowledged and committed.

use super::{Handled, Reigning};
use crate::words::{ConnId, Epoch, NodeId, Txid};
use crate::zab::cx::{Cx, Next};
use crate::zab::error::PeerFault;
use crate::zab::history::entry::{Body, Entry, Origin};
use crate::zab::message::Message;
use crate::zab::note::LeaveReason;
use crate::zab::roles::leading::rounds::Asker;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

impl Reigning {
    /// Proposes and asks what this node's own clients wait for.
    pub(crate) fn serve(&mut self, cx: &mut Cx<'_>) -> Next {
        if !self.established {
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

    pub(super) fn next_txid(&self, cx: &Cx<'_>) -> Option<Txid> {
        let last = cx.s.log.last().txid;
        let next = if last.epoch() == self.epoch { last.next()? } else { Txid::first(self.epoch) };
        let fits = next.counter() <= cx.s.cfg.limits.counter_max;
        planted!(cx, CounterWraps => return Some(if fits { next } else { Txid::first(self.epoch) }));
        fits.then_some(next)
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
        planted!(cx, LeaderCountsUnflushed => cx.s.durable = end.txid);
        self.broadcast(cx, before.txid);
        match self.advance(cx) {
            Next::Stay if !all_fit => Next::Look(LeaveReason::CounterFull),
            next => next,
        }
    }

    /// Sends the entries after `from` to all followers whose cursor is there: encoded once.
    fn broadcast(&mut self, cx: &mut Cx<'_>, from: Txid) {
        let epoch = self.epoch;
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
            for (conn, follower) in self.followers.iter_mut().filter(|(_, it)| !it.busy) {
                if follower.feed.is_live_at(cursor, window) {
                    follower.feed.sent(last, bytes);
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
        if !self.follower(conn)?.feed.on_ack(epoch, upto) {
            return Err(PeerFault::Beyond(upto));
        }
        self.remember(node, upto);
        self.pump(cx, conn);
        Ok(self.advance(cx))
    }

    /// Commits what a quorum has on disk, and tells the followers. Only entries of this epoch are
    /// counted; those before it were committed by establishment.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) -> Next {
        if planted!(cx, CommitOldEpochByCounting, !self.established => false) {
            return Next::Stay;
        }
        let at = |id: NodeId| {
            if id == cx.s.node() {
                return if self.entered { cx.s.durable } else { Txid::ZERO };
            }
            let peers = self.followers.values().filter(|follower| follower.guest.node == id);
            peers.map(|follower| follower.feed.matched).max().unwrap_or(Txid::ZERO)
        };
        let reached = cx.s.ensemble.watermark(at);
        let own = planted!(cx, CommitOldEpochByCounting, reached.epoch() == self.epoch => true);
        if own && reached > cx.s.commit {
            cx.commit(reached);
        }
        self.tell_commits(cx);
        Next::Stay
    }

    /// Tells followers what is committed, never more than they were sent.
    fn tell_commits(&mut self, cx: &mut Cx<'_>) {
        let mut groups: BTreeMap<Txid, Vec<ConnId>> = BTreeMap::new();
        for (conn, follower) in self.followers.iter_mut().filter(|(_, it)| it.is_ready()) {
            let upto = cx.s.commit.min(follower.feed.pin());
            if upto > follower.told {
                follower.told = upto;
                groups.entry(upto).or_default().push(*conn);
            }
        }
        for (upto, to) in groups {
            cx.send_all(to, Message::Commit { epoch: self.epoch, upto });
        }
    }
}
