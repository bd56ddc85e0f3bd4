//! The storage threads: the event loop hands over what is to be stored, and is told what is.
//!
//! One thread writes the journal, in groups: whatever has piled up is written at once and flushed
//! once. A second one writes the application's state, so that checkpoints and incoming snapshots do
//! not hold up the journal, not even while a snapshot becomes the state: it is durable before the
//! journal is told to name it. A third makes the journal's files ahead of time, and a fourth reads the
//! log back. All sleep until there is something to do, and do no I/O meanwhile.

use super::disk::DiskStorage;
use super::error::Failure;
use super::fs::Fs;
use super::journal::Journal;
use super::lock::Lock;
use super::past::{Reader, Wanted};
use super::space::Space;
use super::spares::{Spares, spares};
use super::staging::{NEVER_SEALED, States};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use zabkeeper_core::words::{ConnId, Digest, Txid, WriteId};
use zabkeeper_core::zab::{Change, Checkpoint, Entry, Item, Keep, Position, Record};

/// Something to store: the core's storage actions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StorageCommand {
    /// Write a record to the journal.
    Persist {
        /// The record's number; they only grow.
        id: WriteId,
        /// The record.
        record: Record,
    },
    /// From now on keep so much of what the log leaves behind.
    KeepLog(Keep),
    /// Read entries of the log, see `Action::ReadLog` of the core.
    ReadLog {
        /// For which connection.
        conn: ConnId,
        /// Entries after this ...
        after: Txid,
        /// ... up to this.
        upto: Txid,
        /// About so many bytes of them.
        max_bytes: usize,
    },
    /// Begin to store an incoming snapshot aside, dropping any begun earlier.
    StageOpen(u64),
    /// Store a part of it.
    Stage {
        /// Which one.
        stage: u64,
        /// The elements.
        items: Vec<Item>,
    },
    /// Make it durable, to be named by an `Install` once that is told.
    Seal {
        /// Which one.
        stage: u64,
        /// The last entry that it contains.
        at: Position,
        /// The digest of its state.
        digest: Digest,
    },
    /// Give it up, be it sealed or not.
    StageDrop(u64),
    /// Write a part of the changes of the checkpoint at `at`, which follows.
    CheckpointPart {
        /// The entry that the checkpoint stands for.
        at: Txid,
        /// The changes.
        changes: Vec<Change>,
    },
    /// Write a checkpoint, with the parts before it.
    Checkpoint(Checkpoint),
}

/// Something that is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Completion {
    /// Every record up to this one survives a power cut.
    Persisted(WriteId),
    /// The application's state up to this entry survives a power cut.
    Checkpointed(Txid),
    /// The state store has so many parts of this staged snapshot; said again while it gets on with
    /// making the whole durable.
    Staged {
        /// Which one.
        stage: u64,
        /// How many parts.
        parts: u64,
    },
    /// This staged snapshot survives a power cut.
    Sealed(u64),
    /// What was read of the log.
    LogRead {
        /// For which connection.
        conn: ConnId,
        /// The last place of the log at or before the one asked for.
        from: Option<Position>,
        /// The entries after it.
        entries: Vec<Entry>,
    },
    /// The state store has made so many bytes of a checkpoint durable; 0 if it got on otherwise.
    Progress(u64),
    /// The file system has less free space than it should have, or has enough again.
    SpaceShort(bool),
    /// Storing failed, for this reason. Nothing after it is or will be stored; the process must end.
    Failed(Failure),
}

/// About how many bytes of records are written by one flush at most ...
const GROUP_BYTES: usize = 4 << 20;
/// ... and if the last one took longer than that: what takes its time whatever it flushes is used
/// seldom, for more.
const SLOW_GROUP_BYTES: usize = 16 << 20;
const SLOW: Duration = Duration::from_millis(50);

