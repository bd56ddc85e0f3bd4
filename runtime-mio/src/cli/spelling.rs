//! How the command line may be spelled: as `--help` teaches, and as people's fingers know it from
//! gometa, whose flags are Go's.

use super::args::Cli;
use clap::error::ErrorKind;
use clap::{Command, CommandFactory, Error, Parser};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How gometa is called.
const GOMETA: &str = "\
Usage, as that of gometa:
  gometa -config=FILE                # run one node
  gometa -client=true -config=FILE   # talk to an ensemble
More is in `zabkeeper --help`.
";

/// Reads a command line, the program's name first. A program called `gometa` takes gometa's.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Error> {
    let args: Vec<_> = args.into_iter().collect();
    let name = args.first().and_then(|program| Path::new(program).file_name());
    match name == Some(OsStr::new("gometa")) {
        true => Cli::try_parse_from(gometa(args.get(1..).unwrap_or_default())?),
        false => Cli::try_parse_from(two_dashes(args)),
    }
}

/// Gometa's flags as this program's command line.
fn gometa(flags: &[OsString]) -> Result<Vec<OsString>, Error> {
    let wrong =
        |what: String| Error::raw(ErrorKind::UnknownArgument, format!("{what}\n\n{GOMETA}"));
    let (mut client, mut config) = (false, None);
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        let shown = flag.to_string_lossy();
        let bytes = flag.as_bytes();
        let Some(bytes) = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-")) else {
            return Err(wrong(format!("gometa takes flags only, not '{shown}'")));
        };
        let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned())),
            None => (bytes, None),
        };
        match name {
            b"config" => {
                let value = value.or_else(|| flags.next().cloned());
                config = Some(value.ok_or_else(|| wrong("-config needs a file".to_owned()))?);
            }
            b"client" => {
                client = match value.as_ref().map(|value| value.as_bytes()) {
                    None | Some(b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True") => true,
                    Some(b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False") => false,
                    Some(_) => return Err(wrong(format!("'{shown}' is neither true nor false"))),
                };
            }
            b"h" | b"help" => return Err(Error::raw(ErrorKind::DisplayHelp, GOMETA)),
            _ => return Err(wrong(format!("gometa has no flag '{shown}'"))),
        }
    }
    let config = config.ok_or_else(|| wrong("-config=FILE is missing".to_owned()))?;
    let words: &[&str] = match client {
        true => &["zabkeeper", "client", "--prompts", "--config"],
        false => &["zabkeeper", "server", "--config"],
    };
    Ok(words.iter().map(OsString::from).chain([config]).collect())
}

/// Gives the long options that stand behind one dash, as Go has them, their second one.
fn two_dashes(args: Vec<OsString>) -> Vec<OsString> {
    let mut known = BTreeSet::new();
    long_options(&Cli::command(), &mut known);
    let mut open = true;
    let spell = |arg: OsString| {
        open &= arg != "--";
        let name = arg.to_str().and_then(|text| text.strip_prefix('-'));
        let name = name.map(|text| text.split_once('=').map_or(text, |(name, _)| name));
        match name.is_some_and(|name| open && known.contains(name)) {
            true => [OsStr::new("-"), &arg].into_iter().collect(),
            false => arg,
        }
    };
    args.into_iter().map(spell).collect()
}

fn long_options(command: &Command, known: &mut BTreeSet<String>) {
    let longs = command.get_arguments().filter_map(clap::Arg::get_long);
    known.extend(longs.filter(|long| long.len() > 1).map(str::to_owned));
    command.get_subcommands().for_each(|command| long_options(command, known));
}

#[cfg(test)]
mod tests {
    use super::super::args::Command;
    use super::*;

    fn read(line: &str) -> Result<Command, Error> {
        parse(line.split_whitespace().map(OsString::from)).map(|cli| cli.command)
    }

    #[test]
    fn a_program_called_gometa_takes_gometas_flags() {
        for line in ["gometa -config=a.json", "/usr/bin/gometa --config a.json -client=false"] {
            let command = read(line).unwrap();
            assert!(matches!(command, Command::Server(a) if a.config == Path::new("a.json")));
        }
        for line in ["gometa -client=true -config=a.json", "gometa -config a.json -client"] {
            let Ok(Command::Client(args)) = read(line) else { panic!("{line}") };
            assert_eq!(args.connect.config.as_deref(), Some(Path::new("a.json")));
            assert!(args.prompts);
        }
        for line in
            ["gometa", "gometa -config", "gometa -client=x -config=a", "gometa -x", "gometa a"]
        {
            let error = read(line).unwrap_err();
            assert!(error.to_string().contains("-client=true -config=FILE"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        assert_eq!(read("gometa -help").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn one_dash_before_a_long_option_is_enough() {
        for line in ["zabkeeper server -config=a.json", "zabkeeper server -config a.json"] {
            let command = read(line).unwrap();
            assert!(matches!(command, Command::Server(a) if a.config == Path::new("a.json")));
        }
        let Ok(Command::List(args)) = read("zabkeeper ls a -recursive -output json") else {
            panic!()
        };
        assert!(args.recursive && args.connect.output == super::super::args::Output::Json);
    }

    #[test]
    fn a_value_that_looks_like_an_option_is_refused_unless_two_dashes_stood_before() {
        for value in
            ["--fiel=c.toml", "--recursive", "-o=json2", "--vaule", "-x", "-config", "-100x"]
        {
            let error = read(&format!("zabkeeper set key {value}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{value}");
            let Ok(Command::Set(args)) = read(&format!("zabkeeper set -- key {value}")) else {
                panic!("{value}")
            };
            assert_eq!(args.value.as_deref(), Some(OsStr::new(value)));
        }
        for value in ["-100", "-1.5", "-1e9", "-", "a-b", "a=--b"] {
            let Ok(Command::Set(args)) = read(&format!("zabkeeper set key {value}")) else {
                panic!("{value}")
            };
            assert_eq!(args.value.as_deref(), Some(OsStr::new(value)));
        }
    }

    #[test]
    fn the_names_that_fingers_know_are_taken() {
        assert!(matches!(read("zabkeeper put a 1"), Ok(Command::Set(_))));
        assert!(matches!(read("zabkeeper create a 1"), Ok(Command::Add(_))));
        assert!(matches!(read("zabkeeper ls"), Ok(Command::List(_))));
        for name in ["del", "rm"] {
            assert!(matches!(read(&format!("zabkeeper {name} a")), Ok(Command::Delete(_))));
        }
    }
}
