//! What the faults of a plan do to the world.

pub(crate) mod floods;
pub mod overheard;

use crate::check::{Check, Violation};
use crate::run::plan::Fault;
use crate::world::dice::{Dice, Stream, stream};
use crate::world::disk::Disk;
use crate::world::host::Host;
use crate::world::{Occur, World, place};
use zabkeeper_core::words::{End, NodeId};
use zabkeeper_core::zab::Recorded;

impl World {
    /// A planned fault is due: it strikes, or begins to wait for its transition.
    pub(crate) fn strike(&mut self, index: usize) -> Check {
        if self.quiet.is_some() {
            return Ok(());
        }
        let planned = &self.plan.faults[index];
        if planned.on.is_some() {
            self.armed.push(index);
            return Ok(());
        }
        let fault = planned.fault.clone();
        let leader = self.checks.epochs.newest().map_or(NodeId::new(1), |(_, leader)| leader);
        self.inflict(fault, leader)
    }

    /// A node made a transition: what waited for it strikes. A crash strikes within the step; all
    /// else is only scheduled, since a step must not begin inside another.
    pub(crate) fn spring(&mut self, node: NodeId, mark: &str) {
        if self.quiet.is_some() {
            return;
        }
        let faults = &self.plan.faults;
        let waits = |index: &usize| {
            faults.get(*index).and_then(|p| p.on.as_deref()).is_some_and(|on| mark.starts_with(on))
        };
        let Some(place) = self.armed.iter().position(waits) else { return };
        let index = self.armed.remove(place);
        let fault = self.plan.faults[index].fault.clone();
        self.tell(node.get(), || format!("{mark} springs {fault:?}"));
        self.mark("fault: ambush");
        match fault {
            Fault::CrashInStep { node: 0, actions, down } => {
                self.host_mut(node).crash_after = Some((actions, down));
            }
            fault => self.queue.push(self.now, Occur::Ambush { node, fault: Box::new(fault) }),
        }
    }

    /// A fault strikes now; node 0 stands for `leader`.
    pub fn inflict(&mut self, fault: Fault, leader: NodeId) -> Check {
        let now = self.now;
        self.mark(&format!("fault: {}", fault.class()));
        self.tell(0, || format!("{fault:?}"));
        let who = |node: u32| if node == 0 { leader } else { NodeId::new(node) };
        match fault {
            Fault::Crash { node, down } => self.lose_power(who(node), down)?,
            Fault::CrashInStep { node, actions, down } => {
                let host = self.host_mut(who(node));
                if host.process.is_some() {
                    host.crash_after = Some((actions, down));
                }
            }
            Fault::PowerCut { down } => {
                let mut rng = stream(self.plan.seed, Stream::Faults).split(now);
                for id in 1..=self.plan.options.nodes {
                    let down = rng.between(1, down.max(1));
                    self.lose_power(NodeId::new(id), down)?;
                }
            }
            Fault::Pause { node, lasts } => self.pause(who(node), lasts),
            Fault::Isolate { node, inbound, outbound, lasts } => {
                let node = who(node);
                let others = self.hosts.iter().map(|host| host.id).filter(|id| *id != node);
                let links = others.flat_map(|other| {
                    let inbound = inbound.then_some((other, node));
                    inbound.into_iter().chain(outbound.then_some((node, other)))
                });
                let links = links.collect();
                self.cut(links, lasts);
            }
            Fault::Cut { links, lasts } => {
                self.cut(named(links), lasts);
            }
            Fault::Break { a, b } => {
                self.net.break_between(who(a), who(b), now, &mut self.queue);
            }
            Fault::DiskStall { node, lasts } => {
                let disk = &mut self.host_mut(who(node)).disk;
                disk.stalled_until = disk.stalled_until.max(now + lasts);
            }
            Fault::DiskFail { node, .. } => self.host_mut(who(node)).disk.failing = true,
            Fault::Wipe { node, down } => self.wipe(who(node), down)?,
            Fault::OldDisk { node, down, after } => {
                let node = who(node);
                self.copy_disk(node, down)?;
                let fault = Box::new(Fault::PutBack { node: node.get(), down });
                self.queue.push(now + after, Occur::Ambush { node, fault });
            }
            Fault::PutBack { node, down } => self.put_back(who(node), down)?,
            Fault::Echo { node, back, lasts } => {
                let (to, until) = (who(node), now + lasts);
                self.queue.push(now, Occur::Echo { to, back, until });
            }
            Fault::CutStreams { links, lasts } => {
                let links = named(links);
                for (from, to) in &links {
                    self.net.cut_streams(*from, *to);
                }
                self.queue.push(now + lasts, Occur::HealStreams(links));
            }
            Fault::SlowLinks { links, rate, lasts } => {
                let rate = rate * self.plan.options.scale();
                for (from, to) in named(links) {
                    self.net.links.slow_down(from, to, now + lasts, rate);
                }
            }
            Fault::SlowDisk { node, latency, rate, lasts } => {
                // Where a byte stands for many, a disk of a few thousand a second would be hung.
                let rate = match self.plan.options.wide {
                    Some(_) => (rate * self.plan.options.scale()).max(2_000_000),
                    None => rate,
                };
                self.host_mut(who(node)).pace.slow_down(now + lasts, latency, rate);
            }
            Fault::StoreStall { node, lasts } => {
                let disk = &mut self.host_mut(who(node)).disk;
                disk.store_stalled_until = disk.store_stalled_until.max(now + lasts);
            }
            Fault::Forge { to, from, forgery } => {
                let (to, from) = (NodeId::new(to), NodeId::new(from));
                self.queue.push(now, Occur::Forge { to, from, forgery });
            }
            Fault::Stranger { node, from, tale } => {
                let (node, from) = (who(node), NodeId::new(from));
                self.queue.push(now, Occur::Stranger { node, from, tale });
            }
            Fault::Guests { node, kind, count, requests, apart } => {
                self.guests(who(node), kind, (count, requests), apart)?;
            }
            Fault::Flood { node, kind, count, patience } => {
                let node = who(node);
                self.queue.push(now, Occur::Flood { node, kind, count, patience });
            }
            Fault::Suspend { node, lasts } => {
                let node = who(node);
                if self.host(node).is_awake() {
                    self.host_mut(node).fall_asleep(now);
                    self.pause(node, lasts);
                }
            }
            Fault::WallStep { node, millis } => self.host_mut(who(node)).wall_skew += millis,
        }
        Ok(())
    }

