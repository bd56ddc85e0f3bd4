//! The configuration files, which are gometa's:
//!
//! ```json
//! {
//!     "Host": {"ElectionAddr": "a:5001", "MessageAddr": "a:5002", "RequestAddr": "a:5003"},
//!     "Peer": [{"ElectionAddr": "b:5001", "MessageAddr": "b:5002"},
//!              {"ElectionAddr": "c:5001", "MessageAddr": "c:5002"}]
//! }
//! ```
//!
//! `Peer` lists the other nodes; naming this one there too does no harm. Optional, and not known
//! to gometa: `Id` in `Host` and in every `Peer` (without ids, ids follow the sorted election
//! addresses, from 1); `Host.ListenIp`, the interface to listen on where that is not what the own
//! addresses resolve to; `DataDir` (default `zabkeeper-data/<id>`; what is not absolute is beside
//! the file, wherever the program was started); `Timeouts` and `Limits`, described at [`ServerConfig::parse`]. A client's file is
//! `{"Peer": [{"RequestAddr": "a:5003"}, ...]}`.

mod error;
mod json;

pub use error::{ConfigError, Problem};

use crate::storage;
use json::{Fields, Json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zabkeeper_core::words::{Micros, NodeId, Txid};
use zabkeeper_core::zab::{Config, Limits, Member, Membership, Timeouts};

/// Bytes that a command takes beside its value: the longest path, and room to spare.
const COMMAND_OVERHEAD: usize = 8 << 10;
/// What all clients' connections may hold at least.
pub(crate) const CLIENTS_MEMORY_MIN: usize = 4 << 20;
/// The largest value that can be allowed: a message between nodes must hold it.
const VALUE_MAX: u64 = zabkeeper_core::store::MAX_VALUE_BYTES as u64;

/// What a node needs to start.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// This node's id.
    pub node: NodeId,
    /// The members with which the ensemble begins. Only the first start of an empty data directory
    /// uses it as such; from then on the membership lives in the log.
    pub membership: Arc<Membership>,
    /// Where this node answers clients, as `host:port`.
    pub request_addr: String,
    /// The interface to listen on, if not the one that the own addresses resolve to.
    pub listen_ip: Option<IpAddr>,
    /// Where the node keeps everything.
    pub data_dir: PathBuf,
    /// What the protocol is tuned with.
    pub core: Config,
    /// What connections may use.
    pub net: NetLimits,
    /// What the data directory is like.
    pub storage: storage::Options,
}

/// Limits of the network side. Everything that can grow has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetLimits {
    /// Bytes of the largest value.
    pub value_bytes: usize,
    /// Connections of clients at one time, fewer if the process may have few descriptors.
    pub clients: usize,
    /// Of these, connections from one address; `None` for all but a sixteenth.
    pub clients_of_one: Option<usize>,
    /// Bytes that all client connections together may hold: buffers, requests that are not complete,
    /// answers that wait. At most an eighth of the memory.
    pub clients_memory: usize,
    /// Requests that one client connection may have unanswered; then it is not read.
    pub client_requests: usize,
    /// Bytes of answers made ready to be sent to one client; others wait as they are.
    pub client_buffer: usize,
    /// In each such span a client must take enough of the answers that wait for it.
    pub client_stall: Micros,
    /// Enough for that, in bytes a second.
    pub client_rate: usize,
    /// How long a request may be incomplete.
    pub client_request: Micros,
    /// How long a client may say nothing.
    pub client_idle: Micros,
    /// Bytes waiting for one peer; a peer above it is dropped, and synchronised when it returns.
    pub peer_buffer: usize,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self {
            value_bytes: zabkeeper_core::store::MAX_VALUE_BYTES,
            clients: 4096,
            clients_of_one: None,
            clients_memory: 64 << 20,
            client_requests: 1024,
            client_buffer: 1 << 20,
            client_stall: Micros::millis(10_000),
            client_rate: 1 << 10,
            client_request: Micros::millis(30_000),
            client_idle: Micros::millis(3_600_000),
            peer_buffer: 128 << 20,
        }
    }
}

/// What a client needs: the addresses of the nodes, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// Where nodes answer clients, as `host:port`. At least one.
    pub endpoints: Vec<String>,
    /// How many nodes the file names without saying where they answer clients: those of a server's
    /// file, which needs to know only its own.
    pub silent: usize,
}

