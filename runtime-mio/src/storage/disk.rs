//! A node's data directory: opened, checked, initialised if it is new.

use super::catalogue::Meta;
use super::error::{Damage, OpenError};
use super::fs::{DirFs, Fs, forget_pages, sync_dir};
use super::items::Items;
use super::journal::{Journal, JournalOptions, is_spare, segment_number};
use super::lock::Lock;
use super::pace::Pace;
use super::past::{self, Cuts, past_number};
use super::place::{private, private_dir};
use super::space::Space;
use super::staging::States;
use super::state::{Row, StateStore, generation_name};
use super::summary::Head;
use super::{recover, reserve};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};
use zabkeeper_core::words::{Digest, Epoch, Incarnation, Life, NodeId, Txid};
use zabkeeper_core::zab::{
    Base, Checkpoint, Identity, Lives, Membership, Position, Record, Recovered,
};

/// What can be chosen about a data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// About the journal.
    pub journal: JournalOptions,
    /// Bytes that should be free on the file system, on a small one a sixteenth of it: with less,
    /// [`Completion::SpaceShort`](super::Completion::SpaceShort) is told.
    pub free_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { journal: JournalOptions::default(), free_bytes: 128 << 20 }
    }
}

/// What the configuration says of the node. It decides only how an empty directory is initialised;
/// a directory that was used must agree with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bootstrap {
    /// The node.
    pub node: NodeId,
    /// The initial members; the version is zero.
    pub membership: Arc<Membership>,
    /// The number of the disk if the directory must be initialised: drawn at random by the caller.
    pub incarnation: Incarnation,
    /// What the checksums of its journal start from, in that case: a secret of the directory, drawn
    /// at random by the caller and told to nobody.
    pub secret: u64,
    /// The life that begins with this opening: drawn at random by the caller.
    pub life: Life,
}

/// An open data directory.
pub struct Opened {
    /// For writing.
    pub store: DiskStorage,
    /// The protocol's state.
    pub recovered: Recovered,
    /// The digest that the application's state must have once `items` are loaded.
    pub digest: Digest,
    /// The application's state at `recovered.applied`.
    pub items: Items,
    /// True if the directory was empty and has been initialised now.
    pub created: bool,
}

/// A data directory open for writing, one operation after the other.
/// [`StorageThread`](super::StorageThread) is the way to use it without waiting.
pub struct DiskStorage<F: Fs = DirFs> {
    pub(crate) journal: Journal<F>,
    pub(crate) states: States,
    pub(super) space: Space,
    pub(crate) lock: Lock,
}

/// Present while a directory is being initialised: what is beside it means nothing.
const INITIALISING: &str = "initialising";

/// Opens the data directory `dir`, and initialises it if it does not exist or is empty.
///
/// # Errors
/// If anything in it is not what was written there. Nothing is repaired by guessing and nothing is
/// deleted but remnants of unfinished operations.
pub fn open(dir: &Path, options: &Options, bootstrap: &Bootstrap) -> Result<Opened, OpenError> {
    open_on(DirFs::new(dir), dir, options, bootstrap).map(|(store, found)| Opened {
        store,
        recovered: found.recovered,
        digest: found.digest,
        items: found.items,
        created: found.created,
    })
}

/// What was found in a directory.
pub struct Contents {
    /// The protocol's state.
    pub recovered: Recovered,
    /// The digest that the application's state must have once `items` are loaded.
    pub digest: Digest,
    /// The application's state at `recovered.applied`.
    pub items: Items,
    /// True if the directory was empty and has been initialised now.
    pub created: bool,
}

