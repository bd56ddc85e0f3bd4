//! From a seed to a mix of circumstances: some faults off altogether, the rest at wildly different
//! rates, limits now generous, now tiny. Randomised circumstances find what average ones hide.

use crate::run::climate;
use crate::run::service::{self, ServiceOptions};
use crate::world::dice::{Dice, Stream, stream};
use crate::world::wide::Wide;
use serde::{Deserialize, Serialize};
use zabkeeper_core::client;
use zabkeeper_core::words::{Micros, NodeId, Rng};
use zabkeeper_core::zab::{Config, Limits, Timeouts};

/// The circumstances of a run that hold from its start to the quiet period. Times in microseconds,
/// chances in parts of a million.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Options {
    /// How many voters.
    pub nodes: u32,
    /// How long faults last.
    pub duration: u64,
    /// The network.
    pub net: NetOptions,
    /// The disks.
    pub disk: DiskOptions,
    /// Each clock runs up to this many millionths fast or slow.
    pub drift_ppm: u32,
    /// Timers fire late by up to this.
    pub tick_late: u64,
    /// The core's timeouts.
    pub timeouts: TimeoutOptions,
    /// The core's limits.
    pub limits: LimitOptions,
    /// Every message goes through the production codec and back.
    pub codec: bool,
    /// If given, clients drive the production client machine, which knows all nodes; if not, each
    /// request goes straight to one node, as from an application with a client of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientOptions>,
    /// What clients may use at a node; the defaults of production if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceOptions>,
    /// If given, things take time by their size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wide: Option<Wide>,
}

/// How the production client machine is tuned, see [`client::Config`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientOptions {
    /// How long opening a connection may take.
    pub connect_timeout: u64,
    /// How long a connection may be silent.
    pub attempt_timeout: u64,
    /// How long it may be unused and still get a request.
    #[serde(default = "never")]
    pub idle_timeout: u64,
    /// First pause.
    pub backoff_min: u64,
    /// Longest pause.
    pub backoff_max: u64,
    /// By how much nodes are told an earlier deadline.
    pub margin: u64,
    /// Each client is beside the node that it asks first, on the same side of every partition.
    pub seated: bool,
}

/// Chances on the network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetOptions {
    /// The least delay of a message.
    pub latency_min: u64,
    /// The ordinary delay is up to this.
    pub latency_max: u64,
    /// Chance that a message is slow.
    pub slow: u32,
    /// A slow message takes up to this.
    pub slow_max: u64,
    /// Chance that a datagram is lost.
    pub lose: u32,
    /// Chance that a datagram comes twice.
    pub twice: u32,
    /// Chance that sending a datagram brings back one of long ago.
    pub replay: u32,
    /// Chance that a datagram arrives with flipped or missing bytes.
    pub corrupt: u32,
    /// Chance, per message, that its connection breaks there.
    pub cut: u32,
    /// Chance that one side of a broken connection hears of it late or never.
    pub half_open: u32,
    /// Chance that a connection attempt is refused.
    pub refuse: u32,
}

/// Chances on the disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskOptions {
    /// The least duration of a flush.
    pub flush_min: u64,
    /// The ordinary duration is up to this.
    pub flush_max: u64,
    /// Chance that a flush is slow.
    pub slow: u32,
    /// A slow flush takes up to this.
    pub slow_max: u64,
    /// How many operations one flush covers at most.
    pub batch: u64,
}

/// The core's timeouts, see [`Timeouts`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the core's Timeouts")]
pub struct TimeoutOptions {
    pub resend_min: u64,
    pub resend_max: u64,
    pub finalize: u64,
    pub init: u64,
    pub sync: u64,
    pub ping: u64,
    pub redial: u64,
    pub disk: u64,
    pub hold: u64,
}

/// The core's limits, see [`Limits`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the core's Limits")]
pub struct LimitOptions {
    pub retain_bytes: usize,
    pub retain_entries: usize,
    pub checkpoint_bytes: usize,
    pub checkpoint_entries: usize,
    pub checkpoint_part: usize,
    pub read_part: usize,
    #[serde(default = "apply_part")]
    pub apply_part: usize,
    pub message_bytes: usize,
    pub window_bytes: usize,
    pub window_chunks: u64,
    pub pending_requests: usize,
    pub pending_bytes: usize,
    pub command_bytes: usize,
    pub counter_max: u64,
    pub journal_bytes: usize,
}

