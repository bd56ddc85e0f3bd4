//! Who reigns: PrimaryIntegrity (6), LeaderUnique (7), PromiseUnique (8), EpochBeforeEntries (11),
//! HistoryBeforeEpoch (12), EpochMonotone (13).

use super::order::Order;
use super::quorum::{holds, is_quorum};
use super::{Check, ensure};
use crate::world::host::Host;
use std::collections::{BTreeMap, BTreeSet};
use zabkeeper_core::words::{Epoch, NodeId, Round, Txid};
use zabkeeper_core::zab::{Candidate, Entry, EpochAck, Message, Position, Stance, Vote};

/// The reigns of a run.
#[derive(Debug, Default)]
pub struct Epochs {
    established: BTreeMap<Epoch, (NodeId, Position)>,
    reigns: BTreeMap<Epoch, NodeId>,
    promises: BTreeMap<(NodeId, Epoch), NodeId>,
    durable: BTreeMap<NodeId, (Epoch, Epoch)>,
    /// The histories that followers reported to whoever wanted to lead an epoch, as they arrived.
    reported: BTreeMap<(NodeId, Epoch), BTreeMap<NodeId, (Epoch, Txid)>>,
    /// Who voted for whom in which round, ever.
    votes: BTreeSet<(Round, NodeId, NodeId)>,
    /// Who was said to lead in which round, by somebody who is not there: whoever believes that joins
    /// by the false word alone, in vain.
    false_leads: BTreeSet<(Round, NodeId)>,
}

impl Epochs {
    /// How many leaders were established.
    pub fn reigns(&self) -> usize {
        self.established.len()
    }

    /// The newest established leader and its epoch.
    pub fn newest(&self) -> Option<(Epoch, NodeId)> {
        self.established.iter().next_back().map(|(epoch, (leader, _))| (*epoch, *leader))
    }

    /// A leader says that it is established.
    pub fn established(
        &mut self,
        hosts: &[Host],
        node: NodeId,
        epoch: Epoch,
        last: Txid,
        order: &Order,
    ) -> Check {
        let host = &hosts[node.get() as usize - 1];
        if let Some((other, _)) = self.established.get(&epoch) {
            ensure!(false, "LeaderUnique (7)", "{node} is established in {epoch}, as {other} was");
        }
        let Some(end) = host.issued.log.position_at(last) else {
            ensure!(
                false,
                "PrimaryIntegrity (6)",
                "{node} is established on {last}, not in its log"
            );
            return Ok(());
        };
        let before = order.committed_before(epoch);
        ensure!(
            before.txid <= last && holds(&host.issued, before),
            "PrimaryIntegrity (6)",
            "{node} is established in {epoch} on the history up to {last}, without the committed {}",
            before.txid
        );
        ensure!(
            is_quorum(hosts, order.formed_at().is_some(), |host| {
                host.ever().any(|image| image.current >= epoch && holds(image, end))
            }),
            "EpochBeforeEntries (11)",
            "{node} is established in {epoch} on {last} without a quorum of disks that entered it"
        );
        self.established.insert(epoch, (node, end));
        for host in hosts {
            self.history_before_epoch(host)?;
        }
        Ok(())
    }

    /// A node votes.
    pub fn voted(&mut self, vote: &Vote) {
        self.votes.insert((vote.round, vote.candidate.node, vote.from));
    }

    /// A node that may be elected, and hears a majority, votes for nobody with less than it has
    /// itself: an older epoch, or the same and a shorter log. `vote` is said to all: then it was
    /// chosen just now.
    pub fn votes_for_no_less(vote: &Vote) -> Check {
        let free = vote.abstains || !vote.hears || vote.stance != Stance::Looking;
        let stands = |of: &Candidate| (of.epoch, of.txid);
        ensure!(
            free || stands(&vote.candidate) >= stands(&vote.own),
            "votes are for the newest epoch and the longest log",
            "{} has {:?} and votes for {:?}",
            vote.from,
            vote.own,
            vote.candidate
        );
        Ok(())
    }

    /// Somebody votes in the name of a node.
    pub fn forged(&mut self, vote: &Vote) {
        if matches!(vote.stance, Stance::Leading(_)) {
            self.false_leads.insert((vote.round, vote.from));
        }
        self.voted(vote);
    }

    /// An election ended at a node: by votes of that round, not of another.
    pub fn elected(&self, hosts: &[Host], node: NodeId, leader: NodeId, round: Round) -> Check {
        let voted = |from: NodeId| from == node || self.votes.contains(&(round, leader, from));
        let voters = hosts.iter().filter(|host| voted(host.id)).count();
        let misled = node != leader && self.false_leads.contains(&(round, leader));
        ensure!(
            voters > hosts.len() / 2 || misled,
            "elected by a quorum of one round",
            "{node} takes {leader} for elected in {round}, in which {voters} voted so"
        );
        Ok(())
    }