    /// Old votes arrive once more: those of a reign of long ago, its leader's included, or, in the
    /// quiet period, those that must not impress anybody.
    pub(crate) fn echo(&mut self, to: NodeId, back: u32, until: u64) -> Check {
        let round = self.host(to).round();
        let votes = match &self.quiet {
            None => self.net.overheard.votes_of_reign(back),
            // The nodes of the core would be answered, and so be told again what got lost.
            Some(quiet) if back > 0 => {
                self.net.overheard.harmless_votes(round, |from| !quiet.core.contains(&from))
            }
            Some(_) => self.net.overheard.harmless_votes(round, |_| true),
        };
        let mut rng = stream(self.plan.seed, Stream::Network).split(self.now);
        for vote in votes.into_iter().filter(|vote| vote.from != to) {
            let at = self.now + rng.between(0, 5_000);
            self.queue.push(at, Occur::Datagram { to, vote, sent: 0 });
        }
        if self.now < until {
            let pause = self.plan.options.timeouts.finalize.min(40_000) / 3 + 1_000;
            self.queue.push(self.now + pause, Occur::Echo { to, back, until });
        }
        Ok(())
    }

    fn cut(&mut self, links: Vec<(NodeId, NodeId)>, lasts: u64) {
        for (from, to) in &links {
            self.net.cut(*from, *to);
        }
        self.queue.push(self.now + lasts, Occur::Heal(links));
    }

    pub(crate) fn pause(&mut self, node: NodeId, lasts: u64) {
        let now = self.now;
        let host = self.host_mut(node);
        let boot = host.boots;
        let Some(process) = &mut host.process else { return };
        if process.paused.is_none() {
            process.paused = Some(Vec::new());
            host.pause(now);
            self.queue.push(now + lasts, Occur::Resume { node, boot });
            self.tell(node.get(), || "is paused".to_string());
        }
    }

    /// The process is gone at once, with everything that its disk had not flushed; the machine
    /// comes back after `down`.
    pub(crate) fn lose_power(&mut self, node: NodeId, down: u64) -> Check {
        if self.host(node).process.is_none() {
            return Ok(());
        }
        self.tell(node.get(), || "crashes".to_string());
        self.mark("crash");
        self.kill(node)?;
        let boot = self.host(node).boots;
        self.queue.push(self.now + down, Occur::Start { node, boot });
        Ok(())
    }

