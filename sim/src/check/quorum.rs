//! What a quorum of disks must hold: CommittedNeverLost (10), CommitNeedsQuorum (17).

use super::order::Order;
use super::{Check, ensure};
use crate::world::host::Host;
use zabkeeper_core::words::Txid;
use zabkeeper_core::zab::{Image, Position};

/// True if the history up to `at` is in this journal, or under its start.
pub fn holds(image: &Image, at: Position) -> bool {
    at.txid < image.log.base().at.txid || image.log.position_at(at.txid) == Some(at)
}

/// True if the machines for which `has` holds are a quorum: everyone until the ensemble has
/// formed, a majority afterwards.
pub fn is_quorum(hosts: &[Host], formed: bool, has: impl Fn(&Host) -> bool) -> bool {
    let needed = if formed { hosts.len() / 2 + 1 } else { hosts.len() };
    hosts.iter().filter(|host| has(host)).count() >= needed
}

/// The committed sequence has just grown beyond `before`: what is new is on a quorum of disks.
pub fn commit_has_quorum(hosts: &[Host], order: &Order, before: Txid) -> Check {
    let end = order.committed();
    let on_quorum = |at: Position, formed| {
        is_quorum(hosts, formed, |host| host.ever().any(|image| holds(image, at)))
    };
    if let Some(formed_at) = order.formed_at().filter(|at| *at > before) {
        let at = order.committed_at(formed_at).unwrap_or_default();
        ensure!(
            on_quorum(at, false),
            "CommitNeedsQuorum (17)",
            "the first membership {formed_at} is committed without being on every disk"
        );
    }
    ensure!(
        on_quorum(end, order.formed_at().is_some()),
        "CommitNeedsQuorum (17)",
        "{} is committed without being on a quorum of disks",
        end.txid
    );
    Ok(())
}

/// Whatever quorum comes together after a power cut at this moment, the one of it with the
/// greatest durable epoch and txid, whom it would elect, holds everything committed.
///
/// A quorum that elects a node without the last committed entry exists exactly if a majority
/// would vote for one such node.
pub fn committed_never_lost(hosts: &[Host], order: &Order) -> Check {
    let end = order.committed();
    if end.txid.is_zero() {
        return Ok(());
    }
    let strength = |host: &Host| (host.disk.image.current, host.disk.image.log.last().txid);
    let eligible = || hosts.iter().filter(|host| !host.wiped);
    for host in eligible().filter(|host| !holds(&host.disk.image, end)) {
        let voters = eligible().filter(|other| strength(other) <= strength(host)).count();
        let formed = order.formed_at().is_some();
        let needed = if formed { hosts.len() / 2 + 1 } else { hosts.len() };
        ensure!(
            voters < needed,
            "CommittedNeverLost (10)",
            "{} is committed, but {voters} of {} disks would elect {}, whose disk ends at {} in {}",
            end.txid,
            hosts.len(),
            host.id,
            host.disk.image.log.last().txid,
            host.disk.image.current
        );
    }
    Ok(())
}
