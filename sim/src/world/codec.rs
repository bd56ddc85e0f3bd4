//! The production codec on the simulated wire and disk: what a node sends or stores is encoded and
//! decoded again, and must come out as it went in.

use crate::world::dice::Dice;
use zabkeeper_core::words::Rng;
use zabkeeper_core::zab::{Message, Record, Vote};
use zabkeeper_proto::client::{self, ClientReply, ClientRequest};
use zabkeeper_proto::{Datagram, decode_datagram, encode_datagram, frame, peer, record};

/// A vote after its way through the codec. Panics if it is another then.
pub fn vote(vote: Vote) -> Vote {
    let sent = Datagram::Vote(vote);
    let bytes = encode_datagram(&sent);
    match decode_datagram(&bytes) {
        Ok(received) if received == sent => {}
        other => panic!("{sent:?} came out of the codec as {other:?}"),
    }
    match sent {
        Datagram::Vote(vote) => vote,
        other => panic!("a vote turned into {other:?}"),
    }
}

/// A message after its way through the codec. Panics if it is another then.
pub fn message(message: Message) -> Message {
    let mut bytes = Vec::new();
    peer::encode(&message, &mut bytes);
    let found = frame::parse(&bytes, frame::Kind::Peer, frame::MAX_PEER_BODY);
    let frame = match found {
        Ok(Some(frame)) if frame.consumed() == bytes.len() => frame,
        other => panic!("{message:?} was framed as {other:?}"),
    };
    match peer::decode(&frame) {
        Ok(received) if received == message => received,
        other => panic!("{message:?} came out of the codec as {other:?}"),
    }
}

/// A record after its way through the codec. Panics if it is another then.
pub fn stored(record: Record) -> Record {
    let mut bytes = Vec::new();
    record::encode(&record, &mut bytes);
    match record::decode(&bytes) {
        Ok(read) if read == record => read,
        other => panic!("{record:?} came out of the codec as {other:?}"),
    }
}

/// A client's request after its way through the codec. Panics if it is another then.
pub fn request(request: ClientRequest) -> ClientRequest {
    let mut bytes = Vec::new();
    client::encode_request(&request, &mut bytes);
    let found = frame::parse(&bytes, frame::Kind::Request, frame::MAX_REQUEST_BODY);
    let frame = match found {
        Ok(Some(frame)) if frame.consumed() == bytes.len() => frame,
        other => panic!("{request:?} was framed as {other:?}"),
    };
    match client::decode_request(&frame) {
        Ok(received) if received == request => received,
        other => panic!("{request:?} came out of the codec as {other:?}"),
    }
}

/// A reply after its way through the codec. Panics if it is another then.
pub fn reply(reply: ClientReply) -> ClientReply {
    let mut bytes = Vec::new();
    client::encode_reply(&reply, &mut bytes);
    let found = frame::parse(&bytes, frame::Kind::Reply, frame::MAX_REPLY_BODY);
    let frame = match found {
        Ok(Some(frame)) if frame.consumed() == bytes.len() => frame,
        other => panic!("{reply:?} was framed as {other:?}"),
    };
    match client::decode_reply(&frame) {
        Ok(received) if received == reply => received,
        other => panic!("{reply:?} came out of the codec as {other:?}"),
    }
}

/// A datagram with one to three flipped bits, or cut short: what the receiver makes of it, which
/// is nothing unless the damage could not be seen.
pub fn damaged(vote: &Vote, seed: u64) -> Option<Vote> {
    let mut rng = Rng::new(seed);
    let mut bytes = encode_datagram(&Datagram::Vote(vote.clone()));
    if rng.chance(200_000) {
        bytes.truncate(rng.below(bytes.len() as u64) as usize);
    } else {
        for _ in 0..rng.between(1, 3) {
            let bit = rng.below(8 * bytes.len() as u64) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    match decode_datagram(&bytes) {
        Ok(Datagram::Vote(vote)) => Some(vote),
        _ => None,
    }
}
