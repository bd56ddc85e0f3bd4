//! Feeding one follower from the log.
//!
//! A follower is one cursor over the leader's log. Everything up to the attach point (the end of
//! the log when its synchronisation was planned) travels as LOG-ENTRIES, then NEW-LEADER, then
//! everything after it as PROPOSE, on one connection in one order: there can be no gap and no
//! overlap. A slow follower is paced by what it has acknowledged; nothing queues up for it.

use crate::entry::Position;
use crate::event::Upcall;
use crate::ids::{ConnId, Epoch, Txid};
use crate::message::{EpochAck, Message, SnapshotHead};
use crate::mutants::Mutant;
use crate::plan::{SyncPlan, plan};
use crate::state::Cx;
use alloc::collections::VecDeque;

/// The state of one follower's feed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Feed {
    /// Everything up to here was sent.
    sent: Txid,
    /// The attach point: the end of the history that the follower acknowledges as a whole.
    end: Position,
    stage: Stage,
    /// Messages sent and not acknowledged: the last txid of each and its bytes.
    in_flight: VecDeque<(Txid, usize)>,
    in_flight_bytes: usize,
    /// What the follower has on its disk of this epoch's log.
    pub(crate) matched: Txid,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Stage {
    /// The application's state, in parts.
    Snapshot { at: Position, opened: bool, next: u64, acked: u64, read_all: bool },
    /// The history up to the attach point.
    History,
    /// NEW-LEADER was sent; proposals follow.
    Live { acked: bool },
}

impl Feed {
    /// Plans the synchronisation of a follower and begins it.
    pub(crate) fn start(
        cx: &mut Cx<'_>,
        conn: ConnId,
        ack: &EpochAck,
        snapshot_at: Position,
    ) -> (Self, SyncPlan) {
        let mut plan = plan(ack, &cx.s.log);
        let range = cx.s.log.base().at.txid..=cx.s.log.last().txid;
        if cx.s.cfg.mutant(Mutant::DiffByRange) && range.contains(&ack.last.txid) {
            plan = SyncPlan::Diff(ack.last);
        }
        if cx.s.cfg.mutant(Mutant::SnapshotOfLess) && ack.last != cx.s.log.last() {
            plan = SyncPlan::Snap;
        }
        let end = cx.s.log.last();
        let (sent, stage) = match plan {
            SyncPlan::Diff(from) => (from.txid, Stage::History),
            SyncPlan::Trunc(to) => {
                cx.send(conn, Message::Truncate { to });
                (to.txid, Stage::History)
            }
            SyncPlan::Snap => {
                cx.out.call(Upcall::OpenSnapshot(conn));
                let at = snapshot_at;
                (at.txid, Stage::Snapshot { at, opened: false, next: 0, acked: 0, read_all: false })
            }
        };
        let feed = Self {
            sent,
            end,
            stage,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            matched: Txid::ZERO,
        };
        (feed, plan)
    }

    /// Entries after this should not be forgotten while the feed lasts.
    pub(crate) fn pin(&self) -> Txid {
        self.sent
    }

    /// True once the follower has the history and the epoch on its disk.
    pub(crate) fn is_acked(&self) -> bool {
        matches!(self.stage, Stage::Live { acked: true })
    }

    /// True if the follower gets proposals as they are made: its cursor is at `last`.
    pub(crate) fn is_live_at(&self, last: Txid, window: usize) -> bool {
        matches!(self.stage, Stage::Live { .. })
            && self.sent == last
            && self.in_flight_bytes < window
    }

