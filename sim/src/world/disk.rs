//! The modelled disk of one machine. It keeps exactly what the core's storage rules promise and
//! nothing more: records become durable in order, a flush covers a prefix, and a crash leaves any
//! prefix that reaches at least to the last completed flush. The state store is a file of its own.

use crate::world::dice::Dice;
use crate::world::lane::{Lane, Line, Waiting};
use crate::world::past::Past;
use crate::world::size;
use std::collections::{BTreeMap, VecDeque};
use zabkeeper_core::replica::App;
use zabkeeper_core::store::Tree;
use zabkeeper_core::words::{Digest, Payload, Rng, Txid, WriteId};
use zabkeeper_core::zab::{
    Base, Checkpoint, Identity, Image, Item, Keep, Position, Record, Recovered, parts,
};

/// What a process hands to its disk, in order.
#[derive(Clone, Debug)]
pub enum DiskOp {
    /// A record of the journal.
    Record(WriteId, Record),
    /// So much of the log is kept before its start.
    Keep(Keep),
    /// A snapshot begins to be staged.
    StageOpen(u64),
    /// A part of it.
    Stage(u64, Vec<Item>),
    /// It is made durable as the state at `at`.
    Seal {
        /// Which one.
        stage: u64,
        /// The last entry that it contains.
        at: Position,
        /// Its digest.
        digest: Digest,
        /// Its bytes, all of which are read back.
        bytes: u64,
    },
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
    /// The state store has so many parts of this staged snapshot.
    Staged(u64, u64),
    /// This staged snapshot is durable.
    Sealed(u64),
}

/// A machine's disk: what survives a power cut, and what is still on its way there.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Who this disk belongs to.
    pub identity: Identity,
    /// The durable journal, folded.
    pub image: Image,
    /// The durable log, with what is before its start.
    pub past: Past,
    /// The durable state of the application.
    pub state: Stored,
    /// Nothing completes before this time.
    pub stalled_until: u64,
    /// Nothing of the state store completes before this time.
    pub store_stalled_until: u64,
    /// The next flush fails.
    pub failing: bool,
    stage: Option<(u64, BTreeMap<Payload, Payload>)>,
    /// A staged snapshot that is durable, and that the journal does not name.
    sealed: Option<(u64, Stored)>,
    /// The number of the record that named the present state, if that was a snapshot: checkpoints
    /// before it were of the state before.
    installed: u64,
    /// Bytes of the snapshot that is being staged, as far as they were handed over.
    given: u64,
    journal: Line,
    store: Line,
    pushed: u64,
    /// How many parts of the snapshot are staged, and how many bytes of its stream.
    parts: (u64, u64),
}

/// Bytes that one flush of the journal writes at most.
const JOURNAL_UNIT: u64 = 4 << 20;

/// Bytes that one flush of the state store writes at most.
const STORE_UNIT: u64 = 256 << 10;

impl Disk {
    /// An initialised, still empty disk.
    pub fn new(identity: Identity, base: Base) -> Self {
        Self {
            identity,
            past: Past::new(base.at),
            image: Image::new(base),
            state: Stored {
                at: Position::ZERO,
                digest: Tree::empty().digest(),
                items: BTreeMap::new(),
            },
            stalled_until: 0,
            store_stalled_until: 0,
            failing: false,
            stage: None,
            sealed: None,
            installed: 0,
            given: 0,
            journal: Line::default(),
            store: Line::default(),
            pushed: 0,
            parts: (0, 0),
        }
    }

    /// Takes an operation. It is not durable yet.
    pub fn push(&mut self, mut op: DiskOp) {
        self.pushed += 1;
        match &mut op {
            DiskOp::StageOpen(_) => self.given = 0,
            DiskOp::Stage(_, items) => self.given += size::items(items),
            DiskOp::Seal { bytes, .. } => *bytes = self.given,
            _ => {}
        }
        let order = self.pushed;
        let journal = matches!(op, DiskOp::Record(..) | DiskOp::Keep(_));
        let lane = if journal { Lane::Journal } else { Lane::Store };
        self.line_mut(lane).push(order, op);
    }

    /// What waits for a file.
    pub fn line(&self, lane: Lane) -> &Line {
        match lane {
            Lane::Journal => &self.journal,
            Lane::Store => &self.store,
        }
    }

    fn line_mut(&mut self, lane: Lane) -> &mut Line {
        match lane {
            Lane::Journal => &mut self.journal,
            Lane::Store => &mut self.store,
        }
    }

    /// Bytes of parts of snapshots that are not durable yet.
    pub fn bytes_staged(&self) -> u64 {
        let parts = self.store.waiting().filter(|one| matches!(one.op, DiskOp::Stage(..)));
        parts.map(|one| one.bytes).sum()
    }

    /// Bytes of a snapshot's stream that are staged, if there are parts that are not.
    pub fn staged_in_part(&self) -> Option<u64> {
        let waits = self.store.waiting().any(|one| matches!(one.op, DiskOp::Stage(..)));
        waits.then_some(self.parts.1)
    }

    /// Until when a file completes nothing.
    pub fn stalled_until(&self, lane: Lane) -> u64 {
        match lane {
            Lane::Journal => self.stalled_until,
            Lane::Store => self.stalled_until.max(self.store_stalled_until),
        }
    }

