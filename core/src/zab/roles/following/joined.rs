//! A follower and its leader over one connection: how far they have come, and what each message
//! belongs to. Discovery is here.

use super::incoming::Incoming;
use crate::words::{ConnId, Epoch, Instant, Micros, NodeId, Txid};
use crate::zab::cx::{Cx, Next};
use crate::zab::error::PeerFault;
use crate::zab::history::entry::Entry;
use crate::zab::history::storage::Promise;
use crate::zab::message::{EpochAck, Message};
use crate::zab::note::{LeaveReason, Note};
use alloc::string::String;
use alloc::vec::Vec;

/// A leader's epoch that is further above the own promise was never reached by elections.
const LEADER_EPOCHS: u64 = 1 << 32;
/// No leader bears a longer silence, whatever it says.
const SILENCE_MAX: Micros = Micros::millis(60_000);

/// What a follower knows of the leader that it is connected to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Joined {
    pub(super) leader: NodeId,
    pub(super) conn: ConnId,
    pub(super) phase: Phase,
    /// Where the leader answers clients; empty before LEADER-INFO.
    pub(super) leader_addr: String,
    /// The longest silence of an established leader: its own word, once it has said LEADER-INFO.
    pub(super) silence: Micros,
    /// The ensemble has no room for more data, by the leader's last word.
    pub(super) full: bool,
    /// True once some of a history has arrived: it continues this node's log, so that this is a part
    /// of the leader's.
    pub(super) continues: bool,
    /// Entries of the history that arrived while the disk was busy: they go there as one.
    pub(super) pending: Vec<Entry>,
    /// Entries of the history that the disk has and the leader is not told of yet: the state store
    /// is to catch up first.
    pub(super) unacked: Option<Txid>,
    /// When to tell the leader that this node lives, if it says nothing else.
    pub(super) alive_at: Option<Instant>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Phase {
    /// The promise is asked for, and perhaps on its way to the disk.
    Discovery { promising: Option<Epoch> },
    /// The leader's history arrives.
    Sync { epoch: Epoch, snapshot: Option<Incoming> },
    /// The history is complete, and on its way to the disk with the epoch.
    Entering { epoch: Epoch, end: Txid },
    /// The disk has both. Clients are served once the leader says so.
    Entered { epoch: Epoch, serving: bool },
}

impl Joined {
    /// A connection to the leader, over which nothing was said yet.
    pub(super) fn new(leader: NodeId, conn: ConnId, silence: Micros) -> Self {
        Self {
            leader,
            conn,
            phase: Phase::Discovery { promising: None },
            leader_addr: String::new(),
            silence,
            full: false,
            continues: false,
            pending: Vec::new(),
            unacked: None,
            alive_at: None,
        }
    }

