//! Three real processes on loopback, killed, stopped and started at will.

#![allow(dead_code, reason = "each test file uses a part of it")]

use crate::cli_support::{LONG, Process, signal, until, zabkeeper};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path as FilePath, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use zabkeeper_core::store::Path;
use zabkeeper_core::zab::{RoleStatus, Status};
use zabkeeper_runtime_mio::client::{Client, ClientOptions};

/// An ensemble of processes. Dropping it kills them.
pub(crate) struct Ensemble {
    dir: TempDir,
    ports: Vec<[u16; 3]>,
    extra: String,
    nodes: Vec<Option<Process>>,
    strace: bool,
}

impl Ensemble {
    /// Starts three nodes; `extra` is added to each configuration, such as `"Limits": {...}`.
    pub(crate) fn start(extra: &str) -> Self {
        let mut ensemble = Self::prepare(extra);
        ensemble.start_all();
        ensemble
    }

    /// The same with every node under strace: see [`Ensemble::trace`].
    pub(crate) fn start_traced() -> Self {
        let mut ensemble = Self::prepare("");
        ensemble.strace = true;
        ensemble.start_all();
        ensemble
    }

    fn prepare(extra: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ports = free_ports(3);
        let nodes = (0..3).map(|_| None).collect();
        Self { dir, ports, extra: extra.to_owned(), nodes, strace: false }
    }

    fn start_all(&mut self) {
        (0..3).for_each(|node| self.spawn(node));
        self.client(&[0, 1, 2]).set(&key("started"), b"".as_slice().into()).expect("a write works");
    }

    /// Starts a node on the data it has.
    pub(crate) fn spawn(&mut self, node: usize) {
        let config = self.dir.path().join(format!("n{}.json", node + 1));
        std::fs::write(&config, self.config(node)).expect("the configuration is written");
        let log = File::options().append(true).create(true).open(self.log_path(node));
        let config = config.to_str().expect("a plain path");
        let server = zabkeeper(&["server", "--config", config, "--watch-stdin", "--log", "info"]);
        let mut command = if self.strace {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-ttt", "-T", "-e", "trace=fdatasync,fsync,sync_file_range", "-o"]);
            strace.arg(self.trace_path(node)).arg(server.get_program()).args(server.get_args());
            strace
        } else {
            server
        };
        command.stderr(log.expect("the log opens"));
        let process = Process::start(&mut command);
        process.line(|line| line.starts_with("ready "));
        self.nodes[node] = Some(process);
    }

    fn config(&self, node: usize) -> String {
        let addr = |port: u16| format!("\"127.0.0.1:{port}\"");
        let entry = |[election, message, _]: &[u16; 3]| {
            let (election, message) = (addr(*election), addr(*message));
            format!("\"ElectionAddr\": {election}, \"MessageAddr\": {message}")
        };
        let peers = (0..3).filter(|other| *other != node);
        let peers: Vec<String> =
            peers.map(|other| format!("{{{}}}", entry(&self.ports[other]))).collect();
        let request = addr(self.ports[node][2]);
        let extra = if self.extra.is_empty() { String::new() } else { format!(", {}", self.extra) };
        let host = entry(&self.ports[node]);
        let data = serde_json::to_string(&self.data_path(node)).expect("a plain path");
        format!(
            "{{\"Host\": {{{host}, \"RequestAddr\": {request}}}, \"Peer\": [{}], \
             \"DataDir\": {data}{extra}}}",
            peers.join(", ")
        )
    }

