//! The consensus node: one event in, a list of actions out.

#[cfg(feature = "explore")]
mod search;
mod view;

use crate::mutants::Mutant;
use crate::words::{ConnId, Epoch, Instant, Now, RefuseReason, Ticket, Txid, WriteId};
use crate::zab::config::Config;
use crate::zab::cx::{Cx, Next, VERSIONS};
use crate::zab::error::{CloseReason, HaltReason, PeerFault, RestoreError};
use crate::zab::event::{Action, Actions, Event, Submission, Upcall};
use crate::zab::fresh::Worth;
use crate::zab::history::entry::Entry;
use crate::zab::history::log::Log;
use crate::zab::history::storage::Recovered;
use crate::zab::membership::quorum::Membership;
use crate::zab::message::{FollowerInfo, Message, Rejection, Stance, Vote};
use crate::zab::note::{LeaveReason, Note};
use crate::zab::roles::following::Following;
use crate::zab::roles::leading::Leading;
use crate::zab::roles::looking::Looking;
use crate::zab::state::{Pin, State};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A node of the ensemble, without its application: it orders opaque commands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Node {
    state: State,
    role: Role,
    /// Time never goes backwards here, whatever the runtime says.
    latest: Instant,
}

/// What a node is to the others. Each role owns what it needs; leaving it drops everything.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Role {
    Looking(Looking),
    Following(Following),
    Leading(Leading),
    Halted,
}

impl Node {
    /// Starts a node from what is on its disk. `seed` must differ at each start: it names this
    /// life of the process, and drives the jitter of elections.
    pub fn restore(
        cfg: Config,
        disk: Recovered,
        seed: u64,
        now: Now,
        out: &mut Actions,
    ) -> Result<Self, RestoreError> {
        let log = check_recovered(&cfg, &disk)?;
        let points = (disk.applied.txid, disk.committed);
        let promises = (disk.promise, disk.current);
        let state = State::new(cfg, disk.identity, promises, log, disk.lives, points, seed);
        let mut node = Self { state, role: Role::Halted, latest: now.at };
        let mut cx = Cx { s: &mut node.state, out, now };
        // The last life may have ended between a checkpoint and the pruning behind it.
        cx.forget(|| None);
        cx.prune(None, None);
        node.role = Role::Looking(Looking::start(&mut cx));
        node.settle(now, out);
        Ok(node)
    }

