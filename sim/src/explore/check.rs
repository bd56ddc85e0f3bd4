//! What must hold in every state. Names and numbers are those of `docs/simulation.md`; what the
//! checkers need of the past is in [`History`], as small as it can be, since it tells states apart.

use super::world::{Committed, Fate, History, Machine, World};
use crate::check::quorum::holds;
use crate::check::{Check, Violation, ensure};
use zabkeeper_core::words::{Epoch, NodeId, Ticket, Txid};
use zabkeeper_core::zab::{
    Body, Entry, EpochAck, Image, Message, Note, Position, Record, RoleStatus,
};

impl History {
    /// Where the committed sequence ends.
    fn end(&self) -> Position {
        self.order.last().map_or(Position::ZERO, |last| last.at)
    }

    /// The committed entry of this name, or the empty history for zero.
    fn committed_at(&self, txid: Txid) -> Option<Position> {
        if txid.is_zero() {
            return Some(Position::ZERO);
        }
        self.find(txid).map(|committed| committed.at)
    }

    fn find(&self, txid: Txid) -> Option<&Committed> {
        self.order.iter().find(|committed| committed.at.txid == txid)
    }

    /// The write, if it is committed.
    fn place_of(&self, write: u8) -> Option<Txid> {
        self.order.iter().find(|c| c.write == Some(write)).map(|c| c.at.txid)
    }
}

impl World {
    fn is_formed(&self) -> bool {
        !self.history.order.is_empty()
    }

    /// True if the machines for which `has` holds are a quorum: everyone until the ensemble has
    /// formed, a majority afterwards.
    fn is_quorum(&self, formed: bool, has: impl Fn(&Machine) -> bool) -> bool {
        let all = self.machines.len();
        let needed = if formed { all / 2 + 1 } else { all };
        self.machines.iter().filter(|machine| has(machine)).count() >= needed
    }

    /// A node issues a record; `before` is the machine before it did.
    pub(super) fn check_record(&self, before: &Machine, record: &Record) -> Check {
        let (id, log) = (before.id, &before.issued.log);
        if let Record::Truncate(to) = record {
            let mut cut = log.after(to.txid);
            let lost = cut.find(|e| self.history.committed_at(e.txid) == Some(e.position()));
            ensure!(
                lost.is_none(),
                "TruncSafe (19)",
                "{id} cuts its log from {} to {}, with the committed {}",
                log.last().txid,
                to.txid,
                lost.map_or(Txid::ZERO, |entry| entry.txid)
            );
        }
        let Record::Append { entries, .. } = record else { return Ok(()) };
        entries.iter().try_for_each(|entry| self.check_entry(id, entry))
    }

    /// A node logs an entry: of an established epoch, and as everyone else who has it.
    fn check_entry(&self, id: NodeId, entry: &Entry) -> Check {
        let txid = entry.txid;
        ensure!(
            self.history.established.contains_key(&txid.epoch()),
            "EpochBeforeEntries (11)",
            "{id} logs {txid} but nobody was established in {}",
            txid.epoch()
        );
        for other in self.machines.iter().filter(|other| other.id != id) {
            let theirs = other.issued.log.position_at(txid);
            ensure!(
                theirs.is_none_or(|at| at == entry.position()),
                "LogMatching (9)",
                "{id} logs {txid} with another history than {}",
                other.id
            );
        }
        Ok(())
    }

    /// A node tells of a transition.
    pub(super) fn check_note(&mut self, id: NodeId, note: &Note) -> Check {
        match note {
            Note::Established { epoch, last } => self.establish(id, *epoch, *last),
            Note::PeerFault { fault, .. } => {
                let what = format!("{id} complains of {fault:?}");
                Err(Violation::new("no peer breaks the protocol", what))
            }
            _ => Ok(()),
        }
    }

    fn establish(&mut self, id: NodeId, epoch: Epoch, last: Txid) -> Check {
        let log = &self.machine(id).issued.log;
        let (end, history) = (log.position_at(last), &self.history);
        if let Some((other, _)) = history.established.get(&epoch) {
            let what = format!("{id} is established in {epoch}, as {other} was");
            return Err(Violation::new("LeaderUnique (7)", what));
        }
        let earlier = history.order.iter().rev().find(|c| c.at.txid.epoch() < epoch);
        let earlier = earlier.map_or(Position::ZERO, |c| c.at);
        ensure!(
            end.is_some() && earlier.txid <= last && holds(&self.machine(id).issued, earlier),
            "PrimaryIntegrity (6)",
            "{id} is established in {epoch} on the history up to {last}, without the committed {}",
            earlier.txid
        );
        let end = end.unwrap_or_default();
        ensure!(
            self.is_quorum(self.is_formed(), |m| m.disk.current >= epoch && holds(&m.disk, end)),
            "EpochBeforeEntries (11)",
            "{id} is established in {epoch} on {last} without a quorum of disks that entered it"
        );
        self.history.open().established.insert(epoch, (id, end));
        self.machines.iter().try_for_each(|m| self.history_before_epoch(m.id, &m.disk))
    }

