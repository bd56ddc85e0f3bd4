//! `zabkeeper server`: one node, as a process that a supervisor can hold.

use super::args::ServerArgs;
use super::exit::{OTHER, USAGE};
use super::stop;
use log::info;
use std::io::{self, Write};
use std::process::ExitCode;
use zabkeeper_runtime_mio::config::ServerConfig;
use zabkeeper_runtime_mio::server::Server;

/// Runs the node until it stops, and gives the documented exit code.
pub(super) fn run(args: &ServerArgs) -> ExitCode {
    let fail = |code: u8, what: &dyn std::fmt::Display| {
        eprintln!("zabkeeper server: {what}");
        ExitCode::from(code)
    };
    let mut filter = env_filter::Builder::new();
    if let Err(error) = filter.try_parse(&args.log) {
        return fail(USAGE, &format_args!("--log {}: {error}", args.log));
    }
    env_logger::Builder::new()
        .parse_filters(&args.log)
        .format_timestamp_millis()
        .format_target(false)
        .init();

    let mut config = match ServerConfig::load(&args.config) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    if let Some(dir) = &args.data_dir {
        config.data_dir.clone_from(dir);
    }
    let ready = ready_line(&config);
    let server = match Server::start(config) {
        Ok(server) => server,
        Err(error) => return fail(error.exit_code(), &error),
    };
    let handle = server.handle();
    let watching = stop::watch(args.watch_stdin, move |why| {
        info!("stopping: {why}");
        handle.stop();
    });
    if let Err(error) = watching {
        return fail(OTHER, &format_args!("cannot watch for signals: {error}"));
    }
    // A supervisor that does not listen is no reason to stop.
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{ready}").and_then(|()| out.flush());
    drop(out);

    let reason = server.wait();
    match reason.exit_code() {
        0 => info!("{reason}"),
        _ => eprintln!("zabkeeper server: {reason}"),
    }
    ExitCode::from(reason.exit_code())
}

/// The one line on stdout: the node listens on these addresses.
fn ready_line(config: &ServerConfig) -> String {
    let own = config.membership.members().get(&config.node);
    let (election, message) =
        own.map_or(("", ""), |own| (own.election_addr.as_str(), own.message_addr.as_str()));
    format!(
        "ready node={} election={election} message={message} request={}",
        config.node, config.request_addr
    )
}
