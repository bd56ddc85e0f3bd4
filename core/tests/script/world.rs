//! A small world for scripts: real replicas, a network and disks that a script holds and releases.
//! Nothing happens by chance: messages are delivered in the order sent, disks complete at once
//! unless held, time moves only when told.

use crate::app::{Lines, Said};
use crate::past::Past;
use crate::show;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use zabkeeper_core::replica::{App as _, ClientRequest, Input, Outputs, Replica, Request};
use zabkeeper_core::words::{
    ConnId, End, Incarnation, Instant, Life, Micros, NodeId, Now, ReadLevel, Ticket, Txid,
    WallTime, WriteId,
};
use zabkeeper_core::zab::{
    Action, Base, Body, Change, Config, Entry, Event, Identity, Image, Item, Member, Membership,
    Message, Position, Record, RoleStatus, Vote,
};

#[derive(Default)]
pub(crate) struct World {
    nodes: BTreeMap<NodeId, Machine>,
    copies: BTreeMap<NodeId, (Image, (Position, Vec<Item>))>,
    membership: Option<Arc<Membership>>,
    cfg: Vec<(String, u64)>,
    now: u64,
    conns: BTreeMap<ConnId, (NodeId, NodeId)>,
    next_conn: u64,
    next_ticket: u64,
    lives: u64,
    cut: BTreeSet<NodeId>,
    paused: BTreeSet<NodeId>,
    waiting: Vec<Packet>,
    queue: VecDeque<Packet>,
    trace: bool,
    printed: String,
}

enum Packet {
    Vote(NodeId, Vote),
    Tcp(ConnId, NodeId, Message),
    Opened(ConnId, NodeId, NodeId),
    Refused(NodeId, NodeId),
    Denied(NodeId, NodeId),
    Closed(ConnId, NodeId),
}

impl Packet {
    fn to(&self) -> NodeId {
        match self {
            Self::Vote(to, _) | Self::Tcp(_, to, _) | Self::Closed(_, to) => *to,
            Self::Opened(_, _, to) | Self::Refused(to, _) | Self::Denied(to, _) => *to,
        }
    }
}

struct Machine {
    replica: Option<Replica<Lines>>,
    identity: Identity,
    disk: Image,
    past: Past,
    pending: VecDeque<(WriteId, Record)>,
    hold_disk: bool,
    /// Checkpoints that the state store still works on, while it is held.
    saving: Vec<Txid>,
    /// A snapshot that it works on, while it is held.
    sealing: Option<u64>,
    hold_state: bool,
    state: (Position, Vec<Item>),
    staged: Vec<Item>,
    staged_parts: u64,
    parts: Vec<Change>,
}

