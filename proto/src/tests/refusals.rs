//! Protobuf that is sound but says something that cannot be: each is refused by its own error.

use super::{framed, parsed};
use crate::frame::{self, Kind};
use crate::{DecodeError, client, payloads, peer, record, wire};
use prost::Message as _;
use zabkeeper_core::store::PathError;
use zabkeeper_core::zab::Message;

const TXID: wire::Txid = wire::Txid { epoch: 1, counter: 1 };
const NONE: wire::Txid = wire::Txid { epoch: 0, counter: 0 };

fn peer(message: wire::peer_message::Message) -> DecodeError {
    let message = wire::PeerMessage { message: Some(message) };
    let bytes = framed(|out| frame::write(out, Kind::Peer, &message));
    peer::decode(&parsed(&bytes, Kind::Peer)).unwrap_err()
}

fn request(op: Option<wire::client_request::Op>) -> DecodeError {
    let request = wire::ClientRequest { id: 7, timeout_ms: 1, op };
    let bytes = framed(|out| frame::write(out, Kind::Request, &request));
    let frame = parsed(&bytes, Kind::Request);
    assert_eq!(client::request_id(&frame), Some(7));
    client::decode_request(&frame).unwrap_err()
}

fn reply(result: wire::client_reply::Result) -> DecodeError {
    let reply = wire::ClientReply { id: 7, result: Some(result) };
    let bytes = framed(|out| frame::write(out, Kind::Reply, &reply));
    client::decode_reply(&parsed(&bytes, Kind::Reply)).unwrap_err()
}

fn member(node: u32) -> wire::Member {
    wire::Member { node, ..wire::Member::default() }
}

fn truncate(txid: Option<wire::Txid>, chain: u64) -> DecodeError {
    peer(wire::peer_message::Message::Truncate(wire::Position { txid, chain }))
}

fn membership(members: Vec<wire::Member>, version: Option<wire::Txid>) -> DecodeError {
    let rejection = wire::Rejection {
        why: Some(wire::rejection::Why::WrongCluster(wire::Membership { version, members })),
    };
    peer(wire::peer_message::Message::Rejected(rejection))
}

fn entry(change: impl FnOnce(&mut payloads::Entry)) -> DecodeError {
    let mut entry = payloads::Entry {
        txid: Some(TXID),
        prev: Some(NONE),
        body: Some(payloads::Body::Command(b"x".as_slice().into())),
        ..payloads::Entry::default()
    };
    change(&mut entry);
    peer(wire::peer_message::Message::LogEntries(wire::LogEntries { entries: vec![entry] }))
}

#[test]
fn a_missing_oneof_is_refused() {
    let bytes = framed(|out| frame::write(out, Kind::Peer, &wire::PeerMessage::default()));
    let empty = peer::decode(&parsed(&bytes, Kind::Peer));
    assert_eq!(empty, Err(DecodeError::Missing("message")));
    assert_eq!(request(None), DecodeError::Missing("request.op"));
    assert_eq!(record::decode(b""), Err(DecodeError::Missing("record")));
    let write = wire::client_request::Op::Write(wire::Write { command: None });
    assert_eq!(request(Some(write)), DecodeError::Missing("write.command"));
    let missing = entry(|entry| entry.body = None);
    assert_eq!(missing, DecodeError::Missing("entry.body"));
}

#[test]
fn a_missing_part_is_refused() {
    assert_eq!(truncate(None, 0), DecodeError::Missing("position.txid"));
    let read = wire::client_request::Op::Read(wire::Read {
        level: None,
        query: Some(wire::read::Query::Get(wire::Get::default())),
    });
    assert_eq!(request(Some(read)), DecodeError::Missing("read.level"));
    let head = record::decode_head(b"");
    assert_eq!(head, Err(DecodeError::Missing("head.identity")));
}

#[test]
fn half_a_txid_is_refused() {
    for (epoch, counter) in [(0, 1), (1, 0)] {
        let half = Some(wire::Txid { epoch, counter });
        assert_eq!(truncate(half, 0), DecodeError::Invalid("txid"));
    }
}

#[test]
fn a_digest_of_no_history_is_refused() {
    let error = truncate(Some(NONE), 5);
    assert_eq!(error, DecodeError::Invalid("position.chain"));
}

#[test]
fn ids_that_name_nothing_are_refused() {
    let node = record::decode_identity(b"");
    assert_eq!(node, Err(DecodeError::Invalid("identity.node")));
    let pong = peer(wire::peer_message::Message::Pong(wire::Pong::default()));
    assert_eq!(pong, DecodeError::Invalid("pong.epoch"));
    let unnamed = entry(|entry| entry.txid = Some(NONE));
    assert_eq!(unnamed, DecodeError::Invalid("entry.txid"));
    let written =
        wire::client_reply::Result::Written(wire::Written { txid: Some(NONE), outcome: None });
    assert_eq!(reply(written), DecodeError::Invalid("written.txid"));
    let commit = wire::Record { record: Some(wire::record::Record::Commit(NONE)) };
    let commit = record::decode(&commit.encode_to_vec());
    assert_eq!(commit, Err(DecodeError::Invalid("commit")));
}

