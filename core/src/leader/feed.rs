//! Feeding one follower from the log.
//!
//! A follower is one cursor over the leader's log. Everything up to the attach point (the end of
//! the log when its synchronisation was planned) travels as LOG-ENTRIES, then NEW-LEADER, then
//! everything after it as PROPOSE, on one connection in one order: there can be no gap and no
//! overlap. A slow follower is paced by what its disk has acknowledged: nothing queues up for it,
//! neither here nor there.

use super::source::Source;
use crate::entry::Position;
use crate::ids::{ConnId, Epoch, Txid};
use crate::message::{EpochAck, Message};
use crate::mutants::Mutant;
use crate::plan::{SyncPlan, plan};
use crate::state::{Cx, Pin};
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
    /// Bytes that the follower took in since it was last up to date.
    moved: u64,
    /// What the follower has on its disk of this epoch's log.
    pub(crate) matched: Txid,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Stage {
    /// The application's state, in parts.
    Snapshot(alloc::boxed::Box<Source>),
    /// The history up to the attach point.
    History,
    /// NEW-LEADER was sent; proposals follow.
    Live { acked: bool },
}

impl Feed {
    /// Plans the synchronisation of a follower and begins it. `held` is a state that was on its way
    /// to the follower when its last connection broke.
    pub(crate) fn start(
        cx: &mut Cx<'_>,
        conn: ConnId,
        ack: &EpochAck,
        snapshot_at: Position,
        mut held: Option<Source>,
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
                let resumed = held.take_if(|held| {
                    ack.staged.is_some_and(|staged| held.resumes(staged.at, staged.received))
                });
                let source = match (resumed, ack.staged) {
                    (Some(mut source), Some(staged)) => {
                        source.resume(cx, conn, staged.received);
                        source
                    }
                    _ => Source::open(cx, conn, snapshot_at),
                };
                (source.at().txid, Stage::Snapshot(source.into()))
            }
        };
        if let Some(useless) = held {
            useless.close(cx);
        }
        let feed = Self {
            sent,
            end,
            stage,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            moved: 0,
            matched: Txid::ZERO,
        };
        (feed, plan)
    }

    /// Entries after this should not be forgotten while the feed lasts.
    pub(crate) fn pin(&self) -> Txid {
        self.sent
    }

    /// What that may cost.
    pub(crate) fn worth(&self) -> Pin {
        Pin { at: self.sent, worth: usize::try_from(self.moved).unwrap_or(usize::MAX) }
    }

    /// True once the follower has the history and the epoch on its disk.
    pub(crate) fn is_acked(&self) -> bool {
        matches!(self.stage, Stage::Live { acked: true })
    }

    /// What the follower certainly has in its log.
    pub(crate) fn held(&self) -> Txid {
        if self.is_acked() { self.matched.max(self.end.txid) } else { Txid::ZERO }
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
            match &mut self.stage {
                Stage::Snapshot(source) => return source.pump(cx, conn),
                _ if self.in_flight_bytes >= cx.s.cfg.limits.window_bytes => return,
                Stage::History if self.sent < self.end.txid => {
                    // Each message is a write of its own on a slow disk.
                    let limits = &cx.s.cfg.limits;
                    let max_bytes = limits.message_bytes;
                    if self.in_flight.len() >= (limits.window_bytes / max_bytes.max(1)).max(1) {
                        return;
                    }
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
                        self.moved = 0;
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

    /// The state that is being sent, if one is.
    pub(crate) fn source(&mut self) -> Option<&mut Source> {
        match &mut self.stage {
            Stage::Snapshot(source) => Some(source),
            _ => None,
        }
    }

    /// Takes out the state that is being sent, if one is: the feed ends.
    pub(crate) fn into_source(self) -> Option<Source> {
        match self.stage {
            Stage::Snapshot(source) => Some(*source),
            _ => None,
        }
    }

    /// The follower has a part of the state. False if it was never sent.
    pub(crate) fn on_chunk_ack(&mut self, cx: &Cx<'_>, upto: u64, done: bool) -> bool {
        let Stage::Snapshot(source) = &mut self.stage else {
            return false;
        };
        let Some(done) = source.on_ack(cx.now.at, upto, done) else {
            return false;
        };
        source.fit(cx.s.cfg.limits.message_bytes);
        self.moved = self.moved.max(upto);
        if done {
            self.stage = Stage::History;
        }
        true
    }

    /// The follower has entries: frees their room in the window. False for entries that were
    /// never sent.
    pub(crate) fn on_received(&mut self, upto: Txid) -> bool {
        if upto > self.sent {
            return false;
        }
        while let Some((_, bytes)) = self.in_flight.pop_front_if(|(txid, _)| *txid <= upto) {
            self.in_flight_bytes -= bytes;
            self.moved = self.moved.saturating_add(bytes as u64);
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