impl ServerConfig {
    /// Reads a server's file. See [`ServerConfig::parse`]; the data directory is made absolute.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let mut config = Self::parse(&file, &read(path)?)?;
        config.data_dir = beside(path, &config.data_dir).map_err(|why| {
            ConfigError::new(&file, "DataDir", Problem::Contradiction(why.to_owned()))
        })?;
        Ok(config)
    }

    /// As [`ServerConfig::load`], with another data directory than the file's, made absolute from
    /// the working directory.
    pub fn load_with_data_dir(path: &Path, data_dir: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let mut config = Self::parse(&file, &read(path)?)?;
        config.data_dir = std::path::absolute(data_dir).map_err(|error| {
            ConfigError::new("--data-dir", "", Problem::Unreadable(error.to_string()))
        })?;
        Ok(config)
    }

    /// Reads a server's configuration; `file` is its name for messages.
    ///
    /// `Timeouts` holds milliseconds: `ResendMinMs`, `ResendMaxMs`, `FinalizeMs`, `InitMs`,
    /// `SyncMs`, `PingMs`, `RedialMs`, `DiskMs` ([`Timeouts`] says what they mean). `Limits`
    /// holds `RetainBytes`, `RetainEntries` (log kept in memory for followers that were away),
    /// `CheckpointBytes`, `CheckpointEntries` (log after which the state is written), `ValueBytes`
    /// (the largest value), `TreeBytes`, `FreeBytes`, and those of [`NetLimits`]: `Clients`, `ClientsPerAddress`,
    /// `ClientsBytes`, `ClientRequests`, `ClientBufferBytes`, `ClientStallMs`,
    /// `ClientBytesPerSecond`, `ClientRequestMs`, `ClientIdleMs`, `PeerBufferBytes`.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let mut top = Fields::new(file, "", parse(file, text)?, &TOP_FIELDS)?;
        let host = top.take("Host").ok_or_else(|| {
            top.error(
                "Host",
                Problem::Missing("a server needs its own ElectionAddr, MessageAddr, RequestAddr"),
            )
        })?;
        let (host, listen_ip) = Host::parse(file, host)?;
        let request_addr = host.request.clone().ok_or_else(|| {
            let problem = Problem::Missing("it is where this node answers clients");
            ConfigError::new(file, "Host.RequestAddr", problem)
        })?;
        let peers = top.list("Peer")?.ok_or_else(|| {
            let what = "list the other nodes, or write [] for an ensemble of one";
            top.error("Peer", Problem::Missing(what))
        })?;
        let (node, membership) = ensemble(file, host, peers)?;
        let data_dir = match top.text("DataDir")? {
            Some(dir) if dir.trim().is_empty() => {
                let what = "it is empty; name a directory, or leave the field out";
                return Err(top.error("DataDir", Problem::Contradiction(what.to_owned())));
            }
            Some(dir) => PathBuf::from(dir),
            None => PathBuf::from(format!("zabkeeper-data/{}", node.get())),
        };
        let mut core = Config::new(node);
        core.client_addr.clone_from(&request_addr);
        core.timeouts = timeouts(file, top.take("Timeouts"))?;
        let (limits, net, storage) = limits(file, top.take("Limits"))?;
        core.limits = limits;
        Ok(Self {
            node,
            membership: Arc::new(membership),
            request_addr,
            listen_ip,
            data_dir,
            core,
            net,
            storage,
        })
    }

    /// The configuration of `node` with everything else at its default. For programs that embed
    /// a node and know its membership; `node` should be in it.
    pub fn new(
        node: NodeId,
        membership: Arc<Membership>,
        request_addr: String,
        data_dir: PathBuf,
    ) -> Self {
        let mut core = Config::new(node);
        core.client_addr.clone_from(&request_addr);
        Self {
            node,
            membership,
            request_addr,
            listen_ip: None,
            data_dir,
            core,
            net: NetLimits::default(),
            storage: storage::Options::default(),
        }
    }
}

