//! One connection: its requests in their order, and what they take of the node.

use super::limits::Limits;
use crate::replica::ClientRequest;
use crate::store::{Answer, Query};
use crate::words::{End, Instant, Micros, Ticket};
use alloc::collections::VecDeque;
use core::net::IpAddr;

/// What the answers of a client are taken to weigh before the first of them is known.
const UNKNOWN_WEIGHT: usize = 16 << 10;
/// So many requests may be under way whatever their answers weigh.
const ALWAYS: usize = 4;

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    /// Where it comes from, as far as places go.
    pub(super) addr: IpAddr,
    /// True if it came when all places were taken: it is told the node's status, and for everything
    /// else to ask another node.
    pub(super) control: bool,
    /// True once the client has said all it had to say; it may still read.
    pub(super) ended: bool,
    /// True if it must be looked at again when answers have left.
    pub(super) paused: bool,
    /// True while it is in line for being read.
    pub(super) queued: bool,
    /// True while the write that it asks for next waits for the disk.
    pub(super) blocked: bool,
    /// True while it is in line for being written.
    pub(super) due: bool,
    /// True while it is among those that are looked at now and then.
    pub(super) watched: bool,
    /// True while a page of a listing is being made, or waits to be sent.
    pub(super) lists: bool,
    /// True while its next listing waits for room.
    pub(super) waits_for_page: bool,
    /// The listings that it asked for and that are not being made yet. Pages are large, so that a
    /// client gets one at a time, however many it asks for.
    pub(super) later: VecDeque<ClientRequest<Query>>,
    /// Requests without an answer on its way, oldest first; the first has the number `first`.
    slots: VecDeque<Slot>,
    first: u64,
    /// Bytes of the answers in `slots`.
    answers: usize,
    /// About what one answer weighs, of late.
    typical: usize,
    /// What is granted to it for a large request; what it wants, while there is no room.
    pub(super) granted: usize,
    pub(super) wants: usize,
    /// What is kept free for the page that is being made.
    pub(super) page: usize,
    /// True if that is of the node's own state.
    pub(super) page_is_local: bool,
    /// What of it the room counts.
    pub(super) charge: usize,
    /// Bytes of its buffers, as the shell said last.
    pub(super) held: usize,
    /// Of these, what the socket has not taken; and what it has taken in all.
    pub(super) backlog: usize,
    taken: u64,
    /// When it last said something.
    pub(super) heard: Instant,
    /// True if it had more to say when it had its last turn.
    pub(super) heavy: bool,
    /// What it may still ask in this turn.
    pub(super) share: usize,
    /// When it last got on: a request was complete, or an answer taken.
    pub(super) progress: Instant,
    /// Since when a request is incomplete.
    pub(super) unfinished: Option<Instant>,
    /// Since when answers wait for the socket, and how many bytes it had taken by then; anew after
    /// every span in which it took enough.
    window: Option<(Instant, u64)>,
}

/// A request that has no answer on its way.
#[derive(Clone, Debug)]
struct Slot {
    id: u64,
    /// True if the next listing is due when this is answered.
    lists: bool,
    ticket: Option<Ticket>,
    end: Option<End<Answer>>,
    weight: usize,
}

/// Why a connection has to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It takes its answers too slowly, or not at all.
    Stuck,
    /// It began a request and did not go on.
    Unfinished,
    /// It said nothing for a long time.
    Idle,
    /// It holds the most of what others wait for, and does not get on.
    Greedy,
}

impl Conn {
    pub(super) const fn new(addr: IpAddr, control: bool, now: Instant) -> Self {
        Self {
            addr,
            control,
            ended: false,
            paused: false,
            queued: false,
            blocked: false,
            due: false,
            watched: false,
            lists: false,
            waits_for_page: false,
            later: VecDeque::new(),
            slots: VecDeque::new(),
            first: 0,
            answers: 0,
            typical: UNKNOWN_WEIGHT,
            granted: 0,
            wants: 0,
            page: 0,
            page_is_local: false,
            charge: 0,
            held: 0,
            backlog: 0,
            taken: 0,
            heard: now,
            heavy: false,
            share: 0,
            progress: now,
            unfinished: None,
            window: None,
        }
    }

