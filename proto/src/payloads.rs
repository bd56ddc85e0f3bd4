//! The two hottest messages, `Entry` and `Forwarded`, encoded by hand: the bytes are those that prost
//! would write and read, which a test compares, but the payload goes between the buffer and the
//! core's own type at once, without a copy or an allocation in between.

use crate::wire::{Membership, NodeLives, Origin, Txid};
use bytes::{Buf, BufMut};
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType, fixed64, message, skip_field, uint64};
use zabkeeper_core::words::Payload;

/// `Entry` of `common.proto`.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) txid: Option<Txid>,
    pub(crate) prev: Option<Txid>,
    pub(crate) chain: u64,
    pub(crate) time_ms: u64,
    pub(crate) origin: Option<Origin>,
    pub(crate) body: Option<Body>,
}

/// What an entry does.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Body {
    Command(Payload),
    Membership(Membership),
    Lives(NodeLives),
}

/// `Forwarded` of `peer.proto`. No body is an empty one.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Forwarded {
    pub(crate) origin: Option<Origin>,
    pub(crate) body: Option<Payload>,
}

impl prost::Message for Entry {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        put_message(1, self.txid.as_ref(), buf);
        put_message(2, self.prev.as_ref(), buf);
        if self.chain != 0 {
            fixed64::encode(3, &self.chain, buf);
        }
        if self.time_ms != 0 {
            uint64::encode(4, &self.time_ms, buf);
        }
        put_message(5, self.origin.as_ref(), buf);
        match &self.body {
            Some(Body::Command(command)) => put_payload(6, command, buf),
            Some(Body::Membership(membership)) => message::encode(7, membership, buf),
            Some(Body::Lives(lives)) => message::encode(8, lives, buf),
            None => {}
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => message::merge(wire_type, self.txid.get_or_insert_default(), buf, ctx),
            2 => message::merge(wire_type, self.prev.get_or_insert_default(), buf, ctx),
            3 => fixed64::merge(wire_type, &mut self.chain, buf, ctx),
            4 => uint64::merge(wire_type, &mut self.time_ms, buf, ctx),
            5 => message::merge(wire_type, self.origin.get_or_insert_default(), buf, ctx),
            6 => {
                self.body = Some(Body::Command(take_payload(wire_type, buf)?));
                Ok(())
            }
            7 => {
                // A second one adds to the first, if nothing else came in between.
                let mut membership = match self.body.take() {
                    Some(Body::Membership(membership)) => membership,
                    _ => Membership::default(),
                };
                message::merge(wire_type, &mut membership, buf, ctx)?;
                self.body = Some(Body::Membership(membership));
                Ok(())
            }
            8 => {
                let mut lives = match self.body.take() {
                    Some(Body::Lives(lives)) => lives,
                    _ => NodeLives::default(),
                };
                message::merge(wire_type, &mut lives, buf, ctx)?;
                self.body = Some(Body::Lives(lives));
                Ok(())
            }
            _ => skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let number = |value: u64, size: usize| if value == 0 { 0 } else { size };
        let body = match &self.body {
            Some(Body::Command(command)) => payload_len(6, command),
            Some(Body::Membership(membership)) => message::encoded_len(7, membership),
            Some(Body::Lives(lives)) => message::encoded_len(8, lives),
            None => 0,
        };
        message_len(1, self.txid.as_ref())
            + message_len(2, self.prev.as_ref())
            + number(self.chain, fixed64::encoded_len(3, &self.chain))
            + number(self.time_ms, uint64::encoded_len(4, &self.time_ms))
            + message_len(5, self.origin.as_ref())
            + body
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl prost::Message for Forwarded {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        put_message(1, self.origin.as_ref(), buf);
        if let Some(body) = self.body.as_ref().filter(|body| !body.is_empty()) {
            put_payload(2, body, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => message::merge(wire_type, self.origin.get_or_insert_default(), buf, ctx),
            2 => {
                self.body = Some(take_payload(wire_type, buf)?);
                Ok(())
            }
            _ => skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let body = self.body.as_ref().filter(|body| !body.is_empty());
        message_len(1, self.origin.as_ref()) + body.map_or(0, |body| payload_len(2, body))
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

fn put_message(tag: u32, part: Option<&impl prost::Message>, buf: &mut impl BufMut) {
    if let Some(part) = part {
        message::encode(tag, part, buf);
    }
}

fn message_len(tag: u32, part: Option<&impl prost::Message>) -> usize {
    part.map_or(0, |part| message::encoded_len(tag, part))
}

fn put_payload(tag: u32, payload: &Payload, buf: &mut impl BufMut) {
    encoding::encode_key(tag, WireType::LengthDelimited, buf);
    encoding::encode_varint(payload.len() as u64, buf);
    buf.put_slice(payload);
}

fn payload_len(tag: u32, payload: &Payload) -> usize {
    let length = payload.len();
    encoding::key_len(tag) + encoding::encoded_len_varint(length as u64) + length
}

fn take_payload(wire_type: WireType, buf: &mut impl Buf) -> Result<Payload, DecodeError> {
    encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
    let length = usize::try_from(encoding::decode_varint(buf)?).unwrap_or(usize::MAX);
    if length > buf.remaining() {
        #[expect(deprecated, reason = "prost offers no other way to make its error")]
        return Err(DecodeError::new("bytes that end before their length"));
    }
    match buf.chunk().get(..length) {
        Some(bytes) => {
            let payload = bytes.into();
            buf.advance(length);
            Ok(payload)
        }
        None => Ok((&*buf.copy_to_bytes(length)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategies;
    use crate::wire::NodeLife;
    use bytes::Bytes;
    use proptest::prelude::*;
    use prost::Message;

    /// The same messages, left to prost.
    #[derive(Clone, PartialEq, Message)]
    struct DerivedEntry {
        #[prost(message, optional, tag = "1")]
        txid: Option<Txid>,
        #[prost(message, optional, tag = "2")]
        prev: Option<Txid>,
        #[prost(fixed64, tag = "3")]
        chain: u64,
        #[prost(uint64, tag = "4")]
        time_ms: u64,
        #[prost(message, optional, tag = "5")]
        origin: Option<Origin>,
        #[prost(oneof = "DerivedBody", tags = "6, 7, 8")]
        body: Option<DerivedBody>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    enum DerivedBody {
        #[prost(bytes, tag = "6")]
        Command(Bytes),
        #[prost(message, tag = "7")]
        Membership(Membership),
        #[prost(message, tag = "8")]
        Lives(NodeLives),
    }

    #[derive(Clone, PartialEq, Message)]
    struct DerivedForwarded {
        #[prost(message, optional, tag = "1")]
        origin: Option<Origin>,
        #[prost(bytes = "bytes", tag = "2")]
        body: Bytes,
    }

    fn derived(entry: Entry) -> DerivedEntry {
        let Entry { txid, prev, chain, time_ms, origin, body } = entry;
        let body = body.map(|body| match body {
            Body::Command(command) => DerivedBody::Command(Bytes::copy_from_slice(&command)),
            Body::Membership(membership) => DerivedBody::Membership(membership),
            Body::Lives(lives) => DerivedBody::Lives(lives),
        });
        DerivedEntry { txid, prev, chain, time_ms, origin, body }
    }

    fn txid() -> impl Strategy<Value = Option<Txid>> {
        prop::option::of(
            (any::<u64>(), 0..300u64).prop_map(|(epoch, counter)| Txid { epoch, counter }),
        )
    }

    fn origin() -> impl Strategy<Value = Option<Origin>> {
        prop::option::of((any::<u64>(), 0..300u64).prop_map(|(boot, seq)| Origin { boot, seq }))
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..4),
            prop::collection::vec(any::<u8>(), 200)
        ]
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let membership = txid().prop_map(|version| Membership { version, members: Vec::new() });
        let body = prop_oneof![
            bytes().prop_map(|bytes| Body::Command(bytes.into())),
            membership.prop_map(Body::Membership),
            prop::collection::vec((0..300u32, any::<u64>()), 0..3).prop_map(|lives| {
                let lives = lives.into_iter().map(|(node, life)| NodeLife { node, life });
                Body::Lives(NodeLives { lives: lives.collect() })
            }),
        ];
        let numbers = (prop_oneof![Just(0), any::<u64>()], prop_oneof![Just(0), any::<u64>()]);
        (txid(), txid(), numbers, origin(), prop::option::of(body)).prop_map(
            |(txid, prev, (chain, time_ms), origin, body)| Entry {
                txid,
                prev,
                chain,
                time_ms,
                origin,
                body,
            },
        )
    }

    proptest! {
        #[test]
        fn entries_are_what_prost_would_write(entry in entry()) {
            let bytes = derived(entry.clone()).encode_to_vec();
            prop_assert_eq!(entry.encode_to_vec(), bytes.clone());
            prop_assert_eq!(entry.encoded_len(), bytes.len());
            prop_assert_eq!(Entry::decode(&bytes[..]), Ok(entry));
        }

        #[test]
        fn forwarded_requests_are_what_prost_would_write(origin in origin(), body in bytes()) {
            let derived = DerivedForwarded { origin, body: body.clone().into() };
            let ours = Forwarded { origin, body: Some(body.into()) };
            let bytes = derived.encode_to_vec();
            prop_assert_eq!(ours.encode_to_vec(), bytes.clone());
            prop_assert_eq!(ours.encoded_len(), bytes.len());
            let read = Forwarded::decode(&bytes[..]).unwrap();
            prop_assert_eq!(read.body.unwrap_or_else(|| (&[][..]).into()), ours.body.unwrap());
        }

        #[test]
        fn any_bytes_are_read_as_prost_would_read_them(
            entry in entry(),
            at in any::<prop::sample::Index>(),
            change in prop::collection::vec(any::<u8>(), 0..6),
        ) {
            let bytes = strategies::damaged(entry.encode_to_vec(), at, change);
            let ours = Entry::decode(&bytes[..]).ok().map(derived);
            prop_assert_eq!(ours, DerivedEntry::decode(&bytes[..]).ok());
        }
    }
}
