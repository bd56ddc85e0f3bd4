//! Nothing grows without bound (L6): what waits, and what is done in a second.

use super::{Check, ensure};
use crate::host::Host;
use crate::lane::Lane;
use crate::options::Options;
use std::collections::BTreeMap;
use zabkeeper_core::ids::NodeId;
use zabkeeper_core::replica::Status;

/// A process holds no more requests than its limits allow.
pub fn within(host: &Host, status: &Status) -> Check {
    let limits = &host.config.limits;
    ensure!(
        status.waiting <= limits.pending_requests,
        "bounded queues (L6)",
        "{} holds {} requests, the limit is {}",
        host.id,
        status.waiting,
        limits.pending_requests
    );
    let put_off = host.process.as_ref().map_or(0, |process| process.replica.put_off());
    ensure!(
        put_off <= limits.pending_requests,
        "bounded queues (L6)",
        "{} has put off {put_off} reads, the limit is {}",
        host.id,
        limits.pending_requests
    );
    Ok(())
}

/// How many bytes may wait where, by the limits of the core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    /// Of the log, in memory.
    pub log: u64,
    /// For the journal.
    pub journal: u64,
    /// Of parts of a snapshot, for the state store.
    pub staged: u64,
    /// On a connection to a peer, but for the requests of clients that are passed on.
    pub peer: u64,
}

impl Room {
    /// The room in a world whose largest value has so many bytes.
    pub fn new(options: &Options, value: u64) -> Self {
        let limits = &options.limits;
        // What goes over a limit is one more element or message.
        let one = value + limits.message_bytes as u64 + 4_096;
        let window = limits.window_bytes as u64 + one;
        let parts = limits.window_chunks * one;
        let log = 4 * limits.retain_bytes.max(limits.checkpoint_bytes) as u64;
        Self {
            log: log + limits.pending_bytes as u64 + 2 * window,
            journal: log + limits.pending_bytes as u64 + 2 * window,
            staged: 2 * parts,
            peer: 2 * window + parts,
        }
    }
}

/// What waits at a machine, and the room that there is for it.
pub fn waiting(host: &Host, status: &Status, room: &Room) -> [(&'static str, u64, u64); 3] {
    let disk = &host.disk;
    [
        ("log bytes", status.log_bytes as u64, room.log),
        ("bytes for the journal", disk.line(Lane::Journal).bytes(), room.journal),
        ("bytes staged", disk.bytes_staged(), room.staged),
    ]
}

/// So much waits where there is so much room.
pub fn fits(node: NodeId, what: &str, waits: u64, room: u64) -> Check {
    ensure!(
        waits <= room,
        "bounded queues (L6)",
        "{node}: {what}: {waits} wait, there is room for {room}"
    );
    Ok(())
}

/// What a node may not do too often.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Deed {
    /// Send a datagram.
    Datagram,
    /// Ask for a connection.
    Dial,
    /// Begin to look for a leader.
    Election,
    /// Stop for good.
    Halt,
}

/// What each node did in the present second, of virtual time.
#[derive(Debug, Default)]
pub struct Rates {
    second: u64,
    done: BTreeMap<(NodeId, Deed), u64>,
}

impl Rates {
    /// A node does something once more: how often in this second.
    pub fn count(&mut self, node: NodeId, deed: Deed, now: u64) -> u64 {
        let second = now / 1_000_000;
        if second != self.second {
            self.second = second;
            self.done.clear();
        }
        let done = self.done.entry((node, deed)).or_default();
        *done += 1;
        *done
    }
}

/// How often in a second a node may do something, by the timeouts of the core.
pub fn most(deed: Deed, options: &Options) -> u64 {
    let times = |pause: u64| 1_000_000 / pause.max(1) + 1;
    let (t, peers) = (&options.timeouts, u64::from(options.nodes) - 1);
    match deed {
        // What it sends by itself, what it answers, and what it says anew.
        Deed::Datagram => peers * (3 * times(t.resend_min) + 50),
        Deed::Dial => times(t.redial) + 50,
        Deed::Election => times(t.finalize) + 50,
        Deed::Halt => 5,
    }
}

/// A node has done something so often in this second.
pub fn seldom(node: NodeId, deed: Deed, done: u64, most: u64) -> Check {
    ensure!(
        done <= most,
        "bounded work (L6)",
        "{node}: {deed:?}: {done} in a second, {most} are enough"
    );
    Ok(())
}
