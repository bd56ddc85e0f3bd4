//! The bytes that Zabkeeper's nodes, clients and disks exchange.
//!
//! The `.proto` files in `proto/zabkeeper/v1` are the source of truth, also for other languages;
//! `docs/wire.md` tells how to write a client. Inside, the generated structs are private: bytes
//! become values of the core's types, or an error, in one step, and after it every value is valid
//! (no unknown enum, no missing part, no id that names nothing).
//!
//! | bytes | encode | decode |
//! | --- | --- | --- |
//! | UDP datagram | [`encode_datagram`] | [`decode_datagram`] |
//! | any TCP stream | | [`frame::parse`] finds a frame, then one of: |
//! | peer message | [`peer::encode`] | [`peer::decode`] |
//! | client request | [`client::encode_request`] | [`client::decode_request`] |
//! | client reply | [`client::encode_reply`] | [`client::decode_reply`] |
//! | journal record | [`record::encode`] | [`record::decode`] |
//!
//! The order of checks is always: limit of length, version, checksum, protobuf, presence, ranges,
//! rules between fields. Nothing is allocated before the length is known to be within its limit,
//! and no bytes whatever make a decoder panic.
//!
//! ```
//! use zabkeeper_core::zab::Message;
//! use zabkeeper_proto::{frame, peer};
//!
//! let mut stream = Vec::new();
//! peer::encode(&Message::ReadIndex { id: 7 }, &mut stream);
//! let found = frame::parse(&stream, frame::Kind::Peer, frame::MAX_PEER_BODY)?;
//! let found = found.expect("a whole frame");
//! assert_eq!(found.consumed(), stream.len());
//! assert_eq!(peer::decode(&found)?, Message::ReadIndex { id: 7 });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod batches;
pub mod client;
mod convert;
mod datagram;
mod entries;
mod error;
mod fields;
pub mod frame;
mod outline;
mod payloads;
pub mod peer;
pub mod pieces;
pub mod record;
mod replies;
mod requests;
mod short;
mod status;
#[cfg(any(test, feature = "test-util"))]
pub mod strategies;
#[cfg(test)]
mod tests;
mod wire;

pub use datagram::{
    DATAGRAM_VERSION, Datagram, MAX_DATAGRAM, MAX_VOTE, decode_datagram, encode_datagram,
};
pub use error::{DecodeError, FrameError};