/// How often what goes wrong, and what clients do; shapes the plan and is not needed afterwards.
/// Gaps are means in microseconds, 0 for never.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Swarm {
    /// The circumstances.
    pub options: Options,
    /// Between crashes of one process.
    pub crash_gap: u64,
    /// Between crashes in the middle of a step.
    pub crash_in_step_gap: u64,
    /// Between power cuts of everything.
    pub power_cut_gap: u64,
    /// Between pauses of a process.
    pub pause_gap: u64,
    /// Between partitions.
    pub partition_gap: u64,
    /// Between breaks of all connections of two nodes.
    pub break_gap: u64,
    /// Between stalls of a disk.
    pub stall_gap: u64,
    /// Between failing writes.
    pub disk_fail_gap: u64,
    /// Between wiped disks, of which at most a minority is.
    pub wipe_gap: u64,
    /// Between copies of a disk that are put back later; at most a minority is.
    pub old_disk_gap: u64,
    /// Between steps of the wall clock.
    pub wall_gap: u64,
    /// Between echoes of old votes.
    pub echo_gap: u64,
    /// Between cuts of connections that let datagrams through.
    pub stream_cut_gap: u64,
    /// Between links that are slow for a while.
    pub slow_link_gap: u64,
    /// Between disks that are slow for a while.
    pub slow_disk_gap: u64,
    /// Between stalls of a state store.
    pub store_stall_gap: u64,
    /// Between suspended machines.
    pub suspend_gap: u64,
    /// Between forged votes.
    pub forge_gap: u64,
    /// Between strangers with false words.
    pub stranger_gap: u64,
    /// Between floods of requests.
    pub flood_gap: u64,
    /// Between crowds of clients that mean no good.
    pub guest_gap: u64,
    /// Crashes strike while the ensemble forms.
    pub birth: bool,
    /// Two halves and a bridge between them whose connections break again and again.
    pub rivals: bool,
    /// Between faults that strike at a chosen step of the protocol.
    pub ambush_gap: u64,
    /// How many clients.
    pub clients: u64,
    /// How many keys they share.
    pub keys: u64,
    /// Between two requests of one client.
    pub request_gap: u64,
    /// How long a client waits at most.
    pub patience: u64,
    /// Weights of Set, Add, Delete, linearizable Get, local Get, linearizable and local listings.
    pub mix: [u32; 7],
    /// The longest value in bytes.
    pub value_max: u64,
}

/// What older plans mean.
fn never() -> u64 {
    u64::MAX
}

/// What older plans mean.
fn apply_part() -> usize {
    Limits::default().apply_part
}

/// How many of a million seeds mean a large world.
const WIDE: u32 = 50_000;

