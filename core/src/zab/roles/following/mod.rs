//! Following a leader: discovery, synchronisation, broadcast.

pub(crate) mod incoming;
mod installing;
mod receiving;

use crate::mutants::Mutant;
use crate::words::{ConnId, Epoch, Instant, Micros, NodeId, Round, Txid};
use crate::zab::config::Timeouts;
use crate::zab::cx::{Cx, Next};
use crate::zab::error::{CloseReason, HaltReason, PeerFault};
use crate::zab::event::Action;
use crate::zab::history::entry::{Body, Entry, Gap, Position};
use crate::zab::history::storage::{Promise, Record};
use crate::zab::ledger::Duty;
use crate::zab::message::{Candidate, EpochAck, Message, Rejection, Stance, Vote};
use crate::zab::note::{LeaveReason, Note};
use crate::zab::state::State;
use crate::zab::status::Obstacle;
use alloc::string::String;
use alloc::vec::Vec;
use incoming::Incoming;

/// So many times an elected leader may refuse a connection before it is believed: its process is
/// gone, or does not take this node in.
const REFUSALS: u32 = 3;
/// A leader's epoch that is further above the own promise was never reached by elections.
const LEADER_EPOCHS: u64 = 1 << 32;
/// No leader bears a longer silence, whatever it says.
const SILENCE_MAX: Micros = Micros::millis(60_000);

