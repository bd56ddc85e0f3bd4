//! What the core notes, in words for an operator, and how often each kind of thing happened.
//!
//! Levels: `error` needs a person, `warn` is trouble that the node lives with, `info` is what
//! changes its role, `debug` the rest.

use log::Level;
use std::collections::BTreeMap;
use std::sync::Mutex;
use zabkeeper_core::words::{Instant, Micros};
use zabkeeper_core::zab::{
    CloseReason, LeaveReason, Membership, Note, PeerFault, Rejection, SyncKind, Unready,
};

/// A note's kind as a counter's name, its level, and its text, which names nodes by their addresses
/// among these members.
pub(crate) fn describe(note: &Note, members: &Membership) -> (&'static str, Level, String) {
    forming(note, members)
        .or_else(|| transition(note))
        .or_else(|| trouble(note))
        .unwrap_or_else(|| ("note.other", Level::Debug, format!("{note:?}")))
}

/// Who is missing at the first start.
fn forming(note: &Note, members: &Membership) -> Option<(&'static str, Level, String)> {
    let Note::Forming { missing, of } = note else {
        return None;
    };
    let text = match missing.as_slice() {
        [] => format!("the ensemble has not formed yet: all {of} nodes are here now"),
        missing => format!(
            "the ensemble has not formed yet: waiting for {}; the first time, all {of} nodes must \
             be here",
            members.named(missing)
        ),
    };
    Some(("note.forming", Level::Info, text))
}

/// What changes the node's role or log.
fn transition(note: &Note) -> Option<(&'static str, Level, String)> {
    let told = match note {
        Note::Looking { round, candidate } => (
            "note.looking",
            Level::Info,
            format!(
                "looking for a leader in round {round}, standing with {} of {}",
                candidate.txid, candidate.epoch
            ),
        ),
        Note::Elected { leader, round } => {
            ("note.elected", Level::Info, format!("{leader} is elected in round {round}"))
        }
        Note::Joins { leader, epoch } => {
            ("note.joins", Level::Info, format!("joining {leader}, who leads {epoch} already"))
        }
        Note::RoundLeft(round) => (
            "note.round_left",
            Level::Info,
            format!("a majority is here and does not agree in {round}; trying the next round"),
        ),
        Note::Unready(Unready::Disk(span)) => (
            "note.unready",
            Level::Warn,
            format!("not voting: the disk has not completed a write for {span}"),
        ),
        Note::Unready(Unready::NotVoter(version)) => (
            "note.unready",
            Level::Warn,
            format!(
                "not voting: this node is not a voter of the membership of {version}, the newest \
                 that it knows"
            ),
        ),
        Note::EpochProposed(epoch) => {
            ("note.epoch_proposed", Level::Debug, format!("proposing to lead {epoch}"))
        }
        Note::EpochAccepted { epoch, leader, counted } => (
            "note.epoch_accepted",
            Level::Debug,
            match counted {
                true => format!("promised {epoch} to {leader}"),
                false => format!("{epoch} is promised to another than {leader}: joins uncounted"),
            },
        ),
        Note::SyncPlanned { peer, kind } => (
            "note.sync_planned",
            Level::Info,
            format!("bringing {peer} up to date: {}", sync_kind(*kind)),
        ),
        Note::Truncated { from, to } => (
            "note.truncated",
            Level::Info,
            format!(
                "cut the log from {from} to {to}: the leader does not have the rest, and this node \
                 never knew it to be committed"
            ),
        ),
        Note::SnapshotResumed { at, bytes } => (
            "note.snapshot_resumed",
            Level::Info,
            format!("the leader goes on with its state at {at}, of which {bytes} bytes are here"),
        ),
        Note::Installing { leader, bytes } => (
            "note.installing",
            Level::Info,
            format!("installing the state of {leader}: {bytes} bytes are stored"),
        ),
        Note::Sealing { at, bytes } => (
            "note.sealing",
            Level::Info,
            format!("the leader's state at {at} is here, {bytes} bytes: making it durable"),
        ),
        Note::Installed(at) => {
            ("note.installed", Level::Info, format!("took over the leader's whole state at {at}"))
        }
        Note::Established { epoch, last } => (
            "note.established",
            Level::Info,
            format!("leading {epoch}; the history up to {last} is committed"),
        ),
        Note::Serving { epoch, leader } => {
            ("note.serving", Level::Info, format!("serving clients in {epoch} under {leader}"))
        }
        Note::FollowerReady(peer) => {
            ("note.follower_ready", Level::Info, format!("{peer} is up to date"))
        }
        Note::MembershipCommitted(at) => (
            "note.membership_committed",
            Level::Info,
            format!("the membership of {at} is committed"),
        ),
        Note::Pruned(at) => {
            ("note.pruned", Level::Debug, format!("cut the log's start up to {at}"))
        }
        Note::Resubmitted(count) => (
            "note.resubmitted",
            Level::Debug,
            format!("{count} requests go to the new leader: the one before did not log them"),
        ),
        _ => return None,
    };
    Some(told)
}

