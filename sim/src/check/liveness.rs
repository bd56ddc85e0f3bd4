//! The quiet period at the end of a run: a random quorum becomes the core, is healed and linked,
//! and every fault outside it becomes permanent. Then the core must recover within a bound.
//! Healing everything would hide a node that can speak but not hear and keeps the rest from work.

use crate::callers::calls::PROBER;
use crate::check::{Check, Violation};
use crate::run::plan::{Op, OpKind};
use crate::world::dice::{Dice, Stream, stream};
use crate::world::{Occur, World};
use std::collections::{BTreeMap, BTreeSet};
use zabkeeper_core::words::{End, Epoch, NodeId, Txid};
use zabkeeper_core::zab::{Log, RoleStatus};

/// The state of the quiet period.
#[derive(Debug)]
pub struct Quiet {
    /// The nodes that must recover.
    pub core: BTreeSet<NodeId>,
    since: u64,
    /// When everything was as it should be for the first time, and in which epoch.
    settled: Option<(u64, Epoch)>,
    /// How often a leader gave way to let in a voter from outside the core that had promised a
    /// later epoch. A leader that has done so proposes a later one, but another may be elected
    /// and not know: each may do so once.
    given_way: usize,
    probes: BTreeMap<(NodeId, bool), usize>,
}

/// Between two looks at the cluster.
const LOOK: u64 = 20_000;

/// The probe of a client that knows all nodes.
const ANYWHERE: (NodeId, bool) = (NodeId::new(0), true);

/// How much longer than a node's recovery a client may take to find a node that works: two probes
/// in vain and one that succeeds.
const FAILOVER: u64 = 20_000_000;

/// How long a probe waits for its answer.
const PATIENCE: u64 = 5_000_000;

/// So many epochs may be filled by requests that came before the quiet and waited at a node.
const LATE: usize = 40;

impl World {
    /// The faults end.
    pub(crate) fn quieten(&mut self) -> Check {
        let mut rng = stream(self.plan.seed, Stream::Quiet);
        self.net.calm_down(rng.chance(400_000));
        self.net.links.recover();
        let core = self.choose_core(&mut rng);
        self.tell(0, || format!("quiet: the core is {core:?}"));
        let nodes: Vec<NodeId> = self.hosts.iter().map(|host| host.id).collect();
        for a in &nodes {
            for b in nodes.iter().filter(|b| *b != a) {
                self.net.heal_fully(*a, *b, self.now, &mut self.queue);
            }
        }
        self.quiet = Some(Quiet {
            core: core.clone(),
            // What crawls on a narrow link was sent before, and arrives first.
            since: self.now.max(self.net.busy_until()),
            settled: None,
            given_way: 0,
            probes: BTreeMap::new(),
        });
        for node in &nodes {
            self.see_guests_off(*node);
        }
        for node in nodes {
            match core.contains(&node) {
                true => self.heal_node(node, &mut rng),
                false => self.doom_node(node, &mut rng)?,
            }
        }
        if rng.chance(400_000) {
            let back = rng.between(0, 1) as u32;
            self.rates.hostile = true;
            for to in core {
                self.queue.push(self.now, Occur::Echo { to, back, until: u64::MAX });
            }
        }
        self.queue.push(self.now + LOOK, Occur::Look);
        Ok(())
    }

    /// Any quorum of nodes that kept their disks, if one of them knows that the ensemble has
    /// formed; else all, for until then it needs all.
    fn choose_core(&self, rng: &mut zabkeeper_core::words::Rng) -> BTreeSet<NodeId> {
        let sound = self.hosts.iter().filter(|host| !host.wiped);
        let mut sound: Vec<NodeId> = sound.map(|host| host.id).collect();
        rng.shuffle(&mut sound);
        let all = sound.iter().copied().collect();
        let quorum = self.hosts.len() / 2 + 1;
        let size = match rng.chance(600_000) {
            true => quorum,
            false => rng.between(quorum as u64, sound.len() as u64) as usize,
        };
        let core: BTreeSet<NodeId> = sound.into_iter().take(size).collect();
        if core.iter().any(|node| self.host(*node).formed) { core } else { all }
    }

    fn heal_node(&mut self, node: NodeId, rng: &mut zabkeeper_core::words::Rng) {
        let now = self.now;
        let host = self.host_mut(node);
        (host.disk.stalled_until, host.disk.store_stalled_until) = (0, 0);
        host.pace.recover();
        host.disk.failing = false;
        host.crash_after = None;
        let boot = host.boots;
        let wait = rng.between(0, 500_000);
        match &host.process {
            None => self.queue.push(now + wait, Occur::Start { node, boot }),
            Some(process) if process.paused.is_some() => {
                self.queue.push(now + wait, Occur::Resume { node, boot });
            }
            Some(_) => {}
        }
        self.resume_flushes(node);
    }

