//! The words that every wing uses: who and where something is, when, how long, its digest, and how a
//! request ends. They depend on nothing.

mod digest;
mod ids;
mod payload;
mod request;
mod rng;
mod time;

pub use digest::{Digest, Digester};
pub use ids::{ClusterId, ConnId, Epoch, Incarnation, Life, NodeId, Round, Ticket, Txid, WriteId};
pub use payload::Payload;
pub use request::{End, Operation, ReadLevel, RefuseReason};
pub use rng::Rng;
pub use time::{Instant, Micros, Now, WallTime};