impl ClientConfig {
    /// Reads a client's file: `{"Peer": [{"RequestAddr": "host:port"}, ...]}`, or a server's.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&path.display().to_string(), &read(path)?)
    }

    /// Reads a client's configuration; `file` is its name for messages. Of a server's, the
    /// addresses count at which its node and, if they are there, the other ones answer clients.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let mut top = Fields::new(file, "", parse(file, text)?, &TOP_FIELDS)?;
        let host = top.take("Host");
        let of_server = host.is_some();
        let peers = top.list("Peer")?.unwrap_or_default();
        let peers = peers.into_iter().enumerate();
        let peers = peers.map(|(index, json)| (format!("Peer[{index}]"), json));
        let nodes = host.into_iter().map(|json| ("Host".to_owned(), json)).chain(peers);
        let missing = "a client needs {\"Peer\": [{\"RequestAddr\": \"host:port\"}, ...]}";
        let (mut endpoints, mut silent) = (Vec::new(), 0);
        for (place, json) in nodes {
            let mut node = Fields::new(file, &place, json, &HOST_FIELDS)?;
            match address(&mut node, "RequestAddr")? {
                Some(addr) if endpoints.contains(&addr) => {}
                Some(addr) => endpoints.push(addr),
                None if of_server => silent += 1,
                None => return Err(node.error("RequestAddr", Problem::Missing(missing))),
            }
        }
        match endpoints.is_empty() {
            true => Err(top.error("Peer", Problem::Missing(missing))),
            false => Ok(Self { endpoints, silent }),
        }
    }
}

const TOP_FIELDS: [&str; 5] = ["Host", "Peer", "DataDir", "Timeouts", "Limits"];
const HOST_FIELDS: [&str; 5] = ["Id", "ElectionAddr", "MessageAddr", "RequestAddr", "ListenIp"];
const NODE_FIELDS: [&str; 4] = ["Id", "ElectionAddr", "MessageAddr", "RequestAddr"];

/// One node as the file names it.
struct Host {
    place: String,
    id: Option<u64>,
    election: String,
    message: String,
    request: Option<String>,
}

impl Host {
    fn parse(file: &str, json: Json) -> Result<(Self, Option<IpAddr>), ConfigError> {
        let mut fields = Fields::new(file, "Host", json, &HOST_FIELDS)?;
        let listen_ip = match fields.text("ListenIp")? {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                let why = "it is not the number of an interface, such as \"0.0.0.0\"";
                fields.error("ListenIp", Problem::Address { text, why })
            })?),
        };
        Ok((Self::fields("Host", fields)?, listen_ip))
    }

    fn peer(file: &str, index: usize, json: Json) -> Result<Self, ConfigError> {
        let place = format!("Peer[{index}]");
        let fields = Fields::new(file, &place, json, &NODE_FIELDS)?;
        Self::fields(&place, fields)
    }

    fn fields(place: &str, mut fields: Fields<'_>) -> Result<Self, ConfigError> {
        let election = address(&mut fields, "ElectionAddr")?.ok_or_else(|| {
            fields.error("ElectionAddr", Problem::Missing("it is the UDP address for elections"))
        })?;
        let message = address(&mut fields, "MessageAddr")?.ok_or_else(|| {
            fields.error(
                "MessageAddr",
                Problem::Missing("it is the TCP address for messages between nodes"),
            )
        })?;
        let request = address(&mut fields, "RequestAddr")?;
        if request.as_ref() == Some(&message) {
            let what = format!("{message} is the MessageAddr too; every port needs its own number");
            return Err(fields.error("RequestAddr", Problem::Contradiction(what)));
        }
        Ok(Self {
            place: place.to_owned(),
            id: fields.number("Id", 1..=u64::from(u32::MAX))?,
            election,
            message,
            request,
        })
    }
}

/// Who is in the ensemble, and which of them is this node.
fn ensemble(file: &str, host: Host, peers: Vec<Json>) -> Result<(NodeId, Membership), ConfigError> {
    let own = host.election.clone();
    let mut nodes = vec![host];
    for (index, json) in peers.into_iter().enumerate() {
        add_node(file, &mut nodes, Host::peer(file, index, json)?)?;
    }
    let with_id = nodes.iter().filter(|node| node.id.is_some()).count();
    if with_id != 0 && with_id != nodes.len() {
        let lacking = nodes.iter().find(|node| node.id.is_none());
        let field = lacking.map_or_else(String::new, |node| format!("{}.Id", node.place));
        let what = Problem::Missing("give an Id to Host and to every Peer, or to none of them");
        return Err(ConfigError::new(file, &field, what));
    }
    nodes.sort_by(|a, b| (a.id, &a.election).cmp(&(b.id, &b.election)));
    let mut members = BTreeMap::new();
    let mut node = None;
    for (index, host) in nodes.into_iter().enumerate() {
        let raw = match host.id {
            Some(id) => id,
            None => index as u64 + 1,
        };
        let id = NodeId::new(u32::try_from(raw).unwrap_or(u32::MAX));
        if host.election == own {
            node = Some(id);
        }
        let member = Member {
            voter: true,
            incarnation: None,
            life: None,
            election_addr: host.election,
            message_addr: host.message,
        };
        members.insert(id, member);
    }
    // The own address is one of the nodes': the list began with it.
    let node = node.unwrap_or_default();
    Ok((node, Membership::new(Txid::ZERO, members)))
}