    /// Handles one event, appending to `out` what is to be done.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Actions) {
        self.latest = self.latest.max(now.at);
        let now = Now { at: self.latest, wall: now.wall };
        if matches!(self.role, Role::Halted) {
            return refuse_all(event, out);
        }
        let next = self.dispatch(now, event, out);
        self.change(next, now, out);
        if self.holds_writes() {
            let next = self.pass_writes(now, out);
            self.change(next, now, out);
        }
        self.forget(now, out);
    }

    /// True if writes wait for their turn.
    fn holds_writes(&self) -> bool {
        let forwarded = match &self.role {
            Role::Leading(leading) => leading.holds_writes(),
            _ => false,
        };
        forwarded || self.state.requests.holds_writes()
    }

    /// Keeps the log in memory short.
    fn forget(&mut self, now: Now, out: &mut Actions) {
        let pin = || pin(&self.role);
        let cx = &mut Cx { s: &mut self.state, out, now };
        if cx.forget(pin) && cx.s.cfg.mutant(Mutant::PruneUnsaved) {
            cx.prune(None, pin());
        }
    }

    /// When the next [`Event::Tick`] is due. An earlier one is harmless.
    pub fn deadline(&self) -> Option<Instant> {
        let s = &self.state;
        let role = match &self.role {
            Role::Looking(looking) => looking.deadline(s),
            Role::Following(following) => following.deadline(s),
            Role::Leading(leading) => leading.deadline(s),
            Role::Halted => return None,
        };
        let strangers = s.strangers.values().min().map(|at| at.after(s.cfg.timeouts.init));
        let waits = [s.requests.deadline(), s.choked_at(), strangers, s.settle_at];
        role.into_iter().chain(waits.into_iter().flatten()).min()
    }

    /// Decides by role and event.
    fn dispatch(&mut self, now: Now, event: Event, out: &mut Actions) -> Next {
        let cx = &mut Cx { s: &mut self.state, out, now };
        match event {
            Event::Tick => self.on_tick(now, out),
            Event::Notified(vote) => self.on_vote(now, vote, out),
            Event::Accepted(conn) => {
                cx.s.strangers.insert(conn, now.at);
                Next::Stay
            }
            Event::Connected { conn, to } => {
                match &mut self.role {
                    Role::Following(following) => following.on_connected(cx, conn, to),
                    Role::Looking(looking) => looking.on_connected(cx, conn, to),
                    _ => cx.close(conn, CloseReason::RoleChange),
                }
                Next::Stay
            }
            Event::ConnectFailed(to) => {
                if let Role::Following(following) = &mut self.role {
                    following.on_connect_failed(cx, to);
                }
                Next::Stay
            }
            Event::ConnectRefused(to) => match &mut self.role {
                Role::Following(following) => following.on_refused(cx, to),
                _ => Next::Stay,
            },
            Event::Denied(by) => {
                if let Role::Looking(looking) = &mut self.role {
                    looking.on_denied(cx, by);
                }
                Next::Stay
            }
            Event::Received { conn, msg } => self.on_received(now, conn, msg, out),
            Event::Heard(conn) => {
                match &mut self.role {
                    Role::Following(following) => following.on_heard(cx, conn),
                    Role::Leading(leading) => leading.on_heard(cx, conn),
                    Role::Looking(_) | Role::Halted => {}
                }
                Next::Stay
            }
            Event::Closed(conn) => self.on_closed(now, conn, out),
            Event::Persisted(upto) => self.on_persisted(now, upto, out),
            Event::Checkpointed(upto) => {
                cx.checkpointed(upto, pin(&self.role));
                if let Role::Following(following) = &mut self.role {
                    following.gets_on(cx);
                }
                Next::Stay
            }
            Event::SpaceShort(short) => {
                self.state.disk_short = short;
                Next::Stay
            }
            Event::StateProgress(bytes) => {
                cx.s.compaction.wrote(bytes, now.at);
                if let Role::Following(following) = &mut self.role {
                    following.gets_on(cx);
                }
                Next::Stay
            }
            Event::Staged { stage, parts } => {
                match &mut self.role {
                    Role::Following(following) => following.on_staged(cx, stage, parts),
                    _ => cx.parked_staged(stage, parts),
                }
                Next::Stay
            }
            Event::Sealed(stage) => {
                match &mut self.role {
                    Role::Following(following) => following.on_sealed(cx, stage),
                    _ => cx.parked_sealed(stage),
                }
                Next::Stay
            }
            Event::LogRead { conn, from, entries } => {
                if let Role::Leading(leading) = &mut self.role {
                    leading.on_log_read(cx, conn, from, entries);
                }
                Next::Stay
            }
            Event::StorageFailed if cx.s.cfg.mutant(Mutant::IgnoreStorageFailure) => Next::Stay,
            Event::StorageFailed => Next::Halt(HaltReason::Storage),
            Event::Submit(submissions) => {
                match self.role {
                    Role::Looking(_) if cx.s.disk_hangs(now.at) => {
                        let tickets = submissions.into_iter().map(|submission| submission.ticket);
                        refuse(tickets, RefuseReason::NoLeader, cx.out);
                    }
                    _ => admit(cx, submissions),
                }
                self.serve(now, out)
            }
            Event::Read(reads) => {
                let idle = matches!(self.role, Role::Looking(_)) && cx.s.disk_hangs(now.at);
                for (ticket, deadline) in reads {
                    if idle {
                        let why = RefuseReason::NoLeader;
                        cx.out.call(Upcall::Refuse { ticket, why });
                    } else if cx.s.is_full() {
                        cx.out.call(Upcall::Refuse { ticket, why: RefuseReason::Busy });
                    } else {
                        let patience = now.at.after(cx.s.cfg.timeouts.hold);
                        cx.s.requests.hold_read(ticket, deadline.min(patience));
                    }
                }
                self.serve(now, out)
            }
            Event::Await(reads) => {
                let patience = now.at.after(cx.s.cfg.timeouts.hold);
                for (ticket, deadline, index) in reads {
                    if index <= cx.s.applied {
                        cx.out.call(Upcall::Readable(ticket));
                    } else if let Some(why) = cx.s.cannot_await(index) {
                        cx.out.call(Upcall::Refuse { ticket, why });
                    } else {
                        cx.s.requests.hold_await(ticket, deadline.min(patience), index);
                    }
                }
                Next::Stay
            }
            Event::Forget(tickets) => {
                cx.s.requests.forget(&tickets);
                Next::Stay
            }
            Event::SnapshotOpened { conn, digest, bytes } => {
                if let Role::Leading(leading) = &mut self.role {
                    leading.on_snapshot_opened(cx, conn, digest, bytes);
                }
                Next::Stay
            }
            Event::SnapshotRead { conn, items, last } => {
                if let Role::Leading(leading) = &mut self.role {
                    leading.on_snapshot_read(cx, conn, &items, last);
                }
                Next::Stay
            }
            Event::SnapshotVerified { stage, good } => match &mut self.role {
                Role::Following(following) => following.on_verified(cx, stage, good),
                _ => {
                    cx.parked_verified(stage, good);
                    Next::Stay
                }
            },
        }
    }

    fn on_tick(&mut self, now: Now, out: &mut Actions) -> Next {
        let cx = &mut Cx { s: &mut self.state, out, now };
        if cx.s.choked_at().is_some_and(|at| at <= now.at) {
            return Next::Halt(HaltReason::StateStoreStalled);
        }
        cx.s.requests.expire(now.at, cx.s.serving, cx.out);
        cx.drop_old_parked();
        cx.settle();
        let init = cx.s.cfg.timeouts.init;
        let mute = cx.s.strangers.iter().filter(|(_, at)| now.at >= at.after(init));
        for conn in mute.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            cx.s.strangers.remove(&conn);
            cx.close(conn, CloseReason::Silent);
        }
        match &mut self.role {
            Role::Looking(looking) => looking.on_tick(cx),
            Role::Following(following) => following.on_tick(cx),
            Role::Leading(leading) => leading.on_tick(cx),
            Role::Halted => Next::Stay,
        }
    }

    /// Lets only votes of other voters of this ensemble through, on the disks that it knows.
    fn on_vote(&mut self, now: Now, vote: Vote, out: &mut Actions) -> Next {
        let cx = &mut Cx { s: &mut self.state, out, now };
        let (to, from) = (vote.from, vote.from);
        if vote.cluster != cx.s.identity.cluster {
            cx.note(Note::ForeignVote(from));
            if cx.s.ensemble.is_voter(from) && from != cx.s.node() {
                let members = cx.s.log.base().membership.clone().without_lives();
                let why = Rejection::WrongCluster { members };
                cx.out.push(Action::NotifyRejected { to, why });
            }
            return Next::Stay;
        }
        if from == cx.s.node() {
            cx.note(Note::DuplicateId(from));
            return Next::Stay;
        }
        if !cx.s.ensemble.is_voter(from) || !cx.s.ensemble.is_voter(vote.candidate.node) {
            cx.note(Note::StrangerVote(from));
            return Next::Stay;
        }
        let known = cx.s.ensemble.disk_of(from).filter(|known| *known != vote.incarnation);
        if known.is_some() && !cx.s.cfg.mutant(Mutant::WipedNodeCounts) {
            cx.note(Note::WrongDisk { node: from, presents: vote.incarnation });
            cx.out.push(Action::NotifyRejected { to, why: Rejection::WrongDisk });
            return Next::Stay;
        }
        // The vote does not count. An old vote of a healthy disk looks the same, so it is no reason to
        // refuse its sender: whoever connects is told. Lives that are too many for a datagram are
        // seen then, too, before anything counts.
        let old = !vote.lives.drawn.is_empty() && !cx.is_newest(from, &vote.lives);
        let rest = cx.s.cfg.timeouts.resend_max;
        let worth = match old {
            true => Worth::Nothing,
            false => cx.s.fresh.hear(from, vote.stamp, now.at, rest),
        };
        if let Role::Looking(looking) = &mut self.role {
            return if old { Next::Stay } else { looking.on_vote(cx, vote, worth) };
        }
        if vote.stance != Stance::Looking {
            return Next::Stay;
        }
        if let Role::Leading(leading) = &mut self.role
            && worth.counts()
            && let next @ Next::Look(_) = leading.on_looking(cx, &vote)
        {
            return next;
        }
        if cx.may_answer(to) {
            let asked = vote.stamp.asks;
            let vote = match &self.role {
                Role::Following(following) => following.ballot(cx, to, asked),
                Role::Leading(leading) => leading.ballot(cx, to, asked),
                Role::Looking(_) | Role::Halted => return Next::Stay,
            };
            cx.out.push(Action::Notify { to, vote });
        }
        Next::Stay
    }

    fn on_received(&mut self, now: Now, conn: ConnId, msg: Message, out: &mut Actions) -> Next {
        let cx = &mut Cx { s: &mut self.state, out, now };
        if cx.s.strangers.remove(&conn).is_some() {
            let Message::FollowerInfo(info) = msg else {
                let fault = PeerFault::Unexpected("a message before FOLLOWER-INFO");
                cx.note(Note::PeerFault { conn, fault: fault.clone() });
                cx.close(conn, CloseReason::Fault(fault));
                return Next::Stay;
            };
            return self.on_follower_info(now, conn, info, out);
        }
        match &mut self.role {
            Role::Following(following) if following.holds(conn) => {
                following.on_message(cx, conn, msg)
            }
            Role::Leading(leading) if leading.holds(conn) => leading.on_message(cx, conn, msg),
            Role::Looking(looking) if looking.asks(conn) => looking.on_answer(cx, conn, msg),
            Role::Looking(looking) if looking.early.contains_key(&conn) => {
                looking.early.remove(&conn);
                let fault = PeerFault::Unexpected("a message before LEADER-INFO");
                cx.note(Note::PeerFault { conn, fault: fault.clone() });
                cx.close(conn, CloseReason::Fault(fault));
                Next::Stay
            }
            _ => {
                cx.note(Note::StaleConn(conn));
                Next::Stay
            }
        }
    }

    fn on_follower_info(
        &mut self,
        now: Now,
        conn: ConnId,
        info: FollowerInfo,
        out: &mut Actions,
    ) -> Next {
        let cx = &mut Cx { s: &mut self.state, out, now };
        if cx.is_too_far(info.accepted) {
            let fault = PeerFault::EpochTooFar(info.accepted);
            cx.note(Note::PeerFault { conn, fault: fault.clone() });
            cx.close(conn, CloseReason::Fault(fault));
            return Next::Stay;
        }
        if let Err(why) = recognise(cx, &info) {
            cx.send(conn, Message::Rejected(why));
            cx.close(conn, CloseReason::Rejected);
            return Next::Stay;
        }
        match &mut self.role {
            Role::Looking(looking) => {
                looking.on_follower_info(cx, conn, info);
                Next::Stay
            }
            Role::Leading(leading) => leading.on_follower_info(cx, conn, info),
            Role::Following(_) | Role::Halted => {
                cx.close(conn, CloseReason::NotLeading);
                Next::Stay
            }
        }
    }

    fn on_closed(&mut self, now: Now, conn: ConnId, out: &mut Actions) -> Next {
        let cx = &mut Cx { s: &mut self.state, out, now };
        if cx.s.strangers.remove(&conn).is_some() {
            return Next::Stay;
        }
        match &mut self.role {
            Role::Looking(looking) => {
                looking.on_closed(conn);
                Next::Stay
            }
            Role::Following(following) => following.on_closed(cx, conn),
            Role::Leading(leading) => {
                leading.on_closed(cx, conn);
                Next::Stay
            }
            Role::Halted => Next::Stay,
        }
    }

    fn on_persisted(&mut self, now: Now, upto: WriteId, out: &mut Actions) -> Next {
        let cx = &mut Cx { s: &mut self.state, out, now };
        cx.completed(upto);
        match &mut self.role {
            Role::Looking(looking) => looking.on_persisted(cx),
            Role::Following(following) => {
                following.on_duties(cx);
                Next::Stay
            }
            Role::Leading(leading) => leading.on_duties(cx),
            Role::Halted => Next::Stay,
        }
    }

    /// Passes on writes that waited for their turn, as far as there is room by now.
    fn pass_writes(&mut self, now: Now, out: &mut Actions) -> Next {
        let cx = &mut Cx { s: &mut self.state, out, now };
        match &mut self.role {
            Role::Following(following) => {
                if let Some(conn) = following.serving_conn() {
                    following.pass_writes(cx, conn);
                }
                Next::Stay
            }
            Role::Leading(leading) => leading.propose_what_fits(cx),
            Role::Looking(_) | Role::Halted => Next::Stay,
        }
    }

    /// Passes what clients wait for to whom it concerns now, if there is anybody.
    fn serve(&mut self, now: Now, out: &mut Actions) -> Next {
        let cx = &mut Cx { s: &mut self.state, out, now };
        match &mut self.role {
            Role::Following(following) => {
                if let Some(conn) = following.serving_conn() {
                    following.pass_on(cx, conn);
                }
                Next::Stay
            }
            Role::Leading(leading) => leading.serve(cx),
            Role::Looking(_) | Role::Halted => Next::Stay,
        }
    }

    /// Changes the role, as often as a new one ends at once.
    fn change(&mut self, next: Next, now: Now, out: &mut Actions) {
        let mut next = next;
        while next != Next::Stay {
            let cx = &mut Cx { s: &mut self.state, out, now };
            let old = core::mem::replace(&mut self.role, Role::Halted);
            let attempt = matches!(old, Role::Following(_) | Role::Leading(_));
            let early = leave(cx, old, &next);
            if attempt {
                cx.s.standing.end(cx.now.at, cx.s.cfg.timeouts.redial);
            }
            cx.s.standing.begin();
            (cx.s.serving, cx.s.catching_up) = (false, false);
            if !cx.s.cfg.mutant(Mutant::KeepDuties) {
                cx.s.ledger.drop_duties();
            }
            cx.s.requests.hold_reads();
            if next == Next::Look(LeaveReason::SlowDisk) {
                // It takes no part until its disk is back: other nodes may serve them meanwhile.
                cx.s.requests.refuse_held(cx.out);
            }
            if cx.s.cfg.mutant(Mutant::FailOnStepDown) {
                cx.s.requests.fail_sent(cx.out);
            }
            (self.role, next) = match next {
                Next::Stay => return,
                Next::Look(_) => {
                    let mut looking = Looking::start(cx);
                    let next = looking.on_persisted(cx);
                    (Role::Looking(looking), next)
                }
                Next::Follow(vote) => (Role::Following(Following::start(cx, &vote)), Next::Stay),
                Next::Lead => match Leading::start(cx, early) {
                    Ok(leading) => (Role::Leading(leading), Next::Stay),
                    Err(next) => (Role::Halted, *next),
                },
                Next::Halt(why) => {
                    cx.s.requests.stop(cx.out);
                    cx.out.push(Action::Halt(why));
                    (Role::Halted, Next::Stay)
                }
            };
        }
    }

    /// Ends a role that has nothing to wait for (a single voter elects itself at once).
    fn settle(&mut self, now: Now, out: &mut Actions) {
        let cx = &mut Cx { s: &mut self.state, out, now };
        let next = match &mut self.role {
            Role::Looking(looking) => looking.on_persisted(cx),
            _ => Next::Stay,
        };
        self.change(next, now, out);
    }
}

