//! Nothing grows without bound (L6): what waits, and what is done in a second.

use super::{Check, ensure};
use crate::run::options::Options;
use crate::run::plan::{Fault, Plan, Planned};
use crate::world::host::Host;
use crate::world::lane::Lane;
use std::collections::BTreeMap;
use zabkeeper_core::words::NodeId;
use zabkeeper_core::zab::Status;

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
    /// What a process may take in, apply and make in one turn.
    pub turn: u64,
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
            // To each peer what fits into its window, and once what else a turn does: a part of a
            // checkpoint, what it takes in, and what it applies of that.
            turn: u64::from(options.nodes) * (window + parts)
                + limits.checkpoint_part as u64 * value
                + 3 * window,
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
    /// True if not only nodes speak.
    pub hostile: bool,
    second: u64,
    done: BTreeMap<(NodeId, Deed), u64>,
}

impl Rates {
    /// Nothing was done yet.
    pub fn new(hostile: bool) -> Self {
        Self { hostile, ..Self::default() }
    }

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

/// How many answers a node gives to one sender within the shortest wait before it says its own vote
/// again, whatever comes.
const ANSWERS: u64 = 32;

/// True if somebody says what nodes said before, or what they never said.
pub fn is_hostile(plan: &Plan) -> bool {
    let speaks = |planned: &Planned| {
        matches!(planned.fault, Fault::Forge { .. } | Fault::Echo { .. } | Fault::Stranger { .. })
    };
    plan.options.net.replay > 0 || plan.options.net.twice > 0 || plan.faults.iter().any(speaks)
}

/// How often in a second a node may do something, by the timeouts of the core.
pub fn most(deed: Deed, options: &Options, hostile: bool) -> u64 {
    let times = |pause: u64| 1_000_000 / pause.max(1) + 1;
    let (t, peers) = (&options.timeouts, u64::from(options.nodes) - 1);
    match deed {
        // To each other: what it says by itself, twice as fast as it waits at least, one answer in
        // that time, and what it says anew.
        Deed::Datagram if !hostile => peers * (3 * times(t.resend_min) + 50),
        // Where somebody forges or repeats what others said, so many answers in that time.
        Deed::Datagram => peers * ((3 + ANSWERS) * times(t.resend_min) + 50),
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

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId::new(1);

    /// How often each deed may be done in a second by default, by three nodes.
    fn bound(deed: Deed, hostile: bool) -> u64 {
        most(deed, &Options::calm(3), hostile)
    }

    #[test]
    fn what_is_done_once_too_often_in_a_second_is_a_violation() {
        for deed in [Deed::Datagram, Deed::Dial, Deed::Election, Deed::Halt] {
            let mut rates = Rates::new(false);
            let most = bound(deed, false);
            let mut verdict = |at: u64| seldom(NODE, deed, rates.count(NODE, deed, at), most);
            for k in 0..most {
                assert_eq!(verdict(5_000_000 + k), Ok(()), "{deed:?}");
            }
            assert!(verdict(5_999_999).is_err(), "{deed:?}");
            assert_eq!(verdict(6_000_000), Ok(()), "{deed:?}: another second");
        }
    }

    #[test]
    fn two_nodes_that_answer_each_other_at_the_speed_of_the_network_are_found_out() {
        // Each answer comes a round trip after the last, at 100 us each way.
        assert!(bound(Deed::Datagram, false) < 1_000_000 / 200);
        assert!(bound(Deed::Datagram, true) < 1_000_000 / 200);
    }

    #[test]
    fn what_waits_beyond_its_room_is_a_violation() {
        let room = Room::new(&Options::calm(3), 1 << 20);
        for (what, room) in [
            ("log", room.log),
            ("journal", room.journal),
            ("staged", room.staged),
            ("peer", room.peer),
            ("turn", room.turn),
        ] {
            assert_eq!(fits(NODE, what, room, room), Ok(()));
            assert!(fits(NODE, what, room + 1, room).is_err());
        }
    }
}
