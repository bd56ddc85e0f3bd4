//! What can be wrong with bytes.

use crate::frame::Kind;
use std::fmt;
use zabkeeper_core::store::PathError;

/// Why bytes are not a message. Whoever sent them speaks another protocol, or the bytes were
/// damaged on the way; a connection they came on cannot be trusted any more.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DecodeError {
    /// A datagram too short to hold anything; this is its length.
    Short(usize),
    /// More bytes than may be.
    TooLong {
        /// How many there are.
        len: usize,
        /// How many may be.
        limit: usize,
    },
    /// A datagram that does not begin like one of this protocol.
    Magic,
    /// A datagram of a version that this node does not speak.
    Version(u8),
    /// A datagram whose checksum is not that of its content.
    Checksum,
    /// Not protobuf, or not of these messages.
    Protobuf(prost::DecodeError),
    /// A required part is absent.
    Missing(&'static str),
    /// An enum has a value that this version does not know.
    Unknown {
        /// Which.
        field: &'static str,
        /// Its number.
        value: i32,
    },
    /// A number that the field cannot have, or that contradicts another field.
    Invalid(&'static str),
    /// A text that is not a key.
    Path(PathError),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(len) => write!(f, "a datagram of only {len} bytes"),
            Self::TooLong { len, limit } => {
                write!(f, "{len} bytes, more than the {limit} allowed")
            }
            Self::Magic => f.write_str("a datagram of some other protocol"),
            Self::Version(version) => write!(
                f,
                "a datagram of version {version}, but only version {} is spoken here",
                crate::DATAGRAM_VERSION
            ),
            Self::Checksum => f.write_str("the checksum does not match: damaged on the way"),
            Self::Protobuf(error) => write!(f, "{error}"),
            Self::Missing(field) => write!(f, "{field} is missing"),
            Self::Unknown { field, value } => write!(f, "{field} has the unknown value {value}"),
            Self::Invalid(field) => write!(f, "{field} has a value that it cannot have"),
            Self::Path(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<prost::DecodeError> for DecodeError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Protobuf(error)
    }
}

impl From<PathError> for DecodeError {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

/// Why a stream holds no frame: after it the place where the next frame begins is unknown, so the
/// connection has to be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is of a version that is not spoken here.
    Version(u8),
    /// The frame is of another kind than this connection carries: the wrong port, most likely.
    Kind {
        /// What it is, by its number.
        got: u8,
        /// What it should be.
        expected: Kind,
    },
    /// The frame says that it is longer than allowed.
    TooLong {
        /// What it says.
        len: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The checksum is not that of the content.
    Checksum,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "a frame of version {version}, but only version {} is spoken here: this is \
                 another protocol or another release",
                crate::frame::VERSION
            ),
            Self::Kind { got, expected } => write!(
                f,
                "a frame of kind {got} where a {expected} is expected: is this the right port?"
            ),
            Self::TooLong { len, limit } => {
                write!(f, "a frame of {len} bytes, more than the {limit} allowed")
            }
            Self::Checksum => f.write_str("the checksum of a frame does not match its content"),
        }
    }
}

impl std::error::Error for FrameError {}
