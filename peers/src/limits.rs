//! What the machine itself can do: the bounds of what any store on it can.

use crate::Fallible;
use crate::engine::Plan;
use crate::load::{self, LoadArgs};
use crate::proto::{MESSAGE, Protocol};
use crate::tally::{Tally, tenths};
use crate::usage;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that each write to the disk has.
const RECORD: usize = 256;
/// Bytes of the file that is written again and again.
const FILE: usize = 16 << 20;
const LISTENER: Token = Token(usize::MAX);

/// Writes to a file whose blocks are there already, and syncs its data after each write. Of several
/// files all are written at the same moment, each by a thread of its own, and it is done when the
/// one of this thread and enough others for a majority are synced; then the rest is waited for.
pub(crate) fn disk(dir: &Path, files: usize, seconds: f64) -> Fallible<Value> {
    let paths: Vec<PathBuf> =
        (0..files).map(|index| dir.join(format!("zabkeeper-peers-disk-{index}"))).collect();
    let told = write_and_sync(&paths, seconds);
    // The files hold nothing of use, whatever came of the writes.
    paths.iter().for_each(|path| drop(fs::remove_file(path)));
    told.map_err(|error| format!("{}: {error}", dir.display()).into())
}

fn write_and_sync(paths: &[PathBuf], seconds: f64) -> Fallible<Value> {
    let mut files = paths.iter().map(|path| prepared(path)).collect::<Fallible<Vec<File>>>()?;
    let Some(own) = files.pop() else {
        return Err("it takes a file to write to".into());
    };
    let (others, awaited) = (files.len(), paths.len() / 2);
    let (done, results) = mpsc::channel();
    let begins: Vec<Sender<u64>> =
        files.into_iter().map(|file| writer(file, done.clone())).collect();
    let mut tally = Tally::new()?;
    let (begin, cpu) = (Instant::now(), usage::own_cpu());
    let end = begin + Duration::try_from_secs_f64(seconds)?;
    let (mut at, mut now) = (0, begin);
    while now < end {
        for begin in &begins {
            begin.send(at)?;
        }
        record(&own, at)?;
        results.iter().take(awaited).collect::<Result<(), _>>()?;
        let synced = Instant::now();
        tally.add(synced - now);
        results.iter().take(others - awaited).collect::<Result<(), _>>()?;
        now = Instant::now();
        at = (at + RECORD as u64) % FILE as u64;
    }
    let ops = tally.count() as f64;
    Ok(json!({
        "per_second": tenths(ops / (now - begin).as_secs_f64()),
        "latency": tally.json(),
        "cpu_per_op": tenths((usage::own_cpu() - cpu).as_secs_f64() * 1e6 / ops),
    }))
}

/// A file whose blocks are there.
fn prepared(path: &Path) -> Fallible<File> {
    let file = File::create_new(path)?;
    file.write_all_at(&vec![1; FILE], 0)?;
    file.sync_all()?;
    Ok(file)
}

/// A thread that writes to its file where it is told to. It ends when nobody tells it any more.
fn writer(file: File, done: Sender<io::Result<()>>) -> Sender<u64> {
    let (begin, begins) = mpsc::channel();
    thread::spawn(move || {
        for at in begins {
            if done.send(record(&file, at)).is_err() {
                return;
            }
        }
    });
    begin
}

fn record(file: &File, at: u64) -> io::Result<()> {
    file.write_all_at(&[2; RECORD], at)?;
    file.sync_data()
}

/// Sends messages over loopback to threads that send them back.
pub(crate) fn echo(servers: usize, connections: usize, args: &LoadArgs) -> Fallible<Value> {
    let plan = Plan {
        protocol: Protocol::Echo,
        nodes: (0..servers).map(|_| server()).collect::<Fallible<_>>()?,
        connections,
        outstanding: 1,
        value: vec![0; MESSAGE],
        patience: Duration::from_secs(10),
    };
    load::run(plan, 1, args)
}

fn server() -> Fallible<SocketAddr> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let addr = listener.local_addr()?;
    thread::Builder::new().name("echo".to_owned()).spawn(move || {
        if let Err(error) = serve(listener) {
            eprintln!("the echo server stopped: {error}");
        }
    })?;
    Ok(addr)
}

/// An event loop like the generator's. It ends with the process.
fn serve(mut listener: TcpListener) -> Fallible<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut conns: Vec<Mirror> = Vec::new();
    let mut scratch = vec![0; 64 << 10];
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut conns)?;
            } else if let Some(conn) = conns.get_mut(event.token().0) {
                // The client tells of a connection that broke.
                let _ = conn.reflect(&mut scratch);
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, conns: &mut Vec<Mirror>) -> Fallible<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        stream.set_nodelay(true)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(conns.len()), both)?;
        conns.push(Mirror { stream, outgoing: Vec::new() });
    }
}

/// A connection of the echo server.
struct Mirror {
    stream: TcpStream,
    outgoing: Vec<u8>,
}

impl Mirror {
    fn reflect(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => break,
                Ok(len) => {
                    self.outgoing.extend_from_slice(&scratch[..len]);
                    if len < scratch.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while !self.outgoing.is_empty() {
            let sent = self.stream.write(&self.outgoing)?;
            self.outgoing.drain(..sent);
        }
        Ok(())
    }
}