/// Adds a node to the list, unless the same is there; refuses one that is nearly the same.
fn add_node(file: &str, nodes: &mut Vec<Host>, peer: Host) -> Result<(), ConfigError> {
    let clash = |field: &str, what: String| {
        let field = format!("{}.{field}", peer.place);
        Err(ConfigError::new(file, &field, Problem::Contradiction(what)))
    };
    for node in nodes.iter_mut() {
        let same_election = node.election == peer.election;
        let same_message = node.message == peer.message;
        if same_election && same_message {
            if node.id.is_some() && peer.id.is_some() && node.id != peer.id {
                let what = format!("{} gives the same node another Id", node.place);
                return clash("Id", what);
            }
            if let (Some(a), Some(b)) = (&node.request, &peer.request)
                && a != b
            {
                let what = format!("{} gives the same node the RequestAddr {a}", node.place);
                return clash("RequestAddr", what);
            }
            node.id = node.id.or(peer.id);
            return Ok(());
        }
        if same_election {
            let (place, addr) = (&node.place, &node.message);
            let what = format!("{place} has the same ElectionAddr, but the MessageAddr {addr}");
            return clash("MessageAddr", what);
        }
        if same_message {
            let (place, addr) = (&node.place, &node.election);
            let what = format!("{place} has the same MessageAddr, but the ElectionAddr {addr}");
            return clash("ElectionAddr", what);
        }
        if peer.id.is_some() && node.id == peer.id {
            let what = format!("{} has the same Id; every node needs its own", node.place);
            return clash("Id", what);
        }
    }
    nodes.push(peer);
    Ok(())
}

fn timeouts(file: &str, json: Option<Json>) -> Result<Timeouts, ConfigError> {
    let mut timeouts = Timeouts::default();
    let Some(json) = json else {
        return Ok(timeouts);
    };
    let places = [
        ("ResendMinMs", &mut timeouts.resend_min),
        ("ResendMaxMs", &mut timeouts.resend_max),
        ("FinalizeMs", &mut timeouts.finalize),
        ("InitMs", &mut timeouts.init),
        ("SyncMs", &mut timeouts.sync),
        ("PingMs", &mut timeouts.ping),
        ("RedialMs", &mut timeouts.redial),
        ("DiskMs", &mut timeouts.disk),
    ];
    let known: Vec<&str> = places.iter().map(|(name, _)| *name).collect();
    let mut fields = Fields::new(file, "Timeouts", json, &known)?;
    for (name, place) in places {
        if let Some(millis) = fields.number(name, 1..=3_600_000)? {
            *place = Micros::millis(millis);
        }
    }
    let contradiction =
        |name, what: &str| Err(fields.error(name, Problem::Contradiction(what.to_owned())));
    if timeouts.resend_min > timeouts.resend_max {
        return contradiction("ResendMinMs", "must not be greater than ResendMaxMs");
    }
    if timeouts.ping.get().saturating_mul(2) > timeouts.sync.get() {
        let what = "must be at most half of SyncMs, or one lost heartbeat ends a leader's reign";
        return contradiction("PingMs", what);
    }
    Ok(timeouts)
}

