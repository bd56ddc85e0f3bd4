//! The pace of the writes: the leader takes in as much as its own disk and a quorum's can keep up
//! with. What is over waits, in order: writes of its own clients and those of a follower's, each with
//! their node up to a window, and then here. Nothing is refused that gets its turn in time.

use super::{Handled, Reigning};
use crate::words::{ConnId, NodeId, RefuseReason};
use crate::zab::cx::{Cx, Next};
use crate::zab::history::entry::{Body, Origin};
use crate::zab::message::{Forwarded, Message};
use crate::zab::state::State;
use alloc::vec::Vec;

impl Reigning {
    /// How many bytes of entries may be proposed now: as many as this node and, of the voters that
    /// are up to date, the best that make a quorum with it can take in.
    fn room(&self, cx: &Cx<'_>) -> usize {
        let own = cx.s.room();
        if self.followers.values().all(|follower| follower.room.is_none()) {
            return own;
        }
        let reach = cx.s.ensemble.reach(|id| {
            if id == cx.s.node() {
                return u64::MAX;
            }
            let peers = self.ready().filter(|(_, follower)| follower.guest.node == id);
            peers.map(|(_, follower)| follower.room.unwrap_or(u64::MAX)).max().unwrap_or(0)
        });
        own.min(usize::try_from(reach).unwrap_or(usize::MAX))
    }

    /// True if the ensemble has no room for more data: the voters that are here are a quorum, but not
    /// without those that have none.
    pub(crate) fn is_full(&self, s: &State) -> bool {
        let here = |id: NodeId, full: bool| {
            if id == s.node() {
                return full || !s.is_short_of_space();
            }
            let mut peers = self.ready().filter(|(_, follower)| follower.guest.node == id);
            peers.any(|(_, follower)| full || !follower.full)
        };
        s.is_quorum(|id| here(id, true)) && !s.is_quorum(|id| here(id, false))
    }

    /// So many bytes are proposed: the followers have less room, until they say how much.
    pub(super) fn spend_room(&mut self, bytes: usize) {
        for room in self.followers.values_mut().filter_map(|follower| follower.room.as_mut()) {
            *room = room.saturating_sub(bytes as u64);
        }
    }

    /// True if writes wait for room.
    pub(crate) fn holds_writes(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Proposes what waits and has room: of followers' clients half as long as there is of both.
    pub(crate) fn propose_what_fits(&mut self, cx: &mut Cx<'_>) -> Next {
        if planted!(cx, ProposeEarly, !self.established => false) {
            return Next::Stay;
        }
        let mut room = self.room(cx);
        let half = if cx.s.requests.holds_writes() { room / 2 } else { 0 };
        let mut list: Vec<(Option<Origin>, Body)> = Vec::new();
        while room > half
            && let Some((_, request)) = self.waiting.pop_if(|_| true)
        {
            room = room.saturating_sub(request.body.len().max(1));
            list.push((Some(request.origin), Body::Command(request.body)));
        }
        let own = cx.s.requests.send_writes(room);
        list.extend(own.into_iter().map(|w| (Some(w.origin), Body::Command(w.body))));
        self.propose(cx, list)
    }

    /// Writes of a follower's clients: they wait for their turn.
    pub(super) fn on_forward(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        requests: Vec<Forwarded>,
    ) -> Handled {
        let limits = &cx.s.cfg.limits;
        // Each is judged by itself: nobody is refused for what another one asks.
        let (large, requests): (Vec<Forwarded>, Vec<Forwarded>) =
            requests.into_iter().partition(|request| request.body.len() > limits.command_bytes);
        let why = if !self.established {
            Some(RefuseReason::NoLeader)
        } else if self.waiting.bytes() >= limits.pending_bytes {
            Some(RefuseReason::Busy)
        } else {
            None
        };
        refuse(cx, conn, &large, RefuseReason::TooLarge);
        if let Some(why) = why {
            refuse(cx, conn, &requests, why);
            return Ok(Next::Stay);
        }
        for request in requests {
            self.waiting.push(conn, cx.now.at, request);
        }
        Ok(self.propose_what_fits(cx))
    }

    /// Refuses writes of followers' clients that waited in vain, while their clients still wait.
    pub(super) fn refuse_late(&mut self, cx: &mut Cx<'_>) {
        let patience = cx.s.cfg.timeouts.disk;
        while let Some((conn, late)) =
            self.waiting.pop_if(|(_, since, _)| since.after(patience) <= cx.now.at)
        {
            let seqs = alloc::vec![late.origin];
            cx.send(conn, Message::ForwardRefused { seqs, why: RefuseReason::Busy });
        }
    }
}

/// Tells a follower that these requests of its clients are certainly not done.
fn refuse(cx: &mut Cx<'_>, conn: ConnId, requests: &[Forwarded], why: RefuseReason) {
    if !requests.is_empty() {
        let seqs = requests.iter().map(|request| request.origin).collect();
        cx.send(conn, Message::ForwardRefused { seqs, why });
    }
}
