//! The two hot replies, a write that was done and a node that was read, straight from the core's own
//! types into a buffer. The bytes are those that prost would write; a test compares.

use crate::short::{Short, delimited_len, txid_len};
use zabkeeper_core::store::{Found, Stat};
use zabkeeper_core::words::Txid;

/// Appends the reply that a write was done.
pub(crate) fn put_written(id: u64, txid: Txid, stat: &Stat, out: &mut Vec<u8>) {
    let stat = short(stat);
    let stat = stat.as_slice();
    let mut head = Short::new();
    head.number(1, id);
    head.delimited(10, delimited_len(txid_len(txid)) + delimited_len(stat.len()));
    head.txid(1, txid);
    head.delimited(2, stat.len());
    out.extend_from_slice(head.as_slice());
    out.extend_from_slice(stat);
}

/// Appends the reply that a node was found.
pub(crate) fn put_found(id: u64, applied: Txid, found: &Found, out: &mut Vec<u8>) {
    let stat = short(&found.stat);
    let stat = stat.as_slice();
    let path = found.path.as_str().as_bytes();
    let path_len = if path.is_empty() { 0 } else { delimited_len(path.len()) };
    let value_len = found.value.as_ref().map_or(0, |value| delimited_len(value.len()));
    let node = path_len + value_len + delimited_len(stat.len());
    let mut head = Short::new();
    head.number(1, id);
    head.delimited(11, delimited_len(txid_len(applied)) + delimited_len(node));
    head.txid(1, applied);
    head.delimited(2, node);
    out.extend_from_slice(head.as_slice());
    if !path.is_empty() {
        put(1, path, out);
    }
    if let Some(value) = &found.value {
        put(2, value, out);
    }
    put(3, stat, out);
}

/// Appends a field of bytes.
fn put(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    let mut head = Short::new();
    head.delimited(tag, bytes.len());
    out.extend_from_slice(head.as_slice());
    out.extend_from_slice(bytes);
}

fn short(stat: &Stat) -> Short {
    let mut out = Short::new();
    out.txid(1, stat.created);
    out.txid(2, stat.modified);
    out.number(3, stat.created_at.as_millis());
    out.number(4, stat.modified_at.as_millis());
    out.number(5, stat.version);
    out.number(6, stat.children_version);
    out.txid(7, stat.children_changed);
    out.number(8, stat.children);
    out
}

#[cfg(test)]
mod tests {
    use crate::client::{ClientReply, encode_reply};
    use crate::frame::{self, Kind};
    use crate::{strategies, wire};
    use proptest::prelude::*;
    use zabkeeper_core::store::{Answer, Found, Path, Stat};
    use zabkeeper_core::words::{End, Epoch, Txid, WallTime};

    fn compare(reply: &ClientReply) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        encode_reply(reply, &mut bytes);
        frame::write(&mut expected, Kind::Reply, &wire::ClientReply::from(reply));
        assert_eq!(bytes, expected, "{reply:?}");
    }

    #[test]
    fn the_largest_numbers_have_room() {
        let last = Txid::new(Epoch::new(u64::MAX), u64::MAX).unwrap();
        let time = WallTime::from_millis(u64::MAX);
        let stat = Stat {
            created: last,
            modified: last,
            created_at: time,
            modified_at: time,
            version: u64::MAX,
            children_version: u64::MAX,
            children_changed: last,
            children: u64::MAX,
        };
        let id = u64::MAX;
        compare(&ClientReply {
            id,
            end: End::Done { txid: last, answer: Answer::Written(Ok(stat)) },
        });
        for (path, size) in [("", 0), ("a", 1), (&*"a".repeat(4096), 1 << 20)] {
            let value = vec![7; size].into();
            let found = Found { path: Path::parse(path).unwrap(), value: Some(value), stat };
            let answer = Answer::Node(Some(found));
            compare(&ClientReply { id, end: End::Done { txid: last, answer } });
        }
    }

    proptest! {
        #[test]
        fn replies_have_the_bytes_that_prost_would_write(reply in strategies::reply()) {
            compare(&reply);
        }
    }
}
