//! How long a turn of a process takes: a function of what it did. What comes meanwhile is late, so
//! one long turn shows at everything else at its node.

use crate::check::{Check, bounds};
use crate::world::{Occur, World, place, size, wide};
use zabkeeper_core::replica::{Input, Outputs};
use zabkeeper_core::store::{Query, Tree};
use zabkeeper_core::words::{NodeId, Txid};
use zabkeeper_core::zab::{Action, Event};

/// Bytes of work that anything takes: a microsecond at 200 MB/s.
const ONE: u64 = 200;

/// The work of taking something in, where a byte of contents stands for `scale`.
pub(crate) fn input(input: &Input<Query>, scale: u64) -> u64 {
    ONE + match input {
        Input::Event(Event::Received { msg, .. }) => size::real(size::message(msg), 1, scale),
        Input::Event(Event::LogRead { entries, .. }) => {
            size::real(size::entries(entries), entries.len() as u64, scale)
        }
        Input::Event(_) => 0,
        Input::Requests(requests) => {
            let bytes = requests.iter().map(|request| size::request(&request.request)).sum();
            size::real(bytes, requests.len() as u64, scale)
        }
    }
}

/// The work of making what goes out.
pub(crate) fn output(out: &Outputs<Tree>, scale: u64) -> u64 {
    let action = |action: &Action| match action {
        Action::Send { to, msg } => {
            to.len() as u64 * size::FIXED + size::real(size::message(msg), 1, scale)
        }
        Action::CheckpointPart { changes, .. } => size::changes(changes) * scale,
        Action::Checkpoint(checkpoint) => size::changes(&checkpoint.changes) * scale,
        Action::Note(_) => 0,
        _ => ONE,
    };
    out.actions.iter().map(action).sum::<u64>() + out.replies.len() as u64 * ONE
}

impl World {
    /// A step is done: it lasts by its work, and by what it applied since it stood at `applied`.
    pub(crate) fn spend(&mut self, node: NodeId, boot: u64, work: u64, applied: Txid) -> Check {
        let (scale, now) = (self.plan.options.scale(), self.now);
        let Some(rate) = self.plan.options.wide.as_ref().map(|wide| wide.turn_rate) else {
            return Ok(());
        };
        if !self.is_life(node, boot) {
            return Ok(());
        }
        let upto = self.host(node).process.as_ref().map(|process| process.status.applied);
        let applied = self.checks.order.bytes_between(applied, upto.unwrap_or_default()) * scale;
        let lasts = wide::time(work + applied, rate);
        let (done, room) = ((work + applied) / scale, self.room.turn);
        self.peak("bytes worked off in a turn", done * 100 / room);
        bounds::fits(node, "worked off in a turn", done, room)?;
        self.peak("milliseconds a turn", lasts / 1_000);
        let Some(process) = &mut self.hosts[place(node)].process else { return Ok(()) };
        process.busy_until = now + lasts;
        Ok(())
    }

    /// A process is free again: it takes what came meanwhile, as far as it gets.
    pub(crate) fn turn(&mut self, node: NodeId, boot: u64) -> Check {
        let now = self.now;
        while self.is_life(node, boot) {
            let Some(process) = &mut self.hosts[place(node)].process else { break };
            // Once it goes on it is told again.
            if process.paused.is_some() {
                break;
            }
            let at = process.busy_until;
            if at > now && !process.held.is_empty() {
                self.queue.push(at, Occur::Turn { node, boot });
                break;
            }
            let Some(input) = process.held.pop_front() else {
                if at > now {
                    self.queue.push(at, Occur::Turn { node, boot });
                    break;
                }
                return self.serve(node);
            };
            self.step(node, input)?;
        }
        Ok(())
    }
}