    /// The number of the next request.
    pub(super) fn next_slot(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// Takes a request in, by the next number.
    pub(super) fn open(&mut self, id: u64, lists: bool, ticket: Ticket) {
        self.slots.push_back(Slot { id, lists, ticket: Some(ticket), end: None, weight: 0 });
    }

    /// Takes in one that is answered already.
    pub(super) fn open_answered(&mut self, id: u64, end: End<Answer>) {
        let weight = weight(&end);
        self.answers += weight;
        self.slots.push_back(Slot { id, lists: false, ticket: None, end: Some(end), weight });
    }

    /// Answers a request. True if it was a listing.
    pub(super) fn answer(&mut self, number: u64, end: End<Answer>) -> bool {
        let Ok(index) = usize::try_from(number.wrapping_sub(self.first)) else { return false };
        let Some(slot) = self.slots.get_mut(index) else { return false };
        slot.weight = weight(&end);
        slot.end = Some(end);
        self.answers += slot.weight;
        self.typical = self.typical - self.typical / 8 + slot.weight / 8;
        if slot.lists {
            self.page = 0;
        }
        slot.lists
    }

    /// A listing that was never being made is refused.
    pub(super) fn refuse(&mut self, number: u64, end: End<Answer>) {
        if let Ok(index) = usize::try_from(number.wrapping_sub(self.first))
            && let Some(slot) = self.slots.get_mut(index)
        {
            slot.lists = false;
            slot.end = Some(end);
        }
    }

    /// The next answer, if it is here: whose it is.
    pub(super) fn leave(&mut self) -> Option<(u64, End<Answer>)> {
        let slot = self.slots.pop_front_if(|slot| slot.end.is_some())?;
        self.first += 1;
        self.lists &= !slot.lists;
        self.answers = self.answers.saturating_sub(slot.weight);
        Some((slot.id, slot.end?))
    }

    /// The client's name of the request of this number.
    pub(super) fn name(&self, number: u64) -> Option<u64> {
        let index = usize::try_from(number.wrapping_sub(self.first)).ok()?;
        self.slots.get(index).map(|slot| slot.id)
    }

    /// Puts a request ahead of all others.
    #[cfg(feature = "mutants")]
    pub(super) fn overtake(&mut self, number: u64) {
        if let Ok(index) = usize::try_from(number.wrapping_sub(self.first))
            && let Some(slot) = self.slots.remove(index)
        {
            self.slots.push_front(slot);
        }
    }

    /// True if the next answer is here.
    pub(super) fn has_answer(&self) -> bool {
        self.slots.front().is_some_and(|slot| slot.end.is_some())
    }

    /// How many requests have no answer on its way.
    pub(super) fn open_requests(&self) -> usize {
        self.slots.len()
    }

    /// The tickets of those that have none at all.
    pub(super) fn unanswered(&self) -> impl Iterator<Item = Ticket> {
        self.slots.iter().filter(|slot| slot.end.is_none()).filter_map(|slot| slot.ticket)
    }

    /// True if it may have another request under way, by their number and by what their answers may
    /// weigh.
    pub(super) fn may_ask(&self, limits: &Limits) -> bool {
        let open = self.slots.len();
        let heavy = self.answers + open * self.typical >= limits.buffer && open >= ALWAYS;
        open == 0 || open < limits.requests && !heavy
    }

    /// Has the next listing made, if there is one.
    pub(super) fn next_listing(&mut self, page: usize) -> Option<ClientRequest<Query>> {
        let next = self.later.pop_front()?;
        self.lists = true;
        self.page = page;
        Some(next)
    }

    /// True if the next listing waits for nothing but room.
    pub(super) fn may_list(&self) -> bool {
        !self.lists && !self.later.is_empty()
    }

    /// True if no request waits for its answer.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.backlog == 0
    }

    /// Bytes that it holds.
    pub(super) fn weight(&self) -> usize {
        self.held.max(self.granted) + self.answers + self.page
    }

    /// A request was taken as a whole.
    pub(super) const fn took(&mut self, now: Instant) {
        self.progress = now;
        self.unfinished = None;
        self.granted = 0;
    }

    /// Takes note of what the socket has taken in all, and what it has not.
    pub(super) fn wrote(&mut self, taken: u64, backlog: usize, now: Instant) {
        if taken > self.taken {
            self.progress = now;
        }
        (self.taken, self.backlog) = (taken, backlog);
        if backlog == 0 {
            self.window = None;
        } else if self.window.is_none() {
            self.window = Some((now, taken));
        }
    }

    /// True while it is to be looked at now and then.
    pub(super) const fn is_watched(&self) -> bool {
        self.control || self.unfinished.is_some() || self.window.is_some()
    }

    /// What is wrong with it, if something is: a request must be complete in its time, and of the
    /// answers that wait the socket must take enough in each span.
    pub(super) fn fault(&mut self, now: Instant, limits: &Limits) -> Option<Fault> {
        if self.control && now.since(self.heard) > limits.control_stay {
            return Some(Fault::Idle);
        }
        // What waits for room or for the disk is not late by its own doing.
        if self.wants > 0 || self.blocked || self.paused {
            self.unfinished = self.unfinished.map(|_| now);
        }
        if self.unfinished.is_some_and(|since| now.since(since) > limits.request) {
            return Some(Fault::Unfinished);
        }
        let (since, taken) = self.window?;
        let span = now.since(since);
        if span <= limits.stall {
            return None;
        }
        let took = self.taken - taken;
        if u128::from(took) * 1_000_000 < limits.rate as u128 * u128::from(span.get()) {
            return Some(Fault::Stuck);
        }
        self.window = Some((now, self.taken));
        None
    }

    /// True if it holds much and has not got on for so long.
    pub(super) fn hoards(&self, now: Instant, span: Micros, large: usize) -> bool {
        let does_not_read = self.window.is_some();
        let does_not_write = self.unfinished.is_some() && self.wants == 0;
        let holds = self.charge > large && now.since(self.progress) > span;
        holds && (does_not_read || does_not_write)
    }
}

/// About the bytes that an answer holds until it is sent.
pub(super) fn weight(end: &End<Answer>) -> usize {
    /// The path, the stat, and what is around them.
    const REST: usize = 256;
    let End::Done { answer, .. } = end else { return REST };
    match answer {
        Answer::Node(Some(found)) => REST + found.value.as_ref().map_or(0, |value| value.len()),
        Answer::List(Some(page)) => {
            let values = page.nodes.iter().map(|node| node.value.as_ref().map_or(0, |v| v.len()));
            values.map(|value| REST + value).sum()
        }
        Answer::Status(_) => 4 * REST,
        Answer::Written(_) | Answer::Node(None) | Answer::List(None) => REST,
    }
}
