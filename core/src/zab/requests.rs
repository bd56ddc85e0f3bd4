//! Requests of this node's clients, from their arrival to their answer.
//!
//! A write is *held* until there is a leader to log it, then *sent*. A sent one is answered when
//! its entry is applied here, whichever leader committed it. When the node joins a leader, every
//! sent request whose entry is not in the log can never appear: what a deposed leader logged alone
//! cannot be committed once a quorum has entered a later epoch. It is held again, and resubmitted.
//! Only when time runs out, or a snapshot hides what happened, is an outcome unknown.

use crate::words::{Instant, Payload, RefuseReason, Ticket, Txid};
use crate::zab::event::{Actions, Submission, Upcall};
use crate::zab::history::entry::Origin;
use crate::zab::message::Forwarded;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Write {
    /// `None` once the client is gone.
    pub(super) ticket: Option<Ticket>,
    body: Payload,
    /// When the client stops waiting.
    deadline: Instant,
    /// When it is looked at next: earlier than the deadline while it waits for a leader.
    expiry: Instant,
    pub(super) sent: bool,
    grows: bool,
}

/// Where a linearizable read stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Read {
    /// No leader was asked yet.
    Held,
    /// The leader was asked, by this question.
    Asked(u64),
    /// It may be answered when this is applied.
    Indexed(Txid),
    /// The same, as its client wants it: no leader was asked.
    Awaits(Txid),
}

/// The requests waiting at this node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Requests {
    boot: u64,
    next_seq: u64,
    next_question: u64,
    bytes: usize,
    /// Bytes of writes that were sent and are not answered.
    sent: usize,
    /// Writes from this number on are held, those before it are sent.
    held_from: u64,
    pub(super) writes: BTreeMap<u64, Write>,
    reads: BTreeMap<Ticket, (Read, Instant)>,
    /// The reads for which no leader was asked yet: a batch costs what is in it, however many wait.
    held: BTreeSet<Ticket>,
    /// The questions asked of a leader, with the reads that wait for each.
    questions: BTreeMap<u64, Vec<Ticket>>,
    /// Reads that wait for the node to apply something.
    indexed: BTreeSet<(Txid, Ticket)>,
    /// How many of them their clients want to wait.
    awaits: usize,
    deadlines: BTreeSet<(Instant, Waiting)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Waiting {
    Write(u64),
    Read(Ticket),
}

impl Requests {
    pub(crate) fn new(boot: u64) -> Self {
        Self {
            boot,
            next_seq: 1,
            next_question: 1,
            bytes: 0,
            sent: 0,
            held_from: 1,
            writes: BTreeMap::new(),
            reads: BTreeMap::new(),
            held: BTreeSet::new(),
            questions: BTreeMap::new(),
            indexed: BTreeSet::new(),
            awaits: 0,
            deadlines: BTreeSet::new(),
        }
    }

    #[cfg(feature = "explore")]
    pub(crate) fn rebase(&mut self, rebase: crate::zab::testing::rebase::Rebase) {
        for write in self.writes.values_mut() {
            rebase.instant(&mut write.deadline);
            rebase.instant(&mut write.expiry);
        }
        self.reads.values_mut().for_each(|(_, deadline)| rebase.instant(deadline));
        let deadlines = core::mem::take(&mut self.deadlines).into_iter();
        let moved = deadlines.map(|(mut at, waiting)| {
            rebase.instant(&mut at);
            (at, waiting)
        });
        self.deadlines = moved.collect();
    }

    /// How many requests wait.
    pub(crate) fn len(&self) -> usize {
        self.writes.len() + self.reads.len()
    }

    /// How many local reads wait for the node to apply something.
    pub(crate) fn awaits(&self) -> usize {
        self.awaits
    }