impl World {
    /// Runs one command and returns what it prints.
    pub(crate) fn run(&mut self, line: &str) -> String {
        self.printed.clear();
        let mut words = line.split_whitespace();
        let command = words.next().unwrap_or_default();
        let args: Vec<&str> = words.collect();
        match command {
            "cluster" => self.cluster(&args),
            "trace" => self.trace = args == ["on"],
            "start" => nodes(&args).for_each(|n| self.start(n)),
            "crash" => nodes(&args).for_each(|n| self.crash(n)),
            "copy" => nodes(&args).for_each(|n| self.copy(n)),
            "put_back" => nodes(&args).for_each(|n| self.put_back(n)),
            "wipe" => nodes(&args).for_each(|n| self.wipe(n)),
            "cut" => nodes(&args).for_each(|n| self.cut_off(n)),
            "heal" => nodes(&args).for_each(|n| {
                self.cut.remove(&n);
            }),
            "pause" => self.paused.extend(nodes(&args)),
            "resume" => {
                nodes(&args).for_each(|n| {
                    self.paused.remove(&n);
                });
                self.queue.extend(std::mem::take(&mut self.waiting));
            }
            "forget" => self.rewrite(node(args[0]), None),
            "forge" => self.rewrite(node(args[0]), Some(args[1])),
            "hold" => nodes(&args).for_each(|n| self.machine(n).hold_disk = true),
            "release" => nodes(&args).for_each(|n| self.release(n)),
            "complete" => self.complete(node(args[0])),
            "hold-state" => nodes(&args).for_each(|n| self.machine(n).hold_state = true),
            "release-state" => nodes(&args).for_each(|n| self.release_state(n)),
            "progress" => {
                let bytes = args[1].parse().expect("a number of bytes");
                self.input(node(args[0]), Event::StateProgress(bytes));
            }
            "space" => {
                let short = match args[1] {
                    "short" => true,
                    "enough" => false,
                    other => panic!("the disk is short of space or has enough, not {other}"),
                };
                self.input(node(args[0]), Event::SpaceShort(short));
            }
            "settle" => self.settle(),
            "until" => self.until(node(args[0]), args[1]),
            "advance" => self.advance(&args),
            "write" => self.write(node(args[0]), &args[1..].join(" ")),
            "read" => self.read(node(args[0]), ReadLevel::Linearizable),
            "peek" => self.read(node(args[0]), ReadLevel::Local(Txid::ZERO)),
            "fail" => nodes(&args).for_each(|n| self.input(n, Event::StorageFailed)),
            "state" => self.state(&args),
            "log" => nodes(&args).for_each(|n| self.log(n)),
            other => panic!("unknown command {other:?} in {line:?}"),
        }
        std::mem::take(&mut self.printed)
    }

    fn cluster(&mut self, args: &[&str]) {
        let mut count = 3;
        for arg in args {
            let (name, value) = arg.split_once('=').expect("name=value");
            let value: u64 = value.parse().expect("a number");
            match name {
                "of" => count = value,
                _ => self.cfg.push((name.to_owned(), value)),
            }
        }
        let member = |id: u64| {
            let addr = format!("n{id}");
            let member = Member {
                voter: true,
                incarnation: None,
                life: None,
                election_addr: addr.clone(),
                message_addr: addr,
            };
            (NodeId::new(id as u32), member)
        };
        let members = (1..=count).map(member).collect();
        let membership = Arc::new(Membership::new(Txid::ZERO, members));
        self.membership = Some(membership.clone());
        for id in membership.voters() {
            let machine = self.blank(id, u64::from(id.get()));
            self.nodes.insert(id, machine);
        }
    }

    fn blank(&self, node: NodeId, incarnation: u64) -> Machine {
        let membership = self.membership.clone().expect("cluster comes first");
        let cluster = membership.cluster_id();
        Machine {
            replica: None,
            identity: Identity { cluster, node, incarnation: Incarnation::new(incarnation) },
            disk: Image::new(Base { at: Position::ZERO, membership }),
            past: Past::new(Position::ZERO),
            pending: VecDeque::new(),
            hold_disk: false,
            saving: Vec::new(),
            sealing: None,
            hold_state: false,
            state: (Position::ZERO, Vec::new()),
            staged: Vec::new(),
            staged_parts: 0,
            parts: Vec::new(),
        }
    }

    fn start(&mut self, node: NodeId) {
        self.lives += 1;
        let (seed, now) = (self.lives, self.clock());
        let mut config = Config::new(node);
        for (name, value) in &self.cfg {
            match name.as_str() {
                "retain_bytes" => config.limits.retain_bytes = *value as usize,
                "retain" => config.limits.retain_entries = *value as usize,
                "checkpoint" => config.limits.checkpoint_entries = *value as usize,
                "checkpoint_bytes" => config.limits.checkpoint_bytes = *value as usize,
                "journal_bytes" => config.limits.journal_bytes = *value as usize,
                "counter_max" => config.limits.counter_max = *value,
                "pending" => config.limits.pending_requests = *value as usize,
                "message" => config.limits.message_bytes = *value as usize,
                "window" => config.limits.window_bytes = *value as usize,
                other => panic!("unknown option {other:?}"),
            }
        }
        let machine = self.machine(node);
        let (applied, items) = machine.state.clone();
        let mut app = Lines::empty();
        for item in items {
            app.load(&item.key, &item.value).expect("stored items load");
        }
        let begin = machine.disk.begin(node, Life::new(seed));
        machine.disk.apply(&begin).expect("a life can always begin");
        let disk = machine.disk.clone().recover(machine.identity, applied);
        let (replica, out) =
            Replica::restore(config, disk, app, seed, now).expect("a clean disk restores");
        machine.replica = Some(replica);
        self.perform(node, out);
    }

