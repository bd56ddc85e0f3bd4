//! What a follower lacks of the log and the leader has in memory no more: read from the leader's own
//! disk, in pieces, ahead of what is sent.

use crate::words::{ConnId, Txid};
use crate::zab::cx::Cx;
use crate::zab::event::Action;
use crate::zab::history::entry::{Entry, Position};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A window is read in so many pieces.
const PIECES: usize = 4;

/// What a follower needs after this is not on the disk any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gone(pub(crate) Txid);

/// Entries on their way from the disk to a follower.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Reading {
    /// The disk was asked for what comes after this.
    asked: Option<Txid>,
    /// Read and not sent yet.
    read: VecDeque<Entry>,
    bytes: usize,
}

impl Reading {
    /// Asks the disk for what comes after `after`, unless it is being asked. What is not in memory
    /// any more is applied, and so committed and durable: no later record can cut it.
    pub(crate) fn ask(&mut self, cx: &mut Cx<'_>, conn: ConnId, after: Txid) {
        if self.asked.is_some() {
            return;
        }
        self.asked = Some(after);
        let max_bytes = piece(cx);
        let upto = cx.s.log.base().at.txid;
        cx.out.push(Action::ReadLog { conn, after, upto, max_bytes });
    }

    /// The entries to send after `sent`, up to `upto`, as many as have `max_bytes` but at least one:
    /// from memory as far as it reaches. None while they are being read.
    pub(crate) fn next(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        sent: Txid,
        upto: Txid,
        max_bytes: usize,
    ) -> Vec<Entry> {
        let base = cx.s.log.base().at.txid;
        let end = self.read.back().map_or(sent, |entry| entry.txid);
        if end < base && end < upto && self.bytes < piece(cx) / 2 {
            self.ask(cx, conn, end);
        }
        if self.read.is_empty() {
            return if sent < base { Vec::new() } else { cx.s.log.batch(sent, upto, max_bytes) };
        }
        let mut next: Vec<Entry> = Vec::new();
        let mut room = max_bytes;
        let fits = |entry: &mut Entry, first: bool, room: usize| {
            entry.txid <= upto && (first || entry.size() <= room)
        };
        while let Some(entry) = self.read.pop_front_if(|it| fits(it, next.is_empty(), room)) {
            room = room.saturating_sub(entry.size());
            self.bytes -= entry.size();
            next.push(entry);
        }
        next
    }

    /// The answer of the disk, if it was asked: an error if it cannot go on where it was.
    pub(crate) fn take(&mut self, from: Option<Position>, entries: Vec<Entry>) -> Result<(), Gone> {
        let Some(asked) = self.asked.take() else { return Ok(()) };
        if from.is_none_or(|from| from.txid != asked) || entries.is_empty() {
            return Err(Gone(asked));
        }
        self.bytes += entries.iter().map(Entry::size).sum::<usize>();
        self.read.extend(entries);
        Ok(())
    }

    /// The answer of the disk to the first question of all, by which the plan is made: the last
    /// place of this history at or before the end of the follower's, if what follows it can be read.
    pub(crate) fn found(
        &mut self,
        from: Option<Position>,
        entries: Vec<Entry>,
    ) -> Option<Position> {
        self.asked.take()?;
        let from = from?;
        self.asked = Some(from.txid);
        self.take(Some(from), entries).ok().map(|()| from)
    }
}

/// Bytes of a piece.
fn piece(cx: &Cx<'_>) -> usize {
    let limits = &cx.s.cfg.limits;
    (limits.window_bytes / PIECES).max(limits.message_bytes)
}
