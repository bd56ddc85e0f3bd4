//! The climates of seeds: each makes some situation frequent that ordinary seeds seldom see.

use crate::run::options::{DiskOptions, LimitOptions, NetOptions, Options, Swarm, TimeoutOptions};
use crate::world::dice::Dice;
use crate::world::wide::Wide;
use zabkeeper_core::words::Rng;
use zabkeeper_core::zab::{Limits, Timeouts};

impl Swarm {
    /// Two leaders that rise at once, each with half of the others, and one node that both need.
    pub(crate) fn into_rivals(self, rng: &mut Rng) -> Self {
        let mut options = self.options;
        options.nodes = 5;
        options.duration = rng.between(4_000_000, 9_000_000);
        options.timeouts = fast(rng.between(1, 3));
        options.timeouts.finalize = rng.magnitude(1_000, 20_000);
        options.net.latency_max = options.net.latency_max.min(4_000);
        options.disk.flush_max = rng.between(options.disk.flush_min, 20_000);
        Self {
            crash_gap: if rng.chance(500_000) { rng.magnitude(300_000, 3_000_000) } else { 0 },
            crash_in_step_gap: 0,
            power_cut_gap: 0,
            pause_gap: 0,
            partition_gap: 0,
            break_gap: rng.magnitude(2_000, 60_000),
            stall_gap: 0,
            disk_fail_gap: 0,
            wipe_gap: 0,
            old_disk_gap: 0,
            stream_cut_gap: 0,
            slow_link_gap: 0,
            slow_disk_gap: 0,
            store_stall_gap: 0,
            suspend_gap: 0,
            stranger_gap: 0,
            flood_gap: 0,
            guest_gap: 0,
            echo_gap: if rng.chance(300_000) { rng.magnitude(100_000, 1_000_000) } else { 0 },
            rivals: true,
            ambush_gap: 0,
            clients: 2,
            request_gap: rng.magnitude(40_000, 400_000),
            options,
            ..self
        }
    }

    /// An ensemble that forms while its machines lose power, and then goes on as it came out of that:
    /// what a node makes of a first membership that it has on disk, and does not know to be
    /// committed, shows as long as it is not started again.
    pub(crate) fn into_birth(self, rng: &mut Rng) -> Self {
        let mut options = self.options;
        options.nodes = *rng.pick(&[2, 3, 3, 3, 5]);
        options.duration = rng.between(400_000, 1_500_000);
        options.timeouts = fast(rng.between(1, 6));
        options.net.latency_max = options.net.latency_max.min(5_000);
        options.disk.flush_max = options.disk.flush_min + rng.between(0, 20_000);
        Self {
            crash_gap: 0,
            crash_in_step_gap: 0,
            power_cut_gap: 0,
            pause_gap: 0,
            stall_gap: 0,
            disk_fail_gap: 0,
            wipe_gap: 0,
            old_disk_gap: 0,
            stream_cut_gap: 0,
            slow_disk_gap: 0,
            store_stall_gap: 0,
            suspend_gap: 0,
            flood_gap: 0,
            guest_gap: 0,
            birth: true,
            ambush_gap: 0,
            clients: 2,
            request_gap: rng.magnitude(20_000, 400_000),
            options,
            ..self
        }
    }

    /// Few requests, many elections: five nodes whose links come and go, so that leaders meet
    /// each other in the middle of their rise.
    pub(crate) fn into_storm(self, rng: &mut Rng) -> Self {
        let mut options = self.options;
        options.nodes = *rng.pick(&[3, 5, 5, 5]);
        options.duration = rng.between(3_000_000, 12_000_000);
        options.timeouts = fast(rng.between(3, 6));
        // Whoever hears a quorum of equal votes waits for no better one: it may lead, or try to,
        // though another has more.
        let hasty = rng.chance(500_000);
        if hasty {
            options.timeouts.finalize = rng.magnitude(300, 5_000);
        }
        options.net.latency_max = options.net.latency_max.min(15_000);
        Self {
            crash_gap: rng.magnitude(200_000, 3_000_000),
            crash_in_step_gap: rng.magnitude(200_000, 3_000_000),
            power_cut_gap: 0,
            partition_gap: rng.magnitude(60_000, 800_000),
            break_gap: rng.magnitude(60_000, 800_000),
            stall_gap: rng.magnitude(200_000, 2_000_000),
            echo_gap: rng.magnitude(100_000, 2_000_000),
            ambush_gap: rng.magnitude(60_000, 500_000),
            clients: 2,
            request_gap: match hasty {
                true => rng.magnitude(5_000, 100_000),
                false => rng.magnitude(40_000, 400_000),
            },
            options,
            ..self
        }
    }

