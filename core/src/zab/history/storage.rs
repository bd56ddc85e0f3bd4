//! What the core asks of the disk.

use crate::words::{ClusterId, Digest, Epoch, Incarnation, Life, NodeId, Payload, Txid};
use crate::zab::history::entry::{Entry, Position};
use crate::zab::membership::lives::Lives;
use crate::zab::membership::quorum::Membership;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Written once, when a storage directory is initialised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// The cluster: the digest of the initial membership.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// The disk, drawn at random.
    pub incarnation: Incarnation,
}

/// The highest epoch promised, and to whom: one promise an epoch keeps its leader unique.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Promise {
    /// The epoch.
    pub epoch: Epoch,
    /// Who asked for it.
    pub leader: NodeId,
}

/// The start of the log: everything up to it is in the applied state, and its entries are gone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Base {
    /// The last entry that is not in the log any more.
    pub at: Position,
    /// The committed membership at that entry.
    pub membership: Arc<Membership>,
}

/// One record of the journal, named by the protocol step that makes it.
///
/// Protocol state travels as one totally ordered stream of records. The rules, which every
/// storage must keep and every simulated one is tested for breaking:
///
/// 1. Records apply in the order issued, each all or nothing.
/// 2. A completion (`Event::Persisted`) is a watermark: it covers every record issued up to it, and
///    is given only after a flush that survives a power cut. One flush may cover many records.
/// 3. After a crash, recovery presents a prefix of what was issued, reaching at least to the last
///    completion.
/// 4. A failed write or flush is final: the runtime reports `Event::StorageFailed`, nothing is
///    retried, and the process ends. After a failed flush the kernel may have dropped the very
///    pages that a second flush would then call safe.
/// 5. Each start begins a new life: before the node is restored, the record that [`Image::begin`](super::folded::Image::begin)
///    makes of a random number is durable.
/// 6. What is before the start of the log can be read back as far as [`Keep`] says, and only as
///    recovery would have presented it: nothing that was cut.
///
/// The application's state is a second store, written behind the journal in checkpoints; a
/// checkpoint is atomic with the position it stands for, and never ahead of the journal.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Record {
    /// A promise (`accepted_epoch`, `accepted_leader`).
    Promise(Promise),
    /// Entries after the end of the log.
    Append {
        /// The entries.
        entries: Vec<Entry>,
        /// What was known to be committed when they were logged.
        commit: Txid,
    },
    /// The log now ends here.
    Truncate(Position),
    /// The log up to here is the whole initial history of this epoch (`current_epoch`).
    Enter(Epoch),
    /// The staged snapshot `stage` becomes the applied state and the log becomes empty. It is sealed
    /// (`Event::Sealed`) before this record is issued, which therefore waits for nothing.
    Install {
        /// The new start of the log.
        base: Base,
        /// Which staged snapshot.
        stage: u64,
        /// The digest of its state.
        digest: Digest,
    },
    /// Entries up to here may be deleted.
    Prune(Base),
    /// Everything up to here is known to be committed: a lower bound, which most often comes along
    /// with the next entries. On its own it is written when a membership is committed, since a
    /// restart of all would again ask for a quorum of the one before it, perhaps long gone; and
    /// behind the last entries of a burst. Nothing below it is ever cut.
    Commit(Txid),
    /// A life of the node begins: made by [`Image::begin`](super::folded::Image::begin), and durable before the node says a word.
    Begin(Lives),
}

impl Record {
    /// Entries that are logged while nothing new is known to be committed.
    pub fn append(entries: Vec<Entry>) -> Self {
        Self::Append { entries, commit: Txid::ZERO }
    }
}

/// What the journal's disk keeps of the log before its start: for followers that lack it, and not
/// for this node. Whatever is not kept any more costs such a follower a snapshot, never more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Keep {
    /// The entries after this one are needed by a follower that is being fed, if any is.
    pub after: Option<Txid>,
    /// They are kept unless that is more than so many bytes.
    pub most: u64,
    /// The newest entries are kept in any case: about so many bytes.
    pub bytes: u64,
}

/// A change of one element of the application's state since the last checkpoint.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Change {
    /// The element.
    pub key: Payload,
    /// Its present content, or `None` if it is gone.
    pub value: Option<Payload>,
}

/// A checkpoint: makes the stored state equal to the application's state at `at`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Checkpoint {
    /// The last entry applied.
    pub at: Position,
    /// The digest of the whole state.
    pub digest: Digest,
    /// What differs from the checkpoint before, and was not handed over in parts already.
    pub changes: Vec<Change>,
}

/// What a node finds on its disk when it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Who it is.
    pub identity: Identity,
    /// What it promised.
    pub promise: Option<Promise>,
    /// `current_epoch`.
    pub current: Epoch,
    /// What is known to be committed, at least.
    pub committed: Txid,
    /// The lives of this disk. The present one has begun.
    pub lives: Lives,
    /// The start of the log.
    pub base: Base,
    /// The log.
    pub entries: Vec<Entry>,
    /// The last entry contained in the stored application state.
    pub applied: Position,
}

impl Recovered {
    /// What an initialised, still empty directory holds, in its first life.
    pub fn fresh(identity: Identity, membership: Arc<Membership>) -> Self {
        Self {
            identity,
            promise: None,
            current: Epoch::ZERO,
            committed: Txid::ZERO,
            lives: Lives::first(Life::new(identity.incarnation.get())),
            base: Base { at: Position::ZERO, membership },
            entries: Vec::new(),
            applied: Position::ZERO,
        }
    }
}
