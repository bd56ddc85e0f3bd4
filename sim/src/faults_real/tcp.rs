//! The proxies for connections: between nodes, and from clients. Bytes are delayed, held back for
//! as long as their path is closed, or end with a cut; none is ever lost, changed or overtaken, as
//! TCP has it.

use super::weather::{CLIENTS, NODES, Weather};
use crate::world::dice::Dice;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use zabkeeper_core::words::Rng;
use zabkeeper_core::zab::Message;
use zabkeeper_proto::frame::{self, Kind};
use zabkeeper_proto::peer;

/// How often a thread that waits looks whether it should end.
const LOOK: Duration = Duration::from_millis(20);
/// How long opening a connection, or the first words on it, may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A proxy in front of one port of one node.
pub(super) struct Proxy {
    /// Where others connect to.
    pub(super) listener: TcpListener,
    /// Whose port it is.
    pub(super) node: usize,
    /// Where the node listens.
    pub(super) private: SocketAddr,
    /// True if nodes connect to it, false if clients do.
    pub(super) between_nodes: bool,
}

impl Proxy {
    /// Starts to pass connections on.
    pub(super) fn start(self, weather: &Arc<Weather>, rng: Rng) -> std::io::Result<()> {
        self.listener.set_nonblocking(true)?;
        let weather = Arc::clone(weather);
        thread::spawn(move || self.accept(&weather, rng));
        Ok(())
    }

    fn accept(&self, weather: &Arc<Weather>, rng: Rng) {
        let (to, private, between) = (self.node, self.private, self.between_nodes);
        let mut count = 0;
        while !weather.is_over() {
            let Ok((stream, _)) = self.listener.accept() else {
                thread::sleep(Duration::from_millis(2));
                continue;
            };
            count += 1;
            let (weather, rng) = (Arc::clone(weather), rng.split(count));
            // Whatever goes wrong, both ends find the connection closed.
            thread::spawn(move || _ = serve(stream, to, private, between, &weather, &rng));
        }
    }
}

/// One direction of a connection.
struct Flow {
    from: usize,
    to: usize,
    cuts: u64,
    weather: Arc<Weather>,
    /// Set once either direction has ended.
    ended: Arc<AtomicBool>,
}

fn serve(
    mut stream: TcpStream,
    to: usize,
    private: SocketAddr,
    between_nodes: bool,
    weather: &Arc<Weather>,
    rng: &Rng,
) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let mut greeting = Vec::new();
    let from = match between_nodes {
        true => greet(&mut stream, &mut greeting)?,
        false => CLIENTS,
    };
    let ended = Arc::new(AtomicBool::new(false));
    let flow = |from: usize, to: usize| Flow {
        from,
        to,
        cuts: weather.path(from, to).cuts,
        weather: Arc::clone(weather),
        ended: Arc::clone(&ended),
    };
    let (there, back) = (flow(from, to), flow(to, from));
    if !there.pass(0) {
        return Ok(());
    }
    let mut node = TcpStream::connect_timeout(&private, PATIENCE)?;
    node.set_nodelay(true)?;
    node.write_all(&greeting)?;
    let (from_node, to_caller) = (node.try_clone()?, stream.try_clone()?);
    let rng_back = rng.split(1);
    thread::spawn(move || back.run(from_node, to_caller, rng_back));
    there.run(stream, node, rng.split(0));
    Ok(())
}

/// Reads the first message of a node, and tells which node it is.
fn greet(stream: &mut TcpStream, greeting: &mut Vec<u8>) -> std::io::Result<usize> {
    let strange = || std::io::Error::from(ErrorKind::InvalidData);
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut room = [0; 4096];
    loop {
        let len = stream.read(&mut room)?;
        if len == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        greeting.extend_from_slice(&room[..len]);
        let found = frame::parse(greeting, Kind::Peer, frame::MAX_PEER_BODY);
        if let Some(frame) = found.map_err(|_| strange())? {
            let message = peer::decode(&frame).map_err(|_| strange())?;
            let Message::FollowerInfo(info) = message else { return Err(strange()) };
            let node = info.node.get() as usize;
            return (1..=NODES).contains(&node).then(|| node - 1).ok_or_else(strange);
        }
    }
}

impl Flow {
    fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
            || self.weather.is_over()
            || self.weather.path(self.from, self.to).cuts != self.cuts
    }

    /// Waits for so many microseconds, and until the path is open. False if the connection ends.
    fn pass(&self, delay: u64) -> bool {
        let due = Instant::now() + Duration::from_micros(delay);
        loop {
            if self.is_over() {
                return false;
            }
            let open = self.weather.path(self.from, self.to).open;
            let left = due.saturating_duration_since(Instant::now());
            if open && left.is_zero() {
                return true;
            }
            thread::sleep(if left.is_zero() { LOOK / 10 } else { left.min(LOOK) });
        }
    }

    fn run(&self, mut from: TcpStream, mut to: TcpStream, mut rng: Rng) {
        if from.set_read_timeout(Some(LOOK)).is_ok() && to.set_write_timeout(Some(LOOK)).is_ok() {
            let mut room = vec![0; 64 << 10];
            loop {
                // Of a slow path no more than it takes in a twentieth of a second.
                let rate = self.weather.path(self.from, self.to).rate;
                let most = if rate == 0 { room.len() as u64 } else { (rate / 20).max(1) };
                let most = (room.len()).min(most as usize);
                let Some(len) = self.read(&mut from, &mut room[..most]) else { break };
                let path = self.weather.path(self.from, self.to);
                let wire = (len as u64 * 1_000_000).checked_div(path.rate).unwrap_or(0);
                let delay = rng.between(0, path.delay) + wire;
                // The end of a stream travels the same path.
                if !self.pass(delay) || len == 0 || !self.write(&mut to, &room[..len]) {
                    break;
                }
            }
        }
        self.ended.store(true, Ordering::Relaxed);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Reads something; 0 bytes are the end of the stream, `None` that of the connection.
    fn read(&self, from: &mut TcpStream, room: &mut [u8]) -> Option<usize> {
        while !self.is_over() {
            match from.read(room) {
                Ok(len) => return Some(len),
                Err(error) if is_wait(error.kind()) => {}
                // A broken stream ends for its other end, too, when word of it gets there.
                Err(_) => return Some(0),
            }
        }
        None
    }

    fn write(&self, to: &mut TcpStream, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match to.write(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(error) if is_wait(error.kind()) && !self.is_over() => {}
                Err(_) => return false,
            }
        }
        true
    }
}

fn is_wait(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
