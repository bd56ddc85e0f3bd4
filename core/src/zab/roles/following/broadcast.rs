//! Broadcast: what the leader proposes and commits, and what this node's clients ask of it.

use super::joined::{Joined, Phase};
use super::receiving::check;
use crate::words::{Epoch, Txid};
use crate::zab::cx::Cx;
use crate::zab::error::PeerFault;
use crate::zab::history::entry::Entry;
use crate::zab::ledger::Duty;
use crate::zab::message::Message;
use alloc::vec::Vec;

impl Joined {
    /// The epoch that is entered, or on its way to the disk.
    fn entered(&self, epoch: Epoch) -> Result<(), PeerFault> {
        match self.phase {
            Phase::Entering { epoch: expected, .. } | Phase::Entered { epoch: expected, .. } => {
                if epoch == expected {
                    Ok(())
                } else {
                    Err(PeerFault::Epoch { got: epoch, expected })
                }
            }
            Phase::Discovery { .. } | Phase::Sync { .. } => {
                Err(PeerFault::Unexpected("a message of the broadcast"))
            }
        }
    }

    pub(super) fn on_propose(
        &mut self,
        cx: &mut Cx<'_>,
        epoch: Epoch,
        entries: Vec<Entry>,
    ) -> Result<(), PeerFault> {
        self.entered(epoch)?;
        if entries.iter().any(|entry| entry.txid.epoch() != epoch) {
            return Err(PeerFault::Gap);
        }
        check(cx.s.log.last(), &entries)?;
        cx.append(entries);
        planted!(cx, AckAtAppend => cx.send(self.conn, cx.premature_ack(epoch)));
        Ok(())
    }

    /// What the leader knows to be committed is a fact, whatever becomes of its epoch: so it is amid
    /// the history, once it is certain that this log is a part of the leader's.
    pub(super) fn on_commit(
        &mut self,
        cx: &mut Cx<'_>,
        epoch: Epoch,
        upto: Txid,
    ) -> Result<(), PeerFault> {
        match self.phase {
            Phase::Sync { epoch: expected, .. } if expected == epoch && self.continues => {
                cx.s.catching_up = true;
            }
            _ => self.entered(epoch)?,
        }
        if upto > cx.s.log.last().txid {
            return Err(PeerFault::Beyond(upto));
        }
        cx.commit(upto);
        Ok(())
    }

    /// Answers only while nothing higher is promised: the answer confirms the leader's reign.
    pub(super) fn on_ping(
        &mut self,
        cx: &mut Cx<'_>,
        epoch: Epoch,
        nonce: u64,
        (commit, full): (Txid, bool),
    ) -> Result<(), PeerFault> {
        if let Phase::Sync { epoch: expected, .. } = self.phase
            && epoch == expected
        {
            return Ok(());
        }
        self.on_commit(cx, epoch, commit)?;
        self.full = full;
        if matches!(self.phase, Phase::Entered { .. }) && cx.s.accepted() == epoch {
            let (room, full) = (cx.s.short_of_room(), cx.s.is_short_of_space());
            cx.send(self.conn, Message::Pong { epoch, nonce, room, full });
            self.put_off_alive(cx);
        }
        Ok(())
    }

    /// The disk has what this duty waited for.
    pub(super) fn on_duties(&mut self, cx: &mut Cx<'_>) {
        let mut acked = None;
        while let Some(duty) = cx.s.ledger.due() {
            match duty {
                Duty::Promised => {
                    if let Phase::Discovery { promising: Some(epoch) } = self.phase {
                        self.acknowledge_epoch(cx, epoch, true);
                    }
                }
                Duty::Logged(txid) => {
                    cx.logged(txid);
                    acked = Some(txid);
                }
                Duty::Entered => {
                    // What came before belongs to the history that is acknowledged as a whole.
                    acked = None;
                    self.acknowledge_history(cx);
                }
            }
        }
        if cx.s.ledger.is_clean() {
            self.write_pending(cx);
        }
        match (acked, &self.phase) {
            (Some(upto), Phase::Entered { epoch, .. }) => {
                cx.send(self.conn, Message::Ack { epoch: *epoch, upto });
            }
            (Some(upto), Phase::Sync { .. } | Phase::Entering { .. }) => {
                self.acknowledge_sync(cx, upto);
            }
            _ => {}
        }
    }

    /// Sends what clients wait for to the leader.
    pub(super) fn pass_on(&mut self, cx: &mut Cx<'_>) {
        self.pass_writes(cx);
        if let Some(id) = cx.s.requests.ask() {
            cx.send(self.conn, Message::ReadIndex { id });
        }
    }

    /// Sends writes to the leader, as many as may be under way.
    pub(super) fn pass_writes(&self, cx: &mut Cx<'_>) {
        // What is over waits here, where it can still be refused for certain.
        let window = cx.s.cfg.limits.window_bytes.saturating_sub(cx.s.requests.sent());
        let mut requests = cx.s.requests.send_writes(window);
        while !requests.is_empty() {
            let mut room = cx.s.cfg.limits.message_bytes;
            let fits = requests.iter().take_while(|request| {
                let had_room = room > 0;
                room = room.saturating_sub(request.body.len());
                had_room
            });
            let rest = requests.split_off(fits.count());
            cx.send(self.conn, Message::Forward { requests });
            requests = rest;
        }
    }
}
