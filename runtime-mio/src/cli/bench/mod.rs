//! `zabkeeper bench`: how much an ensemble can do, and how long it takes.

pub(crate) mod args;
mod conn;
mod engine;
mod failover;
mod frames;
mod local;
mod pace;
mod report;
mod step;
mod tally;
mod usage;

use super::args::{Connect, Output};
use super::exit::{Failure, NOT_DONE, OTHER};
use super::stop;
use args::{BenchArgs, BenchCommand, LoadArgs};
use local::Local;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use step::{Outcome, Step, Subject};
use tally::Errors;
use zabkeeper_core::ids::Txid;
use zabkeeper_core::tree::Path;
use zabkeeper_runtime_mio::client::{Client, ClientOptions, Level};

/// Runs the command.
pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let stop = watch()?;
    if let Some(BenchCommand::Failover(args)) = &args.command {
        return failover::run(args, &stop);
    }
    let local = match args.ensemble.local {
        Some(nodes) => {
            eprintln!("Starting {nodes} nodes ...");
            Some(Local::start(nodes, args.ensemble.data_dir.as_deref(), &stop)?)
        }
        None => None,
    };
    let endpoints = match &local {
        Some(local) => local.endpoints(),
        None => args.connect.endpoints()?,
    };
    let load = &args.load;
    let subject = Subject {
        addrs: targets(load, &args.connect, endpoints.clone())?,
        local: local.as_ref(),
        timeout: args.connect.timeout,
        stop: Arc::clone(&stop),
    };
    subject.fill(load)?;
    let seen = seen(&args.connect, endpoints)?;
    let mut outcomes = Vec::new();
    for step in steps(load) {
        let outcome = step.run(&subject, seen)?;
        if args.connect.output == Output::Json {
            writeln!(io::stdout().lock(), "{}", report::json(load, &outcome))?;
        }
        outcomes.push(outcome);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    if args.connect.output == Output::Text {
        report::text(&mut io::stdout().lock(), load, &outcomes)?;
    }
    verdict(&outcomes)
}

/// An entry after all writes acknowledged until now.
fn seen(connect: &Connect, endpoints: Vec<String>) -> Result<Txid, Failure> {
    let mut options = ClientOptions::new(endpoints);
    options.timeout = connect.timeout;
    Ok(Client::connect(options)?.get(&Path::root(), Level::Linearizable)?.applied)
}

/// Sets a flag when somebody asks to stop: results so far are printed, nodes are ended.
fn watch() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    stop::watch(false, move |_| set.store(true, Ordering::Relaxed))
        .map_err(|error| Failure::new(OTHER, format_args!("cannot watch for signals: {error}")))?;
    Ok(flag)
}

/// The measurements that the arguments ask for.
fn steps(load: &LoadArgs) -> Vec<Step<'_>> {
    let rates = match load.rate.as_slice() {
        [] => vec![None],
        rates => rates.iter().copied().map(Some).collect(),
    };
    let both = |&connections| rates.iter().map(move |&rate| Step { load, connections, rate });
    load.connections.iter().flat_map(both).collect()
}

/// The addresses that connections go to.
fn targets(
    load: &LoadArgs,
    connect: &Connect,
    endpoints: Vec<String>,
) -> Result<Vec<SocketAddr>, Failure> {
    let mut options = ClientOptions::new(endpoints);
    options.timeout = connect.timeout;
    let endpoints = match step::leader_only(load) {
        false => options.endpoints.clone(),
        true => {
            let leader = Client::connect(options.clone())?.status()?.leader_addr;
            if leader.is_empty() {
                return Err(Failure::new(NOT_DONE, "there is no leader; see `zabkeeper status`"));
            }
            vec![leader]
        }
    };
    let mut addrs = Vec::new();
    for endpoint in endpoints {
        let found = endpoint.to_socket_addrs().ok().and_then(|mut all| all.next());
        addrs.push(found.ok_or_else(|| {
            Failure::usage(format_args!("the endpoint '{endpoint}' is not like host:port"))
        })?);
    }
    Ok(addrs)
}

/// The exit code tells whether all requests were answered well.
fn verdict(outcomes: &[Outcome]) -> Result<(), Failure> {
    let mut errors = Errors::default();
    for outcome in outcomes {
        errors.add(outcome.tally.errors);
    }
    if errors.total() > 0 {
        let text = format_args!("not all requests were answered well: {}", errors.words());
        return Err(Failure::new(errors.exit_code(), text));
    }
    if outcomes.iter().all(|outcome| outcome.tally.ops() == 0) {
        return Err(Failure::new(NOT_DONE, "no request was answered in the time measured"));
    }
    Ok(())
}
