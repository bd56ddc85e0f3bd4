//! What clients are told: NoUncommittedRead (22), Linearizable (23), SessionMonotone (25),
//! AnsweredIsCommitted (26).
//!
//! Answers name the txid that they stand for. That gives a witness of linearizability: the
//! committed order itself. It suffices that each answer is what the committed order says at its
//! txid, and that the txids agree with the order in which calls began and ended. A second checker
//! that knows nothing of txids is in [`super::linear`].

use super::order::Order;
use super::{Check, ensure};
use crate::callers::clients::{Call, Clients};
use crate::run::plan::OpKind;
use zabkeeper_core::store::Answer;
use zabkeeper_core::words::End;

/// A node answers a call.
pub fn answered(call: &Call, ending: &End<Answer>, order: &Order) -> Check {
    match ending {
        End::Done { txid, answer: Answer::Written(outcome) } => {
            let bytes = order.entry(*txid).map(|entry| &entry.body);
            let command = call.command.clone().map(zabkeeper_core::zab::Body::Command);
            ensure!(
                bytes.is_some() && bytes == command.as_ref(),
                "AnsweredIsCommitted (26)",
                "{:?} is acknowledged as {txid}, where something else or nothing is committed",
                call.op
            );
            ensure!(
                order.outcome(*txid) == Some(outcome),
                "AnsweredIsCommitted (26)",
                "{:?} at {txid} led to {:?}, the client is told {outcome:?}",
                call.op,
                order.outcome(*txid)
            );
        }
        End::Done { txid: applied, answer } => {
            ensure!(
                order.committed_at(*applied).is_some(),
                "NoUncommittedRead (22)",
                "{:?} is answered from a state at {applied}, which is not committed",
                call.op
            );
            ensure!(
                order.explains(&call.query, *applied, answer),
                "NoUncommittedRead (22)",
                "{:?} at {applied} is not what the client of {:?} is told: {answer:?}",
                call.query,
                call.op
            );
        }
        End::Refused(_) => refused(call, order)?,
        End::Invalid(why) => {
            ensure!(false, "requests make sense", "{:?} is invalid: {why}", call.op)
        }
        End::Unknown => {}
    }
    Ok(())
}

/// A client is told how its call ended: the order of txids agrees with the order of calls.
pub fn ended(call: &Call, ending: &End<Answer>) -> Check {
    match ending {
        End::Done { txid, answer: Answer::Written(_) } => {
            ensure!(
                *txid > call.floor,
                "Linearizable (23)",
                "{:?} became {txid}, but {} had been answered before it was asked",
                call.op,
                call.floor
            );
        }
        End::Done { txid: applied, .. } => {
            ensure!(
                call.op.kind.is_local() || *applied >= call.floor,
                "Linearizable (23)",
                "{:?} saw {applied}, but {} had been answered before it was asked",
                call.op,
                call.floor
            );
            ensure!(
                *applied >= call.seen,
                "SessionMonotone (25)",
                "{:?} saw {applied}, but its client had seen {}",
                call.op,
                call.seen
            );
        }
        End::Refused(_) | End::Invalid(_) | End::Unknown => {}
    }
    Ok(())
}

/// The machine of a client ends a call, at the time `now`.
pub fn ends_once(call: &Call, now: u64) -> Check {
    ensure!(
        call.ended.is_none(),
        "one end a request",
        "{:?} ends again, after {:?}",
        call.op,
        call.ended
    );
    let deadline = call.asked.map(|asked| asked + call.op.patience);
    ensure!(
        deadline.is_some_and(|deadline| now <= deadline),
        "one end a request",
        "{:?} ends at {now}, after its deadline {deadline:?}",
        call.op
    );
    Ok(())
}

/// The deadline of a machine's call is over.
pub fn ended_in_time(call: &Call) -> Check {
    ensure!(
        call.ended.is_some(),
        "one end a request",
        "{:?} of {:?} has not ended at its deadline",
        call.op,
        call.asked
    );
    Ok(())
}

/// At the end of a run: what was refused is not there.
pub fn refused_never_done(clients: &Clients, order: &Order) -> Check {
    for call in &clients.calls {
        if let Some((_, End::Refused(_))) = call.ended {
            refused(call, order)?;
        }
    }
    Ok(())
}

fn refused(call: &Call, order: &Order) -> Check {
    // Two deletes of one key look alike; the other writes carry values of their own.
    let unique = call.op.kind != OpKind::Delete && call.op.key > 0;
    if let (Some(command), true) = (&call.command, unique) {
        let done = order.command(command);
        ensure!(
            done.is_none(),
            "AnsweredIsCommitted (26)",
            "{:?} was refused, but it is committed as {:?}",
            call.op,
            done
        );
    }
    Ok(())
}
