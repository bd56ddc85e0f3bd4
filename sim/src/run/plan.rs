//! An explicit list of everything that will go wrong and everything that clients will ask. A run
//! is a function of its plan alone, so a plan can be kept, edited, shrunk and replayed.

use crate::run::options::{Options, Swarm};
use crate::world::dice::{Dice, Stream, stream};
use serde::{Deserialize, Serialize};
use zabkeeper_core::words::Rng;

/// A run, written down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Decides what the plan leaves open: the fate of each message and flush.
    pub seed: u64,
    /// The planted bug, if any, by its number in `docs/simulation.md`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutant: Option<String>,
    /// The circumstances.
    pub options: Options,
    /// What goes wrong when.
    pub faults: Vec<Planned>,
    /// What clients ask when, ascending by time.
    pub ops: Vec<Op>,
}

/// A fault and when it strikes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Planned {
    /// The time in microseconds.
    pub at: u64,
    /// If given, it waits from then on for the first [`Note`] of this name at any node.
    ///
    /// [`Note`]: zabkeeper_core::zab::Note
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// What goes wrong.
    pub fault: Fault,
}

/// What can go wrong at a time. Nodes are numbered from 1; 0 is the node that made the note waited
/// for, or else the newest leader. Spans are in microseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are nodes and spans as described")]
pub enum Fault {
    /// The machine loses power and comes back after a while.
    Crash { node: u32, down: u64 },
    /// As above, in the middle of a step: after so many of its actions are done.
    CrashInStep { node: u32, actions: u32, down: u64 },
    /// All machines lose power at once; each comes back within this time.
    PowerCut { down: u64 },
    /// The process stops and goes on later, with everything that came in the meantime.
    Pause { node: u32, lasts: u64 },
    /// Nothing reaches the node, or nothing leaves it, or both.
    Isolate { node: u32, inbound: bool, outbound: bool, lasts: u64 },
    /// Nothing goes from the first to the second of each pair.
    Cut { links: Vec<(u32, u32)>, lasts: u64 },
    /// All connections between the two break.
    Break { a: u32, b: u32 },
    /// Nothing said on a connection goes from the first to the second of each pair, nor is one
    /// opened: it waits, as at a full window or behind a firewall. Datagrams get through.
    CutStreams { links: Vec<(u32, u32)>, lasts: u64 },
    /// From the first to the second of each pair go no more than so many bytes a second.
    SlowLinks { links: Vec<(u32, u32)>, rate: u64, lasts: u64 },
    /// Each flush takes so much longer, and no more than so many bytes a second are written.
    SlowDisk { node: u32, latency: u64, rate: u64, lasts: u64 },
    /// The state store completes nothing for a while; the journal goes on.
    StoreStall { node: u32, lasts: u64 },
    /// Votes that the second never sent reach the first, so many of them at this pace: true to its
    /// name, its disk and the round, and false in what they claim.
    Forge { to: u32, from: u32, forgery: Forgery },
    /// A stranger connects and says something false in the name of the other node.
    Stranger { node: u32, from: u32, tale: Tale },
    /// So many requests come to a node at once.
    Flood { node: u32, kind: FloodKind, count: u32, patience: u64 },
    /// So many clients that mean no good connect to a node, from one address or as many as they are,
    /// and ask so much each.
    Guests { node: u32, kind: GuestKind, count: u32, requests: u32, apart: bool },
    /// The machine is suspended: its clock stands still, and everything comes later.
    Suspend { node: u32, lasts: u64 },
    /// The disk completes nothing for a while.
    DiskStall { node: u32, lasts: u64 },
    /// The next flush fails: the process ends, and somebody starts it again after a while.
    DiskFail { node: u32 },
    /// The machine comes back with an empty disk.
    Wipe { node: u32, down: u64 },
    /// The machine is stopped, and its directory copied; after a while the copy is put back in place of
    /// the newest, unless nobody could tell.
    OldDisk { node: u32, down: u64, after: u64 },
    /// The second half of that.
    PutBack { node: u32, down: u64 },
    /// The votes of an old reign, so many before the newest, reach the node again and again.
    Echo { node: u32, back: u32, lasts: u64 },
    /// The wall clock jumps.
    WallStep { node: u32, millis: i64 },
}

