//! Synchronisation: the own log is cut and filled up to the leader's history, and the epoch entered.

use super::joined::{Joined, Phase};
use crate::words::{Epoch, Txid};
use crate::zab::cx::{Cx, Next};
use crate::zab::error::{HaltReason, PeerFault};
use crate::zab::history::entry::Position;
use crate::zab::message::Message;
use crate::zab::note::Note;

impl Joined {
    pub(super) fn on_truncate(&mut self, cx: &mut Cx<'_>, to: Position) -> Result<Next, PeerFault> {
        let Phase::Sync { epoch, snapshot: None } = self.phase else {
            return Err(PeerFault::Unexpected("TRUNCATE"));
        };
        if self.continues {
            return Err(PeerFault::Unexpected("TRUNCATE amid the history"));
        }
        if to.txid < cx.s.commit {
            return Ok(Next::Halt(HaltReason::CommittedLost { commit: cx.s.commit, to: to.txid }));
        }
        // Equal txids must have equal histories, and whoever entered an epoch holds nothing but
        // its leader's entries. Anything else is damage: it must not be repaired by guessing.
        if cx.s.log.position_at(to.txid) != Some(to) || cx.s.current == epoch {
            return Ok(Next::Halt(HaltReason::Diverged { at: to.txid }));
        }
        planted!(cx, SkipTruncation => return Ok(Next::Stay));
        planted!(cx, TruncateTooFar, cx.truncate(to) => cx.truncate_too_far(to));
        Ok(Next::Stay)
    }

    /// The history is complete: makes it durable, and the epoch after it in the same stream.
    pub(super) fn on_new_leader(
        &mut self,
        cx: &mut Cx<'_>,
        epoch: Epoch,
        end: Position,
    ) -> Result<Next, PeerFault> {
        let Phase::Sync { epoch: expected, snapshot: None } = self.phase else {
            return Err(PeerFault::Unexpected("NEW-LEADER"));
        };
        if epoch != expected {
            return Err(PeerFault::Epoch { got: epoch, expected });
        }
        self.write_pending(cx);
        let last = cx.s.log.last();
        if last.txid != end.txid {
            return Err(PeerFault::History(end.txid));
        }
        if last.chain != end.chain {
            return Ok(Next::Halt(HaltReason::Diverged { at: end.txid }));
        }
        cx.drop_parked();
        self.phase = Phase::Entering { epoch, end: end.txid };
        self.unacked = None; // The history is acknowledged as a whole.
        cx.enter(epoch);
        planted!(cx, AckHistoryUnflushed => self.tell_history(cx, epoch, end.txid));
        Ok(Next::Stay)
    }

    pub(super) fn on_up_to_date(
        &mut self,
        cx: &mut Cx<'_>,
        epoch: Epoch,
        (commit, full): (Txid, bool),
    ) -> Result<(), PeerFault> {
        let Phase::Entered { epoch: expected, serving: serving @ false } = &mut self.phase else {
            return Err(PeerFault::Unexpected("UP-TO-DATE"));
        };
        if epoch != *expected {
            return Err(PeerFault::Epoch { got: epoch, expected: *expected });
        }
        if commit > cx.s.log.last().txid {
            return Err(PeerFault::Beyond(commit));
        }
        *serving = true;
        cx.serves();
        cx.s.standing.forgive(self.leader);
        cx.note(Note::Serving { epoch, leader: self.leader });
        cx.commit(commit);
        cx.rejoin();
        self.full = full;
        if full || cx.s.is_short_of_space() {
            cx.s.requests.refuse_growing(cx.out);
        }
        self.pass_on(cx);
        Ok(())
    }

    pub(super) fn acknowledge_history(&mut self, cx: &mut Cx<'_>) {
        let Phase::Entering { epoch, end } = self.phase else {
            return;
        };
        self.phase = Phase::Entered { epoch, serving: false };
        self.tell_history(cx, epoch, end);
    }

    fn tell_history(&self, cx: &mut Cx<'_>, epoch: Epoch, end: Txid) {
        let full = cx.s.is_short_of_space();
        cx.send(self.conn, Message::NewLeaderAck { epoch, end, full });
    }
}
