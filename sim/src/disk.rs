//! The modelled disk of one machine. It keeps exactly what the core's storage rules promise and
//! nothing more: records become durable in order, a flush covers a prefix, and a crash leaves any
//! prefix that reaches at least to the last completed flush.

use crate::dice::Dice;
use std::collections::{BTreeMap, VecDeque};
use zabkeeper_core::app::App;
use zabkeeper_core::digest::Digest;
use zabkeeper_core::entry::{Payload, Position};
use zabkeeper_core::ids::{Txid, WriteId};
use zabkeeper_core::image::Image;
use zabkeeper_core::message::Item;
use zabkeeper_core::rng::Rng;
use zabkeeper_core::storage::{Base, Checkpoint, Identity, Record, Recovered};
use zabkeeper_core::tree::Tree;

/// What a process hands to its disk, in order.
#[derive(Clone, Debug)]
pub enum DiskOp {
    /// A record of the journal.
    Record(WriteId, Record),
    /// A snapshot begins to be staged.
    StageOpen(u64),
    /// A part of it.
    Stage(u64, Vec<Item>),
    /// It is given up.
    StageDrop(u64),
    /// The state store moves on.
    Checkpoint(Checkpoint),
}

/// The application's state as stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The last entry it contains.
    pub at: Position,
    /// Its digest.
    pub digest: Digest,
    /// Its elements.
    pub items: BTreeMap<Payload, Payload>,
}

/// What a finished flush tells the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completion {
    /// Records up to this one are durable.
    Persisted(WriteId),
    /// The state store has reached this entry.
    Checkpointed(Txid),
}

/// A machine's disk: what survives a power cut, and what is still on its way there.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Who this disk belongs to.
    pub identity: Identity,
    /// The durable journal, folded.
    pub image: Image,
    /// The durable state of the application.
    pub state: Stored,
    /// Nothing completes before this time.
    pub stalled_until: u64,
    /// The next flush fails.
    pub failing: bool,
    stage: Option<(u64, BTreeMap<Payload, Payload>)>,
    queue: VecDeque<DiskOp>,
    flushing: usize,
}

impl Disk {
    /// An initialised, still empty disk.
    pub fn new(identity: Identity, base: Base) -> Self {
        Self {
            identity,
            image: Image::new(base),
            state: Stored {
                at: Position::ZERO,
                digest: Tree::empty().digest(),
                items: BTreeMap::new(),
            },
            stalled_until: 0,
            failing: false,
            stage: None,
            queue: VecDeque::new(),
            flushing: 0,
        }
    }

    /// Takes an operation. It is not durable yet.
    pub fn push(&mut self, op: DiskOp) {
        self.queue.push_back(op);
    }

    /// Operations that are not durable yet.
    pub fn in_flight(&self) -> usize {
        self.queue.len()
    }

    /// Begins a flush of up to `batch` operations, unless one is under way or nothing waits.
    /// True if it began.
    pub fn begin_flush(&mut self, batch: u64) -> bool {
        if self.flushing > 0 || self.queue.is_empty() {
            return false;
        }
        self.flushing = (self.queue.len() as u64).min(batch.max(1)) as usize;
        true
    }

    /// Ends the flush under way. The error says what the core should never have written.
    pub fn end_flush(&mut self) -> Result<Vec<Completion>, String> {
        let count = std::mem::take(&mut self.flushing);
        let mut persisted = None;
        let mut done = Vec::new();
        for _ in 0..count {
            let Some(op) = self.queue.pop_front() else { break };
            match &op {
                DiskOp::Record(id, _) => persisted = Some(*id),
                DiskOp::Checkpoint(checkpoint) => {
                    done.push(Completion::Checkpointed(checkpoint.at.txid));
                }
                DiskOp::StageOpen(_) | DiskOp::Stage(..) | DiskOp::StageDrop(_) => {}
            }
            self.apply(op)?;
        }
        if let Some(id) = persisted {
            done.insert(0, Completion::Persisted(id));
        }
        Ok(done)
    }

