//! What the hot messages cost to encode and decode: `cargo bench -p zabkeeper-proto`.

use divan::{Bencher, black_box};
use zabkeeper_core::store::{Answer, Command, Op, Path, Stat};
use zabkeeper_core::words::{End, Epoch, Txid, WallTime};
use zabkeeper_core::zab::{Body, Entry, Forwarded, Message, Origin, Position, Record};
use zabkeeper_proto::client::{self, ClientReply, ClientRequest};
use zabkeeper_proto::frame::{self, Kind};
use zabkeeper_proto::{peer, record};

fn main() {
    divan::main();
}

fn command() -> Command {
    let value: &[u8] = &[7; 256];
    Command::Set { path: Path::parse("bench/k00000001").expect("a path"), value: value.into() }
}

fn txid(counter: u64) -> Txid {
    Txid::new(Epoch::new(3), counter).expect("a txid")
}

fn entries(count: u64) -> Vec<Entry> {
    let mut after = Position::ZERO;
    let entries = (1..=count).map(|counter| {
        let origin = Some(Origin { boot: 0x1234_5678_9abc_def0, seq: counter });
        let time = WallTime::from_millis(1_800_000_000_000);
        let body = Body::Command(command().encode());
        let entry = Entry::new(after, txid(counter), time, origin, body);
        after = entry.position();
        entry
    });
    entries.collect()
}

/// The messages that carry every write, and the answer.
fn messages(count: u64) -> [(&'static str, Message); 2] {
    let epoch = Epoch::new(3);
    let forwarded = |seq| Forwarded { origin: Origin { boot: 1, seq }, body: command().encode() };
    [
        ("propose", Message::Propose { epoch, entries: entries(count) }),
        ("forward", Message::Forward { requests: (1..=count).map(forwarded).collect() }),
    ]
}

fn message(name: &str, count: u64) -> Message {
    let found = messages(count).into_iter().find(|(known, _)| *known == name);
    found.expect("one of the messages").1
}

const COUNT: u64 = 64;

#[divan::bench(args = ["propose", "forward"])]
fn encode_64(bencher: Bencher<'_, '_>, name: &str) {
    let message = message(name, COUNT);
    let mut out = Vec::new();
    bencher.counter(divan::counter::ItemsCount::new(COUNT)).bench_local(|| {
        out.clear();
        peer::encode(black_box(&message), &mut out);
    });
}

#[divan::bench(args = ["propose", "forward"])]
fn decode_64(bencher: Bencher<'_, '_>, name: &str) {
    let mut bytes = Vec::new();
    peer::encode(&message(name, COUNT), &mut bytes);
    bencher.counter(divan::counter::ItemsCount::new(COUNT)).bench_local(|| {
        let frame = frame::parse(black_box(&bytes), Kind::Peer, frame::MAX_PEER_BODY);
        peer::decode(&frame.expect("a good frame").expect("a whole one"))
    });
}

#[divan::bench]
fn encode_a_journal_record_of_64(bencher: Bencher<'_, '_>) {
    let record = Record::append(entries(COUNT));
    let mut out = Vec::new();
    bencher.counter(divan::counter::ItemsCount::new(COUNT)).bench_local(|| {
        out.clear();
        record::encode(black_box(&record), &mut out);
    });
}

#[divan::bench]
fn decode_a_journal_record_of_64(bencher: Bencher<'_, '_>) {
    let mut bytes = Vec::new();
    record::encode(&Record::append(entries(COUNT)), &mut bytes);
    bencher
        .counter(divan::counter::ItemsCount::new(COUNT))
        .bench_local(|| record::decode(black_box(&bytes)).expect("a good record"));
}

#[divan::bench]
fn decode_a_request(bencher: Bencher<'_, '_>) {
    let request = ClientRequest { id: 9, timeout_ms: 5000, op: Op::Write(command()) };
    let mut bytes = Vec::new();
    client::encode_request(&request, &mut bytes);
    bencher.bench_local(|| {
        let frame = frame::parse(black_box(&bytes), Kind::Request, frame::MAX_REQUEST_BODY);
        client::decode_request(&frame.expect("a good frame").expect("a whole one"))
    });
}

#[divan::bench]
fn encode_a_reply(bencher: Bencher<'_, '_>) {
    let stat = Stat { created: txid(1), modified: txid(9), version: 8, ..Stat::default() };
    let end = End::Done { txid: txid(9), answer: Answer::Written(Ok(stat)) };
    let reply = ClientReply { id: 9, end };
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        client::encode_reply(black_box(&reply), &mut out);
    });
}
