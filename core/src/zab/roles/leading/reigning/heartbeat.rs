//! Heartbeats, and the reads that wait for a round of them.

use super::{Handled, Reigning};
use crate::words::{ConnId, Epoch, Txid};
use crate::zab::cx::{Cx, Next};
use crate::zab::error::PeerFault;
use crate::zab::message::Message;
use crate::zab::roles::leading::rounds::Asker;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

impl Reigning {
    /// Begins a round: a heartbeat to every follower. It may overtake what was sent before, so it
    /// tells those that are up to date no commit beyond what they have, and the others none.
    pub(super) fn ping(&mut self, cx: &mut Cx<'_>) {
        self.next_ping = cx.now.at.after(cx.s.cfg.timeouts.ping);
        let (epoch, nonce) = (self.epoch, self.rounds.begin());
        let full = self.is_full(cx.s);
        let mut groups: BTreeMap<Txid, Vec<ConnId>> = BTreeMap::new();
        for (conn, follower) in &self.followers {
            let commit = follower.told.min(follower.feed.held());
            planted!(cx, OldCommit: commit = follower.ack.commit.min(commit));
            groups.entry(commit).or_default().push(*conn);
        }
        for (commit, to) in groups {
            cx.send_all(to, Message::Ping { epoch, nonce, commit, full });
        }
        self.answer_reads(cx);
    }

    pub(super) fn on_pong(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        epoch: Epoch,
        nonce: u64,
        (room, full): (Option<u64>, bool),
    ) -> Handled {
        let node = self.hear(cx, conn, epoch)?;
        let follower = self.follower(conn)?;
        (follower.room, follower.busy, follower.full) = (room, room == Some(0), full);
        self.pump(cx, conn);
        if nonce > self.rounds.last() {
            return Err(PeerFault::Unexpected("an answer to a round to come"));
        }
        self.rounds.answer(node, nonce);
        self.answer_reads(cx);
        Ok(Next::Stay)
    }

    pub(super) fn on_read_index(&mut self, cx: &mut Cx<'_>, conn: ConnId, id: u64) -> Handled {
        if !self.established {
            return Err(PeerFault::Unexpected("READ-INDEX"));
        }
        self.ask(cx, Asker::Peer(conn, id));
        Ok(Next::Stay)
    }

    pub(super) fn ask(&mut self, cx: &mut Cx<'_>, asker: Asker) {
        let commit = cx.s.commit;
        planted!(cx, ReadWithoutRound => return self.answer_read(cx, asker, commit));
        self.rounds.ask(asker, commit);
        planted!(cx, ReadJoinsRound => self.rounds.share_last());
        if self.rounds.is_wanted() {
            self.ping(cx);
        }
        self.answer_reads(cx);
    }

    /// Answers the reads whose round a quorum has confirmed, and begins the next round if some
    /// came in the meantime.
    fn answer_reads(&mut self, cx: &mut Cx<'_>) {
        loop {
            let own = cx.s.identity.node;
            let confirmed = self.rounds.confirmed(|has| cx.s.is_quorum(|id| id == own || has(id)));
            if let Some((asker, index)) = confirmed {
                self.answer_read(cx, asker, index);
            } else if self.rounds.is_wanted() {
                return self.ping(cx);
            } else {
                return;
            }
        }
    }

    fn answer_read(&mut self, cx: &mut Cx<'_>, asker: Asker, index: Txid) {
        match asker {
            Asker::Own(question) => {
                cx.s.requests.indexed(question, index);
                cx.s.requests.readable(cx.s.applied, cx.out);
            }
            Asker::Peer(conn, id) if self.followers.contains_key(&conn) => {
                cx.send(conn, Message::ReadIndexAck { id, index });
            }
            Asker::Peer(..) => {}
        }
    }
}
