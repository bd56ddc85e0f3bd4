//! Three daemons with proxies in front of each port. Everything is on loopback: nodes are known at
//! 127.0.1.N, where the proxies are, and listen at 127.0.2.N. Dropping it ends them all.

use super::flood::{self, Flood};
use super::slow_disk::SlowDisks;
use super::tcp::Proxy;
use super::vitals::{Held, Mark};
use super::weather::{CLIENTS, NODES, Weather};
use super::{caller, udp};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use zabkeeper_core::words::Rng;
use zabkeeper_core::zab::Status;

/// The node whose disk is small.
pub(super) const SMALL: usize = NODES - 1;
const SMALL_DISK: &str = "size=96m";
/// The node that may hold few descriptors and little memory.
const TIGHT: usize = 0;
const LIMITS: [&str; 2] = ["--nofile=256:256", "--data=1500000000:1500000000"];

/// The ensemble.
pub(super) struct Ensemble {
    binary: PathBuf,
    dir: PathBuf,
    port: u16,
    nodes: [Option<Child>; NODES],
    stopped: [bool; NODES],
    mounted: bool,
    slow: Option<SlowDisks>,
    limited: bool,
    /// What the proxies do.
    pub(super) weather: Arc<Weather>,
}

impl Ensemble {
    /// Binds the proxies; no node runs yet. Everything is kept below `dir`.
    pub(super) fn new(binary: &Path, dir: &Path, rng: &Rng) -> Result<Self, String> {
        let weather = Arc::new(Weather::default());
        let port = bind_proxies(&weather, rng)?;
        let dir = dir.to_path_buf();
        let binary = binary.to_path_buf();
        let nodes = [const { None }; NODES];
        let slow = SlowDisks::new(&dir);
        let limited = Command::new("prlimit").arg("--version").output().is_ok();
        if !limited {
            println!("without limits of descriptors and memory: prlimit cannot be run");
        }
        let stopped = [false; NODES];
        let mounted = false;
        let mut ensemble =
            Self { binary, dir, port, nodes, stopped, mounted, slow, limited, weather };
        for node in 0..NODES {
            fs::create_dir_all(ensemble.disk(node)).map_err(|e| e.to_string())?;
        }
        ensemble.mount_small_disk();
        Ok(ensemble)
    }

