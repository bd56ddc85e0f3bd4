//! Frames: cut anywhere, changed anywhere, too long, of another kind or version; and datagrams,
//! whose few bytes of header do the same job.

use super::{LIMIT, framed, parsed};
use crate::error::FrameError;
use crate::frame::{self, HEADER, Kind};
use crate::{
    Datagram, DecodeError, MAX_DATAGRAM, decode_datagram, encode_datagram, peer, strategies as any,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use zabkeeper_core::words::{Incarnation, NodeId, Txid};
use zabkeeper_core::zab::{Member, Membership, Message, Rejection};

fn sample() -> Vec<u8> {
    framed(|out| peer::encode(&Message::ReadIndex { id: 300 }, out))
}

fn parse(bytes: &[u8]) -> Result<Option<frame::Frame<'_>>, FrameError> {
    frame::parse(bytes, Kind::Peer, LIMIT)
}

#[test]
fn a_frame_is_found_only_when_all_of_it_is_there() {
    let bytes = sample();
    for len in 0..bytes.len() {
        assert_eq!(parse(&bytes[..len]), Ok(None), "{len} bytes");
        let missing = frame::missing(&bytes[..len], Kind::Peer, LIMIT).unwrap();
        let until = if len < HEADER { HEADER } else { bytes.len() };
        assert_eq!(missing, until - len);
    }
    assert_eq!(parsed(&bytes, Kind::Peer).consumed(), bytes.len());
    assert_eq!(frame::missing(&bytes, Kind::Peer, LIMIT), Ok(0));
}

#[test]
fn frames_follow_each_other_in_one_buffer() {
    let messages: Vec<Message> = (0..5).map(|id| Message::ReadIndex { id: id * 1000 }).collect();
    let bytes = framed(|out| messages.iter().for_each(|message| peer::encode(message, out)));
    let mut rest = &bytes[..];
    for message in &messages {
        let frame = parsed(rest, Kind::Peer);
        assert_eq!(peer::decode(&frame).as_ref(), Ok(message));
        rest = &rest[frame.consumed()..];
    }
    assert!(rest.is_empty());
}

#[test]
fn a_frame_that_says_it_is_too_long_fails_on_its_header_alone() {
    for len in [LIMIT as u32 + 1, u32::MAX] {
        let mut header = sample();
        header.truncate(HEADER);
        header[..4].copy_from_slice(&len.to_be_bytes());
        let error = FrameError::TooLong { len: len as usize, limit: LIMIT };
        assert_eq!(parse(&header), Err(error));
        assert_eq!(frame::missing(&header, Kind::Peer, LIMIT), Err(error));
    }
    let exact = framed(|out| {
        let begun = frame::begin(out, Kind::Peer);
        out.resize(HEADER + LIMIT, 7);
        frame::finish(out, begun);
    });
    assert_eq!(parsed(&exact, Kind::Peer).body().len(), LIMIT);
}

#[test]
fn other_versions_and_kinds_are_named() {
    let mut other = sample();
    other[4] = 9;
    assert_eq!(parse(&other), Err(FrameError::Version(9)));
    let bytes = sample();
    let error = frame::parse(&bytes, Kind::Reply, LIMIT).unwrap_err();
    let expected = Kind::Reply;
    assert_eq!(error, FrameError::Kind { got: 1, expected });
    assert!(error.to_string().contains("right port"));
}

#[test]
fn what_other_programs_send_is_no_frame() {
    for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.6\r\n", &[0; 64]] {
        assert!(parse(other).is_err());
    }
}

#[test]
fn datagrams_of_other_protocols_and_versions_are_told_apart() {
    assert_eq!(decode_datagram(b""), Err(DecodeError::Short(0)));
    assert_eq!(decode_datagram(b"Zabk\x01"), Err(DecodeError::Short(5)));
    assert_eq!(decode_datagram(b"\0\0\0\0\x01...."), Err(DecodeError::Magic));
    assert_eq!(decode_datagram(b"Zabk\x02...."), Err(DecodeError::Version(2)));
    assert_eq!(decode_datagram(b"Zabk\x01...."), Err(DecodeError::Checksum));
    let limit = MAX_DATAGRAM;
    let len = limit + 1;
    let long = vec![0; len];
    assert_eq!(decode_datagram(&long), Err(DecodeError::TooLong { len, limit }));
}

#[test]
fn a_list_of_members_that_does_not_fit_a_datagram_is_cut_at_its_end_and_says_so() {
    let member = |id: u32| Member {
        voter: true,
        incarnation: Some(Incarnation::new(u64::MAX)),
        life: None,
        election_addr: format!("node-{id}.election.of.a.long.domain.example:{}", 50_000 + id),
        message_addr: format!("node-{id}.messages.of.a.long.domain.example:{}", 60_000 + id),
    };
    let all: BTreeMap<_, _> = (1..=30).map(|id| (NodeId::new(id), member(id))).collect();
    let members = Arc::new(Membership::new(Txid::ZERO, all.clone()));
    let bytes = encode_datagram(&Datagram::Rejected {
        from: NodeId::new(1),
        cluster: members.cluster_id(),
        why: Rejection::WrongCluster { members },
        omitted: 0,
    });
    assert!(bytes.len() <= MAX_DATAGRAM && bytes.len() > MAX_DATAGRAM - 150);
    let Ok(Datagram::Rejected { why, omitted, .. }) = decode_datagram(&bytes) else {
        panic!("not the rejection");
    };
    let Rejection::WrongCluster { members } = why else {
        panic!("not the reason");
    };
    let some = members.members();
    assert_eq!(some.len() + omitted as usize, all.len());
    assert!(some.iter().eq(all.iter().take(some.len())));
}

proptest! {
    #[test]
    fn a_flipped_bit_never_passes_for_a_frame(
        message in any::message(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut bytes = framed(|out| peer::encode(&message, out));
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        // A greater length within the limit only means that more bytes are waited for; whatever
        // they are, the checksum then covers them too.
        match parse(&bytes) {
            Ok(None) => prop_assert!(bit < 32),
            found => prop_assert!(found.is_err()),
        }
        bytes.resize(HEADER + LIMIT, 0);
        prop_assert!(parse(&bytes).is_err());
    }

    #[test]
    fn a_flipped_bit_never_passes_for_a_datagram(
        datagram in any::datagram(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode_datagram(&datagram);
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode_datagram(&bytes).is_err());
    }
}