/// No snapshot is wanted. Were a snapshot ever to have this number, it would be stored all the same.
const NO_STAGE: u64 = u64::MAX;
/// How often a snapshot that is being made durable says that it gets on.
const PROGRESS: Duration = Duration::from_millis(100);
/// How long after the last flush it gets its witness. The core notes what is committed earlier, so
/// that one write most often does for both.
const QUIET: Duration = Duration::from_millis(100);

/// The storage threads of a data directory.
pub struct StorageThread;

/// The event loop's end of the storage threads. Dropping it lets them finish what they were given,
/// on their own; [`StorageHandle::stop`] waits for that.
pub struct StorageHandle {
    journal: Sender<Job>,
    states: Sender<StateJob>,
    reads: Sender<(ConnId, Wanted)>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// For the journal's thread.
enum Job {
    Persist { id: WriteId, record: Record, bytes: usize },
    Keep(Keep),
}

/// For the state's thread.
enum StateJob {
    Open(u64),
    Add(u64, Vec<Item>, usize),
    Drop(u64),
    CheckpointPart(Txid, Vec<Change>, usize),
    Checkpoint(Checkpoint, usize),
    Seal { stage: u64, at: Position, digest: Digest },
    Adopt(u64),
    Retire(u64),
}

struct Shared {
    done: Mutex<Vec<Completion>>,
    queued: AtomicUsize,
    /// The snapshot that is wanted: parts of others are not worth writing.
    wanted: AtomicU64,
    /// The snapshot that was sealed last, and the number of its generation.
    sealed: Mutex<Option<(u64, u64)>>,
    notify: Box<dyn Fn() + Send + Sync>,
    /// Released when the last of the threads and the handle is gone.
    _lock: Lock,
}

impl StorageThread {
    /// Starts the threads. `notify` is called, on one of them, whenever there is something new to
    /// fetch by [`StorageHandle::completions`].
    ///
    /// # Errors
    /// If the system makes no more threads.
    pub fn spawn<F: Fs>(
        store: DiskStorage<F>,
        notify: impl Fn() + Send + Sync + 'static,
    ) -> std::io::Result<StorageHandle> {
        let shared = Arc::new(Shared {
            done: Mutex::new(Vec::new()),
            queued: AtomicUsize::new(0),
            wanted: AtomicU64::new(NO_STAGE),
            sealed: Mutex::new(None),
            notify: Box::new(notify),
            _lock: store.lock,
        });
        let told = shared.clone();
        store.states.pace().tell(move |bytes| told.complete(Completion::Progress(bytes)));
        let (journal, jobs) = channel();
        let (states, state_jobs) = channel();
        let (spares, maker) = spares(store.journal.fs.clone());
        let mut reader = Reader::new(store.journal.fs.clone(), store.journal.map.clone());
        let (reads, wanted) = channel();
        let worker = JournalWorker {
            journal: store.journal,
            spares,
            states: states.clone(),
            shared: shared.clone(),
            space: store.space,
            group: GROUP_BYTES,
        };
        let first = spawn("journal", shared.clone(), move || Ok(worker.run(&jobs)?))?;
        let (state, state_shared) = (store.states, shared.clone());
        let second =
            spawn("state", shared.clone(), move || run_states(state, &state_jobs, &state_shared))?;
        let third = spawn("spares", shared.clone(), move || {
            maker.run();
            Ok(())
        })?;
        let read_shared = shared.clone();
        let fourth = spawn("reader", shared.clone(), move || {
            for (conn, wanted) in wanted {
                let (from, entries) = reader.read(wanted);
                read_shared.complete(Completion::LogRead { conn, from, entries });
            }
            Ok(())
        })?;
        let threads = vec![first, second, third, fourth];
        Ok(StorageHandle { journal, states, reads, shared, threads })
    }
}

impl StorageHandle {
    /// Hands over what is to be stored. Never waits; how much may be waiting is the caller's to
    /// bound, by [`Self::queued_bytes`].
    pub fn submit(&self, commands: Vec<StorageCommand>) {
        for command in commands {
            self.submit_one(command);
        }
    }