    fn mount_small_disk(&mut self) {
        let place = self.disk(SMALL);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SMALL_DISK, "tmpfs"]).arg(place);
        match mount.output() {
            Ok(output) if output.status.success() => self.mounted = true,
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_string();
                println!("without full disks: no small one can be mounted ({why})");
            }
            Err(error) => println!("without full disks: mount cannot be run ({error})"),
        }
    }

    /// True if [`SMALL`]'s disk can be filled.
    pub(super) fn has_small_disk(&self) -> bool {
        self.mounted
    }

    /// Fills the small disk to the last byte.
    pub(super) fn fill_disk(&self) -> io::Result<()> {
        let mut ballast = File::create(self.ballast())?;
        let zeros = vec![0; 64 << 10];
        loop {
            match ballast.write_all(&zeros) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// True if disks can be slow.
    pub(super) fn has_slow_disks(&self) -> bool {
        self.slow.is_some()
    }

    /// Each flush of a node takes so much longer from now on.
    pub(super) fn slow_disk(&self, node: usize, delay: Duration) -> io::Result<()> {
        self.slow.as_ref().map_or(Ok(()), |slow| slow.set(node, delay))
    }

    /// All disks are fast again.
    pub(super) fn hasten_disks(&self) {
        if let Some(slow) = &self.slow {
            slow.clear();
        }
    }

    /// Clients turn to a node, past the proxies, and take without end.
    pub(super) fn flood(&self, node: usize, kind: flood::Kind, clients: usize) -> Flood {
        Flood::start(private(node, self.port + 2), kind, clients)
    }

    /// What the daemons hold now.
    pub(super) fn held(&self, at: Duration) -> Mark {
        let held = |place: &Option<Child>| Held::of(place.as_ref()?.id());
        Mark { at, held: std::array::from_fn(|node| held(&self.nodes[node])) }
    }

    /// A number for what is up and how it is linked, if a quorum is: two that run and hear each
    /// other, and that clients reach.
    pub(super) fn quorum(&self) -> Option<u64> {
        let up = |node: usize| self.nodes[node].is_some() && !self.stopped[node];
        let fine = |from: usize, to: usize| {
            let path = self.weather.path(from, to);
            path.open && path.loss <= 300_000 && path.delay <= 100_000 && path.rate == 0
        };
        let both = |a: usize, b: usize| fine(a, b) && fine(b, a);
        let mut state = 0;
        for (bit, (a, b)) in [(0, 1), (0, 2), (1, 2)].into_iter().enumerate() {
            let served = both(a, CLIENTS) && both(b, CLIENTS);
            state |= u64::from(up(a) && up(b) && both(a, b) && served) << bit;
        }
        let cuts = |node: usize| self.weather.path(node, (node + 1) % NODES).cuts;
        let pids = self.nodes.iter().flatten().map(|child| u64::from(child.id()));
        let version = pids
            .chain((0..NODES).map(cuts))
            .fold(state, |sum, next| sum.wrapping_mul(1_000_003).wrapping_add(next));
        (state != 0).then_some(version)
    }

    /// Makes room on the small disk again.
    pub(super) fn free_disk(&self) {
        let _ = fs::remove_file(self.ballast());
    }

    /// True while the small disk is full.
    pub(super) fn is_disk_full(&self) -> bool {
        self.ballast().exists()
    }

    fn ballast(&self) -> PathBuf {
        self.disk(SMALL).join("ballast")
    }

    /// Starts a node on the data that it has, if it does not run.
    pub(super) fn start(&mut self, node: usize) -> io::Result<()> {
        if self.nodes[node].is_some() {
            return Ok(());
        }
        let config = self.dir.join(format!("n{}.json", node + 1));
        fs::write(&config, self.config(node).to_string())?;
        let log = File::options().append(true).create(true).open(self.log(node))?;
        let mut command = match node == TIGHT && self.limited {
            true => {
                let mut command = Command::new("prlimit");
                command.args(LIMITS).arg(&self.binary);
                command
            }
            false => Command::new(&self.binary),
        };
        if let Some(slow) = &self.slow {
            slow.prepare(node, &mut command);
        }
        let child = command
            .args(["server", "--watch-stdin", "--log", "info", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.nodes[node] = Some(child);
        self.stopped[node] = false;
        Ok(())
    }

    /// `kill -9`, and waits until the process is gone.
    pub(super) fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.stopped[node] = false;
    }

    /// SIGSTOP.
    pub(super) fn pause(&mut self, node: usize) {
        self.stopped[node] = self.signal(node, "STOP");
    }

    /// SIGCONT.
    pub(super) fn resume(&mut self, node: usize) {
        if self.stopped[node] {
            self.signal(node, "CONT");
            self.stopped[node] = false;
        }
    }

    fn signal(&self, node: usize, name: &str) -> bool {
        let Some(child) = &self.nodes[node] else { return false };
        let pid = child.id().to_string();
        Command::new("kill").args(["-s", name, &pid]).status().is_ok_and(|s| s.success())
    }

    /// True if the node's process is there.
    pub(super) fn runs(&self, node: usize) -> bool {
        self.nodes[node].is_some()
    }

    /// A node that has ended by itself since somebody last asked, and how.
    pub(super) fn ended(&mut self) -> Option<(usize, ExitStatus)> {
        for (node, place) in self.nodes.iter_mut().enumerate() {
            if let Some(child) = place
                && let Ok(Some(status)) = child.try_wait()
            {
                *place = None;
                return Some((node, status));
            }
        }
        None
    }

    /// What a node says of itself, past the proxies.
    pub(super) fn status(&self, node: usize) -> Option<Status> {
        if self.stopped[node] || self.nodes[node].is_none() {
            return None;
        }
        caller::status(private(node, self.port + 2), Duration::from_millis(500))
    }

    /// Where clients reach the nodes.
    pub(super) fn endpoints(&self) -> Vec<SocketAddr> {
        (0..NODES).map(|node| public(node, self.port + 2)).collect()
    }

    /// Where a node's log lines go.
    pub(super) fn log(&self, node: usize) -> PathBuf {
        self.dir.join(format!("n{}.log", node + 1))
    }

    /// Copies every node's data aside. No node may run.
    pub(super) fn save_disks(&self) -> io::Result<()> {
        (0..NODES).try_for_each(|node| copy(&self.data(node), &self.copy(node)))
    }

    /// Puts the copies back, as if nothing had happened since.
    pub(super) fn restore_disks(&self) -> io::Result<()> {
        for node in 0..NODES {
            fs::remove_dir_all(self.data(node))?;
            copy(&self.copy(node), &self.data(node))?;
        }
        Ok(())
    }

    /// Where a node's disk is; its data are below.
    fn disk(&self, node: usize) -> PathBuf {
        self.dir.join(format!("n{}", node + 1))
    }

    fn data(&self, node: usize) -> PathBuf {
        self.disk(node).join("data")
    }

    fn copy(&self, node: usize) -> PathBuf {
        self.dir.join(format!("n{}.copy", node + 1))
    }

    fn config(&self, node: usize) -> Value {
        let entry = |node: usize| {
            json!({
                "ElectionAddr": public(node, self.port).to_string(),
                "MessageAddr": public(node, self.port + 1).to_string(),
                "RequestAddr": public(node, self.port + 2).to_string(),
            })
        };
        let mut host = entry(node);
        host["ListenIp"] = json!(private(node, 0).ip().to_string());
        json!({
            "Host": host,
            "Peer": (0..NODES).filter(|other| *other != node).map(entry).collect::<Vec<_>>(),
            "DataDir": self.data(node),
            // Little is retained, so that checkpoints, pruning and snapshots happen all the time.
            "Limits": {"RetainBytes": 256 << 10, "RetainEntries": 1000},
        })
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        (0..NODES).for_each(|node| self.kill(node));
        self.weather.end();
        if self.mounted {
            let _ = Command::new("umount").arg(self.disk(SMALL)).status();
        }
    }
}

fn public(node: usize, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, node as u8 + 1)), port)
}