    /// A large state, values up to the limit, links and disks that are slower than the load. On half
    /// of these seeds nothing worse happens than slowness.
    pub(crate) fn into_wide(self, rng: &mut Rng) -> Self {
        let scale = *rng.pick(&[64, 256, 1024]);
        let fair = rng.chance(500_000);
        let mut options = self.options;
        options.nodes = *rng.pick(&[3, 3, 3, 5]);
        options.duration = rng.between(6_000_000, 14_000_000);
        options.tick_late = options.tick_late.min(2_000);
        options.timeouts = fast(1);
        options.limits = LimitOptions::from(&Limits::default()).scaled(scale as usize);
        options.net = NetOptions { latency_max: rng.magnitude(200, 5_000), ..calm_net() };
        if !fair {
            options.net.cut = if rng.chance(500_000) { rng.magnitude(10, 500) as u32 } else { 0 };
            options.net.half_open = rng.between(0, 500_000) as u32;
        }
        let flush_min = rng.magnitude(100, 4_000);
        let flush_max = rng.magnitude(flush_min, 10_000);
        options.disk = DiskOptions { flush_min, flush_max, slow: 0, slow_max: 0, batch: 1_000 };
        let mut limit = |on: u32, low: u64, high: u64| {
            if rng.chance(on) { rng.magnitude(low, high) } else { 0 }
        };
        let state_bytes = limit(900_000, 1 << 20, 200 << 20);
        let mut wide = Wide {
            scale,
            from: 2_000_000,
            link_rate: limit(600_000, 250_000, 100_000_000),
            journal_rate: limit(600_000, 4_000_000, 400_000_000),
            store_rate: limit(600_000, 4_000_000, 400_000_000),
            turn_rate: 200_000_000,
            state_bytes,
            fair,
        };
        if rng.chance(400_000) {
            // A state store that takes long for a checkpoint, and gets on all the time.
            options.timeouts.disk = 2_000_000;
            options.duration = rng.between(10_000_000, 16_000_000);
            wide.store_rate = rng.magnitude(1_000_000, 4_000_000);
            (wide.link_rate, wide.journal_rate) = (0, 0);
            wide.state_bytes = wide.state_bytes.max(32 << 20);
        }
        // With that patience, a disk that is slow as that fault has it counts as hung.
        let patient = options.timeouts.disk > 2_000_000;
        let slow_disk_gap = if patient { gap(rng) } else { 0 };
        let rough = |rng: &mut Rng| if fair { 0 } else { gap(rng) };
        let (crash_gap, break_gap, partition_gap) = (rough(rng), rough(rng), rough(rng));
        let (stream_cut_gap, slow_link_gap, ambush_gap) = (rough(rng), rough(rng), rough(rng));
        // A state of few keys, each up to the limit of a value.
        let keys = rng.magnitude(4, 400);
        let value = (wide.state_bytes / keys).clamp(100, 1 << 20).max(scale * 8);
        // From far below what the disks and links take to far above.
        let load = match wide.store_rate < 4_000_000 && wide.store_rate > 0 {
            true => rng.magnitude(2 * wide.store_rate, 40_000_000),
            false => rng.magnitude(100_000, 40_000_000),
        };
        let clients = rng.between(2, 12);
        Self {
            crash_gap,
            crash_in_step_gap: 0,
            power_cut_gap: 0,
            pause_gap: 0,
            partition_gap,
            break_gap,
            stall_gap: 0,
            disk_fail_gap: 0,
            wipe_gap: 0,
            old_disk_gap: 0,
            wall_gap: 0,
            echo_gap: 0,
            stream_cut_gap,
            slow_link_gap,
            slow_disk_gap,
            store_stall_gap: 0,
            suspend_gap: 0,
            forge_gap: 0,
            stranger_gap: 0,
            flood_gap: 0,
            ambush_gap,
            clients,
            keys,
            request_gap: (clients * value * 1_000_000 / load).max(clients * 4_000),
            patience: rng.magnitude(1_000_000, 10_000_000),
            mix: [10, 0, 0, rng.between(0, 2) as u32, rng.between(0, 2) as u32, 0, 0],
            guest_gap: 0,
            value_max: value / scale,
            options: Options { wide: Some(wide), ..options },
            ..self
        }
    }
}

/// Between two faults of a large world, or never.
fn gap(rng: &mut Rng) -> u64 {
    if rng.chance(500_000) { rng.magnitude(1_000_000, 8_000_000) } else { 0 }
}

/// A network without a fault of chance.
fn calm_net() -> NetOptions {
    Options::calm(1).net
}

impl LimitOptions {
    /// The same in a world in which a byte stands for so many.
    fn scaled(self, scale: usize) -> Self {
        Self {
            retain_bytes: self.retain_bytes / scale,
            checkpoint_bytes: self.checkpoint_bytes / scale,
            message_bytes: self.message_bytes / scale,
            window_bytes: self.window_bytes / scale,
            pending_bytes: self.pending_bytes / scale,
            command_bytes: self.command_bytes / scale + 64,
            journal_bytes: self.journal_bytes / scale,
            ..self
        }
    }
}

/// The default timeouts divided by `by`.
pub(crate) fn fast(by: u64) -> TimeoutOptions {
    let default = TimeoutOptions::from(&Timeouts::default());
    TimeoutOptions {
        resend_min: default.resend_min / by,
        resend_max: default.resend_max / by,
        finalize: default.finalize / by,
        init: default.init / by,
        sync: default.sync / by,
        ping: default.ping / by,
        redial: default.redial / by,
        disk: default.disk / by,
        hold: default.hold,
    }
}