    /// What has been stored since the last call.
    pub fn completions(&self) -> Vec<Completion> {
        std::mem::take(&mut *self.shared.done())
    }

    /// Bytes handed over and not stored yet.
    pub fn queued_bytes(&self) -> usize {
        self.shared.queued.load(Ordering::Relaxed)
    }

    /// Stores what was handed over, closes the directory in good order and ends the threads. What
    /// was completed meanwhile, a failure included, is returned.
    pub fn stop(self) -> Vec<Completion> {
        let Self { journal, states, reads, shared, threads } = self;
        drop((journal, states, reads));
        for thread in threads {
            // A panic of the thread has been reported as a failure already.
            let _ = thread.join();
        }
        std::mem::take(&mut *shared.done())
    }

    fn submit_one(&self, command: StorageCommand) {
        let bytes = size(&command);
        self.shared.queued.fetch_add(bytes, Ordering::Relaxed);
        match &command {
            StorageCommand::StageOpen(stage) => self.shared.want(*stage),
            StorageCommand::StageDrop(stage) if self.shared.wants(*stage) => {
                self.shared.want(NO_STAGE);
            }
            _ => {}
        }
        // A thread that is gone has reported why, so what it does not take is not missed.
        let _ = match command {
            StorageCommand::Persist { id, record: Record::Install { base, stage, digest } } => {
                let Some(generation) = self.shared.generation_of(stage) else {
                    let failure = Failure::Refused(NEVER_SEALED.into());
                    return self.shared.complete(Completion::Failed(failure));
                };
                // Checkpoints of what comes after it go there from now on.
                let _ = self.states.send(StateJob::Adopt(stage));
                let record = Record::Install { base, stage: generation, digest };
                self.journal.send(Job::Persist { id, record, bytes }).is_ok()
            }
            StorageCommand::Persist { id, record } => {
                self.journal.send(Job::Persist { id, record, bytes }).is_ok()
            }
            StorageCommand::KeepLog(keep) => self.journal.send(Job::Keep(keep)).is_ok(),
            StorageCommand::ReadLog { conn, after, upto, max_bytes } => {
                self.reads.send((conn, Wanted { after, upto, max_bytes })).is_ok()
            }
            StorageCommand::StageOpen(stage) => self.states.send(StateJob::Open(stage)).is_ok(),
            StorageCommand::Stage { stage, items } => {
                self.states.send(StateJob::Add(stage, items, bytes)).is_ok()
            }
            StorageCommand::Seal { stage, at, digest } => {
                self.states.send(StateJob::Seal { stage, at, digest }).is_ok()
            }
            StorageCommand::StageDrop(stage) => self.states.send(StateJob::Drop(stage)).is_ok(),
            StorageCommand::CheckpointPart { at, changes } => {
                self.states.send(StateJob::CheckpointPart(at, changes, bytes)).is_ok()
            }
            StorageCommand::Checkpoint(checkpoint) => {
                self.states.send(StateJob::Checkpoint(checkpoint, bytes)).is_ok()
            }
        };
    }
}

impl Shared {
    fn done(&self) -> std::sync::MutexGuard<'_, Vec<Completion>> {
        // A list of plain values is whole at every moment.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complete(&self, completion: Completion) {
        self.done().push(completion);
        (self.notify)();
    }

    fn want(&self, stage: u64) {
        self.wanted.store(stage, Ordering::Relaxed);
    }

    fn wants(&self, stage: u64) -> bool {
        self.wanted.load(Ordering::Relaxed) == stage
    }