/// [`open`] with the journal's files on another file system than the directory's own, for tests.
pub fn open_on<F: Fs>(
    fs: F,
    dir: &Path,
    options: &Options,
    bootstrap: &Bootstrap,
) -> Result<(DiskStorage<F>, Contents), OpenError> {
    private_dir(dir).map_err(OpenError::io("create", dir))?;
    let lock = Lock::take(dir)?;
    let relieve = || {
        if let Err(error) = past::discard(&fs) {
            log::warn!("cannot give back old segments of the journal: {error}");
        }
    };
    let released = reserve::release_if_short(dir, relieve);
    released.map_err(OpenError::io("remove", dir.join(reserve::NAME)))?;
    forget_pages(dir).map_err(OpenError::io("read", dir))?;
    let names = fs.names().map_err(OpenError::io("list", dir))?;
    let mut created = !recover::exists(&names);
    if created {
        initialise(&fs, dir, options, bootstrap)?;
    }
    remove_marker(dir)?;
    let mut found = recover::read(&fs, dir)?;
    if let Err(other) = check_identity(dir, bootstrap, found.head()) {
        if !found.image.is_blank() {
            return Err(other);
        }
        // Whose list had a mistake at the first start need not know that directories exist.
        log::warn!("{other}. It never took part in an ensemble, so it is made anew");
        discard(&fs, dir, &names)?;
        initialise(&fs, dir, options, bootstrap)?;
        remove_marker(dir)?;
        found = recover::read(&fs, dir)?;
        created = true;
    }
    let identity = found.head().identity;
    let generation = found.image.installed.unwrap_or(0);
    let state = StateStore::open(dir, generation, Pace::default())?;
    let Meta { applied, digest, .. } = state.meta();
    let log = &found.image.log;
    if log.position_at(applied.txid) != Some(applied) {
        let what = format!(
            "the state stands at {} ({}), which is not a place in the journal's log, {} to {}",
            applied.txid,
            applied.chain,
            log.base().at.txid,
            log.last().txid
        );
        return Err(Damage::new(what, generation_name(generation)).into());
    }
    // The journal's records are durable from here on; only then may what they replace go.
    let (journal, image) = found.resume(fs, dir, options.journal, bootstrap.life)?;
    remove_other_generations(dir, generation)?;
    let contents = Contents {
        recovered: image.recover(identity, applied),
        digest,
        items: state.items()?,
        created,
    };
    reserve::keep(dir);
    let states = States::new(dir, state);
    let space = Space::new(dir, options.free_bytes);
    let store = DiskStorage { journal, states, space, lock };
    Ok((store, contents))
}

impl<F: Fs> DiskStorage<F> {
    /// Adds a record to what the next [`Self::flush`] writes. `Install` is of a snapshot that was
    /// sealed, and flushes.
    ///
    /// # Errors
    /// Final: after one, nothing more may be written.
    pub fn append(&mut self, record: &Record) -> Result<(), String> {
        let text = |error: io::Error| error.to_string();
        let Record::Install { base, stage, digest } = record else {
            return self.journal.append(record).map_err(text);
        };
        let generation = self.states.adopt(*stage)?;
        let record = Record::Install { base: base.clone(), stage: generation, digest: *digest };
        self.journal.append(&record).map_err(text)?;
        self.flush()?;
        self.states.retire(generation);
        Ok(())
    }

    /// Makes everything appended survive a power cut.
    ///
    /// # Errors
    /// Final: after one, nothing more may be written.
    pub fn flush(&mut self) -> Result<(), String> {
        let flushed = self.journal.flush().and_then(|()| self.journal.trim());
        flushed.map_err(|error| error.to_string())
    }

    /// The application's states.
    pub fn states(&mut self) -> &mut States {
        &mut self.states
    }

    /// Writes a checkpoint, durable on return, and puts the tables in order.
    ///
    /// # Errors
    /// Final: after one, nothing more may be written.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), String> {
        self.states.checkpoint(checkpoint)?;
        while self.states.fold().map_err(|failure| failure.to_string())? {}
        Ok(())
    }

    /// Flushes and closes the directory in good order.
    ///
    /// # Errors
    /// If the last records could not be flushed.
    pub fn close(self) -> io::Result<()> {
        self.journal.close()
    }
}

/// Marks the directory as one whose files mean nothing.
fn mark(dir: &Path) -> Result<(), OpenError> {
    let marker = dir.join(INITIALISING);
    let mark = || -> io::Result<()> {
        private().write(true).create(true).truncate(true).open(&marker)?.sync_all()?;
        sync_dir(dir)
    };
    mark().map_err(OpenError::io("write", &marker))
}

