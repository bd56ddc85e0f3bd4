//! Feeding one follower from the log.
//!
//! A follower is one cursor over the leader's log, in memory as far as that reaches and on disk
//! below. Everything up to the attach point (the end of the log when its synchronisation was planned)
//! travels as LOG-ENTRIES, then NEW-LEADER, then everything after it as PROPOSE, on one connection in
//! one order: there can be no gap and no overlap. A slow follower is paced by what its disk has
//! acknowledged: nothing queues up for it, neither here nor there.

use super::reading::{Gone, Reading};
use super::source::Source;
use crate::words::{ConnId, Epoch, Txid};
use crate::zab::cx::Cx;
use crate::zab::history::entry::{Entry, Position};
use crate::zab::message::{EpochAck, Message, Staged};
use crate::zab::state::Pin;
use crate::zab::sync_plan::{SyncPlan, plan};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A message of the history: what a connection that breaks may have sent in vain. The follower's disk
/// takes many as one write.
const HISTORY_BYTES: usize = 8 << 10;

/// The state of one follower's feed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Feed {
    /// Everything up to here was sent.
    sent: Txid,
    /// The attach point: the end of the history that the follower acknowledges as a whole.
    end: Position,
    stage: Stage,
    reading: Reading,
    /// What the follower has of the history, and what it was told to be committed of that.
    received: Txid,
    told: Txid,
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
    /// The disk is asked whether the log there reaches back to the end of the follower's.
    Planning,
    /// The application's state, in parts.
    Snapshot(alloc::boxed::Box<Source>),
    /// The history up to the attach point.
    History,
    /// NEW-LEADER was sent; proposals follow.
    Live { acked: bool },
}

impl Feed {
    /// Begins the synchronisation of a follower. `held` is a state that was on its way to it when its
    /// last connection broke; what comes after `gone` cannot be read. The plan, if it can be made
    /// without asking the disk.
    pub(crate) fn start(
        cx: &mut Cx<'_>,
        conn: ConnId,
        ack: &EpochAck,
        held: Option<Source>,
        gone: Option<Txid>,
    ) -> (Self, Option<SyncPlan>) {
        let mut feed = Self {
            sent: ack.last.txid,
            end: cx.s.log.last(),
            stage: Stage::Planning,
            reading: Reading::default(),
            received: Txid::ZERO,
            told: ack.commit,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            moved: 0,
            matched: Txid::ZERO,
        };
        let floor = cx.s.log.floor(ack.last.txid);
        let resumes = |held: &Source| {
            ack.staged.is_some_and(|staged| held.resumes(staged.at, staged.received))
        };
        let (resumed, useless) = match held {
            Some(held) if floor.is_none() && resumes(&held) => (Some(held), None),
            held => (None, held),
        };
        if let Some(useless) = useless {
            useless.close(cx);
        }
        if let (Some(mut source), Some(staged)) = (resumed, ack.staged) {
            source.resume(cx, conn, staged.received);
            feed.feed_from(source);
            return (feed, Some(SyncPlan::Snap));
        }
        let whole = ack.staged.filter(|staged| staged.whole && floor.is_none());
        if let Some(Staged { at, received, .. }) = whole
            && cx.s.log.position_at(at.txid) == Some(at)
        {
            feed.feed_from(Source::rest(cx, conn, at, received));
            return (feed, Some(SyncPlan::Snap));
        }
        let readable = gone.is_none_or(|gone| gone < ack.last.txid);
        planted!(cx, SnapshotOfLess: readable = ack.last == cx.s.log.last());
        if floor.is_none() && readable {
            feed.reading.ask(cx, conn, ack.last.txid);
            return (feed, None);
        }
        let plan = feed.begin(cx, conn, ack, floor);
        (feed, Some(plan))
    }

    /// Makes the plan and begins to carry it out.
    fn begin(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        ack: &EpochAck,
        floor: Option<Position>,
    ) -> SyncPlan {
        let plan = plan(ack, floor);
        planted!(cx, DiffByRange: plan = cx.diff_by_range(ack, plan));
        planted!(cx, SnapshotOfLess: plan = cx.snap_of_less(ack, plan));
        self.end = cx.s.log.last();
        match plan {
            SyncPlan::Diff(from) => self.feed_after(from.txid),
            SyncPlan::Trunc(to) => {
                cx.send(conn, Message::Truncate { to });
                self.feed_after(to.txid);
            }
            SyncPlan::Snap => self.feed_from(Source::open(cx, conn)),
        }
        plan
    }

    fn feed_after(&mut self, from: Txid) {
        (self.sent, self.received, self.stage) = (from, from, Stage::History);
    }

    fn feed_from(&mut self, source: Source) {
        (self.sent, self.stage) = (source.at().txid, Stage::Snapshot(source.into()));
    }

    /// The disk answers. The plan, if that was the question; an error if what the follower needs is
    /// not there any more.
    pub(crate) fn on_log_read(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        ack: &EpochAck,
        (from, entries): (Option<Position>, Vec<Entry>),
    ) -> Result<Option<SyncPlan>, Gone> {
        if matches!(self.stage, Stage::Planning) {
            let floor = self.reading.found(from, entries);
            return Ok(Some(self.begin(cx, conn, ack, floor)));
        }
        self.reading.take(from, entries).map(|()| None)
    }

    /// Everything up to here was sent: entries after it are needed while the feed lasts.
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
        loop {
            match &mut self.stage {
                Stage::Planning => return,
                Stage::Snapshot(source) => return source.pump(cx, conn),
                _ if self.in_flight_bytes >= cx.s.cfg.limits.window_bytes => return,
                Stage::History if self.sent < self.end.txid => {
                    let most = cx.s.cfg.limits.message_bytes.min(HISTORY_BYTES);
                    let entries = self.reading.next(cx, conn, self.sent, self.end.txid, most);
                    let Some(last) = entries.last() else {
                        return;
                    };
                    self.sent(last.txid, entries.iter().map(|entry| entry.size()).sum());
                    cx.send(conn, Message::LogEntries { entries });
                    self.tell_commit(cx, conn, epoch);
                }
                Stage::History => {
                    cx.send(conn, Message::NewLeader { epoch, end: self.end });
                    self.stage = Stage::Live { acked: false };
                    planted!(cx, AttachGap => self.sent = cx.s.log.last().txid);
                }
                Stage::Live { .. } => {
                    let upto = cx.s.log.last().txid;
                    let most = cx.s.cfg.limits.message_bytes;
                    let entries = self.reading.next(cx, conn, self.sent, upto, most);
                    let Some(last) = entries.last() else {
                        if self.sent == upto {
                            self.moved = 0;
                        }
                        return;
                    };
                    self.sent(last.txid, entries.iter().map(|entry| entry.size()).sum());
                    cx.send(conn, Message::Propose { epoch, entries });
                }
            }
        }
    }

    /// Tells what is committed of that which the follower has of a history, so that it need not keep
    /// all of a long one in memory until the end. Not before the first entries, by which it sees
    /// that its log is a part of this one.
    fn tell_commit(&mut self, cx: &mut Cx<'_>, conn: ConnId, epoch: Epoch) {
        let upto = cx.s.commit.min(self.received);
        if upto > self.told {
            self.told = upto;
            cx.send(conn, Message::Commit { epoch, upto });
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
        if upto > self.sent || matches!(self.stage, Stage::Planning) {
            return false;
        }
        self.received = self.received.max(upto);
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
