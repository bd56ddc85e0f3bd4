//! Durable before told: DurableBeforeAck (14), AckStaysTrue (15), NoOldAck (16). Every claim in a
//! message is compared, when it is sent, with what a power cut at that moment would leave.

use super::order::Order;
use super::quorum::holds;
use super::{Check, ensure};
use crate::world::host::Host;
use std::collections::BTreeMap;
use zabkeeper_core::words::{Epoch, NodeId, Txid};
use zabkeeper_core::zab::{EpochAck, Message, Position, Stance, Vote};

/// What each node has claimed.
#[derive(Debug, Default)]
pub struct Durability {
    acked: BTreeMap<NodeId, (Epoch, Position)>,
}

impl Durability {
    /// A node sends a message to a peer.
    pub fn sent(&mut self, host: &Host, to: NodeId, msg: &Message, order: &Order) -> Check {
        match msg {
            Message::Ack { epoch, upto } => self.ack(host, *epoch, *upto, "ACK", order),
            Message::NewLeaderAck { epoch, end, .. } => {
                self.ack(host, *epoch, *end, "NEW-LEADER-ACK", order)
            }
            Message::EpochAck(ack) => epoch_ack(host, to, ack),
            Message::LeaderInfo { epoch, .. } => {
                let durable = host.disk.image.promise;
                ensure!(
                    durable.is_some_and(|p| p.epoch == *epoch && p.leader == host.id),
                    "DurableBeforeAck (14)",
                    "{} offers {epoch} but its disk holds the promise {durable:?}",
                    host.id
                );
                Ok(())
            }
            Message::Pong { epoch, .. } => {
                let promised = host.issued.promise.map_or(Epoch::ZERO, |p| p.epoch);
                ensure!(
                    promised == *epoch,
                    "NoOldAck (16)",
                    "{} answers a heartbeat of {epoch} after it promised {promised}",
                    host.id
                );
                Ok(())
            }
            Message::LogEntriesAck { upto } => {
                let ends = host.disk.image.log.last().txid;
                ensure!(
                    *upto <= ends,
                    "DurableBeforeAck (14)",
                    "{} has {upto} of the history, it says, but its disk ends at {ends}",
                    host.id
                );
                Ok(())
            }
            Message::SnapshotChunkAck { upto, done: false } => {
                let staged = host.disk.staged_in_part();
                ensure!(
                    staged.is_none_or(|staged| *upto <= staged),
                    "DurableBeforeAck (14)",
                    "{} has {upto} bytes of a state, it says, but stored are {staged:?}",
                    host.id
                );
                Ok(())
            }
            Message::Commit { upto, .. } => committed(host, *upto, "COMMIT", order),
            Message::UpToDate { commit, .. } => committed(host, *commit, "UP-TO-DATE", order),
            Message::Ping { commit, .. } => committed(host, *commit, "PING", order),
            Message::ReadIndexAck { index, .. } => committed(host, *index, "READ-INDEX-ACK", order),
            Message::Snapshot(head) => {
                ensure!(
                    order.committed_at(head.at.txid) == Some(head.at),
                    "TruncSafe (19)",
                    "{} sends a snapshot at {}, which is not committed so",
                    host.id,
                    head.at.txid
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn ack(&mut self, host: &Host, epoch: Epoch, upto: Txid, what: &str, order: &Order) -> Check {
        let promised = host.issued.promise.map_or(Epoch::ZERO, |promise| promise.epoch);
        ensure!(
            epoch >= promised,
            "NoOldAck (16)",
            "{} sends {what} for {epoch} after it promised {promised}",
            host.id
        );
        let disk = &host.disk.image;
        ensure!(
            disk.current == epoch,
            "DurableBeforeAck (14)",
            "{} sends {what} for {epoch} but its disk is in {}",
            host.id,
            disk.current
        );
        let chain = order.proposed_chain(upto);
        let at = chain.map(|chain| Position { txid: upto, chain });
        ensure!(
            at.is_some_and(|at| holds(disk, at)),
            "DurableBeforeAck (14)",
            "{} sends {what} up to {upto} but its disk ends at {}",
            host.id,
            disk.log.last().txid
        );
        let told = self.acked.entry(host.id).or_insert((epoch, Position::ZERO));
        if let Some(at) = at.filter(|at| (epoch, at.txid) > (told.0, told.1.txid)) {
            *told = (epoch, at);
        }
        Ok(())
    }

    /// What a node acknowledged is still on its disk, unless it has promised a newer epoch.
    pub fn still_there(&mut self, host: &Host, order: &Order) -> Check {
        let Some((epoch, at)) = self.acked.get(&host.id).copied() else { return Ok(()) };
        let promised = host.disk.image.promise.map_or(Epoch::ZERO, |promise| promise.epoch);
        if promised > epoch {
            self.acked.remove(&host.id);
            return Ok(());
        }
        ensure!(
            order.proposed_chain(at.txid) == Some(at.chain) && holds(&host.disk.image, at),
            "AckStaysTrue (15)",
            "{} acknowledged {} in {epoch}, but its disk ends at {} now",
            host.id,
            at.txid,
            host.disk.image.log.last().txid
        );
        Ok(())
    }

    /// A wiped disk has told nothing.
    pub fn wiped(&mut self, node: NodeId) {
        self.acked.remove(&node);
    }
}

fn epoch_ack(host: &Host, to: NodeId, ack: &EpochAck) -> Check {
    let disk = &host.disk.image;
    let promise = disk.promise;
    ensure!(
        !ack.counted || promise.is_some_and(|p| p.epoch == ack.epoch && p.leader == to),
        "DurableBeforeAck (14)",
        "{} promises {} to {to} but its disk holds the promise {promise:?}",
        host.id,
        ack.epoch
    );
    ensure!(
        ack.last == disk.log.last() && ack.current == disk.current,
        "DurableBeforeAck (14)",
        "{} reports its history as {} in {} but its disk ends at {} in {}",
        host.id,
        ack.last.txid,
        ack.current,
        disk.log.last().txid,
        disk.current
    );
    Ok(())
}

fn committed(host: &Host, upto: Txid, what: &str, order: &Order) -> Check {
    ensure!(
        order.committed_at(upto).is_some(),
        "TotalOrder (2)",
        "{} sends {what} of {upto}, which is not committed",
        host.id
    );
    Ok(())
}

/// A node that stands for election stands with what its disk holds.
pub fn vote_is_durable(host: &Host, vote: &Vote) -> Check {
    if vote.stance != Stance::Looking || vote.candidate.node != host.id {
        return Ok(());
    }
    let disk = &host.disk.image;
    ensure!(
        vote.candidate.epoch == disk.current && vote.candidate.txid == disk.log.last().txid,
        "DurableBeforeAck (14)",
        "{} stands for election with {} in {} but its disk ends at {} in {}",
        host.id,
        vote.candidate.txid,
        vote.candidate.epoch,
        disk.log.last().txid,
        disk.current
    );
    Ok(())
}
