//! Changes of role.

use super::Node;
use super::role::Role;
use crate::words::{ConnId, Instant, Now};
use crate::zab::cx::{Cx, Next};
use crate::zab::event::{Action, Actions};
use crate::zab::message::FollowerInfo;
use crate::zab::note::{LeaveReason, Note};
use crate::zab::roles::following::Following;
use crate::zab::roles::leading::{Claiming, Reigning};
use crate::zab::roles::looking::Looking;
use alloc::collections::BTreeMap;

impl Node {
    /// Changes the role, as often as a new one ends at once.
    pub(super) fn change(&mut self, next: Next, now: Now, out: &mut Actions) {
        let mut next = next;
        while next != Next::Stay {
            let cx = &mut Cx { s: &mut self.state, out, now };
            let old = core::mem::replace(&mut self.role, Role::Halted);
            (self.role, next) = match (old, next) {
                (Role::Claiming(claiming), Next::Reign(epoch)) => {
                    let (reigning, next) = Reigning::begin(cx, claiming, epoch);
                    (Role::Reigning(reigning), next)
                }
                (old, next) => become_another(cx, old, next),
            };
        }
    }

    /// Ends a role that has nothing to wait for (a single voter elects itself at once).
    pub(super) fn settle(&mut self, now: Now, out: &mut Actions) {
        let cx = &mut Cx { s: &mut self.state, out, now };
        let next = match &mut self.role {
            Role::Looking(looking) => looking.on_persisted(cx),
            Role::Following(_) | Role::Claiming(_) | Role::Reigning(_) | Role::Halted => Next::Stay,
        };
        self.change(next, now, out);
    }
}

/// Leaves a role for another one, and begins that.
fn become_another(cx: &mut Cx<'_>, old: Role, next: Next) -> (Role, Next) {
    let attempt = !matches!(old, Role::Looking(_) | Role::Halted);
    let early = leave(cx, old, &next);
    if attempt {
        cx.s.standing.end(cx.now.at, &cx.s.cfg.timeouts);
    }
    cx.s.standing.begin();
    (cx.s.serving, cx.s.catching_up) = (false, false);
    planted!(cx, KeepDuties, cx.s.ledger.drop_duties() => ());
    cx.s.requests.hold_reads();
    if next == Next::Look(LeaveReason::SlowDisk) {
        // It takes no part until its disk is back: other nodes may serve them meanwhile.
        cx.s.requests.refuse_held(cx.out);
    }
    planted!(cx, FailOnStepDown => cx.s.requests.fail_sent(cx.out));
    match next {
        Next::Look(_) => {
            let mut looking = Looking::start(cx);
            let next = looking.on_persisted(cx);
            (Role::Looking(looking), next)
        }
        Next::Follow(vote) => (Role::Following(Following::start(cx, &vote)), Next::Stay),
        Next::Lead => {
            let (claiming, next) = Claiming::start(cx, early);
            (Role::Claiming(claiming), next)
        }
        Next::Halt(why) => {
            cx.s.requests.stop(cx.out);
            cx.out.push(Action::Halt(why));
            (Role::Halted, Next::Stay)
        }
        Next::Stay | Next::Reign(_) => unreachable!("{next:?} is no other role"),
    }
}

/// Leaves a role. The connections of early followers go along to a new leader.
fn leave(cx: &mut Cx<'_>, role: Role, next: &Next) -> BTreeMap<ConnId, (FollowerInfo, Instant)> {
    let mut early = BTreeMap::new();
    let why = match next {
        Next::Look(why) => *why,
        Next::Stay | Next::Lead | Next::Reign(_) | Next::Follow(_) | Next::Halt(_) => {
            LeaveReason::Halting
        }
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
        Role::Claiming(claiming) => {
            cx.note(Note::SteppedDown { epoch: claiming.epoch(), why });
            claiming.leave(cx);
        }
        Role::Reigning(reigning) => {
            cx.note(Note::SteppedDown { epoch: Some(reigning.epoch()), why });
            reigning.leave(cx);
        }
        Role::Halted => {}
    }
    early
}
