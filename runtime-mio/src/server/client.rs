//! One client connection: its requests in their order, and what they take of the node.

use super::room::LARGE;
use super::wire;
use crate::net::Conn;
use std::collections::VecDeque;
use std::net::IpAddr;
use zabkeeper_core::replica::ClientRequest;
use zabkeeper_core::store::{Answer, MAX_PAGE_BYTES, Query};
use zabkeeper_core::words::{Instant, Micros, Ticket};
use zabkeeper_proto::client::{ClientReply, OpResult};

/// What the answers of a client are taken to weigh before the first of them is known.
const UNKNOWN_WEIGHT: usize = 16 << 10;
/// So many requests may be under way whatever their answers weigh.
const ALWAYS: usize = 4;

/// One client connection.
pub(super) struct Client {
    pub(super) conn: Conn,
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
    /// Bytes of a request that is too long, still to come: they are dropped.
    pub(super) skip: usize,
    pub(super) dirty: bool,
    /// True while a page of a listing is being made, or waits to be sent.
    pub(super) lists: bool,
    /// True while its next listing waits for room.
    pub(super) waits_for_page: bool,
    /// The listings that it asked for and that are not being made yet. Pages are large, so that a
    /// client gets one at a time, however many it asks for.
    pub(super) later: VecDeque<ClientRequest<Query>>,
    /// Requests without an answer on its way, oldest first; the first has the number `first`.
    pub(super) slots: VecDeque<Slot>,
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
    /// When it last said something.
    pub(super) heard: Instant,
    /// True if it had more to say when it had its last turn.
    pub(super) heavy: bool,
    /// When it last got on: a request was complete, or an answer taken.
    pub(super) progress: Instant,
    /// Since when a request is incomplete.
    unfinished: Option<Instant>,
    /// Since when answers wait for the socket, and how many bytes it had taken by then; anew after
    /// every span in which it took enough.
    window: Option<(Instant, u64)>,
}

pub(super) struct Slot {
    pub(super) id: u64,
    /// True if the next listing is due when this is answered.
    pub(super) lists: bool,
    pub(super) ticket: Option<Ticket>,
    pub(super) result: Option<OpResult>,
    weight: usize,
}

/// Why a client is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// It takes its answers too slowly, or not at all.
    Stuck,
    /// It began a request and did not go on.
    Unfinished,
    /// It said nothing for a long time.
    Idle,
    /// It holds the most of what others wait for, and does not get on.
    Greedy,
}

impl Client {
    pub(super) fn new(conn: Conn, control: bool, now: Instant) -> Self {
        Self {
            addr: conn.peer().ip(),
            conn,
            control,
            ended: false,
            paused: false,
            queued: false,
            blocked: false,
            skip: 0,
            dirty: false,
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
            heard: now,
            heavy: false,
            progress: now,
            unfinished: None,
            window: None,
        }
    }

    /// Opens a slot and returns its number.
    pub(super) fn open(&mut self, id: u64, lists: bool, ticket: Ticket) -> u64 {
        let number = self.first + self.slots.len() as u64;
        self.slots.push_back(Slot { id, lists, ticket: Some(ticket), result: None, weight: 0 });
        number
    }

    /// Opens a slot that is answered already.
    pub(super) fn open_answered(&mut self, id: u64, result: OpResult) {
        let weight = weight(&result);
        self.answers += weight;
        let result = Some(result);
        self.slots.push_back(Slot { id, lists: false, ticket: None, result, weight });
    }

    /// Answers a slot. True if it was a listing's.
    pub(super) fn answer(&mut self, number: u64, result: OpResult) -> bool {
        let Ok(index) = usize::try_from(number.wrapping_sub(self.first)) else { return false };
        let Some(slot) = self.slots.get_mut(index) else { return false };
        slot.weight = weight(&result);
        slot.result = Some(result);
        self.answers += slot.weight;
        self.typical = self.typical - self.typical / 8 + slot.weight / 8;
        if slot.lists {
            self.page = 0;
        }
        slot.lists
    }

    /// A listing that was never being made is refused.
    pub(super) fn refuse(&mut self, number: u64, result: OpResult) {
        if let Ok(index) = usize::try_from(number.wrapping_sub(self.first))
            && let Some(slot) = self.slots.get_mut(index)
        {
            slot.lists = false;
            slot.result = Some(result);
        }
    }

    /// True if it may have another of `most` requests under way, of which the answers may weigh
    /// about `bytes`.
    pub(super) fn may_ask(&self, most: usize, bytes: usize) -> bool {
        let open = self.slots.len();
        let heavy = self.answers + open * self.typical >= bytes && open >= ALWAYS;
        open == 0 || open < most && !heavy
    }