/// The role of a node that follows, or tries to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Following {
    pub(crate) leader: NodeId,
    pub(crate) leader_addr: String,
    round: Round,
    candidate: Candidate,
    conn: Option<ConnId>,
    phase: Phase,
    /// When bytes last came from the leader, or this role began.
    heard: Instant,
    /// True once some of a history has arrived: it continues this node's log, so that this is a part
    /// of the leader's.
    continues: bool,
    /// Entries of the history that arrived while the disk was busy: they go there as one.
    pending: Vec<Entry>,
    /// Entries of the history that the disk has and the leader is not told of yet: the state store
    /// is to catch up first.
    unacked: Option<Txid>,
    /// Grows with what the connection and the disk bring about.
    work: u64,
    /// When to tell the leader that this node lives, if it says nothing else.
    alive_at: Option<Instant>,
    redial_at: Option<Instant>,
    /// How often the leader's machine refused a connection, or closed it, before LEADER-INFO.
    refused: u32,
    /// The longest silence of an established leader, by its own word.
    silence: Option<Micros>,
    /// The ensemble has no room for more data, by the leader's last word.
    pub(crate) full: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// The promise is asked for, and perhaps on its way to the disk.
    Discovery { promising: Option<Epoch> },
    /// The leader's history arrives.
    Sync { epoch: Epoch, snapshot: Option<Incoming> },
    /// The history is complete, and on its way to the disk with the epoch.
    Entering { epoch: Epoch, end: Txid },
    /// The disk has both. Clients are served once the leader says so.
    Entered { epoch: Epoch, serving: bool },
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
            leader_addr: String::new(),
            round: vote.round,
            candidate: vote.candidate,
            conn: None,
            phase: Phase::Discovery { promising: None },
            heard: cx.now.at,
            continues: false,
            pending: Vec::new(),
            unacked: None,
            work: 0,
            alive_at: None,
            redial_at: None,
            refused: 0,
            full: false,
            silence: None,
        }
    }

    #[cfg(feature = "explore")]
    pub(crate) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase) {
        rebase.instant(&mut self.heard);
        self.work = 0;
        self.alive_at.iter_mut().for_each(|at| rebase.instant(at));
        self.redial_at.iter_mut().for_each(|at| rebase.instant(at));
    }

    pub(crate) fn deadline(&self, s: &State) -> Option<Instant> {
        let silent = self.silent_at(&s.cfg.timeouts);
        let timers = self.redial_at.into_iter().chain(self.alive_at);
        timers.chain(s.disk_hangs_at()).chain([silent]).min()
    }

    /// When the leader has been silent for too long.
    fn silent_at(&self, timeouts: &Timeouts) -> Instant {
        let by_leader = self.silence.unwrap_or(timeouts.sync);
        self.heard.after(if self.is_serving() { by_leader } else { timeouts.init })
    }

    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Entered { serving: true, .. })
    }

    /// What keeps this node from serving, if it does not.
    pub(crate) fn obstacle(&self) -> Option<Obstacle> {
        let leader = self.leader;
        match &self.phase {
            Phase::Entered { serving: true, .. } => None,
            Phase::Sync { snapshot: Some(incoming), .. } => Some(incoming.obstacle(leader)),
            _ => Some(Obstacle::CatchingUp { leader }),
        }
    }

    /// The connection to the leader, once this node may ask it things.
    pub(crate) fn serving_conn(&self) -> Option<ConnId> {
        self.conn.filter(|_| self.is_serving())
    }

    /// What this node answers to those who look for a leader.
    pub(crate) fn ballot(&self, cx: &mut Cx<'_>, to: NodeId, asked: u64) -> Vote {
        let epoch = match self.phase {
            Phase::Entered { epoch, serving: true } => Some(epoch),
            _ => None,
        };
        cx.ballot(to, Some(asked), Stance::Following(epoch), self.round, self.candidate)
    }

    pub(crate) fn on_tick(&mut self, cx: &mut Cx<'_>) -> Next {
        if self.redial_at.take_if(|at| *at <= cx.now.at).is_some() {
            cx.out.push(Action::Connect(self.leader));
        }
        if cx.s.cfg.mutant(Mutant::NoHeartbeat) && self.is_serving() {
            self.heard = cx.now.at;
        }
        if cx.s.disk_hangs(cx.now.at) && !cx.s.cfg.mutant(Mutant::ServeOnHungDisk) {
            return Next::Look(LeaveReason::SlowDisk);
        }
        if self.silent_at(&cx.s.cfg.timeouts) <= cx.now.at {
            let serving = self.is_serving();
            let why = if serving { LeaveReason::Silence } else { LeaveReason::InitTimeout };
            if matches!(self.phase, Phase::Discovery { promising: None }) {
                cx.shun(self.leader);
            }
            return Next::Look(why);
        }
        self.tell_alive(cx);
        Next::Stay
    }

    /// Tells the leader that this node lives, when nothing else has told it for a while: its
    /// heartbeats may be far behind on a slow link, or it is busy with what the leader sent.
    fn tell_alive(&mut self, cx: &mut Cx<'_>) {
        let (Some(at), Some(conn)) = (self.alive_at, self.conn) else { return };
        let (Phase::Sync { epoch, .. }
        | Phase::Entering { epoch, .. }
        | Phase::Entered { epoch, .. }) = self.phase
        else {
            return;
        };
        if at <= cx.now.at {
            cx.send(conn, Message::Alive { epoch, work: self.work });
            self.put_off_alive(cx);
        }
    }

    fn put_off_alive(&mut self, cx: &Cx<'_>) {
        let pause = Micros::new(cx.s.cfg.timeouts.ping.get().saturating_mul(2));
        self.alive_at = Some(cx.now.at.after(pause));
    }

    /// Bytes arrived from the leader, of a message that is not all there yet.
    pub(crate) fn on_heard(&mut self, cx: &Cx<'_>, conn: ConnId) {
        if self.conn == Some(conn) {
            self.heard = cx.now.at;
            self.work += 1;
        }
    }

    pub(crate) fn on_connected(&mut self, cx: &mut Cx<'_>, conn: ConnId, to: NodeId) {
        if to != self.leader || self.conn.is_some() {
            cx.close(conn, CloseReason::RoleChange);
            return;
        }
        self.conn = Some(conn);
        let info = cx.follower_info();
        cx.send(conn, Message::FollowerInfo(info));
    }

    /// The leader may not know yet that it is one: tries again until the time is up.
    pub(crate) fn on_connect_failed(&mut self, cx: &Cx<'_>, to: NodeId) {
        if to == self.leader && self.conn.is_none() {
            self.redial_at = Some(cx.now.at.after(cx.s.cfg.timeouts.redial));
        }
    }

    /// The leader's machine says that nobody takes connections there. Once may be a restart; again
    /// and again it is a word: others are better.
    pub(crate) fn on_refused(&mut self, cx: &mut Cx<'_>, to: NodeId) -> Next {
        if to != self.leader || self.conn.is_some() {
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
        if self.conn != Some(conn) {
            cx.note(Note::StaleConn(conn));
            return Next::Stay;
        }
        self.conn = None;
        match self.phase {
            Phase::Discovery { promising: None } => self.on_refused(cx, self.leader),
            _ => Next::Look(LeaveReason::Disconnected),
        }
    }

    pub(crate) fn holds(&self, conn: ConnId) -> bool {
        self.conn == Some(conn)
    }

    pub(crate) fn on_message(&mut self, cx: &mut Cx<'_>, conn: ConnId, msg: Message) -> Next {
        self.heard = cx.now.at;
        self.work += u64::from(!matches!(msg, Message::Ping { .. }));
        let result = match msg {
            Message::LeaderInfo { epoch, client_addr, ping, sync } => {
                self.leader_addr = client_addr;
                let silence = sync.max(ping.doubled(SILENCE_MAX)).max(cx.s.cfg.timeouts.ping);
                self.silence = Some(silence.min(SILENCE_MAX));
                return self.on_leader_info(cx, conn, epoch);
            }
            Message::Rejected(why) => return self.on_rejected(cx, why),
            Message::Truncate { to } => return self.on_truncate(cx, to),
            Message::Snapshot(head) => self.on_snapshot(cx, head),
            Message::SnapshotResume { at, from } => self.on_resume(cx, at, from),
            Message::SnapshotChunk { from, bytes, last } => {
                self.on_chunk(cx, conn, from, &bytes, last)
            }
            Message::LogEntries { entries } => self.on_log_entries(cx, conn, entries),
            Message::NewLeader { epoch, end } => return self.on_new_leader(cx, conn, epoch, end),
            Message::Propose { epoch, entries } => self.on_propose(cx, conn, epoch, entries),
            Message::Commit { epoch, upto } => self.on_commit(cx, epoch, upto),
            Message::UpToDate { epoch, commit, full } => {
                self.on_up_to_date(cx, conn, epoch, (commit, full))
            }
            Message::Ping { epoch, nonce, commit, full } => {
                self.on_ping(cx, conn, epoch, nonce, (commit, full))
            }
            Message::ForwardRefused { seqs, why } => {
                cx.s.requests.refused(&seqs, why, cx.out);
                Ok(())
            }
            Message::ReadIndexAck { id, index } => {
                cx.s.requests.indexed(id, index);
                cx.s.requests.readable(cx.s.applied, cx.out);
                Ok(())
            }
            Message::FollowerInfo(_)
            | Message::EpochAck(_)
            | Message::EpochNack { .. }
            | Message::SnapshotChunkAck { .. }
            | Message::LogEntriesAck { .. }
            | Message::NewLeaderAck { .. }
            | Message::Ack { .. }
            | Message::Pong { .. }
            | Message::Alive { .. }
            | Message::Forward { .. }
            | Message::ReadIndex { .. } => Err(PeerFault::Unexpected("a follower's message")),
        };
        match result {
            Ok(()) => Next::Stay,
            Err(fault) => self.fault(cx, conn, fault),
        }
    }

    pub(crate) fn fault(&mut self, cx: &mut Cx<'_>, conn: ConnId, fault: PeerFault) -> Next {
        cx.note(Note::PeerFault { conn, fault: fault.clone() });
        cx.close(conn, CloseReason::Fault(fault));
        self.conn = None;
        // What such a leader has sent of a snapshot is not gone on with.
        if let Phase::Sync { snapshot, .. } = &mut self.phase
            && let Some(incoming) = snapshot.take()
        {
            incoming.drop(cx.out);
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

    // Discovery.

    /// Promises the epoch, if nothing higher and no other leader of the same epoch was promised.
    fn on_leader_info(&mut self, cx: &mut Cx<'_>, conn: ConnId, epoch: Epoch) -> Next {
        if !matches!(self.phase, Phase::Discovery { promising: None }) {
            return self.fault(cx, conn, PeerFault::Unexpected("LEADER-INFO"));
        }
        if epoch == Epoch::ZERO {
            return self.fault(cx, conn, PeerFault::Unexpected("an epoch of nobody"));
        }
        let accepted = cx.s.accepted();
        if epoch.get() - accepted.get().min(epoch.get()) > LEADER_EPOCHS {
            return self.fault(cx, conn, PeerFault::EpochTooFar(epoch));
        }
        // It takes this node in.
        cx.s.denied.clear();
        if epoch < accepted {
            cx.send(conn, Message::EpochNack { accepted });
            return Next::Look(LeaveReason::HigherEpoch(accepted));
        }
        let held = cx.s.promise.filter(|promise| promise.epoch == epoch);
        let counted = held.is_none_or(|promise| promise.leader == self.leader)
            || cx.s.cfg.mutant(Mutant::AckEpochToAnother);
        cx.note(Note::EpochAccepted { epoch, leader: self.leader, counted });
        if held.is_none() {
            self.phase = Phase::Discovery { promising: Some(epoch) };
            cx.promise(Promise { epoch, leader: self.leader });
            if !cx.s.cfg.mutant(Mutant::PromiseInMemory) {
                return Next::Stay;
            }
        }
        self.acknowledge_epoch(cx, epoch, counted);
        Next::Stay
    }

    fn acknowledge_epoch(&mut self, cx: &mut Cx<'_>, epoch: Epoch, counted: bool) {
        self.phase = Phase::Sync { epoch, snapshot: None };
        if cx.s.cfg.mutant(Mutant::EnterBeforeHistory) {
            cx.persist(Record::Enter(epoch));
        }
        let Some(conn) = self.conn else { return };
        let ack = EpochAck {
            epoch,
            counted,
            current: cx.s.current,
            last: cx.s.log.last(),
            base: cx.s.log.base().at.txid,
            commit: cx.s.commit,
            staged: cx.s.parked.as_ref().map(Incoming::staged),
        };
        self.put_off_alive(cx);
        assert_eq!(ack.last.txid, cx.s.durable, "an epoch is acknowledged with a quiet disk");
        cx.send(conn, Message::EpochAck(ack));
    }

    // Synchronisation.

    fn on_truncate(&mut self, cx: &mut Cx<'_>, to: Position) -> Next {
        let Phase::Sync { epoch, snapshot: None } = self.phase else {
            let conn = self.conn.unwrap_or_default();
            return self.fault(cx, conn, PeerFault::Unexpected("TRUNCATE"));
        };
        if self.continues {
            let conn = self.conn.unwrap_or_default();
            return self.fault(cx, conn, PeerFault::Unexpected("TRUNCATE amid the history"));
        }
        if to.txid < cx.s.commit {
            return Next::Halt(HaltReason::CommittedLost { commit: cx.s.commit, to: to.txid });
        }
        // Equal txids must have equal histories, and whoever entered an epoch holds nothing but
        // its leader's entries. Anything else is damage: it must not be repaired by guessing.
        if cx.s.log.position_at(to.txid) != Some(to) || cx.s.current == epoch {
            return Next::Halt(HaltReason::Diverged { at: to.txid });
        }
        if cx.s.cfg.mutant(Mutant::SkipTruncation) {
            return Next::Stay;
        }
        let shorter = cx.s.log.iter().rev().find(|entry| entry.txid < to.txid);
        match shorter.map(Entry::position) {
            Some(shorter) if cx.s.cfg.mutant(Mutant::TruncateTooFar) => cx.truncate(shorter),
            _ => cx.truncate(to),
        }
        Next::Stay
    }

    /// The history is complete: makes it durable, and the epoch after it in the same stream.
    fn on_new_leader(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        epoch: Epoch,
        end: Position,
    ) -> Next {
        let Phase::Sync { epoch: expected, snapshot: None } = self.phase else {
            return self.fault(cx, conn, PeerFault::Unexpected("NEW-LEADER"));
        };
        if epoch != expected {
            return self.fault(cx, conn, PeerFault::Epoch { got: epoch, expected });
        }
        self.write_pending(cx);
        let last = cx.s.log.last();
        if last.txid != end.txid {
            return self.fault(cx, conn, PeerFault::History(end.txid));
        }
        if last.chain != end.chain {
            return Next::Halt(HaltReason::Diverged { at: end.txid });
        }
        cx.drop_parked();
        self.phase = Phase::Entering { epoch, end: end.txid };
        self.unacked = None; // The history is acknowledged as a whole.
        cx.enter(epoch);
        if cx.s.cfg.mutant(Mutant::AckHistoryUnflushed) {
            let full = cx.s.is_short_of_space();
            cx.send(conn, Message::NewLeaderAck { epoch, end: end.txid, full });
        }
        Next::Stay
    }

    fn on_up_to_date(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
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
        self.pass_on(cx, conn);
        Ok(())
    }

    // Broadcast.

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

    fn on_propose(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        epoch: Epoch,
        entries: Vec<Entry>,
    ) -> Result<(), PeerFault> {
        self.entered(epoch)?;
        if entries.iter().any(|entry| entry.txid.epoch() != epoch) {
            return Err(PeerFault::Gap);
        }
        check(cx.s.log.last(), &entries)?;
        cx.append(entries);
        if cx.s.cfg.mutant(Mutant::AckAtAppend) {
            cx.send(conn, Message::Ack { epoch, upto: cx.s.log.last().txid });
        }
        Ok(())
    }

    /// What the leader knows to be committed is a fact, whatever becomes of its epoch: so it is amid
    /// the history, once it is certain that this log is a part of the leader's.
    fn on_commit(&mut self, cx: &mut Cx<'_>, epoch: Epoch, upto: Txid) -> Result<(), PeerFault> {
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
    fn on_ping(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
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
            cx.send(conn, Message::Pong { epoch, nonce, room, full });
            self.put_off_alive(cx);
        }
        Ok(())
    }

    /// The disk has what this duty waited for.
    pub(crate) fn on_duties(&mut self, cx: &mut Cx<'_>) {
        self.work += 1;
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
        match (acked, &self.phase, self.conn) {
            (Some(upto), Phase::Entered { epoch, .. }, Some(conn)) => {
                cx.send(conn, Message::Ack { epoch: *epoch, upto });
            }
            (Some(upto), Phase::Sync { .. } | Phase::Entering { .. }, _) => {
                self.acknowledge_sync(cx, upto);
            }
            _ => {}
        }
    }

    fn acknowledge_history(&mut self, cx: &mut Cx<'_>) {
        let Phase::Entering { epoch, end } = self.phase else {
            return;
        };
        self.phase = Phase::Entered { epoch, serving: false };
        if let Some(conn) = self.conn {
            let full = cx.s.is_short_of_space();
            cx.send(conn, Message::NewLeaderAck { epoch, end, full });
        }
    }

    /// Sends what clients wait for to the leader.
    pub(crate) fn pass_on(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.pass_writes(cx, conn);
        if let Some(id) = cx.s.requests.ask() {
            cx.send(conn, Message::ReadIndex { id });
        }
    }

    /// Sends writes to the leader, as many as may be under way.
    pub(crate) fn pass_writes(&self, cx: &mut Cx<'_>, conn: ConnId) {
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
            cx.send(conn, Message::Forward { requests });
            requests = rest;
        }
    }

    /// Gives up what is under way.
    pub(crate) fn leave(self, cx: &mut Cx<'_>) {
        if let Phase::Sync { snapshot: Some(incoming), .. } = self.phase
            && let Some(parked) = incoming.park(cx.now.at)
        {
            cx.s.parked = Some(parked);
        }
        if let Some(conn) = self.conn {
            cx.close(conn, CloseReason::RoleChange);
        }
    }
}

/// Checks that the entries continue the log, which ends here, in order and without a hole.
fn check(mut end: Position, entries: &[Entry]) -> Result<(), PeerFault> {
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