    /// Bytes of writes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first of them runs out of time.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes in a write, held; until `patience` ends for want of a leader.
    pub(crate) fn hold_write(&mut self, submission: Submission, patience: Instant) {
        let Submission { ticket, body, deadline, grows } = submission;
        let seq = self.next_seq;
        self.next_seq += 1;
        self.bytes += body.len();
        let expiry = deadline.min(patience);
        self.deadlines.insert((expiry, Waiting::Write(seq)));
        let ticket = Some(ticket);
        self.writes.insert(seq, Write { ticket, body, deadline, expiry, sent: false, grows });
    }

    /// Bytes of writes that were sent and are not answered.
    pub(crate) fn sent(&self) -> usize {
        self.sent
    }

    /// True if writes are held.
    pub(crate) fn holds_writes(&self) -> bool {
        self.writes.range(self.held_from..).next().is_some()
    }

    /// Marks held writes as sent and hands them over, in the order in which they came, while there is
    /// room; the last of them may be larger than what is left of it.
    pub(crate) fn send_writes(&mut self, mut room: usize) -> Vec<Forwarded> {
        let boot = self.boot;
        let mut list = Vec::new();
        for (seq, write) in self.writes.range_mut(self.held_from..) {
            if room == 0 {
                break;
            }
            room = room.saturating_sub(write.body.len().max(1));
            write.sent = true;
            self.sent += write.body.len();
            self.held_from = seq + 1;
            let origin = Origin { boot, seq: *seq };
            list.push(Forwarded { origin, body: write.body.clone() });
        }
        list
    }

    /// The node has joined a leader, and `logged` are the requests that its log still holds
    /// unapplied: all other sent ones are certainly not done. Returns how many are held again.
    pub(crate) fn rejoin(&mut self, logged: impl Iterator<Item = Origin>) -> usize {
        let boot = self.boot;
        let logged: BTreeSet<u64> = logged.filter(|o| o.boot == boot).map(|o| o.seq).collect();
        let mut again = 0;
        let lost: Vec<u64> = self
            .writes
            .iter()
            .filter(|(seq, write)| write.sent && !logged.contains(seq))
            .map(|(seq, _)| *seq)
            .collect();
        // A client's later request never overtakes an earlier one: held ones get new numbers
        // behind everything that is in the log, all in their old order.
        let held: Vec<u64> =
            self.writes.iter().filter(|(_, w)| !w.sent).map(|(seq, _)| *seq).collect();
        self.held_from = self.next_seq;
        for seq in lost.iter().chain(&held) {
            let Some(mut write) = self.writes.remove(seq) else {
                continue;
            };
            if write.sent {
                self.sent -= write.body.len();
            }
            self.deadlines.remove(&(write.expiry, Waiting::Write(*seq)));
            if write.ticket.is_none() {
                self.bytes -= write.body.len();
                continue;
            }
            again += usize::from(write.sent);
            write.sent = false;
            let seq = self.next_seq;
            self.next_seq += 1;
            self.deadlines.insert((write.expiry, Waiting::Write(seq)));
            self.writes.insert(seq, write);
        }
        again
    }

    /// The entry of `origin` is applied: whose request was it?
    pub(crate) fn applied(&mut self, origin: Origin) -> Option<Ticket> {
        if origin.boot != self.boot {
            return None;
        }
        self.remove_write(origin.seq).and_then(|write| write.ticket)
    }

    /// The leader refused these: certainly not done.
    pub(crate) fn refused(&mut self, list: &[Origin], why: RefuseReason, out: &mut Actions) {
        let boot = self.boot;
        for origin in list.iter().filter(|origin| origin.boot == boot) {
            let ticket = self.remove_write(origin.seq).and_then(|write| write.ticket);
            if let Some(ticket) = ticket {
                out.call(Upcall::Refuse { ticket, why });
            }
        }
    }

