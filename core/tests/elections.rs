//! Whole elections among nodes whose network has faults of its own: forged and replayed votes,
//! connections that do not come up though datagrams do, the elected one dying.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zabkeeper_core::words::{
    ConnId, Epoch, Incarnation, Instant, Life, NodeId, Now, Round, Txid, WallTime,
};
use zabkeeper_core::zab::{
    Action, Actions, Base, Body, Candidate, Config, Entry, Event, Identity, Image, Member,
    Membership, Message, Node, Note, Position, Promise, Record, Recorded, Stamp, Stance, Vote,
};

/// One way of a packet, in microseconds.
const LATENCY: u64 = 100;
const SECOND: u64 = 1_000_000;

fn n(id: u32) -> NodeId {
    NodeId::new(id)
}

fn t(counter: u64) -> Txid {
    Txid::new(Epoch::new(1), counter).unwrap()
}

enum Packet {
    Vote(u32, Vote),
    Opened { conn: ConnId, from: u32, to: u32 },
    Failed { from: u32, to: u32 },
    Refused { from: u32, to: u32 },
    Message(ConnId, u32, Message),
    Closed(ConnId, u32),
    Done(u32, zabkeeper_core::words::WriteId),
}

/// How connections between two nodes fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing answers.
    Silence,
    /// The other side says that nobody listens.
    Refusal,
}

/// Nodes of one formed ensemble, on disks that need no time.
struct Net {
    nodes: BTreeMap<u32, Node>,
    disks: BTreeMap<u32, Image>,
    now: u64,
    packets: BTreeMap<(u64, u64), Packet>,
    sent: u64,
    conns: BTreeMap<ConnId, (u32, u32)>,
    /// Ways on which connections fail; datagrams pass.
    no_tcp: BTreeMap<(u32, u32), Fault>,
    /// Ways on which datagrams are lost.
    no_udp: BTreeSet<(u32, u32)>,
    votes: Vec<(u32, Vote)>,
    dials: u64,
    notes: Vec<(u64, u32, Note)>,
}

fn history(voters: u32, counter: u64) -> (Arc<Membership>, Vec<Entry>) {
    let members = |known: bool| -> BTreeMap<NodeId, Member> {
        let member = |id: u32| Member {
            voter: true,
            incarnation: known.then(|| Incarnation::new(u64::from(id))),
            life: known.then(|| Recorded { at: t(1), life: Life::new(u64::from(id)) }),
            election_addr: format!("host{id}:1"),
            message_addr: format!("host{id}:2"),
        };
        (1..=voters).map(|id| (n(id), member(id))).collect()
    };
    let initial = Membership::new(Txid::ZERO, members(false));
    let formed = Body::Membership(Arc::new(Membership::new(t(1), members(true))));
    let mut entries = vec![Entry::new(Position::ZERO, t(1), WallTime::default(), None, formed)];
    for counter in 2..=counter {
        let body = Body::Command(b"x".as_slice().into());
        let after = entries.last().unwrap().position();
        entries.push(Entry::new(after, t(counter), WallTime::default(), None, body));
    }
    (Arc::new(initial), entries)
}

impl Net {
    /// Nodes 1, 2, ... with so many entries each; 0 is a node that is down.
    fn new(entries: &[u64]) -> Self {
        Self::with_faults(entries, &[], &[])
    }

    /// The same; between these nodes there are no connections, or nothing at all, in either
    /// direction.
    fn with_faults(entries: &[u64], no_tcp: &[(u32, u32, Fault)], cut: &[(u32, u32)]) -> Self {
        let mut net = Self {
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            now: 0,
            packets: BTreeMap::new(),
            sent: 0,
            conns: BTreeMap::new(),
            no_tcp: BTreeMap::new(),
            no_udp: BTreeSet::new(),
            votes: Vec::new(),
            dials: 0,
            notes: Vec::new(),
        };
        for (a, b, fault) in no_tcp {
            net.no_tcp.extend([((*a, *b), *fault), ((*b, *a), *fault)]);
        }
        for (a, b) in cut {
            net.no_tcp.extend([((*a, *b), Fault::Silence), ((*b, *a), Fault::Silence)]);
            net.no_udp.extend([(*a, *b), (*b, *a)]);
        }
        for (id, count) in (1..).zip(entries) {
            if *count > 0 {
                net.start(id, entries.len() as u32, *count, u64::from(id));
            }
        }
        net
    }

