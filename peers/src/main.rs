//! Puts load on ZooKeeper and etcd, and measures what the machine can do. `compare`, beside this
//! crate, starts the ensembles and makes tables of what this prints.

mod conn;
mod engine;
mod failover;
mod limits;
mod load;
mod proto;
mod tally;
mod usage;

use clap::{Args, Parser, Subcommand};
use engine::Plan;
use failover::FailoverArgs;
use load::LoadArgs;
use proto::Protocol;
use serde_json::Value;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What may fail, with words for people.
type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Put a closed loop of requests on ZooKeeper or etcd, as `zabkeeper bench` does on Zabkeeper
///
/// Each command prints one JSON object. Latencies and CPU times are in microseconds, memory in
/// bytes. peers/compare starts ensembles, runs this, and makes tables.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the keys that the other commands use
    Fill {
        #[command(flatten)]
        subject: SubjectArgs,
    },
    /// Read and write keys, and measure
    Load {
        #[command(flatten)]
        subject: SubjectArgs,
        #[command(flatten)]
        load: LoadArgs,
    },
    /// Kill the leader under writes, and measure how long there is no acknowledgement
    Failover {
        #[command(flatten)]
        subject: SubjectArgs,
        #[command(flatten)]
        failover: FailoverArgs,
    },
    /// Write 256 bytes to a file and sync them, again and again
    Disk {
        /// Where the file is made, and removed
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// How many files are written at the same moment; it is done when one of them and
        /// enough others for a majority are synced; the rest delays only the next write
        #[arg(long, value_name = "N", default_value_t = 1)]
        files: usize,
        /// How long
        #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
        seconds: f64,
    },
    /// Send messages of 300 bytes over loopback to threads that send them back
    Echo {
        /// How many of these threads share the connections
        #[arg(long, value_name = "N", default_value_t = 1)]
        servers: usize,
        /// How many connections, with one message under way on each
        #[arg(long, value_name = "N", default_value_t = 64)]
        connections: usize,
        #[command(flatten)]
        load: LoadArgs,
    },
}

/// What to connect to.
#[derive(Args, Debug)]
struct SubjectArgs {
    /// What the nodes speak
    #[arg(long, value_enum)]
    protocol: Protocol,
    /// Where the nodes answer clients; connections go to them in turn
    #[arg(long, value_name = "ADDRESS:PORT,...", value_delimiter = ',', required = true)]
    nodes: Vec<SocketAddr>,
    /// How many connections
    #[arg(long, value_name = "N", default_value_t = 16)]
    connections: usize,
    /// How many requests are under way on each
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    outstanding: u32,
    /// How many different keys
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    keys: u32,
    /// Bytes of each value
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..=30_000))]
    value_size: u32,
}

impl SubjectArgs {
    fn plan(&self, patience: Duration) -> Plan {
        Plan {
            protocol: self.protocol,
            nodes: self.nodes.clone(),
            connections: self.connections,
            outstanding: self.outstanding,
            value: value(self.value_size),
            patience,
        }
    }
}

/// Bytes that do not compress well, the same each time.
fn value(len: u32) -> Vec<u8> {
    (0..len).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// How long an answer may take; the same as that of `zabkeeper bench`.
const PATIENCE: Duration = Duration::from_secs(10);

fn run(command: Command) -> Fallible<Value> {
    match command {
        Command::Fill { subject } => load::fill(subject.plan(PATIENCE), subject.keys),
        Command::Load { subject, load } => load::run(subject.plan(PATIENCE), subject.keys, &load),
        Command::Failover { subject, failover } => {
            failover::run(subject.plan(failover::PATIENCE), subject.keys, &failover)
        }
        Command::Disk { dir, files, seconds } => limits::disk(&dir, files, seconds),
        Command::Echo { servers, connections, load } => limits::echo(servers, connections, &load),
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(value) => {
            println!("{value}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
