//! A state that is being sent to a follower: held by the application, read in order, cut into
//! parts, and kept part by part until the follower's state store has taken it in. A follower whose
//! connection broke goes on at the byte that it has.

use crate::words::{ConnId, Digest, Instant, Micros, Payload};
use crate::zab::cx::Cx;
use crate::zab::event::Upcall;
use crate::zab::history::entry::Position;
use crate::zab::membership::quorum::Membership;
use crate::zab::message::{Item, Message, SnapshotHead};
use crate::zab::parts;
use crate::zab::state::Pin;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The smallest part: what a connection that breaks may have sent in vain.
const SMALLEST: usize = 4 << 10;
/// No limit of messages makes parts smaller than this.
const TINY: usize = 64;
/// The first part.
const FIRST: usize = 16 << 10;
/// A connection that brought fewer parts across than this is followed by smaller ones.
const FEW: u64 = 8;
/// A part that was taken in sooner than this may be followed by larger ones.
const SOON: Micros = Micros::millis(100);
/// A part that took longer than this is followed by smaller ones.
const LATE: Micros = Micros::millis(1000);

/// A state on its way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Source {
    /// Names it to the application: the connection for which it was opened first.
    id: ConnId,
    at: Position,
    membership: Arc<Membership>,
    /// True once the application holds it, if it has to.
    opened: bool,
    /// Read and not sent yet.
    unsent: Vec<u8>,
    reading: bool,
    read_all: bool,
    /// Sent and not acknowledged, oldest first.
    sent: VecDeque<Part>,
    /// The stream was sent up to here, and acknowledged up to there.
    next: u64,
    acked: u64,
    /// Where the present connection began.
    began: u64,
    part_bytes: usize,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Part {
    from: u64,
    bytes: Payload,
    last: bool,
    since: Instant,
}

impl Part {
    fn end(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }

    fn message(&self) -> Message {
        Message::SnapshotChunk { from: self.from, bytes: self.bytes.clone(), last: self.last }
    }
}

impl Source {
    /// Has the application hold its present state.
    pub(crate) fn open(cx: &mut Cx<'_>, conn: ConnId) -> Self {
        cx.out.call(Upcall::OpenSnapshot(conn));
        let at = cx.s.log.position_at(cx.s.applied).expect("the applied entry is in the log");
        let mut source = Self {
            id: conn,
            at,
            membership: cx.s.log.membership_at(at.txid),
            opened: false,
            unsent: Vec::new(),
            reading: false,
            read_all: false,
            sent: VecDeque::new(),
            next: 0,
            acked: 0,
            began: 0,
            part_bytes: FIRST,
        };
        source.fit(cx.s.cfg.limits.message_bytes);
        source
    }

    /// The end of a state that the follower has all of: it came from an earlier leader, and stands for
    /// a place of this one's history.
    pub(crate) fn rest(cx: &mut Cx<'_>, conn: ConnId, at: Position, received: u64) -> Self {
        cx.send(conn, Message::SnapshotResume { at: at.txid, from: received });
        Self {
            id: conn,
            at,
            membership: cx.s.log.membership_at(at.txid),
            opened: true,
            unsent: Vec::new(),
            reading: false,
            read_all: true,
            sent: VecDeque::new(),
            next: received,
            acked: received,
            began: received,
            part_bytes: FIRST,
        }
    }

    pub(crate) fn id(&self) -> ConnId {
        self.id
    }

    /// The last entry contained in the state.
    pub(crate) fn at(&self) -> Position {
        self.at
    }

    /// What should be kept for whoever goes on with it.
    pub(crate) fn pin(&self) -> Pin {
        let worth = usize::try_from(self.acked).unwrap_or(usize::MAX);
        Pin { at: self.at.txid, worth }
    }

    /// The application holds the state: it can be announced.
    pub(crate) fn opened(&mut self, cx: &mut Cx<'_>, conn: ConnId, digest: Digest, bytes: u64) {
        self.opened = true;
        let membership = self.membership.clone();
        cx.send(conn, Message::Snapshot(SnapshotHead { at: self.at, membership, digest, bytes }));
    }

