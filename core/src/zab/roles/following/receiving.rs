//! A state or a history that arrives. A snapshot is handed on to the state store and to the
//! application part by part, and acknowledged as far as the state store has taken it in. What has
//! arrived of it outlives the connection: it waits for the leader to go on with it.

use super::incoming::{Incoming, Step};
use super::installing::record;
use super::joined::{Joined, Phase};
use crate::words::Txid;
use crate::zab::cx::Cx;
use crate::zab::error::PeerFault;
use crate::zab::event::{Action, Upcall};
use crate::zab::history::entry::{Body, Entry, Gap, Position};
use crate::zab::message::{Message, SnapshotHead};
use crate::zab::note::Note;
use alloc::vec::Vec;

impl Joined {
    pub(super) fn on_snapshot(
        &mut self,
        cx: &mut Cx<'_>,
        head: SnapshotHead,
    ) -> Result<(), PeerFault> {
        let Phase::Sync { epoch, snapshot: snapshot @ None } = &mut self.phase else {
            return Err(PeerFault::Unexpected("SNAPSHOT"));
        };
        if self.continues {
            return Err(PeerFault::Unexpected("SNAPSHOT amid the history"));
        }
        // One at a time, never of an epoch that this node has not promised, and under a membership
        // that it contains.
        let consistent = head.membership.version() <= head.at.txid;
        if cx.s.is_installing() || head.at.txid.epoch() > *epoch || !consistent {
            return Err(PeerFault::Unexpected("this SNAPSHOT"));
        }
        // A snapshot behind the own log would drop entries that a quorum may need.
        let less = head.at.txid <= cx.s.log.last().txid;
        if planted!(cx, SnapshotOfLess, less => false) {
            return Err(PeerFault::OldSnapshot(head.at.txid));
        }
        cx.drop_parked();
        cx.s.stages = cx.s.stages.wrapping_add(1);
        *snapshot = Some(Incoming::begin(cx.s.stages, head, cx.now.at, cx.out));
        Ok(())
    }

    /// The leader goes on with what it began on another connection.
    pub(super) fn on_resume(
        &mut self,
        cx: &mut Cx<'_>,
        at: Txid,
        from: u64,
    ) -> Result<(), PeerFault> {
        let Phase::Sync { snapshot: snapshot @ None, .. } = &mut self.phase else {
            return Err(PeerFault::Unexpected("SNAPSHOT-RESUME"));
        };
        if self.continues {
            return Err(PeerFault::Unexpected("SNAPSHOT-RESUME amid the history"));
        }
        // This node's log has not moved since: it had nothing else to log.
        let fits =
            |it: &mut Incoming| it.at() == at && it.received == from && at > cx.s.log.last().txid;
        let Some(mut parked) = cx.s.parked.take_if(fits) else {
            return Err(PeerFault::Unexpected("this SNAPSHOT-RESUME"));
        };
        parked.acked = parked.acked.max(from);
        cx.note(Note::SnapshotResumed { at, bytes: from });
        *snapshot = Some(parked);
        Ok(())
    }

    pub(super) fn on_chunk(
        &mut self,
        cx: &mut Cx<'_>,
        from: u64,
        bytes: &[u8],
        last: bool,
    ) -> Result<(), PeerFault> {
        let Phase::Sync { snapshot: Some(incoming), .. } = &mut self.phase else {
            return Err(PeerFault::Unexpected("a snapshot part"));
        };
        // Of what was all here when its connection broke, nothing but its end comes again.
        let is_more = incoming.step == Step::Arriving || last && bytes.is_empty();
        if from != incoming.received || incoming.ended || !is_more {
            return Err(PeerFault::Chunk(from));
        }
        let items = incoming.parser.take(bytes).ok_or(PeerFault::Chunk(from))?;
        incoming.received = incoming.received.saturating_add(bytes.len() as u64);
        if last && incoming.parser.pending() > 0 {
            return Err(PeerFault::Chunk(from));
        }
        if !items.is_empty() {
            let end = incoming.received.saturating_sub(incoming.parser.pending() as u64);
            incoming.given.push_back(end);
            cx.s.standing.stored();
            cx.out.push(Action::Stage { stage: incoming.stage, items: items.clone() });
            cx.out.call(Upcall::InstallItems(items));
        }
        planted!(cx, AckPartUnstaged => incoming.given.clear());
        if let Some(upto) = incoming.ack() {
            cx.send(self.conn, Message::SnapshotChunkAck { upto, done: false });
        }
        if last {
            incoming.end(cx.out);
            record(cx, incoming);
        }
        Ok(())
    }