#[test]
fn unknown_numbers_are_refused() {
    for value in [0, 9, -1] {
        let refused = reply(wire::client_reply::Result::Refused(value));
        let field = "refuse reason";
        assert_eq!(refused, DecodeError::Unknown { field, value });
    }
    for value in [0, 8, i32::MAX] {
        let written = wire::client_reply::Result::Written(wire::Written {
            txid: Some(TXID),
            outcome: Some(wire::written::Outcome::Error(value)),
        });
        let field = "command error";
        assert_eq!(reply(written), DecodeError::Unknown { field, value });
    }
}

#[test]
fn a_membership_is_a_strictly_ascending_list_of_somebody() {
    // Only a rejection may leave the list out.
    let empty = entry(|entry| {
        let (version, members) = (Some(TXID), vec![]);
        entry.body = Some(payloads::Body::Membership(wire::Membership { version, members }));
    });
    assert_eq!(empty, DecodeError::Missing("membership.members"));
    for ids in [[2, 1], [1, 1]] {
        let error = membership(ids.map(member).into(), Some(TXID));
        let order = DecodeError::Invalid("membership.members: their order");
        assert_eq!(error, order);
    }
    let nobody = membership(vec![member(0)], Some(TXID));
    assert_eq!(nobody, DecodeError::Invalid("member.node"));
    let unnamed = membership(vec![member(1)], None);
    assert_eq!(unnamed, DecodeError::Missing("membership.version"));
}

#[test]
fn a_membership_entry_has_its_own_txid_as_version() {
    let error = entry(|entry| {
        entry.body = Some(payloads::Body::Membership(wire::Membership {
            version: Some(wire::Txid { epoch: 1, counter: 2 }),
            members: vec![member(1)],
        }));
    });
    assert_eq!(error, DecodeError::Invalid("entry.membership.version"));
}

#[test]
fn recorded_lives_are_a_strictly_ascending_list_of_somebody() {
    let lives = |nodes: &[u32]| {
        let one = |node: &u32| wire::NodeLife { node: *node, life: 7 };
        let lives = nodes.iter().map(one).collect();
        entry(|entry| entry.body = Some(payloads::Body::Lives(wire::NodeLives { lives })))
    };
    assert_eq!(lives(&[]), DecodeError::Missing("entry.lives"));
    assert_eq!(lives(&[0]), DecodeError::Invalid("entry.lives.node"));
    assert_eq!(lives(&[2, 2]), DecodeError::Invalid("entry.lives: their order"));
}

#[test]
fn a_disk_tells_a_thousand_lives_and_no_more() {
    let kept = zabkeeper_core::zab::Lives::KEPT;
    let begin = |count| {
        let lives = wire::Lives { recorded: None, drawn: vec![7; count] };
        let begin = wire::Record { record: Some(wire::record::Record::Begin(lives)) };
        record::decode(&begin.encode_to_vec())
    };
    assert!(begin(kept).is_ok());
    assert_eq!(begin(kept + 1), Err(DecodeError::Invalid("lives.drawn: too many")));
}

#[test]
fn versions_are_a_range() {
    let rejection = wire::Rejection {
        why: Some(wire::rejection::Why::Version(wire::Versions { oldest: 2, newest: 1 })),
    };
    let error = peer(wire::peer_message::Message::Rejected(rejection));
    assert_eq!(error, DecodeError::Invalid("versions"));
}

#[test]
fn texts_that_are_no_keys_are_refused() {
    for (text, why) in
        [("a//b", PathError::EmptySegment), ("../b", PathError::Dots), ("a\0b", PathError::Nul)]
    {
        let set = wire::Set { path: text.to_owned(), value: "v".into() };
        let write = wire::client_request::Op::Write(wire::Write {
            command: Some(wire::write::Command::Set(set)),
        });
        assert_eq!(request(Some(write)), DecodeError::Path(why));
    }
}

/// A frame between nodes with these bytes as its body, read.
fn read(body: &[u8]) -> Result<Message, DecodeError> {
    let bytes = framed(|out| {
        let begun = frame::begin(out, Kind::Peer);
        out.extend_from_slice(body);
        frame::finish(out, begun);
    });
    peer::decode(&parsed(&bytes, Kind::Peer))
}

#[test]
fn an_unknown_field_is_skipped_and_an_unknown_message_refused() {
    // Field 1000 with one byte: what a later release may add.
    let later = [0xc2, 0x3e, 0x01, b'x'];
    // READ-INDEX is field 22, here of six bytes: id 7 and the unknown field.
    let known = [&[0xb2, 0x01, 0x06, 0x08, 0x07][..], &later].concat();
    assert_eq!(read(&known), Ok(Message::ReadIndex { id: 7 }));
    assert_eq!(read(&later), Err(DecodeError::Missing("message")));
}
