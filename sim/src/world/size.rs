//! How many bytes things take on links and disks, about: their contents and an allowance for the
//! rest. What it is for is to be slow by, so a few bytes more or less are nothing.

use crate::world::disk::DiskOp;
use crate::world::net::Packet;
use zabkeeper_core::replica::Request;
use zabkeeper_core::store::{Answer, Found, Op, Query};
use zabkeeper_core::words::End;
use zabkeeper_core::zab::{Change, Entry, Item, Message, Record};

/// What any message, record or datagram takes besides its contents.
pub const FIXED: u64 = 64;

/// How many bytes these stand for, of so many things, where a byte of contents stands for `scale`.
pub fn real(bytes: u64, things: u64, scale: u64) -> u64 {
    let fixed = (things * FIXED).min(bytes);
    fixed + (bytes - fixed) * scale
}

/// Elements of a state.
pub fn items(items: &[Item]) -> u64 {
    items.iter().map(|item| (item.key.len() + item.value.len()) as u64).sum()
}

/// Changes of elements.
pub fn changes(changes: &[Change]) -> u64 {
    let value = |change: &Change| change.value.as_ref().map_or(0, |value| value.len());
    changes.iter().map(|change| (change.key.len() + value(change)) as u64).sum()
}

/// Entries of the log.
pub fn entries(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.size() as u64).sum()
}

/// A message between nodes.
pub fn message(message: &Message) -> u64 {
    let contents = match message {
        Message::SnapshotChunk { bytes, .. } => bytes.len() as u64,
        Message::LogEntries { entries: list } | Message::Propose { entries: list, .. } => {
            entries(list)
        }
        Message::Forward { requests } => {
            requests.iter().map(|request| FIXED + request.body.len() as u64).sum()
        }
        _ => 0,
    };
    FIXED + contents
}

/// What a client asks.
pub fn request(request: &Request<Query>) -> u64 {
    match request {
        Request::Write(command) => FIXED + command.len() as u64,
        Request::Read { .. } => FIXED,
    }
}

/// What a client asks, before it is taken.
pub fn asked(op: &Op) -> usize {
    let value = match op {
        Op::Write(command) => command.value_bytes(),
        Op::Read { .. } | Op::Status => 0,
    };
    FIXED as usize + value
}

/// What a client is answered.
pub fn ending(end: &End<Answer>) -> usize {
    let value = |found: &Found| FIXED as usize + found.value.as_ref().map_or(0, |it| it.len());
    let End::Done { answer, .. } = end else { return FIXED as usize };
    match answer {
        Answer::Node(Some(found)) => value(found),
        Answer::List(Some(page)) => page.nodes.iter().map(value).sum(),
        _ => FIXED as usize,
    }
}

/// Something on a connection between nodes; what clients say has no width.
pub fn packet(packet: &Packet) -> u64 {
    match packet {
        Packet::Message(_, message) => self::message(message),
        Packet::Open | Packet::Request(_) | Packet::Reply(_) | Packet::Fin => 0,
    }
}

/// Something that is written to a disk.
pub fn disk_op(op: &DiskOp) -> u64 {
    let contents = match op {
        DiskOp::Record(_, Record::Append { entries: list, .. }) => entries(list),
        DiskOp::Stage(_, list) => items(list),
        DiskOp::Checkpoint(checkpoint) => changes(&checkpoint.changes),
        DiskOp::Seal { bytes, .. } => *bytes,
        DiskOp::Keep(_) => return 0,
        DiskOp::Record(..) | DiskOp::StageOpen(_) | DiskOp::StageDrop(_) => 0,
    };
    FIXED + contents
}
