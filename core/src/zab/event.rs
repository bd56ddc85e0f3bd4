//! What goes into the core and what comes out: plain data, so that a run can be printed,
//! compared, recorded and replayed.

use crate::words::{
    ConnId, Digest, Instant, NodeId, Payload, RefuseReason, Ticket, Txid, WallTime, WriteId,
};
use crate::zab::error::{CloseReason, HaltReason};
use crate::zab::history::entry::{Body, Entry, Position};
use crate::zab::history::storage::{Change, Checkpoint, Keep, Record};
use crate::zab::message::{Item, Message, Rejection, SnapshotHead, Vote};
use crate::zab::note::Note;
use alloc::vec::Vec;

/// A write that a client of this node asks for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Submission {
    /// Names the request to the caller.
    pub ticket: Ticket,
    /// The command.
    pub body: Payload,
    /// When the client stops waiting.
    pub deadline: Instant,
    /// True if it is to be refused should there be no room for more data where it goes once this node
    /// serves. Not asked of one that comes while it does: that was judged.
    pub grows: bool,
}

/// Something that happened. One event in, a list of actions out.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// Time has passed. Expired timers run; an early or needless tick is harmless.
    Tick,
    /// An election datagram arrived.
    Notified(Vote),
    /// Somebody connected to this node.
    Accepted(ConnId),
    /// The connection that [`Action::Connect`] asked for is open.
    Connected {
        /// The connection.
        conn: ConnId,
        /// Whom it reaches.
        to: NodeId,
    },
    /// The connection that [`Action::Connect`] asked for could not be opened.
    ConnectFailed(NodeId),
    /// The same, and the other machine itself said so: nobody listens there.
    ConnectRefused(NodeId),
    /// A datagram of this member says that this node does not belong to it. Anybody could send it.
    Denied(NodeId),
    /// A message arrived, in order, on a connection.
    Received {
        /// The connection.
        conn: ConnId,
        /// The message.
        msg: Message,
    },
    /// Bytes arrived on a connection, of a message that is not all there yet: a sign of life.
    Heard(ConnId),
    /// A connection is gone. Nothing more arrives on it, and nothing sent on it counts on.
    Closed(ConnId),
    /// Every record up to this one survives a power cut.
    Persisted(WriteId),
    /// The application's state up to this entry is durable in the state store.
    Checkpointed(Txid),
    /// The state store has made so many bytes durable, or read them back, since it last said so: of
    /// a checkpoint, of an incoming snapshot, or of what it tidies. A store that says so now and then
    /// is slow at worst.
    StateProgress(u64),
    /// The state store has taken in so many of the parts that [`Action::Stage`] gave it of this
    /// snapshot; once more with the same number whenever it got on with [`Action::Seal`].
    Staged {
        /// Which one.
        stage: u64,
        /// How many parts, since it was opened.
        parts: u64,
    },
    /// This snapshot survives a power cut and reads back as it was written, as asked for by
    /// [`Action::Seal`].
    Sealed(u64),
    /// The disk has less free space than it should have, or has enough again. Writes that make the
    /// state grow are refused meanwhile; what deletes is not, since that is the way back.
    SpaceShort(bool),
    /// What the journal holds of the log on disk, as asked for by [`Action::ReadLog`].
    LogRead {
        /// For which connection.
        conn: ConnId,
        /// The last place of this history at or before the one asked for; `None` if the disk does not
        /// reach back to it.
        from: Option<Position>,
        /// The entries after it, without a hole, as many as were wanted; none if the disk cannot
        /// read them.
        entries: Vec<Entry>,
    },
    /// A write or flush failed.
    StorageFailed,
    /// Clients of this node want writes, in this order.
    Submit(Vec<Submission>),
    /// Clients of this node want linearizable reads: tell when they may be answered.
    Read(Vec<(Ticket, Instant)>),
    /// Clients of this node want reads of its own state, at least as new as the given entry: tell
    /// when they may be answered.
    Await(Vec<(Ticket, Instant, Txid)>),
    /// These clients are gone: nobody waits for the answers any more.
    Forget(Vec<Ticket>),
    /// The application's present state is held for reading, as asked for by
    /// [`Upcall::OpenSnapshot`].
    SnapshotOpened {
        /// For which connection.
        conn: ConnId,
        /// The digest of the state held.
        digest: Digest,
        /// About what it takes in memory.
        bytes: u64,
    },
    /// A part of the application's state, as asked for by [`Upcall::ReadSnapshot`].
    SnapshotRead {
        /// For which connection.
        conn: ConnId,
        /// The elements.
        items: Vec<Item>,
        /// True for the last part.
        last: bool,
    },
    /// Whether the application could load the snapshot received, and its digest is the one
    /// announced, as asked for by [`Upcall::VerifyInstall`].
    SnapshotVerified {
        /// Which staged snapshot.
        stage: u64,
        /// Whether it is good.
        good: bool,
    },
}

