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
mod spelling;
mod status;
mod stop;
mod tree;
mod value;
mod words;

use args::{Command, Connect, DEFAULT_ENDPOINTS};
use exit::{Failure, USAGE};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use stop::Held;
use zabkeeper_runtime_mio::client::{Client, ClientOptions, Notice, endpoint_list};
use zabkeeper_runtime_mio::config::ClientConfig;

/// Runs the command that the command line names.
pub(crate) fn run() -> ExitCode {
    // What runs for long may be asked to stop before its command line is read.
    let long = std::env::args_os().nth(1).is_some_and(|word| word == "server" || word == "dev");
    let held = long.then(Held::now);
    let held = move || held.unwrap_or_else(Held::now);
    let cli = match spelling::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let result = match cli.command {
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
    // What is still held back may find the disk full.
    match result.and_then(|()| Ok(io::stdout().flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Says what the parser of the command line has to say: help, or what is wrong.
fn explain(error: &clap::Error) -> ExitCode {
    let said = error.print().and_then(|()| io::stdout().flush());
    match said {
        // Nobody has to listen to what is wrong.
        _ if error.use_stderr() => ExitCode::from(USAGE),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Failure::from(error).report(),
    }
}

impl Connect {
    /// Where nodes answer clients: from the command line, the file it names, the variable, or the
    /// default.
    fn endpoints(&self) -> Result<Vec<String>, Failure> {
        if let Some(endpoints) = &self.endpoints {
            return Ok(endpoints.0.clone());
        }
        if let Some(file) = &self.config {
            let config = ClientConfig::load(file).map_err(Failure::usage)?;
            if config.silent > 0 && io::stderr().is_terminal() {
                let known = config.endpoints.join(",");
                let file = file.display();
                let what = "zabkeeper: this is a server's file, which does not say where the other";
                let what = format!("{file}: {what} {} nodes answer; asking {known}", config.silent);
                output::say(format_args!("{}", output::tame(&what)));
            }
            return Ok(config.endpoints);
        }
        const VARIABLE: &str = "ZABKEEPER_ENDPOINTS";
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::usage(format_args!("the variable {VARIABLE}: {why}"))
        };
        match std::env::var_os(VARIABLE) {
            None => Ok(DEFAULT_ENDPOINTS.split(',').map(str::to_owned).collect()),
            Some(value) => {
                let text = value.to_str().ok_or_else(|| wrong(&"it is not UTF-8"))?;
                endpoint_list(text).map_err(|error| wrong(&error))
            }
        }
    }

    fn options(&self) -> Result<ClientOptions, Failure> {
        let mut options = ClientOptions::new(self.endpoints()?);
        options.timeout = self.timeout;
        options.notice = Some(Notice { after: Duration::from_secs(1), tell: waiting });
        Ok(options)
    }

    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::connect(self.options()?)?)
    }
}

/// Who waits is told for what.
fn waiting(what: &str) {
    output::say(format_args!("zabkeeper: {}", output::tame(what)));
}
