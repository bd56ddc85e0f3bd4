//! What one machine makes of one input: a function of the two alone, so it is worked out once and
//! remembered. There are far fewer machines in different states than worlds of them.

use super::print::{Shared, print};
use super::world::{LONG, Machine, Orders, PRESENT, config};
use crate::check::quorum::holds;
use crate::check::{Check, Violation, ensure};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use zabkeeper_core::mutants::Mutant;
use zabkeeper_core::words::{Epoch, Instant, Now, Txid, WallTime, WriteId};
use zabkeeper_core::zab::{Action, Actions, Event, Image, Message, Node, Position, Stance, Vote};

/// What comes to a machine.
#[derive(Clone, Hash, Debug)]
pub(super) enum Input {
    /// An event for its node.
    Event(Box<Event>),
    /// Everything that its node waits for runs out.
    Expire,
    /// Its disk completes so many writes.
    Flush(u8),
    /// It loses power; so many of the writes under way survive.
    Crash(u8),
    /// It gets power.
    Start,
}

/// What comes of it.
#[derive(Debug)]
pub(super) struct Turn {
    /// The machine afterwards.
    pub(super) machine: Shared<Machine>,
    /// What its node says.
    pub(super) out: Actions,
    /// What its node had applied before.
    pub(super) applied: Txid,
    /// What its node takes for committed afterwards.
    pub(super) committed: Txid,
    /// The epoch that its node leads afterwards.
    pub(super) reigns: Option<Epoch>,
}

type Known = BTreeMap<u128, Arc<Turn>>;

/// The turns that were worked out.
pub(super) struct Turns {
    pub(super) orders: Orders,
    mutant: Option<Mutant>,
    shards: Vec<Mutex<Known>>,
}

impl Turns {
    const SHARDS: usize = 64;
    /// A shard that holds more begins anew: memory is bounded, and what is known changes nothing.
    const MOST: usize = 8000;