    /// The process is gone. Nobody starts it again by itself, except after a failed disk.
    pub(crate) fn kill(&mut self, node: NodeId) -> Check {
        let now = self.now;
        let seed = self.plan.seed;
        let host = self.host_mut(node);
        let Some(process) = host.process.take() else { return Ok(()) };
        let mut rng = stream(seed, Stream::Disk).split(u64::from(node.get())).split(host.boots);
        host.crash_after = None;
        self.trace.see(|view| view.down(now, node));
        let host = self.host_mut(node);
        host.disk
            .crash(&mut rng)
            .map_err(|what| Violation::new("storage rules", format!("{node}: {what}")))?;
        host.issued = host.disk.image.clone();
        self.net.lose_process(node, now, &mut self.queue);
        for call in process.doors.own(&process.tickets) {
            // The client's connection breaks with the process; it may take long to notice.
            if rng.chance(500_000) {
                let ending = Box::new(End::Unknown);
                self.queue.push(now + 1_000, Occur::Answer { call, ending });
            }
        }
        if self.host(node).halted.is_some() && !self.host(node).wiped {
            let (boot, down) = (self.host(node).boots, rng.magnitude(1_000, 4_000_000));
            self.queue.push(now + down, Occur::Start { node, boot });
        }
        self.checks.disk_changed(&self.hosts, &self.hosts[place(node)])
    }

    /// The machine comes back with an empty disk, unless that would take the last quorum of disks
    /// or the ensemble has not formed yet: then nobody could tell the new disk from the old.
    fn wipe(&mut self, node: NodeId, down: u64) -> Check {
        if !self.others_know_it_formed(node) || !self.may_lose_disk(node) {
            return Ok(());
        }
        self.tell(node.get(), || "its disk is wiped".to_string());
        self.mark("disk wiped");
        let (identity, base) = self.blank_disk(node);
        self.replace_disk(node, Disk::new(identity, base), down)
    }

    /// True if the disks of all others say that the ensemble has formed.
    fn others_know_it_formed(&self, node: NodeId) -> bool {
        self.hosts.iter().all(|host| host.id == node || host.formed)
    }

    /// True if this disk may be lost: a quorum of disks must stay.
    fn may_lose_disk(&self, node: NodeId) -> bool {
        let lost = self.hosts.iter().filter(|host| host.wiped).count();
        lost < (self.hosts.len() - 1) / 2 && !self.host(node).wiped
    }

    /// The machine is stopped, its directory copied, and started again.
    fn copy_disk(&mut self, node: NodeId, down: u64) -> Check {
        self.lose_power(node, down)?;
        let host = self.host_mut(node);
        if host.process.is_none() && !host.wiped {
            host.copy = Some(host.disk.clone());
        }
        Ok(())
    }

    /// The copy takes the place of the newest directory, unless that would take the last quorum of
    /// disks, the ensemble has not formed yet, which needs all of them, or somebody does not know
    /// better: each other voter's disk must show, by a committed record, that the node has lived on
    /// since. Where only some do, it depends on who is there.
    fn put_back(&mut self, node: NodeId, down: u64) -> Check {
        if self.quiet.is_some() || !self.others_know_it_formed(node) || !self.may_lose_disk(node) {
            return Ok(());
        }
        let Some(copy) = self.host_mut(node).copy.take() else { return Ok(()) };
        let knows = |host: &Host| {
            let log = &host.disk.image.log;
            let member = log.membership_at(log.last().txid).members().get(&node)?.life;
            let shown = |recorded: &Recorded| self.checks.order.committed_at(recorded.at).is_some();
            member.filter(shown).filter(|recorded| !copy.image.lives.fit(*recorded))
        };
        let mut others = self.hosts.iter().filter(|host| host.id != node && !host.wiped);
        if !others.all(|host| knows(host).is_some()) {
            self.mark("an old disk that somebody would not know");
            return Ok(());
        }
        self.tell(node.get(), || "an old copy of its disk is put back".to_string());
        self.mark("old disk put back");
        self.replace_disk(node, copy, down)
    }

    /// Another disk takes the place of the one that the ensemble counts.
    fn replace_disk(&mut self, node: NodeId, disk: Disk, down: u64) -> Check {
        self.kill(node)?;
        let host = self.host_mut(node);
        host.halted = None;
        host.grave = Some(host.disk.image.clone());
        host.wiped = true;
        host.formed = false;
        host.copy = None;
        host.disk = disk;
        host.issued = host.disk.image.clone();
        let boot = host.boots;
        self.checks.wiped(node);
        self.queue.push(self.now + down, Occur::Start { node, boot });
        Ok(())
    }
}

/// Pairs of two nodes.
fn named(links: Vec<(u32, u32)>) -> Vec<(NodeId, NodeId)> {
    let links = links.into_iter().filter(|(a, b)| a != b);
    links.map(|(a, b)| (NodeId::new(a), NodeId::new(b))).collect()
}
