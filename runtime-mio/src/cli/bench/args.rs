//! What can be typed after `zabkeeper bench`.

use crate::cli::args::{Connect, Output, duration};
use crate::cli::dev::setting::{Setting, setting};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  zabkeeper bench --local 3                          # writes, against three nodes of its own
  zabkeeper bench --local 3 --load read --connections 64
  zabkeeper bench --connections 16 --outstanding 64  # against the nodes at --endpoints
  zabkeeper bench --rate 5000                        # open loop: 5,000 a second, come what may
  zabkeeper bench --local 3 --connections 1,4,16,64,256 --plot curve.svg
  zabkeeper bench --local 3 --rate 1000,5000,10000,20000 --plot curve.svg

A closed loop (the default) keeps --outstanding requests under way on each connection and sends
the next when an answer comes: it measures how much the ensemble can do. Latency is counted from
the moment at which the request is ready to be sent.
An open loop (--rate) has a time for each request. One that cannot be sent in time, because the
ensemble is slow, waits, and its latency is counted from the time it was meant for: a stall shows
with all the requests that it delayed.

zabkeeper bench failover measures how long writes wait when the leader is killed.

It writes the keys bench/0 ... bench/N-1 and leaves them there: zabkeeper delete bench --recursive

Exit codes: 0 if every request was answered well; 3 if some certainly were not done, 4 if for some
it is unknown, 1 if some had a wrong answer. How many and why is in the results. Those of the other
commands if the ensemble could not be reached or started."
)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) ensemble: EnsembleArgs,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Measure how long writes wait when the leader is killed or stops
    Failover(FailoverArgs),
}

/// What to send.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// What the requests are
    #[arg(long, value_enum, default_value_t = Load::Write)]
    pub(crate) load: Load,
    /// The share of writes in a mixed load, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    pub(crate) write_share: f64,
    /// How many connections; several numbers are run one after the other
    #[arg(long, short, value_name = "N,...", value_delimiter = ',', default_value = "16",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: Vec<u32>,
    /// How many requests may be without an answer on each connection
    #[arg(long, short = 'p', value_name = "P", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) outstanding: u32,
    /// Open loop: so many requests a second over all connections; several are run one after the
    /// other
    #[arg(long, value_name = "R,...", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: Vec<u32>,
    /// Which nodes connections go to
    #[arg(long, value_enum, default_value_t = Target::Spread)]
    pub(crate) target: Target,
    /// How many different keys
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) keys: u32,
    /// Bytes of each value
    #[arg(long, value_name = "BYTES", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub(crate) value_size: u32,
    /// How long to measure
    #[arg(long, short, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// How long to run before that without measuring
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// Draw latency against throughput. Without a list of connections or rates, smaller ones are
    /// run too
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
}

/// An ensemble of the command's own.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Ensemble")]
pub(crate) struct EnsembleArgs {
    /// Start so many nodes on this machine and use them instead of --endpoints
    #[arg(long, value_name = "NODES", value_parser = clap::value_parser!(u8).range(1..=7))]
    pub(crate) local: Option<u8>,
    /// Where --local keeps its data [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR", requires = "local")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A setting of every node, as it stands in its file: Timeouts.PingMs=50. May be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting, requires = "local")]
    pub(crate) set: Vec<Setting>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  zabkeeper bench failover                           # kill -9, 20 times
  zabkeeper bench failover --how pause --times 5     # SIGSTOP: the node is silent, not gone
  zabkeeper bench failover --how pause --set Timeouts.PingMs=10 --set Timeouts.SyncMs=50

Starts an ensemble of its own, writes all the time, and takes the leader away. The time is from
there to the first acknowledgement of a write that was sent after it. Then the node is started
again (or continued), and the next round begins once it serves again.

Exit codes: 0 if every round ended with a write, 3 if one did not within --timeout.")]
pub(crate) struct FailoverArgs {
    /// How many nodes
    #[arg(long, value_name = "NODES", default_value_t = 3,
          value_parser = clap::value_parser!(u8).range(3..=7))]
    pub(crate) local: u8,
    /// Where they keep their data [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A setting of every node, as it stands in its file: Timeouts.PingMs=50. May be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub(crate) set: Vec<Setting>,
    /// How often
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) times: u32,
    /// How the leader is taken away
    #[arg(long, value_enum, default_value_t = How::Kill)]
    pub(crate) how: How,
    /// How many connections write, spread over all nodes
    #[arg(long, short, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// How long a round may take before it has failed
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// How to print results
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// What requests are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Load {
    /// Set keys: on the disks of a majority when acknowledged
    Write,
    /// Get keys, seeing every write acknowledged before (linearizable)
    Read,
    /// Get keys from the node asked, perhaps old
    LocalRead,
    /// Linearizable reads and writes by turns, as --write-share says
    Mixed,
}

/// Which nodes connections go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// All endpoints in turn, as the connections of many clients would; a node that does not lead
    /// forwards writes, which costs more
    Spread,
    /// The leader alone
    Leader,
}

/// How a leader is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    /// kill -9: its connections break at once
    Kill,
    /// SIGSTOP: it is silent while its connections stay; SIGCONT after the round
    Pause,
}

impl Load {
    /// As it is typed.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }
}

impl Target {
    /// As it is typed.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }
}

impl How {
    /// As it is typed.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("'{text}' is no share; write a number from 0 to 1, like 0.1")),
    }
}
