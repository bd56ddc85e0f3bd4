//! Values from stdin and files: no more is read than a value may have, and for no longer than the
//! user waits.

use super::exit::{Failure, NOT_DONE};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use zabkeeper_core::store::MAX_VALUE_BYTES;
use zabkeeper_runtime_mio::client::ClientError;

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Stdin,
    File(PathBuf),
}

/// Reads a value. What is typed at a terminal has no time limit.
pub(super) fn read(source: Source, timeout: Duration) -> Result<Vec<u8>, Failure> {
    let name = match &source {
        Source::Stdin => "stdin".to_owned(),
        Source::File(file) => file.display().to_string(),
    };
    let typed = matches!(source, Source::Stdin) && io::stdin().is_terminal();
    let (tell, told) = mpsc::channel();
    // Opening a pipe without a writer waits, and so does reading: on a thread that may be left.
    let reader = thread::Builder::new().name("value".to_owned()).spawn(move || {
        // Nobody listens if the time was up.
        let _ = tell.send(match source {
            Source::Stdin => limited(io::stdin().lock()),
            Source::File(file) => from_file(&file),
        });
    });
    let read = match reader {
        Err(error) => Err(error),
        Ok(_) if typed => told.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())),
        Ok(_) => match told.recv_timeout(timeout) {
            Ok(read) => read,
            Err(_) => {
                let what = format!("certainly not done: the value from {name} did not end within");
                return Err(Failure::new(NOT_DONE, format_args!("{what} {timeout:?}")));
            }
        },
    };
    match read {
        Ok(Got::Value(value)) => Ok(value),
        Ok(Got::TooLarge(bytes)) => Err(ClientError::TooLarge { bytes }.into()),
        Err(error) => {
            Err(Failure::usage(format_args!("cannot read the value from {name}: {error}")))
        }
    }
}

/// What was read.
#[derive(PartialEq, Eq, Debug)]
enum Got {
    Value(Vec<u8>),
    /// At least so many bytes.
    TooLarge(u64),
}

fn from_file(file: &Path) -> io::Result<Got> {
    let file = File::open(file)?;
    match file.metadata()?.len() {
        bytes if bytes > MAX_VALUE_BYTES as u64 => Ok(Got::TooLarge(bytes)),
        _ => limited(file),
    }
}

fn limited(from: impl Read) -> io::Result<Got> {
    let mut value = Vec::new();
    let most = MAX_VALUE_BYTES as u64 + 1;
    match from.take(most).read_to_end(&mut value)? as u64 {
        bytes if bytes == most => Ok(Got::TooLarge(bytes)),
        _ => Ok(Got::Value(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_a_value_may_have_and_one_byte() {
        let most = MAX_VALUE_BYTES as u64;
        assert_eq!(limited(io::repeat(1)).unwrap(), Got::TooLarge(most + 1));
        let fits = limited(io::repeat(1).take(most)).unwrap();
        assert_eq!(fits, Got::Value(vec![1; MAX_VALUE_BYTES]));
        assert_eq!(limited(io::empty()).unwrap(), Got::Value(Vec::new()));
    }

    #[test]
    fn a_large_file_is_refused_by_its_size() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 << 30).unwrap();
        assert_eq!(from_file(file.path()).unwrap(), Got::TooLarge(3 << 30));
    }
}