    fn history_before_epoch(&self, id: NodeId, disk: &Image) -> Check {
        let established = self.history.established.get(&disk.current);
        let Some((_, history)) = established else { return Ok(()) };
        ensure!(
            holds(disk, *history),
            "HistoryBeforeEpoch (12)",
            "{id}'s disk is in {} without its initial history up to {}; its log ends at {}",
            disk.current,
            history.txid,
            disk.log.last().txid
        );
        Ok(())
    }

    /// A node ended a step: it leads no epoch that another leads.
    pub(super) fn check_reign(&self, id: NodeId, reigns: Option<Epoch>) -> Check {
        let others = self.machines.iter().filter(|other| other.id != id && reigns.is_some());
        for other in others {
            let theirs = other.node.as_ref().and_then(|node| node.reigns());
            ensure!(
                theirs != reigns,
                "LeaderUnique (7)",
                "{id} and {} lead the same epoch, {:?}",
                other.id,
                theirs
            );
        }
        Ok(())
    }

    /// A node's commit mark lies on the one committed sequence, or extends it.
    pub(super) fn extend(&mut self, id: NodeId, upto: Txid) -> Check {
        let machine = self.machine(id);
        let log = &machine.issued.log;
        let end = self.history.end();
        let known = upto.min(end.txid);
        ensure!(
            self.history.committed_at(known).is_some(),
            "TotalOrder (2)",
            "{id} holds {upto} to be committed, which is not among the committed entries up to {}",
            end.txid
        );
        ensure!(
            log.position_at(known) == self.history.committed_at(known),
            "Agreement (3)",
            "{id} holds {upto} to be committed on another history than the committed one"
        );
        if upto <= end.txid {
            return Ok(());
        }
        ensure!(
            log.position_at(upto).is_some(),
            "TotalOrder (2)",
            "{id} holds {upto} to be committed but does not have it"
        );
        let new: Vec<Committed> =
            log.after(end.txid).take_while(|e| e.txid <= upto).map(committed).collect();
        let before = self.is_formed();
        for entry in new {
            self.commit(id, entry)?;
        }
        self.commit_has_quorum(before)?;
        self.committed_never_lost()
    }

    fn commit(&mut self, id: NodeId, entry: Committed) -> Check {
        if let Some(write) = entry.write {
            let first = self.history.place_of(write);
            ensure!(
                first.is_none(),
                "Integrity (1)",
                "{id} commits write {write} as {}, it is committed as {first:?} already",
                entry.at.txid
            );
            let fate = self.history.writes.get(usize::from(write));
            ensure!(
                fate.is_some_and(|fate| *fate != Fate::Refused),
                "AnsweredIsCommitted (26)",
                "{id} commits write {write}, of which its client was told {fate:?}"
            );
        }
        self.history.open().order.push(entry);
        Ok(())
    }

    /// What has just been committed is on a quorum of disks.
    fn commit_has_quorum(&self, formed: bool) -> Check {
        let first = self.history.order.first().filter(|_| !formed).map(|first| (first.at, false));
        for (at, formed) in first.into_iter().chain([(self.history.end(), true)]) {
            ensure!(
                self.is_quorum(formed, |machine| holds(&machine.disk, at)),
                "CommitNeedsQuorum (17)",
                "{} is committed without being on a quorum of disks",
                at.txid
            );
        }
        Ok(())
    }

    /// Whatever quorum comes together after a power cut at this moment, the one of it with the
    /// greatest durable epoch and txid, whom it would elect, holds everything committed.
    fn committed_never_lost(&self) -> Check {
        let end = self.history.end();
        let strength = |machine: &Machine| (machine.disk.current, machine.disk.log.last().txid);
        for machine in self.machines.iter().filter(|machine| !holds(&machine.disk, end)) {
            let weaker = |other: &Machine| strength(other) <= strength(machine);
            ensure!(
                !self.is_quorum(self.is_formed(), weaker),
                "CommittedNeverLost (10)",
                "{} is committed, but a quorum of disks would elect {}, whose disk ends at {} in {}",
                end.txid,
                machine.id,
                machine.disk.log.last().txid,
                machine.disk.current
            );
        }
        Ok(())
    }

