//! `zabkeeper client`: commands typed at a prompt, or piped in.

use super::args::{ClientArgs, Connect, Output};
use super::exit::{Failure, USAGE};
use super::lines::{Line, Lines};
use super::status::Survey;
use super::{output, tree};
use std::io::{self, Write};
use zabkeeper_core::tree::Path;
use zabkeeper_runtime_mio::client::{Client, ClientOptions, Level, Listing};

const PROMPT: &str = "Enter command (Add, Set, Delete, Get, List, Status; help, quit): ";

const HELP: &str = "\
Add [KEY VALUE [REPETITION]]   create a key; refused if it exists
Set [KEY VALUE [REPETITION]]   set a key, creating it if needed
Delete [KEY [REPETITION]]      delete a key; refused if it has children
Get [KEY [REPETITION]]         print a value
List [KEY]                     list the keys below a key, or below the root
Status                         show all nodes
help                           show this
quit                           leave; so does Ctrl-D

A command alone asks for the rest. A repetition of N uses KEY-0 ... KEY-(N-1), and for Add and
Set VALUE-0 ... VALUE-(N-1). Put a VALUE with blanks in quotes, or let it be asked for.";

/// What a round of the loop leads to.
enum Next {
    Go,
    Quit,
}

/// Runs the commands until the end of the input.
pub(super) fn run(args: &ClientArgs) -> Result<(), Failure> {
    let mut options = args.connect.options()?;
    let mut lines = Lines::new();
    let first = choose_host(&mut lines, &mut options)?;
    let mut session = Session {
        client: Client::connect(options.clone())?,
        options,
        connect: args.connect.clone(),
        lines,
    };
    let mut failed = None;
    let mut line = first;
    loop {
        let text = match line.take() {
            Some(text) => text,
            None => match session.lines.command(PROMPT) {
                Line::Text(text) => text,
                Line::Cancelled => continue,
                Line::End => break,
            },
        };
        match session.command(&text) {
            Ok(Next::Go) => {}
            Ok(Next::Quit) => break,
            // The reader of our output is gone.
            Err(failure) if failure.code == 0 => return Err(failure),
            Err(failure) => {
                failure.report();
                failed.get_or_insert(failure.code);
            }
        }
    }
    match failed {
        // At a terminal, the user has seen and answered the failures.
        Some(code) if !session.lines.is_terminal() => Err(Failure::new(code, "")),
        _ => Ok(()),
    }
}

/// Lets the user choose from several hosts. Through a pipe, the number may be left out: what comes
/// instead is returned as the first command, and any host will do.
fn choose_host(lines: &mut Lines, options: &mut ClientOptions) -> Result<Option<String>, Failure> {
    let hosts = options.endpoints.clone();
    if hosts.len() < 2 {
        return Ok(None);
    }
    if lines.is_terminal() {
        for (index, host) in hosts.iter().enumerate() {
            println!("\t{index} - {host}");
        }
    }
    loop {
        let text = match lines.ask("Select host (number; Enter for any): ") {
            Line::Text(text) => text,
            Line::Cancelled | Line::End => return Ok(Some("quit".to_owned())),
        };
        let chosen = text.trim().parse::<usize>();
        match chosen.as_ref().map(|index| hosts.get(*index)) {
            Ok(Some(host)) => {
                options.endpoints = vec![host.clone()];
                return Ok(None);
            }
            Err(_) if text.trim().is_empty() => return Ok(None),
            Err(_) if !lines.is_terminal() => return Ok(Some(text)),
            Ok(None) | Err(_) => {
                let wrong = format!("'{}' is none of 0 to {}", text.trim(), hosts.len() - 1);
                if !lines.is_terminal() {
                    return Err(Failure::usage(wrong));
                }
                eprintln!("{wrong}");
            }
        }
    }
}

struct Session {
    client: Client,
    options: ClientOptions,
    connect: Connect,
    lines: Lines,
}

/// A command with everything that it needs.
struct Request {
    key: String,
    value: String,
    repetition: u32,
}

impl Session {
    fn command(&mut self, line: &str) -> Result<Next, Failure> {
        let Some(words) = shlex::split(line) else {
            return Err(Failure::usage("a quote is not closed"));
        };
        let mut words = words.into_iter();
        let Some(name) = words.next() else {
            return Ok(Next::Go);
        };
        let words: Vec<_> = words.collect();
        match name.to_ascii_lowercase().as_str() {
            "add" => self.write(words, Client::add)?,
            "set" => self.write(words, Client::set)?,
            "delete" => self.delete(words)?,
            "get" => self.get(words)?,
            "list" => self.list(&words)?,
            "status" => {
                let survey = Survey::make(&self.options)?;
                survey.print(self.connect.output, &mut io::stdout().lock())?;
            }
            "help" | "?" => writeln!(io::stdout().lock(), "{HELP}")?,
            "quit" | "exit" => return Ok(Next::Quit),
            _ => {
                let text = format!("there is no command '{name}'; type help for those there are");
                return Err(Failure::usage(text));
            }
        }
        Ok(Next::Go)
    }

