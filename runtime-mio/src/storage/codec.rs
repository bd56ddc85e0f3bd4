//! Between the journal's payloads and what they mean.

use super::past::Cuts;
use super::summary::Head;
use zabkeeper_core::words::{Digest, Epoch, Txid};
use zabkeeper_core::zab::{Position, Record};
use zabkeeper_proto::DecodeError;
use zabkeeper_proto::record::{self, SegmentHead};

pub(crate) fn encode_record(record: &Record, out: &mut Vec<u8>) {
    record::encode(record, out);
}

pub(crate) fn decode_record(bytes: &[u8]) -> Result<Record, DecodeError> {
    record::decode(bytes)
}

/// A head is the number of the state's generation, which is the storage's own business, the start
/// of the log, where it was cut, and the protocol's part: an empty log at its end, since the entries
/// are in the segments before.
pub(crate) fn encode_head(head: &Head) -> Vec<u8> {
    let pair = |txid: Txid| [txid.epoch().get(), txid.counter()];
    let Cuts { since, at, cuts } = &head.cuts;
    let mut numbers = vec![head.generation];
    numbers.extend(pair(head.base));
    numbers.extend([*since, at.chain.get(), cuts.len() as u64]);
    numbers.extend(pair(at.txid));
    numbers.extend(cuts.iter().flat_map(|(lsn, to)| [*lsn, to.epoch().get(), to.counter()]));
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let part = SegmentHead {
        identity: head.identity,
        initial: head.initial.clone(),
        promise: head.promise,
        current: head.current,
        committed: head.committed,
        base: head.start.clone(),
        last: head.start.at,
        lives: head.lives.clone(),
        entered: head.entered,
    };
    record::encode_head(&part, &mut bytes);
    bytes
}

pub(crate) fn decode_head(bytes: &[u8]) -> Result<Head, DecodeError> {
    let number = |bytes: &mut &[u8]| {
        let (raw, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(u64::from_le_bytes(*raw))
    };
    let mut part = bytes;
    let mut next = || number(&mut part).ok_or(DecodeError::Missing("generation, base or cuts"));
    let txid = |epoch, counter| {
        Txid::new(Epoch::new(epoch), counter).ok_or(DecodeError::Invalid("base or cuts"))
    };
    let generation = next()?;
    let base = txid(next()?, next()?)?;
    let (since, chain, count) = (next()?, Digest::new(next()?), next()?);
    let at = Position { txid: txid(next()?, next()?)?, chain };
    let mut cuts = Vec::new();
    for _ in 0..count {
        cuts.push((next()?, txid(next()?, next()?)?));
    }
    let cuts = Cuts { since, at, cuts };
    let part = record::decode_head(part)?;
    if part.base.at != part.last {
        return Err(DecodeError::Invalid("base"));
    }
    Ok(Head {
        identity: part.identity,
        initial: part.initial,
        promise: part.promise,
        current: part.current,
        committed: part.committed,
        lives: part.lives,
        entered: part.entered,
        generation,
        base,
        cuts,
        start: part.base,
    })
}
