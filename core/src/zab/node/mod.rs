//! The consensus node: one event in, a list of actions out.

mod admission;
mod change;
mod gate;
mod role;
#[cfg(feature = "explore")]
mod search;
mod table;
mod view;

use crate::words::{Epoch, Instant, Now};
use crate::zab::config::Config;
use crate::zab::cx::Cx;
use crate::zab::error::RestoreError;
use crate::zab::event::{Actions, Event};
use crate::zab::history::entry::Entry;
use crate::zab::history::log::Log;
use crate::zab::history::storage::Recovered;
use crate::zab::roles::looking::Looking;
use crate::zab::state::State;
use role::Role;

/// A node of the ensemble, without its application: it orders opaque commands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Node {
    state: State,
    role: Role,
    /// Time never goes backwards here, whatever the runtime says.
    latest: Instant,
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
        if now.at > self.latest {
            self.wake(now.at);
        }
        let now = Now { at: self.latest, wall: now.wall };
        if matches!(self.role, Role::Halted) {
            return admission::refuse_all(event, out);
        }
        let next = self.role.on_event(&mut Cx { s: &mut self.state, out, now }, event);
        self.change(next, now, out);
        if self.role.holds_writes() || self.state.requests.holds_writes() {
            let next = self.role.pass_writes(&mut Cx { s: &mut self.state, out, now });
            self.change(next, now, out);
        }
        self.forget(now, out);
    }

    /// Time has passed. If nothing happened here for long, though this node had asked for a tick, it
    /// slept: paused, or on a machine that was. Its disk had no chance to get on meanwhile, or to say
    /// so. A loop that is only late has not slept, however often: clients can bring that about.
    fn wake(&mut self, now: Instant) {
        let long = now.since(self.latest) > self.state.cfg.timeouts.sync;
        if long && let Some(due) = self.deadline() {
            self.state.slept(now.since(due.max(self.latest)));
        }
        self.latest = now;
    }

    /// Keeps the log in memory short.
    fn forget(&mut self, now: Now, out: &mut Actions) {
        let pin = || self.role.pin();
        let cx = &mut Cx { s: &mut self.state, out, now };
        planted!(cx, PruneUnsaved, cx.forget(pin) => cx.forget_unsaved(pin));
    }

    /// When the next [`Event::Tick`] is due. An earlier one is harmless.
    pub fn deadline(&self) -> Option<Instant> {
        let s = &self.state;
        if matches!(self.role, Role::Halted) {
            return None;
        }
        let strangers = s.strangers.values().min().map(|at| at.after(s.cfg.timeouts.init));
        let waits = [s.requests.deadline(), s.choked_at(), strangers, s.settle_at];
        self.role.deadline(s).into_iter().chain(waits.into_iter().flatten()).min()
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
