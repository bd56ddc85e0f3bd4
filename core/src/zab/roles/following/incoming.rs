//! A snapshot on its way in: what has arrived, what the state store has taken in, what the leader was
//! told, and how far it has come to being the node's state.

use crate::words::{Digest, Instant, Micros, NodeId, Txid};
use crate::zab::event::{Action, Actions, Upcall};
use crate::zab::history::storage::Base;
use crate::zab::message::{SnapshotHead, Staged};
use crate::zab::note::Note;
use crate::zab::parts::Parser;
use crate::zab::status::Obstacle;
use alloc::collections::VecDeque;

/// Between two notes of how far a snapshot has come.
const TOLD_EVERY: Micros = Micros::millis(5000);

/// How far a snapshot has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Step {
    /// Its parts arrive.
    Arriving,
    /// It is all here, and the application looks at it.
    Checking,
    /// It is good, and the state store makes it durable.
    Sealing,
    /// It is durable, and nothing names it.
    Sealed,
    /// The journal names it: too late to give it up.
    Recorded,
}

/// A snapshot that arrives, or waits to be gone on with.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Incoming {
    pub(super) head: SnapshotHead,
    pub(super) stage: u64,
    pub(super) parser: Parser,
    /// The stream was received up to here, and is in the state store up to there.
    pub(super) received: u64,
    pub(super) staged: u64,
    /// Acknowledged up to here.
    pub(super) acked: u64,
    /// Where the elements end that the state store was given and has not taken in yet.
    pub(super) given: VecDeque<u64>,
    /// How many parts the state store has taken in.
    taken: u64,
    pub(super) step: Step,
    /// True once the leader has said, on the present connection, that this is all of it.
    pub(super) ended: bool,
    /// When a note was last made of it, and when its connection broke, if it did.
    pub(crate) since: Instant,
}

impl Incoming {
    /// Opens a stage for it, on the disk and at the application.
    pub(super) fn begin(stage: u64, head: SnapshotHead, now: Instant, out: &mut Actions) -> Self {
        out.push(Action::StageOpen(stage));
        out.call(Upcall::BeginInstall(head.clone()));
        Self {
            head,
            stage,
            parser: Parser::default(),
            received: 0,
            staged: 0,
            acked: 0,
            given: VecDeque::new(),
            taken: 0,
            step: Step::Arriving,
            ended: false,
            since: now,
        }
    }

    /// What a leader needs to know to go on with it.
    pub(crate) fn staged(&self) -> Staged {
        let whole = matches!(self.step, Step::Sealing | Step::Sealed);
        Staged { at: self.head.at, received: self.received, whole }
    }

    /// The last entry contained in it.
    pub(crate) fn at(&self) -> Txid {
        self.head.at.txid
    }

    /// Gives it up, unless that is too late.
    pub(crate) fn drop(self, out: &mut Actions) {
        if self.step != Step::Recorded {
            out.push(Action::StageDrop(self.stage));
            out.call(Upcall::AbortInstall);
        }
    }

    /// Keeps it for the next connection, unless it needs none.
    pub(crate) fn park(self, now: Instant) -> Option<Self> {
        (self.step != Step::Recorded).then_some(Self { since: now, ended: false, ..self })
    }

    /// Takes note that the state store has so many parts of this snapshot; false if it speaks of
    /// another.
    pub(crate) fn take_in(&mut self, stage: u64, parts: u64) -> bool {
        while self.stage == stage
            && self.taken < parts
            && let Some(end) = self.given.pop_front()
        {
            self.taken += 1;
            self.staged = end;
        }
        self.stage == stage
    }

    /// True if the note of how far it has come is due again.
    pub(super) fn is_untold(&mut self, now: Instant) -> bool {
        let due = now >= self.since.after(TOLD_EVERY);
        if due {
            self.since = now;
        }
        due
    }

    /// What may be acknowledged, if that is more than was: all that came, once all elements in it
    /// are in the state store.
    pub(super) fn ack(&mut self) -> Option<u64> {
        let upto = if self.given.is_empty() { self.received } else { self.staged };
        let moves = upto > self.acked;
        self.acked = upto.max(self.acked);
        moves.then_some(upto)
    }

    /// True if it is this one, and has come so far.
    pub(super) fn is_at(&self, stage: u64, step: Step) -> bool {
        (self.stage, self.step) == (stage, step)
    }

    /// The leader says that this is all of it.
    pub(super) fn end(&mut self, out: &mut Actions) {
        self.ended = true;
        if self.step == Step::Arriving {
            self.step = Step::Checking;
            out.call(Upcall::VerifyInstall(self.stage));
        }
    }

    /// The application finds it good: the state store is to make it durable.
    pub(super) fn seal(&mut self, out: &mut Actions) {
        self.step = Step::Sealing;
        let (stage, at, digest) = (self.stage, self.head.at, self.head.digest);
        out.push(Action::Seal { stage, at, digest });
        out.note(Note::Sealing { at: at.txid, bytes: self.received });
    }

    /// What the journal is to name, once it is durable and the leader waits for it.
    pub(super) fn record(&mut self) -> Option<(Base, u64, Digest)> {
        let due = self.step == Step::Sealed && self.ended;
        due.then(|| {
            self.step = Step::Recorded;
            let base = Base { at: self.head.at, membership: self.head.membership.clone() };
            (base, self.stage, self.head.digest)
        })
    }

    /// What the node does with it, for people.
    pub(super) fn obstacle(&self, leader: NodeId) -> Obstacle {
        let (bytes, whole) = (self.received, self.step != Step::Arriving);
        let total = whole.then_some(bytes);
        Obstacle::Installing { leader, bytes, total, sealing: whole }
    }
}
