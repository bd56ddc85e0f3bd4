//! Log entries on their way out: straight from the core's own type into a buffer, since they are most
//! of what is sent and stored. The bytes are those that prost would write; a test compares.

use crate::convert::node_lives;
#[cfg(test)]
use crate::payloads;
use crate::short::{Short, delimited_len, fixed_len, number_len, txid_len};
use crate::wire;
use prost::encoding::{WireType, encode_key, encode_varint, message, uint64};
use zabkeeper_core::words::Txid;
use zabkeeper_core::zab;
use zabkeeper_core::zab::{Entry, Origin};

/// The entries of a message whose field `tag` repeats them.
#[derive(Clone, Copy)]
pub(crate) struct Entries<'a> {
    pub(crate) tag: u32,
    pub(crate) entries: &'a [Entry],
}

impl Entries<'_> {
    /// How many bytes they take.
    fn len(self) -> usize {
        let lengths = self.entries.iter().map(|entry| delimited_len(entry_len(entry)));
        lengths.sum()
    }

    /// Appends them.
    fn put(self, out: &mut Vec<u8>) {
        for entry in self.entries {
            put_head(self.tag, entry_len(entry), out);
            put_entry(entry, out);
        }
    }
}

/// Appends a message, as field `tag` of another, that holds an epoch as its first field, unless
/// that is 0, and entries.
pub(crate) fn put_message(tag: u32, epoch: u64, entries: Entries<'_>, out: &mut Vec<u8>) {
    let epoch_len = if epoch == 0 { 0 } else { uint64::encoded_len(1, &epoch) };
    let length = epoch_len + entries.len();
    out.reserve(delimited_len(length));
    put_head(tag, length, out);
    if epoch != 0 {
        uint64::encode(1, &epoch, out);
    }
    entries.put(out);
}

/// Appends an `Append`, as field `tag` of another message.
pub(crate) fn put_append(tag: u32, entries: &[Entry], commit: Txid, out: &mut Vec<u8>) {
    let entries = Entries { tag: 1, entries };
    let commit_len = if commit.is_zero() { 0 } else { delimited_len(txid_len(commit)) };
    let length = entries.len() + commit_len;
    out.reserve(delimited_len(length));
    put_head(tag, length, out);
    entries.put(out);
    if commit_len > 0 {
        let mut last = Short::new();
        last.txid(2, commit);
        out.extend_from_slice(last.as_slice());
    }
}

/// Appends the tag and the length of a message of `length` bytes.
fn put_head(tag: u32, length: usize, out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

fn entry_len(entry: &Entry) -> usize {
    let head = delimited_len(txid_len(entry.txid))
        + delimited_len(txid_len(entry.prev))
        + fixed_len(entry.chain.get())
        + number_len(entry.time.as_millis())
        + entry.origin.map_or(0, |origin| delimited_len(origin_len(origin)));
    match &entry.body {
        zab::Body::Command(command) => head + delimited_len(command.len()),
        zab::Body::Membership(membership) => {
            head + message::encoded_len(7, &wire::Membership::from(&**membership))
        }
        zab::Body::Lives(lives) => head + message::encoded_len(8, &node_lives(lives)),
    }
}

fn origin_len(origin: Origin) -> usize {
    fixed_len(origin.boot) + number_len(origin.seq)
}

fn put_entry(entry: &Entry, out: &mut Vec<u8>) {
    let mut head = Short::new();
    head.txid(1, entry.txid);
    head.txid(2, entry.prev);
    head.fixed(3, entry.chain.get());
    head.number(4, entry.time.as_millis());
    if let Some(origin) = entry.origin {
        head.delimited(5, origin_len(origin));
        head.fixed(1, origin.boot);
        head.number(2, origin.seq);
    }
    match &entry.body {
        zab::Body::Command(command) => {
            head.delimited(6, command.len());
            out.extend_from_slice(head.as_slice());
            out.extend_from_slice(command);
        }
        zab::Body::Membership(membership) => {
            out.extend_from_slice(head.as_slice());
            message::encode(7, &wire::Membership::from(&**membership), out);
        }
        zab::Body::Lives(lives) => {
            out.extend_from_slice(head.as_slice());
            message::encode(8, &node_lives(lives), out);
        }
    }
}

/// The entry as a generated struct would hold it.
#[cfg(test)]
fn to_wire(entry: &Entry) -> payloads::Entry {
    use payloads::Body;
    let body = match &entry.body {
        zab::Body::Command(command) => Body::Command(command.clone()),
        zab::Body::Membership(membership) => Body::Membership((&**membership).into()),
        zab::Body::Lives(lives) => Body::Lives(node_lives(lives)),
    };
    payloads::Entry {
        txid: Some(entry.txid.into()),
        prev: Some(entry.prev.into()),
        chain: entry.chain.get(),
        time_ms: entry.time.as_millis(),
        origin: entry.origin.map(wire::Origin::from),
        body: Some(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{self, Kind};
    use crate::{peer, record, strategies};
    use proptest::prelude::*;
    use prost::Message as _;
    use zabkeeper_core::words::{Digest, Epoch, WallTime};
    use zabkeeper_core::zab::{Message, Record};

    fn all(entries: &[Entry]) -> Vec<payloads::Entry> {
        entries.iter().map(to_wire).collect()
    }

    #[test]
    fn the_largest_head_has_room() {
        let last = Txid::new(Epoch::new(u64::MAX), u64::MAX).unwrap();
        let entry = Entry {
            txid: last,
            prev: last,
            time: WallTime::from_millis(u64::MAX),
            origin: Some(Origin { boot: u64::MAX, seq: u64::MAX }),
            body: zab::Body::Command(vec![7; 1 << 21].into()),
            chain: Digest::new(u64::MAX),
        };
        let mut bytes = Vec::new();
        put_entry(&entry, &mut bytes);
        assert_eq!(bytes, to_wire(&entry).encode_to_vec());
        assert_eq!(bytes.len(), entry_len(&entry));
    }

    proptest! {
        #[test]
        fn what_carries_entries_has_the_bytes_that_prost_would_write(
            entries in strategies::entries(),
            epoch in 1..300u64,
            commit in strategies::txid(),
        ) {
            let known = (!commit.is_zero()).then(|| commit.into());
            let append = wire::Append { entries: all(&entries), commit: known };
            let append = wire::Record { record: Some(wire::record::Record::Append(append)) };
            let mut bytes = Vec::new();
            record::encode(&Record::Append { entries: entries.clone(), commit }, &mut bytes);
            prop_assert_eq!(bytes, append.encode_to_vec());

            let log = wire::LogEntries { entries: all(&entries) };
            let log = (Message::LogEntries { entries: entries.clone() },
                wire::peer_message::Message::LogEntries(log));
            let propose = wire::Propose { epoch, entries: all(&entries) };
            let propose = (Message::Propose { epoch: Epoch::new(epoch), entries },
                wire::peer_message::Message::Propose(propose));
            for (message, wire) in [log, propose] {
                let (mut bytes, mut expected) = (Vec::new(), Vec::new());
                peer::encode(&message, &mut bytes);
                let wire = wire::PeerMessage { message: Some(wire) };
                frame::write(&mut expected, Kind::Peer, &wire);
                prop_assert_eq!(bytes, expected);
            }
        }
    }
}
