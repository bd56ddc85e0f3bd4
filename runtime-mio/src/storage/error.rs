//! Why a data directory cannot be opened, or nothing more be stored in it: what, where, and what to
//! do about it.

use super::place::circumstances;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};
use zabkeeper_core::words::NodeId;
use zabkeeper_core::zab::Membership;

/// Why a data directory cannot be opened. Nothing in it was changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// What is stored cannot be what was stored. The node must not take part with it.
    Damaged(Damage),
    /// Another process works on the directory.
    InUse {
        /// The directory.
        dir: PathBuf,
        /// That process, if it left its number.
        pid: Option<u32>,
    },
    /// The directory belongs to another node.
    WrongNode {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        stored: NodeId,
        /// Who asks for it.
        configured: NodeId,
    },
    /// The directory belongs to another cluster.
    WrongCluster {
        /// The directory.
        dir: PathBuf,
        /// The initial members that it was made for.
        stored: Arc<Membership>,
        /// The initial members that are configured.
        configured: Arc<Membership>,
    },
    /// The directory was written by a release with another format.
    Version {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The only format that this release reads.
        supported: u32,
    },
    /// sled's files were made by a release that uses sled otherwise.
    Settings {
        /// The file with the settings.
        file: PathBuf,
        /// What sled says of them.
        why: String,
    },
    /// This program's flushes do not reach the disk: it is linked in a way that must not be used.
    NoFlush,
    /// The system refused something.
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// A finding that stored data cannot be right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// What is wrong.
    pub what: String,
    /// The file or directory, relative to the data directory.
    pub file: String,
    /// The byte in the file, where one is known.
    pub offset: Option<u64>,
}

impl Damage {
    pub(crate) fn new(what: impl Into<String>, file: impl Into<String>) -> Self {
        Self { what: what.into(), file: file.into(), offset: None }
    }

    pub(crate) fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl OpenError {
    pub(crate) fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}

impl From<Damage> for OpenError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(damage) => write!(
                f,
                "the store is damaged: {damage}. This node must not vote with it. Nothing was \
                 changed: keep a copy of the directory, check the disk, and restore this node from \
                 the others under a new id; do not delete the directory and start again under the \
                 same id"
            ),
            Self::InUse { dir, pid } => {
                write!(f, "{} is in use by ", dir.display())?;
                match pid {
                    Some(pid) => write!(f, "process {pid}")?,
                    None => write!(f, "another process")?,
                }
                write!(f, "; stop it, or configure another data directory")
            }
            Self::WrongNode { dir, stored, configured } => write!(
                f,
                "{} belongs to node {stored}, but this node is configured as {configured}; \
                 configure the directory of {configured}, or correct the node's id or addresses",
                dir.display()
            ),
            Self::WrongCluster { dir, stored, configured } => write!(
                f,
                "{} belongs to another cluster: it was made for the members {}, but configured are \
                 {}; correct the list of peers, or configure another data directory",
                dir.display(),
                Members(stored),
                Members(configured)
            ),
            Self::Version { file, found, supported } => write!(
                f,
                "{} has format {found}, and this release reads format {supported} only; start the \
                 release that wrote it",
                file.display()
            ),
            Self::Settings { file, why } => write!(
                f,
                "{} was made with other settings than this release has ({why}); start the release \
                 that wrote it",
                file.display()
            ),
            Self::NoFlush => write!(
                f,
                "the state store's flush does not reach the disk in this build: the program must \
                 be linked so that its own sync_file_range replaces the system's; refusing to run, \
                 since a power cut would lose acknowledged data"
            ),
            Self::Io { what, path, source } => {
                write!(f, "cannot {what} {}: {source}", path.display())?;
                // What names its own file has its circumstances in the text already.
                if source.raw_os_error().is_some() {
                    f.write_str(&circumstances(path, source))?;
                }
                match source.kind() {
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                        write!(f, "; make the directory writable for this process's user")
                    }
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        write!(f, "; free space on that file system and start again")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Damaged(_)
            | Self::InUse { .. }
            | Self::WrongNode { .. }
            | Self::WrongCluster { .. }
            | Self::Version { .. }
            | Self::Settings { .. }
            | Self::NoFlush => None,
        }
    }
}

/// Why nothing more is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The disk or the system refused something.
    Refused(String),
    /// What is stored is found not to be what was stored: this would be found at a start too.
    Damaged(Damage),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Refused(why)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(
                f,
                "the disk failed: {why}; make sure that it is healthy and has room, then start \
                 the node again"
            ),
            Self::Damaged(damage) => write!(f, "{}", OpenError::from(damage.clone())),
        }
    }
}

impl std::error::Error for Failure {}

/// A list of members for people.
struct Members<'a>(&'a Membership);

impl fmt::Display for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for (index, (id, member)) in self.0.members().iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let observer = if member.voter { "" } else { " (observer)" };
            write!(f, "{comma}{id} {}/{}{observer}", member.election_addr, member.message_addr)?;
        }
        write!(f, "]")
    }
}
