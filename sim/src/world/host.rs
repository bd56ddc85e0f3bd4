//! One machine: its disk, its clocks, and the process that runs on it, if one does.

use crate::callers::doors::Doors;
use crate::run::options::Options;
use crate::world::dice::{Dice, Stream, stream};
use crate::world::disk::Disk;
use crate::world::lane::Lane;
use crate::world::wide::Pace;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use zabkeeper_core::replica::{Input, Replica};
use zabkeeper_core::store::{Query, Tree};
use zabkeeper_core::words::{ConnId, Instant, NodeId, Now, Rng, Round, Ticket, Txid, WallTime};
use zabkeeper_core::zab::{Base, Change, Config, HaltReason, Identity, Image, Status};

/// A machine of the cluster.
#[derive(Debug)]
pub struct Host {
    /// The node on it.
    pub id: NodeId,
    /// The node's configuration.
    pub config: Config,
    /// Its disk.
    pub disk: Disk,
    /// The journal with everything that the running process has issued, durable or not.
    pub issued: Image,
    /// A copy of the disk, made while the machine was stopped.
    pub copy: Option<Disk>,
    /// What an earlier disk held when it was lost.
    pub grave: Option<Image>,
    /// True once its disk was lost, or replaced by an older copy: the ensemble must not count it any
    /// more.
    pub wiped: bool,
    /// True once its disk must know that the ensemble has formed: everything issued up to that
    /// transition was flushed.
    pub formed: bool,
    /// How many processes ran here.
    pub boots: u64,
    /// When its state store moved on last, or got something to do, without what the process was paused.
    store_moved: u64,
    /// The same of its journal.
    journal_moved: u64,
    /// How often its disk was asked for entries.
    pub reads: u64,
    /// How fast its disk is.
    pub pace: Pace,
    /// The running process.
    pub process: Option<Process>,
    /// Why the last process stopped for good, if it did.
    pub halted: Option<HaltReason>,
    /// The process loses power after so many more actions, and comes back after this span.
    pub crash_after: Option<(u32, u64)>,
    /// How far the wall clock is off, in milliseconds.
    pub wall_skew: i64,
    /// Late timers and the like.
    pub rng: Rng,
    drift_ppm: i64,
    offset: u64,
    /// Since when the machine is suspended, if it is: its clock stands still.
    asleep: Option<u64>,
    slept: u64,
    /// Since when its process is paused, on a suspended machine or alone.
    still: Option<u64>,
    stood: u64,
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    /// The node and its application.
    pub replica: Replica<Tree>,
    /// Its state after the last step.
    pub status: Status,
    /// If it is paused: everything that came in the meantime.
    pub paused: Option<Vec<Input<Query>>>,
    /// When its timer is set to fire.
    pub tick_at: Option<u64>,
    /// Until when its present turn lasts.
    pub busy_until: u64,
    /// What came meanwhile.
    pub held: VecDeque<Input<Query>>,
    /// True once it told that the first membership is committed.
    pub saw_membership: bool,
    /// Where it stored its state last.
    pub checkpoint: Option<Txid>,
    /// The parts of the checkpoint to come, and where it will be.
    pub parts: Vec<(Txid, Vec<Change>)>,
    /// After which entry its disk is being asked for more, for which connection.
    pub reads: BTreeMap<ConnId, Txid>,
    /// The client requests that it has not answered, and which call each is, if it is one.
    pub tickets: BTreeMap<Ticket, Option<usize>>,
    /// Those that nobody waits for any more: an answer is needless but does no harm.
    pub forgotten: BTreeSet<Ticket>,
    /// The connections of clients.
    pub doors: Doors,
}