    /// Loses power: of what was not flushed yet, a prefix of any length survives.
    pub fn crash(&mut self, rng: &mut Rng) -> Result<(), String> {
        let keep = match rng.weighted(&[2, 1, 2]) {
            0 => 0,
            1 => self.queue.len(),
            _ => rng.between(0, self.queue.len() as u64) as usize,
        };
        // The state store is another file: of its checkpoints, fewer may survive.
        let lose_checkpoints_from = rng.between(0, 3);
        self.flushing = 0;
        let mut checkpoints = 0;
        let queue = std::mem::take(&mut self.queue);
        for op in queue.into_iter().take(keep) {
            match op {
                DiskOp::Checkpoint(_) if checkpoints >= lose_checkpoints_from => {
                    checkpoints = u64::MAX;
                }
                DiskOp::Checkpoint(_) => {
                    checkpoints += 1;
                    self.apply(op)?;
                }
                // A checkpoint holds only what changed since the one before: once one is lost,
                // none after it may be applied, until a snapshot replaces the whole state.
                DiskOp::Record(_, Record::Install { .. }) => {
                    checkpoints = 0;
                    self.apply(op)?;
                }
                op => self.apply(op)?,
            }
        }
        self.stage = None;
        Ok(())
    }

    /// What a process finds when it starts, and the application's state.
    pub fn recover(&self) -> Result<(Recovered, Tree), String> {
        let tree = load(
            self.state.at.txid,
            self.state
                .items
                .iter()
                .map(|(key, value)| Item { key: key.clone(), value: value.clone() }),
        )?;
        if tree.digest() != self.state.digest {
            return Err(format!(
                "the stored state at {} has the digest {}, not {}",
                self.state.at.txid,
                tree.digest(),
                self.state.digest
            ));
        }
        let recovered = self.image.clone().recover(self.identity, self.state.at);
        Ok((recovered, tree))
    }

    fn apply(&mut self, op: DiskOp) -> Result<(), String> {
        match op {
            DiskOp::Record(id, record) => {
                self.before_record(&record)?;
                self.image
                    .apply(&record)
                    .map_err(|error| format!("record {id} breaks the journal: {error}"))?;
            }
            DiskOp::StageOpen(stage) => self.stage = Some((stage, BTreeMap::new())),
            DiskOp::Stage(stage, items) => match &mut self.stage {
                Some((open, staged)) if *open == stage => {
                    staged.extend(items.into_iter().map(|item| (item.key, item.value)));
                }
                _ => return Err(format!("a part of stage {stage}, which is not open")),
            },
            DiskOp::StageDrop(stage) => {
                self.stage.take_if(|(open, _)| *open == stage);
            }
            DiskOp::Checkpoint(checkpoint) => self.store(checkpoint)?,
        }
        Ok(())
    }

    fn before_record(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Install { base, stage, digest } => {
                let Some((_, items)) = self.stage.take_if(|(open, _)| open == stage) else {
                    return Err(format!("stage {stage} is installed but was never staged"));
                };
                let tree = load(
                    base.at.txid,
                    items
                        .iter()
                        .map(|(key, value)| Item { key: key.clone(), value: value.clone() }),
                )?;
                if tree.digest() != *digest {
                    return Err(format!("the snapshot installed at {} is another", base.at.txid));
                }
                self.state = Stored { at: base.at, digest: *digest, items };
            }
            Record::Prune(base) if base.at.txid > self.state.at.txid => {
                return Err(format!(
                    "CompactSafe (31): the log is pruned to {} but the stored state ends at {}",
                    base.at.txid, self.state.at.txid
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn store(&mut self, checkpoint: Checkpoint) -> Result<(), String> {
        let at = checkpoint.at;
        if self.image.log.position_at(at.txid) != Some(at) {
            return Err(format!(
                "AppliedMonotone (18): a checkpoint at {} is not in the durable log, which ends \
                 at {}",
                at.txid,
                self.image.log.last().txid
            ));
        }
        if at.txid < self.state.at.txid {
            return Err(format!(
                "AppliedMonotone (18): the stored state goes back from {} to {}",
                self.state.at.txid, at.txid
            ));
        }
        for change in checkpoint.changes {
            match change.value {
                Some(value) => self.state.items.insert(change.key, value),
                None => self.state.items.remove(&change.key),
            };
        }
        self.state.at = at;
        self.state.digest = checkpoint.digest;
        Ok(())
    }
}

fn load(at: Txid, mut items: impl Iterator<Item = Item>) -> Result<Tree, String> {
    let mut tree = Tree::empty();
    items
        .try_for_each(|item| tree.load(&item.key, &item.value))
        .and_then(|()| tree.finish_load(at))
        .map_err(|error| format!("the stored state cannot be loaded: {error}"))?;
    Ok(tree)
}