/// Something to do. The runtime does it without thinking: order within one kind of target
/// (a connection, the disk) is the order given; nothing has to wait for anything else.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Send a datagram. It may get lost.
    Notify {
        /// To whom.
        to: NodeId,
        /// The datagram.
        vote: Vote,
    },
    /// A node of this address is of another cluster, or this node's disk is not the one the
    /// ensemble knows: tell it, if the transport can. Best effort.
    NotifyRejected {
        /// To whom.
        to: NodeId,
        /// Why.
        why: Rejection,
    },
    /// Open a connection; answer with [`Event::Connected`] or [`Event::ConnectFailed`].
    Connect(NodeId),
    /// Send a message on each of these connections.
    Send {
        /// The connections.
        to: Vec<ConnId>,
        /// The message, encoded once for all of them.
        msg: Message,
    },
    /// Close a connection. No [`Event::Closed`] follows.
    Close {
        /// The connection.
        conn: ConnId,
        /// For the log.
        why: CloseReason,
    },
    /// Write a record to the journal; answer with [`Event::Persisted`] after a flush.
    Persist {
        /// The record's number.
        id: WriteId,
        /// The record.
        record: Record,
    },
    /// From now on keep so much of the log before its start, in order with [`Action::Persist`].
    KeepLog(Keep),
    /// Read entries of the log from the disk, all of which are committed and durable; answer with
    /// [`Event::LogRead`]. There is one such question a connection at a time.
    ReadLog {
        /// For which connection.
        conn: ConnId,
        /// Entries after this ...
        after: Txid,
        /// ... up to this, which is not before it.
        upto: Txid,
        /// About so many bytes of them at most, but at least one.
        max_bytes: usize,
    },
    /// Begin to store an incoming snapshot aside, dropping any begun earlier.
    StageOpen(u64),
    /// Store a part of it; answer with [`Event::Staged`].
    Stage {
        /// Which one.
        stage: u64,
        /// The elements.
        items: Vec<Item>,
    },
    /// All its parts were given: make it durable as the state at `at`, beside the present one; answer
    /// with [`Event::Sealed`]. It may take long, and holds up nothing of the journal. A snapshot that
    /// is sealed and that no [`Record::Install`] on the disk names means nothing to the next life.
    Seal {
        /// Which one.
        stage: u64,
        /// The last entry that it contains.
        at: Position,
        /// The digest of its state.
        digest: Digest,
    },
    /// Give it up, be it sealed or not. Not once the record that installs it is issued.
    StageDrop(u64),
    /// Changes of the application that belong to a checkpoint and come before those in it. They mean
    /// nothing without it: a crash before it may leave them or not. Between the first of them and
    /// the checkpoint there is no part of another, nor of a snapshot.
    CheckpointPart {
        /// The entry that the checkpoint will stand for.
        at: Txid,
        /// What differs from the checkpoint before.
        changes: Vec<Change>,
    },
    /// Write the application's changes to the state store, the parts before it included; answer with
    /// [`Event::Checkpointed`].
    Checkpoint(Checkpoint),
    /// Something worth telling people about.
    Note(Note),
    /// This node must stop for good. Nothing it says after this may leave it.
    Halt(HaltReason),
}

/// Something for the application beside the node, in the same step.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Upcall {
    /// Apply this committed entry. They come in order, each exactly once.
    Deliver {
        /// The entry.
        txid: Txid,
        /// When it was proposed.
        time: WallTime,
        /// What it does.
        body: Body,
        /// Who waits for the outcome at this node.
        ticket: Option<Ticket>,
    },
    /// Everything that this read must see is applied: answer it now.
    Readable(Ticket),
    /// This request was not done and never will be.
    Refuse {
        /// The request.
        ticket: Ticket,
        /// Why.
        why: RefuseReason,
    },
    /// Nobody can say whether this request was or will be done.
    Unknown(Ticket),
    /// Hold the present state for reading in parts; answer with [`Event::SnapshotOpened`].
    OpenSnapshot(ConnId),
    /// Hand over the next part by [`Event::SnapshotRead`].
    ReadSnapshot {
        /// For which connection.
        conn: ConnId,
        /// About how many bytes.
        max_bytes: usize,
    },
    /// The snapshot is not needed any more.
    CloseSnapshot(ConnId),
    /// A snapshot arrives: start to build a second state beside the present one.
    BeginInstall(SnapshotHead),
    /// A part of it.
    InstallItems(Vec<Item>),
    /// It is complete, and this is its number: answer with [`Event::SnapshotVerified`].
    VerifyInstall(u64),
    /// It is durable: it replaces the present state now.
    FinishInstall,
    /// It is given up.
    AbortInstall,
    /// Make a checkpoint of the present state.
    Checkpoint(Position),
}

/// The outputs of one step, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Actions {
    /// For the runtime.
    pub actions: Vec<Action>,
    /// For the application.
    pub upcalls: Vec<Upcall>,
}

impl Actions {
    /// An empty list.
    pub const fn new() -> Self {
        Self { actions: Vec::new(), upcalls: Vec::new() }
    }

    pub(crate) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(crate) fn call(&mut self, upcall: Upcall) {
        self.upcalls.push(upcall);
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.actions.push(Action::Note(note));
    }

    pub(crate) fn send(&mut self, conn: ConnId, msg: Message) {
        self.actions.push(Action::Send { to: alloc::vec![conn], msg });
    }
}