    fn crash(&mut self, node: NodeId) {
        let machine = self.machine(node);
        machine.replica = None;
        machine.pending.clear();
        machine.hold_disk = false;
        machine.hold_state = false;
        machine.saving.clear();
        machine.sealing = None;
        machine.staged.clear();
        machine.parts.clear();
        self.break_conns(node);
    }

    fn wipe(&mut self, node: NodeId) {
        self.crash(node);
        let machine = self.blank(node, 1000 + u64::from(node.get()));
        self.nodes.insert(node, machine);
    }

    /// Copies the directory of a node that is down.
    fn copy(&mut self, node: NodeId) {
        let machine = self.machine(node);
        assert!(machine.replica.is_none(), "a directory is copied while its node is down");
        let copy = (machine.disk.clone(), machine.state.clone());
        self.copies.insert(node, copy);
    }

    /// Puts the copy in the place of the directory of a node that is down.
    fn put_back(&mut self, node: NodeId) {
        let (disk, state) = self.copies[&node].clone();
        let machine = self.machine(node);
        assert!(machine.replica.is_none(), "a directory is replaced while its node is down");
        (machine.disk, machine.state) = (disk, state);
    }

    /// Damages the disk of a node that is down: its last entry is lost, or replaced by another
    /// under the same txid.
    fn rewrite(&mut self, node: NodeId, text: Option<&str>) {
        let disk = &mut self.machine(node).disk;
        let last = disk.log.iter().next_back().expect("there is an entry").clone();
        let before = disk.log.iter().rev().nth(1).map_or(disk.log.base().at, Entry::position);
        disk.log.truncate(before);
        if let Some(text) = text {
            let body = Body::Command(text.as_bytes().into());
            let forged = Entry::new(before, last.txid, last.time, last.origin, body);
            disk.log.append(forged).expect("it follows");
        }
    }

    fn cut_off(&mut self, node: NodeId) {
        self.cut.insert(node);
        self.break_conns(node);
    }

    /// Both ends learn that their connections are gone.
    fn break_conns(&mut self, node: NodeId) {
        let broken = self.conns.iter().filter(|(_, (a, b))| *a == node || *b == node);
        let broken: Vec<_> = broken.map(|(conn, ends)| (*conn, *ends)).collect();
        for (conn, (a, b)) in broken {
            self.conns.remove(&conn);
            self.queue.push_back(Packet::Closed(conn, a));
            self.queue.push_back(Packet::Closed(conn, b));
        }
    }

    fn release(&mut self, node: NodeId) {
        self.machine(node).hold_disk = false;
        self.flush(node);
    }

    /// A held disk completes its oldest write.
    fn complete(&mut self, node: NodeId) {
        let machine = self.machine(node);
        let (id, record) = machine.pending.pop_front().expect("something is being written");
        machine.disk.apply(&record).expect("the core issues records that follow");
        machine.past.apply(&record);
        self.input(node, Event::Persisted(id));
    }

    fn release_state(&mut self, node: NodeId) {
        self.machine(node).hold_state = false;
        for upto in std::mem::take(&mut self.machine(node).saving) {
            self.input(node, Event::Checkpointed(upto));
        }
        if let Some(stage) = self.machine(node).sealing.take() {
            self.input(node, Event::Sealed(stage));
        }
    }

