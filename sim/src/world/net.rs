//! The modelled network: datagrams that get lost, doubled, delayed, damaged and replayed, and
//! connections that keep their order until they break. The fate of the k-th message on a link is a
//! function of the seed, the link and k.

use crate::faults::overheard::Overheard;
use crate::run::options::{NetOptions, Options};
use crate::world::dice::{Dice, Stream, stream};
pub use crate::world::pipe::{Packet, Side, client_of, machine_of};
use crate::world::pipe::{Pipe, weight};
use crate::world::queue::Queue;
use crate::world::wide::Links;
use crate::world::{Occur, size};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use zabkeeper_core::words::{ConnId, NodeId, Rng};
use zabkeeper_core::zab::{Message, Vote};

/// The kinds of traffic with fates of their own.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Datagram,
    Stream,
    Dial,
    Client,
}

/// Chance that a datagram is lost in a quiet period that is lossy.
const CALM_LOSS: u32 = 250_000;

/// Most packets that a connection holds in one direction; a sender that goes on is disconnected,
/// as production does with one that does not read.
const PIPE_MAX: usize = 20_000;

/// Between two parts of a message that is long on its way.
const PART: u64 = 50_000;

/// The network.
#[derive(Debug)]
pub struct Net {
    rng: Rng,
    options: NetOptions,
    /// Faults of chance are over.
    calm: bool,
    lossy: bool,
    nodes: usize,
    cuts: Vec<u32>,
    /// Cuts of connections alone: datagrams get through.
    stream_cuts: Vec<u32>,
    /// Clients that are beside a node: what cuts its links cuts theirs.
    seats: BTreeMap<NodeId, NodeId>,
    /// How wide the links are.
    pub links: Links,
    counters: BTreeMap<(u64, u32, u32), u64>,
    /// What was said on it, for those who say it again.
    pub overheard: Overheard,
    pipes: BTreeMap<u64, Pipe>,
    by_conn: BTreeMap<ConnId, (u64, usize)>,
    /// Connections of strangers.
    strange: BTreeSet<ConnId>,
    next: u64,
    /// The most bytes that waited on a connection between nodes, since somebody looked.
    pub fullest: u64,
    /// The number of the last message or datagram sent; they count from 1.
    pub sent: u64,
    /// The numbers of those that got lost on a connection, if they are wanted.
    pub lost: Option<Vec<u64>>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Net {
    /// A network between `nodes` machines.
    pub fn new(seed: u64, options: &Options) -> Self {
        let nodes = options.nodes as usize + 1;
        Self {
            rng: stream(seed, Stream::Network),
            options: options.net.clone(),
            calm: false,
            lossy: false,
            nodes,
            cuts: vec![0; nodes * nodes],
            stream_cuts: vec![0; nodes * nodes],
            seats: BTreeMap::new(),
            links: Links::new(options),
            counters: BTreeMap::new(),
            overheard: Overheard::default(),
            pipes: BTreeMap::new(),
            by_conn: BTreeMap::new(),
            strange: BTreeSet::new(),
            next: 1,
            fullest: 0,
            sent: 0,
            lost: None,
            counts: BTreeMap::new(),
        }
    }

    /// Ends all faults of chance; delays stay ordinary. Datagrams may go on to get lost now and
    /// then: no network promises more.
    pub fn calm_down(&mut self, lossy: bool) {
        self.calm = true;
        self.lossy = lossy;
    }

    /// When the last of what was sent will have arrived.
    pub fn busy_until(&self) -> u64 {
        let ends = self.pipes.values().flat_map(|pipe| &pipe.ends);
        ends.map(|end| end.busy_until).max().unwrap_or(0)
    }

    /// True if nothing gets from one machine to the other.
    pub fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        match (self.seat(from), self.seat(to)) {
            (Some(from), Some(to)) => self.cuts[self.link(from, to)] > 0,
            _ => false,
        }
    }

    /// True if nothing said on a connection gets from one machine to the other.
    pub fn is_stream_cut(&self, from: NodeId, to: NodeId) -> bool {
        let between = (self.seat(from), self.seat(to));
        let (Some(from), Some(to)) = between else { return false };
        let link = self.link(from, to);
        self.cuts[link] > 0 || self.stream_cuts[link] > 0
    }

