//! From a configuration to a loop that is ready to run: sockets, disk, state, node, in this order.

use super::clients::Clients;
use super::clock::Clock;
use super::election::Election;
use super::event_loop::{ELECTION, EventLoop, MESSAGES, REQUESTS, WAKER, Work};
use super::peers::Peers;
use super::turn::Turns;
use super::{Call, Shared, Sockets, resources};
use crate::config::{CLIENTS_MEMORY_MIN, NetLimits, ServerConfig};
use crate::exit_code;
use crate::net::Names;
use crate::notes::{Counters, member_list};
use crate::storage::{self, Bootstrap, OpenError, Opened, StorageThread};
use mio::net::{TcpListener, UdpSocket};
use mio::{Interest, Poll, Waker};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Instant as StdInstant;
use std::{fmt, io};
use zabkeeper_core::replica::{App, LoadError, Replica};
use zabkeeper_core::service::{Limits, Service};
use zabkeeper_core::store::Tree;
use zabkeeper_core::words::{Digest, Incarnation, Life, NodeId, Ticket, Txid};
use zabkeeper_core::zab::RestoreError;

/// Why a node cannot start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The configured node is not in the configured membership.
    NotMember(NodeId),
    /// An address cannot be listened on.
    Bind {
        /// Which of the addresses in the configuration.
        field: &'static str,
        /// The address.
        addr: String,
        /// The system's answer.
        error: io::Error,
    },
    /// An own address is a name that means nothing here.
    Resolve {
        /// Which of the addresses in the configuration.
        field: &'static str,
        /// The address.
        addr: String,
        /// The system's answer.
        error: io::Error,
    },
    /// The data directory cannot be opened.
    Storage(OpenError),
    /// The stored state of the application cannot be loaded.
    State {
        /// The last entry that it contains.
        at: Txid,
        /// What is wrong.
        error: LoadError,
    },
    /// The stored state of the application is not the one that was stored.
    StateDigest {
        /// The last entry that it contains.
        at: Txid,
        /// The digest that was stored with it.
        stored: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// What is stored cannot be a node's state.
    Restore(RestoreError),
    /// The system refused something else.
    System {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        error: io::Error,
    },
}

impl StartError {
    pub(super) fn thread(error: io::Error) -> Self {
        let what = "start a thread";
        Self::System { what, error }
    }

    fn poll(error: io::Error) -> Self {
        let what = "watch the sockets";
        Self::System { what, error }
    }

    /// True if it may pass by itself: after a boot, addresses and names may come later than the node.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Bind { error, .. } => error.kind() == io::ErrorKind::AddrNotAvailable,
            Self::Resolve { .. } => true,
            _ => false,
        }
    }

    /// The exit code for a process whose node cannot start; see [the table](super).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotMember(_) => 2,
            // After a boot, addresses and names may come later than the node.
            Self::Bind { .. } | Self::Resolve { .. } => 1,
            Self::Storage(OpenError::Io { .. } | OpenError::InUse { .. } | OpenError::NoFlush) => 1,
            Self::Storage(OpenError::Version { found, supported, .. }) if found > supported => {
                exit_code::NEWER_DATA
            }
            Self::Storage(_) => 3,
            Self::State { .. } | Self::StateDigest { .. } | Self::Restore(_) => 3,
            Self::System { .. } => 1,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let damaged = "the data directory is damaged; keep it, and do not start this node with it \
                       again";
        match self {
            Self::NotMember(node) => write!(f, "{node} is not among the configured members"),
            Self::Bind { field, addr, error } => {
                write!(f, "cannot listen on {addr} ({field}): {error}")?;
                match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        write!(f, "; another process uses the port, perhaps this node already runs")
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        write!(f, "; this machine has no such address now: see ListenIp")
                    }
                    _ => Ok(()),
                }
            }
            Self::Resolve { field, addr, error } => write!(
                f,
                "cannot listen on {addr} ({field}): the name cannot be resolved now: {error}"
            ),
            Self::Storage(error) => write!(f, "{error}"),
            Self::State { at, error } => write!(f, "{damaged}: the state at {at}: {error}"),
            Self::StateDigest { at, stored, found } => write!(
                f,
                "{damaged}: the state at {at} was stored with the digest {stored} and has {found}"
            ),
            Self::Restore(error) => write!(f, "{damaged}: {error}"),
            Self::System { what, error } => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        Self::Storage(error)
    }
}

/// Builds the loop. Nothing is sent or answered before it runs.
pub(super) fn prepare(
    config: ServerConfig,
    sockets: Sockets,
    calls: Receiver<Call>,
) -> Result<(EventLoop, Arc<Waker>, Arc<Shared>), StartError> {
    let clock = Clock::start();
    let config = fit(config);
    let own = sockets.tell(config.node).map_err(StartError::poll)?;
    let bootstrap = Bootstrap {
        node: config.node,
        membership: Arc::clone(&config.membership),
        incarnation: Incarnation::new(rand::random()),
        secret: rand::random(),
        life: Life::new(rand::random()),
    };
    let opened = storage::open(&config.data_dir, &config.storage, &bootstrap)?;
    let Opened { store, recovered, digest, items, created } = opened;
    tell_start(&config, &recovered, created);
    let app = load(items, digest, recovered.applied.txid)?;
    let cluster = recovered.identity.cluster;
    let (replica, outputs) =
        Replica::restore(config.core.clone(), recovered, app, rand::random(), clock.now())
            .map_err(StartError::Restore)?;

    let poll = Poll::new().map_err(StartError::poll)?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(StartError::poll)?);
    let (election, messages, requests) = watch(&poll, sockets).map_err(StartError::poll)?;
    let notify = {
        let waker = Arc::clone(&waker);
        // It fails only if the system has no resources left; the next one will get through.
        move || drop(waker.wake())
    };
    let names = Names::new(own, notify.clone());
    let storage = StorageThread::spawn(store, notify).map_err(StartError::thread)?;
    let shared = Arc::new(Shared {
        node: config.node,
        cluster,
        command_bytes: config.core.limits.command_bytes,
        counters: Counters::default(),
        exit: Mutex::new(None),
    });
    let net = &config.net;
    let event_loop = EventLoop {
        poll,
        clock,
        replica,
        outputs,
        storage,
        election: Election::new(election),
        messages,
        requests,
        peers: Peers::new(net.peer_buffer, config.core.timeouts.init),
        clients: Clients::new(Service::new(service_limits(net), Ticket::new(0))),
        names,
        calls,
        shared: Arc::clone(&shared),
        turns: Turns::new(StdInstant::now()),
        work: Work::default(),
    };
    Ok((event_loop, waker, shared))
}