fn private(node: usize, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 2, node as u8 + 1)), port)
}

/// Binds three ports that are free everywhere, below the range from which the system takes ports
/// for outgoing connections, and starts the proxies. Gives the first port.
fn bind_proxies(weather: &Arc<Weather>, rng: &Rng) -> Result<u16, String> {
    let first = 10_000 + (std::process::id() % 6000) as u16 * 3;
    let mut why = String::new();
    for port in (first..first + 300).step_by(3) {
        match try_ports(port, weather, rng) {
            Ok(()) => return Ok(port),
            Err(error) => why = error.to_string(),
        }
    }
    Err(format!(
        "no free ports at 127.0.1.1-3 and 127.0.2.1-3 ({why}); all of 127.0.0.0/8 must be \
         loopback, as it is on Linux"
    ))
}

fn try_ports(port: u16, weather: &Arc<Weather>, rng: &Rng) -> io::Result<()> {
    let [n1, n2, n3] = [0, 1, 2];
    for node in [n1, n2, n3] {
        UdpSocket::bind(private(node, port))?;
        TcpListener::bind(private(node, port + 1))?;
        TcpListener::bind(private(node, port + 2))?;
    }
    let udp = |node| UdpSocket::bind(public(node, port));
    let votes = [udp(n1)?, udp(n2)?, udp(n3)?];
    let mut proxies = Vec::new();
    for node in [n1, n2, n3] {
        for (offset, between_nodes) in [(1, true), (2, false)] {
            let listener = TcpListener::bind(public(node, port + offset))?;
            let private = private(node, port + offset);
            proxies.push(Proxy { listener, node, private, between_nodes });
        }
    }
    udp::start(votes, [n1, n2, n3].map(|node| private(node, port)), weather, rng.split(0))?;
    for (label, proxy) in (1..).zip(proxies) {
        proxy.start(weather, rng.split(label))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