    /// Puts the answers that are due into the connection's buffer, up to about `enough` bytes.
    /// The others stay what they are, mostly shared with the tree, until there is room.
    pub(super) fn encode_ready(&mut self, enough: usize) {
        while self.conn.backlog() < enough {
            let Some(mut slot) = self.slots.pop_front_if(|slot| slot.result.is_some()) else {
                return;
            };
            self.first += 1;
            self.lists &= !slot.lists;
            self.answers = self.answers.saturating_sub(slot.weight);
            if let Some(result) = slot.result.take() {
                wire::put_reply(&ClientReply { id: slot.id, result }, self.conn.output());
            }
        }
    }

    /// Makes the next listing due if none is under way.
    pub(super) fn next_listing(&mut self, due: &mut Vec<ClientRequest<Query>>) {
        if let Some(next) = self.later.pop_front() {
            self.lists = true;
            self.page = MAX_PAGE_BYTES;
            due.push(next);
        }
    }

    /// True if the next listing waits for nothing but room.
    pub(super) fn may_list(&self) -> bool {
        !self.lists && !self.later.is_empty()
    }

    /// True if no request waits for its answer.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.conn.backlog() == 0
    }

    /// Bytes that it holds.
    pub(super) fn weight(&self) -> usize {
        self.conn.memory().max(self.granted) + self.answers + self.page
    }

    /// A request was taken as a whole, or `false`: a part of one is here.
    pub(super) fn took(&mut self, whole: bool, now: Instant) {
        if whole {
            self.progress = now;
            self.unfinished = None;
            self.granted = 0;
        } else if self.unfinished.is_none() {
            self.unfinished = Some(now);
        }
    }

    /// Nothing of a request is here.
    pub(super) fn took_all(&mut self) {
        self.unfinished = None;
    }

    /// Takes note of what the socket took, of which it had taken `before` bytes before.
    pub(super) fn wrote(&mut self, before: u64, now: Instant) {
        let taken = self.conn.taken();
        if taken > before {
            self.progress = now;
        }
        if self.conn.backlog() == 0 {
            self.window = None;
        } else if self.window.is_none() {
            self.window = Some((now, taken));
        }
    }

    /// True while it is to be looked at now and then.
    pub(super) fn is_watched(&self) -> bool {
        self.control || self.unfinished.is_some() || self.window.is_some()
    }

    /// What is wrong with it, if something is: a request must be complete within `request`, and of
    /// the answers that wait the socket must take `rate` bytes a second, in each span of `stall`.
    pub(super) fn fault(
        &mut self,
        now: Instant,
        (request, stall, rate): (Micros, Micros, usize),
    ) -> Option<Fault> {
        // What waits for room or for the disk is not late by its own doing.
        if self.wants > 0 || self.blocked || self.paused {
            self.unfinished = self.unfinished.map(|_| now);
        }
        if self.unfinished.is_some_and(|since| now.since(since) > request) {
            return Some(Fault::Unfinished);
        }
        let (since, taken) = self.window?;
        let span = now.since(since);
        if span <= stall {
            return None;
        }
        let took = self.conn.taken() - taken;
        if u128::from(took) * 1_000_000 < rate as u128 * u128::from(span.get()) {
            return Some(Fault::Stuck);
        }
        self.window = Some((now, self.conn.taken()));
        None
    }

    /// True if it holds much and has not got on for so long.
    pub(super) fn hoards(&self, now: Instant, span: Micros) -> bool {
        let does_not_read = self.window.is_some();
        let does_not_write = self.unfinished.is_some() && self.wants == 0;
        let holds = self.charge > LARGE && now.since(self.progress) > span;
        holds && (does_not_read || does_not_write)
    }
}

/// About the bytes that an answer holds until it is sent.
pub(super) fn weight(result: &OpResult) -> usize {
    /// The path, the stat, and what is around them.
    const REST: usize = 256;
    match result {
        OpResult::Read { answer: Answer::Node(Some(found)), .. } => {
            REST + found.value.as_ref().map_or(0, |value| value.len())
        }
        OpResult::Read { answer: Answer::List(Some(page)), .. } => {
            let values = page.nodes.iter().map(|node| node.value.as_ref().map_or(0, |v| v.len()));
            values.map(|value| REST + value).sum()
        }
        OpResult::Status(_) => 4 * REST,
        _ => REST,
    }
}
