//! `zabkeeper server`: one node, as a process that a supervisor can hold.

use super::args::ServerArgs;
use super::exit::{OTHER, USAGE};
use super::sink::Sink;
use super::stop::Held;
use log::{error, info, warn};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{self, IsTerminal};
use std::process::{self, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use zabkeeper_runtime_mio::config::ServerConfig;
use zabkeeper_runtime_mio::server::{Handle, Server, Sockets, StartError};

/// How long the last lines may take to be written before the process ends without them.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long an own address may take to appear: after a boot, names and networks come late.
const ADDRESS_WAIT: Duration = Duration::from_secs(60);
/// How often it is tried meanwhile.
const ADDRESS_RETRY: Duration = Duration::from_millis(500);
/// What is logged unless told otherwise.
const LEVEL: &str = "info";

/// Runs the node until it stops, and gives the documented exit code. `held` are the signals that
/// have come since the process began.
pub(super) fn run(args: &ServerArgs, held: Held) -> ExitCode {
    let streams = Sink::new("log", io::stderr())
        .and_then(|err| Ok(Streams { err, out: Sink::new("out", io::stdout())? }));
    // Without threads there is no node, and nobody to tell.
    let Ok(streams) = streams else {
        return ExitCode::from(OTHER);
    };
    let code = match live(args, held, &streams) {
        Ok(code) => code,
        Err((code, text)) => {
            streams.err.put(format!("zabkeeper server: {text}\n").as_bytes());
            code
        }
    };
    streams.flush();
    ExitCode::from(code)
}

/// Where the node speaks; whoever does not listen is no reason to stop or to wait.
#[derive(Clone)]
struct Streams {
    err: Sink,
    out: Sink,
}

impl Streams {
    fn flush(&self) {
        let end = Instant::now() + LAST_WORDS;
        for stream in [&self.out, &self.err] {
            stream.flush(end.saturating_duration_since(Instant::now()));
        }
    }
}

/// An exit code, and what to say about it.
type Failed = (u8, String);

fn failed(code: u8, text: impl fmt::Display) -> Failed {
    (code, text.to_string())
}

fn live(args: &ServerArgs, held: Held, streams: &Streams) -> Result<u8, Failed> {
    begin_log(args, &streams.err).map_err(|text| failed(USAGE, text))?;
    if args.check {
        return check(args, streams).map_err(|error| failed(USAGE, error)).map(|()| 0);
    }
    // What the node makes is for its user alone, also what libraries make for it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let life = Arc::new(Mutex::new(Life::Starting));
    let watching = {
        let (life, streams) = (Arc::clone(&life), streams.clone());
        held.watch(args.watch_stdin, move |why| stop(&life, &streams, why))
    };
    watching.map_err(|error| failed(OTHER, format_args!("cannot watch for signals: {error}")))?;

    let config = load(args).map_err(|error| failed(USAGE, error))?;
    let ready = ready_line(&config);
    let server = start(config).map_err(|error| failed(error.exit_code(), error))?;
    *life.lock().unwrap_or_else(PoisonError::into_inner) = Life::Running(server.handle());
    streams.out.put(ready.as_bytes());

    let reason = server.wait();
    match reason.exit_code() {
        0 => {
            info!("{reason}");
            Ok(0)
        }
        code => Err(failed(code, reason)),
    }
}

/// How far the process is, for those who ask it to stop.
enum Life {
    Starting,
    Running(Handle),
}

/// Stops first and speaks then. A start is left where it is: it may be broken off anywhere, as a
/// power cut would.
fn stop(life: &Mutex<Life>, streams: &Streams, why: &str) {
    let life = life.lock().unwrap_or_else(PoisonError::into_inner);
    match &*life {
        Life::Running(handle) => {
            handle.stop();
            info!("stopping: {why}");
        }
        Life::Starting => {
            info!("stopping before the start was complete: {why}");
            streams.flush();
            process::exit(0);
        }
    }
}

/// Has everything that is logged written to `err` by a thread of its own, panics included.
fn begin_log(args: &ServerArgs, err: &Sink) -> Result<(), String> {
    let variable = std::env::var_os("RUST_LOG").filter(|value| !value.is_empty());
    let mut unreadable = None;
    let filter = match (&args.log, &variable) {
        (Some(typed), _) => {
            readable(typed).map_err(|error| format!("--log {typed}: {error}"))?;
            typed.clone()
        }
        (None, Some(value)) => {
            let text = value.to_string_lossy();
            match readable(&text) {
                Ok(()) => text.into_owned(),
                // It may be meant for another program: no reason to stay down.
                Err(error) => {
                    unreadable = Some(format!("the variable RUST_LOG={text}: {error}"));
                    LEVEL.to_owned()
                }
            }
        }
        (None, None) => LEVEL.to_owned(),
    };
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    env_logger::Builder::new()
        .parse_filters(&filter)
        .format_timestamp_millis()
        .format_target(false)
        .write_style(if color {
            env_logger::WriteStyle::Always
        } else {
            env_logger::WriteStyle::Never
        })
        .target(env_logger::Target::Pipe(Box::new(err.clone())))
        .init();
    std::panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        let shown = trace.status() == BacktraceStatus::Captured;
        let trace = if shown { format!("\n{trace}") } else { String::new() };
        let thread = thread::current();
        error!("thread '{}': {panic}{trace}", thread.name().unwrap_or("unnamed"));
    }));
    if let Some(why) = unreadable {
        warn!("{why}; logging by --log {LEVEL} instead");
    }
    Ok(())
}