impl Swarm {
    /// The swarm that a seed means.
    pub fn draw(seed: u64) -> Self {
        let mut rng = stream(seed, Stream::Options);
        let rng = &mut rng;
        let nodes = *rng.pick(&[1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5]);
        let duration = rng.magnitude(2_000_000, 40_000_000);
        let timeouts = draw_timeouts(rng);
        let net = draw_net(rng, &timeouts);
        let clients = draw_clients(&mut stream(seed, Stream::Clients), &net);
        let mut guarded = stream(seed, Stream::Service);
        let options = Options {
            nodes,
            duration,
            net,
            disk: draw_disk(rng, &timeouts),
            drift_ppm: if rng.chance(500_000) { 50_000 } else { 0 },
            tick_late: if rng.chance(500_000) { rng.magnitude(10, 20_000) } else { 0 },
            timeouts,
            limits: draw_limits(rng),
            codec: rng.chance(250_000),
            clients,
            service: guarded.chance(400_000).then(|| ServiceOptions::draw(&mut guarded)),
            wide: None,
        };
        let mut apart = stream(seed, Stream::Wide);
        let guest_gap = match options.service.is_some() && guarded.chance(600_000) {
            true => guarded.magnitude(200_000, 5_000_000),
            false => 0,
        };
        let mut slow = |on: u32, low: u64, high: u64| {
            if apart.chance(on) { apart.magnitude(low, high) } else { 0 }
        };
        let mut gap = |on: u32, low: u64, high: u64| {
            if rng.chance(on) { rng.magnitude(low, high) } else { 0 }
        };
        let swarm = Self {
            crash_gap: gap(600_000, 300_000, 20_000_000),
            crash_in_step_gap: gap(600_000, 200_000, 10_000_000),
            power_cut_gap: gap(250_000, 1_000_000, 20_000_000),
            pause_gap: gap(400_000, 500_000, 20_000_000),
            partition_gap: gap(500_000, 300_000, 20_000_000),
            break_gap: gap(400_000, 200_000, 10_000_000),
            stall_gap: gap(300_000, 500_000, 20_000_000),
            disk_fail_gap: gap(200_000, 1_000_000, 20_000_000),
            wipe_gap: gap(100_000, 5_000_000, 40_000_000),
            wall_gap: gap(200_000, 1_000_000, 20_000_000),
            stream_cut_gap: slow(200_000, 500_000, 20_000_000),
            slow_link_gap: slow(200_000, 500_000, 20_000_000),
            slow_disk_gap: slow(200_000, 500_000, 20_000_000),
            store_stall_gap: slow(200_000, 500_000, 20_000_000),
            suspend_gap: slow(200_000, 500_000, 20_000_000),
            flood_gap: slow(50_000, 2_000_000, 20_000_000),
            forge_gap: slow(200_000, 300_000, 10_000_000),
            stranger_gap: slow(200_000, 300_000, 10_000_000),
            guest_gap,
            birth: false,
            rivals: false,
            echo_gap: gap(400_000, 300_000, 10_000_000),
            ambush_gap: gap(600_000, 200_000, 10_000_000),
            old_disk_gap: gap(150_000, 1_000_000, 10_000_000),
            clients: rng.between(1, 6),
            keys: rng.between(1, 8),
            request_gap: rng.magnitude(4_000, 400_000).max(duration / 300),
            patience: rng.magnitude(50_000, 5_000_000),
            mix: [
                10,
                rng.between(0, 6) as u32,
                rng.between(0, 6) as u32,
                rng.between(0, 10) as u32,
                rng.between(0, 6) as u32,
                guarded.between(0, 3) as u32,
                guarded.between(0, 3) as u32,
            ],
            value_max: rng.magnitude(8, 400),
            options,
        };
        if apart.chance(WIDE) {
            return swarm.into_wide(&mut apart);
        }
        match rng.weighted(&[16, 12, 8, 4]) {
            0 => swarm,
            1 => swarm.into_storm(rng),
            2 => swarm.into_rivals(rng),
            _ => swarm.into_birth(rng),
        }
    }
}

fn draw_timeouts(rng: &mut Rng) -> TimeoutOptions {
    let default = TimeoutOptions::from(&Timeouts::default());
    match rng.weighted(&[4, 3, 2]) {
        0 => default,
        // Everything faster, so that a run holds more elections.
        1 => climate::fast(rng.between(2, 6)),
        _ => TimeoutOptions {
            finalize: rng.magnitude(1_000, 200_000),
            init: rng.magnitude(800_000, 6_000_000),
            disk: rng.magnitude(1_000_000, 10_000_000),
            hold: rng.magnitude(default.sync, 10_000_000),
            ..default
        },
    }
}

fn draw_net(rng: &mut Rng, timeouts: &TimeoutOptions) -> NetOptions {
    let latency_min = rng.magnitude(20, 1_000);
    // Sometimes so slow that a round trip is a good part of the timeouts.
    let latency_max = match rng.weighted(&[5, 2]) {
        0 => rng.magnitude(latency_min, 8_000),
        _ => rng.magnitude(latency_min, timeouts.sync / 6),
    };
    let mut rate = |on: u32, high: u64| {
        if rng.chance(on) { rng.magnitude(100, high) as u32 } else { 0 }
    };
    NetOptions {
        latency_min,
        latency_max,
        slow: rate(400_000, 50_000),
        lose: rate(600_000, 400_000),
        twice: rate(500_000, 300_000),
        replay: rate(400_000, 300_000),
        corrupt: rate(300_000, 100_000),
        cut: rate(500_000, 20_000),
        half_open: rate(500_000, 1_000_000),
        refuse: rate(300_000, 500_000),
        slow_max: rng.magnitude(50_000, 10_000_000),
    }
}

