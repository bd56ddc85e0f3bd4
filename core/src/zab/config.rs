//! What can be tuned, checked once.

use crate::words::{Micros, NodeId};
use alloc::string::String;

/// Timeouts. Only liveness depends on them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Timeouts {
    /// First wait before the own vote is sent again; doubles up to `resend_max`.
    pub resend_min: Micros,
    /// Longest wait before the own vote is sent again.
    pub resend_max: Micros,
    /// How long a quorum of equal votes must stand when not every voter has been heard.
    pub finalize: Micros,
    /// Longest silence while a leader is joined and a follower synchronised.
    pub init: Micros,
    /// Longest silence between a leader and its followers afterwards.
    pub sync: Micros,
    /// Between two heartbeats.
    pub ping: Micros,
    /// How long a client's request waits at a node for a leader. Then it is refused, so that the
    /// client tries another node: this one may be cut off.
    pub hold: Micros,
    /// Between two attempts to connect to an elected leader, and the first pause before a leader is
    /// joined again after an attempt that was of no use; the pause grows to fifty times that, but not
    /// beyond a third of `init`.
    pub redial: Micros,
    /// A leader whose own disk takes longer than this for a write steps down.
    pub disk: Micros,
    /// How long after the last entries of a burst it is noted on disk that they are committed.
    pub settle: Micros,
}

impl Timeouts {
    /// How long a half transferred state is kept for a follower to come back to, and by it.
    pub(crate) fn patience(&self) -> Micros {
        Micros::new(self.init.get().saturating_mul(10))
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            resend_min: Micros::millis(50),
            resend_max: Micros::millis(500),
            finalize: Micros::millis(40),
            init: Micros::millis(3000),
            sync: Micros::millis(800),
            ping: Micros::millis(100),
            hold: Micros::millis(2000),
            redial: Micros::millis(20),
            disk: Micros::millis(5000),
            settle: Micros::millis(50),
        }
    }
}

/// Limits. Everything that can grow has one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Limits {
    /// Bytes of log kept in memory for followers that were away; older entries are forgotten.
    pub retain_bytes: usize,
    /// Entries of log kept in memory for followers that were away.
    pub retain_entries: usize,
    /// Bytes of log kept on disk beyond what a restart needs: a third of the size of the state for
    /// followers that were away, at most so much; for one that is being fed all that it lacks, up to
    /// this or, while it gets on, the size of the state if that is more, and half the limit of the
    /// log in any case.
    pub journal_bytes: usize,
    /// Bytes of entries applied after which the next checkpoint of the state begins: what a restart
    /// applies again at most, apart from what is applied while a checkpoint is written.
    pub checkpoint_bytes: usize,
    /// Entries applied after which the next checkpoint of the state begins.
    pub checkpoint_entries: usize,
    /// Changes of the state that one step reads for a checkpoint: while a checkpoint is begun, each
    /// step takes so much longer.
    pub checkpoint_part: usize,
    /// The weight of the answers to reads that one step makes, see
    /// [`App::weight`](crate::replica::App::weight); the last of them may be heavier. What is over
    /// waits for the next step, so that a node stays alive however much it is asked for at once.
    /// Zero does as one.
    pub read_part: usize,
    /// What one step applies, see [`App::effort`](crate::replica::App::effort); the last command of it
    /// may go beyond. Nor does it apply more bytes of commands than `window_bytes`. What is over waits
    /// for the next step. Zero does as one.
    pub apply_part: usize,
    /// About the bytes that the application's state may take in memory,
    /// [`App::bytes`](crate::replica::App::bytes). Above it a node refuses the requests of its clients
    /// that make it grow. Of each node's own file, and so judged before a request becomes an entry.
    pub state_bytes: usize,
    /// Bytes of entries in one message.
    pub message_bytes: usize,
    /// Bytes of entries sent to a follower and not acknowledged by it.
    pub window_bytes: usize,
    /// Snapshot parts sent to a follower and not acknowledged by it.
    pub window_chunks: u64,
    /// Client requests waiting at a node, and as many reads that wait for a step with room. A
    /// sixteenth of them may be local reads of a state that the node has not reached yet.
    pub pending_requests: usize,
    /// Bytes of client requests waiting at a node.
    pub pending_bytes: usize,
    /// Bytes of one command.
    pub command_bytes: usize,
    /// The last counter of an epoch; then a new one begins.
    pub counter_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            retain_bytes: 2 << 20,
            retain_entries: 100_000,
            journal_bytes: 1 << 30,
            checkpoint_bytes: 16 << 20,
            checkpoint_entries: 200_000,
            checkpoint_part: 256,
            read_part: 1000,
            apply_part: 10_000,
            state_bytes: usize::MAX,
            message_bytes: 256 << 10,
            window_bytes: 4 << 20,
            window_chunks: 16,
            pending_requests: 65_536,
            pending_bytes: 64 << 20,
            command_bytes: (1 << 20) + (8 << 10),
            counter_max: u64::MAX - (1 << 20),
        }
    }
}

/// A node's configuration.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Where it answers clients; told to others as a hint for status tables.
    pub client_addr: String,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// Limits.
    pub limits: Limits,
    /// The planted bug, if any: only with the `mutants` feature.
    #[cfg(feature = "mutants")]
    pub mutant: Option<crate::mutants::Mutant>,
    /// Every datagram is taken for the present word of its sender: for exhaustive search, in whose
    /// world none is late or forged.
    #[cfg(feature = "explore")]
    pub unstamped: bool,
}

impl Config {
    /// The defaults for `node`.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            client_addr: String::new(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            #[cfg(feature = "mutants")]
            mutant: None,
            #[cfg(feature = "explore")]
            unstamped: false,
        }
    }
}
