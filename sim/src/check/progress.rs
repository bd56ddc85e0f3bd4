//! Nothing goes back: CommitMonotone and AppliedMonotone (18), TruncSafe (19).

use super::order::Order;
use super::{Check, ensure};
use crate::world::host::Host;
use std::collections::BTreeMap;
use zabkeeper_core::words::{Epoch, NodeId, Txid};
use zabkeeper_core::zab::{Record, Status};

/// How far each running process came.
#[derive(Debug, Default)]
pub struct Progress {
    reached: BTreeMap<NodeId, (Txid, Txid)>,
    /// What each knew to be committed before its present step.
    before: BTreeMap<NodeId, Txid>,
}

impl Progress {
    /// A process starts: it stands at least where its state store does.
    pub fn started(&mut self, host: &Host, status: &Status) -> Check {
        ensure!(
            status.applied >= host.disk.state.at.txid,
            "AppliedMonotone (18)",
            "{} starts at {}, before its stored state at {}",
            host.id,
            status.applied,
            host.disk.state.at.txid
        );
        self.reached.insert(host.id, (status.committed, status.applied));
        Ok(())
    }

    /// A process ended a step.
    pub fn stepped(&mut self, host: &Host, status: &Status) -> Check {
        let (committed, applied) = self.reached.get(&host.id).copied().unwrap_or_default();
        ensure!(
            status.committed >= committed,
            "CommitMonotone (18)",
            "{}'s commit goes back from {committed} to {}",
            host.id,
            status.committed
        );
        ensure!(
            status.applied >= applied,
            "AppliedMonotone (18)",
            "{}'s state goes back from {applied} to {}",
            host.id,
            status.applied
        );
        let disk = &host.disk.image.log;
        ensure!(
            status.applied <= disk.last().txid,
            "AppliedMonotone (18)",
            "{} has applied {} but its disk ends at {}",
            host.id,
            status.applied,
            disk.last().txid
        );
        ensure!(
            status.durable <= disk.last().txid,
            "DurableBeforeAck (14)",
            "{} takes {} for durable but its disk ends at {}",
            host.id,
            status.durable,
            disk.last().txid
        );
        // A node that does not know that its ensemble has formed waits for all members.
        let forming = status.membership.version().is_zero();
        let formed = forming.then(|| host.issued.log.membership_at(status.committed).version());
        ensure!(
            formed.is_none_or(Txid::is_zero),
            "what is committed is in force",
            "{} knows {} to be committed and acts as if the ensemble had not formed by {:?}",
            host.id,
            status.committed,
            formed
        );
        self.before.insert(host.id, committed);
        self.reached.insert(host.id, (status.committed, status.applied));
        Ok(())
    }

    /// A leader lets a follower serve: it tells it what is committed of what the follower's disk
    /// has, since perhaps nothing is committed any more for a long time.
    pub fn let_in(&self, leader: NodeId, follower: &Host, epoch: Epoch, told: Txid) -> Check {
        let image = &follower.disk.image;
        let known = self.before.get(&leader).copied().unwrap_or_default();
        let holds = known.min(image.log.last().txid);
        ensure!(
            image.current != epoch || told >= holds,
            "who is let in is told what is committed",
            "{leader} tells {} that {told} is committed; it knows {known}, and the disk there has {holds}",
            follower.id
        );
        Ok(())
    }
}

/// A cut never takes what is committed, and a snapshot never replaces more than it brings.
pub fn cut_safe(host: &Host, record: &Record, order: &Order) -> Check {
    let last = host.issued.log.last().txid;
    match record {
        Record::Truncate(to) => {
            let lost = host
                .issued
                .log
                .after(to.txid)
                .find(|entry| order.committed_at(entry.txid) == Some(entry.position()));
            ensure!(
                lost.is_none(),
                "TruncSafe (19)",
                "{} cuts its log from {last} to {}, with the committed {}",
                host.id,
                to.txid,
                lost.map_or(Txid::ZERO, |entry| entry.txid)
            );
        }
        Record::Install { base, .. } => {
            ensure!(
                base.at.txid > last,
                "TruncSafe (19)",
                "{} replaces its log up to {last} by a snapshot at {}",
                host.id,
                base.at.txid
            );
        }
        _ => {}
    }
    Ok(())
}
