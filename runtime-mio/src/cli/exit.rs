//! How commands end: what they say on stderr, and the exit codes that scripts can trust.

use std::fmt;
use std::process::ExitCode;
use zabkeeper_core::message::RefuseReason;
use zabkeeper_runtime_mio::client::ClientError;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The process's exit code.
    pub(crate) code: u8,
    /// What happened and what to do. Empty if everything is said already.
    pub(crate) text: String,
}

/// Refused by its own condition.
pub(crate) const REFUSED: u8 = 1;
/// The command line, a file or a key is wrong.
pub(crate) const USAGE: u8 = 2;
/// Certainly not done.
pub(crate) const NOT_DONE: u8 = 3;
/// Perhaps done.
pub(crate) const UNKNOWN: u8 = 4;
/// The node and this client do not understand each other.
pub(crate) const INVALID: u8 = 5;
/// Any other failure, of `dev` and `server`.
pub(crate) const OTHER: u8 = 1;

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

    /// Says it on stderr, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.text.is_empty() {
            eprintln!("zabkeeper: {}", self.text);
        }
        ExitCode::from(self.code)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Rejected(_) => REFUSED,
            ClientError::Options(_)
            | ClientError::TooLarge(_)
            | ClientError::Refused(RefuseReason::TooLarge) => USAGE,
            ClientError::Unreachable(_) | ClientError::Refused(_) | ClientError::Timeout(..) => {
                NOT_DONE
            }
            ClientError::Unknown => UNKNOWN,
            ClientError::Invalid(_) => INVALID,
            _ => OTHER,
        };
        Self::new(code, error)
    }
}

/// A closed pipe behind us (`zabkeeper list | head`) is no failure to talk about.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(0, ""),
            _ => Self::new(OTHER, format_args!("cannot write the result: {error}")),
        }
    }
}

/// An error in a few words, for the cell of a table.
pub(crate) fn short(error: &ClientError) -> String {
    match error {
        ClientError::Unreachable(tried) => match tried.0.as_slice() {
            [(_, why)] => why.clone(),
            _ => tried.to_string(),
        },
        ClientError::Timeout(after, _) => format!("no answer within {after:?}"),
        error => error.to_string(),
    }
}