fn remove_marker(dir: &Path) -> Result<(), OpenError> {
    let marker = dir.join(INITIALISING);
    match fs::remove_file(&marker) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(OpenError::io("remove", &marker)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a node's files from a directory, which is to be initialised again.
fn discard<F: Fs>(fs: &F, dir: &Path, names: &[String]) -> Result<(), OpenError> {
    mark(dir)?;
    let journal = names.iter().filter(|name| is_of_journal(name));
    for name in journal {
        fs.remove(name).map_err(OpenError::io("remove", dir.join(name)))?;
    }
    fs.sync_names().map_err(OpenError::io("flush", dir))
}

/// True for a name that only a node gives to what is in its directory.
fn is_own(name: &str) -> bool {
    is_of_journal(name) || generation(name).is_some()
}

fn is_of_journal(name: &str) -> bool {
    segment_number(name).is_some() || past_number(name).is_some() || is_spare(name)
}

/// Makes a directory a node's. The one act that does it is the naming of the first segment; before
/// it the directory holds only what the next attempt throws away.
fn initialise<F: Fs>(
    fs: &F,
    dir: &Path,
    options: &Options,
    bootstrap: &Bootstrap,
) -> Result<(), OpenError> {
    let interrupted = dir.join(INITIALISING).exists();
    let found = names_in(dir).map_err(OpenError::io("list", dir))?;
    // What others put there, such as a configuration, is no sign of a journal that was lost.
    if let Some(name) = found.iter().find(|name| !interrupted && is_own(name)) {
        let what = format!("there is no journal beside {name}: it was lost");
        return Err(Damage::new(what, dir.display().to_string()).into());
    }
    mark(dir)?;
    let identity = Identity {
        cluster: bootstrap.membership.cluster_id(),
        node: bootstrap.node,
        incarnation: bootstrap.incarnation,
    };
    let meta = Meta { generation: 0, applied: Position::ZERO, digest: Digest::ZERO };
    let mut state = StateStore::create(dir, 0, Pace::default())?;
    state.seal(dir, meta, Row::default()).map_err(|error| OpenError::Io {
        what: "write the state store in",
        path: dir.to_path_buf(),
        source: io::Error::other(error),
    })?;
    drop(state);
    let head = Head {
        identity,
        initial: bootstrap.membership.clone(),
        promise: None,
        current: Epoch::ZERO,
        committed: Txid::ZERO,
        lives: Lives::default(),
        entered: false,
        generation: 0,
        base: Txid::ZERO,
        cuts: Cuts::default(),
        start: Base { at: Position::ZERO, membership: bootstrap.membership.clone() },
    };
    Journal::initialise(fs, dir, options.journal, &head, bootstrap.secret)
}

fn check_identity(dir: &Path, bootstrap: &Bootstrap, head: &Head) -> Result<(), OpenError> {
    let identity = head.identity;
    if identity.cluster != bootstrap.membership.cluster_id() {
        return Err(OpenError::WrongCluster {
            dir: dir.to_path_buf(),
            stored: head.initial.clone(),
            configured: bootstrap.membership.clone(),
        });
    }
    if identity.node != bootstrap.node {
        return Err(OpenError::WrongNode {
            dir: dir.to_path_buf(),
            stored: identity.node,
            configured: bootstrap.node,
        });
    }
    Ok(())
}

/// Removes what the journal does not name: snapshots that were not installed, and states that were
/// replaced.
fn remove_other_generations(dir: &Path, current: u64) -> Result<(), OpenError> {
    for name in names_in(dir).map_err(OpenError::io("list", dir))? {
        if generation(&name).is_some_and(|n| n != current) {
            let path: PathBuf = dir.join(name);
            fs::remove_dir_all(&path).map_err(OpenError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// The generation whose directory has this name.
fn generation(name: &str) -> Option<u64> {
    let number = name.strip_prefix("state-").and_then(|n| n.parse().ok());
    number.filter(|n| generation_name(*n) == name)
}

fn names_in(dir: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