    fn sealed(&self) -> std::sync::MutexGuard<'_, Option<(u64, u64)>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn generation_of(&self, stage: u64) -> Option<u64> {
        self.sealed().filter(|(it, _)| *it == stage).map(|(_, generation)| generation)
    }

    fn stored(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Runs a worker; its failure, also by a panic, is final and is told.
fn spawn(
    name: &'static str,
    shared: Arc<Shared>,
    run: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(move || {
        let ended = catch_unwind(AssertUnwindSafe(run));
        let panicked = || Failure::Refused("the storage thread panicked".into());
        let failure = match ended.unwrap_or_else(|_| Err(panicked())) {
            Ok(()) => return,
            Err(Failure::Refused(why)) => Failure::Refused(format!("{name}: {why}")),
            Err(damaged) => damaged,
        };
        shared.complete(Completion::Failed(failure));
    })
}

/// What the journal's thread works with.
struct JournalWorker<F: Fs> {
    journal: Journal<F>,
    spares: Spares,
    states: Sender<StateJob>,
    shared: Arc<Shared>,
    space: Space,
    /// Bytes that the next flush takes at most.
    group: usize,
}

impl<F: Fs> JournalWorker<F> {
    fn run(mut self, jobs: &Receiver<Job>) -> Result<(), String> {
        self.look_at_space();
        while let Some(first) = self.next(jobs)? {
            self.group(first, jobs)?;
            self.look_at_space();
        }
        self.journal.close().map_err(|error| error.to_string())
    }

    /// Waits for the next job. Some time after the last of a burst the journal gets a mark, so that
    /// the last flush has a witness too.
    fn next(&mut self, jobs: &Receiver<Job>) -> Result<Option<Job>, String> {
        if self.journal.lacks_witness() {
            match jobs.recv_timeout(QUIET) {
                Ok(job) => return Ok(Some(job)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    self.journal.mark().map_err(|error| error.to_string())?;
                }
            }
        }
        // Space is freed by others too, who do not say so.
        while let Some(span) = self.space.wait() {
            match jobs.recv_timeout(span) {
                Ok(job) => return Ok(Some(job)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => self.look_at_space(),
            }
        }
        Ok(jobs.recv().ok())
    }

    fn look_at_space(&mut self) {
        let journal = &mut self.journal;
        let relieve = |give| {
            if let Err(error) = journal.forget_past(give) {
                log::warn!("cannot give back old segments of the journal: {error}");
            }
        };
        if let Some(short) = self.space.look(Instant::now(), relieve) {
            self.shared.complete(Completion::SpaceShort(short));
        }
    }

    /// Writes what has piled up, flushes it once, and tells.
    fn group(&mut self, first: Job, jobs: &Receiver<Job>) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        let mut stored = 0;
        let mut installed = None;
        let mut last = None;
        let mut next = Some(first);
        self.provide();
        while let Some(job) = next {
            last = match job {
                Job::Keep(keep) => {
                    self.journal.keep(keep);
                    last
                }
                Job::Persist { id, record, bytes } => {
                    self.journal.append(&record).map_err(text)?;
                    stored += bytes;
                    if let Record::Install { stage, .. } = record {
                        installed = Some(stage);
                    }
                    Some(id)
                }
            };
            next = match self.journal.unflushed() < self.group {
                true => jobs.try_recv().ok(),
                false => None,
            };
        }
        let begun = Instant::now();
        self.journal.flush().map_err(text)?;
        self.group = if begun.elapsed() > SLOW { SLOW_GROUP_BYTES } else { GROUP_BYTES };
        self.shared.stored(stored);
        if let Some(last) = last {
            self.shared.complete(Completion::Persisted(last));
        }
        if let Some(generation) = installed {
            // If that thread is gone, it has reported why.
            let _ = self.states.send(StateJob::Retire(generation));
        }
        self.journal.trim().map_err(text)
    }

    /// Sees to it that the next segment is there before the present one is full.
    fn provide(&mut self) {
        match self.spares.take() {
            Some(Ok(name)) => self.journal.add_spare(name),
            // The journal tries on its own when it needs one, and then it matters.
            Some(Err(error)) => log::warn!("cannot make a journal segment ahead of time: {error}"),
            None => {}
        }
        if let Some((name, size)) = self.journal.wanted_spare() {
            self.spares.order(name, size);
        }
    }
}

fn run_states(
    mut states: States,
    jobs: &Receiver<StateJob>,
    shared: &Shared,
) -> Result<(), Failure> {
    // Lives too short to end a fold may have left many tables.
    let mut folding = true;
    loop {
        // A fold waits for everything else, but every job, unless it is a part of something larger,
        // brings it forward, so that it ends.
        let job = match folding {
            false => jobs.recv().map_err(|_| TryRecvError::Disconnected),
            true => jobs.try_recv(),
        };
        match job {
            Ok(job) => run_state_job(&mut states, job, shared)?,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        folding = states.fold()?;
    }
}

fn run_state_job(states: &mut States, job: StateJob, shared: &Shared) -> Result<(), String> {
    match job {
        StateJob::Open(stage) => states.stage_open(stage)?,
        StateJob::Add(stage, items, bytes) => {
            // What was given up meanwhile is not written: its drop stands behind it in the queue.
            let parts = match shared.wants(stage) {
                true => Some(states.stage(stage, &items)?),
                false => None,
            };
            shared.stored(bytes);
            if let Some(parts) = parts {
                shared.complete(Completion::Staged { stage, parts });
            }
        }
        StateJob::Drop(stage) => states.stage_drop(stage),
        StateJob::Seal { stage, at, digest } => seal(states, stage, at, digest, shared)?,
        StateJob::Adopt(stage) => _ = states.adopt(stage)?,
        StateJob::Retire(generation) => states.retire(generation),
        StateJob::CheckpointPart(at, changes, bytes) => {
            states.checkpoint_part(at, &changes)?;
            shared.stored(bytes);
        }
        StateJob::Checkpoint(checkpoint, bytes) => {
            states.checkpoint(&checkpoint)?;
            shared.stored(bytes);
            shared.complete(Completion::Checkpointed(checkpoint.at.txid));
        }
    }
    Ok(())
}

/// Makes a snapshot durable, unless it is given up meanwhile: then not all of it may be there, and
/// its drop stands behind this in the queue.
fn seal(
    states: &mut States,
    stage: u64,
    at: Position,
    digest: Digest,
    shared: &Shared,
) -> Result<(), String> {
    let mut told = Instant::now();
    let mut goes_on = |parts| {
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            shared.complete(Completion::Staged { stage, parts });
        }
        shared.wants(stage)
    };
    if shared.wants(stage)
        && states.seal_slowly(stage, at, digest, &mut goes_on)?
        && let Some(generation) = states.sealed(stage)
    {
        *shared.sealed() = Some((stage, generation));
        shared.complete(Completion::Sealed(stage));
    }
    Ok(())
}

/// Bytes that a command holds until it is done.
fn size(command: &StorageCommand) -> usize {
    match command {
        StorageCommand::Persist { record: Record::Append { entries, .. }, .. } => {
            entries.iter().map(Entry::size).sum()
        }
        StorageCommand::Stage { items, .. } => {
            items.iter().map(|item| item.key.len() + item.value.len()).sum()
        }
        StorageCommand::CheckpointPart { changes, .. } => size_of_changes(changes),
        StorageCommand::Checkpoint(checkpoint) => size_of_changes(&checkpoint.changes),
        StorageCommand::Persist { .. }
        | StorageCommand::KeepLog(_)
        | StorageCommand::ReadLog { .. }
        | StorageCommand::StageOpen(_)
        | StorageCommand::Seal { .. }
        | StorageCommand::StageDrop(_) => 0,
    }
}

fn size_of_changes(changes: &[Change]) -> usize {
    let size = |change: &Change| change.key.len() + change.value.as_ref().map_or(0, |v| v.len());
    changes.iter().map(size).sum()
}