/// What is needed of the log for those that are being fed.
fn pin(role: &Role) -> Option<Pin> {
    match role {
        Role::Leading(leading) => leading.pin(),
        Role::Looking(_) | Role::Following(_) | Role::Halted => None,
    }
}

/// Leaves a role. The connections of early followers go along to a new leader.
fn leave(cx: &mut Cx<'_>, role: Role, next: &Next) -> BTreeMap<ConnId, (FollowerInfo, Instant)> {
    let mut early = BTreeMap::new();
    let why = match next {
        Next::Look(why) => *why,
        Next::Stay | Next::Lead | Next::Follow(_) | Next::Halt(_) => LeaveReason::Halting,
    };
    match role {
        Role::Looking(mut looking) => {
            if *next == Next::Lead {
                early = core::mem::take(&mut looking.early);
            }
            looking.leave(cx);
        }
        Role::Following(following) => {
            cx.note(Note::LeftLeader { leader: following.leader, why });
            following.leave(cx);
        }
        Role::Leading(leading) => {
            cx.note(Note::SteppedDown { epoch: leading.epoch(), why });
            leading.leave(cx);
        }
        Role::Halted => {}
    }
    early
}

/// Takes in what fits.
fn admit(cx: &mut Cx<'_>, submissions: Vec<Submission>) {
    for submission in submissions {
        let limits = &cx.s.cfg.limits;
        let why = if submission.body.len() > limits.command_bytes {
            RefuseReason::TooLarge
        } else if cx.s.is_full() || cx.s.requests.bytes() >= limits.pending_bytes {
            RefuseReason::Busy
        } else {
            let patience = cx.now.at.after(cx.s.cfg.timeouts.hold);
            cx.s.requests.hold_write(submission, patience);
            continue;
        };
        cx.out.call(Upcall::Refuse { ticket: submission.ticket, why });
    }
}

