//! How a leader brings a follower's log to its own: the table of decisions, as one pure function.

use crate::zab::history::entry::Position;
use crate::zab::message::EpochAck;

/// How a follower is brought up to date.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SyncKind {
    /// Its log is a prefix of the leader's: the rest follows.
    Diff,
    /// Its log has a tail that the leader does not have: cut, then the rest.
    Trunc,
    /// It ends before the start of the leader's log: the whole state, then the rest.
    Snap,
}

/// The decision.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SyncPlan {
    /// Send what comes after this, the end of the follower's log.
    Diff(Position),
    /// Cut to this, then send what comes after it. The follower checks that its history up to here
    /// is the same, and that nothing it knows to be committed would go.
    Trunc(Position),
    /// Send the state, then what comes after it.
    Snap,
}

impl SyncPlan {
    /// The decision's name.
    pub fn kind(&self) -> SyncKind {
        match self {
            Self::Diff(_) => SyncKind::Diff,
            Self::Trunc(_) => SyncKind::Trunc,
            Self::Snap => SyncKind::Snap,
        }
    }
}

/// Decides by *membership* of the follower's last entry in the leader's log, not by range: an entry
/// within the range may be one that a dead leader logged alone. `floor` is the last place of the
/// leader's history at or before that entry, if its log reaches back to there, in memory or on disk.
pub(crate) fn plan(follower: &EpochAck, floor: Option<Position>) -> SyncPlan {
    let last = follower.last;
    match floor {
        // The prefix is gone: only the whole state helps. It reaches beyond the follower's log,
        // since the start of the leader's log does; a snapshot must never be older than that.
        None => SyncPlan::Snap,
        Some(floor) if floor == last => SyncPlan::Diff(last),
        // A divergent tail. Also the case of equal txids with unequal chains, where no cut can
        // help: the follower finds that out and stops.
        Some(floor) => SyncPlan::Trunc(floor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Epoch, NodeId, Txid, WallTime};
    use crate::zab::history::entry::{Body, Entry};
    use crate::zab::history::log::Log;
    use crate::zab::history::storage::Base;
    use crate::zab::membership::quorum::{Member, Membership};
    use alloc::collections::BTreeMap;
    use alloc::string::String;
    use alloc::sync::Arc;

    fn t(epoch: u64, counter: u64) -> Txid {
        Txid::new(Epoch::new(epoch), counter).unwrap()
    }

    /// A log over the given txids; `salt` makes the bodies of a txid differ between histories.
    fn log(txids: &[(u64, u64)], salt: &str) -> Log {
        let member = Member {
            voter: true,
            incarnation: None,
            life: None,
            election_addr: String::new(),
            message_addr: String::new(),
        };
        let members = BTreeMap::from([(NodeId::new(1), member)]);
        let membership = Arc::new(Membership::new(Txid::ZERO, members));
        let mut log = Log::new(Base { at: Position::ZERO, membership });
        for (epoch, counter) in txids {
            let body = Body::Command(salt.as_bytes().into());
            let next = Entry::new(log.last(), t(*epoch, *counter), WallTime::default(), None, body);
            log.append(next).unwrap();
        }
        log
    }

    fn ack(follower: &Log) -> EpochAck {
        EpochAck {
            epoch: Epoch::new(9),
            counted: true,
            current: follower.last().txid.epoch(),
            last: follower.last(),
            base: follower.base().at.txid,
            commit: follower.base().at.txid,
            staged: None,
        }
    }

    fn plan_of(follower: &Log, leader: &Log) -> SyncPlan {
        let ack = ack(follower);
        plan(&ack, leader.floor(ack.last.txid))
    }

    const HISTORY: &[(u64, u64)] = &[(1, 1), (1, 2), (2, 1), (2, 2), (4, 1)];

    #[test]
    fn an_equal_log_needs_an_empty_diff() {
        let leader = log(HISTORY, "x");
        assert_eq!(plan_of(&leader, &leader), SyncPlan::Diff(leader.last()));
    }

    #[test]
    fn a_prefix_needs_the_rest() {
        let leader = log(HISTORY, "x");
        let follower = log(&HISTORY[..3], "x");
        assert_eq!(plan_of(&follower, &leader), SyncPlan::Diff(follower.last()));
        let empty = log(&[], "x");
        assert_eq!(plan_of(&empty, &leader), SyncPlan::Diff(Position::ZERO));
    }

    #[test]
    fn a_divergent_tail_is_cut_at_the_greatest_common_txid_below_it() {
        let leader = log(HISTORY, "x");
        // The follower logged 2.3 alone, then 3.1: neither is in the leader's log, both in range.
        let follower = log(&[(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)], "x");
        let at = leader.position_at(t(2, 2)).unwrap();
        assert_eq!(plan_of(&follower, &leader), SyncPlan::Trunc(at));
        let follower = log(&[(1, 1), (1, 2), (3, 1)], "x");
        assert_eq!(plan_of(&follower, &leader), SyncPlan::Trunc(at));
    }

    #[test]
    fn a_follower_ahead_is_cut_to_the_leaders_end() {
        let leader = log(HISTORY, "x");
        let follower = log(&[(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2)], "x");
        assert_eq!(plan_of(&follower, &leader), SyncPlan::Trunc(leader.last()));
    }

    #[test]
    fn a_follower_behind_the_start_of_the_log_needs_the_state() {
        let mut leader = log(HISTORY, "x");
        leader.prune(leader.position_at(t(2, 1)).unwrap());
        let follower = log(&HISTORY[..2], "x");
        assert_eq!(plan_of(&follower, &leader), SyncPlan::Snap);
        assert_eq!(plan_of(&log(&[], "x"), &leader), SyncPlan::Snap);
        let at_the_start = log(&HISTORY[..3], "x");
        assert_eq!(plan_of(&at_the_start, &leader), SyncPlan::Diff(at_the_start.last()));
    }

    #[test]
    fn equal_txids_of_different_histories_are_left_to_the_follower_to_find() {
        let leader = log(HISTORY, "x");
        let follower = log(HISTORY, "y");
        assert_eq!(plan_of(&follower, &leader), SyncPlan::Trunc(leader.last()));
    }
}