    fn start(&mut self, id: u32, voters: u32, count: u64, seed: u64) {
        let (membership, entries) = history(voters, count);
        let identity = Identity {
            cluster: membership.cluster_id(),
            node: n(id),
            incarnation: Incarnation::new(u64::from(id)),
        };
        let image = self.disks.entry(id).or_insert_with(|| {
            let mut image = Image::new(Base { at: Position::ZERO, membership });
            let promise = Promise { epoch: Epoch::new(1), leader: n(1) };
            let append = Record::Append { entries, commit: t(1) };
            for record in [Record::Promise(promise), append, Record::Enter(Epoch::new(1))] {
                image.apply(&record).unwrap();
            }
            image
        });
        let begin = image.begin(n(id), Life::new(seed));
        image.apply(&begin).unwrap();
        let disk = image.clone().recover(identity, Position::ZERO);
        let mut out = Actions::new();
        let node = Node::restore(Config::new(n(id)), disk, seed, self.clock(), &mut out);
        self.nodes.insert(id, node.unwrap());
        self.perform(id, out);
    }

    fn crash(&mut self, id: u32) {
        self.nodes.remove(&id);
        let ends = self.conns.iter().filter(|(_, (a, b))| *a == id || *b == id);
        let ends: Vec<_> =
            ends.map(|(conn, (a, b))| (*conn, if *a == id { *b } else { *a })).collect();
        for (conn, other) in ends {
            self.conns.remove(&conn);
            self.send(LATENCY, Packet::Closed(conn, other));
        }
    }

    fn clock(&self) -> Now {
        Now { at: Instant::from_micros(self.now), wall: WallTime::default() }
    }

    fn send(&mut self, delay: u64, packet: Packet) {
        self.sent += 1;
        self.packets.insert((self.now + delay, self.sent), packet);
    }

    fn perform(&mut self, id: u32, out: Actions) {
        for action in out.actions {
            match action {
                Action::Notify { to, vote } => {
                    self.votes.push((to.get(), vote.clone()));
                    if !self.no_udp.contains(&(id, to.get())) {
                        self.send(LATENCY, Packet::Vote(to.get(), vote));
                    }
                }
                Action::Connect(to) => self.dial(id, to.get()),
                Action::Send { to, msg } => {
                    for conn in to {
                        if let Some((a, b)) = self.conns.get(&conn) {
                            let other = if *a == id { *b } else { *a };
                            self.send(LATENCY, Packet::Message(conn, other, msg.clone()));
                        }
                    }
                }
                Action::Close { conn, .. } => {
                    if let Some((a, b)) = self.conns.get(&conn) {
                        let other = if *a == id { *b } else { *a };
                        self.send(LATENCY, Packet::Closed(conn, other));
                    }
                }
                Action::Persist { id: write, record } => {
                    let disk = self.disks.get_mut(&id).unwrap();
                    disk.apply(&record).expect("records follow each other");
                    self.send(0, Packet::Done(id, write));
                }
                Action::Note(note) => self.notes.push((self.now, id, note)),
                Action::Halt(why) => panic!("n{id} halts: {why}"),
                _ => {}
            }
        }
    }

    fn dial(&mut self, from: u32, to: u32) {
        self.dials += 1;
        match self.no_tcp.get(&(from, to)) {
            Some(Fault::Silence) => self.send(3 * SECOND, Packet::Failed { from, to }),
            Some(Fault::Refusal) => self.send(2 * LATENCY, Packet::Refused { from, to }),
            None => {
                let conn = ConnId::new(self.dials);
                self.send(2 * LATENCY, Packet::Opened { conn, from, to });
            }
        }
    }

    fn event(&mut self, id: u32, event: Event) {
        let now = self.clock();
        if let Some(node) = self.nodes.get_mut(&id) {
            let mut out = Actions::new();
            node.handle(now, event, &mut out);
            node.check();
            self.perform(id, out);
        }
    }

    fn deliver(&mut self, packet: Packet) {
        match packet {
            Packet::Vote(to, vote) => self.event(to, Event::Notified(vote)),
            Packet::Opened { from, to, .. } if !self.nodes.contains_key(&to) => {
                self.event(from, Event::ConnectRefused(n(to)));
            }
            Packet::Opened { conn, from, to } => {
                self.conns.insert(conn, (from, to));
                self.event(to, Event::Accepted(conn));
                self.event(from, Event::Connected { conn, to: n(to) });
            }
            Packet::Failed { from, to } => self.event(from, Event::ConnectFailed(n(to))),
            Packet::Refused { from, to } => self.event(from, Event::ConnectRefused(n(to))),
            Packet::Message(conn, to, msg) => {
                if self.conns.contains_key(&conn) {
                    self.event(to, Event::Received { conn, msg });
                }
            }
            Packet::Closed(conn, to) => {
                self.conns.remove(&conn);
                self.event(to, Event::Closed(conn));
            }
            Packet::Done(id, write) => self.event(id, Event::Persisted(write)),
        }
    }

