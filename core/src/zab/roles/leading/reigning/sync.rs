//! What a leader and those whom it synchronises say to each other: parts of a state, entries of the
//! history, and that they live.

use super::{Follower, Handled, Reigning};
use crate::words::{ConnId, Digest, Epoch, Txid};
use crate::zab::cx::{Cx, Next};
use crate::zab::error::{CloseReason, PeerFault};
use crate::zab::history::entry::{Entry, Position};
use crate::zab::message::{EpochAck, Item};
use crate::zab::note::Note;
use crate::zab::roles::leading::feed::Feed;
use crate::zab::roles::leading::reading::Gone;
use crate::zab::roles::leading::source::Source;
use alloc::vec::Vec;

impl Reigning {
    /// Fixes where a follower's history ends and its proposals begin, and starts to feed it.
    pub(super) fn attach(&mut self, cx: &mut Cx<'_>, conn: ConnId, ack: EpochAck) -> Next {
        let Some(mut guest) = self.guests.remove(&conn) else {
            return Next::Stay;
        };
        guest.heard = cx.now.at;
        let held = self.parked.remove(&guest.node).map(|(source, _)| source);
        let (mut feed, plan) = Feed::start(cx, conn, &ack, held, self.gone_log);
        if let Some(plan) = plan {
            cx.note(Note::SyncPlanned { peer: guest.node, kind: plan.kind() });
        }
        feed.pump(cx, conn, self.epoch);
        planted!(cx, CommitOldEpochByCounting => feed.matched = ack.last.txid.min(feed.pin()));
        let follower = Follower {
            guest,
            ack,
            feed,
            worked: cx.now.at,
            told: Txid::ZERO,
            room: None,
            busy: false,
            full: false,
        };
        self.followers.insert(conn, follower);
        planted!(cx, CommitOldEpochByCounting => return self.advance(cx));
        Next::Stay
    }

    /// Feeds one follower, as far as its window allows.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if let Some(follower) = self.followers.get_mut(&conn).filter(|follower| !follower.busy) {
            follower.feed.pump(cx, conn, self.epoch);
        }
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
        let Some(follower) = self.followers.get_mut(&conn) else { return };
        follower.worked = cx.now.at;
        match follower.feed.on_log_read(cx, conn, &follower.ack, (from, entries)) {
            Ok(Some(plan)) => {
                cx.note(Note::SyncPlanned { peer: follower.guest.node, kind: plan.kind() });
            }
            Ok(None) => {}
            Err(Gone(after)) => {
                // Else it would come back to the same place, if it has stored nothing by then.
                self.gone_log = self.gone_log.max(Some(after));
                return self.drop_conn(cx, conn, Some(CloseReason::TooSlow));
            }
        }
        self.office.progress = cx.now.at;
        self.pump(cx, conn);
    }

    pub(super) fn on_entries_ack(&mut self, cx: &mut Cx<'_>, conn: ConnId, upto: Txid) -> Handled {
        self.office.progress = cx.now.at;
        if !self.follower(conn)?.feed.on_received(upto) {
            return Err(PeerFault::Beyond(upto));
        }
        self.pump(cx, conn);
        Ok(Next::Stay)
    }

    pub(super) fn follower(&mut self, conn: ConnId) -> Result<&mut Follower, PeerFault> {
        self.followers.get_mut(&conn).ok_or(PeerFault::Unexpected("an acknowledgement"))
    }

    /// Gives up states that nobody has asked for in a long time.
    pub(super) fn drop_old_parked(&mut self, cx: &mut Cx<'_>) {
        let (now, patience) = (cx.now.at, cx.s.cfg.timeouts.patience());
        self.parked.retain(|_, (source, since)| {
            let old = now >= since.after(patience);
            if old {
                source.close(cx);
            }
            !old
        });
    }

    /// The follower to which this state is being sent.
    fn follower_of(&mut self, source: ConnId) -> Option<(ConnId, &mut Source)> {
        let sources = self.followers.iter_mut().filter_map(|(conn, follower)| {
            let source = follower.feed.source()?;
            Some((*conn, source))
        });
        sources.into_iter().find(|(_, found)| found.id() == source)
    }

    /// The application holds its state for a follower.
    pub(crate) fn on_snapshot_opened(
        &mut self,
        cx: &mut Cx<'_>,
        source: ConnId,
        digest: Digest,
        bytes: u64,
    ) {
        if let Some((conn, source)) = self.follower_of(source) {
            source.opened(cx, conn, digest, bytes);
            source.pump(cx, conn);
        }
    }

    /// The application read a part of its state for a follower.
    pub(crate) fn on_snapshot_read(
        &mut self,
        cx: &mut Cx<'_>,
        source: ConnId,
        items: &[Item],
        last: bool,
    ) {
        if let Some((conn, source)) = self.follower_of(source) {
            source.read(cx, items, last);
            source.pump(cx, conn);
        }
    }

    pub(super) fn on_chunk_ack(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        upto: u64,
        done: bool,
    ) -> Handled {
        self.office.progress = cx.now.at;
        if !self.follower(conn)?.feed.on_chunk_ack(cx, upto, done) {
            return Err(PeerFault::Chunk(upto));
        }
        self.pump(cx, conn);
        Ok(Next::Stay)
    }

    /// A follower lives, though it has nothing to say; `work` grows with what its connection and
    /// its disk bring about.
    pub(super) fn on_alive(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        epoch: Epoch,
        work: u64,
    ) -> Handled {
        if epoch != self.epoch {
            return Err(PeerFault::Epoch { got: epoch, expected: self.epoch });
        }
        self.on_heard(cx, conn);
        let follower = self.follower(conn)?;
        if follower.guest.work != work {
            follower.guest.work = work;
            follower.worked = cx.now.at;
            self.office.progress = cx.now.at;
        }
        Ok(Next::Stay)
    }
}