    /// Sends what the window allows, and reads ahead for it.
    pub(crate) fn pump(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if !self.opened {
            return;
        }
        let message_bytes = cx.s.cfg.limits.message_bytes;
        while (self.sent.len() as u64) < cx.s.cfg.limits.window_chunks.max(1) && !self.ended() {
            if self.unsent.len() < self.part_bytes && !self.read_all {
                if !core::mem::replace(&mut self.reading, true) {
                    cx.out.call(Upcall::ReadSnapshot { conn: self.id, max_bytes: message_bytes });
                }
                return;
            }
            let size = self.part_bytes.min(self.unsent.len());
            let rest = self.unsent.split_off(size);
            let bytes: Payload = core::mem::replace(&mut self.unsent, rest).into();
            let last = self.read_all && self.unsent.is_empty();
            let part = Part { from: self.next, bytes, last, since: cx.now.at };
            self.next = part.end();
            cx.send(conn, part.message());
            self.sent.push_back(part);
        }
    }

    /// True once the last part is on its way.
    fn ended(&self) -> bool {
        self.sent.back().is_some_and(|part| part.last)
    }

    /// A part of the state, as the application read it.
    pub(crate) fn read(&mut self, cx: &mut Cx<'_>, items: &[Item], last: bool) {
        self.reading = false;
        items.iter().for_each(|item| parts::put(item, &mut self.unsent));
        self.read_all = last;
        if last {
            self.close(cx);
        }
    }

    /// The application need not hold the state any more.
    pub(crate) fn close(&self, cx: &mut Cx<'_>) {
        cx.out.call(Upcall::CloseSnapshot(self.id));
    }

    /// The follower's state store has the stream up to here. `None` if it was never sent; true if
    /// that is all of it and the follower's disk has made it the follower's state.
    pub(crate) fn on_ack(&mut self, now: Instant, upto: u64, done: bool) -> Option<bool> {
        if upto < self.acked || upto > self.next || done && !(self.ended() && upto == self.next) {
            return None;
        }
        self.acked = upto;
        while let Some(part) = self.sent.pop_front_if(|part| part.end() <= upto && !part.last) {
            let took = now.since(part.since);
            if took <= SOON {
                self.part_bytes = self.part_bytes.saturating_mul(2);
            } else if took >= LATE {
                self.part_bytes /= 2;
            }
        }
        Some(done)
    }

    /// Keeps parts within what a message may have; below some bytes there is nothing to be gained.
    pub(crate) fn fit(&mut self, message_bytes: usize) {
        let most = message_bytes.max(TINY);
        self.part_bytes = self.part_bytes.clamp(SMALLEST.min(most), most);
    }

    /// True if a follower that has this much of the state at `at` can go on from there.
    pub(crate) fn resumes(&self, at: Position, received: u64) -> bool {
        let within = self.acked <= received && received <= self.next;
        self.opened && self.at == at && within
    }

    /// Goes on, on another connection, at the byte that the follower has. What was under way is cut
    /// anew: smaller, if the last connection brought only a few parts across.
    pub(crate) fn resume(&mut self, cx: &mut Cx<'_>, conn: ConnId, received: u64) {
        let mut again = Vec::new();
        self.sent.iter().for_each(|part| again.extend_from_slice(&part.bytes));
        let first = self.sent.front().map_or(received, |part| part.from);
        let has = usize::try_from(received.saturating_sub(first)).unwrap_or(usize::MAX);
        again.append(&mut self.unsent);
        self.unsent = again.split_off(has.min(again.len()));
        self.sent.clear();
        if received.saturating_sub(self.began) < FEW * self.part_bytes as u64 {
            self.part_bytes /= 2;
            self.fit(cx.s.cfg.limits.message_bytes);
        }
        (self.began, self.acked, self.next) = (received, received, received);
        cx.send(conn, Message::SnapshotResume { at: self.at.txid, from: received });
    }
}
