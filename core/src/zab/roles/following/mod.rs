//! Following a leader: it is dialled, and joined over one connection. What is said there is in the
//! files below.

mod broadcast;
pub(crate) mod incoming;
mod installing;
mod joined;
mod receiving;
mod sync;

use crate::words::{ConnId, Instant, NodeId, Round};
use crate::zab::cx::{Cx, Next};
use crate::zab::error::{CloseReason, HaltReason, PeerFault};
use crate::zab::event::Action;
use crate::zab::ledger::Duty;
use crate::zab::message::{Candidate, Message, Rejection, Stance, Vote};
use crate::zab::note::{LeaveReason, Note};
use crate::zab::state::State;
use crate::zab::status::Obstacle;
use joined::{Joined, Phase};

/// So many times an elected leader may refuse a connection before it is believed: its process is
/// gone, or does not take this node in.
const REFUSALS: u32 = 3;

/// The role of a node that follows, or tries to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Following {
    pub(crate) leader: NodeId,
    round: Round,
    candidate: Candidate,
    /// When bytes last came from the leader, or this role began.
    heard: Instant,
    /// How often the leader's machine refused a connection, or closed it, before LEADER-INFO.
    refused: u32,
    /// Grows with what the connection and the disk bring about.
    work: u64,
    link: Link,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::large_enum_variant, reason = "a node has one")]
enum Link {
    /// The leader is being dialled, or will be then.
    Dialling { again_at: Option<Instant> },
    /// There is a connection.
    Joined(Joined),
}

impl Following {
    /// Follows the leader that this vote names.
    pub(crate) fn start(cx: &mut Cx<'_>, vote: &Vote) -> Self {
        let leader = vote.candidate.node;
        cx.s.round = vote.round;
        cx.out.push(Action::Connect(leader));
        if let Stance::Leading(Some(epoch)) | Stance::Following(Some(epoch)) = vote.stance {
            cx.note(Note::Joins { leader, epoch });
        }
        Self {
            leader,
            round: vote.round,
            candidate: vote.candidate,
            heard: cx.now.at,
            refused: 0,
            work: 0,
            link: Link::Dialling { again_at: None },
        }
    }

