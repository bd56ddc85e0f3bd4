//! The worked example in `docs/wire.md` is what this crate writes and reads.

use super::framed;
use crate::client::{self, ClientReply, ClientRequest};
use crate::frame::{self, Kind};
use zabkeeper_core::store::{Answer, Command, Op, Path, Stat};
use zabkeeper_core::words::{End, Epoch, Txid, WallTime};

/// The bytes of the fenced block that follows `heading` in the document. Each line is hex, then
/// two spaces and a remark.
fn block(heading: &str) -> Vec<u8> {
    let document = include_str!("../../../docs/wire.md");
    let (_, rest) = document.split_once(heading).expect("the heading");
    let (_, rest) = rest.split_once("```text\n").expect("a block");
    let (block, _) = rest.split_once("```").expect("its end");
    block
        .lines()
        .flat_map(|line| line.split("  ").next().unwrap().split(' '))
        .map(|byte| u8::from_str_radix(byte, 16).expect("hex"))
        .collect()
}

#[test]
fn the_request_in_the_document_is_a_set_of_answer() {
    let request = ClientRequest {
        id: 1,
        timeout_ms: 5000,
        op: Op::Write(Command::Set {
            path: Path::parse("answer").unwrap(),
            value: b"42".as_slice().into(),
        }),
    };
    let documented = block("### The request");
    let written = framed(|out| client::encode_request(&request, out));
    assert_eq!(documented, written, "now: {}", hex(&written));
    let found = frame::parse(&documented, Kind::Request, frame::MAX_REQUEST_BODY);
    let found = found.unwrap().expect("a whole frame");
    assert_eq!(client::decode_request(&found), Ok(request));
}

#[test]
fn the_reply_in_the_document_says_written() {
    let txid = Txid::new(Epoch::new(3), 17).unwrap();
    let time = WallTime::from_millis(1_800_000_000_000);
    let reply = ClientReply {
        id: 1,
        end: End::Done {
            txid,
            answer: Answer::Written(Ok(Stat {
                created: txid,
                modified: txid,
                created_at: time,
                modified_at: time,
                ..Stat::default()
            })),
        },
    };
    let documented = block("### The reply");
    let written = framed(|out| client::encode_reply(&reply, out));
    assert_eq!(documented, written, "now: {}", hex(&written));
    let found = frame::parse(&documented, Kind::Reply, frame::MAX_REPLY_BODY);
    let found = found.unwrap().expect("a whole frame");
    assert_eq!(client::decode_reply(&found), Ok(reply));
}

fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}