    /// Lets something happen, not after `until`. False if there is nothing.
    fn step(&mut self, until: u64) -> bool {
        let packet = self.packets.keys().next().map(|(at, _)| *at);
        let due = |node: &Node| node.deadline().map(Instant::as_micros);
        let tick = self.nodes.values().filter_map(due).min();
        let next = packet.into_iter().chain(tick).min().filter(|at| *at <= until);
        let Some(at) = next else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(at);
        if packet == Some(at) {
            let (_, packet) = self.packets.pop_first().unwrap();
            self.deliver(packet);
        } else {
            let ids: Vec<u32> = self.nodes.keys().copied().collect();
            ids.into_iter().for_each(|id| self.event(id, Event::Tick));
        }
        true
    }

    fn pass(&mut self, micros: u64) {
        let until = self.now + micros;
        while self.step(until) {}
    }

    fn leader(&self) -> Option<u32> {
        self.nodes.iter().find(|(_, node)| node.is_established()).map(|(id, _)| *id)
    }

    /// Runs until somebody leads, for so long at most; returns who, and after how many milliseconds.
    fn elects(&mut self, seconds: u64) -> (u32, u64) {
        let (began, until) = (self.now, self.now + seconds * SECOND);
        while self.leader().is_none() {
            assert!(self.step(until), "no leader after {seconds} s: {:?}", self.tail());
        }
        (self.leader().unwrap(), (self.now - began) / 1000)
    }

    fn tail(&self) -> &[(u64, u32, Note)] {
        &self.notes[self.notes.len().saturating_sub(12)..]
    }

    /// A vote that `from` sent to `to` last, with another claim of its sender, which it votes for.
    fn forged(&self, from: u32, to: u32, counter: u64) -> Vote {
        let mut all = self.votes.iter().rev();
        let (_, vote) = all.find(|(at, vote)| *at == to && vote.from == n(from)).unwrap();
        let claim = Candidate { epoch: Epoch::new(1), txid: t(counter), node: n(from) };
        let stamp = Stamp { seq: vote.stamp.seq + 1, ..vote.stamp };
        Vote { candidate: claim, own: claim, stance: Stance::Looking, stamp, ..vote.clone() }
    }
}

#[test]
fn three_nodes_elect_within_a_few_round_trips_and_two_within_the_wait_for_a_third() {
    let (leader, millis) = Net::new(&[2, 2, 2]).elects(1);
    assert!(leader == 3 && millis <= 5, "n{leader} after {millis} ms");
    let (leader, millis) = Net::new(&[2, 1, 0]).elects(1);
    assert!(leader == 1 && millis <= 50, "n{leader} after {millis} ms");
}

#[test]
fn a_killed_leader_is_replaced_within_50_ms() {
    let mut net = Net::new(&[2, 2, 2]);
    net.elects(1);
    net.pass(5 * SECOND);
    net.crash(3);
    let (leader, millis) = net.elects(1);
    assert!(leader == 2 && millis <= 50, "n{leader} after {millis} ms");
}

#[test]
fn a_forged_claim_costs_one_resend_at_most_and_no_flood() {
    // n2 is the better one; somebody says in n1's name that n1 holds more. With the stamp of an
    // earlier life of n1, as it is on record, or of this one, as who listens on the way knows it.
    for present in [false, true] {
        for after in [200, 1_000, 20_000, 39_000] {
            let mut net = Net::new(&[2, 2, 0]);
            net.pass(after);
            let mut vote = net.forged(1, 2, 9);
            if !present {
                vote.stamp = Stamp { boot: 77, seq: 5, asks: 6, answers: 7 };
            }
            net.event(2, Event::Notified(vote));
            let (leader, millis) = net.elects(2);
            assert_eq!(leader, 2, "{present} {after}");
            assert!(millis <= 200, "{present} {after}: {millis} ms");
            assert!(net.votes.len() < 60, "{present} {after}: {} datagrams", net.votes.len());
        }
    }
}

#[test]
fn what_others_say_of_a_candidate_does_not_count() {
    let mut net = Net::new(&[2, 2, 0]);
    net.pass(1_000);
    let claim = Candidate { epoch: Epoch::new(1), txid: t(9), node: n(1) };
    let mut vote = net.forged(2, 1, 2);
    vote.candidate = claim;
    net.event(1, Event::Notified(vote));
    let said = &net.votes[net.votes.len() - 1].1;
    assert_ne!(said.candidate, claim);
    assert_eq!(net.elects(1).0, 2);
}

#[test]
fn replayed_votes_at_2000_a_second_do_not_stop_an_election() {
    let mut net = Net::new(&[2, 2, 2]);
    net.elects(1);
    // A node that comes back records the votes of a reign as well.
    net.crash(1);
    net.pass(SECOND);
    net.start(1, 3, 2, 11);
    net.pass(5 * SECOND);
    let recorded = net.votes.clone();
    assert!(recorded.iter().any(|(_, vote)| matches!(vote.stance, Stance::Leading(Some(_)))));
    net.crash(3);
    let (began, before) = (net.now, net.votes.len());
    let mut turn = 0;
    while net.leader().is_none() {
        assert!(net.now < began + 2 * SECOND, "no leader: {:?}", net.tail());
        let (to, vote) = recorded[turn % recorded.len()].clone();
        turn += 1;
        net.event(to, Event::Notified(vote));
        net.pass(500);
    }
    assert!(net.now - began < SECOND / 2, "{} us", net.now - began);
    assert!(net.votes.len() - before < 2 * turn, "{} for {turn}", net.votes.len() - before);
}

