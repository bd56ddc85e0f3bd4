//! `zabkeeper client`: commands typed at a prompt, or piped in.

use super::args::{ClientArgs, Connect, Output};
use super::exit::{Failure, USAGE};
use super::lines::{Line, Lines};
use super::output::{self, printable, say};
use super::status::Survey;
use super::{tree, words};
use std::io::{self, Write};
use zabkeeper_core::store::Path;
use zabkeeper_core::words::ReadLevel;
use zabkeeper_runtime_mio::client::{Client, ClientOptions, Listing};

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
Set VALUE-0 ... VALUE-(N-1). A word is taken as it is typed; one that begins with \" or ' goes to
the next one, so that it can hold blanks.";

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
        asks: lines.is_terminal() || args.prompts,
        connect: args.connect.clone(),
        lines,
    };
    let mut failed = None;
    let mut line = first;
    loop {
        let line = line.take().unwrap_or_else(|| session.lines.command(PROMPT));
        let ended = match line {
            Line::Text(text) => session.command(&text),
            Line::TooLong => Err(Failure::usage("the line is longer than any command")),
            Line::Cancelled => continue,
            Line::End => break,
            Line::Broken(why) => {
                failed.get_or_insert(session.numbered(Failure::usage(why)).report_code());
                break;
            }
        };
        match ended {
            Ok(Next::Go) => {}
            Ok(Next::Quit) => break,
            // The reader of our output is gone.
            Err(failure) if failure.code == 0 => return Err(failure),
            Err(failure) => {
                failed.get_or_insert(session.numbered(failure).report_code());
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
fn choose_host(lines: &mut Lines, options: &mut ClientOptions) -> Result<Option<Line>, Failure> {
    let hosts = options.endpoints.clone();
    if hosts.len() < 2 {
        return Ok(None);
    }
    if lines.is_terminal() {
        let mut out = io::stdout().lock();
        for (index, host) in hosts.iter().enumerate() {
            writeln!(out, "\t{index} - {}", printable(host.as_bytes()))?;
        }
    }
    loop {
        let line = lines.ask("Select host (number; Enter for any): ");
        let typed = match &line {
            Line::Text(text) => std::str::from_utf8(text).map(str::trim),
            Line::Cancelled => return Ok(Some(Line::End)),
            Line::TooLong | Line::End | Line::Broken(_) => return Ok(Some(line)),
        };
        let chosen = typed.map(|text| (text, text.parse::<usize>()));
        let wrong = match chosen {
            Ok(("", _)) => return Ok(None),
            Ok((text, Ok(index))) => match hosts.get(index) {
                Some(host) => {
                    options.endpoints = vec![host.clone()];
                    return Ok(None);
                }
                None => format!("'{text}' is none of 0 to {}", hosts.len() - 1),
            },
            Ok(_) | Err(_) if !lines.is_terminal() => return Ok(Some(line)),
            Ok((text, _)) => format!("'{text}' is none of 0 to {}", hosts.len() - 1),
            Err(_) => "that is no number".to_owned(),
        };
        if !lines.is_terminal() {
            return Err(Failure::usage(wrong));
        }
        say(format_args!("{}", output::tame(&wrong)));
    }
}

struct Session {
    client: Client,
    options: ClientOptions,
    connect: Connect,
    lines: Lines,
    /// A command that stands alone asks for its words: at a terminal, and as gometa does.
    asks: bool,
}

/// A command with everything that it needs.
struct Request {
    key: String,
    value: String,
    repetition: u32,
}

impl Session {
    fn command(&mut self, line: &[u8]) -> Result<Next, Failure> {
        let line = text(line.to_vec())?;
        let mut words = words::split(&line).map_err(Failure::usage)?.into_iter();
        let Some(name) = words.next() else {
            return Ok(Next::Go);
        };
        let words: Vec<_> = words.collect();
        match name.to_ascii_lowercase().as_str() {
            "add" | "create" => self.write(words, Client::add)?,
            "set" | "put" => self.write(words, Client::set)?,
            "delete" | "del" | "rm" => self.delete(words)?,
            "get" => self.get(words)?,
            "list" | "ls" => self.list(words)?,
            "status" => {
                let survey = Survey::make(&self.options)?;
                survey.print(self.connect.output, &mut io::stdout().lock())?;
            }
            "help" | "?" => writeln!(io::stdout().lock(), "{HELP}")?,
            "quit" | "exit" => return Ok(Next::Quit),
            _ => {
                let name = printable(name.as_bytes());
                let text = format!("there is no command '{name}'; type help for those there are");
                return Err(Failure::usage(text));
            }
        }
        Ok(Next::Go)
    }

    /// Of a script, says in which line something failed.
    fn numbered(&self, failure: Failure) -> Failure {
        match self.lines.is_terminal() || failure.text.is_empty() {
            true => failure,
            false => {
                let Failure { code, text } = failure;
                Failure::new(code, format_args!("line {}: {text}", self.lines.number()))
            }
        }
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
            let read = self.client.get(&path, ReadLevel::Linearizable)?;
            tree::print_read(read, &path, self.connect.output, true)?;
        }
        Ok(())
    }

    fn list(&mut self, words: Vec<String>) -> Result<(), Failure> {
        let mut words = words.into_iter();
        let path = match words.next() {
            None => Path::root(),
            Some(key) => tree::path(&key)?,
        };
        if words.next().is_some() {
            return Err(too_many());
        }
        let listing = Listing::below(path);
        let output = self.connect.output;
        tree::print_listing(&mut self.client, listing, None, ReadLevel::Linearizable, output)
    }

    fn done(&self, count: u32, last: Option<zabkeeper_core::words::Txid>) -> Result<(), Failure> {
        if let (Output::Text, Some(txid)) = (self.connect.output, last) {
            let what = match count {
                1 => "Done".to_owned(),
                count => format!("Done {count} times, last"),
            };
            writeln!(io::stdout().lock(), "{what} at {txid}.")?;
        }
        Ok(())
    }

    /// Asks for what the line does not give, if the command stood alone and somebody is there to
    /// answer. Anybody else has forgotten a word: the next line is the next command.
    fn complete(&mut self, words: Vec<String>, valued: bool) -> Result<Request, Failure> {
        let asks = self.asks && words.is_empty();
        let mut words = words.into_iter();
        let key = match words.next() {
            Some(key) => key,
            None if asks && valued => self.ask("Enter starting key: ")?.trim().to_owned(),
            None if asks => self.ask("Enter key: ")?.trim().to_owned(),
            None => return Err(Failure::usage("the key is missing")),
        };
        let value = match if valued { words.next() } else { Some(String::new()) } {
            Some(value) => value,
            None if asks => self.ask("Enter starting value: ")?,
            None => return Err(Failure::usage("the value is missing; an empty one is \"\"")),
        };
        let repetition = match words.next() {
            Some(word) => word,
            // Delete and Get alone never asked for it.
            None if asks && valued => self.ask("Enter repetition: ")?,
            None => String::new(),
        };
        if words.next().is_some() {
            return Err(too_many());
        }
        Ok(Request { key, value, repetition: times(&repetition)? })
    }

    fn ask(&mut self, prompt: &str) -> Result<String, Failure> {
        match self.lines.ask(prompt) {
            Line::Text(line) => text(line),
            Line::TooLong => Err(Failure::usage("the line is longer than any value")),
            Line::Cancelled => Err(Failure::usage("cancelled")),
            Line::Broken(why) => Err(Failure::usage(why)),
            Line::End => Err(Failure::new(USAGE, "the input ended in the middle of a command")),
        }
    }
}

/// A line as text.
fn text(line: Vec<u8>) -> Result<String, Failure> {
    let other = "the line is not UTF-8; other bytes can be stored by `zabkeeper set KEY -`";
    String::from_utf8(line).map_err(|_| Failure::usage(other))
}

/// How often, if the user says.
fn times(word: &str) -> Result<u32, Failure> {
    match word.trim() {
        "" => Ok(1),
        word => match word.parse() {
            Ok(times @ 1..) => Ok(times),
            _ => {
                let shown = printable(word.as_bytes());
                let what = "is no number of repetitions, from 1 on; a value with blanks stands in";
                Err(Failure::usage(format_args!("'{shown}' {what} quotes")))
            }
        },
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
    }

    #[test]
    fn a_repetition_is_a_number_from_1_on() {
        assert_eq!((times("").unwrap(), times(" 3 ").unwrap()), (1, 3));
        for wrong in ["0", "-1", "x", "1.5", "99999999999"] {
            assert_eq!(times(wrong).unwrap_err().code, USAGE, "{wrong}");
        }
    }
}