    /// Puts a client beside a node: it shares the cuts of that node's links. Others have none.
    pub fn seat_client(&mut self, client: u32, node: NodeId) {
        self.seats.insert(machine_of(client), node);
    }

    /// The node in whose place a machine is, for cuts.
    fn seat(&self, machine: NodeId) -> Option<NodeId> {
        match client_of(machine) {
            None => Some(machine),
            Some(_) => self.seats.get(&machine).copied(),
        }
    }

    /// Cuts one direction, once more.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        let link = self.link(from, to);
        self.cuts[link] += 1;
    }

    /// Cuts one direction of connections, once more. Nothing on them is lost: it waits.
    pub fn cut_streams(&mut self, from: NodeId, to: NodeId) {
        let link = self.link(from, to);
        self.stream_cuts[link] += 1;
    }

    /// Takes back one cut; when none is left, what was held back flows again.
    pub fn heal(&mut self, from: NodeId, to: NodeId, now: u64, queue: &mut Queue<Occur>) {
        let link = self.link(from, to);
        self.cuts[link] = self.cuts[link].saturating_sub(1);
        self.release(from, to, now, queue);
    }

    /// Takes back one cut of connections.
    pub fn heal_streams(&mut self, from: NodeId, to: NodeId, now: u64, queue: &mut Queue<Occur>) {
        let link = self.link(from, to);
        self.stream_cuts[link] = self.stream_cuts[link].saturating_sub(1);
        self.release(from, to, now, queue);
    }

    /// Takes back all cuts of one direction.
    pub fn heal_fully(&mut self, from: NodeId, to: NodeId, now: u64, queue: &mut Queue<Occur>) {
        let link = self.link(from, to);
        (self.cuts[link], self.stream_cuts[link]) = (0, 0);
        self.release(from, to, now, queue);
    }

    /// Sends a datagram. True if it is on its way, false if it is lost.
    pub fn notify(&mut self, to: NodeId, vote: Vote, now: u64, queue: &mut Queue<Occur>) -> bool {
        self.sent += 1;
        let sent = self.sent;
        let from = vote.from;
        let mut fate = self.fate(Kind::Datagram, from, to);
        let vote = Arc::new(vote);
        let (old_sent, again) = self.overheard.vote(to, sent, &vote, &mut fate);
        if self.is_cut(from, to) {
            self.count("datagrams cut off");
            return false;
        }
        let at = now + self.delay(&mut fate, true);
        if self.roll(&mut fate, self.options.replay) {
            self.count("datagrams replayed");
            let replayed = Occur::Datagram { to, vote: again, sent: old_sent };
            queue.push(now + self.delay(&mut fate, true), replayed);
        }
        let lost = self.roll(&mut fate, self.options.lose);
        if lost || self.lossy && fate.chance(CALM_LOSS) {
            self.count("datagrams lost");
            return false;
        }
        if self.roll(&mut fate, self.options.corrupt) {
            self.count("datagrams damaged");
            queue.push(at, Occur::Damaged { to, vote, seed: fate.next_u64(), sent });
            return true;
        }
        if self.roll(&mut fate, self.options.twice) {
            self.count("datagrams doubled");
            let vote = vote.clone();
            queue.push(now + self.delay(&mut fate, true), Occur::Datagram { to, vote, sent });
        }
        queue.push(at, Occur::Datagram { to, vote, sent });
        true
    }

    /// A connection of somebody who is no machine here: what is sent on it is lost.
    pub fn strange_conn(&mut self) -> ConnId {
        let conn = ConnId::new(2 * self.next + 1);
        self.next += 1;
        self.strange.insert(conn);
        conn
    }

    /// True if no machine here is at the other end of a connection.
    pub fn is_strange(&self, conn: ConnId) -> bool {
        self.strange.contains(&conn)
    }

    /// Asks for a connection: when the attempt reaches the other machine.
    pub fn dial(
        &mut self,
        from: NodeId,
        boot: u64,
        to: NodeId,
        now: u64,
        queue: &mut Queue<Occur>,
    ) {
        let mut fate = self.fate(Kind::Dial, from, to);
        let at = now + self.delay(&mut fate, false);
        let refused = self.roll(&mut fate, self.options.refuse);
        let patience = fate.between(50_000, 1_000_000);
        queue.push(at, Occur::Dial { from, boot, to, refused, patience });
    }

    /// A client asks for a connection: how long the attempt takes to reach the node, and whether
    /// it is refused there.
    pub fn client_dial(&mut self, client: u32, to: NodeId) -> (u64, bool) {
        let mut fate = self.fate(Kind::Dial, machine_of(client), to);
        let delay = self.delay(&mut fate, false);
        (delay, self.roll(&mut fate, self.options.refuse))
    }

    /// Opens a connection. Returns the names that the dialler and the accepting process (of life
    /// `to_boot`) get.
    pub fn open(
        &mut self,
        (from, from_boot): (NodeId, u64),
        (to, to_boot): (NodeId, u64),
        now: u64,
        queue: &mut Queue<Occur>,
    ) -> [ConnId; 2] {
        let pipe = self.next;
        let conns = [ConnId::new(2 * pipe), ConnId::new(2 * pipe + 1)];
        self.next += 1;
        let end = |node, boot, peer, conn| Side {
            node,
            boot,
            peer,
            conn,
            open: true,
            inbox: VecDeque::new(),
            bytes: 0,
            scheduled: false,
            last_at: now,
            busy_until: now,
        };
        let ends = [end(from, from_boot, to, conns[0]), end(to, to_boot, from, conns[1])];
        self.pipes.insert(pipe, Pipe { ends, broken: false });
        for (index, conn) in conns.into_iter().enumerate() {
            self.by_conn.insert(conn, (pipe, index));
        }
        let mut fate = self.fate(Kind::Dial, to, from);
        let delay = self.delay(&mut fate, false);
        self.put(pipe, 0, now + delay, Packet::Open, now, queue);
        conns
    }

    /// The machine at the other end of a connection.
    pub fn peer(&self, conn: ConnId) -> Option<NodeId> {
        let (pipe, end) = self.by_conn.get(&conn)?;
        Some(self.pipes.get(pipe)?.ends[1 - end].node)
    }

    /// Sends a message on a connection. True if it is on its way, false if it is lost.
    pub fn send(&mut self, conn: ConnId, msg: Message, now: u64, queue: &mut Queue<Occur>) -> bool {
        self.sent += 1;
        if let Message::FollowerInfo(info) = &msg {
            self.overheard.greeting(info);
        }
        self.push(conn, Packet::Message(self.sent, msg), now, queue)
    }

    /// Sends any packet on a connection. True if it is on its way, false if it is lost.
    pub fn push(
        &mut self,
        conn: ConnId,
        packet: Packet,
        now: u64,
        queue: &mut Queue<Occur>,
    ) -> bool {
        let Some((id, end)) = self.by_conn.get(&conn).copied() else { return false };
        let Some(pipe) = self.pipes.get(&id) else { return false };
        if !pipe.ends[end].open {
            return false;
        }
        let (from, to, broken) = (pipe.ends[end].node, pipe.ends[1 - end].node, pipe.broken);
        let full = pipe.ends[1 - end].inbox.len() >= PIPE_MAX;
        let mut fate = self.fate(Kind::Stream, from, to);
        if broken {
            // The other machine answers that it knows of no such connection, if the two can talk.
            if fate.chance(500_000) {
                let at = now + self.delay(&mut fate, false);
                self.put(id, end, at, Packet::Fin, now, queue);
            }
            return false;
        }
        if full || self.roll(&mut fate, self.options.cut) {
            self.count("connections cut");
            self.break_pipe(id, &mut fate, now, queue);
            return false;
        }
        let lasts = self.links.carry(from, to, size::packet(&packet), now);
        if overtakes(&packet) && lasts > 0 && self.links.is_slow(from, to, now) {
            // Behind what is on its way to the socket, ahead of the rest.
            let ahead = self.links.carry(from, to, AHEAD / self.links.scale(), now);
            let behind = pipe_busy(self.pipes.get(&id), end).saturating_sub(now).min(ahead);
            let at = now + behind + lasts + self.delay(&mut fate, false);
            self.overtake(id, 1 - end, at, packet, queue);
            return true;
        }
        let busy = self.pipes.get_mut(&id).map(|pipe| &mut pipe.ends[end].busy_until);
        let begins = busy.as_deref().map_or(now, |busy| now.max(*busy));
        let ends = begins + lasts;
        busy.into_iter().for_each(|busy| *busy = ends);
        let delay = self.delay(&mut fate, false);
        self.put(id, 1 - end, ends + delay, packet, now, queue);
        // A long message comes in by and by.
        let mut part = begins + delay + PART;
        while part + PART < ends + delay {
            queue.push(part, Occur::Part { pipe: id, end: 1 - end });
            part += PART;
        }
        true
    }

    /// The process at one end closes the connection.
    pub fn close(&mut self, conn: ConnId, now: u64, queue: &mut Queue<Occur>) {
        let Some((id, end)) = self.by_conn.get(&conn).copied() else { return };
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        pipe.ends[end].open = false;
        let (from, to) = (pipe.ends[end].node, pipe.ends[1 - end].node);
        let mut fate = self.fate(Kind::Stream, from, to);
        if fate.chance(300_000) {
            // A reset overtakes what was not read yet.
            self.lose_tail(id, 1 - end, &mut fate);
        }
        let at = now + self.delay(&mut fate, false);
        self.put(id, 1 - end, at, Packet::Fin, now, queue);
        self.forget(id);
    }

    /// A process is gone: its connections are, too, whether or not the other side hears of it.
    pub fn lose_process(&mut self, node: NodeId, now: u64, queue: &mut Queue<Occur>) {
        let ids: Vec<u64> = self.pipes.keys().copied().collect();
        for id in ids {
            for end in 0..2 {
                let pipe = &mut self.pipes.get_mut(&id).expect("listed just now");
                if pipe.ends[end].node != node || !pipe.ends[end].open {
                    continue;
                }
                pipe.ends[end].open = false;
                pipe.broken = true;
                let to = pipe.ends[1 - end].node;
                let mut fate = self.fate(Kind::Stream, node, to);
                self.lose_tail(id, 1 - end, &mut fate);
                self.tell_of_break(id, 1 - end, &mut fate, now, queue);
            }
            self.forget(id);
        }
    }

    /// All connections between two machines break.
    pub fn break_between(&mut self, a: NodeId, b: NodeId, now: u64, queue: &mut Queue<Occur>) {
        let between = |pipe: &Pipe| {
            let ends = (pipe.ends[0].node, pipe.ends[1].node);
            ends == (a, b) || ends == (b, a)
        };
        let found = self.pipes.iter().filter(|(_, pipe)| between(pipe) && !pipe.broken);
        let ids: Vec<u64> = found.map(|(id, _)| *id).collect();
        for id in ids {
            let mut fate = self.fate(Kind::Stream, a, b);
            self.break_pipe(id, &mut fate, now, queue);
        }
    }

    /// The next packet has come to an end of a connection, unless the way is cut.
    pub fn arrive(
        &mut self,
        id: u64,
        end: usize,
        now: u64,
        queue: &mut Queue<Occur>,
    ) -> Option<(Side, Packet)> {
        let pipe = self.pipes.get(&id)?;
        let cut = self.is_stream_cut(pipe.ends[1 - end].node, pipe.ends[end].node);
        let at = &mut self.pipes.get_mut(&id)?.ends[end];
        // It was overtaken: what comes first now has a time of its own.
        if at.inbox.front().is_some_and(|(due, _)| *due > now) {
            return None;
        }
        at.scheduled = false;
        if cut {
            return None;
        }
        let (_, packet) = at.inbox.pop_front()?;
        at.bytes -= weight(&packet);
        if let Some((due, _)) = at.inbox.front() {
            at.scheduled = true;
            queue.push((*due).max(now), Occur::Arrive { pipe: id, end });
        }
        if !at.open {
            lose(&mut self.lost, [packet]);
            return None;
        }
        if matches!(packet, Packet::Fin) {
            at.open = false;
        }
        let seen = at.without_inbox();
        if matches!(packet, Packet::Fin) {
            self.forget(id);
        }
        Some((seen, packet))
    }

    /// A part of a message has come to an end of a connection, unless the way is cut: that end.
    pub fn part(&self, id: u64, end: usize) -> Option<(NodeId, u64, ConnId)> {
        let pipe = self.pipes.get(&id)?;
        let (from, at) = (&pipe.ends[1 - end], &pipe.ends[end]);
        let comes = at.open && !pipe.broken && !self.is_stream_cut(from.node, at.node);
        comes.then_some((at.node, at.boot, at.conn))
    }

    /// The delay of a message between a client and a node, or `None` if it is lost with its
    /// connection.
    pub fn client_delay(&mut self, client: u32, node: NodeId, to_node: bool) -> Option<u64> {
        let client = machine_of(client);
        let (from, to) = if to_node { (client, node) } else { (node, client) };
        let mut fate = self.fate(Kind::Client, from, to);
        if self.roll(&mut fate, self.options.cut) {
            self.count("client connections cut");
            return None;
        }
        Some(self.delay(&mut fate, false))
    }

    fn put(
        &mut self,
        id: u64,
        end: usize,
        at: u64,
        packet: Packet,
        now: u64,
        queue: &mut Queue<Occur>,
    ) {
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        let to = &mut pipe.ends[end];
        if !to.open {
            return;
        }
        let at = at.max(to.last_at);
        to.last_at = at;
        to.bytes += weight(&packet);
        self.fullest = self.fullest.max(to.bytes);
        to.inbox.push_back((at, packet));
        if !to.scheduled {
            to.scheduled = true;
            let due = to.inbox.front().map_or(at, |(due, _)| *due);
            queue.push(due.max(now), Occur::Arrive { pipe: id, end });
        }
    }

    /// Puts a packet ahead of those that arrive later, but for the opening of the connection.
    fn overtake(&mut self, id: u64, end: usize, at: u64, packet: Packet, queue: &mut Queue<Occur>) {
        let Some(to) = self.pipes.get_mut(&id).map(|pipe| &mut pipe.ends[end]) else { return };
        if !to.open {
            return;
        }
        let opens = to.inbox.iter().position(|(_, packet)| matches!(packet, Packet::Open));
        // Heartbeats keep their order among themselves.
        let last = to.inbox.iter().rposition(|(_, packet)| overtakes(packet));
        let first = opens.max(last).map_or(0, |index| index + 1);
        let before = first.checked_sub(1).and_then(|index| to.inbox.get(index));
        let at = before.map_or(at, |(due, _)| at.max(*due));
        let late = to.inbox.iter().skip(first).position(|(due, _)| *due > at);
        let index = late.map_or(to.inbox.len(), |index| first + index);
        to.last_at = to.last_at.max(at);
        to.bytes += weight(&packet);
        to.inbox.insert(index, (at, packet));
        to.scheduled = true;
        queue.push(at, Occur::Arrive { pipe: id, end });
        if index + 1 < to.inbox.len() {
            *self.counts.entry("heartbeats that overtook").or_default() += 1;
        }
    }

    fn break_pipe(&mut self, id: u64, fate: &mut Rng, now: u64, queue: &mut Queue<Occur>) {
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        pipe.broken = true;
        for end in 0..2 {
            self.lose_tail(id, end, fate);
            self.tell_of_break(id, end, fate, now, queue);
        }
    }

    fn lose_tail(&mut self, id: u64, end: usize, fate: &mut Rng) {
        let Some(pipe) = self.pipes.get_mut(&id) else { return };
        let end = &mut pipe.ends[end];
        let inbox = &mut end.inbox;
        let keep = fate.between(0, inbox.len() as u64) as usize;
        // The opening of the connection was seen by the kernel: it is not lost.
        let keep = keep.max(usize::from(matches!(inbox.front(), Some((_, Packet::Open)))));
        let tail: Vec<Packet> = inbox.drain(keep..).map(|(_, packet)| packet).collect();
        end.bytes -= tail.iter().map(weight).sum::<u64>();
        lose(&mut self.lost, tail);
    }

    fn tell_of_break(
        &mut self,
        id: u64,
        end: usize,
        fate: &mut Rng,
        now: u64,
        queue: &mut Queue<Occur>,
    ) {
        let mut at = now + self.delay(fate, false);
        if self.roll(fate, self.options.half_open) {
            self.count("half-open connections");
            if fate.chance(500_000) {
                return;
            }
            at += fate.magnitude(1_000, 10_000_000);
        }
        self.put(id, end, at, Packet::Fin, now, queue);
    }

    /// Drops a connection that nobody holds any more.
    fn forget(&mut self, id: u64) {
        if self.pipes.get(&id).is_some_and(|pipe| pipe.ends.iter().all(|end| !end.open))
            && let Some(pipe) = self.pipes.remove(&id)
        {
            for end in pipe.ends {
                lose(&mut self.lost, end.inbox.into_iter().map(|(_, packet)| packet));
                self.by_conn.remove(&end.conn);
            }
        }
    }

    /// What was held back flows again, if nothing holds it back any more.
    fn release(&mut self, from: NodeId, to: NodeId, now: u64, queue: &mut Queue<Occur>) {
        if self.is_stream_cut(from, to) {
            return;
        }
        let seat = |machine: NodeId| match client_of(machine) {
            None => Some(machine),
            Some(_) => self.seats.get(&machine).copied(),
        };
        for (id, pipe) in &mut self.pipes {
            for end in 0..2 {
                let (sender, taker) = (pipe.ends[1 - end].node, pipe.ends[end].node);
                if seat(taker) != Some(to) || seat(sender) != Some(from) {
                    continue;
                }
                let held = &mut pipe.ends[end];
                if let (false, Some((due, _))) = (held.scheduled, held.inbox.front()) {
                    held.scheduled = true;
                    queue.push((*due).max(now), Occur::Arrive { pipe: *id, end });
                }
            }
        }
    }

    fn fate(&mut self, kind: Kind, from: NodeId, to: NodeId) -> Rng {
        let key = (kind as u64, from.get(), to.get());
        let counter = self.counters.entry(key).or_default();
        *counter += 1;
        let link = (u64::from(from.get()) << 32) | u64::from(to.get());
        self.rng.split(kind as u64).split(link).split(*counter)
    }

    fn roll(&self, fate: &mut Rng, ppm: u32) -> bool {
        fate.chance(ppm) && !self.calm
    }

    fn delay(&self, fate: &mut Rng, datagram: bool) -> u64 {
        let options = &self.options;
        let ordinary = fate.between(options.latency_min, options.latency_max);
        if !self.roll(fate, options.slow) {
            return ordinary;
        }
        // A stream that is slow for too long counts as broken, datagrams may take for ever.
        let most = if datagram { options.slow_max } else { options.slow_max / 5 };
        ordinary + fate.magnitude(1_000, most.max(1_001))
    }

    fn link(&self, from: NodeId, to: NodeId) -> usize {
        from.get() as usize * self.nodes + to.get() as usize
    }

    /// Counts a fault of chance.
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

/// Bytes of a piece of a long message.
const AHEAD: u64 = 96 << 10;

/// True for what may overtake long messages, as in production.
fn overtakes(packet: &Packet) -> bool {
    matches!(
        packet,
        Packet::Message(_, Message::Ping { .. } | Message::Pong { .. } | Message::Alive { .. })
    )
}

/// Until when what one end was given to send is on its way.
fn pipe_busy(pipe: Option<&Pipe>, end: usize) -> u64 {
    pipe.map_or(0, |pipe| pipe.ends[end].busy_until)
}

/// Remembers which messages got lost, if that is wanted.
fn lose(lost: &mut Option<Vec<u64>>, packets: impl IntoIterator<Item = Packet>) {
    if let Some(lost) = lost {
        lost.extend(packets.into_iter().filter_map(|packet| match packet {
            Packet::Message(sent, _) => Some(sent),
            Packet::Open | Packet::Request(_) | Packet::Reply(_) | Packet::Fin => None,
        }));
    }
}
