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
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that each write to the disk has.
const RECORD: usize = 256;
/// Bytes of the file that is written again and again.
const FILE: usize = 16 << 20;
const LISTENER: Token = Token(usize::MAX);

/// Writes to a file whose blocks are there already, and syncs its data after each write.
pub(crate) fn disk(dir: &Path, seconds: f64) -> Fallible<Value> {
    let path = dir.join("zabkeeper-peers-disk");
    let told = write_and_sync(&path, seconds);
    // The file holds nothing of use, whatever came of the writes.
    let _ = fs::remove_file(&path);
    told.map_err(|error| format!("{}: {error}", path.display()).into())
}

fn write_and_sync(path: &Path, seconds: f64) -> Fallible<Value> {
    let file = File::create_new(path)?;
    file.write_all_at(&vec![1; FILE], 0)?;
    file.sync_all()?;
    let mut tally = Tally::new()?;
    let (begin, cpu) = (Instant::now(), usage::own_cpu());
    let end = begin + Duration::try_from_secs_f64(seconds)?;
    let (mut at, mut now) = (0, begin);
    while now < end {
        file.write_all_at(&[2; RECORD], at as u64)?;
        file.sync_data()?;
        let done = Instant::now();
        tally.add(done - now);
        now = done;
        at = (at + RECORD) % FILE;
    }
    let ops = tally.count() as f64;
    Ok(json!({
        "per_second": tenths(ops / (now - begin).as_secs_f64()),
        "latency": tally.json(),
        "cpu_per_op": tenths((usage::own_cpu() - cpu).as_secs_f64() * 1e6 / ops),
    }))
}

/// Sends messages over loopback to a thread that sends them back.
pub(crate) fn echo(connections: usize, args: &LoadArgs) -> Fallible<Value> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let addr = listener.local_addr()?;
    thread::Builder::new().name("echo".to_owned()).spawn(move || {
        if let Err(error) = serve(listener) {
            eprintln!("the echo server stopped: {error}");
        }
    })?;
    let plan = Plan {
        protocol: Protocol::Echo,
        nodes: vec![addr],
        connections,
        outstanding: 1,
        value: vec![0; MESSAGE],
        patience: Duration::from_secs(10),
    };
    load::run(plan, 1, args)
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
    fn reflect(&mut self, scratch: &mut [u8]) -> std::io::Result<()> {
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
