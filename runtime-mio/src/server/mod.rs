//! A node in a process: [`Server::start`] opens the disk and the sockets, a thread runs the loop.
//!
//! Two threads do the work. The loop owns the node and every socket; the storage
//! thread owns the disk. They share nothing but two queues, and neither waits for the other.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | asked to stop |
//! | 1 | anything else, such as a port in use |
//! | 2 | wrong usage or configuration |
//! | 3 | the data directory is damaged, or another node's: do not start it again as it is |
//! | 4 | the disk failed while the node ran |
//! | 5 | the protocol halted the node: its disk is not the one the ensemble knows, or histories differ |

mod client_io;
mod clients;
mod clock;
mod election;
mod event_loop;
mod lanes;
mod peer_io;
mod peers;
mod resources;
mod sockets;
mod start;
mod turn;
mod vote_io;
mod wire;

pub use sockets::Sockets;
pub use start::StartError;

use crate::config::ServerConfig;
use crate::exit_code;
use crate::notes::Counters;
use crate::storage::Failure;
use mio::Waker;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use zabkeeper_core::store::{Answer, Op};
use zabkeeper_core::words::{ClusterId, End, Micros, NodeId, RefuseReason};
use zabkeeper_core::zab::{HaltReason, Status};

/// Requests of this process waiting to be taken by the loop; more wait in the calling thread.
const CALLS: usize = 1024;

/// A running node. Dropping it stops the node and waits for that.
#[derive(Debug)]
pub struct Server {
    handle: Handle,
    thread: Option<JoinHandle<ExitReason>>,
}

/// A way to a running node, for any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    calls: SyncSender<Call>,
    waker: Arc<Waker>,
    shared: Arc<Shared>,
}

/// Why a node does not run any more.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ExitReason {
    /// It was asked to.
    Stopped,
    /// The protocol does not let it go on.
    Halted(HaltReason),
    /// Its disk failed, or holds something else than was stored.
    StorageFailed(Failure),
    /// Something that should not happen, such as a bug.
    Failed(String),
}

/// The node does not run any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotRunning;

/// What the loop and everybody else look at.
#[derive(Debug)]
struct Shared {
    node: NodeId,
    cluster: ClusterId,
    /// Bytes of the largest command.
    command_bytes: usize,
    counters: Counters,
    exit: Mutex<Option<ExitReason>>,
}

/// What other threads of this process ask of the loop.
#[derive(Debug)]
enum Call {
    Request { op: Op, wait: Micros, answer: SyncSender<End<Answer>> },
    Status(SyncSender<Status>),
    Stop,
}

impl Server {
    /// Opens the data directory, binds the addresses of the configuration and runs the node.
    /// Returns once it runs; whether there is a leader by then is another matter.
    pub fn start(config: ServerConfig) -> Result<Self, StartError> {
        let sockets = Sockets::bind(&config)?;
        Self::start_with_sockets(config, sockets)
    }

    /// As [`Server::start`], with sockets that are bound already: see [`Sockets::loopback`].
    pub fn start_with_sockets(config: ServerConfig, sockets: Sockets) -> Result<Self, StartError> {
        let (calls, inbox) = sync_channel(CALLS);
        let (event_loop, waker, shared) = start::prepare(config, sockets, inbox)?;
        let handle = Handle { calls, waker, shared: Arc::clone(&shared) };
        let name = format!("node {}", shared.node);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                let reason = event_loop.run();
                *shared.exit.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.clone());
                reason
            })
            .map_err(StartError::thread)?;
        Ok(Self { handle, thread: Some(thread) })
    }

    /// A way to this node for other threads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Asks the node to stop: it takes no more requests, gives a second to those under way, then
    /// closes its connections and the data directory. [`Server::wait`] waits for that.
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// Waits until the node has stopped, for whatever reason.
    pub fn wait(mut self) -> ExitReason {
        self.join()
    }

    fn join(&mut self) -> ExitReason {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(reason)) => reason,
            Some(Err(panic)) => {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("no message");
                ExitReason::Failed(format!("a bug in the node: {text}"))
            }
            None => ExitReason::Stopped,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        self.join();
    }
}

impl Handle {
    /// The node's id.
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// Has the node do `op` and waits for the outcome, no longer than about `timeout`. A write
    /// whose outcome nobody can know, because the node stopped first, is `Unknown`.
    pub fn request(&self, op: Op, timeout: Duration) -> End<Answer> {
        let may_be_done = matches!(op, Op::Write(_));
        let (answer, result) = sync_channel(1);
        let wait = Micros::new(u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX));
        if self.call(Call::Request { op, wait, answer }).is_err() {
            return End::Refused(RefuseReason::Stopping);
        }
        result.recv().unwrap_or(if may_be_done {
            End::Unknown
        } else {
            End::Refused(RefuseReason::Stopping)
        })
    }

    /// What the node does just now.
    pub fn status(&self) -> Result<Status, NotRunning> {
        let (answer, status) = sync_channel(1);
        self.call(Call::Status(answer))?;
        status.recv().map_err(|_| NotRunning)
    }

    /// Asks the node to stop; see [`Server::stop`].
    pub fn stop(&self) {
        // One that does not run has stopped.
        let _ = self.call(Call::Stop);
    }

    /// Why the node does not run any more; `None` while it runs.
    pub fn exited(&self) -> Option<ExitReason> {
        self.shared.exit.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often each kind of thing happened since the node started: notes of the protocol
    /// (`note.elected`), and what outsiders did wrong (`client.checksum`, `election.malformed`).
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.shared.counters.all()
    }

    fn call(&self, call: Call) -> Result<(), NotRunning> {
        self.calls.send(call).map_err(|_| NotRunning)?;
        // The call is in the queue. If the loop cannot be woken it takes it with its next turn, so
        // nothing may be said here that only holds for a call that was not taken.
        let _ = self.waker.wake();
        Ok(())
    }
}

impl ExitReason {
    /// The exit code for a process whose node ended like this.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Stopped => exit_code::DONE,
            Self::Failed(_) => exit_code::OTHER,
            Self::StorageFailed(Failure::Damaged(_)) => exit_code::DAMAGED,
            Self::StorageFailed(Failure::Refused(_))
            | Self::Halted(HaltReason::Storage | HaltReason::StateStoreStalled) => {
                exit_code::DISK_FAILED
            }
            Self::Halted(HaltReason::WrongDisk { .. } | HaltReason::OldDisk) => {
                exit_code::WRONG_DISK
            }
            Self::Halted(HaltReason::NotMember) => exit_code::REMOVED,
            Self::Halted(_) => exit_code::HALTED,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => write!(f, "the node stopped because it was asked to"),
            Self::Halted(reason) => write!(f, "the node halted: {reason}"),
            Self::StorageFailed(failure) => write!(f, "{failure}"),
            Self::Failed(why) => write!(f, "the node failed: {why}"),
        }
    }
}

impl fmt::Display for NotRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the node does not run any more")
    }
}

impl std::error::Error for NotRunning {}