    /// Sends what the window allows.
    pub(crate) fn pump(&mut self, cx: &mut Cx<'_>, conn: ConnId, epoch: Epoch) {
        assert!(self.sent >= cx.s.log.base().at.txid, "a feed behind the log is dropped");
        loop {
            match self.stage {
                Stage::Snapshot { opened, next, acked, read_all, .. } => {
                    let room = next - acked < cx.s.cfg.limits.window_chunks;
                    if opened && room && !read_all {
                        let max_bytes = cx.s.cfg.limits.message_bytes;
                        cx.out.call(Upcall::ReadSnapshot { conn, max_bytes });
                    }
                    return;
                }
                _ if self.in_flight_bytes >= cx.s.cfg.limits.window_bytes => return,
                Stage::History if self.sent < self.end.txid => {
                    let max_bytes = cx.s.cfg.limits.message_bytes;
                    let entries = cx.s.log.batch(self.sent, self.end.txid, max_bytes);
                    let Some(last) = entries.last() else {
                        return;
                    };
                    self.sent(last.txid, entries.iter().map(|entry| entry.size()).sum());
                    cx.send(conn, Message::LogEntries { entries });
                }
                Stage::History => {
                    cx.send(conn, Message::NewLeader { epoch, end: self.end });
                    self.stage = Stage::Live { acked: false };
                    if cx.s.cfg.mutant(Mutant::AttachGap) {
                        self.sent = cx.s.log.last().txid;
                    }
                }
                Stage::Live { .. } => {
                    let max_bytes = cx.s.cfg.limits.message_bytes;
                    let entries = cx.s.log.batch(self.sent, cx.s.log.last().txid, max_bytes);
                    let Some(last) = entries.last() else {
                        return;
                    };
                    self.sent(last.txid, entries.iter().map(|entry| entry.size()).sum());
                    cx.send(conn, Message::Propose { epoch, entries });
                }
            }
        }
    }

    /// Takes note of entries that were sent.
    pub(crate) fn sent(&mut self, upto: Txid, bytes: usize) {
        self.sent = upto;
        self.in_flight.push_back((upto, bytes));
        self.in_flight_bytes += bytes;
    }

    /// The application holds its state: the snapshot can begin.
    pub(crate) fn on_opened(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        digest: crate::digest::Digest,
    ) {
        if let Stage::Snapshot { at, opened, .. } = &mut self.stage {
            *opened = true;
            let membership = cx.s.log.membership_at(at.txid);
            cx.send(conn, Message::Snapshot(SnapshotHead { at: *at, membership, digest }));
        }
    }

    /// A part of the state, to be sent on.
    pub(crate) fn on_read(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        items: alloc::vec::Vec<crate::message::Item>,
        last: bool,
    ) {
        if let Stage::Snapshot { next, read_all, .. } = &mut self.stage {
            cx.send(conn, Message::SnapshotChunk { index: *next, items, last });
            *next += 1;
            *read_all = last;
            if last {
                cx.out.call(Upcall::CloseSnapshot(conn));
            }
        }
    }

    /// The follower received a part of the state. False if it was never sent.
    pub(crate) fn on_chunk_ack(&mut self, index: u64) -> bool {
        let Stage::Snapshot { next, acked, read_all, .. } = &mut self.stage else {
            return false;
        };
        if index >= *next || index < *acked {
            return false;
        }
        *acked = index + 1;
        if *read_all && acked == next {
            self.stage = Stage::History;
        }
        true
    }

    /// True if the application holds its state for this feed.
    pub(crate) fn holds_snapshot(&self) -> bool {
        matches!(self.stage, Stage::Snapshot { read_all: false, .. })
    }

    /// The follower received entries: frees their room in the window. False for entries that were
    /// never sent.
    pub(crate) fn on_received(&mut self, upto: Txid) -> bool {
        if upto > self.sent {
            return false;
        }
        while let Some((_, bytes)) = self.in_flight.pop_front_if(|(txid, _)| *txid <= upto) {
            self.in_flight_bytes -= bytes;
        }
        true
    }

    /// The follower has the history and the epoch on its disk: this counts as a cumulative
    /// acknowledgement of this epoch's entries up to the attach point, and of nothing else.
    pub(crate) fn on_history_ack(&mut self, epoch: Epoch, end: Txid) -> bool {
        if end != self.end.txid || !matches!(self.stage, Stage::Live { acked: false }) {
            return false;
        }
        self.stage = Stage::Live { acked: true };
        if end.epoch() == epoch {
            self.matched = self.matched.max(end);
        }
        self.on_received(end)
    }

    /// The follower has this epoch's entries on its disk. False if it cannot have them.
    pub(crate) fn on_ack(&mut self, epoch: Epoch, upto: Txid) -> bool {
        if !self.is_acked() || upto > self.sent || upto.epoch() != epoch {
            return false;
        }
        self.matched = self.matched.max(upto);
        self.on_received(upto)
    }
}
