//! The one-shot commands on keys: get, set, add, delete, list.

use super::args::{Connect, DeleteArgs, GetArgs, ListArgs, Output, WriteArgs};
use super::exit::{Failure, REFUSED};
use super::output::{self, printable};
use super::value::{self, Source};
use std::ffi::OsStr;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use zabkeeper_core::store::{DELETE_NODES, Found, Path};
use zabkeeper_core::words::{Payload, ReadLevel, Txid};
use zabkeeper_runtime_mio::client::{Client, ClientError, Listing, Read, Written};

/// How a write is sent: [`Client::set`] or [`Client::add`].
pub(super) type Send = fn(&mut Client, &Path, Payload) -> Result<Written, ClientError>;

/// `get`
pub(super) fn get(args: &GetArgs) -> Result<(), Failure> {
    let path = path(&args.key)?;
    let read = args.connect.client()?.get(&path, level(args.local))?;
    print_read(read, &path, args.connect.output, !args.no_newline)
}

/// Prints the answer to a read: the value as it is, or a JSON object.
pub(super) fn print_read(
    read: Read<Found>,
    path: &Path,
    output: Output,
    newline: bool,
) -> Result<(), Failure> {
    let Some(node) = read.answer else {
        return Err(not_found(path));
    };
    let mut out = io::stdout().lock();
    match output {
        Output::Json => {
            let mut fields = output::found(&node);
            fields.insert("applied".to_owned(), read.applied.to_string().into());
            writeln!(out, "{}", serde_json::Value::Object(fields))?;
        }
        Output::Text => {
            let value = node.value.as_deref().unwrap_or_default();
            match out.is_terminal() {
                true => out.write_all(output::tame_value(value).as_bytes())?,
                false => out.write_all(value)?,
            }
            if newline {
                out.write_all(b"\n")?;
            }
        }
    }
    Ok(out.flush()?)
}

/// `set` and `add`
pub(super) fn write(args: &WriteArgs, send: Send) -> Result<(), Failure> {
    let path = path(&args.key)?;
    let value = value(args)?;
    let written = send(&mut args.connect.client()?, &path, value.into())
        .map_err(|error| about(&path, error))?;
    report(&args.connect, &path, &written)
}

/// `delete`
pub(super) fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let path = path(&args.key)?;
    let mut client = args.connect.client()?;
    if !args.recursive {
        let written = client.delete(&path, false).map_err(|error| about(&path, error))?;
        return report(&args.connect, &path, &written);
    }
    let deleted = client.delete_all(&path).map_err(|error| about(&path, error))?;
    if deleted.parts > 1 {
        output::say(format_args!(
            "zabkeeper: {}: more than {DELETE_NODES} keys, deleted in {} parts, one after the other",
            output::tame(&path.to_string()),
            deleted.parts
        ));
    }
    report(&args.connect, &path, &deleted.written)
}

/// `list`
pub(super) fn list(args: &ListArgs) -> Result<(), Failure> {
    let mut listing = Listing::below(path(&args.key)?);
    listing.recursive = args.recursive;
    listing.values = args.values;
    let mut client = args.connect.client()?;
    let output = args.connect.output;
    print_listing(&mut client, listing, args.limit, level(args.local), output)
}

/// Prints a listing, each page as it comes.
pub(super) fn print_listing(
    client: &mut Client,
    mut listing: Listing,
    limit: Option<u64>,
    level: ReadLevel,
    output: Output,
) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut left = limit.unwrap_or(u64::MAX);
    loop {
        // Also who wants none is told if there is nothing to list.
        listing.limit = u32::try_from(left.max(1)).unwrap_or(u32::MAX);
        let read = client.list(&listing, level)?;
        let Some(page) = read.answer else {
            return Err(not_found(&listing.path));
        };
        for node in page.nodes.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            print_listed(&mut out, node, output)?;
        }
        out.flush()?;
        left = left.saturating_sub(page.nodes.len() as u64);
        match page.nodes.last() {
            Some(last) if page.more && left > 0 => listing.after = Some(last.path.clone()),
            _ => return Ok(()),
        }
    }
}

fn print_listed(out: &mut impl Write, node: &Found, output: Output) -> io::Result<()> {
    match output {
        Output::Json => {
            let fields = output::found(node);
            writeln!(out, "{}", serde_json::Value::Object(fields))
        }
        Output::Text => {
            let key = shown(&node.path);
            match &node.value {
                None => writeln!(out, "{key}"),
                Some(value) => writeln!(out, "{key}\t{}", printable(value)),
            }
        }
    }
}

/// A key from the command line.
pub(super) fn path(key: &str) -> Result<Path, Failure> {
    let shown = || printable(key.as_bytes());
    Path::parse(key).map_err(|error| Failure::usage(format_args!("the key '{}': {error}", shown())))
}

/// A key for people.
fn shown(path: &Path) -> String {
    printable(path.to_string().as_bytes())
}

/// How fresh a read must be.
fn level(local: bool) -> ReadLevel {
    if local { ReadLevel::Local(Txid::ZERO) } else { ReadLevel::Linearizable }
}

fn value(args: &WriteArgs) -> Result<Vec<u8>, Failure> {
    let source = match (&args.file, args.value.as_deref()) {
        (Some(file), _) => Source::File(file.clone()),
        (None, Some(dash)) if dash == "-" => Source::Stdin,
        (None, value) => return Ok(value.map(OsStr::as_bytes).unwrap_or_default().to_vec()),
    };
    value::read(source, args.connect.timeout)
}

fn report(connect: &Connect, path: &Path, written: &Written) -> Result<(), Failure> {
    Ok(output::written(connect.output, path, written.txid, &written.stat)?)
}

/// Names the key in an error that is about the key.
pub(super) fn about(path: &Path, error: ClientError) -> Failure {
    match &error {
        ClientError::Rejected(why) => Failure::new(REFUSED, format_args!("{}: {why}", shown(path))),
        _ => error.into(),
    }
}

fn not_found(path: &Path) -> Failure {
    Failure::new(REFUSED, format_args!("{}: the key does not exist", shown(path)))
}
