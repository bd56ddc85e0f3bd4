//! The hot messages between nodes, proposals and forwarded requests, read straight out of a frame: what
//! is kept of an entry is one allocation, that of its command. Whatever has another form than this
//! project's nodes send, or an entry that is no command, is left to prost; a test compares.

use crate::fields::Fields;
use zabkeeper_core::words::{Digest, Epoch, WallTime};
use zabkeeper_core::zab::{Body, Entry, Forwarded, Message, Origin};

/// The message, if it is one of these two and good.
pub(crate) fn read(body: &[u8]) -> Option<Message> {
    let mut fields = Fields(body);
    let message = match fields.bytes(15)? {
        Some(propose) => read_propose(propose)?,
        None => Message::Forward { requests: all(Fields(fields.bytes(20)??), 1, forwarded)? },
    };
    fields.end(message)
}

fn read_propose(bytes: &[u8]) -> Option<Message> {
    let mut fields = Fields(bytes);
    let epoch = fields.number(1).filter(|epoch| *epoch != 0)?;
    Some(Message::Propose { epoch: Epoch::new(epoch), entries: all(fields, 2, entry)? })
}

/// What this field repeats, up to the end.
fn all<T>(mut fields: Fields<'_>, tag: u8, read: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<T>> {
    let mut list = Vec::new();
    while let Some(element) = fields.bytes(tag)? {
        list.push(read(element)?);
    }
    fields.end(list)
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    let mut fields = Fields(bytes);
    let txid = Fields::txid(fields.bytes(1)??).filter(|txid| !txid.is_zero())?;
    let prev = Fields::txid(fields.bytes(2)??)?;
    let chain = Digest::new(fields.fixed(3)?);
    let time = WallTime::from_millis(fields.number(4)?);
    let origin = match fields.bytes(5)? {
        Some(origin) => Some(read_origin(origin)?),
        None => None,
    };
    let body = Body::Command(fields.bytes(6)??.into());
    fields.end(Entry { txid, prev, time, origin, body, chain })
}

fn forwarded(bytes: &[u8]) -> Option<Forwarded> {
    let mut fields = Fields(bytes);
    let origin = read_origin(fields.bytes(1)??)?;
    let body = fields.bytes(2)?.unwrap_or_default().into();
    fields.end(Forwarded { origin, body })
}

fn read_origin(bytes: &[u8]) -> Option<Origin> {
    let mut fields = Fields(bytes);
    let (boot, seq) = (fields.fixed(1)?, fields.number(2)?);
    fields.end(Origin { boot, seq })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{self, Kind};
    use crate::{peer, strategies, wire};
    use proptest::prelude::*;
    use prost::Message as _;

    fn by_prost(bytes: &[u8]) -> Option<Message> {
        wire::PeerMessage::decode(bytes).ok()?.message?.try_into().ok()
    }

    fn encoded(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        peer::encode(message, &mut bytes);
        let frame = frame::parse(&bytes, Kind::Peer, frame::MAX_PEER_BODY).unwrap().unwrap();
        frame.body().to_vec()
    }

    /// The two messages, of commands alone.
    fn hot() -> impl Strategy<Value = Message> {
        let entries = prop::collection::vec(strategies::entry(), 0..4).prop_map(|mut entries| {
            entries.retain(|entry| matches!(entry.body, Body::Command(_)));
            entries
        });
        let forwarded = (strategies::origin(), strategies::payload())
            .prop_map(|(origin, body)| Forwarded { origin, body });
        prop_oneof![
            (1..300u64, entries).prop_map(|(epoch, entries)| Message::Propose {
                epoch: Epoch::new(epoch),
                entries
            }),
            prop::collection::vec(forwarded, 0..4)
                .prop_map(|requests| Message::Forward { requests }),
        ]
    }

    fn compare(bytes: &[u8]) -> Result<(), TestCaseError> {
        let short = read(bytes);
        prop_assert!(short.is_none() || short == by_prost(bytes));
        Ok(())
    }

    proptest! {
        #[test]
        fn hot_messages_of_this_project_do_not_need_prost(message in hot()) {
            prop_assert_eq!(read(&encoded(&message)), Some(message));
        }

        #[test]
        fn what_is_read_is_what_prost_reads(message in strategies::message()) {
            compare(&encoded(&message))?;
        }

        #[test]
        fn any_bytes_are_read_as_prost_reads_them_or_left_to_it(
            message in prop_oneof![hot().boxed(), strategies::message()],
            at in any::<prop::sample::Index>(),
            change in prop::collection::vec(any::<u8>(), 0..6),
        ) {
            let bytes = strategies::damaged(encoded(&message), at, change);
            compare(&bytes)?;
        }
    }
}
