//! Messages of one length, which come back as they are: what loopback and the event loop cost.

use super::{Codec, Event, Key, Op, Unusable};

/// Bytes of a message, about those of a write with a value of 256 bytes.
pub(crate) const MESSAGE: usize = 300;

/// The codec; a message begins with its slot.
#[derive(Debug)]
pub(super) struct Echo;

impl Codec for Echo {
    fn hello(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[u8::MAX; MESSAGE]);
    }

    fn request(&mut self, slot: u32, _op: Op, _key: Key, _value: &[u8], out: &mut Vec<u8>) {
        let end = out.len() + MESSAGE;
        out.extend_from_slice(&slot.to_be_bytes());
        out.resize(end, 0);
    }

    fn parse(
        &mut self,
        input: &[u8],
        _out: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> Result<usize, Unusable> {
        let messages = input.chunks_exact(MESSAGE);
        let used = input.len() - messages.remainder().len();
        events.extend(messages.filter_map(|message| {
            match u32::from_be_bytes(*message.first_chunk()?) {
                u32::MAX => Some(Event::Ready),
                slot => Some(Event::Done { slot, result: Ok(MESSAGE) }),
            }
        }));
        Ok(used)
    }
}