    pub(super) fn new(mutant: Option<Mutant>, orders: Orders) -> Self {
        Self { orders, mutant, shards: (0..Self::SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// What `machine` makes of `input`.
    pub(super) fn take(
        &self,
        machine: &Shared<Machine>,
        input: &Input,
    ) -> Result<Arc<Turn>, Violation> {
        let key = print(&(machine, input));
        let shard = &self.shards[key as usize % Self::SHARDS];
        let known = shard.lock().map(|shard| shard.get(&key).cloned()).unwrap_or_default();
        if let Some(turn) = known {
            return Ok(turn);
        }
        let turn = Arc::new(Machine::clone(machine).take(input, self.mutant)?);
        if let Ok(mut shard) = shard.lock() {
            if shard.len() >= Self::MOST {
                shard.clear();
            }
            return Ok(shard.entry(key).or_insert(turn).clone());
        }
        Ok(turn)
    }
}

impl Machine {
    fn take(mut self, input: &Input, mutant: Option<Mutant>) -> Result<Turn, Violation> {
        match input {
            Input::Event(event) => self.feed(PRESENT, Event::clone(event), 0),
            Input::Expire => self.feed(PRESENT.after(LONG), Event::Tick, 0),
            Input::Flush(writes) => {
                self.write(*writes)?;
                let upto = WriteId::new((*writes).into());
                self.feed(PRESENT, Event::Persisted(upto), (*writes).into())
            }
            Input::Crash(keep) => {
                self.write(*keep)?;
                self.node = None;
                self.pending.clear();
                self.issued = self.disk.clone();
                self.end(Actions::new(), Txid::ZERO, Txid::ZERO, 0)
            }
            Input::Start => self.start(mutant),
        }
    }

    fn start(mut self, mutant: Option<Mutant>) -> Result<Turn, Violation> {
        self.lives += 1;
        let seed = u64::from(self.id.get()) * 100 + u64::from(self.lives);
        let disk = self.disk.clone();
        let identity = self.identity(disk.log.base().membership.cluster_id());
        let disk = disk.recover(identity, Position::ZERO);
        let mut out = Actions::new();
        let node = Node::restore(config(self.id, mutant), disk, seed, at(PRESENT), &mut out);
        self.node = Some(node.map_err(|error| {
            let what = format!("{} cannot start from its disk: {error:?}", self.id);
            Violation::new("storage rules", what)
        })?);
        self.end(out, Txid::ZERO, Txid::ZERO, 0)
    }

    fn feed(mut self, now: Instant, event: Event, completed: u64) -> Result<Turn, Violation> {
        let mut out = Actions::new();
        let Some(node) = &mut self.node else { return self.end(out, Txid::ZERO, Txid::ZERO, 0) };
        let before = node.status();
        node.handle(at(now), event, &mut out);
        self.end(out, before.committed, before.applied, completed)
    }

    /// Makes the oldest of the writes under way durable.
    fn write(&mut self, writes: u8) -> Check {
        let before = self.disk.clone();
        for record in self.pending.drain(..usize::from(writes)) {
            self.disk.apply(&record).map_err(|error| {
                let what = format!("{} writes {record:?}: {error}", self.id);
                Violation::new("storage rules", what)
            })?;
        }
        self.check_disk(&before)
    }

    /// Takes over what the node says, and checks what can be checked of it alone.
    fn end(
        mut self,
        out: Actions,
        committed: Txid,
        applied: Txid,
        completed: u64,
    ) -> Result<Turn, Violation> {
        for action in &out.actions {
            if let Action::Persist { record, .. } = action {
                self.issued.apply(record).map_err(|error| {
                    let what = format!("{} issues {record:?}: {error}", self.id);
                    Violation::new("storage rules", what)
                })?;
                self.pending.push_back(record.clone());
            }
        }
        let (before, mut reigns) = ((committed, applied), None);
        let mut committed = Txid::ZERO;
        if let Some(node) = &mut self.node {
            node.check();
            node.rebase(PRESENT, completed);
            (committed, reigns) = (node.status().committed, node.reigns());
            self.check_node(before)?;
        }
        for action in &out.actions {
            match action {
                Action::Notify { vote, .. } => self.check_vote(vote)?,
                Action::Send { msg: Message::Ack { epoch, upto }, .. } => {
                    self.check_ack(*epoch, *upto, "ACK")?;
                }
                Action::Send { msg: Message::NewLeaderAck { epoch, end, .. }, .. } => {
                    self.check_ack(*epoch, *end, "NEW-LEADER-ACK")?;
                }
                _ => {}
            }
        }
        Ok(Turn { machine: Shared::new(self), out, applied, committed, reigns })
    }

    fn check_node(&self, (committed, applied): (Txid, Txid)) -> Check {
        let Some(status) = self.node.as_ref().map(Node::status) else { return Ok(()) };
        let (id, end) = (self.id, self.disk.log.last().txid);
        ensure!(
            status.committed >= committed,
            "CommitMonotone (18)",
            "{id}'s commit goes back from {committed} to {}",
            status.committed
        );
        ensure!(
            status.applied >= applied && status.applied <= end,
            "AppliedMonotone (18)",
            "{id}'s state goes from {applied} to {}, its disk ends at {end}",
            status.applied
        );
        ensure!(
            status.durable <= end,
            "DurableBeforeAck (14)",
            "{id} takes {} for durable but its disk ends at {end}",
            status.durable
        );
        Ok(())
    }

    /// The disk changed from `before` to what it is now.
    fn check_disk(&self, before: &Image) -> Check {
        let (id, disk) = (self.id, &self.disk);
        let accepted = |disk: &Image| disk.promise.map_or(Epoch::ZERO, |promise| promise.epoch);
        let (was, now) = ((accepted(before), before.current), (accepted(disk), disk.current));
        let last = disk.log.last().txid;
        ensure!(
            now.0 >= was.0 && now.1 >= was.1 && now.1 <= now.0 && last.epoch() <= now.0,
            "EpochMonotone (13)",
            "{id}'s disk goes from accepted and current {was:?} to {now:?}, its log to {last}"
        );
        if let Some((epoch, at)) = self.acked {
            ensure!(
                now.0 > epoch || holds(disk, at),
                "AckStaysTrue (15)",
                "{id} acknowledged {} in {epoch}, but its disk ends at {last} now",
                at.txid
            );
        }
        Ok(())
    }

    fn check_ack(&mut self, epoch: Epoch, upto: Txid, what: &str) -> Check {
        let (id, disk) = (self.id, &self.disk);
        let promised = self.issued.promise.map_or(Epoch::ZERO, |promise| promise.epoch);
        ensure!(
            epoch >= promised,
            "NoOldAck (16)",
            "{id} sends {what} for {epoch} after it promised {promised}"
        );
        ensure!(
            disk.current == epoch,
            "DurableBeforeAck (14)",
            "{id} sends {what} for {epoch} but its disk is in {}",
            disk.current
        );
        let at = self.issued.log.position_at(upto).filter(|at| holds(disk, *at));
        let Some(at) = at else {
            let end = disk.log.last().txid;
            let what = format!("{id} sends {what} up to {upto} but its disk ends at {end}");
            return Err(Violation::new("DurableBeforeAck (14)", what));
        };
        if self.acked.is_none_or(|(told, last)| (epoch, at.txid) > (told, last.txid)) {
            self.acked = Some((epoch, at));
        }
        Ok(())
    }

    /// A node that stands for election stands with what its disk holds.
    fn check_vote(&self, vote: &Vote) -> Check {
        let (id, candidate, disk) = (self.id, &vote.candidate, &self.disk);
        let own = vote.stance == Stance::Looking && candidate.node == id;
        ensure!(
            !own || (candidate.epoch, candidate.txid) == (disk.current, disk.log.last().txid),
            "DurableBeforeAck (14)",
            "{id} stands for election with {} in {} but its disk ends at {} in {}",
            candidate.txid,
            candidate.epoch,
            disk.log.last().txid,
            disk.current
        );
        Ok(())
    }
}

fn at(at: Instant) -> Now {
    Now { at, wall: WallTime::default() }
}