    /// A node outside the core stays broken for ever, in one way or another.
    fn doom_node(&mut self, node: NodeId, rng: &mut zabkeeper_core::words::Rng) -> Check {
        let others: Vec<NodeId> =
            self.hosts.iter().map(|h| h.id).filter(|id| *id != node).collect();
        let (mut deaf, mut mute) = (false, false);
        if self.host(node).process.is_none() {
            return self.kill_for_good(node);
        }
        match rng.weighted(&[3, 1, 2, 2, 1, 1]) {
            0 => return self.kill_for_good(node),
            1 => (deaf, mute) = (true, true),
            2 => deaf = true,
            3 => mute = true,
            4 => self.pause(node, u64::MAX / 4),
            _ => self.host_mut(node).disk.stalled_until = u64::MAX / 4,
        }
        for other in others {
            if deaf {
                self.net.cut(other, node);
            }
            if mute {
                self.net.cut(node, other);
            }
        }
        Ok(())
    }

    fn kill_for_good(&mut self, node: NodeId) -> Check {
        self.kill(node)?;
        self.host_mut(node).boots += 1;
        Ok(())
    }

    /// Looks whether the core has recovered; a run ends well once it has and has stayed so.
    pub(crate) fn look(&mut self) -> Check {
        let Some(quiet) = &self.quiet else { return Ok(()) };
        let (since, settled) = (quiet.since, quiet.settled);
        let timeouts = &self.plan.options.timeouts;
        let (name, bound) = match self.pending() {
            Some(_) => ("liveness (L1, L3, L4)", self.bound()),
            None => ("liveness (L7): clients get through", self.bound() + FAILOVER),
        };
        let pending = self.pending().or_else(|| self.clients_pending());
        let epoch = self.checks.epochs.newest().map_or(Epoch::ZERO, |(epoch, _)| epoch);
        match (pending, settled) {
            (None, None) => {
                let took = (self.now.saturating_sub(since)) / 1_000;
                self.tell(0, || format!("recovered after {took} ms"));
                self.mark(bucket(took));
                if let Some(quiet) = &mut self.quiet {
                    quiet.settled = Some((self.now, epoch));
                }
            }
            // L2: no further change of epoch, but for a voter that had promised a later one.
            (_, Some((at, settled_epoch))) => {
                let leader = self.checks.epochs.newest().map(|(_, leader)| leader);
                if leader.is_some_and(|leader| !quiet.core.contains(&leader)) {
                    // It may fail for good, and then another takes over.
                    self.end();
                    return Ok(());
                }
                let unled = self.unled();
                if epoch != settled_epoch || unled.is_some() {
                    if self.locked_out(settled_epoch) || self.epoch_is_full(settled_epoch) {
                        return self.settle_again();
                    }
                    let what = format!(
                        "the core had recovered in {settled_epoch}, now it is {epoch}: {}",
                        unled.unwrap_or_default()
                    );
                    return Err(Violation::new("liveness (L2): stays settled", what));
                }
                if self.now > at + 3 * timeouts.sync {
                    self.end();
                    return Ok(());
                }
            }
            (Some(why), None) => {
                if self.now > since + bound {
                    let waited = (self.now - since) / 1_000;
                    let what = format!("after {waited} ms of quiet {why}");
                    return Err(Violation::new(name, what));
                }
                self.probe();
            }
        }
        self.queue.push(self.now + LOOK, Occur::Look);
        Ok(())
    }

    /// How long recovery may take.
    fn bound(&self) -> u64 {
        let t = &self.plan.options.timeouts;
        let election = 2 * (t.sync + t.resend_max + t.finalize) + 2 * t.init;
        election
            + 2 * t.disk
            + 5_000_000
            + self.plan.options.moving()
            + 20 * self.plan.options.net.latency_max
    }

    /// True if a running voter outside the core holds a later promise, and one more leader may
    /// not have known.
    fn locked_out(&self, settled: Epoch) -> bool {
        let may = |quiet: &&Quiet| quiet.given_way < quiet.core.len();
        let Some(quiet) = self.quiet.as_ref().filter(may) else { return false };
        let outside = self.hosts.iter().filter(|host| !quiet.core.contains(&host.id));
        let mut promises = outside.filter_map(|host| Some(host.process.as_ref()?.status.accepted));
        promises.any(|promised| promised > settled)
    }

    /// True if late requests have used up the epoch's last counter: then a new one must begin, and
    /// perhaps has begun already.
    fn epoch_is_full(&self, settled: Epoch) -> bool {
        let full = self.plan.options.limits.counter_max;
        let end = Txid::new(settled, u64::MAX).unwrap_or_default();
        let is_full = |log: &Log| {
            log.floor(end).is_some_and(|at| at.txid.epoch() == settled && at.txid.counter() >= full)
        };
        self.hosts.iter().any(|host| is_full(&host.issued.log))
            && self.quiet.as_ref().is_some_and(|quiet| quiet.given_way < quiet.core.len() + LATE)
    }