/// Forged votes: what they say and how they come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Forgery {
    /// What they claim.
    pub lie: Lie,
    /// What the forger knows.
    pub knows: Knows,
    /// How many.
    pub count: u32,
    /// Between two of them.
    pub gap: u64,
}

/// What a forged vote claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Lie {
    /// The sender stands for itself with more than it has.
    OwnMore,
    /// The sender stands for itself with less than it has, as before it logged or entered that.
    OwnLess,
    /// The sender stands for the receiver, with more than the receiver has.
    YoursMore,
    /// The sender stands for a third node, with more than that has.
    OthersMore,
    /// The sender is in a round far ahead.
    FarRound,
    /// The sender is in the last of all rounds.
    LastRound,
    /// The sender leads an epoch of the future.
    Leads,
}

/// What a forger knows of the stamps by which a datagram is the present word of its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Knows {
    /// Nothing: it guesses.
    Nothing,
    /// It saw a datagram of the sender, and says its stamp again.
    Old,
    /// It sees what the sender says, and is so much ahead of it.
    Present {
        /// By how many datagrams.
        ahead: u64,
    },
}

/// What a stranger says on the port for peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Tale {
    /// Nothing at all, and it stays.
    Silence,
    /// The greeting of a follower that has promised so much more.
    Promised {
        /// How many epochs.
        ahead: u64,
    },
    /// The greeting of a follower with another disk.
    OtherDisk,
    /// The greeting of a process that runs on a copy of the node's directory.
    Cloned,
    /// The greeting of a follower, and then that it has acknowledged everything.
    Acknowledged,
    /// Something that nobody begins with.
    OutOfTurn,
}

/// What comes in a flood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FloodKind {
    /// Writes.
    Writes,
    /// Linearizable reads.
    Reads,
    /// Local reads.
    Local,
    /// Local reads of a state that is not there yet and never will be.
    Future,
    /// Writes of so many keys below one, and then that one is deleted: in parts, and at once with all
    /// that is below it.
    Bulk,
}

/// What clients that mean no good do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum GuestKind {
    /// They say nothing.
    Silent,
    /// They begin a request and do not go on.
    Unfinished,
    /// They take no answer.
    Deaf,
    /// They take their answers slowly.
    Slow,
    /// They ask for the status.
    Curious,
    /// They ask much at once.
    Eager,
    /// What they say makes no sense.
    Confused,
}

impl Fault {
    /// Its class, for counting and for dropping whole classes.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::CrashInStep { .. } => "crash in a step",
            Self::PowerCut { .. } => "power cut",
            Self::Pause { .. } => "pause",
            Self::Isolate { .. } => "isolation",
            Self::Cut { .. } => "partition",
            Self::Break { .. } => "broken connections",
            Self::CutStreams { .. } => "cut connections",
            Self::SlowLinks { .. } => "slow links",
            Self::SlowDisk { .. } => "slow disk",
            Self::StoreStall { .. } => "state store stall",
            Self::Suspend { .. } => "suspended machine",
            Self::Forge { .. } => "forged votes",
            Self::Stranger { .. } => "stranger",
            Self::Flood { .. } => "flood",
            Self::Guests { .. } => "guests",
            Self::DiskStall { .. } => "disk stall",
            Self::DiskFail { .. } => "disk failure",
            Self::Wipe { .. } => "wiped disk",
            Self::OldDisk { .. } => "copied disk",
            Self::PutBack { .. } => "old disk",
            Self::Echo { .. } => "echoes of old votes",
            Self::WallStep { .. } => "wall clock step",
        }
    }
}

/// A client's request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Op {
    /// When, in microseconds.
    pub at: u64,
    /// Which client.
    pub client: u32,
    /// Which node it asks.
    pub node: u32,
    /// What.
    pub kind: OpKind,
    /// Which key.
    pub key: u32,
    /// How many bytes of value, for writes.
    pub size: u32,
    /// How long it waits, in microseconds.
    pub patience: u64,
}

/// What a client asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of the commands")]
pub enum OpKind {
    Set,
    Add,
    Delete,
    /// A linearizable read.
    Get,
    /// A read of the node's own state.
    Peek,
    /// A linearizable listing.
    List,
    /// A listing of the node's own state.
    PeekList,
}

impl OpKind {
    /// True if it changes something.
    pub fn is_write(self) -> bool {
        matches!(self, Self::Set | Self::Add | Self::Delete)
    }