impl Host {
    /// A machine with an initialised, still empty disk.
    pub fn new(seed: u64, identity: Identity, base: Base, options: &Options) -> Self {
        let id = identity.node;
        let mut rng = stream(seed, Stream::Clock).split(u64::from(id.get()));
        let most = u64::from(options.drift_ppm);
        let drift_ppm = rng.between(0, 2 * most) as i64 - most as i64;
        let offset = rng.between(0, 1_000_000_000);
        let disk = Disk::new(identity, base);
        Self {
            id,
            config: options.config(id),
            issued: disk.image.clone(),
            disk,
            copy: None,
            grave: None,
            wiped: false,
            formed: false,
            boots: 0,
            store_moved: 0,
            journal_moved: 0,
            reads: 0,
            pace: Pace::new(options),
            process: None,
            halted: None,
            crash_after: None,
            wall_skew: 0,
            rng,
            drift_ppm,
            offset,
            asleep: None,
            slept: 0,
            still: None,
            stood: 0,
        }
    }

    /// The machine is suspended: its monotonic clock stands still until it wakes.
    pub fn fall_asleep(&mut self, now: u64) {
        self.asleep.get_or_insert(now);
    }

    /// Its process is paused.
    pub fn pause(&mut self, now: u64) {
        self.still.get_or_insert(now);
    }

    /// It goes on, or starts again.
    pub fn wake(&mut self, now: u64) {
        self.slept += self.asleep.take().map_or(0, |since| now - since);
        self.stood += self.still.take().map_or(0, |since| now - since);
    }

    /// The world's time without what the machine has slept.
    fn awake(&self, now: u64) -> u64 {
        self.asleep.map_or(now, |since| since.min(now)) - self.slept
    }

    /// The world's time without that in which nobody was there to see what the disk does.
    fn watched(&self, now: u64) -> u64 {
        self.still.map_or(now, |since| since.min(now)) - self.stood
    }

    /// What the machine's clocks show at the world's time `now`.
    pub fn clock(&self, now: u64) -> Now {
        let local =
            i128::from(self.awake(now)) * i128::from(1_000_000 + self.drift_ppm) / 1_000_000;
        let wall = 1_700_000_000_000 + (now / 1000) as i64 + self.wall_skew;
        Now {
            at: Instant::from_micros(self.offset + local as u64),
            wall: WallTime::from_millis(wall as u64),
        }
    }

    /// The world's time at which the machine's clock shows `at`, or just after.
    pub fn when(&self, at: Instant) -> u64 {
        let local = i128::from(at.as_micros().saturating_sub(self.offset));
        let rate = i128::from(1_000_000 + self.drift_ppm);
        let awake = u64::try_from((local * 1_000_000 + rate - 1) / rate).unwrap_or(u64::MAX);
        awake.saturating_add(self.slept)
    }

    /// The journals that the ensemble may have counted: of a machine that lost its disk, only the
    /// lost one.
    pub fn ever(&self) -> impl Iterator<Item = &Image> {
        let present = (!self.wiped).then_some(&self.disk.image);
        present.into_iter().chain(&self.grave)
    }

    /// The election round of its process.
    pub fn round(&self) -> Round {
        self.process.as_ref().map_or(Round::default(), |process| process.status.round)
    }

    /// A file of its disk moved on.
    pub fn moved(&mut self, lane: Lane, now: u64) {
        let watched = self.watched(now);
        match lane {
            Lane::Journal => self.journal_moved = watched,
            Lane::Store => self.store_moved = watched,
        }
    }

    /// For how long a file of its disk has not moved on, while the process ran: what a machine
    /// slept, or a process was paused, is no time to it.
    pub fn stands(&self, lane: Lane, now: u64) -> u64 {
        let moved = match lane {
            Lane::Journal => self.journal_moved,
            Lane::Store => self.store_moved,
        };
        self.watched(now).saturating_sub(moved)
    }

    /// True if its journal has begun to write something and has written nothing for so long.
    pub fn journal_hangs(&self, now: u64, patience: u64) -> bool {
        let begun = self.disk.line(Lane::Journal).flushing() > 0;
        begun && self.stands(Lane::Journal, now) > patience
    }

    /// True if a process runs here and is not paused.
    pub fn is_awake(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.paused.is_none())
    }
}
