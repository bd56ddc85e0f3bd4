//! One process for one directory.

use super::error::OpenError;
use super::place::private;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// The name of the lock file.
pub(crate) const NAME: &str = "LOCK";

/// Held as long as the directory is in use. The system lets go of it when the process ends, however
/// it ends, so a remaining file means nothing.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the directory, or tells who has it.
    pub(crate) fn take(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(NAME);
        let mut file = private()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(OpenError::io("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // Who it is, is a help and no more.
                let pid = file.read_to_string(&mut text).ok();
                return Err(OpenError::InUse {
                    dir: dir.to_path_buf(),
                    pid: pid.and_then(|_| text.trim().parse().ok()),
                });
            }
            Err(error) => return Err(OpenError::io("lock", &path)(io::Error::from(error))),
        }
        let mut note = || -> io::Result<()> {
            file.set_len(0)?;
            file.write_all(std::process::id().to_string().as_bytes())
        };
        note().map_err(OpenError::io("write", &path))?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that was forked and is not yet another
        // program has a copy of the descriptor. If this fails, closing it must do after all.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}