/// What is not as it should be.
fn trouble(note: &Note) -> Option<(&'static str, Level, String)> {
    let told = match note {
        Note::FollowerGone(peer) => {
            ("note.follower_gone", Level::Warn, format!("lost the follower {peer}"))
        }
        Note::SteppedDown { epoch, why } => (
            "note.stepped_down",
            Level::Warn,
            match epoch {
                Some(epoch) => format!("stopped leading {epoch}: {}", leave_reason(*why)),
                None => format!("gave up trying to lead: {}", leave_reason(*why)),
            },
        ),
        Note::LeftLeader { leader, why } => (
            "note.left_leader",
            Level::Warn,
            format!("left the leader {leader}: {}", leave_reason(*why)),
        ),
        Note::PeerFault { conn, fault } => (
            "note.peer_fault",
            Level::Warn,
            format!("the peer on {conn} broke the protocol: {}", peer_fault(fault)),
        ),
        Note::StaleConn(conn) => (
            "note.stale_conn",
            Level::Debug,
            format!("dropped what came on {conn}, which is not held any more"),
        ),
        Note::ForeignVote(node) => (
            "note.foreign_vote",
            Level::Warn,
            format!(
                "ignored a vote of a {node} whose list of nodes is another one; compare the \
                 configuration files"
            ),
        ),
        Note::StrangerVote(node) => (
            "note.stranger_vote",
            Level::Warn,
            format!("ignored a vote of {node}, which does not vote here"),
        ),
        Note::WrongDisk { node, presents } => (
            "note.wrong_disk",
            Level::Error,
            format!(
                "refused {node}: it presents the disk {presents}, which is not the one that the \
                 ensemble knows; its data directory was wiped, replaced or copied"
            ),
        ),
        Note::OldDisk(node) => (
            "note.old_disk",
            Level::Error,
            format!(
                "refused {node}: the ensemble has met a later life of its data directory; what it \
                 has is an older copy, a copy that runs twice, or lost what was acknowledged"
            ),
        ),
        Note::LivesProposed(count) => (
            "note.lives_proposed",
            Level::Debug,
            format!("records the present lives of {count} nodes"),
        ),
        Note::DuplicateId(node) => (
            "note.duplicate_id",
            Level::Error,
            format!("two nodes say that they are {node}; stop one and correct its configuration"),
        ),
        Note::RejectedBy { peer, why } => (
            "note.rejected_by",
            Level::Error,
            match peer {
                Some(peer) => format!("{peer} refuses this node: {}", rejection(why)),
                None => format!("a node refuses this one: {}", rejection(why)),
            },
        ),
        _ => return None,
    };
    Some(told)
}

fn sync_kind(kind: SyncKind) -> &'static str {
    match kind {
        SyncKind::Diff => "it lacks only the end of the log",
        SyncKind::Trunc => {
            "it must cut what the leader does not have, then gets the end of the log"
        }
        SyncKind::Snap => "it needs the whole state",
    }
}

fn leave_reason(why: LeaveReason) -> String {
    match why {
        LeaveReason::InitTimeout => "no quorum came together in time".to_owned(),
        LeaveReason::Silence => "too much silence on the other side".to_owned(),
        LeaveReason::Disconnected => "the connection broke".to_owned(),
        LeaveReason::Behind(node) => format!("the history of {node} is longer"),
        LeaveReason::HigherEpoch(epoch) => format!("somebody promised {epoch}"),
        LeaveReason::Refused => "it takes no connections".to_owned(),
        LeaveReason::SlowDisk => "the own disk takes too long".to_owned(),
        LeaveReason::CounterFull => "the numbers of the epoch are used up".to_owned(),
        LeaveReason::Fault => "the protocol was broken".to_owned(),
        LeaveReason::Halting => "this node halts".to_owned(),
        LeaveReason::Rejected => "it is not a leader".to_owned(),
    }
}

fn peer_fault(fault: &PeerFault) -> String {
    match fault {
        PeerFault::Unexpected(what) => format!("{what} is not expected now"),
        PeerFault::Epoch { got, expected } => format!("a message of {got} in {expected}"),
        PeerFault::Gap => "its entries do not continue the log".to_owned(),
        PeerFault::Beyond(at) => format!("it speaks of {at}, which was never sent"),
        PeerFault::Chunk(at) => format!("a part of a snapshot out of order, at byte {at}"),
        PeerFault::OldSnapshot(at) => format!("a snapshot at {at}, older than the log"),
        PeerFault::SnapshotDigest => "a snapshot that is not what its head says".to_owned(),
        PeerFault::History(at) => format!("its history ends at {at}, not where it says"),
        other => format!("{other:?}"),
    }
}