    /// True if it looks at the state of the node asked, perhaps an old one.
    pub fn is_local(self) -> bool {
        matches!(self, Self::Peek | Self::PeekList)
    }
}

/// Steps of the protocol at which a fault likes to strike, by the names of their notes.
const AMBUSHES: [&str; 13] = [
    "Elected",
    "EpochProposed",
    "EpochAccepted",
    "SyncPlanned",
    "Truncated",
    "Sealing",
    "Installed",
    "Established",
    "Serving",
    "FollowerReady",
    "SteppedDown",
    "MembershipCommitted",
    "Pruned",
];

impl Plan {
    /// The plan that a seed means.
    pub fn draw(seed: u64) -> Self {
        Self::from_swarm(seed, &Swarm::draw(seed))
    }

    /// The plan that a seed means under these options.
    pub fn from_swarm(seed: u64, swarm: &Swarm) -> Self {
        let mut faults = draw_faults(&stream(seed, Stream::Faults), swarm);
        faults.sort_by_key(|planned| planned.at);
        let mut ops = draw_ops(&stream(seed, Stream::Workload), swarm);
        ops.sort_by_key(|op| op.at);
        Self { seed, mutant: None, options: swarm.options.clone(), faults, ops }
    }
}

/// The stream of the ambushes, behind those of the classes.
const AMBUSH_STREAM: u64 = 100;

/// The stream of the rivals, behind that.
const RIVALS_STREAM: u64 = 101;

/// The stream of what strikes an ensemble that forms, behind that.
const BIRTH_STREAM: u64 = 102;

/// Power is lost when the first leader is established, and about when its followers hear that the
/// first membership is committed.
fn draw_birth(rng: &mut Rng, nodes: u64) -> Vec<Planned> {
    let strikes = rng.between(1, 3);
    let strike = |_| {
        let on = *rng.pick(&["Established", "Established", "MembershipCommitted", "FollowerReady"]);
        let down = rng.magnitude(1_000, 300_000);
        let fault = match rng.weighted(&[3, 2, 2]) {
            0 => Fault::CrashInStep { node: 0, actions: rng.between(0, 6) as u32, down },
            1 => Fault::PowerCut { down },
            _ => Fault::Crash { node: rng.between(1, nodes) as u32, down },
        };
        Planned { at: 0, on: Some(on.to_string()), fault }
    };
    (0..strikes).map(strike).collect()
}

/// Two halves and a bridge whose connections break all the time, once the ensemble has formed.
fn draw_rivals(rng: &mut Rng, swarm: &Swarm, mut faults: Vec<Planned>) -> Vec<Planned> {
    faults.retain(|planned| !matches!(planned.fault, Fault::Break { .. }));
    let mut nodes: Vec<u32> = (1..=swarm.options.nodes).collect();
    rng.shuffle(&mut nodes);
    let [bridge, halves @ ..] = nodes.as_slice() else { return faults };
    let (left, right) = halves.split_at(halves.len() / 2);
    let pairs = left.iter().flat_map(|a| right.iter().flat_map(move |b| [(*a, *b), (*b, *a)]));
    let start = rng.between(800_000, 1_600_000);
    faults.push(Planned {
        at: start,
        on: None,
        fault: Fault::Cut { links: pairs.collect(), lasts: swarm.options.duration },
    });
    for at in times(rng, swarm.break_gap, swarm.options.duration) {
        let fault = Fault::Break { a: *bridge, b: *rng.pick(halves) };
        faults.push(Planned { at: at + start, on: None, fault });
    }
    // Just when one of the two asks for an epoch, or the bridge has promised it.
    for at in times(rng, swarm.break_gap * 4, swarm.options.duration) {
        let on = Some((*rng.pick(&["EpochProposed", "EpochAccepted", "Elected"])).to_string());
        let b = if rng.chance(500_000) { 0 } else { *rng.pick(halves) };
        faults.push(Planned { at: at + start, on, fault: Fault::Break { a: *bridge, b } });
    }
    faults
}