fn draw_disk(rng: &mut Rng, timeouts: &TimeoutOptions) -> DiskOptions {
    let flush_min = rng.magnitude(10, 2_000);
    DiskOptions {
        flush_min,
        flush_max: rng.magnitude(flush_min, 40_000),
        slow: if rng.chance(400_000) { rng.magnitude(100, 50_000) as u32 } else { 0 },
        slow_max: rng.magnitude(50_000, timeouts.disk * 2),
        batch: rng.magnitude(1, 1_000),
    }
}

fn draw_clients(rng: &mut Rng, net: &NetOptions) -> Option<ClientOptions> {
    let default = ClientOptions::default();
    rng.chance(500_000).then(|| {
        let backoff_min = rng.magnitude(1_000, 50_000);
        let seated = rng.chance(500_000);
        match rng.weighted(&[2, 3]) {
            0 => ClientOptions { seated, ..default },
            // More impatient, so that a request sees more nodes before its deadline.
            _ => ClientOptions {
                // Less than a round trip would mean: never.
                connect_timeout: rng.magnitude(5_000, 500_000).max(3 * net.latency_max),
                attempt_timeout: rng.magnitude(20_000, 2_000_000),
                idle_timeout: rng.magnitude(20_000, 2_000_000),
                backoff_min,
                backoff_max: rng.magnitude(backoff_min, 500_000),
                margin: rng.magnitude(1_000, 200_000),
                seated,
            },
        }
    })
}

fn draw_limits(rng: &mut Rng) -> LimitOptions {
    let default = LimitOptions::from(&Limits::default());
    let tiny = |rng: &mut Rng| rng.chance(400_000);
    // Leaves the other choices of known seeds as they are.
    let mut apart = rng.split(0);
    LimitOptions {
        retain_entries: if tiny(rng) {
            rng.magnitude(1, 60) as usize
        } else {
            default.retain_entries
        },
        retain_bytes: if tiny(rng) {
            rng.magnitude(200, 20_000) as usize
        } else {
            default.retain_bytes
        },
        checkpoint_entries: if tiny(rng) {
            rng.magnitude(1, 60) as usize
        } else {
            default.checkpoint_entries
        },
        checkpoint_bytes: if tiny(rng) {
            rng.magnitude(200, 20_000) as usize
        } else {
            default.checkpoint_bytes
        },
        checkpoint_part: if tiny(rng) {
            rng.between(1, 4) as usize
        } else {
            default.checkpoint_part
        },
        read_part: if tiny(&mut apart) { apart.between(1, 3) as usize } else { default.read_part },
        apply_part: if tiny(&mut apart) {
            apart.magnitude(1, 300) as usize
        } else {
            default.apply_part
        },
        message_bytes: if tiny(rng) {
            rng.magnitude(100, 4_000) as usize
        } else {
            default.message_bytes
        },
        window_bytes: if tiny(rng) {
            rng.magnitude(600, 8_000) as usize
        } else {
            default.window_bytes
        },
        window_chunks: if tiny(rng) { rng.between(1, 3) } else { default.window_chunks },
        pending_requests: if tiny(rng) {
            rng.between(2, 8) as usize
        } else {
            default.pending_requests
        },
        pending_bytes: default.pending_bytes,
        command_bytes: if tiny(rng) { 300 } else { default.command_bytes },
        counter_max: if tiny(rng) { rng.between(20, 80) } else { default.counter_max },
        journal_bytes: match apart.weighted(&[2, 1, 1]) {
            0 => 0,
            1 => apart.magnitude(200, 20_000) as usize,
            _ => default.journal_bytes,
        },
    }
}

impl From<&Timeouts> for TimeoutOptions {
    fn from(from: &Timeouts) -> Self {
        Self {
            resend_min: from.resend_min.get(),
            resend_max: from.resend_max.get(),
            finalize: from.finalize.get(),
            init: from.init.get(),
            sync: from.sync.get(),
            ping: from.ping.get(),
            redial: from.redial.get(),
            disk: from.disk.get(),
            hold: from.hold.get(),
        }
    }
}