    pub(crate) fn data_path(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("n{}", node + 1))
    }

    pub(crate) fn log_path(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("n{}.log", node + 1))
    }

    pub(crate) fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.log_path(node)).expect("the log can be read")
    }

    pub(crate) fn trace_path(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("n{}.strace", node + 1))
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    /// Asks a node to stop by closing its stdin, and waits until it has.
    pub(crate) fn stop(&mut self, node: usize) {
        let process = self.nodes[node].as_mut().expect("the node runs");
        drop(process.child.stdin.take());
        assert_eq!(self.exit_code(node), Some(0), "a clean stop");
    }

    pub(crate) fn pid(&self, node: usize) -> u32 {
        self.nodes[node].as_ref().expect("the node runs").child.id()
    }

    pub(crate) fn pause(&self, node: usize) {
        signal(self.pid(node), "STOP");
    }

    pub(crate) fn resume(&self, node: usize) {
        signal(self.pid(node), "CONT");
    }

    /// Waits until the node ends by itself, and gives its exit code.
    pub(crate) fn exit_code(&mut self, node: usize) -> Option<i32> {
        let code = self.nodes[node].as_mut().expect("the node runs").exit_code();
        self.nodes[node] = None;
        code
    }

    /// Starts a node that is expected to end at once.
    pub(crate) fn run_to_end(&self, node: usize) -> (Option<i32>, String) {
        let config = self.dir.path().join(format!("n{}.json", node + 1));
        let config = config.to_str().expect("a plain path");
        let mut command = zabkeeper(&["server", "--config", config]);
        let output = crate::cli_support::run_with(&mut command, b"");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub(crate) fn endpoint(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.ports[node][2])
    }

    /// A client that knows these nodes, in this order.
    pub(crate) fn client(&self, nodes: &[usize]) -> Client {
        self.client_with(nodes, LONG)
    }

    pub(crate) fn client_with(&self, nodes: &[usize], timeout: Duration) -> Client {
        let endpoints = nodes.iter().map(|node| self.endpoint(*node)).collect();
        let options = ClientOptions { timeout, ..ClientOptions::new(endpoints) };
        Client::connect(options).expect("endpoints are well-formed")
    }

    pub(crate) fn status(&self, node: usize) -> Option<Status> {
        let mut client = self.client_with(&[node], Duration::from_secs(1));
        client.status().ok()
    }

    /// Waits for an established leader among these nodes.
    pub(crate) fn leader_of(&self, nodes: &[usize]) -> usize {
        let mut leader = None;
        until("a leader is established", || {
            leader = nodes.iter().copied().find(|node| {
                let role = self.status(*node).map(|status| status.role);
                role == Some(RoleStatus::Leading { established: true })
            });
            leader.is_some()
        });
        leader.expect("found")
    }

    /// Waits until these nodes have applied the same and hold the same state.
    pub(crate) fn until_equal(&self, nodes: &[usize]) {
        until("all nodes hold the same state", || {
            let all: Vec<_> = nodes.iter().filter_map(|node| self.status(*node)).collect();
            let same = all
                .windows(2)
                .all(|pair| pair[0].applied == pair[1].applied && pair[0].digest == pair[1].digest);
            all.len() == nodes.len() && same
        });
    }
}

/// A key that is known to be well-formed.
pub(crate) fn key(text: &str) -> Path {
    Path::parse(text).expect("a well-formed key")
}

/// Ports of three kinds for so many nodes, below the range from which the system gives out ports
/// for outgoing connections, so that nobody takes them while a node restarts.
fn free_ports(nodes: usize) -> Vec<[u16; 3]> {
    let mut next = 10_000 + (rand::random::<u16>() % 20_000);
    let mut port = || loop {
        next += 1;
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, next));
        if udp.is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, next)).is_ok() {
            return next;
        }
    };
    (0..nodes).map(|_| [port(), port(), port()]).collect()
}

/// True if a program can be run here.
pub(crate) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The newest file in a directory whose name begins so.
pub(crate) fn newest(dir: &FilePath, prefix: &str) -> PathBuf {
    let files = std::fs::read_dir(dir).expect("the directory is there").map_while(Result::ok);
    let files = files.map(|entry| entry.path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    });
    files.max().unwrap_or_else(|| panic!("no {prefix}* in {}", dir.display()))
}

/// The CPU time that a process has used.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let after = stat.rsplit_once(") ").expect("a name in parentheses").1;
    let ticks: u64 = after.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().unwrap_or(0)).sum();
    // A tick is a hundredth of a second on every Linux that Rust runs on.
    Duration::from_millis(ticks * 10)
}

/// How long something took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}