/// Draws each class from its own stream.
fn draw_faults(rng: &Rng, swarm: &Swarm) -> Vec<Planned> {
    let nodes = u64::from(swarm.options.nodes);
    let mut faults = Vec::new();
    let from = swarm.options.wide.as_ref().map_or(0, |wide| wide.from);
    type Draw = fn(&mut Rng, u64, u64) -> Fault;
    let classes: [(u64, Draw); 21] = [
        (swarm.crash_gap, draw_crash),
        (swarm.crash_in_step_gap, draw_crash_in_step),
        (swarm.power_cut_gap, |rng, _, _| Fault::PowerCut {
            down: rng.magnitude(1_000, 2_000_000),
        }),
        (swarm.pause_gap, |rng, nodes, _| Fault::Pause {
            node: node(rng, nodes),
            lasts: rng.magnitude(1_000, 10_000_000),
        }),
        (swarm.partition_gap, draw_partition),
        (swarm.break_gap, |rng, nodes, _| Fault::Break {
            a: node(rng, nodes),
            b: rng.between(1, nodes) as u32,
        }),
        (swarm.stall_gap, |rng, nodes, _| Fault::DiskStall {
            node: node(rng, nodes),
            lasts: rng.magnitude(10_000, 20_000_000),
        }),
        (swarm.disk_fail_gap, |rng, nodes, _| Fault::DiskFail { node: node(rng, nodes) }),
        (swarm.wipe_gap, |rng, nodes, _| Fault::Wipe {
            node: node(rng, nodes),
            down: rng.magnitude(1_000, 2_000_000),
        }),
        (swarm.wall_gap, |rng, nodes, _| Fault::WallStep {
            node: node(rng, nodes),
            millis: rng.between(0, 7_200_000) as i64 - 3_600_000,
        }),
        (swarm.echo_gap, draw_echo),
        (swarm.old_disk_gap, |rng, nodes, _| Fault::OldDisk {
            node: node(rng, nodes),
            down: rng.magnitude(1_000, 1_000_000),
            after: rng.magnitude(300_000, 6_000_000),
        }),
        (swarm.stream_cut_gap, |rng, nodes, _| Fault::CutStreams {
            links: some_links(rng, nodes),
            lasts: rng.magnitude(10_000, 10_000_000),
        }),
        (swarm.slow_link_gap, |rng, nodes, _| Fault::SlowLinks {
            links: some_links(rng, nodes),
            rate: rng.magnitude(2_000, 2_000_000),
            lasts: rng.magnitude(100_000, 10_000_000),
        }),
        (swarm.slow_disk_gap, |rng, nodes, _| Fault::SlowDisk {
            node: node(rng, nodes),
            latency: rng.magnitude(1_000, 1_000_000),
            rate: rng.magnitude(2_000, 2_000_000),
            lasts: rng.magnitude(100_000, 10_000_000),
        }),
        (swarm.store_stall_gap, |rng, nodes, _| Fault::StoreStall {
            node: node(rng, nodes),
            lasts: rng.magnitude(10_000, 20_000_000),
        }),
        (swarm.forge_gap, draw_forgery),
        (swarm.stranger_gap, draw_stranger),
        (swarm.flood_gap, |rng, nodes, _| Fault::Flood {
            node: node(rng, nodes),
            kind: *rng.pick(&[
                FloodKind::Writes,
                FloodKind::Reads,
                FloodKind::Local,
                FloodKind::Future,
                FloodKind::Bulk,
                FloodKind::Bulk,
            ]),
            count: rng.magnitude(100, 3_000) as u32,
            patience: rng.magnitude(100_000, 60_000_000),
        }),
        (swarm.suspend_gap, |rng, nodes, _| Fault::Suspend {
            node: node(rng, nodes),
            lasts: rng.magnitude(1_000, 10_000_000),
        }),
        (swarm.guest_gap, |rng, nodes, _| Fault::Guests {
            node: node(rng, nodes),
            kind: *rng.pick(&[
                GuestKind::Silent,
                GuestKind::Unfinished,
                GuestKind::Deaf,
                GuestKind::Slow,
                GuestKind::Curious,
                GuestKind::Eager,
                GuestKind::Confused,
            ]),
            count: rng.magnitude(1, 60) as u32,
            requests: rng.magnitude(1, 60) as u32,
            apart: rng.chance(500_000),
        }),
    ];
    for (class, (gap, draw)) in classes.into_iter().enumerate() {
        let mut rng = rng.split(class as u64);
        for at in times(&mut rng, gap, swarm.options.duration) {
            let fault = draw(&mut rng, nodes, gap);
            let at = at + from;
            faults.push(Planned { at, on: None, fault });
        }
    }
    if swarm.birth {
        faults.extend(draw_birth(&mut rng.split(BIRTH_STREAM), nodes));
        return faults;
    }
    if swarm.rivals {
        return draw_rivals(&mut rng.split(RIVALS_STREAM), swarm, faults);
    }
    let mut rng = rng.split(AMBUSH_STREAM);
    for at in times(&mut rng, swarm.ambush_gap, swarm.options.duration) {
        let on = Some((*rng.pick(&AMBUSHES)).to_string());
        let fault = draw_ambush(&mut rng);
        faults.push(Planned { at, on, fault });
    }
    faults
}

