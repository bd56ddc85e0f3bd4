//! The command line: what can be typed and what `--help` teaches.

use super::bench::args::BenchArgs;
use super::dev::setting::{Setting, setting};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use zabkeeper_runtime_mio::client::endpoint_list;
use zabkeeper_runtime_mio::exit_code;

/// A small, durable, strongly ordered tree of keys, replicated by Zab.
#[derive(Debug, Parser)]
#[command(name = "zabkeeper", version, max_term_width = 100, after_help = after())]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

fn after() -> String {
    let clients = exit_code::help(|row| row.1);
    format!(
        "\
Start here, in two terminals:
  zabkeeper dev                    # three nodes on this machine, nothing to configure
  zabkeeper set answer 42          # write through any node
  zabkeeper get answer             # read it back, through any other
  zabkeeper status                 # who leads, and how far everybody is

Exit codes of get, set, add, delete, list, status and client:
{clients}

Exit codes of server: see `zabkeeper server --help`."
    )
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an ensemble of real nodes on this machine; Ctrl-C stops it
    Dev(DevArgs),
    /// Run one node
    Server(ServerArgs),
    /// Talk to an ensemble interactively, or by a script of commands on stdin
    Client(ClientArgs),
    /// Print the value of a key
    Get(GetArgs),
    /// Set the value of a key, creating it and its parents if needed
    #[command(visible_alias = "put")]
    Set(WriteArgs),
    /// Create a key; refused if it exists
    #[command(visible_alias = "create")]
    Add(WriteArgs),
    /// Delete a key; refused if it does not exist, or if it has children
    #[command(visible_aliases = ["del", "rm"])]
    Delete(DeleteArgs),
    /// List the keys below a key
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Measure throughput and latency, of an ensemble of its own or a running one
    Bench(Box<BenchArgs>),
    /// Show every node: role, epoch, how far it is, and whether they agree
    Status(StatusArgs),
}

/// What all commands of a client share.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connect {
    /// Where nodes answer clients, separated by commas; the next one is tried when one fails
    /// [default: the variable ZABKEEPER_ENDPOINTS, or where `zabkeeper dev` listens]
    #[arg(long, value_name = "HOST:PORT,...", value_parser = endpoints, conflicts_with = "config")]
    pub(crate) endpoints: Option<Endpoints>,
    /// A JSON file with the endpoints: {"Peer": [{"RequestAddr": "host:port"}, ...]}, or a node's
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How long to try before giving up: 10s, 500ms, or plain seconds
    #[arg(
        long,
        value_name = "TIME",
        env = "ZABKEEPER_TIMEOUT",
        default_value = "10s",
        value_parser = duration
    )]
    pub(crate) timeout: Duration,
    /// How to print results
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// The clients' addresses of the three nodes that `zabkeeper dev` starts by default.
pub(crate) const DEFAULT_ENDPOINTS: &str = "127.0.0.1:4213,127.0.0.1:4223,127.0.0.1:4233";

/// A list of endpoints as it was typed.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints(pub(crate) Vec<String>);