    /// A follower's promise and history arrived at whoever wants to lead the epoch.
    pub fn reported(&mut self, leader: NodeId, by: NodeId, ack: &EpochAck) {
        if ack.counted {
            let list = self.reported.entry((leader, ack.epoch)).or_default();
            list.insert(by, (ack.current, ack.last.txid));
        }
    }

    /// A leader begins its reign: a majority promised that has no longer history than the leader.
    pub fn begins(&self, host: &Host, epoch: Epoch) -> Check {
        let own = (host.issued.current, host.issued.log.last().txid);
        let reported = self.reported.get(&(host.id, epoch)).into_iter().flat_map(BTreeMap::values);
        let ahead = reported.clone().find(|history| **history > own);
        let behind = reported.filter(|history| **history <= own).count();
        let voters = host.issued.log.base().membership.voters().count();
        ensure!(
            ahead.is_none() || 1 + behind > voters / 2,
            "PrimaryIntegrity (6)",
            "{} leads {epoch} with {own:?}, though a follower reported {ahead:?}",
            host.id
        );
        Ok(())
    }

    /// Entries exist only of established epochs.
    pub fn entry_has_reign(&self, node: NodeId, entry: &Entry) -> Check {
        let epoch = entry.txid.epoch();
        ensure!(
            self.established.contains_key(&epoch),
            "EpochBeforeEntries (11)",
            "{node} logs {} but nobody was established in {epoch}",
            entry.txid
        );
        Ok(())
    }

    /// What leaders and followers say to each other names one leader an epoch.
    pub fn sent(&mut self, host: &Host, to: NodeId, msg: &Message) -> Check {
        let node = host.id;
        match msg {
            Message::EpochAck(ack) if ack.counted => self.promised(node, ack.epoch, to),
            Message::LeaderInfo { epoch, .. } => self.promised(node, *epoch, node),
            Message::NewLeader { epoch, .. }
            | Message::UpToDate { epoch, .. }
            | Message::Propose { epoch, .. }
            | Message::Commit { epoch, .. }
            | Message::Ping { epoch, .. } => {
                let leader = *self.reigns.entry(*epoch).or_insert(node);
                ensure!(
                    leader == node,
                    "LeaderUnique (7)",
                    "{node} acts as the leader of {epoch}, which {leader} is"
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn promised(&mut self, node: NodeId, epoch: Epoch, leader: NodeId) -> Check {
        let first = *self.promises.entry((node, epoch)).or_insert(leader);
        ensure!(
            first == leader,
            "PromiseUnique (8)",
            "{node} promises {epoch} to {leader} after it promised it to {first}"
        );
        Ok(())
    }

    /// What is durable of a node's epochs never falls and fits together.
    pub fn disk_changed(&mut self, host: &Host) -> Check {
        let image = &host.disk.image;
        let accepted = image.promise.map_or(Epoch::ZERO, |promise| promise.epoch);
        let (was_accepted, was_current) = self.durable.get(&host.id).copied().unwrap_or_default();
        ensure!(
            accepted >= was_accepted && image.current >= was_current,
            "EpochMonotone (13)",
            "{}'s disk goes back from accepted {was_accepted} and current {was_current} to \
             {accepted} and {}",
            host.id,
            image.current
        );
        ensure!(
            image.current <= accepted,
            "EpochMonotone (13)",
            "{} has entered {} but promised only {accepted}",
            host.id,
            image.current
        );
        ensure!(
            image.log.last().txid.epoch() <= accepted,
            "EpochMonotone (13)",
            "{} holds {} but promised only {accepted}",
            host.id,
            image.log.last().txid
        );
        self.durable.insert(host.id, (accepted, image.current));
        self.history_before_epoch(host)
    }

    /// A wiped disk starts again from nothing.
    pub fn wiped(&mut self, node: NodeId) {
        self.durable.remove(&node);
        self.promises.retain(|(promiser, _), _| *promiser != node);
    }

    fn history_before_epoch(&self, host: &Host) -> Check {
        let image = &host.disk.image;
        let Some((_, history)) = self.established.get(&image.current) else { return Ok(()) };
        ensure!(
            holds(image, *history),
            "HistoryBeforeEpoch (12)",
            "{}'s disk is in {} without its initial history up to {}; its log ends at {}",
            host.id,
            image.current,
            history.txid,
            image.log.last().txid
        );
        Ok(())
    }
}