fn limits(
    file: &str,
    json: Option<Json>,
) -> Result<(Limits, NetLimits, storage::Options), ConfigError> {
    let (mut core, mut net) = (Limits::default(), NetLimits::default());
    let mut storage = storage::Options::default();
    let Some(json) = json else {
        return Ok((core, net, storage));
    };
    let mut free_bytes = usize::try_from(storage.free_bytes).unwrap_or(usize::MAX);
    let millis = |span: Micros| usize::try_from(span.get() / 1000).unwrap_or(usize::MAX);
    let mut stall_ms = millis(net.client_stall);
    let mut request_ms = millis(net.client_request);
    let mut idle_ms = millis(net.client_idle);
    let mut of_one = 0;
    let least = CLIENTS_MEMORY_MIN as u64;
    let places = [
        ("RetainBytes", &mut core.retain_bytes, 1 << 12..=1 << 36),
        ("RetainEntries", &mut core.retain_entries, 1..=1 << 32),
        ("JournalBytes", &mut core.journal_bytes, 0..=1 << 40),
        ("CheckpointBytes", &mut core.checkpoint_bytes, 1 << 12..=1 << 36),
        ("CheckpointEntries", &mut core.checkpoint_entries, 1..=1 << 32),
        ("ValueBytes", &mut net.value_bytes, 1..=VALUE_MAX),
        ("FreeBytes", &mut free_bytes, 0..=1 << 50),
        ("TreeBytes", &mut core.state_bytes, 1 << 20..=1 << 50),
        ("Clients", &mut net.clients, 1..=1 << 20),
        ("ClientsPerAddress", &mut of_one, 1..=1 << 20),
        ("ClientsBytes", &mut net.clients_memory, least..=1 << 40),
        ("ClientRequests", &mut net.client_requests, 1..=1 << 20),
        ("ClientBufferBytes", &mut net.client_buffer, 1 << 16..=1 << 36),
        ("ClientStallMs", &mut stall_ms, 1..=3_600_000),
        ("ClientBytesPerSecond", &mut net.client_rate, 1..=1 << 30),
        ("ClientRequestMs", &mut request_ms, 1..=3_600_000),
        ("ClientIdleMs", &mut idle_ms, 1..=1 << 40),
        ("PeerBufferBytes", &mut net.peer_buffer, 1 << 20..=1 << 36),
    ];
    let known: Vec<&str> = places.iter().map(|(name, ..)| *name).collect();
    let mut fields = Fields::new(file, "Limits", json, &known)?;
    for (name, place, range) in places {
        if let Some(value) = fields.number(name, range)? {
            *place = usize::try_from(value).unwrap_or(usize::MAX);
        }
    }
    core.command_bytes = net.value_bytes + COMMAND_OVERHEAD;
    net.clients_of_one = Some(of_one).filter(|of_one| *of_one > 0);
    net.client_stall = Micros::millis(stall_ms as u64);
    net.client_request = Micros::millis(request_ms as u64);
    net.client_idle = Micros::millis(idle_ms as u64);
    storage.free_bytes = free_bytes as u64;
    Ok((core, net, storage))
}

/// Takes an address `host:port`, in the one form in which addresses are compared.
fn address(fields: &mut Fields<'_>, name: &str) -> Result<Option<String>, ConfigError> {
    let Some(text) = fields.text(name)? else {
        return Ok(None);
    };
    let why = match split(text.trim()) {
        Ok((host, port)) => return Ok(Some(format!("{}:{port}", host.to_ascii_lowercase()))),
        Err(why) => why,
    };
    Err(fields.error(name, Problem::Address { text, why }))
}

/// Splits an address, refusing what other nodes could not reach.
fn split(text: &str) -> Result<(&str, u16), &'static str> {
    if text.contains("://") {
        return Err("it stands without a scheme such as http://");
    }
    if text.contains('/') {
        return Err("nothing may follow the port");
    }
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let port: u16 = port.parse().map_err(|_| "the port must be a number from 1 to 65535")?;
    if port == 0 {
        return Err("the port must be a number from 1 to 65535");
    }
    if host.is_empty() {
        return Err("the host is missing, and others must be able to reach it");
    }
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    if bare.is_none() && host.contains(':') {
        return Err("an IPv6 address needs brackets, such as \"[::1]:5001\"");
    }
    if bare.unwrap_or(host).parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Err("others cannot reach it; name a real address here, and use Host.ListenIp");
    }
    if host.contains(|c: char| c.is_whitespace() || c == '/') {
        return Err("the host contains a character that no host name has");
    }
    Ok((host, port))
}

/// A path of a configuration file, which is relative to the file and to nothing else.
fn beside(file: &Path, path: &Path) -> Result<PathBuf, &'static str> {
    if path.is_absolute() {
        return Ok(path.to_path_buf());
    }
    if !file.metadata().is_ok_and(|data| data.is_file()) {
        return Err(
            "it must be absolute here, or be given by --data-dir: the configuration is no \
                    regular file, beside which the directory could be",
        );
    }
    let place = || std::path::absolute(std::path::absolute(file).ok()?.parent()?.join(path)).ok();
    place().ok_or("it must be absolute here: the working directory cannot be told")
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| {
        let file = path.display().to_string();
        ConfigError::new(&file, "", Problem::Unreadable(error.to_string()))
    })
}

fn parse(file: &str, text: &str) -> Result<Json, ConfigError> {
    // Some editors begin a file with a mark of its byte order.
    serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text))
        .map_err(|error| ConfigError::new(file, "", Problem::Syntax(error.to_string())))
}

#[cfg(test)]
mod tests;