    /// A disk changed.
    pub(super) fn check_disk(&self, machine: &Machine) -> Check {
        self.history_before_epoch(machine.id, &machine.disk)?;
        self.committed_never_lost()
    }

    /// A node hands a committed entry to its application.
    pub(super) fn check_delivery(&self, id: NodeId, after: Txid, txid: Txid) -> Check {
        let order = &self.history.order;
        let next = order.iter().find(|committed| committed.at.txid > after);
        ensure!(
            next.is_some_and(|next| next.at.txid == txid),
            "TotalOrder (2)",
            "{id} applies {txid} after {after}, the committed sequence goes on with {:?}",
            next.map(|next| next.at.txid)
        );
        Ok(())
    }

    /// True if a leader is established and serves a quorum.
    pub(super) fn serves(&self) -> bool {
        let nodes = || self.machines.iter().filter_map(|machine| machine.node.as_ref());
        nodes().filter(|node| node.is_established()).any(|leader| {
            let follows = RoleStatus::Following { leader: leader.id(), serving: true };
            self.is_quorum(true, |machine| {
                let role = machine.node.as_ref().map(|node| node.status().role);
                machine.id == leader.id() || role == Some(follows)
            })
        })
    }

    /// A client is told what became of its write.
    pub(super) fn check_answer(&mut self, id: NodeId, ticket: Ticket, fate: Fate) -> Check {
        let write = u8::try_from(ticket.get()).unwrap_or(u8::MAX);
        let place = self.history.place_of(write);
        let right = match fate {
            Fate::Open => false,
            Fate::Done(txid) => place == Some(txid),
            Fate::Refused => place.is_none(),
            Fate::Unknown => true,
        };
        ensure!(
            right,
            "AnsweredIsCommitted (26)",
            "{id} answers write {write} with {fate:?}, it is committed as {place:?}"
        );
        let told = self.history.open().writes.get_mut(usize::from(write));
        let before = told.map(|told| std::mem::replace(told, fate));
        ensure!(
            before == Some(Fate::Open),
            "one answer a request",
            "{id} answers write {write} with {fate:?} after {before:?}"
        );
        Ok(())
    }

    /// A node sends a message: what it claims is on its disk.
    pub(super) fn check_message(&self, id: NodeId, to: NodeId, msg: &Message) -> Check {
        match msg {
            Message::EpochAck(ack) => self.check_epoch_ack(id, to, ack),
            Message::LeaderInfo { epoch, .. } => {
                let durable = self.machine(id).disk.promise;
                ensure!(
                    durable.is_some_and(|p| p.epoch == *epoch && p.leader == id),
                    "DurableBeforeAck (14)",
                    "{id} offers {epoch} but its disk holds the promise {durable:?}"
                );
                Ok(())
            }
            Message::Commit { upto: commit, .. }
            | Message::UpToDate { commit, .. }
            | Message::Ping { commit, .. } => {
                ensure!(
                    self.history.committed_at(*commit).is_some(),
                    "TotalOrder (2)",
                    "{id} tells {to} that {commit} is committed, which it is not"
                );
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_epoch_ack(&self, id: NodeId, to: NodeId, ack: &EpochAck) -> Check {
        let disk = &self.machine(id).disk;
        let promise = disk.promise;
        ensure!(
            !ack.counted || promise.is_some_and(|p| p.epoch == ack.epoch && p.leader == to),
            "DurableBeforeAck (14)",
            "{id} promises {} to {to} but its disk holds the promise {promise:?}",
            ack.epoch
        );
        ensure!(
            ack.last == disk.log.last() && ack.current == disk.current,
            "DurableBeforeAck (14)",
            "{id} reports its history as {} in {} but its disk ends at {} in {}",
            ack.last.txid,
            ack.current,
            disk.log.last().txid,
            disk.current
        );
        Ok(())
    }
}

/// An entry as the committed sequence remembers it.
fn committed(entry: &Entry) -> Committed {
    let write = match &entry.body {
        Body::Command(bytes) => bytes.first().copied(),
        Body::Membership(_) | Body::Lives(_) => None,
    };
    Committed { at: entry.position(), write }
}