    /// A snapshot took the place of the log: nobody knows what became of the sent writes.
    pub(crate) fn lose_sent(&mut self, out: &mut Actions) {
        let sent: Vec<u64> = self.writes.iter().filter(|(_, w)| w.sent).map(|(s, _)| *s).collect();
        for seq in sent {
            if let Some(ticket) = self.remove_write(seq).and_then(|write| write.ticket) {
                out.call(Upcall::Unknown(ticket));
            }
        }
    }

    /// Takes in a read, held.
    pub(crate) fn hold_read(&mut self, ticket: Ticket, deadline: Instant) {
        self.deadlines.insert((deadline, Waiting::Read(ticket)));
        self.reads.insert(ticket, (Read::Held, deadline));
        self.held.insert(ticket);
    }

    /// Takes in a local read that waits for the node to apply `index`.
    pub(crate) fn hold_await(&mut self, ticket: Ticket, deadline: Instant, index: Txid) {
        self.deadlines.insert((deadline, Waiting::Read(ticket)));
        self.reads.insert(ticket, (Read::Awaits(index), deadline));
        self.indexed.insert((index, ticket));
        self.awaits += 1;
    }

    /// Puts all held reads behind one question to the leader, if there are any.
    pub(crate) fn ask(&mut self) -> Option<u64> {
        let question = self.next_question;
        if self.held.is_empty() {
            return None;
        }
        let tickets: Vec<Ticket> = core::mem::take(&mut self.held).into_iter().collect();
        for ticket in &tickets {
            if let Some((read, _)) = self.reads.get_mut(ticket) {
                *read = Read::Asked(question);
            }
        }
        self.next_question += 1;
        self.questions.insert(question, tickets);
        Some(question)
    }

    /// The leader answered a question.
    pub(crate) fn indexed(&mut self, question: u64, index: Txid) {
        for ticket in self.questions.remove(&question).into_iter().flatten() {
            if let Some((read, _)) = self.reads.get_mut(&ticket) {
                *read = Read::Indexed(index);
                self.indexed.insert((index, ticket));
            }
        }
    }

    /// Everything up to `applied` is applied: hands over the reads that may be answered now.
    pub(crate) fn readable(&mut self, applied: Txid, out: &mut Actions) {
        while let Some((_, ticket)) = self.indexed.first().copied().filter(|i| i.0 <= applied) {
            self.remove_read(ticket);
            out.call(Upcall::Readable(ticket));
        }
    }

