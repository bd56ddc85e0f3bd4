//! Reads of the log on a disk: how long they take, and what they must bring.

use crate::check::{Check, Violation};
use crate::world::dice::{Dice, Stream, stream};
use crate::world::lane::Lane;
use crate::world::{Occur, World, place, size};
use zabkeeper_core::words::{ConnId, NodeId, Txid};
use zabkeeper_core::zab::{Entry, Event, Keep, Position};

/// The stream of a disk's reads, apart from those of its flushes and crashes.
const READS: u64 = u64::MAX / 2;

/// A question to the disk of a machine.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// For which connection.
    pub conn: ConnId,
    /// Entries after this ...
    pub after: Txid,
    /// ... up to this.
    pub upto: Txid,
    /// About so many bytes.
    pub max_bytes: usize,
}

impl World {
    /// A node asks its disk for entries.
    pub(crate) fn ask_log(&mut self, node: NodeId, wanted: Wanted) -> Check {
        let (now, options) = (self.now, &self.plan.options);
        let rng = stream(self.plan.seed, Stream::Disk).split(u64::from(node.get())).split(READS);
        let scale = options.scale();
        let host = &mut self.hosts[place(node)];
        host.reads += 1;
        let mut rng = rng.split(host.reads);
        let latency = rng.between(options.disk.flush_min, options.disk.flush_max);
        // It lasts by what is there to be read, however much more was asked for.
        let (_, entries) = host.disk.past.read(wanted.after, wanted.upto, wanted.max_bytes);
        let bytes = size::real(size::entries(&entries), entries.len() as u64, scale);
        let lasts = latency + host.pace.flush(Lane::Journal, bytes, now);
        let Some(process) = &mut host.process else { return Ok(()) };
        if process.reads.insert(wanted.conn, wanted.after).is_some() {
            let what = format!("{node} asks its disk for {} twice", wanted.conn);
            return Err(Violation::new("bounded work (L6)", what));
        }
        let at = (now + lasts).max(host.disk.stalled_until(Lane::Journal));
        let boot = host.boots;
        self.queue.push(at, Occur::LogRead { node, boot, wanted });
        Ok(())
    }

    /// The disk answers, unless it stands still.
    pub(crate) fn log_read(&mut self, node: NodeId, boot: u64, wanted: Wanted) -> Check {
        if !self.is_life(node, boot) {
            return Ok(());
        }
        let (now, host) = (self.now, self.host_mut(node));
        let stalled = host.disk.stalled_until(Lane::Journal);
        if stalled > now {
            self.queue.push(stalled, Occur::LogRead { node, boot, wanted });
            return Ok(());
        }
        let Wanted { conn, after, upto, max_bytes } = wanted;
        if let Some(process) = &mut host.process {
            process.reads.remove(&conn);
        }
        let (from, entries) = host.disk.past.read(after, upto, max_bytes);
        self.mark(if from.is_some() { "log read" } else { "log gone" });
        if let Some(from) = from {
            self.is_history(node, from, &entries)?;
        }
        self.deliver(node, Event::LogRead { conn, from, entries })
    }

    /// What a disk reads back is what was committed there, without a hole.
    fn is_history(&self, node: NodeId, from: Position, entries: &[Entry]) -> Check {
        let mut end = from;
        let known = self.checks.order.committed_at(from.txid) == Some(from);
        let follows = entries.iter().all(|entry| {
            let follows = entry.follows(end).is_ok();
            end = entry.position();
            follows && self.checks.order.committed_at(end.txid) == Some(end)
        });
        if known && follows {
            return Ok(());
        }
        let what = format!("{node} reads after {from:?} what is not its log: {entries:?}");
        Err(Violation::new("the log on disk is the log", what))
    }

    /// What a node's disk is to keep covers all that it is being asked for.
    pub(crate) fn covers_reads(&self, node: NodeId, keep: Keep) -> Check {
        let process = self.host(node).process.as_ref();
        let asked = process.and_then(|process| process.reads.values().min().copied());
        match asked {
            Some(asked) if keep.after.is_none_or(|after| after > asked) => {
                let what = format!("{node} reads after {asked} and has its disk keep {keep:?}");
                Err(Violation::new("the log is kept for whoever is fed from it", what))
            }
            _ => Ok(()),
        }
    }
}
