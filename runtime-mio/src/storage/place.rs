//! Where files are: who may read them, and what an error of the system was about.

use rustix::fs::statvfs;
use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Opens files that, if they are made, nobody but this process's user may read.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Makes a directory that nobody but this process's user may read, with those above it, and has
/// their names survive a power cut. One that is there is left as it is.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// An error of the system, with the file that it was about and what else explains it.
#[derive(Debug)]
struct Placed {
    path: PathBuf,
    why: String,
    more: String,
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.path.display(), self.why, self.more)
    }
}

impl std::error::Error for Placed {}

/// Names the file that an error was about, unless it is named already. The kind stays.
pub(crate) fn about(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.as_ref().to_path_buf();
    move |error| {
        if error.get_ref().is_some_and(|inner| inner.is::<Placed>()) {
            return error;
        }
        let more = circumstances(&path, &error);
        io::Error::new(error.kind(), Placed { path, why: error.to_string(), more })
    }
}

/// What the file system of `path` adds to an error, in words that begin with a semicolon.
pub(crate) fn circumstances(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => room(path),
        ErrorKind::ReadOnlyFilesystem => "; the file system is read-only: it was mounted so, or \
                                          the system made it so after an error, which its log tells"
            .to_owned(),
        _ => String::new(),
    }
}

/// What is left on the file system of `path`, which itself may not be there.
fn room(path: &Path) -> String {
    let there = path.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."));
    match statvfs(there) {
        Err(_) => String::new(),
        Ok(disk) => {
            let mib = |blocks: u64| blocks.saturating_mul(disk.f_frsize) >> 20;
            let (free, all) = (mib(disk.f_bavail), mib(disk.f_blocks));
            match disk.f_files > 0 && disk.f_favail == 0 {
                true => format!(
                    "; the file system has no inodes left, all {} are used, though {free} of {all} \
                     MiB are free: remove files there",
                    disk.f_files
                ),
                false => format!(
                    "; {free} of {all} MiB and {} of {} inodes are free on the file system",
                    disk.f_favail, disk.f_files
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_a_node_makes_is_for_its_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("a/b");
        private_dir(&made).unwrap();
        private_dir(&made).unwrap();
        private().write(true).create(true).truncate(true).open(made.join("c")).unwrap();
        let mode = |path: &str| {
            let data = fs::metadata(dir.path().join(path)).unwrap();
            data.permissions().mode() & 0o777
        };
        assert_eq!([mode("a"), mode("a/b"), mode("a/b/c")], [0o700, 0o700, 0o600]);
    }

    #[test]
    fn an_error_names_its_file_once_and_keeps_its_kind() {
        let full = || io::Error::from(ErrorKind::StorageFull);
        let error = about("/var/tmp/zk/no/such/file")(full());
        let error = about("/elsewhere")(error);
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        let text = error.to_string();
        assert!(text.starts_with("/var/tmp/zk/no/such/file: "), "{text}");
        assert!(text.contains("MiB") && text.contains("inodes"), "{text}");
        assert!(!text.contains("/elsewhere"), "{text}");
    }
}
