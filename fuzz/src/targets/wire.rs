//! What arrives from the network.

use zabkeeper_proto::frame::{self, Kind};
use zabkeeper_proto::{client, decode_datagram, encode_datagram, peer};

/// The longest frame that the targets accept: like the servers', but soon reached.
const LIMIT: usize = 64 << 10;

/// An election datagram. First byte odd: the rest is the body, and gets a right header.
pub fn datagrams(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    let bytes = match mode % 2 {
        0 => rest.to_vec(),
        _ => [b"Zabk\x01", &crc32c(rest)[..], rest].concat(),
    };
    if let Ok(datagram) = decode_datagram(&bytes) {
        // A list of members that was cut says so, and is then encoded as if it were whole.
        let again = decode_datagram(&encode_datagram(&datagram));
        let again = again.expect("what was decoded can be encoded");
        let (a, b) = (encode_datagram(&datagram), encode_datagram(&again));
        assert!(a == b || a.len() > 1000, "{datagram:?} became {again:?}");
    }
}

/// Messages between nodes, one after the other.
pub fn peer_frames(input: &[u8]) {
    each_frame(input, Kind::Peer, |bytes| {
        let frame = frame::parse(bytes, Kind::Peer, LIMIT).ok()??;
        let size = frame.consumed();
        if let Ok(message) = peer::decode(&frame) {
            let mut again = Vec::new();
            peer::encode(&message, &mut again);
            let frame = frame::parse(&again, Kind::Peer, usize::MAX).expect("a good frame");
            let decoded = peer::decode(&frame.expect("a whole one")).expect("a good message");
            assert_eq!(decoded, message);
        }
        Some(size)
    });
}

/// Requests and replies of clients, one after the other. The second byte chooses which.
pub fn client_frames(input: &[u8]) {
    let Some((which, input)) = input.split_first() else { return };
    if which % 2 == 0 {
        each_frame(input, Kind::Request, |bytes| {
            let frame = frame::parse(bytes, Kind::Request, LIMIT).ok()??;
            let id = client::request_id(&frame);
            if let Ok(request) = client::decode_request(&frame) {
                assert_eq!(id, Some(request.id), "the id can be read without the rest");
                let mut again = Vec::new();
                client::encode_request(&request, &mut again);
                let frame = frame::parse(&again, Kind::Request, usize::MAX).expect("a good frame");
                let decoded = client::decode_request(&frame.expect("a whole one"));
                assert_eq!(decoded.expect("a good request"), request);
            }
            Some(frame.consumed())
        });
    } else {
        each_frame(input, Kind::Reply, |bytes| {
            let frame = frame::parse(bytes, Kind::Reply, LIMIT).ok()??;
            if let Ok(reply) = client::decode_reply(&frame) {
                let mut again = Vec::new();
                client::encode_reply(&reply, &mut again);
                let frame = frame::parse(&again, Kind::Reply, usize::MAX).expect("a good frame");
                let decoded = client::decode_reply(&frame.expect("a whole one"));
                assert_eq!(decoded.expect("a good reply"), reply);
            }
            Some(frame.consumed())
        });
    }
}

/// Gives `one` what follows frame by frame, until it finds none. First byte odd: the rest is the
/// body of one frame, and gets a right header.
fn each_frame(input: &[u8], kind: Kind, mut one: impl FnMut(&[u8]) -> Option<usize>) {
    let Some((mode, rest)) = input.split_first() else { return };
    let mut bytes = Vec::new();
    match mode % 2 {
        0 => bytes.extend_from_slice(rest),
        _ => {
            let begun = frame::begin(&mut bytes, kind);
            bytes.extend_from_slice(rest);
            frame::finish(&mut bytes, begun);
        }
    }
    asks_for_what_it_needs(&bytes, kind);
    let mut at = 0;
    while let Some(size) = one(&bytes[at..]) {
        at += size;
    }
}

/// A reader that has only a part of a frame is told so, and never that it is whole or broken if it
/// is not: however a stream is cut, the same frames are found.
fn asks_for_what_it_needs(bytes: &[u8], kind: Kind) {
    let Ok(Some(frame)) = frame::parse(bytes, kind, LIMIT) else { return };
    let size = frame.consumed();
    let step = 1 + size / 16;
    for part in (0..size).step_by(step) {
        assert_eq!(frame::parse(&bytes[..part], kind, LIMIT), Ok(None), "{part} of {size} bytes");
        let missing = frame::missing(&bytes[..part], kind, LIMIT);
        assert!(missing.is_ok_and(|missing| missing > 0 && part + missing <= size));
    }
}

fn crc32c(bytes: &[u8]) -> [u8; 4] {
    // The frames' checksum is the datagrams': taken from a frame, so that no second one is needed.
    let mut framed = Vec::new();
    let begun = frame::begin(&mut framed, Kind::Peer);
    framed.extend_from_slice(bytes);
    frame::finish(&mut framed, begun);
    framed[frame::HEADER - 4..frame::HEADER].try_into().expect("four bytes")
}
