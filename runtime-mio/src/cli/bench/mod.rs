//! `zabkeeper bench`: how much an ensemble can do, and how long it takes.

pub(crate) mod args;
mod conn;
mod engine;
mod failover;
mod frames;
mod local;
mod pace;
mod plot;
mod report;
mod step;
mod tally;
mod usage;

use super::args::{Connect, Output};
use super::exit::{Failure, NOT_DONE, OTHER};
use super::output::say;
use super::stop::Held;
use args::{BenchArgs, BenchCommand, EnsembleArgs, LoadArgs};
use local::Local;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use step::{Outcome, Step, Subject};
use tally::Errors;
use zabkeeper_core::store::Path;
use zabkeeper_core::words::{ReadLevel, Txid};
use zabkeeper_runtime_mio::client::{Client, ClientOptions};

/// Which shares of a single rate are run for a plot, in percent.
const SHARES: [u32; 6] = [10, 25, 50, 75, 90, 100];

/// Runs the command.
pub(super) fn run(args: &BenchArgs) -> Result<(), Failure> {
    let stop = watch()?;
    if let Some(BenchCommand::Failover(args)) = &args.command {
        return failover::run(args, &stop);
    }
    // Before anything takes time: a file that cannot be written is a mistake to tell at once.
    plot(&args.load, &[])?;
    let local = match args.ensemble.local {
        Some(nodes) => {
            say(format_args!("Starting {nodes} nodes ..."));
            let EnsembleArgs { data_dir, set, .. } = &args.ensemble;
            Some(Local::start(nodes, data_dir.as_deref(), set, &stop)?)
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
        plot(load, &outcomes)?;
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
    Ok(Client::connect(options)?.get(&Path::root(), ReadLevel::Linearizable)?.applied)
}

/// Sets a flag when somebody asks to stop: results so far are printed, nodes are ended.
fn watch() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    Held::now()
        .watch(false, move |_| set.store(true, Ordering::Relaxed))
        .map_err(|error| Failure::new(OTHER, format_args!("cannot watch for signals: {error}")))?;
    Ok(flag)
}

/// The measurements that the arguments ask for, in the order of their load.
fn steps(load: &LoadArgs) -> Vec<Step<'_>> {
    let plotted = load.plot.is_some();
    let rates = match load.rate.as_slice() {
        [] => vec![None],
        [one] if plotted => SHARES.iter().map(|share| Some((one * share / 100).max(1))).collect(),
        rates => rates.iter().copied().map(Some).collect(),
    };
    let connections = match load.connections.as_slice() {
        [one] if plotted && load.rate.is_empty() => {
            let smaller = (0..).map(|power| 1 << power).take_while(|count| count < one);
            smaller.chain([*one]).collect()
        }
        connections => connections.to_vec(),
    };
    let both = |connections| {
        let step = move |&rate| Step { load, connections, rate };
        rates.iter().map(step).collect::<Vec<_>>()
    };
    connections.into_iter().flat_map(both).collect()
}

/// Draws what was measured until now.
fn plot(load: &LoadArgs, outcomes: &[Outcome]) -> Result<(), Failure> {
    let Some(file) = &load.plot else {
        return Ok(());
    };
    std::fs::write(file, plot::svg(load, outcomes)).map_err(|error| {
        Failure::usage(format_args!("cannot write the plot to {}: {error}", file.display()))
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser;

    /// The connections and rates that a command line runs.
    fn ladder(line: &str) -> Vec<(u32, Option<u32>)> {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Bench(args) = cli.command else {
            panic!("{line} is no bench");
        };
        steps(&args.load).iter().map(|step| (step.connections, step.rate)).collect()
    }

    #[test]
    fn a_plot_of_one_load_has_smaller_ones_too() {
        let closed = |counts: &[u32]| counts.iter().map(|&c| (c, None)).collect::<Vec<_>>();
        assert_eq!(ladder("zabkeeper bench"), closed(&[16]));
        assert_eq!(ladder("zabkeeper bench --plot f"), closed(&[1, 2, 4, 8, 16]));
        assert_eq!(ladder("zabkeeper bench -c 5 --plot f"), closed(&[1, 2, 4, 5]));
        assert_eq!(ladder("zabkeeper bench -c 1,64 --plot f"), closed(&[1, 64]));
        let open = |rates: &[u32]| rates.iter().map(|&r| (16, Some(r))).collect::<Vec<_>>();
        assert_eq!(ladder("zabkeeper bench --rate 5,10"), open(&[5, 10]));
        let shares = open(&[100, 250, 500, 750, 900, 1000]);
        assert_eq!(ladder("zabkeeper bench --rate 1000 --plot f"), shares);
    }
}