impl From<&Limits> for LimitOptions {
    fn from(from: &Limits) -> Self {
        Self {
            retain_bytes: from.retain_bytes,
            retain_entries: from.retain_entries,
            checkpoint_bytes: from.checkpoint_bytes,
            checkpoint_entries: from.checkpoint_entries,
            checkpoint_part: from.checkpoint_part,
            read_part: from.read_part,
            apply_part: from.apply_part,
            message_bytes: from.message_bytes,
            window_bytes: from.window_bytes,
            window_chunks: from.window_chunks,
            pending_requests: from.pending_requests,
            pending_bytes: from.pending_bytes,
            command_bytes: from.command_bytes,
            counter_max: from.counter_max,
            journal_bytes: from.journal_bytes,
        }
    }
}

impl Options {
    /// A quiet world: default timeouts and limits, a fast network and disk, no fault of chance.
    pub fn calm(nodes: u32) -> Self {
        Self {
            nodes,
            duration: 0,
            net: NetOptions {
                latency_min: 100,
                latency_max: 400,
                slow: 0,
                slow_max: 0,
                lose: 0,
                twice: 0,
                replay: 0,
                corrupt: 0,
                cut: 0,
                half_open: 0,
                refuse: 0,
            },
            disk: DiskOptions {
                flush_min: 100,
                flush_max: 400,
                slow: 0,
                slow_max: 0,
                batch: 1_000,
            },
            drift_ppm: 0,
            tick_late: 0,
            timeouts: TimeoutOptions::from(&Timeouts::default()),
            limits: LimitOptions::from(&Limits::default()),
            codec: false,
            clients: None,
            service: None,
            wide: None,
        }
    }

    /// What clients may use at a node, with a planted bug if one is named.
    pub fn service(&self, mutant: Option<&str>) -> zabkeeper_core::service::Limits {
        service::limits(self.service.as_ref(), mutant.and_then(crate::run::mutants::by_name))
    }

    /// The core's configuration for a node.
    pub fn config(&self, node: NodeId) -> Config {
        let mut config = Config::new(node);
        let t = &self.timeouts;
        config.timeouts = Timeouts {
            resend_min: Micros::new(t.resend_min),
            resend_max: Micros::new(t.resend_max),
            finalize: Micros::new(t.finalize),
            init: Micros::new(t.init),
            sync: Micros::new(t.sync),
            ping: Micros::new(t.ping),
            redial: Micros::new(t.redial),
            disk: Micros::new(t.disk),
            hold: Micros::new(t.hold),
            settle: Timeouts::default().settle,
        };
        let l = &self.limits;
        config.limits = Limits {
            retain_bytes: l.retain_bytes,
            retain_entries: l.retain_entries,
            checkpoint_bytes: l.checkpoint_bytes,
            checkpoint_entries: l.checkpoint_entries,
            checkpoint_part: l.checkpoint_part,
            read_part: l.read_part,
            apply_part: l.apply_part,
            state_bytes: Limits::default().state_bytes,
            message_bytes: l.message_bytes,
            window_bytes: l.window_bytes,
            window_chunks: l.window_chunks,
            pending_requests: l.pending_requests,
            pending_bytes: l.pending_bytes,
            command_bytes: l.command_bytes,
            counter_max: l.counter_max,
            journal_bytes: l.journal_bytes,
        };
        config
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        let default = client::Config::new(1);
        Self {
            connect_timeout: default.connect_timeout.get(),
            attempt_timeout: default.attempt_timeout.get(),
            idle_timeout: default.idle_timeout.get(),
            backoff_min: default.backoff_min.get(),
            backoff_max: default.backoff_max.get(),
            margin: default.margin.get(),
            seated: false,
        }
    }
}

impl ClientOptions {
    /// The machine's configuration for so many endpoints.
    pub fn config(&self, endpoints: usize) -> client::Config {
        client::Config {
            connect_timeout: Micros::new(self.connect_timeout),
            attempt_timeout: Micros::new(self.attempt_timeout),
            backoff_min: Micros::new(self.backoff_min),
            backoff_max: Micros::new(self.backoff_max),
            margin: Micros::new(self.margin),
            idle_timeout: Micros::new(self.idle_timeout),
            ..client::Config::new(endpoints)
        }
    }
}