    /// Gives the core the time of one more recovery.
    fn settle_again(&mut self) -> Check {
        let now = self.now;
        self.tell(0, || "a locked-out voter or a full epoch takes an election".to_string());
        self.mark("recovered again after a needed election");
        if let Some(quiet) = &mut self.quiet {
            (quiet.settled, quiet.since) = (None, now);
            quiet.given_way += 1;
            quiet.probes.clear();
        }
        self.queue.push(now + LOOK, Occur::Look);
        Ok(())
    }

    /// Why the core does not stand behind one leader, if it does not.
    fn unled(&self) -> Option<String> {
        let quiet = self.quiet.as_ref()?;
        let mut leaders = BTreeSet::new();
        for node in &quiet.core {
            let Some(process) = &self.host(*node).process else {
                return Some(format!("{node} is not running"));
            };
            match &process.status.role {
                RoleStatus::Leading { established: true } => leaders.insert(*node),
                // A node outside the core may lead: not every fault keeps it from that.
                RoleStatus::Following { serving: true, leader } => leaders.insert(*leader),
                role => return Some(format!("{node} is {role:?}")),
            };
        }
        (leaders.len() != 1).then(|| format!("the leaders are {leaders:?}"))
    }

    /// What the core still lacks, if anything.
    pub(crate) fn pending(&self) -> Option<String> {
        let quiet = self.quiet.as_ref()?;
        if let Some(unled) = self.unled() {
            return Some(unled);
        }
        let mut positions = BTreeSet::new();
        for process in quiet.core.iter().filter_map(|node| self.host(*node).process.as_ref()) {
            let status = &process.status;
            positions.insert((status.committed, status.applied, status.digest));
            if let Some(call) = process.tickets.values().next() {
                return Some(format!("{} has not answered call {call:?}", status.node));
            }
        }
        if positions.len() != 1 {
            return Some(format!("the nodes stand at {positions:?}"));
        }
        let mut unproven = quiet.core.iter().flat_map(|node| [(*node, true), (*node, false)]);
        let unproven = unproven.find(|probe| !self.probe_succeeded(*probe));
        let (node, write) = unproven?;
        let what = if write { "write" } else { "read" };
        Some(format!("no new {what} through {node} succeeded"))
    }

    /// What clients that drive a machine still lack: their own requests must have ended, and one
    /// that knows all nodes must get through to the core, whichever of them are broken.
    fn clients_pending(&self) -> Option<String> {
        self.plan.options.clients.as_ref()?;
        if !self.probe_succeeded(ANYWHERE) {
            return Some("no new write of a client that knows all nodes succeeded".to_string());
        }
        self.sessions.waiting().map(|client| format!("client {client} still waits"))
    }

    fn probe_succeeded(&self, probe: (NodeId, bool)) -> bool {
        let quiet = self.quiet.as_ref();
        let call = quiet.and_then(|quiet| quiet.probes.get(&probe));
        call.and_then(|call| self.clients.calls[*call].ended.as_ref())
            .is_some_and(|(_, ending)| matches!(ending, End::Done { .. }))
    }

    /// Asks for a new write and a new read through each node of the core, again and again.
    fn probe(&mut self) {
        let Some(quiet) = &self.quiet else { return };
        let core = quiet.core.iter().flat_map(|node| [(*node, true), (*node, false)]);
        let anywhere = self.plan.options.clients.as_ref().map(|_| ANYWHERE);
        let wanted: Vec<(NodeId, bool)> = core.chain(anywhere).collect();
        for probe in wanted {
            let last = self.quiet.as_ref().and_then(|quiet| quiet.probes.get(&probe));
            let open = last.is_some_and(|call| self.clients.calls[*call].ended.is_none());
            if open || self.probe_succeeded(probe) {
                continue;
            }
            let (node, write) = probe;
            let call = self.clients.add(Op {
                at: self.now,
                client: PROBER + node.get(),
                node: node.get().max(1),
                kind: if write { OpKind::Set } else { OpKind::Get },
                key: 1,
                size: 0,
                patience: PATIENCE,
            });
            self.queue.push(self.now, Occur::Ask(vec![call]));
            if let Some(quiet) = &mut self.quiet {
                quiet.probes.insert(probe, call);
            }
        }
    }
}

/// Names the time that recovery took, for the marks of a sweep.
fn bucket(millis: u64) -> &'static str {
    match millis {
        0..=499 => "recovered within 0.5 s",
        500..=1_999 => "recovered within 2 s",
        2_000..=9_999 => "recovered within 10 s",
        _ => "recovered after more than 10 s",
    }
}