    fn flush(&mut self, node: NodeId) {
        let machine = self.machine(node);
        if machine.hold_disk {
            return;
        }
        let Some((upto, _)) = machine.pending.back() else {
            return;
        };
        let upto = *upto;
        for (_, record) in std::mem::take(&mut machine.pending) {
            machine.disk.apply(&record).expect("the core issues records that follow");
            machine.past.apply(&record);
            if let Record::Install { base, .. } = record {
                machine.state = (base.at, std::mem::take(&mut machine.staged));
            }
        }
        self.input(node, Event::Persisted(upto));
    }

    /// Delivers what is on its way until nothing is.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            let Some(packet) = self.queue.pop_front() else {
                return;
            };
            self.deliver(packet);
        }
        panic!("the cluster does not settle");
    }

    /// Lets things happen until a message of this name is the next to be delivered to the node.
    fn until(&mut self, node: NodeId, name: &str) {
        for _ in 0..100_000 {
            let next = |packet: &Packet| match packet {
                Packet::Tcp(_, to, msg) => *to == node && show::message(msg).starts_with(name),
                _ => false,
            };
            match self.queue.pop_front() {
                Some(packet) if next(&packet) => return self.queue.push_front(packet),
                Some(packet) => self.deliver(packet),
                None => assert!(self.tick(u64::MAX), "nothing will ever happen"),
            }
        }
        panic!("{node} never gets {name}");
    }

    fn deliver(&mut self, packet: Packet) {
        if self.paused.contains(&packet.to()) {
            self.waiting.push(packet);
            return;
        }
        match packet {
            Packet::Vote(to, vote) => {
                if self.reaches(vote.from, to) {
                    self.input(to, Event::Notified(vote));
                }
            }
            Packet::Tcp(conn, to, msg) => {
                if self.conns.contains_key(&conn) {
                    self.input(to, Event::Received { conn, msg });
                }
            }
            Packet::Opened(conn, from, to) => {
                if self.conns.contains_key(&conn) {
                    self.input(to, Event::Accepted(conn));
                    self.input(from, Event::Connected { conn, to });
                }
            }
            Packet::Refused(from, to) => {
                let gone = self.machine(to).replica.is_none();
                let failed =
                    if gone { Event::ConnectRefused(to) } else { Event::ConnectFailed(to) };
                self.input(from, failed);
            }
            Packet::Denied(to, by) => self.input(to, Event::Denied(by)),
            Packet::Closed(conn, to) => self.input(to, Event::Closed(conn)),
        }
    }

    fn advance(&mut self, args: &[&str]) {
        let millis: u64 =
            args[0].strip_suffix("ms").and_then(|n| n.parse().ok()).expect("advance 250ms");
        let until = self.now + Micros::millis(millis).get();
        self.settle();
        while self.tick(until) {
            self.settle();
        }
        self.now = until;
    }

    /// Moves time to the next deadline of a node that is awake, if that is not after `until`.
    fn tick(&mut self, until: u64) -> bool {
        let awake = self.nodes.iter().filter(|(id, _)| !self.paused.contains(id));
        let due = awake.filter_map(|(_, m)| m.replica.as_ref()?.deadline()).min();
        let Some(at) = due.map(Instant::as_micros).filter(|at| *at <= until) else {
            return false;
        };
        self.now = self.now.max(at);
        let ids = self.nodes.keys().copied().filter(|id| !self.paused.contains(id));
        for id in ids.collect::<Vec<_>>() {
            self.input(id, Event::Tick);
        }
        true
    }

    fn write(&mut self, node: NodeId, text: &str) {
        self.request(node, Request::Write(text.as_bytes().into()));
    }

    fn read(&mut self, node: NodeId, level: ReadLevel) {
        self.request(node, Request::Read { query: (), level });
    }

    fn request(&mut self, node: NodeId, request: Request<()>) {
        self.next_ticket += 1;
        let ticket = Ticket::new(self.next_ticket);
        let deadline = Instant::from_micros(self.now).after(Micros::millis(5000));
        let now = self.clock();
        let Some(replica) = self.machine(node).replica.as_mut() else {
            return;
        };
        let mut out = Outputs::new();
        let request = ClientRequest { ticket, deadline, request };
        replica.handle(now, Input::Requests(vec![request]), &mut out);
        replica.check();
        self.perform(node, out);
    }

    fn input(&mut self, node: NodeId, event: Event) {
        if self.trace {
            match &event {
                Event::Received { msg, .. } => {
                    let _ = writeln!(self.printed, "{node} <- {}", show::message(msg));
                }
                Event::Notified(vote) => {
                    let _ = writeln!(self.printed, "{node} <- {} {}", vote.from, show::vote(vote));
                }
                Event::Persisted(upto) => {
                    let _ = writeln!(self.printed, "{node} persisted {upto}");
                }
                _ => {}
            }
        }
        let now = self.clock();
        let Some(replica) = self.machine(node).replica.as_mut() else {
            return;
        };
        let mut out = Outputs::new();
        replica.handle(now, Input::Event(event), &mut out);
        replica.check();
        self.perform(node, out);
    }

    fn perform(&mut self, node: NodeId, out: Outputs<Lines>) {
        for action in out.actions {
            self.act(node, action);
        }
        for (ticket, reply) in out.replies {
            let text = match reply {
                End::Done { txid, answer: Said::Did(what) } => format!("done at {txid}: {what}"),
                End::Done { txid, answer: Said::Read(what) } => format!("at {txid}: [{what}]"),
                End::Refused(why) => format!("refused: {why:?}"),
                End::Invalid(why) => format!("invalid: {why}"),
                End::Unknown => "unknown".to_owned(),
            };
            let _ = writeln!(self.printed, "{node} answers {ticket}: {text}");
        }
        self.flush(node);
    }

    fn act(&mut self, node: NodeId, action: Action) {
        match action {
            Action::Notify { to, vote } => self.queue.push_back(Packet::Vote(to, vote)),
            Action::NotifyRejected { to, why } => {
                let _ = writeln!(self.printed, "{node} rejects {to}: {why:?}");
                self.queue.push_back(Packet::Denied(to, node));
            }
            Action::Connect(to) => {
                let up = self.nodes.get(&to).is_some_and(|m| m.replica.is_some());
                if !up || !self.reaches(node, to) {
                    self.queue.push_back(Packet::Refused(node, to));
                    return;
                }
                self.next_conn += 1;
                let conn = ConnId::new(self.next_conn);
                self.conns.insert(conn, (node, to));
                self.queue.push_back(Packet::Opened(conn, node, to));
            }
            Action::Send { to, msg } => {
                for conn in to {
                    if let Some((a, b)) = self.conns.get(&conn) {
                        let other = if *a == node { *b } else { *a };
                        self.queue.push_back(Packet::Tcp(conn, other, msg.clone()));
                    }
                }
            }
            Action::Close { conn, why } => {
                // What was sent before still arrives, then the other side learns of the end.
                if let Some((a, b)) = self.conns.get(&conn).copied() {
                    let other = if a == node { b } else { a };
                    self.queue.push_back(Packet::Closed(conn, other));
                    if self.trace {
                        let _ = writeln!(self.printed, "{node} closes to {other}: {why:?}");
                    }
                }
            }
            Action::Persist { id, record } => {
                if self.trace {
                    let text = show::record(&record);
                    let _ = writeln!(self.printed, "{node} persist {id} {text}");
                }
                self.machine(node).pending.push_back((id, record));
            }
            Action::KeepLog(keep) => self.machine(node).past.keep(keep),
            Action::ReadLog { conn, after, upto, max_bytes } => {
                let past = &self.machine(node).past;
                let (from, entries) = past.read(after, upto, max_bytes);
                self.input(node, Event::LogRead { conn, from, entries });
            }
            Action::StageOpen(_) | Action::StageDrop(_) => {
                let machine = self.machine(node);
                machine.staged.clear();
                machine.staged_parts = 0;
                machine.sealing = None;
            }
            Action::Stage { stage, items } => {
                let machine = self.machine(node);
                machine.staged.extend(items);
                machine.staged_parts += 1;
                let parts = machine.staged_parts;
                self.input(node, Event::Staged { stage, parts });
            }
            Action::Seal { stage, .. } => {
                let machine = self.machine(node);
                match machine.hold_state {
                    true => machine.sealing = Some(stage),
                    false => self.input(node, Event::Sealed(stage)),
                }
            }
            Action::CheckpointPart { changes, .. } => self.machine(node).parts.extend(changes),
            Action::Checkpoint(checkpoint) => {
                let upto = checkpoint.at.txid;
                let parts = std::mem::take(&mut self.machine(node).parts);
                let items = parts
                    .into_iter()
                    .chain(checkpoint.changes)
                    .filter_map(|change| Some(Item { key: change.key, value: change.value? }));
                let state = (checkpoint.at, items.collect());
                let machine = self.machine(node);
                machine.state = state;
                match machine.hold_state {
                    true => machine.saving.push(upto),
                    false => self.input(node, Event::Checkpointed(upto)),
                }
            }
            Action::Note(note) => {
                let _ = writeln!(self.printed, "{node} {note:?}");
            }
            Action::Halt(why) => {
                let _ = writeln!(self.printed, "{node} halts: {why}");
            }
        }
    }

    fn state(&mut self, args: &[&str]) {
        let all: Vec<NodeId> = if args.is_empty() {
            self.nodes.keys().copied().collect()
        } else {
            nodes(args).collect()
        };
        for id in all {
            let Some(replica) = self.machine(id).replica.as_ref() else {
                let _ = writeln!(self.printed, "{id} down");
                continue;
            };
            let s = replica.status();
            let role = match s.role {
                RoleStatus::Looking => "looking".to_owned(),
                RoleStatus::Following { leader, serving } => {
                    format!("following {leader}{}", if serving { "" } else { " (not serving)" })
                }
                RoleStatus::Leading { established } => {
                    format!("leading{}", if established { "" } else { " (not established)" })
                }
                RoleStatus::Halted => "halted".to_owned(),
            };
            let state = replica.app().query(&());
            let _ = writeln!(
                self.printed,
                "{id} {role} accepted={} current={} base={} last={} commit={} applied={} [{state}]",
                s.accepted, s.current, s.base, s.last, s.committed, s.applied
            );
        }
    }

    fn log(&mut self, node: NodeId) {
        let Some(replica) = self.machine(node).replica.as_ref() else {
            return;
        };
        let list: Vec<_> = replica.node().log().iter().cloned().collect();
        let _ = writeln!(self.printed, "{node} {}", show::entries(&list));
    }

    fn reaches(&self, a: NodeId, b: NodeId) -> bool {
        !self.cut.contains(&a) && !self.cut.contains(&b)
    }

    fn clock(&self) -> Now {
        Now { at: Instant::from_micros(self.now), wall: WallTime::from_millis(self.now / 1000) }
    }

    fn machine(&mut self, node: NodeId) -> &mut Machine {
        self.nodes.get_mut(&node).expect("a node of the cluster")
    }
}

fn node(word: &str) -> NodeId {
    let number = word.strip_prefix('n').and_then(|n| n.parse().ok());
    NodeId::new(number.unwrap_or_else(|| panic!("{word:?} is not a node")))
}

fn nodes<'a>(args: &'a [&'a str]) -> impl Iterator<Item = NodeId> + 'a {
    args.iter().map(|word| node(word))
}