#[test]
fn a_round_at_the_end_of_the_numbers_does_not_stick() {
    let mut net = Net::new(&[2, 2, 0]);
    net.pass(1_000);
    for round in [u64::MAX, u64::MAX - 1, 1 << 40] {
        let vote = Vote { round: Round::new(round), ..net.forged(1, 2, 2) };
        net.event(2, Event::Notified(vote));
    }
    let (leader, millis) = net.elects(2);
    assert!(leader == 2 && millis <= 700, "n{leader} after {millis} ms");
    assert!(net.nodes[&2].status().round < Round::new(1 << 33));
}

#[test]
fn lost_datagrams_cost_a_resend() {
    let mut net = Net::new(&[2, 2, 0]);
    net.no_udp.insert((1, 2));
    net.pass(10_000);
    net.no_udp.clear();
    let (_, millis) = net.elects(1);
    assert!(millis <= 150, "{millis} ms");
}

#[test]
fn the_best_candidate_that_nobody_can_join_is_put_last() {
    // Three nodes, the best one's port for peers is cut, by a filter that answers or one that does
    // not; its datagrams pass.
    for (fault, limit) in [(Fault::Refusal, 300), (Fault::Silence, 3_500)] {
        let mut net = Net::with_faults(&[2, 2, 2], &[(1, 3, fault), (2, 3, fault)], &[]);
        let (leader, millis) = net.elects(10);
        assert_eq!(leader, 2);
        assert!(millis <= limit, "{millis} ms");
        // And nothing changes afterwards.
        net.pass(60 * SECOND);
        assert_eq!(net.nodes[&2].status().current, net.nodes[&1].status().current);
        assert!(net.nodes[&2].is_established());
    }
}

#[test]
fn a_candidate_that_one_other_can_join_only_is_put_last() {
    // Five nodes, the best one is linked to one other, for datagrams too or not.
    let unlinked = [(1, 5), (2, 5), (3, 5)];
    for entries in [2, 3] {
        let mut net = Net::with_faults(&[2, 2, 2, 2, entries], &[], &unlinked);
        let (leader, millis) = net.elects(20);
        assert_eq!(leader, 4, "with {entries} entries");
        assert!(millis <= 1_500, "{millis} ms with {entries} entries");
        let faults = unlinked.map(|(a, b)| (a, b, Fault::Silence));
        let mut net = Net::with_faults(&[2, 2, 2, 2, entries], &faults, &[]);
        let (leader, millis) = net.elects(20);
        assert_eq!(leader, 4, "with {entries} entries, and datagrams");
        assert!(millis <= 9_000, "{millis} ms with {entries} entries, and datagrams");
    }
}

#[test]
fn the_hub_of_a_star_leads_though_a_leaf_has_more() {
    // n1 reaches everyone, the others only n1; n5 has an entry that nobody else has.
    let leaves = [(2, 3), (2, 4), (2, 5), (3, 4), (3, 5), (4, 5)];
    let mut net = Net::with_faults(&[2, 2, 2, 2, 3], &[], &leaves);
    let (leader, millis) = net.elects(10);
    assert_eq!(leader, 1);
    assert!(millis <= 2_000, "{millis} ms");
}

#[test]
fn an_elected_node_that_dies_before_it_is_joined_costs_well_under_half_a_second() {
    let mut net = Net::new(&[2, 2, 2]);
    while !net.notes.iter().any(|(_, _, note)| matches!(note, Note::Elected { .. })) {
        net.step(SECOND);
    }
    net.crash(3);
    let (leader, millis) = net.elects(2);
    assert_eq!(leader, 2);
    assert!(millis <= 250, "{millis} ms");
}

#[test]
fn of_three_nodes_one_that_restarts_while_another_is_down_finds_the_leader_by_its_word_alone() {
    let mut net = Net::new(&[2, 2, 2]);
    net.elects(1);
    net.crash(2);
    net.pass(SECOND);
    let epoch = net.nodes[&3].status().current;
    net.crash(1);
    net.pass(20_000);
    net.start(1, 3, 2, 12);
    net.pass(SECOND);
    assert!(net.nodes[&3].is_established());
    assert_eq!(net.nodes[&3].status().current, epoch, "no election for that");
    assert_eq!(net.nodes[&1].status().current, epoch);
}
