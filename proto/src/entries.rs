//! Log entries on their way out: straight from the core's own type into a buffer. They are most of
//! what is sent and stored, and the messages that carry them are the only ones whose encoding does
//! not go through the generated structs. The bytes are those that prost would write for these; a
//! test compares.

#[cfg(test)]
use crate::payloads;
use crate::wire;
use prost::encoding::{
    WireType, encode_key, encode_varint, encoded_len_varint, key_len, message, uint64,
};
use zabkeeper_core::entry::{self, Entry, Origin};
use zabkeeper_core::ids::Txid;

/// The entries of a message whose field `tag` repeats them.
#[derive(Clone, Copy)]
pub(crate) struct Entries<'a> {
    pub(crate) tag: u32,
    pub(crate) entries: &'a [Entry],
}

impl Entries<'_> {
    /// How many bytes they take.
    fn len(self) -> usize {
        let lengths = self.entries.iter().map(|entry| delimited_len(self.tag, entry_len(entry)));
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
    out.reserve(delimited_len(tag, length));
    put_head(tag, length, out);
    if epoch != 0 {
        uint64::encode(1, &epoch, out);
    }
    entries.put(out);
}

/// Appends the tag and the length of a message of `length` bytes.
fn put_head(tag: u32, length: usize, out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

/// Bytes that a message of `length` bytes takes as field `tag`.
fn delimited_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

fn entry_len(entry: &Entry) -> usize {
    let head = delimited_len(1, txid_len(entry.txid))
        + delimited_len(2, txid_len(entry.prev))
        + fixed_len(entry.chain.get())
        + number_len(entry.time.as_millis())
        + entry.origin.map_or(0, |origin| delimited_len(5, origin_len(origin)));
    match &entry.body {
        entry::Body::Command(command) => head + delimited_len(6, command.len()),
        entry::Body::Membership(membership) => {
            head + message::encoded_len(7, &wire::Membership::from(&**membership))
        }
    }
}

fn put_entry(entry: &Entry, out: &mut Vec<u8>) {
    let mut head = Head::default();
    for (tag, txid) in [(1, entry.txid), (2, entry.prev)] {
        head.delimited(tag, txid_len(txid));
        head.number(1, txid.epoch().get());
        head.number(2, txid.counter());
    }
    head.fixed(3, entry.chain.get());
    head.number(4, entry.time.as_millis());
    if let Some(origin) = entry.origin {
        head.delimited(5, origin_len(origin));
        head.fixed(1, origin.boot);
        head.number(2, origin.seq);
    }
    match &entry.body {
        entry::Body::Command(command) => {
            head.delimited(6, command.len());
            out.extend_from_slice(head.as_slice());
            out.extend_from_slice(command);
        }
        entry::Body::Membership(membership) => {
            out.extend_from_slice(head.as_slice());
            message::encode(7, &wire::Membership::from(&**membership), out);
        }
    }
}

fn txid_len(txid: Txid) -> usize {
    number_len(txid.epoch().get()) + number_len(txid.counter())
}

fn origin_len(origin: Origin) -> usize {
    fixed_len(origin.boot) + number_len(origin.seq)
}

/// Bytes of a number as a field of eight bytes; zero is left out.
fn fixed_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + size_of::<u64>() }
}

/// Bytes of a number as a field with a tag below 16; zero is left out.
fn number_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + encoded_len_varint(value) }
}

/// What comes before an entry's body, in a place of fixed size: small numbers byte by byte into a
/// vector, which looks each time whether it has to grow, would take longer than the body.
struct Head {
    bytes: [u8; Self::ROOM],
    len: usize,
}

impl Head {
    /// Two txids, the chain, the time, the origin, and the key and length of the body, each at its
    /// largest.
    const ROOM: usize = 2 * 24 + 9 + 11 + 22 + 11;

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn byte(&mut self, byte: u8) {
        let Some(place) = self.bytes.get_mut(self.len) else {
            unreachable!("there is room for the largest head");
        };
        *place = byte;
        self.len += 1;
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    /// The key of a field with a tag below 16.
    fn key(&mut self, tag: u8, wire_type: WireType) {
        self.byte(tag << 3 | wire_type as u8);
    }

    fn number(&mut self, tag: u8, value: u64) {
        if value != 0 {
            self.key(tag, WireType::Varint);
            self.varint(value);
        }
    }

    fn fixed(&mut self, tag: u8, value: u64) {
        if value != 0 {
            self.key(tag, WireType::SixtyFourBit);
            value.to_le_bytes().into_iter().for_each(|byte| self.byte(byte));
        }
    }

    /// The key and the length of a field that follows.
    fn delimited(&mut self, tag: u8, length: usize) {
        self.key(tag, WireType::LengthDelimited);
        self.varint(length as u64);
    }
}

impl Default for Head {
    fn default() -> Self {
        Self { bytes: [0; Self::ROOM], len: 0 }
    }
}

/// The entry as a generated struct would hold it.
#[cfg(test)]
fn to_wire(entry: &Entry) -> payloads::Entry {
    use payloads::Body;
    let body = match &entry.body {
        entry::Body::Command(command) => Body::Command(command.clone()),
        entry::Body::Membership(membership) => Body::Membership((&**membership).into()),
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
    use crate::strategies;
    use crate::{peer, record};
    use proptest::prelude::*;
    use prost::Message as _;
    use zabkeeper_core::digest::Digest;
    use zabkeeper_core::ids::Epoch;
    use zabkeeper_core::message::Message;
    use zabkeeper_core::storage::Record;
    use zabkeeper_core::time::WallTime;

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
            body: entry::Body::Command(vec![7; 1 << 21].into()),
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
        ) {
            let append = wire::Append { entries: all(&entries) };
            let append = wire::Record { record: Some(wire::record::Record::Append(append)) };
            let mut bytes = Vec::new();
            record::encode(&Record::Append(entries.clone()), &mut bytes);
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
