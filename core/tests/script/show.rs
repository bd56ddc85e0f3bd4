//! The notation in which scripts print messages, records and notes.

use zabkeeper_core::zab::{Body, Entry, Message, Record, Stance, Vote};

pub(crate) fn vote(vote: &Vote) -> String {
    let stance = match vote.stance {
        Stance::Looking => "looking".to_owned(),
        Stance::Following(epoch) => format!("following{}", epoch_of(epoch)),
        Stance::Leading(epoch) => format!("leading{}", epoch_of(epoch)),
    };
    let c = &vote.candidate;
    format!("vote {stance} {} for {} {} {}", vote.round, c.node, c.epoch, c.txid)
}

fn epoch_of(epoch: Option<zabkeeper_core::words::Epoch>) -> String {
    epoch.map_or_else(|| "(no epoch)".to_owned(), |epoch| format!("({epoch})"))
}

pub(crate) fn entries(list: &[Entry]) -> String {
    let one = |entry: &Entry| match &entry.body {
        Body::Command(payload) => {
            format!("{}={}", entry.txid, String::from_utf8_lossy(payload.as_slice()))
        }
        Body::Membership(_) => format!("{}=membership", entry.txid),
        Body::Lives(lives) => {
            let nodes: Vec<_> = lives.iter().map(|(node, _)| node.to_string()).collect();
            format!("{}=lives({})", entry.txid, nodes.join(" "))
        }
    };
    format!("[{}]", list.iter().map(one).collect::<Vec<_>>().join(" "))
}

pub(crate) fn message(msg: &Message) -> String {
    match msg {
        Message::FollowerInfo(info) => format!("FOLLOWER-INFO accepted={}", info.accepted),
        Message::Rejected(why) => format!("REJECTED {why:?}"),
        Message::LeaderInfo { epoch, .. } => format!("LEADER-INFO {epoch}"),
        Message::EpochAck(ack) => format!(
            "EPOCH-ACK {} current={} last={} base={} commit={}{}",
            ack.epoch,
            ack.current,
            ack.last.txid,
            ack.base,
            ack.commit,
            if ack.counted { "" } else { " uncounted" }
        ),
        Message::EpochNack { accepted } => format!("EPOCH-NACK accepted={accepted}"),
        Message::Truncate { to } => format!("TRUNCATE {}", to.txid),
        Message::Snapshot(head) => format!("SNAPSHOT {}", head.at.txid),
        Message::SnapshotResume { at, from } => format!("SNAPSHOT-RESUME {at} from={from}"),
        Message::SnapshotChunk { from, bytes, last } => {
            format!("CHUNK {from}+{} last={last}", bytes.len())
        }
        Message::SnapshotChunkAck { upto, done } => format!("CHUNK-ACK {upto} done={done}"),
        Message::LogEntries { entries: list } => format!("LOG-ENTRIES {}", entries(list)),
        Message::LogEntriesAck { upto } => format!("LOG-ENTRIES-ACK {upto}"),
        Message::NewLeader { epoch, end } => format!("NEW-LEADER {epoch} end={}", end.txid),
        Message::NewLeaderAck { epoch, end, full } => {
            let full = if *full { " full" } else { "" };
            format!("NEW-LEADER-ACK {epoch} end={end}{full}")
        }
        Message::UpToDate { epoch, commit, full } => {
            let full = if *full { " full" } else { "" };
            format!("UP-TO-DATE {epoch} commit={commit}{full}")
        }
        Message::Propose { epoch, entries: list } => format!("PROPOSE {epoch} {}", entries(list)),
        Message::Ack { epoch, upto } => format!("ACK {epoch} {upto}"),
        Message::Commit { epoch, upto } => format!("COMMIT {epoch} {upto}"),
        Message::Ping { epoch, nonce, commit, full } => {
            let full = if *full { " full" } else { "" };
            format!("PING {epoch} #{nonce} commit={commit}{full}")
        }
        Message::Alive { epoch, .. } => format!("ALIVE {epoch}"),
        Message::Pong { epoch, nonce, room, full } => {
            let room = room.map_or(String::new(), |room| format!(" room for {room}"));
            let full = if *full { " full" } else { "" };
            format!("PONG {epoch} #{nonce}{room}{full}")
        }
        Message::Forward { requests } => {
            let one = |r: &zabkeeper_core::zab::Forwarded| {
                String::from_utf8_lossy(r.body.as_slice()).into_owned()
            };
            format!("FORWARD [{}]", requests.iter().map(one).collect::<Vec<_>>().join(" "))
        }
        Message::ForwardRefused { why, .. } => format!("FORWARD-REFUSED {why:?}"),
        Message::ReadIndex { id } => format!("READ-INDEX #{id}"),
        Message::ReadIndexAck { id, index } => format!("READ-INDEX-ACK #{id} {index}"),
    }
}

pub(crate) fn record(record: &Record) -> String {
    match record {
        Record::Promise(promise) => format!("promise {} to {}", promise.epoch, promise.leader),
        Record::Append { entries: list, commit } => {
            format!("append {} commit={commit}", entries(list))
        }
        Record::Truncate(to) => format!("truncate {}", to.txid),
        Record::Enter(epoch) => format!("enter {epoch}"),
        Record::Install { base, .. } => format!("install {}", base.at.txid),
        Record::Prune(base) => format!("prune {}", base.at.txid),
        Record::Commit(txid) => format!("commit {txid}"),
        Record::Begin(_) => "begin".to_owned(),
    }
}
