//! What can be wrong with a configuration file, told so that it can be corrected.

use std::fmt;

/// What is wrong with a configuration file, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    file: String,
    field: String,
    problem: Problem,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read.
    Unreadable(String),
    /// It is not JSON.
    Syntax(String),
    /// A field that nobody knows; these are known.
    Unknown(String),
    /// A field that is given twice.
    Twice,
    /// A field that must be there is not; this is what it should hold.
    Missing(&'static str),
    /// A value of another type.
    Type {
        /// What was expected.
        wanted: &'static str,
        /// What is there.
        got: &'static str,
    },
    /// A number that is not whole or too small or too large.
    Range {
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// Not an address; why.
    Address {
        /// What is there.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two parts of the file say different things.
    Contradiction(String),
}

impl ConfigError {
    pub(super) fn new(file: &str, field: &str, problem: Problem) -> Self {
        Self { file: file.to_owned(), field: field.to_owned(), problem }
    }

    /// The field that is wrong, such as `Peer[1].MessageAddr`; empty for the whole file.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "{}: ", self.file)?,
            field => write!(f, "{}: {field}: ", self.file)?,
        }
        match &self.problem {
            Problem::Unreadable(why) => write!(f, "the file cannot be read: {why}"),
            Problem::Syntax(why) => write!(f, "the file is not valid JSON: {why}"),
            Problem::Unknown(known) => {
                write!(f, "there is no such field; the fields here are {known}")
            }
            Problem::Twice => write!(f, "the field is given twice; keep one of them"),
            Problem::Missing(what) => write!(f, "the field is missing; {what}"),
            Problem::Type { wanted, got } => write!(f, "expected {wanted}, found {got}"),
            Problem::Range { least, most } => {
                write!(f, "expected a whole number from {least} to {most}")
            }
            Problem::Address { text, why } => {
                write!(f, "\"{text}\" is not an address: {why}; write it as \"host:port\"")
            }
            Problem::Contradiction(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for ConfigError {}