fn times(rng: &mut Rng, gap: u64, duration: u64) -> Vec<u64> {
    let mut at = 0;
    let mut times = Vec::new();
    if gap == 0 {
        return times;
    }
    loop {
        at += rng.between(1, 2 * gap);
        if at >= duration || times.len() >= 300 {
            break;
        }
        times.push(at);
    }
    times
}

/// Any node, now and then the leader on purpose.
fn node(rng: &mut Rng, nodes: u64) -> u32 {
    if rng.chance(300_000) { 0 } else { rng.between(1, nodes) as u32 }
}

fn draw_crash(rng: &mut Rng, nodes: u64, _gap: u64) -> Fault {
    Fault::Crash { node: node(rng, nodes), down: rng.magnitude(100, 5_000_000) }
}

fn draw_crash_in_step(rng: &mut Rng, nodes: u64, _gap: u64) -> Fault {
    Fault::CrashInStep {
        node: node(rng, nodes),
        actions: rng.between(0, 4) as u32,
        down: rng.magnitude(100, 2_000_000),
    }
}

fn draw_forgery(rng: &mut Rng, nodes: u64, _gap: u64) -> Fault {
    let (to, from) = (rng.between(1, nodes) as u32, rng.between(1, nodes) as u32);
    let lie = *rng.pick(&[
        Lie::OwnMore,
        Lie::OwnLess,
        Lie::YoursMore,
        Lie::OthersMore,
        Lie::FarRound,
        Lie::LastRound,
        Lie::Leads,
    ]);
    let knows = match rng.weighted(&[1, 2, 2]) {
        0 => Knows::Nothing,
        1 => Knows::Old,
        _ => Knows::Present { ahead: rng.magnitude(1, 1 << 40) },
    };
    let (count, gap) = (rng.magnitude(1, 200) as u32, rng.magnitude(300, 100_000));
    Fault::Forge { to, from, forgery: Forgery { lie, knows, count, gap } }
}

fn draw_stranger(rng: &mut Rng, nodes: u64, _gap: u64) -> Fault {
    let tale = match rng.weighted(&[1, 3, 1, 1, 1, 2]) {
        0 => Tale::Silence,
        1 => Tale::Promised { ahead: rng.magnitude(1, u64::MAX / 2) },
        2 => Tale::OtherDisk,
        3 => Tale::Acknowledged,
        4 => Tale::OutOfTurn,
        _ => Tale::Cloned,
    };
    Fault::Stranger { node: node(rng, nodes), from: rng.between(1, nodes) as u32, tale }
}

fn draw_echo(rng: &mut Rng, nodes: u64, _gap: u64) -> Fault {
    Fault::Echo {
        node: rng.between(1, nodes) as u32,
        back: rng.between(0, 4) as u32,
        lasts: rng.magnitude(1_000, 2_000_000),
    }
}

fn draw_ambush(rng: &mut Rng) -> Fault {
    let lasts = rng.magnitude(1_000, 4_000_000);
    match rng.weighted(&[5, 2, 3, 2, 1, 1]) {
        0 => Fault::CrashInStep { node: 0, actions: rng.between(0, 5) as u32, down: lasts },
        1 => Fault::Crash { node: 0, down: lasts },
        2 => {
            let (inbound, outbound) = *rng.pick(&[(true, true), (true, false), (false, true)]);
            Fault::Isolate { node: 0, inbound, outbound, lasts }
        }
        3 => Fault::DiskStall { node: 0, lasts },
        4 => Fault::Pause { node: 0, lasts },
        _ => Fault::PowerCut { down: lasts },
    }
}