    /// Begins a flush of up to `batch` operations of a file, unless one is under way or nothing may
    /// be written. Returns its bytes and operations if it began. A byte stands for `scale` bytes.
    pub fn begin_flush(&mut self, lane: Lane, batch: u64, scale: u64) -> Option<(u64, u64)> {
        let unit = match lane {
            Lane::Journal => JOURNAL_UNIT,
            Lane::Store => STORE_UNIT,
        };
        self.line_mut(lane).begin(batch.max(1), (unit / scale).max(1))
    }

    /// Ends the flush under way. The error says what the core should never have written.
    pub fn end_flush(&mut self, lane: Lane) -> Result<Vec<Completion>, String> {
        let mut persisted = None;
        let mut done = Vec::new();
        for one in self.line_mut(lane).end() {
            match &one.op {
                DiskOp::Record(id, _) => persisted = Some(Completion::Persisted(*id)),
                DiskOp::Checkpoint(checkpoint) => {
                    done.push(Completion::Checkpointed(checkpoint.at.txid));
                }
                DiskOp::StageOpen(_) => self.parts = (0, 0),
                DiskOp::Stage(stage, items) => {
                    let mut stream = Vec::new();
                    items.iter().for_each(|item| parts::put(item, &mut stream));
                    self.parts = (self.parts.0 + 1, self.parts.1 + stream.len() as u64);
                    done.push(Completion::Staged(*stage, self.parts.0));
                }
                DiskOp::Seal { stage, .. } => done.push(Completion::Sealed(*stage)),
                DiskOp::StageDrop(_) | DiskOp::Keep(_) => {}
            }
            self.apply(one)?;
        }
        done.extend(persisted);
        Ok(done)
    }

    /// Loses power: of what was not flushed yet, each file keeps a prefix of any length.
    pub fn crash(&mut self, rng: &mut Rng) -> Result<(), String> {
        let mut keep = |line: &Line| match rng.weighted(&[2, 1, 2]) {
            0 => 0,
            1 => line.len(),
            _ => rng.between(0, line.len() as u64) as usize,
        };
        let keep = [keep(&self.journal), keep(&self.store)];
        let mut journal = self.journal.lose(keep[0]);
        let mut store = self.store.lose(keep[1]);
        while let Some(one) = next_of(&mut journal, &mut store) {
            self.apply(one)?;
        }
        // What the journal does not name goes at the next start.
        (self.stage, self.sealed) = (None, None);
        self.past.forget_wishes();
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

    fn apply(&mut self, one: Waiting) -> Result<(), String> {
        match one.op {
            DiskOp::Record(id, record) => {
                self.before_record(one.order, &record)?;
                self.image
                    .apply(&record)
                    .map_err(|error| format!("record {id} breaks the journal: {error}"))?;
                self.past.apply(&record);
            }
            DiskOp::Keep(keep) => self.past.keep(keep),
            DiskOp::StageOpen(stage) => {
                (self.stage, self.sealed) = (Some((stage, BTreeMap::new())), None);
            }
            DiskOp::Stage(stage, items) => match &mut self.stage {
                Some((open, staged)) if *open == stage => {
                    staged.extend(items.into_iter().map(|item| (item.key, item.value)));
                }
                _ => return Err(format!("a part of stage {stage}, which is not open")),
            },
            DiskOp::Seal { stage, at, digest, .. } => self.seal(stage, at, digest)?,
            DiskOp::StageDrop(stage) => {
                self.stage.take_if(|(open, _)| *open == stage);
                self.sealed.take_if(|(sealed, _)| *sealed == stage);
            }
            DiskOp::Checkpoint(_) if one.order < self.installed => {}
            DiskOp::Checkpoint(checkpoint) => self.store(checkpoint)?,
        }
        Ok(())
    }

    fn seal(&mut self, stage: u64, at: Position, digest: Digest) -> Result<(), String> {
        let Some((_, items)) = self.stage.take_if(|(open, _)| *open == stage) else {
            return Err(format!("stage {stage} is sealed but was never staged"));
        };
        let elements = items.iter();
        let elements = elements.map(|(key, value)| Item { key: key.clone(), value: value.clone() });
        if load(at.txid, elements)?.digest() != digest {
            return Err(format!("the snapshot sealed at {} is another", at.txid));
        }
        self.sealed = Some((stage, Stored { at, digest, items }));
        Ok(())
    }

    fn before_record(&mut self, order: u64, record: &Record) -> Result<(), String> {
        match record {
            Record::Install { base, stage, digest } => {
                let Some((_, stored)) = self.sealed.take_if(|(sealed, _)| sealed == stage) else {
                    return Err(format!("stage {stage} is installed but is not sealed"));
                };
                if (stored.at, stored.digest) != (base.at, *digest) {
                    return Err(format!("the snapshot installed at {} is another", base.at.txid));
                }
                (self.state, self.installed) = (stored, order);
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

/// The first of two lists by number.
fn next_of(a: &mut VecDeque<Waiting>, b: &mut VecDeque<Waiting>) -> Option<Waiting> {
    let order = |list: &VecDeque<Waiting>| list.front().map_or(u64::MAX, |one| one.order);
    if order(a) < order(b) { a.pop_front() } else { b.pop_front() }
}