fn readable(filter: &str) -> Result<(), String> {
    let parsed = env_filter::Builder::new().try_parse(filter).map(drop);
    parsed.map_err(|error| error.to_string())
}

fn load(args: &ServerArgs) -> Result<ServerConfig, zabkeeper_runtime_mio::config::ConfigError> {
    match &args.data_dir {
        Some(dir) => ServerConfig::load_with_data_dir(&args.config, dir),
        None => ServerConfig::load(&args.config),
    }
}

/// Starts the node, and waits for a while for addresses that this machine does not have yet.
fn start(config: ServerConfig) -> Result<Server, StartError> {
    let begin = Instant::now();
    let mut told = false;
    loop {
        match Sockets::bind(&config) {
            Ok(sockets) => return Server::start_with_sockets(config, sockets),
            Err(error) if error.may_pass() && begin.elapsed() < ADDRESS_WAIT => {
                if !told {
                    warn!("{error}; trying for {} s", ADDRESS_WAIT.as_secs());
                }
                told = true;
                thread::sleep(ADDRESS_RETRY);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Says what a start would begin with, and starts nothing.
fn check(args: &ServerArgs, streams: &Streams) -> Result<(), String> {
    let config = load(args).map_err(|error| error.to_string())?;
    let own = config.membership.members().get(&config.node);
    let own = own.ok_or_else(|| format!("{} is not among the configured members", config.node))?;
    let mut text = format!(
        "{}: in order\nnode {}: election {}, messages {}, requests {}\n",
        args.config.display(),
        config.node,
        own.election_addr,
        own.message_addr,
        config.request_addr
    );
    if let Some(ip) = config.listen_ip {
        text += &format!("listens on {ip}\n");
    }
    for (node, member) in config.membership.members() {
        if *node != config.node {
            let (election, message) = (&member.election_addr, &member.message_addr);
            text += &format!("peer {node}: election {election}, messages {message}\n");
        }
    }
    text += &format!(
        "data directory {} ({})\n",
        config.data_dir.display(),
        match config.data_dir.try_exists() {
            Ok(true) => "there",
            Ok(false) => "not there: a start makes it, and the node begins empty",
            Err(_) => "cannot be looked at",
        }
    );
    streams.out.put(text.as_bytes());
    Ok(())
}

/// The one line on stdout: the node listens on these addresses.
fn ready_line(config: &ServerConfig) -> String {
    let own = config.membership.members().get(&config.node);
    let (election, message) =
        own.map_or(("", ""), |own| (own.election_addr.as_str(), own.message_addr.as_str()));
    format!(
        "ready node={} election={election} message={message} request={}\n",
        config.node, config.request_addr
    )
}
