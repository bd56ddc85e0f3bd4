//! Between the journal's payloads and what they mean.

use super::summary::Head;
use zabkeeper_core::storage::Record;
use zabkeeper_proto::DecodeError;
use zabkeeper_proto::record::{self, SegmentHead};

pub(crate) fn encode_record(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::encode(record, &mut bytes);
    bytes
}

pub(crate) fn decode_record(bytes: &[u8]) -> Result<Record, DecodeError> {
    record::decode(bytes)
}

/// A head is the number of the state's generation, which is the storage's own business, and the
/// protocol's part. Its log is empty: the entries are in the segments before.
pub(crate) fn encode_head(head: &Head) -> Vec<u8> {
    let mut bytes = head.generation.to_le_bytes().to_vec();
    let part = SegmentHead {
        identity: head.identity,
        initial: head.initial.clone(),
        promise: head.promise,
        current: head.current,
        activated: head.activated,
        base: head.start.clone(),
        last: head.start.at,
    };
    record::encode_head(&part, &mut bytes);
    bytes
}

pub(crate) fn decode_head(bytes: &[u8]) -> Result<Head, DecodeError> {
    let (generation, part) = bytes
        .split_first_chunk()
        .ok_or(DecodeError::Missing("generation"))?;
    let part = record::decode_head(part)?;
    if part.base.at != part.last {
        return Err(DecodeError::Invalid("base"));
    }
    Ok(Head {
        identity: part.identity,
        initial: part.initial,
        promise: part.promise,
        current: part.current,
        activated: part.activated,
        generation: u64::from_le_bytes(*generation),
        start: part.base,
    })
}