    /// The state store gets on with something.
    pub(super) fn gets_on(&mut self, cx: &mut Cx<'_>) {
        if let Some(upto) = self.unacked.take() {
            self.acknowledge_entries(cx, upto);
        }
    }

    /// The state store has taken in so many parts of what was staged.
    pub(super) fn on_staged(&mut self, cx: &mut Cx<'_>, stage: u64, parts: u64) {
        let leader = self.leader;
        let Phase::Sync { snapshot: Some(incoming), .. } = &mut self.phase else {
            return cx.parked_staged(stage, parts);
        };
        if !incoming.take_in(stage, parts) {
            return;
        }
        let ack = incoming.ack();
        let told = incoming.is_untold(cx.now.at);
        let bytes = incoming.staged;
        if let Some(upto) = ack {
            cx.send(self.conn, Message::SnapshotChunkAck { upto, done: false });
        }
        if told {
            cx.note(Note::Installing { leader, bytes });
        }
    }

    pub(super) fn on_log_entries(
        &mut self,
        cx: &mut Cx<'_>,
        entries: Vec<Entry>,
    ) -> Result<(), PeerFault> {
        let Phase::Sync { epoch, snapshot: None } = self.phase else {
            return Err(PeerFault::Unexpected("LOG-ENTRIES"));
        };
        let in_history = entries.iter().all(|entry| entry.txid.epoch() <= epoch);
        if !in_history {
            return Err(PeerFault::Gap);
        }
        let end = self.pending.last().map_or(cx.s.log.last(), Entry::position);
        check(end, &entries)?;
        cx.drop_parked();
        self.continues = true;
        self.pending.extend(entries);
        if cx.s.ledger.is_clean() {
            self.write_pending(cx);
        }
        planted!(cx, AckHistoryAtArrival => cx.send(self.conn, cx.arrived(&self.pending)));
        Ok(())
    }

    /// Gives the disk all of the history that has arrived: one write, however many messages it took.
    pub(super) fn write_pending(&mut self, cx: &mut Cx<'_>) {
        if !self.pending.is_empty() {
            cx.append(core::mem::take(&mut self.pending));
        }
    }

    /// The disk has the log up to here: while the history arrives, this is what paces the leader.
    pub(super) fn acknowledge_sync(&mut self, cx: &mut Cx<'_>, upto: Txid) {
        let installed = match &mut self.phase {
            Phase::Sync { snapshot, .. } => {
                snapshot.take_if(|incoming| incoming.step == Step::Recorded)
            }
            _ => None,
        };
        match installed {
            Some(installed) => {
                let upto = installed.received;
                cx.send(self.conn, Message::SnapshotChunkAck { upto, done: true });
            }
            None => self.acknowledge_entries(cx, upto),
        }
    }

    /// Acknowledges entries of the history, unless the state store is too far behind what is applied
    /// of it: then once it has caught up.
    fn acknowledge_entries(&mut self, cx: &mut Cx<'_>, upto: Txid) {
        let waits = matches!(self.phase, Phase::Sync { .. }) && cx.s.is_behind();
        self.unacked = waits.then_some(upto);
        if !waits {
            cx.send(self.conn, Message::LogEntriesAck { upto });
        }
    }
}

/// Checks that the entries continue the log, which ends here, in order and without a hole.
pub(super) fn check(mut end: Position, entries: &[Entry]) -> Result<(), PeerFault> {
    for entry in entries {
        entry.follows(end).map_err(|_: Gap| PeerFault::Gap)?;
        end = entry.position();
        // A membership is named by its entry; anything else did not come from a leader's log.
        if let Body::Membership(membership) = &entry.body
            && membership.version() != entry.txid
        {
            return Err(PeerFault::Unexpected("a membership of another name"));
        }
    }
    if entries.is_empty() { Err(PeerFault::Unexpected("no entries")) } else { Ok(()) }
}
