//! Clients that take without end: idle ones, ones that send half a request, ones that ask and do
//! not read, ones that ask all the time. They come past the proxies.

use crate::world::dice::Dice;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use zabkeeper_core::store::Op;
use zabkeeper_core::words::Rng;
use zabkeeper_proto::client::{ClientRequest, encode_request};

/// How a flood behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Connections on which nothing is said.
    Idle,
    /// Requests of 1 MiB without their end.
    HalfSent,
    /// Requests whose answers are never read.
    NeverReading,
    /// Requests without a pause.
    Pipelining,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Idle, Self::HalfSent, Self::NeverReading, Self::Pipelining];

    /// Any.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        *rng.pick(&Self::ALL)
    }
}

/// A flood that goes on until it is dropped.
pub(super) struct Flood {
    over: Arc<AtomicBool>,
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Flood {
    /// So many clients of this kind turn to a node.
    pub(super) fn start(addr: SocketAddr, kind: Kind, clients: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        thread::spawn(move || flow(addr, kind, clients, &told));
        Self { over }
    }
}

fn flow(addr: SocketAddr, kind: Kind, clients: usize, over: &AtomicBool) {
    let mut open: Vec<(TcpStream, usize)> = Vec::new();
    let say = words(kind);
    let mut room = vec![0; 64 << 10];
    while !over.load(Ordering::Relaxed) {
        if open.len() < clients
            && let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(200))
            && stream.set_nonblocking(true).is_ok()
        {
            open.push((stream, 0));
        }
        open.retain_mut(|(stream, said)| {
            let left = say.get(*said..).unwrap_or_default();
            if kind != Kind::NeverReading && matches!(stream.read(&mut room), Ok(0)) {
                return false;
            }
            match stream.write(left) {
                Ok(len) => *said += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) if left.is_empty() => {}
                Err(_) => return false,
            }
            if kind == Kind::Pipelining && *said >= say.len() {
                *said = 0;
            }
            true
        });
        if open.len() >= clients {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What each client of a flood says.
fn words(kind: Kind) -> Vec<u8> {
    let mut bytes = Vec::new();
    let status = |id| ClientRequest { id, timeout_ms: 1_000, op: Op::Status };
    match kind {
        Kind::Idle => {}
        Kind::HalfSent => {
            let path = zabkeeper_core::store::Path::parse("flood").expect("a plain segment");
            let value = vec![0; 1 << 20].into();
            let op = Op::Write(zabkeeper_core::store::Command::Set { path, value });
            encode_request(&ClientRequest { id: 1, timeout_ms: 1_000, op }, &mut bytes);
            bytes.truncate(bytes.len() - 1);
        }
        Kind::NeverReading | Kind::Pipelining => {
            (0..200).for_each(|id| encode_request(&status(id), &mut bytes));
        }
    }
    bytes
}