    fn write(&mut self, words: Vec<String>, send: tree::Send) -> Result<(), Failure> {
        let request = self.complete(words, true)?;
        let mut last = None;
        for (key, value) in request.each() {
            let path = tree::path(&key)?;
            let written = send(&mut self.client, &path, value.into_bytes().into())
                .map_err(|error| tree::about(&path, error))?;
            output::written(self.connect.output, &path, written.txid, &written.stat)?;
            last = Some(written.txid);
        }
        self.done(request.repetition, last)
    }

    fn delete(&mut self, words: Vec<String>) -> Result<(), Failure> {
        let request = self.complete(words, false)?;
        let mut last = None;
        for (key, _) in request.each() {
            let path = tree::path(&key)?;
            let written = self.client.delete(&path, false);
            let written = written.map_err(|error| tree::about(&path, error))?;
            output::written(self.connect.output, &path, written.txid, &written.stat)?;
            last = Some(written.txid);
        }
        self.done(request.repetition, last)
    }

    fn get(&mut self, words: Vec<String>) -> Result<(), Failure> {
        let request = self.complete(words, false)?;
        for (key, _) in request.each() {
            let path = tree::path(&key)?;
            let read = self.client.get(&path, Level::Linearizable)?;
            tree::print_read(read, &path, self.connect.output, true)?;
        }
        Ok(())
    }

    fn list(&mut self, words: &[String]) -> Result<(), Failure> {
        let path = match words {
            [] => Path::root(),
            [key] => tree::path(key)?,
            _ => return Err(too_many()),
        };
        let listing = Listing::below(path);
        let output = self.connect.output;
        tree::print_listing(&mut self.client, listing, None, Level::Linearizable, output)
    }

    fn done(&self, count: u32, last: Option<zabkeeper_core::ids::Txid>) -> Result<(), Failure> {
        if let (Output::Text, Some(txid)) = (self.connect.output, last) {
            let what = match count {
                1 => "Done".to_owned(),
                count => format!("Done {count} times, last"),
            };
            writeln!(io::stdout().lock(), "{what} at {txid}.")?;
        }
        Ok(())
    }

    /// Asks for what the line does not give. A repetition is asked for only after a command that
    /// stood alone.
    fn complete(&mut self, words: Vec<String>, valued: bool) -> Result<Request, Failure> {
        let alone = words.is_empty();
        let mut words = words.into_iter();
        let key = match words.next() {
            Some(key) => key,
            None if valued => self.ask("Enter starting key: ")?.trim().to_owned(),
            None => self.ask("Enter key: ")?.trim().to_owned(),
        };
        let value = match (valued, words.as_slice()) {
            (false, _) => String::new(),
            (true, []) => self.ask("Enter starting value: ")?,
            (true, _) => words.next().unwrap_or_default(),
        };
        let repetition = match words.next() {
            Some(word) => word,
            // Delete and Get alone never asked for it.
            None if alone && valued => self.ask("Enter repetition: ")?,
            None => String::new(),
        };
        if words.next().is_some() {
            return Err(too_many());
        }
        let repetition = match repetition.trim() {
            "" => 1,
            text => text.parse().map_err(|_| {
                Failure::usage(format_args!("'{text}' is no number of repetitions"))
            })?,
        };
        Ok(Request { key, value, repetition })
    }

    fn ask(&mut self, prompt: &str) -> Result<String, Failure> {
        match self.lines.ask(prompt) {
            Line::Text(text) => Ok(text),
            Line::Cancelled => Err(Failure::usage("cancelled")),
            Line::End => Err(Failure::new(USAGE, "the input ended in the middle of a command")),
        }
    }
}

impl Request {
    /// The keys and values: one pair as it is, or numbered ones.
    fn each(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let numbered = |index: u32| match self.repetition {
            1 => (self.key.clone(), self.value.clone()),
            _ => (format!("{}-{index}", self.key), format!("{}-{index}", self.value)),
        };
        (0..self.repetition).map(numbered)
    }
}

fn too_many() -> Failure {
    Failure::usage("too many words; put a value with blanks in quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(repetition: u32) -> Vec<(String, String)> {
        let request = Request { key: "k".to_owned(), value: "v".to_owned(), repetition };
        request.each().collect()
    }

    #[test]
    fn a_repetition_numbers_keys_and_values() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(each(1), [pair("k", "v")]);
        assert_eq!(each(2), [pair("k-0", "v-0"), pair("k-1", "v-1")]);
        assert_eq!(each(0), []);
    }
}
