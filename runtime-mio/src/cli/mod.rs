//! The commands of the `zabkeeper` program.

mod args;
mod bench;
mod dev;
mod exit;
mod interactive;
mod lines;
mod output;
mod server;
mod sink;
mod status;
mod stop;
mod tree;

use args::{Cli, Command, Connect};
use clap::Parser;
use exit::Failure;
use std::process::ExitCode;
use stop::Held;
use zabkeeper_runtime_mio::client::{Client, ClientOptions};
use zabkeeper_runtime_mio::config::ClientConfig;

/// Runs the command that the command line names.
pub(crate) fn run() -> ExitCode {
    // What runs for long may be asked to stop before its command line is read.
    let long = std::env::args_os().nth(1).is_some_and(|word| word == "server" || word == "dev");
    let held = long.then(Held::now);
    let held = move || held.unwrap_or_else(Held::now);
    let result = match Cli::parse().command {
        Command::Server(args) => return server::run(&args, held()),
        Command::Dev(args) => dev::run(&args, held()),
        Command::Client(args) => interactive::run(&args),
        Command::Get(args) => tree::get(&args),
        Command::Set(args) => tree::write(&args, Client::set),
        Command::Add(args) => tree::write(&args, Client::add),
        Command::Delete(args) => tree::delete(&args),
        Command::List(args) => tree::list(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Status(args) => status::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

impl Connect {
    /// Where nodes answer clients, from the command line or the file it names.
    fn endpoints(&self) -> Result<Vec<String>, Failure> {
        match &self.config {
            None => Ok(self.endpoints.clone()),
            Some(file) => match ClientConfig::load(file) {
                Ok(config) => Ok(config.endpoints),
                Err(error) => Err(Failure::usage(error)),
            },
        }
    }

    fn options(&self) -> Result<ClientOptions, Failure> {
        let mut options = ClientOptions::new(self.endpoints()?);
        options.timeout = self.timeout;
        Ok(options)
    }

    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::connect(self.options()?)?)
    }
}
