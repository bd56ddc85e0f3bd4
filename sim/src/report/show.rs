//! Short texts for the trace, in the notation of the core.

use std::fmt::Debug;
use zabkeeper_core::replica::{Input, Request};
use zabkeeper_core::store::{Command, Query};
use zabkeeper_core::zab::{Body, Entry, Event, Message, Note, Record, Vote};

/// The name of an enum's variant.
pub fn name(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
    text[..end].to_string()
}

/// The name under which a transition is counted: its variant, and its kind or reason if it has one.
pub fn mark(note: &Note) -> String {
    match note {
        Note::SyncPlanned { kind, .. } => format!("SyncPlanned {kind:?}"),
        Note::SteppedDown { why, .. } => format!("SteppedDown {}", name(why)),
        Note::LeftLeader { why, .. } => format!("LeftLeader {}", name(why)),
        Note::PeerFault { fault, .. } => format!("PeerFault {}", name(fault)),
        note => name(note),
    }
}

/// A transition.
pub fn note(note: &Note) -> String {
    format!("{note:?}")
}

/// What came in.
pub fn input(input: &Input<Query>) -> String {
    match input {
        Input::Event(Event::Received { conn, msg }) => format!("{conn} {}", message(msg)),
        Input::Event(Event::Notified(vote_in)) => vote(vote_in),
        Input::Event(event) => format!("{event:?}"),
        Input::Requests(requests) => {
            let requests = requests.iter().map(|request| match &request.request {
                Request::Write(bytes) => match Command::decode(bytes) {
                    Ok(command) => format!("{} {command:?}", request.ticket),
                    Err(_) => format!("{} ?", request.ticket),
                },
                Request::Read { query, level } => {
                    format!("{} {query:?} {level:?}", request.ticket)
                }
            });
            format!("requests {}", requests.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A vote.
pub fn vote(vote: &Vote) -> String {
    let candidate = &vote.candidate;
    format!(
        "VOTE {} {:?} {} for {} ({} {})",
        vote.from, vote.stance, vote.round, candidate.node, candidate.epoch, candidate.txid
    )
}

/// A message.
pub fn message(message: &Message) -> String {
    match message {
        Message::LogEntries { entries: list } => format!("LogEntries {}", entries(list)),
        Message::Propose { epoch, entries: list } => format!("Propose {epoch} {}", entries(list)),
        Message::SnapshotChunk { from, bytes, last } => {
            format!("SnapshotChunk from {from}: {} bytes, last {last}", bytes.len())
        }
        Message::Forward { requests } => {
            let seqs: Vec<u64> = requests.iter().map(|request| request.origin.seq).collect();
            format!("Forward {seqs:?}")
        }
        Message::FollowerInfo(info) => format!("FollowerInfo accepted {}", info.accepted),
        Message::LeaderInfo { epoch, .. } => format!("LeaderInfo {epoch}"),
        Message::EpochAck(ack) => {
            let counted = if ack.counted { "" } else { ", not counted" };
            format!("EpochAck {}: up to {} in {}{counted}", ack.epoch, ack.last.txid, ack.current)
        }
        Message::Truncate { to } => format!("Truncate {}", to.txid),
        Message::NewLeader { epoch, end } => format!("NewLeader {epoch} after {}", end.txid),
        Message::Snapshot(head) => format!("Snapshot at {}", head.at.txid),
        message => format!("{message:?}"),
    }
}

/// A record.
pub fn record(record: &Record) -> String {
    match record {
        Record::Append { entries: list, .. } => format!("Append {}", entries(list)),
        Record::Install { base, stage, .. } => format!("Install {} (stage {stage})", base.at.txid),
        Record::Prune(base) => format!("Prune {}", base.at.txid),
        Record::Promise(promise) => format!("Promise {} to {}", promise.epoch, promise.leader),
        Record::Truncate(to) => format!("Truncate {}", to.txid),
        record => format!("{record:?}"),
    }
}

fn entries(entries: &[Entry]) -> String {
    let each = entries.iter().map(|entry| match &entry.body {
        Body::Command(_) => format!("{}", entry.txid),
        Body::Membership(_) => format!("{} (membership)", entry.txid),
        Body::Lives(_) => format!("{} (lives)", entry.txid),
    });
    format!("[{}]", each.collect::<Vec<_>>().join(" "))
}