    /// This node can do nothing for those that no leader was asked about yet: refuses them.
    pub(crate) fn refuse_held(&mut self, out: &mut Actions) {
        let why = RefuseReason::NoLeader;
        let held = self.writes.range(self.held_from..);
        for seq in held.map(|(seq, _)| *seq).collect::<Vec<_>>() {
            let ticket = self.remove_write(seq).and_then(|write| write.ticket);
            ticket.into_iter().for_each(|ticket| out.call(Upcall::Refuse { ticket, why }));
        }
        let held = self.reads.iter().filter(|(_, (read, _))| *read == Read::Held);
        for ticket in held.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
            self.remove_read(ticket);
            out.call(Upcall::Refuse { ticket, why });
        }
    }

    /// The leader that was awaited has no room for more data: refuses what makes the state grow.
    pub(crate) fn refuse_growing(&mut self, out: &mut Actions) {
        let held = self.writes.range(self.held_from..).filter(|(_, write)| write.grows);
        for seq in held.map(|(seq, _)| *seq).collect::<Vec<_>>() {
            let ticket = self.remove_write(seq).and_then(|write| write.ticket);
            let why = RefuseReason::NoSpace;
            ticket.into_iter().for_each(|ticket| out.call(Upcall::Refuse { ticket, why }));
        }
    }

    /// The leader is gone: its unanswered questions are held again. An index once given stays good.
    pub(crate) fn hold_reads(&mut self) {
        for ticket in core::mem::take(&mut self.questions).into_values().flatten() {
            if let Some((read, _)) = self.reads.get_mut(&ticket) {
                *read = Read::Held;
                self.held.insert(ticket);
            }
        }
    }

    /// Answers what has run out of time. With a leader a write waits for its turn as long as its
    /// client does, and one that never had it was one too many.
    pub(crate) fn expire(&mut self, now: Instant, led: bool, out: &mut Actions) {
        let why = if led { RefuseReason::Busy } else { RefuseReason::NoLeader };
        while let Some((_, waiting)) = self.deadlines.pop_first_if(now) {
            match waiting {
                Waiting::Write(seq) => {
                    let waits = |write: &&mut Write| (write.sent || led) && write.deadline > now;
                    if let Some(write) = self.writes.get_mut(&seq).filter(waits) {
                        write.expiry = write.deadline;
                        self.deadlines.insert((write.expiry, Waiting::Write(seq)));
                        continue;
                    }
                    let Some(write) = self.remove_write(seq) else { continue };
                    self.give_up(write, why, out);
                }
                Waiting::Read(ticket) => {
                    self.remove_read(ticket);
                    out.call(Upcall::Refuse { ticket, why: RefuseReason::NoLeader });
                }
            }
        }
    }

    /// Answers everything: the node stops.
    pub(crate) fn stop(&mut self, out: &mut Actions) {
        for (_, write) in core::mem::take(&mut self.writes) {
            self.give_up(write, RefuseReason::Stopping, out);
        }
        for (ticket, _) in core::mem::take(&mut self.reads) {
            out.call(Upcall::Refuse { ticket, why: RefuseReason::Stopping });
        }
        let next_seq = self.next_seq;
        *self = Self { next_seq, held_from: next_seq, ..Self::new(self.boot) };
    }

    /// The clients of these requests are gone. What was sent may still happen; what was not, will
    /// not.
    pub(crate) fn forget(&mut self, tickets: &[Ticket]) {
        let gone: BTreeSet<Ticket> = tickets.iter().copied().collect();
        for ticket in tickets {
            self.remove_read(*ticket);
        }
        let mut unsent = Vec::new();
        for (seq, write) in &mut self.writes {
            if write.ticket.is_some_and(|ticket| gone.contains(&ticket)) {
                write.ticket = None;
                if !write.sent {
                    unsent.push(*seq);
                }
            }
        }
        for seq in unsent {
            self.remove_write(seq);
        }
    }

    fn give_up(&self, write: Write, why: RefuseReason, out: &mut Actions) {
        match write.ticket {
            Some(ticket) if write.sent => out.call(Upcall::Unknown(ticket)),
            Some(ticket) => out.call(Upcall::Refuse { ticket, why }),
            None => {}
        }
    }

    pub(super) fn remove_write(&mut self, seq: u64) -> Option<Write> {
        let write = self.writes.remove(&seq)?;
        self.bytes -= write.body.len();
        if write.sent {
            self.sent -= write.body.len();
        }
        self.deadlines.remove(&(write.expiry, Waiting::Write(seq)));
        Some(write)
    }

    fn remove_read(&mut self, ticket: Ticket) {
        let Some((read, deadline)) = self.reads.remove(&ticket) else { return };
        self.deadlines.remove(&(deadline, Waiting::Read(ticket)));
        match read {
            Read::Held => {
                self.held.remove(&ticket);
            }
            Read::Asked(_) => {}
            Read::Indexed(index) | Read::Awaits(index) => {
                self.indexed.remove(&(index, ticket));
            }
        }
        self.awaits -= usize::from(matches!(read, Read::Awaits(_)));
    }
}

/// Takes the first deadline that has passed.
trait Expired {
    fn pop_first_if(&mut self, now: Instant) -> Option<(Instant, Waiting)>;
}

impl Expired for BTreeSet<(Instant, Waiting)> {
    fn pop_first_if(&mut self, now: Instant) -> Option<(Instant, Waiting)> {
        let first = *self.first()?;
        (first.0 <= now).then(|| {
            self.remove(&first);
            first
        })
    }
}
