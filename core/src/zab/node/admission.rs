//! What clients of this node ask of it: taken in as far as there is room, refused otherwise.

use crate::words::{Instant, RefuseReason, Ticket, Txid};
use crate::zab::cx::Cx;
use crate::zab::event::{Actions, Event, Submission, Upcall};
use alloc::vec::Vec;

/// Takes in writes that fit. None if the node is `idle`.
pub(super) fn submit(cx: &mut Cx<'_>, submissions: Vec<Submission>, idle: bool) {
    for submission in submissions {
        let limits = &cx.s.cfg.limits;
        let why = if idle {
            RefuseReason::NoLeader
        } else if submission.body.len() > limits.command_bytes {
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

/// Takes in linearizable reads. None if the node is `idle`.
pub(super) fn read(cx: &mut Cx<'_>, reads: Vec<(Ticket, Instant)>, idle: bool) {
    for (ticket, deadline) in reads {
        if idle {
            let why = RefuseReason::NoLeader;
            cx.out.call(Upcall::Refuse { ticket, why });
        } else if cx.s.is_full() {
            cx.out.call(Upcall::Refuse { ticket, why: RefuseReason::Busy });
        } else {
            let patience = cx.now.at.after(cx.s.cfg.timeouts.hold);
            cx.s.requests.hold_read(ticket, deadline.min(patience));
        }
    }
}

/// Takes in local reads, which wait until an entry is applied here.
pub(super) fn wait(cx: &mut Cx<'_>, reads: Vec<(Ticket, Instant, Txid)>) {
    let patience = cx.now.at.after(cx.s.cfg.timeouts.hold);
    for (ticket, deadline, index) in reads {
        if index <= cx.s.applied {
            cx.out.call(Upcall::Readable(ticket));
        } else if let Some(why) = cx.s.cannot_await(index) {
            cx.out.call(Upcall::Refuse { ticket, why });
        } else {
            cx.s.requests.hold_await(ticket, deadline.min(patience), index);
        }
    }
}

/// A halted node says nothing to the others, and refuses its clients.
pub(super) fn refuse_all(event: Event, out: &mut Actions) {
    let tickets: Vec<Ticket> = match event {
        Event::Submit(list) => list.into_iter().map(|submission| submission.ticket).collect(),
        Event::Read(list) => list.into_iter().map(|(ticket, _)| ticket).collect(),
        Event::Await(list) => list.into_iter().map(|(ticket, _, _)| ticket).collect(),
        _ => return,
    };
    for ticket in tickets {
        out.call(Upcall::Refuse { ticket, why: RefuseReason::Stopping });
    }
}
