//! Random journals that a node could have written.

use crate::storage::past::Cuts;
use crate::storage::summary::Head;
use std::collections::BTreeMap;
use std::sync::Arc;
use zabkeeper_core::words::{Digest, Epoch, Incarnation, Life, NodeId, Rng, Txid, WallTime};
use zabkeeper_core::zab::{
    Base, Body, Entry, Identity, Image, Lives, Member, Membership, Position, Promise, Record,
};

pub(crate) fn membership(version: Txid) -> Arc<Membership> {
    let member = |id: u32| {
        let member = Member {
            voter: true,
            incarnation: (!version.is_zero()).then_some(Incarnation::new(version.counter())),
            life: None,
            election_addr: format!("host{id}:1"),
            message_addr: format!("host{id}:2"),
        };
        (NodeId::new(id), member)
    };
    let members: BTreeMap<_, _> = (1..=3).map(member).collect();
    Arc::new(Membership::new(version, members))
}

pub(crate) fn fresh_head() -> Head {
    let initial = membership(Txid::ZERO);
    Head {
        identity: Identity {
            cluster: initial.cluster_id(),
            node: NodeId::new(1),
            incarnation: Incarnation::new(77),
        },
        initial: initial.clone(),
        promise: None,
        current: Epoch::ZERO,
        committed: Txid::ZERO,
        lives: Lives::default(),
        entered: false,
        generation: 0,
        base: Txid::ZERO,
        cuts: Cuts::default(),
        start: Base { at: Position::ZERO, membership: initial },
    }
}

/// A record that may follow the records behind `image`. Now and then it has a command of `large`
/// bytes.
pub(crate) fn record(image: &Image, large: usize, rng: &mut Rng) -> Record {
    let promised = image.promise.map_or(Epoch::ZERO, |promise| promise.epoch);
    let anywhere = |rng: &mut Rng| {
        let positions: Vec<Position> = std::iter::once(image.log.base().at)
            .chain(image.log.iter().map(Entry::position))
            .collect();
        positions[rng.below(positions.len() as u64) as usize]
    };
    match rng.below(20) {
        0 => Record::Promise(Promise {
            epoch: promised.next().unwrap(),
            leader: NodeId::new(1 + rng.below(3) as u32),
        }),
        1 if promised > Epoch::ZERO => Record::Enter(promised),
        2 => {
            let to = anywhere(rng);
            let last = image.log.last();
            Record::Truncate(if to.txid < image.committed { last } else { to })
        }
        3..5 => {
            let at = anywhere(rng);
            let membership = image.log.membership_at(at.txid);
            Record::Prune(Base { at, membership })
        }
        5 if !image.log.is_empty() => {
            let at = anywhere(rng);
            Record::Commit(if at.txid.is_zero() { image.log.last().txid } else { at.txid })
        }
        6 if rng.below(4) == 0 => {
            let epoch = image.log.last().txid.epoch().next().unwrap();
            let txid = Txid::new(epoch, 1 + rng.below(9)).unwrap();
            let chain = Digest::new(rng.next_u64());
            Record::Install {
                base: Base {
                    at: Position { txid, chain },
                    membership: membership(Txid::first(epoch)),
                },
                stage: image.installed.unwrap_or(0) + 1,
                digest: Digest::new(5),
            }
        }
        7 => image.begin(NodeId::new(1), Life::new(rng.next_u64())),
        _ => {
            // Seldom, so that most truncations still go far back.
            let known = if rng.below(20) == 0 { image.log.last().txid } else { Txid::ZERO };
            Record::Append { entries: entries(image.log.last(), large, rng), commit: known }
        }
    }
}

fn entries(mut last: Position, large: usize, rng: &mut Rng) -> Vec<Entry> {
    let count = 1 + rng.below(3);
    let mut entries = Vec::new();
    for _ in 0..count {
        let txid = match last.txid.next() {
            Some(next) if rng.below(12) > 0 => next,
            _ => Txid::first(last.txid.epoch().next().unwrap()),
        };
        let body = match rng.below(10) {
            0 => Body::Membership(membership(txid)),
            1 => {
                let node = NodeId::new(1 + rng.below(3) as u32);
                Body::Lives(vec![(node, Life::new(rng.next_u64()))])
            }
            // Few sizes, so that a later record often ends where a lost one did.
            size => {
                let size = if rng.below(25) == 0 { large } else { 40 * (size as usize % 4) };
                Body::Command(vec![rng.below(256) as u8; size].into())
            }
        };
        let entry = Entry::new(last, txid, WallTime::default(), None, body);
        last = entry.position();
        entries.push(entry);
    }
    entries
}