/// Links to or from a node, or some of all, in each direction by the toss of a coin.
fn some_links(rng: &mut Rng, nodes: u64) -> Vec<(u32, u32)> {
    let all: Vec<u32> = (1..=nodes as u32).collect();
    let one = rng.chance(500_000).then(|| *rng.pick(&all));
    let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b)));
    let mut may = |(a, b): &(u32, u32)| {
        a != b && one.is_none_or(|one| *a == one || *b == one) && rng.chance(600_000)
    };
    pairs.filter(&mut may).collect()
}

fn draw_partition(rng: &mut Rng, nodes: u64, gap: u64) -> Fault {
    // In a storm of partitions each is short.
    let lasts = rng.magnitude(10_000, 10_000_000.min(gap.saturating_mul(4)));
    let mut side: Vec<u32> = (1..=nodes as u32).collect();
    rng.shuffle(&mut side);
    let split = rng.between(1, nodes.max(2) - 1) as usize;
    let (left, right) = side.split_at(split.min(side.len()));
    let pairs = |from: &[u32], to: &[u32]| -> Vec<(u32, u32)> {
        from.iter().flat_map(|a| to.iter().map(move |b| (*a, *b))).collect()
    };
    let links = match rng.weighted(&[4, 2, 2, 2]) {
        // Two halves that do not hear each other.
        0 => [pairs(left, right), pairs(right, left)].concat(),
        // One half hears, the other does not.
        1 => pairs(left, right),
        // Two halves and a bridge that hears both.
        2 => {
            let left = left.get(1..).unwrap_or_default();
            [pairs(left, right), pairs(right, left)].concat()
        }
        // Each direction of each link by the toss of a coin.
        _ => pairs(&side, &side).into_iter().filter(|_| rng.chance(400_000)).collect(),
    };
    match rng.weighted(&[3, 1]) {
        0 => Fault::Cut { links, lasts },
        _ => {
            let (inbound, outbound) = *rng.pick(&[(true, true), (true, false), (false, true)]);
            Fault::Isolate { node: node(rng, nodes), inbound, outbound, lasts }
        }
    }
}

fn draw_ops(rng: &Rng, swarm: &Swarm) -> Vec<Op> {
    let mut ops = Vec::new();
    let keys = if swarm.options.wide.is_some() { swarm.keys } else { 0 };
    for key in 0..keys {
        // The state is made before things begin to take time.
        ops.push(Op {
            at: 800_000 + key * 2_000,
            client: 1 + (key % swarm.clients) as u32,
            node: 1 + (key % u64::from(swarm.options.nodes)) as u32,
            kind: OpKind::Set,
            key: 1 + key as u32,
            size: swarm.value_max as u32,
            patience: 5_000_000,
        });
    }
    for client in 1..=swarm.clients {
        let mut rng = rng.split(client);
        // A client stays with a node for a while.
        let mut node = rng.between(1, u64::from(swarm.options.nodes)) as u32;
        for at in times(&mut rng, swarm.request_gap, swarm.options.duration) {
            if rng.chance(100_000) {
                node = rng.between(1, u64::from(swarm.options.nodes)) as u32;
            }
            let kinds = [
                OpKind::Set,
                OpKind::Add,
                OpKind::Delete,
                OpKind::Get,
                OpKind::Peek,
                OpKind::List,
                OpKind::PeekList,
            ];
            let kind = kinds[rng.weighted(&swarm.mix)];
            let key = rng.between(1, swarm.keys) as u32;
            let size = match swarm.options.wide {
                Some(_) if rng.chance(900_000) => swarm.value_max as u32,
                _ => rng.between(0, swarm.value_max) as u32,
            };
            // Now and then several at once.
            let burst = if rng.chance(50_000) { rng.between(2, 12) } else { 1 };
            for _ in 0..burst {
                ops.push(Op {
                    at,
                    client: client as u32,
                    node,
                    kind,
                    key,
                    size,
                    patience: swarm.patience,
                });
            }
        }
    }
    ops
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_its_json() {
        for seed in 0..50 {
            let plan = Plan::draw(seed);
            let text = serde_json::to_string(&plan).expect("plans are plain data");
            assert_eq!(serde_json::from_str::<Plan>(&text).expect("its own text"), plan);
        }
    }

    #[test]
    fn the_same_seed_means_the_same_plan() {
        assert_eq!(Plan::draw(7), Plan::draw(7));
        assert_ne!(Plan::draw(7), Plan::draw(8));
    }
}