/// Decides whether a node belongs here at all.
fn recognise(cx: &mut Cx<'_>, info: &FollowerInfo) -> Result<(), Rejection> {
    if info.cluster != cx.s.identity.cluster {
        // The lists are told by datagram, to addresses that are in one of them.
        let members = Arc::new(Membership::new(Txid::ZERO, BTreeMap::new()));
        return Err(Rejection::WrongCluster { members });
    }
    if info.versions.0 > VERSIONS.1 || info.versions.1 < VERSIONS.0 {
        return Err(Rejection::Version { speaks: VERSIONS });
    }
    if info.node == cx.s.node() {
        cx.note(Note::DuplicateId(info.node));
        return Err(Rejection::WrongDisk);
    }
    if !cx.s.ensemble.is_voter(info.node) {
        return Err(Rejection::NotMember { version: cx.s.ensemble.committed().version() });
    }
    let known = cx.s.ensemble.disk_of(info.node);
    match known.filter(|known| *known != info.incarnation) {
        Some(_) if !cx.s.cfg.mutant(Mutant::WipedNodeCounts) => {
            cx.note(Note::WrongDisk { node: info.node, presents: info.incarnation });
            Err(Rejection::WrongDisk)
        }
        _ if !cx.is_newest(info.node, &info.lives) => Err(Rejection::OldDisk),
        _ => Ok(()),
    }
}