/// Why a connection is closed, in words.
pub(crate) fn close_reason(why: &CloseReason) -> String {
    match why {
        CloseReason::RoleChange => "this node changed its role".to_owned(),
        CloseReason::NotLeading => "this node does not lead".to_owned(),
        CloseReason::Replaced => "the peer opened a newer connection".to_owned(),
        CloseReason::Fault(fault) => format!("the peer broke the protocol: {}", peer_fault(fault)),
        CloseReason::Rejected => "the peer does not belong here".to_owned(),
        CloseReason::Silent => "the peer was silent for too long".to_owned(),
        CloseReason::TooSlow => "the peer is too slow to be synchronised".to_owned(),
        CloseReason::StaleEpoch => "this node has promised a higher epoch".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Why a node is refused, in words.
pub(crate) fn rejection(why: &Rejection) -> String {
    match why {
        Rejection::WrongCluster { members } if members.members().is_empty() => {
            "its list of nodes is another one; make the configuration files agree".to_owned()
        }
        Rejection::WrongCluster { members } => format!(
            "its list of nodes is another one: {}; make the configuration files agree",
            member_list(members)
        ),
        Rejection::WrongDisk => "the ensemble knows this node by another disk; its data directory \
                                 was wiped, replaced or copied"
            .to_owned(),
        Rejection::NotMember { version } => {
            format!("this node is not a member of the ensemble, by its membership of {version}")
        }
        Rejection::NotBefore { epoch, wait } => format!(
            "this node has promised an epoch above {epoch}, in which it cannot be taken in; the \
             leader gives up for that in {wait}"
        ),
        Rejection::OldDisk => {
            "the ensemble has met a later life of its data directory, which is an older copy, a \
             copy that runs twice, or lost what was acknowledged"
                .to_owned()
        }
        Rejection::Version { speaks: (from, to) } => {
            format!("it speaks only the versions {from} to {to} of the protocol")
        }
    }
}

/// Members as an operator knows them.
pub(crate) fn member_list(membership: &Membership) -> String {
    let members = membership.members().iter();
    let texts: Vec<String> =
        members.map(|(id, m)| format!("{id} {} {}", m.election_addr, m.message_addr)).collect();
    format!("[{}]", texts.join(", "))
}

/// Counts by name. Names are fixed words such as `client.garbage`, never parts of input, so that
/// their number is bounded.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    /// Counts one.
    pub(crate) fn add(&self, name: &'static str) {
        *self.lock().entry(name).or_default() += 1;
    }

    /// All counts.
    pub(crate) fn all(&self) -> BTreeMap<&'static str, u64> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, u64>> {
        // A count is whole at every moment: a panic elsewhere does not spoil it.
        self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Lets through a few lines of each kind a minute: outsiders must not fill the disk by the log.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    kinds: BTreeMap<&'static str, Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    let_through: u32,
    held_back: u64,
}

impl RateLimit {
    const PER_WINDOW: u32 = 10;
    const WINDOW: Micros = Micros::millis(60_000);

    /// `Some(held back before)` if a line of this kind may be written now.
    pub(crate) fn allow(&mut self, kind: &'static str, now: Instant) -> Option<u64> {
        let fresh = Window { began: now, let_through: 0, held_back: 0 };
        let window = self.kinds.entry(kind).or_insert(fresh);
        let mut before = 0;
        if now.since(window.began) > Self::WINDOW {
            before = window.held_back;
            *window = fresh;
        }
        if window.let_through < Self::PER_WINDOW {
            window.let_through += 1;
            return Some(before);
        }
        window.held_back += 1;
        None
    }

    /// Logs a line unless there were too many of its kind.
    pub(crate) fn log(&mut self, kind: &'static str, level: Level, now: Instant, text: &str) {
        match self.allow(kind, now) {
            None => {}
            Some(0) => log::log!(level, "{text}"),
            Some(before) => log::log!(level, "{text} ({before} more like this in between)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zabkeeper_core::words::{ConnId, Epoch, NodeId, Round, Txid};

    #[test]
    fn notes_are_told_in_the_shared_notation() {
        let note = Note::Established { epoch: Epoch::new(3), last: Txid::first(Epoch::new(2)) };
        let members = &Membership::new(Txid::ZERO, BTreeMap::new());
        let (kind, level, text) = describe(&note, members);
        assert_eq!((kind, level), ("note.established", Level::Info));
        assert_eq!(text, "leading e3; the history up to 2.1 is committed");
        let note = Note::Elected { leader: NodeId::new(2), round: Round::new(5) };
        assert_eq!(describe(&note, members).2, "n2 is elected in round r5");
        let note = Note::PeerFault { conn: ConnId::new(7), fault: PeerFault::Gap };
        assert_eq!(describe(&note, members).1, Level::Warn);
    }

    #[test]
    fn a_flood_of_one_kind_is_cut_and_counted_and_others_still_pass() {
        let mut limit = RateLimit::default();
        let at = |s: u64| Instant::from_micros(s * 1_000_000);
        let passed = (0..100).filter(|_| limit.allow("a", at(1)).is_some()).count();
        assert_eq!(passed, 10);
        assert_eq!(limit.allow("b", at(1)), Some(0));
        assert_eq!(limit.allow("a", at(62)), Some(90));
        assert_eq!(limit.allow("a", at(62)), Some(0));
    }
}