fn endpoints(text: &str) -> Result<Endpoints, String> {
    endpoint_list(text).map(Endpoints).map_err(|error| error.to_string())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// One JSON object a line, with stable fields
    Json,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  zabkeeper dev                            # three nodes; their data is removed at the end
  zabkeeper dev --nodes 5
  zabkeeper dev --data-dir ./ensemble      # keep data and ports; start again where it stopped

Each node is a process of its own, with its own files. Stop one (kill -9 PID) and see that
the others go on; the line that reports it says how to start it again.")]
pub(crate) struct DevArgs {
    /// How many nodes, 1 to 7 [default: 3, or as many as the data directory has]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub(crate) nodes: Option<u8>,
    /// Keep configuration, data and logs here [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The first of the ports: node i uses PORT + 10 (i - 1) + 1, 2 and 3; PORT itself is kept
    /// as a lock [default: 4210, or the next free hundred]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_400))]
    pub(crate) base_port: Option<u16>,
    /// A setting of every node, as it stands in its file: Timeouts.PingMs=50. May be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    pub(crate) set: Vec<Setting>,
    /// Stop when stdin ends or gets a line
    #[arg(long)]
    pub(crate) watch_stdin: bool,
    /// How to print events
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example, one of three machines:
  zabkeeper server --config node1.json
  zabkeeper server --config node1.json --check     # is the file in order? starts nothing

  {
    \"Host\": {\"ElectionAddr\": \"10.0.0.1:5001\", \"MessageAddr\": \"10.0.0.1:5002\",
             \"RequestAddr\": \"10.0.0.1:5003\"},
    \"Peer\": [{\"ElectionAddr\": \"10.0.0.2:5001\", \"MessageAddr\": \"10.0.0.2:5002\"},
             {\"ElectionAddr\": \"10.0.0.3:5001\", \"MessageAddr\": \"10.0.0.3:5002\"}],
    \"DataDir\": \"/var/lib/zabkeeper\"
  }

When the node listens, it prints one line on stdout:
  ready node=n1 election=10.0.0.1:5001 message=10.0.0.1:5002 request=10.0.0.1:5003
Everything else goes to stderr. SIGTERM, SIGINT and SIGHUP stop it cleanly, unless they were
ignored when it started (nohup).

Exit codes:
  0 asked to stop   1 another failure, such as an address in use
  2 wrong command line or configuration   4 the disk failed, or is full
  3 damaged data, or another node's   5 halted by the protocol   7 data of a newer program
  8 removed from the ensemble   9 the wrong disk, or an old copy of it
After 3, 5, 7, 8 and 9 it must not be restarted.")]
pub(crate) struct ServerArgs {
    /// The node's JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Where the node keeps its data; wins over DataDir in the file, which is relative to the file
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Stop cleanly when stdin ends or gets a line: for a supervisor that holds the other end
    #[arg(long)]
    pub(crate) watch_stdin: bool,
    /// What to log: error, warn, info, debug, trace, or module=level,... [env: RUST_LOG]
    /// [default: info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Check the file, say what a start would begin with, and start nothing
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
At a terminal, type a command alone to be asked for the rest, or all of it in one line:
  Add answer 42            create a key
  Set answer 43            set a key
  Set key value 1000       set key-0 ... key-999 to value-0 ... value-999
  Get answer               print a value
  Delete answer            delete a key
  List                     list the keys below the root
  Status                   show all nodes
  help, quit

A word is taken as it is typed. One that begins with \" or ' goes to the next one, so that it can
hold blanks; nothing else is special.

Commands can come through a pipe; the exit code is that of the first one that failed:
  printf 'Set answer 42\\nGet answer\\n' | zabkeeper client")]
pub(crate) struct ClientArgs {
    /// Ask for the words of a command that stands alone, also if the input is no terminal
    #[arg(long, hide = true)]
    pub(crate) prompts: bool,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  zabkeeper get app/config
  zabkeeper get app/config > file          # the value's bytes as they are, and a newline
  zabkeeper get app/config --local         # from the node asked, without asking a majority
  zabkeeper get app/config --output json")]
pub(crate) struct GetArgs {
    /// The key: names joined by /
    pub(crate) key: String,
    /// Read the state of the node asked: fast, works without a leader, perhaps old
    #[arg(long)]
    pub(crate) local: bool,
    /// Print the value without a newline after it
    #[arg(long, short)]
    pub(crate) no_newline: bool,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples, the same for set and add:
  zabkeeper set answer 42
  zabkeeper set app/config --file config.toml
  date | zabkeeper set clock -             # the value from stdin, all of it
  zabkeeper add lock me || echo taken      # add is refused (1) if the key exists
  zabkeeper set note -- --text             # after --, a value may look like an option

A write that was sent and not answered is never sent again: exit code 4 says that nobody
knows whether it was done. Read the key before you decide.")]
pub(crate) struct WriteArgs {
    /// The key: names joined by /
    pub(crate) key: String,
    /// The value; - reads it from stdin
    #[arg(required_unless_present = "file", allow_negative_numbers = true)]
    pub(crate) value: Option<OsString>,
    /// Read the value from this file
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  zabkeeper delete answer
  zabkeeper delete app --recursive         # with everything below")]
pub(crate) struct DeleteArgs {
    /// The key: names joined by /
    pub(crate) key: String,
    /// With everything below it
    #[arg(long, short)]
    pub(crate) recursive: bool,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  zabkeeper list                           # the keys below the root
  zabkeeper list app --recursive --values
  zabkeeper list --recursive --output json | jq -r .key

A long listing is read in pages, each of them consistent; writes between two pages may show
in the later ones.")]
pub(crate) struct ListArgs {
    /// Below which key
    #[arg(default_value = "/")]
    pub(crate) key: String,
    /// Everything below, not only the children
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// Print the values too
    #[arg(long)]
    pub(crate) values: bool,
    /// At most so many keys
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Read the state of the node asked: fast, works without a leader, perhaps old
    #[arg(long)]
    pub(crate) local: bool,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  zabkeeper status
  zabkeeper status --output json           # one object with all nodes

Asks every endpoint, and the nodes that the leader tells of. The exit code is 0 if a leader
with a majority was found, and 3 if not.

Columns: epoch  the epoch whose history the node holds     last       the end of its log
         round  the election round                         committed  known to be committed
         lag    entries that the leader's log has more     applied    visible to local reads
         same   yes if its state is equal to the others' at the same entry")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// A span of time: `10s`, `500ms`, `2m`, or plain seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time; write 10s, 500ms, 2m, or plain seconds");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(split.unwrap_or(text.len()));
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let span = Duration::try_from_secs_f64(number * scale).map_err(|_| wrong())?;
    if span < Duration::from_millis(1) || span > Duration::from_secs(3600) {
        return Err("the time must be between 1ms and 60m".to_owned());
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_time_has_a_unit_or_is_in_seconds() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "s", "10h", "-1", "1e9", "0", "99999", "."] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