/// A halted node says nothing to the others, and refuses its clients.
fn refuse_all(event: Event, out: &mut Actions) {
    let why = RefuseReason::Stopping;
    let tickets: Vec<_> = match event {
        Event::Submit(list) => list.into_iter().map(|submission| submission.ticket).collect(),
        Event::Read(list) => list.into_iter().map(|(ticket, _)| ticket).collect(),
        Event::Await(list) => list.into_iter().map(|(ticket, _, _)| ticket).collect(),
        _ => return,
    };
    refuse(tickets.into_iter(), why, out);
}

fn refuse(tickets: impl Iterator<Item = Ticket>, why: RefuseReason, out: &mut Actions) {
    for ticket in tickets {
        out.call(Upcall::Refuse { ticket, why });
    }
}

fn check_recovered(cfg: &Config, disk: &Recovered) -> Result<Log, RestoreError> {
    if cfg.node != disk.identity.node {
        return Err(RestoreError::Node { configured: cfg.node, stored: disk.identity.node });
    }
    let mut log = Log::new(disk.base.clone());
    for entry in &disk.entries {
        log.append(Entry::clone(entry)).map_err(RestoreError::Log)?;
    }
    let accepted = disk.promise.map_or(Epoch::ZERO, |promise| promise.epoch);
    if disk.current > accepted {
        return Err(RestoreError::Epochs { accepted, current: disk.current });
    }
    let last = log.last().txid;
    if last.epoch() > accepted {
        return Err(RestoreError::Unpromised(last));
    }
    if disk.committed > last {
        return Err(RestoreError::CommittedLost { commit: disk.committed, last });
    }
    if disk.lives.present().is_none() {
        return Err(RestoreError::NoLife);
    }
    match log.position_at(disk.applied.txid) {
        None => {
            Err(RestoreError::Applied { base: disk.base.at.txid, last, applied: disk.applied.txid })
        }
        Some(at) if at != disk.applied => Err(RestoreError::AppliedChain(at.txid)),
        Some(_) => Ok(log),
    }
}
