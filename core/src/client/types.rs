//! What goes into a client and what comes out.

use crate::words::{ConnId, End, Instant, Micros, Ticket};

/// What can be tuned.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// How many endpoints there are; they are numbered from 0 and tried in turn. At least 1.
    pub endpoints: usize,
    /// How long opening a connection may take.
    pub connect_timeout: Micros,
    /// How long a connection may leave a request unanswered and still get more of them.
    pub attempt_timeout: Micros,
    /// How long a connection may be unused and still get a request. After that a new one is
    /// opened, which shows whether the node is still there before anything is sent to it.
    pub idle_timeout: Micros,
    /// First pause after a refusal, or after every endpoint failed; doubles up to `backoff_max`.
    /// The pause taken is a random one between half of it and the whole.
    pub backoff_min: Micros,
    /// Longest pause.
    pub backoff_max: Micros,
    /// Nodes are told a deadline that is earlier by this, but by an eighth of the time left at
    /// most, so that a refusal at the last moment still arrives in time.
    pub margin: Micros,
    /// The planted bug, if any: only with the `mutants` feature.
    #[cfg(feature = "mutants")]
    pub mutant: Option<crate::mutants::Mutant>,
}

impl Config {
    /// The defaults for so many endpoints.
    pub const fn new(endpoints: usize) -> Self {
        Self {
            endpoints,
            connect_timeout: Micros::millis(500),
            attempt_timeout: Micros::millis(2000),
            idle_timeout: Micros::millis(2000),
            backoff_min: Micros::millis(20),
            backoff_max: Micros::millis(500),
            margin: Micros::millis(200),
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event<O, R> {
    /// The caller asks.
    Submit {
        /// Names the request; never used twice.
        id: Ticket,
        /// What it asks for.
        op: O,
        /// When it stops waiting.
        deadline: Instant,
    },
    /// A connection that [`Action::Connect`] asked for is open: the node itself has spoken on it.
    Connected(ConnId),
    /// A connection that [`Action::Connect`] asked for could not be opened.
    ConnectFailed(ConnId),
    /// The answer to the oldest request on a connection that has none yet.
    Received {
        /// The connection.
        conn: ConnId,
        /// How the node says that it ended.
        end: End<R>,
    },
    /// A connection is gone.
    Closed(ConnId),
    /// Time has passed.
    Tick,
}

/// Something to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action<O, R> {
    /// Open a connection, and use this name for it.
    Connect {
        /// Its name.
        conn: ConnId,
        /// Where to.
        endpoint: usize,
    },
    /// Send a request.
    Send {
        /// On which connection.
        conn: ConnId,
        /// The request.
        id: Ticket,
        /// What it asks for.
        op: O,
        /// For how long the node may hold it.
        wait: Micros,
    },
    /// Close a connection, or stop opening it. No [`Event::Closed`] is expected.
    Close(ConnId),
    /// Tell the caller how its request ended: once for each, at its deadline at the latest. What was
    /// refused has the last reason that a node gave, or [`TimedOut`](crate::words::RefuseReason::TimedOut).
    Done {
        /// The request.
        id: Ticket,
        /// How it ended.
        end: End<R>,
    },
}