    #[cfg(feature = "explore")]
    pub(crate) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase) {
        rebase.instant(&mut self.heard);
        self.work = 0;
        match &mut self.link {
            Link::Dialling { again_at } => again_at.iter_mut().for_each(|at| rebase.instant(at)),
            Link::Joined(joined) => joined.rebase(rebase),
        }
    }

    fn joined(&self) -> Option<&Joined> {
        match &self.link {
            Link::Joined(joined) => Some(joined),
            Link::Dialling { .. } => None,
        }
    }

    pub(crate) fn deadline(&self, s: &State) -> Option<Instant> {
        let timer = match &self.link {
            Link::Dialling { again_at } => *again_at,
            Link::Joined(joined) => joined.alive_at,
        };
        timer.into_iter().chain(s.disk_hangs_at()).chain([self.silent_at(s)]).min()
    }

    /// When the leader has been silent for too long.
    fn silent_at(&self, s: &State) -> Instant {
        let serving = self.joined().filter(|joined| joined.is_serving());
        let silence = serving.map_or(s.cfg.timeouts.init, |joined| joined.silence);
        self.heard.after(silence)
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.joined().is_some_and(Joined::is_serving)
    }

    /// Where the leader answers clients; empty if it has not said so.
    pub(crate) fn leader_addr(&self) -> &str {
        self.joined().map_or("", |joined| &joined.leader_addr)
    }

    /// True if the ensemble has no room for more data, by the leader's last word.
    pub(crate) fn is_full(&self) -> bool {
        self.joined().is_some_and(|joined| joined.full)
    }

    /// What keeps this node from serving, if it does not.
    pub(crate) fn obstacle(&self) -> Option<Obstacle> {
        let leader = self.leader;
        match self.joined().map(|joined| &joined.phase) {
            Some(Phase::Entered { serving: true, .. }) => None,
            Some(Phase::Sync { snapshot: Some(incoming), .. }) => Some(incoming.obstacle(leader)),
            _ => Some(Obstacle::CatchingUp { leader }),
        }
    }

    /// What this node answers to those who look for a leader.
    pub(crate) fn ballot(&self, cx: &mut Cx<'_>, to: NodeId, asked: u64) -> Vote {
        let epoch = match self.joined().map(|joined| &joined.phase) {
            Some(Phase::Entered { epoch, serving: true }) => Some(*epoch),
            _ => None,
        };
        cx.ballot(to, Some(asked), Stance::Following(epoch), self.round, self.candidate)
    }

    pub(crate) fn on_tick(&mut self, cx: &mut Cx<'_>) -> Next {
        if let Link::Dialling { again_at } = &mut self.link
            && again_at.take_if(|at| *at <= cx.now.at).is_some()
        {
            cx.out.push(Action::Connect(self.leader));
        }
        planted!(cx, NoHeartbeat => if self.is_serving() { self.heard = cx.now.at });
        if planted!(cx, ServeOnHungDisk, cx.s.disk_hangs(cx.now.at) => false) {
            return Next::Look(LeaveReason::SlowDisk);
        }
        if self.silent_at(cx.s) <= cx.now.at {
            let serving = self.is_serving();
            let why = if serving { LeaveReason::Silence } else { LeaveReason::InitTimeout };
            if self.is_unanswered() {
                cx.shun(self.leader);
            }
            return Next::Look(why);
        }
        if let Link::Joined(joined) = &mut self.link {
            joined.tell_alive(cx, self.work);
        }
        Next::Stay
    }

    /// True if the leader has never said that it is one.
    fn is_unanswered(&self) -> bool {
        self.joined().is_none_or(|it| matches!(it.phase, Phase::Discovery { promising: None }))
    }

    /// Bytes arrived from the leader, of a message that is not all there yet.
    pub(crate) fn on_heard(&mut self, cx: &Cx<'_>, conn: ConnId) {
        if self.holds(conn) {
            self.heard = cx.now.at;
            self.work += 1;
        }
    }

    pub(crate) fn on_connected(&mut self, cx: &mut Cx<'_>, conn: ConnId, to: NodeId) {
        if to != self.leader || self.joined().is_some() {
            cx.close(conn, CloseReason::RoleChange);
            return;
        }
        self.link = Link::Joined(Joined::new(self.leader, conn, cx.s.cfg.timeouts.sync));
        let info = cx.follower_info();
        cx.send(conn, Message::FollowerInfo(info));
    }

    /// The leader may not know yet that it is one: tries again until the time is up.
    pub(crate) fn on_connect_failed(&mut self, cx: &Cx<'_>, to: NodeId) {
        if let Link::Dialling { again_at } = &mut self.link
            && to == self.leader
        {
            *again_at = Some(cx.now.at.after(cx.s.cfg.timeouts.redial));
        }
    }

    /// The leader's machine says that nobody takes connections there. Once may be a restart; again
    /// and again it is a word: others are better.
    pub(crate) fn on_refused(&mut self, cx: &mut Cx<'_>, to: NodeId) -> Next {
        if to != self.leader || self.joined().is_some() {
            return Next::Stay;
        }
        self.refused += 1;
        if self.refused >= REFUSALS {
            cx.shun(self.leader);
            return Next::Look(LeaveReason::Refused);
        }
        self.on_connect_failed(cx, to);
        Next::Stay
    }

    pub(crate) fn on_closed(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> Next {
        if !self.holds(conn) {
            cx.note(Note::StaleConn(conn));
            return Next::Stay;
        }
        let unanswered = self.is_unanswered();
        if let Link::Joined(joined) = self.hang_up() {
            joined.park(cx);
        }
        if unanswered {
            return self.on_refused(cx, self.leader);
        }
        Next::Look(LeaveReason::Disconnected)
    }

    /// The connection is no more, or will be closed by the caller.
    fn hang_up(&mut self) -> Link {
        core::mem::replace(&mut self.link, Link::Dialling { again_at: None })
    }

    pub(crate) fn holds(&self, conn: ConnId) -> bool {
        self.joined().is_some_and(|joined| joined.conn == conn)
    }

    pub(crate) fn on_message(&mut self, cx: &mut Cx<'_>, msg: Message) -> Next {
        let Link::Joined(joined) = &mut self.link else {
            return Next::Stay;
        };
        self.heard = cx.now.at;
        self.work += u64::from(!matches!(msg, Message::Ping { .. }));
        let handled = match msg {
            Message::Rejected(why) => return self.on_rejected(cx, why),
            msg => joined.on_message(cx, msg),
        };
        handled.unwrap_or_else(|fault| self.fault(cx, fault))
    }

    fn fault(&mut self, cx: &mut Cx<'_>, fault: PeerFault) -> Next {
        if let Link::Joined(joined) = self.hang_up() {
            let conn = joined.conn;
            cx.note(Note::PeerFault { conn, fault: fault.clone() });
            cx.close(conn, CloseReason::Fault(fault));
            // What such a leader has sent of a snapshot is not gone on with.
            if let Phase::Sync { snapshot: Some(incoming), .. } = joined.phase {
                incoming.drop(cx.out);
            }
        }
        Next::Look(LeaveReason::Fault)
    }

    fn on_rejected(&mut self, cx: &mut Cx<'_>, why: Rejection) -> Next {
        if let Rejection::NotBefore { epoch, wait } = why {
            cx.s.standing.wait(self.leader, epoch, cx.now.at, wait);
        }
        // What it has recorded of this node's disk, or heard in its reign, is the leader's to know.
        let old = why == Rejection::OldDisk;
        match cx.denied(self.leader, why) {
            _ if old => Next::Halt(HaltReason::OldDisk),
            Next::Stay => Next::Look(LeaveReason::Rejected),
            next => next,
        }
    }

    /// The disk has what this node's duties waited for.
    pub(crate) fn on_duties(&mut self, cx: &mut Cx<'_>) {
        self.work += 1;
        match &mut self.link {
            Link::Joined(joined) => joined.on_duties(cx),
            Link::Dialling { .. } => {
                while let Some(duty) = cx.s.ledger.due() {
                    if let Duty::Logged(txid) = duty {
                        cx.logged(txid);
                    }
                }
            }
        }
    }

    /// The application has looked at a whole snapshot.
    pub(crate) fn on_verified(&mut self, cx: &mut Cx<'_>, stage: u64, good: bool) -> Next {
        match &mut self.link {
            Link::Joined(joined) => match joined.on_verified(cx, stage, good) {
                Ok(()) => Next::Stay,
                Err(fault) => self.fault(cx, fault),
            },
            Link::Dialling { .. } => {
                cx.parked_verified(stage, good);
                Next::Stay
            }
        }
    }

    /// The state store has made a snapshot durable.
    pub(crate) fn on_sealed(&mut self, cx: &mut Cx<'_>, stage: u64) {
        self.gets_on(cx);
        match &mut self.link {
            Link::Joined(joined) => joined.on_sealed(cx, stage),
            Link::Dialling { .. } => cx.parked_sealed(stage),
        }
    }

    /// The state store has taken in so many parts of what was staged.
    pub(crate) fn on_staged(&mut self, cx: &mut Cx<'_>, stage: u64, parts: u64) {
        self.gets_on(cx);
        match &mut self.link {
            Link::Joined(joined) => joined.on_staged(cx, stage, parts),
            Link::Dialling { .. } => cx.parked_staged(stage, parts),
        }
    }

    /// The state store gets on with something.
    pub(crate) fn gets_on(&mut self, cx: &mut Cx<'_>) {
        self.work += 1;
        if let Link::Joined(joined) = &mut self.link {
            joined.gets_on(cx);
        }
    }

    /// Sends what clients wait for to the leader, once it may be asked.
    pub(crate) fn pass_on(&mut self, cx: &mut Cx<'_>) {
        if let Link::Joined(joined) = &mut self.link
            && joined.is_serving()
        {
            joined.pass_on(cx);
        }
    }

    /// Sends writes to the leader, once it may be asked, as many as may be under way.
    pub(crate) fn pass_writes(&self, cx: &mut Cx<'_>) {
        if let Some(joined) = self.joined().filter(|joined| joined.is_serving()) {
            joined.pass_writes(cx);
        }
    }

    /// Gives up what is under way.
    pub(crate) fn leave(mut self, cx: &mut Cx<'_>) {
        if let Link::Joined(joined) = self.hang_up() {
            let conn = joined.conn;
            joined.park(cx);
            cx.close(conn, CloseReason::RoleChange);
        }
    }
}