/// The share of the memory that the tree may take unless the configuration says more: a follower
/// that installs a snapshot holds two of them for a moment, and there must be room for the rest.
const TREE_SHARE: u64 = 3;
/// The share of all clients' connections.
const CLIENTS_SHARE: u64 = 8;

/// Adapts what depends on the system: the descriptors and the memory that this process may have.
fn fit(mut config: ServerConfig) -> ServerConfig {
    let node = config.node;
    let descriptors = resources::raise_descriptors();
    let net = &mut config.net;
    let places = resources::places(net.clients, descriptors);
    if places < net.clients {
        log::warn!(
            "{node}: {places} clients may connect, not {}: this process may have {} descriptors, and \
             keeps some for its disk and for peers; see `ulimit -Hn`, LimitNOFILE",
            net.clients,
            descriptors.unwrap_or(usize::MAX)
        );
        net.clients = places;
    }
    let memory = resources::memory();
    let share = |of: u64| memory.map(|all| usize::try_from(all / of).unwrap_or(usize::MAX));
    if let Some(most) = share(CLIENTS_SHARE) {
        net.clients_memory = net.clients_memory.min(most.max(CLIENTS_MEMORY_MIN));
    }
    let state = &mut config.core.limits.state_bytes;
    if *state == usize::MAX
        && let Some(most) = share(TREE_SHARE)
    {
        *state = most;
    }
    log::info!("{node}: the tree may take {state} bytes of memory, clients {}", net.clients_memory);
    config
}

/// What clients may use, by the configuration.
fn service_limits(net: &NetLimits) -> Limits {
    Limits {
        places: net.clients,
        places_of_one: net.clients_of_one,
        requests: net.client_requests,
        buffer: net.client_buffer,
        memory: net.clients_memory,
        value: net.value_bytes,
        stall: net.client_stall,
        rate: net.client_rate,
        request: net.client_request,
        idle: net.client_idle,
        ..Limits::default()
    }
}

/// Tells the operator what this start begins with.
fn tell_start(config: &ServerConfig, recovered: &zabkeeper_core::zab::Recovered, created: bool) {
    let node = config.node;
    let dir = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    let dir = dir.display();
    let membership = &recovered.base.membership;
    let identity = &recovered.identity;
    if created {
        // The first start, or the wrong place: whoever reads this can tell which.
        log::warn!(
            "{node}: initialised the empty data directory {dir} as disk {}: if this node has stored \
             something before, it is elsewhere; stop the node then, and correct DataDir",
            identity.incarnation
        );
    } else {
        let last = recovered.entries.last().map_or(recovered.base.at.txid, |e| e.txid);
        log::info!(
            "{node}: opened the data directory {dir} (disk {}): the log reaches from {} to {last}, \
             the state to {}",
            identity.incarnation,
            recovered.base.at.txid,
            recovered.applied.txid,
        );
    }
    log::info!("{node}: ensemble {} {}", identity.cluster, member_list(membership));
    let voters = membership.voters().count();
    if voters.is_multiple_of(2) {
        log::warn!(
            "{node}: {voters} voters survive the loss of no more nodes than {} would",
            voters - 1
        );
    }
}

/// Builds the application's state from what is stored and makes sure that it is the one stored.
fn load(mut items: storage::Items, stored: Digest, at: Txid) -> Result<Tree, StartError> {
    let mut tree = Tree::empty();
    let state = |error| StartError::State { at, error };
    let damaged = |damage: storage::Damage| StartError::Storage(damage.into());
    while let Some((key, value)) = items.next_element().map_err(damaged)? {
        tree.load(key, value).map_err(state)?;
    }
    tree.finish_load(at).map_err(state)?;
    let found = tree.digest();
    if found != stored {
        return Err(StartError::StateDigest { at, stored, found });
    }
    Ok(tree)
}

fn watch(poll: &Poll, sockets: Sockets) -> io::Result<(UdpSocket, TcpListener, TcpListener)> {
    sockets.election.set_nonblocking(true)?;
    sockets.message.set_nonblocking(true)?;
    sockets.request.set_nonblocking(true)?;
    let mut election = UdpSocket::from_std(sockets.election);
    let mut messages = TcpListener::from_std(sockets.message);
    let mut requests = TcpListener::from_std(sockets.request);
    let registry = poll.registry();
    registry.register(&mut election, ELECTION, Interest::READABLE)?;
    registry.register(&mut messages, MESSAGES, Interest::READABLE)?;
    registry.register(&mut requests, REQUESTS, Interest::READABLE)?;
    Ok((election, messages, requests))
}
