//! Who is heard at all: votes and connections of voters of this ensemble, on the disks that it knows.

use crate::words::{ConnId, Txid};
use crate::zab::cx::{Cx, VERSIONS};
use crate::zab::error::{CloseReason, PeerFault};
use crate::zab::event::Action;
use crate::zab::fresh::Worth;
use crate::zab::membership::quorum::Membership;
use crate::zab::message::{FollowerInfo, Message, Rejection, Vote};
use crate::zab::note::Note;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A vote of another voter of this ensemble.
pub(super) struct Vouched {
    /// True if it is of an old disk, or old: it does not count.
    pub(super) old: bool,
    pub(super) worth: Worth,
}

/// Lets only votes of other voters of this ensemble through, on the disks that it knows.
pub(super) fn vouch(cx: &mut Cx<'_>, vote: &Vote) -> Option<Vouched> {
    let (to, from) = (vote.from, vote.from);
    if vote.cluster != cx.s.identity.cluster {
        cx.note(Note::ForeignVote(from));
        if cx.s.ensemble.is_voter(from) && from != cx.s.node() {
            let members = cx.s.log.base().membership.clone().without_lives();
            let why = Rejection::WrongCluster { members };
            cx.out.push(Action::NotifyRejected { to, why });
        }
        return None;
    }
    if from == cx.s.node() {
        cx.note(Note::DuplicateId(from));
        return None;
    }
    if !cx.s.ensemble.is_voter(from) || !cx.s.ensemble.is_voter(vote.candidate.node) {
        cx.note(Note::StrangerVote(from));
        return None;
    }
    let other = cx.s.ensemble.disk_of(from).is_some_and(|known| known != vote.incarnation);
    if planted!(cx, WipedNodeCounts, other => false) {
        cx.note(Note::WrongDisk { node: from, presents: vote.incarnation });
        cx.out.push(Action::NotifyRejected { to, why: Rejection::WrongDisk });
        return None;
    }
    // The vote does not count. An old vote of a healthy disk looks the same, so it is no reason to
    // refuse its sender: whoever connects is told. Lives that are too many for a datagram are
    // seen then, too, before anything counts.
    let old = !vote.lives.drawn.is_empty() && !cx.is_newest(from, &vote.lives);
    let rest = cx.s.cfg.timeouts.resend_max;
    let worth = match old {
        true => Worth::Nothing,
        false => cx.s.fresh.hear(from, vote.stamp, cx.now.at, rest),
    };
    Some(Vouched { old, worth })
}

/// Lets a node in that belongs here; tells any other why not.
pub(super) fn lets_in(cx: &mut Cx<'_>, conn: ConnId, info: &FollowerInfo) -> bool {
    if cx.is_too_far(info.accepted) {
        expel(cx, conn, PeerFault::EpochTooFar(info.accepted));
        return false;
    }
    match recognise(cx, info) {
        Ok(()) => true,
        Err(why) => {
            cx.send(conn, Message::Rejected(why));
            cx.close(conn, CloseReason::Rejected);
            false
        }
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
    let other = cx.s.ensemble.disk_of(info.node).is_some_and(|known| known != info.incarnation);
    if planted!(cx, WipedNodeCounts, other => false) {
        cx.note(Note::WrongDisk { node: info.node, presents: info.incarnation });
        return Err(Rejection::WrongDisk);
    }
    if cx.is_newest(info.node, &info.lives) { Ok(()) } else { Err(Rejection::OldDisk) }
}

/// Closes a connection over which something came that nobody may say there.
pub(super) fn expel(cx: &mut Cx<'_>, conn: ConnId, fault: PeerFault) {
    cx.note(Note::PeerFault { conn, fault: fault.clone() });
    cx.close(conn, CloseReason::Fault(fault));
}

/// Closes connections that have not said for long who they are.
pub(super) fn close_mute(cx: &mut Cx<'_>) {
    let (now, init) = (cx.now.at, cx.s.cfg.timeouts.init);
    let mute = cx.s.strangers.iter().filter(|(_, at)| now >= at.after(init));
    for conn in mute.map(|(conn, _)| *conn).collect::<Vec<_>>() {
        cx.s.strangers.remove(&conn);
        cx.close(conn, CloseReason::Silent);
    }
}
