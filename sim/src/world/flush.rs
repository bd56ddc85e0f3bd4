//! The flushes of a machine's disk: when they begin, how long they take, and what ends with them.

use crate::check::{Check, Violation};
use crate::world::dice::{Dice, Stream, stream};
use crate::world::disk::Completion;
use crate::world::lane::Lane;
use crate::world::{Occur, World, place, size};
use zabkeeper_core::words::NodeId;
use zabkeeper_core::zab::Event;

/// The streams of a disk's flushes, apart from that of its crashes.
const FLUSHES: u64 = u64::MAX;

impl World {
    /// Each file of a disk begins a flush, if something waits and none is under way.
    pub(crate) fn begin_flush(&mut self, node: NodeId) {
        for lane in Lane::ALL {
            self.begin_flush_of(node, lane);
        }
    }

    fn begin_flush_of(&mut self, node: NodeId, lane: Lane) {
        let (now, options) = (self.now, &self.plan.options);
        let calm = self.quiet.as_ref().is_some_and(|quiet| quiet.core.contains(&node));
        let rng = stream(self.plan.seed, Stream::Disk).split(u64::from(node.get()));
        let scale = options.scale();
        let host = &mut self.hosts[place(node)];
        let Some((bytes, ops)) = host.disk.begin_flush(lane, options.disk.batch, scale) else {
            return;
        };
        host.moved(lane, now);
        let flush = host.disk.line(lane).flushes;
        let mut rng = rng.split(FLUSHES - lane as u64).split(flush);
        let mut lasts = rng.between(options.disk.flush_min, options.disk.flush_max);
        if !calm && rng.chance(options.disk.slow) {
            lasts += rng.magnitude(1_000, options.disk.slow_max.max(1_001));
        }
        lasts += host.pace.flush(lane, size::real(bytes, ops, scale), now);
        let at = (now + lasts).max(host.disk.stalled_until(lane));
        let boot = host.boots;
        self.queue.push(at, Occur::Flushed { node, boot, lane, flush });
    }

    /// A flush ends, unless the disk stands still or the flush has ended already.
    pub(crate) fn flushed(&mut self, node: NodeId, boot: u64, lane: Lane, flush: u64) -> Check {
        let now = self.now;
        let host = self.host_mut(node);
        if !host.disk.line(lane).is_flushing(flush) || host.boots != boot || host.process.is_none()
        {
            return Ok(());
        }
        if host.disk.stalled_until(lane) > now {
            let at = host.disk.stalled_until(lane);
            self.queue.push(at, Occur::Flushed { node, boot, lane, flush });
            return Ok(());
        }
        if std::mem::take(&mut host.disk.failing) {
            self.tell(node.get(), || "a flush fails".to_string());
            return self.deliver(node, Event::StorageFailed);
        }
        let written = host.disk.line(lane).flushing();
        let done = host
            .disk
            .end_flush(lane)
            .map_err(|what| Violation::new("storage rules", format!("{node}: {what}")))?;
        host.moved(lane, now);
        let saw = host.process.as_ref().is_some_and(|process| process.saw_membership);
        host.formed |= saw && host.disk.line(Lane::Journal).is_empty();
        self.checks.disk_changed(&self.hosts, &self.hosts[place(node)])?;
        self.begin_flush(node);
        if lane == Lane::Store {
            self.deliver(node, Event::StateProgress(written * self.plan.options.scale()))?;
        }
        for completion in done {
            if let Completion::Persisted(id) = completion {
                self.trace.see(|view| view.durable(now, node, id));
            }
            if !self.is_life(node, boot) {
                break;
            }
            let event = match completion {
                Completion::Persisted(id) => Event::Persisted(id),
                Completion::Checkpointed(txid) => Event::Checkpointed(txid),
                Completion::Sealed(stage) => Event::Sealed(stage),
                Completion::Staged(stage, parts) => Event::Staged { stage, parts },
            };
            self.deliver(node, event)?;
        }
        Ok(())
    }

    /// The flushes under way of a disk that stood still go on now.
    pub(crate) fn resume_flushes(&mut self, node: NodeId) {
        let (now, host) = (self.now, self.host(node));
        let boot = host.boots;
        let flushes = Lane::ALL.map(|lane| (lane, host.disk.line(lane).flushes));
        for (lane, flush) in flushes {
            self.queue.push(now, Occur::Flushed { node, boot, lane, flush });
        }
    }
}
