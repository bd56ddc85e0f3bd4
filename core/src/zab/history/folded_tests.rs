//! The fold refuses what cannot follow.

use crate::words::{Digest, Epoch, NodeId, Txid, WallTime};
use crate::zab::history::entry::{Body, Entry, Gap, Position};
use crate::zab::history::folded::{Image, ImageError};
use crate::zab::history::storage::{Base, Promise, Record};
use crate::zab::membership::quorum::Membership;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

fn base(at: Position) -> Base {
    Base { at, membership: Arc::new(Membership::new(Txid::ZERO, BTreeMap::new())) }
}

fn entry(after: Position, epoch: u64, counter: u64) -> Entry {
    let txid = Txid::new(Epoch::new(epoch), counter).unwrap();
    let body = Body::Command(b"x".as_slice().into());
    Entry::new(after, txid, WallTime::default(), None, body)
}

fn promise(epoch: u64) -> Record {
    Record::Promise(Promise { epoch: Epoch::new(epoch), leader: NodeId::new(1) })
}

/// Promised 3, entered 2, log 1.1 1.2 2.1.
fn image() -> Image {
    let a = entry(Position::ZERO, 1, 1);
    let b = entry(a.position(), 1, 2);
    let c = entry(b.position(), 2, 1);
    let mut image = Image::new(base(Position::ZERO));
    for record in [promise(3), Record::append(vec![a, b, c]), Record::Enter(Epoch::new(2))] {
        image.apply(&record).unwrap();
    }
    image
}

#[test]
fn a_record_that_cannot_follow_is_refused() {
    let gone = Position { txid: Txid::first(Epoch::new(9)), chain: Digest::ZERO };
    let other_chain = Position { chain: Digest::new(1), ..image().log.last() };
    let behind = image().log.last();
    let install = |at| Record::Install { base: base(at), stage: 1, digest: Digest::ZERO };
    let cases = [
        (promise(3), ImageError::Promise(Epoch::new(3))),
        (Record::Enter(Epoch::new(1)), ImageError::Enter(Epoch::new(1))),
        (Record::Enter(Epoch::new(4)), ImageError::Enter(Epoch::new(4))),
        (Record::Truncate(gone), ImageError::Truncate(gone)),
        (Record::Truncate(other_chain), ImageError::Truncate(other_chain)),
        (Record::Prune(base(gone)), ImageError::Prune(gone)),
        (install(behind), ImageError::Install(behind)),
        (Record::Commit(gone.txid), ImageError::Commit(gone.txid)),
    ];
    for (record, error) in cases {
        assert_eq!(image().apply(&record), Err(error), "{record:?}");
    }
    let skips = entry(behind, 2, 3);
    let error = ImageError::Append(Gap::Order(skips.txid));
    assert_eq!(image().apply(&Record::append(vec![skips])), Err(error));
}

#[test]
fn what_is_known_to_be_committed_is_never_cut() {
    let mut image = image();
    let ends: Vec<Position> = image.log.iter().map(Entry::position).collect();
    let next = entry(ends[2], 2, 2);
    let record = Record::Append { entries: vec![next], commit: ends[1].txid };
    image.apply(&record).unwrap();
    assert_eq!(image.committed, ends[1].txid);
    let error = Err(ImageError::Truncate(ends[0]));
    assert_eq!(image.clone().apply(&Record::Truncate(ends[0])), error);
    image.apply(&Record::Truncate(ends[1])).unwrap();
}

#[test]
fn records_add_up() {
    let mut image = image();
    let cut = image.log.iter().next().unwrap().position();
    let second = image.log.iter().nth(1).unwrap().position();
    image.apply(&Record::Prune(base(cut))).unwrap();
    assert_eq!((image.log.base().at, image.log.len()), (cut, 2));
    image.apply(&Record::Truncate(second)).unwrap();
    assert_eq!(image.log.last(), second);
    let at = Position { txid: Txid::first(Epoch::new(3)), chain: Digest::new(5) };
    image.apply(&Record::Install { base: base(at), stage: 7, digest: Digest::ZERO }).unwrap();
    assert_eq!((image.log.last(), image.log.len(), image.installed), (at, 0, Some(7)));
}