    #[cfg(feature = "explore")]
    pub(super) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase) {
        self.alive_at.iter_mut().for_each(|at| rebase.instant(at));
    }

    pub(super) fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Entered { serving: true, .. })
    }

    /// What has arrived of a snapshot waits for the leader to go on with it.
    pub(super) fn park(self, cx: &mut Cx<'_>) {
        if let Phase::Sync { snapshot: Some(incoming), .. } = self.phase
            && let Some(parked) = incoming.park(cx.now.at)
        {
            cx.s.parked = Some(parked);
        }
    }

    pub(super) fn on_message(&mut self, cx: &mut Cx<'_>, msg: Message) -> Result<Next, PeerFault> {
        match msg {
            Message::LeaderInfo { epoch, client_addr, ping, sync } => {
                self.leader_addr = client_addr;
                let silence = sync.max(ping.doubled(SILENCE_MAX)).max(cx.s.cfg.timeouts.ping);
                self.silence = silence.min(SILENCE_MAX);
                return self.on_leader_info(cx, epoch);
            }
            Message::Truncate { to } => return self.on_truncate(cx, to),
            Message::NewLeader { epoch, end } => return self.on_new_leader(cx, epoch, end),
            Message::Snapshot(head) => self.on_snapshot(cx, head)?,
            Message::SnapshotResume { at, from } => self.on_resume(cx, at, from)?,
            Message::SnapshotChunk { from, bytes, last } => {
                self.on_chunk(cx, from, &bytes, last)?
            }
            Message::LogEntries { entries } => self.on_log_entries(cx, entries)?,
            Message::Propose { epoch, entries } => self.on_propose(cx, epoch, entries)?,
            Message::Commit { epoch, upto } => self.on_commit(cx, epoch, upto)?,
            Message::UpToDate { epoch, commit, full } => {
                self.on_up_to_date(cx, epoch, (commit, full))?;
            }
            Message::Ping { epoch, nonce, commit, full } => {
                self.on_ping(cx, epoch, nonce, (commit, full))?;
            }
            Message::ForwardRefused { seqs, why } => cx.s.requests.refused(&seqs, why, cx.out),
            Message::ReadIndexAck { id, index } => {
                cx.s.requests.indexed(id, index);
                cx.s.requests.readable(cx.s.applied, cx.out);
            }
            Message::Rejected(_)
            | Message::FollowerInfo(_)
            | Message::EpochAck(_)
            | Message::EpochNack { .. }
            | Message::SnapshotChunkAck { .. }
            | Message::LogEntriesAck { .. }
            | Message::NewLeaderAck { .. }
            | Message::Ack { .. }
            | Message::Pong { .. }
            | Message::Alive { .. }
            | Message::Forward { .. }
            | Message::ReadIndex { .. } => {
                return Err(PeerFault::Unexpected("a follower's message"));
            }
        }
        Ok(Next::Stay)
    }

    // Discovery.

    /// Tells the leader that this node lives, when nothing else has told it for a while: its
    /// heartbeats may be far behind on a slow link, or it is busy with what the leader sent.
    pub(super) fn tell_alive(&mut self, cx: &mut Cx<'_>, work: u64) {
        let Some(at) = self.alive_at else { return };
        let (Phase::Sync { epoch, .. }
        | Phase::Entering { epoch, .. }
        | Phase::Entered { epoch, .. }) = self.phase
        else {
            return;
        };
        if at <= cx.now.at {
            cx.send(self.conn, Message::Alive { epoch, work });
            self.put_off_alive(cx);
        }
    }

    pub(super) fn put_off_alive(&mut self, cx: &Cx<'_>) {
        let pause = Micros::new(cx.s.cfg.timeouts.ping.get().saturating_mul(2));
        self.alive_at = Some(cx.now.at.after(pause));
    }

    /// Promises the epoch, if nothing higher and no other leader of the same epoch was promised.
    fn on_leader_info(&mut self, cx: &mut Cx<'_>, epoch: Epoch) -> Result<Next, PeerFault> {
        if !matches!(self.phase, Phase::Discovery { promising: None }) {
            return Err(PeerFault::Unexpected("LEADER-INFO"));
        }
        if epoch == Epoch::ZERO {
            return Err(PeerFault::Unexpected("an epoch of nobody"));
        }
        let accepted = cx.s.accepted();
        if epoch.get() - accepted.get().min(epoch.get()) > LEADER_EPOCHS {
            return Err(PeerFault::EpochTooFar(epoch));
        }
        // It takes this node in.
        cx.s.denied.clear();
        if epoch < accepted {
            cx.send(self.conn, Message::EpochNack { accepted });
            return Ok(Next::Look(LeaveReason::HigherEpoch(accepted)));
        }
        let held = cx.s.promise.filter(|promise| promise.epoch == epoch);
        let counted = held.is_none_or(|promise| promise.leader == self.leader);
        planted!(cx, AckEpochToAnother: counted = true);
        cx.note(Note::EpochAccepted { epoch, leader: self.leader, counted });
        if held.is_none() {
            self.phase = Phase::Discovery { promising: Some(epoch) };
            cx.promise(Promise { epoch, leader: self.leader });
            planted!(cx, PromiseInMemory => self.acknowledge_epoch(cx, epoch, counted));
            return Ok(Next::Stay);
        }
        self.acknowledge_epoch(cx, epoch, counted);
        Ok(Next::Stay)
    }

    pub(super) fn acknowledge_epoch(&mut self, cx: &mut Cx<'_>, epoch: Epoch, counted: bool) {
        self.phase = Phase::Sync { epoch, snapshot: None };
        planted!(cx, EnterBeforeHistory => cx.enter_early(epoch));
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
        cx.send(self.conn, Message::EpochAck(ack));
    }
}
