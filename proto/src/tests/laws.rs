//! For every value: what is encoded is decoded to the same value, and that encodes to the same
//! bytes. For all bytes: decoding returns, and what it returns is again subject to the first law.

use super::{framed, parsed};
use crate::frame::{self, Kind};
use crate::{
    Datagram, MAX_DATAGRAM, MAX_VOTE, client, decode_datagram, encode_datagram, peer, record,
    strategies as any,
};
use proptest::collection::vec;
use proptest::prelude::*;
use zabkeeper_core::zab::Rejection;

/// A frame of these bytes as its body.
fn wrapped(body: &[u8], kind: Kind) -> Vec<u8> {
    framed(|out| {
        let begun = frame::begin(out, kind);
        out.extend_from_slice(body);
        frame::finish(out, begun);
    })
}

/// Bytes that are near to sound ones: a sound body with some bytes replaced, cut or repeated.
fn near(body: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edits = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (body, edits, any::<prop::sample::Index>(), 0..3_u8).prop_map(|(mut body, edits, at, cut)| {
        if body.is_empty() {
            return body;
        }
        for (at, byte) in edits {
            let at = at.index(body.len());
            body[at] = byte;
        }
        let at = at.index(body.len());
        match cut {
            0 => body.truncate(at),
            1 => body.extend_from_within(at..),
            _ => {}
        }
        body
    })
}

/// The body of the frame that `encode` writes.
fn body(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    framed(encode).split_off(frame::HEADER)
}

fn check_datagram_bytes(bytes: &[u8]) {
    if let Ok(datagram) = decode_datagram(bytes) {
        let again = encode_datagram(&datagram);
        assert_eq!(decode_datagram(&again), Ok(datagram));
    }
}

fn check_bodies(bytes: &[u8]) {
    let frame = wrapped(bytes, Kind::Peer);
    if let Ok(message) = peer::decode(&parsed(&frame, Kind::Peer)) {
        let again = framed(|out| peer::encode(&message, out));
        assert_eq!(peer::decode(&parsed(&again, Kind::Peer)), Ok(message));
    }
    let frame = wrapped(bytes, Kind::Request);
    if let Ok(request) = client::decode_request(&parsed(&frame, Kind::Request)) {
        assert_eq!(client::request_id(&parsed(&frame, Kind::Request)), Some(request.id));
        let again = framed(|out| client::encode_request(&request, out));
        let again = client::decode_request(&parsed(&again, Kind::Request));
        assert_eq!(again, Ok(request));
    }
    let frame = wrapped(bytes, Kind::Reply);
    if let Ok(reply) = client::decode_reply(&parsed(&frame, Kind::Reply)) {
        let again = framed(|out| client::encode_reply(&reply, out));
        assert_eq!(client::decode_reply(&parsed(&again, Kind::Reply)), Ok(reply));
    }
    if let Ok(held) = record::decode(bytes) {
        assert_eq!(record::decode(&framed(|out| record::encode(&held, out))), Ok(held));
    }
    if let Ok(held) = record::decode_head(bytes) {
        let again = framed(|out| record::encode_head(&held, out));
        assert_eq!(record::decode_head(&again), Ok(held));
    }
    if let Ok(held) = record::decode_identity(bytes) {
        let again = framed(|out| record::encode_identity(held, out));
        assert_eq!(record::decode_identity(&again), Ok(held));
    }
}

proptest! {
    #[test]
    fn datagrams_survive_the_wire_and_keep_their_limits(sent in any::datagram()) {
        let bytes = encode_datagram(&sent);
        let got = decode_datagram(&bytes).unwrap();
        prop_assert_eq!(encode_datagram(&got), &bytes[..]);
        match (&sent, &got) {
            (Datagram::Vote(_), _) => {
                prop_assert!(bytes.len() <= MAX_VOTE);
                prop_assert_eq!(got, sent);
            }
            (
                Datagram::Rejected { why: Rejection::WrongCluster { members: all }, .. },
                Datagram::Rejected { why: Rejection::WrongCluster { members: some }, omitted, .. },
            ) => {
                prop_assert!(bytes.len() <= MAX_DATAGRAM);
                let (all, some) = (all.members(), some.members());
                prop_assert_eq!(all.len(), some.len() + *omitted as usize);
                prop_assert!(all.iter().zip(some).all(|(a, b)| a == b));
            }
            _ => prop_assert_eq!(got, sent),
        }
    }

    #[test]
    fn messages_between_nodes_survive_the_wire(sent in any::message()) {
        let bytes = framed(|out| peer::encode(&sent, out));
        let got = peer::decode(&parsed(&bytes, Kind::Peer)).unwrap();
        prop_assert_eq!(&got, &sent);
        prop_assert_eq!(framed(|out| peer::encode(&got, out)), bytes);
    }

    #[test]
    fn requests_survive_the_wire(sent in any::request()) {
        let bytes = framed(|out| client::encode_request(&sent, out));
        let got = client::decode_request(&parsed(&bytes, Kind::Request)).unwrap();
        prop_assert_eq!(&got, &sent);
        prop_assert_eq!(framed(|out| client::encode_request(&got, out)), bytes);
    }

    #[test]
    fn replies_survive_the_wire(sent in any::reply()) {
        let bytes = framed(|out| client::encode_reply(&sent, out));
        let got = client::decode_reply(&parsed(&bytes, Kind::Reply)).unwrap();
        prop_assert_eq!(&got, &sent);
        prop_assert_eq!(framed(|out| client::encode_reply(&got, out)), bytes);
    }

    #[test]
    fn records_survive_the_disk(written in any::record()) {
        let bytes = framed(|out| record::encode(&written, out));
        let got = record::decode(&bytes).unwrap();
        prop_assert_eq!(&got, &written);
        prop_assert_eq!(framed(|out| record::encode(&got, out)), bytes);
    }

    #[test]
    fn segment_heads_and_identities_survive_the_disk(
        head in any::segment_head(),
        identity in any::identity(),
    ) {
        let bytes = framed(|out| record::encode_head(&head, out));
        let got = record::decode_head(&bytes).unwrap();
        prop_assert_eq!(&got, &head);
        prop_assert_eq!(framed(|out| record::encode_head(&got, out)), bytes);
        let bytes = framed(|out| record::encode_identity(identity, out));
        prop_assert_eq!(record::decode_identity(&bytes), Ok(identity));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..300)) {
        check_datagram_bytes(&bytes);
        check_bodies(&bytes);
        for kind in [Kind::Peer, Kind::Request, Kind::Reply] {
            let _ = frame::parse(&bytes, kind, super::LIMIT);
        }
    }

    #[test]
    fn no_nearly_sound_bytes_make_a_decoder_panic(
        bytes in prop_oneof![
            near(any::message().prop_map(|it| body(|out| peer::encode(&it, out)))),
            near(any::request().prop_map(|it| body(|out| client::encode_request(&it, out)))),
            near(any::reply().prop_map(|it| body(|out| client::encode_reply(&it, out)))),
            near(any::record().prop_map(|it| framed(|out| record::encode(&it, out)))),
            near(any::segment_head().prop_map(|it| framed(|out| record::encode_head(&it, out)))),
        ],
    ) {
        check_bodies(&bytes);
    }

    #[test]
    fn no_nearly_sound_datagram_makes_a_decoder_panic(
        content in near(any::datagram().prop_map(|it| encode_datagram(&it)[9..].to_vec())),
    ) {
        let mut bytes = b"Zabk\x01".to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(&content).to_be_bytes());
        bytes.extend_from_slice(&content);
        check_datagram_bytes(&bytes);
    }
}
