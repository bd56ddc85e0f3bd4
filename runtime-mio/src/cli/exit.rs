//! How commands end: what they say on stderr, and the exit codes that scripts can trust.

use super::output;
use std::process::ExitCode;
use std::{fmt, io};
use zabkeeper_core::words::RefuseReason;
use zabkeeper_runtime_mio::client::ClientError;
pub(crate) use zabkeeper_runtime_mio::exit_code::{
    INVALID, NOT_DONE, OTHER, OUTPUT, REFUSED, UNKNOWN, USAGE,
};

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) code: u8,
    /// What happened and what to do. Empty if everything is said already.
    pub(crate) text: String,
}

impl Failure {
    /// A failure with its code and text.
    pub(crate) fn new(code: u8, text: impl fmt::Display) -> Self {
        let text = text.to_string();
        Self { code, text }
    }

    /// The command line, a file or a key is wrong.
    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self::new(USAGE, text)
    }

    /// Says it on stderr, and gives the exit code. Names, keys and what nodes say may be in the
    /// text: nothing in it reaches a terminal but as text in one line.
    pub(crate) fn report(&self) -> ExitCode {
        ExitCode::from(self.report_code())
    }

    /// The same, for who goes on: the number of the exit code.
    pub(crate) fn report_code(&self) -> u8 {
        if !self.text.is_empty() {
            output::say(format_args!("zabkeeper: {}", output::tame(&self.text)));
        }
        self.code
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Rejected(_) => REFUSED,
            ClientError::Options(_)
            | ClientError::TooLarge { .. }
            | ClientError::Refused(RefuseReason::TooLarge) => USAGE,
            ClientError::Unreachable(_) | ClientError::Refused(_) | ClientError::Timeout(..) => {
                NOT_DONE
            }
            ClientError::Unknown => UNKNOWN,
            // What comes later must not be taken for something that is known today.
            ClientError::Invalid(_) | _ => INVALID,
        };
        Self::new(code, error)
    }
}

/// Results that could not be written. A closed pipe behind us (`zabkeeper list | head`) is no
/// failure to talk about.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(0, ""),
            _ => Self::new(OUTPUT, format_args!("cannot write the result: {error}")),
        }
    }
}

/// An error in a few words, for the cell of a table.
pub(crate) fn short(error: &ClientError) -> String {
    match error {
        ClientError::Unreachable(tried) | ClientError::Timeout(_, tried) if tried.0.len() == 1 => {
            tried.0.iter().map(|(_, why)| why.clone()).collect()
        }
        ClientError::Unreachable(tried) => tried.to_string(),
        ClientError::Timeout(after, _) => format!("no answer within {after:?}"),
        error => error.to_string(),
    }
}
