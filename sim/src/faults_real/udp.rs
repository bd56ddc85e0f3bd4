//! The proxy for votes: one socket for each node, at the address by which the others know it. A
//! datagram is passed on from its sender's socket, so that the sender keeps its known address.

use super::weather::{NODES, Weather};
use crate::world::dice::Dice;
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use zabkeeper_core::words::Rng;

const LOOK: Duration = Duration::from_millis(50);
/// A second copy of a datagram comes after at most so many microseconds.
const LATE: u64 = 4_000_000;

struct Late {
    due: Instant,
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

/// Starts the threads: `public[n]` is bound where node `n` is known to be, `private[n]` is where
/// it listens.
pub(super) fn start(
    public: [UdpSocket; NODES],
    private: [SocketAddr; NODES],
    weather: &Arc<Weather>,
    rng: Rng,
) -> std::io::Result<()> {
    let public = Arc::new(public);
    let rng = Arc::new(Mutex::new(rng));
    let (tell, told) = channel();
    for to in 0..NODES {
        public[to].set_read_timeout(Some(LOOK))?;
        let (public, weather) = (Arc::clone(&public), Arc::clone(weather));
        let (rng, tell) = (Arc::clone(&rng), tell.clone());
        thread::spawn(move || {
            receive(&public[to], to, &private, &weather, &rng, &tell);
        });
    }
    let weather = Arc::clone(weather);
    thread::spawn(move || deliver(&told, &public, &private, &weather));
    Ok(())
}

fn receive(
    socket: &UdpSocket,
    to: usize,
    private: &[SocketAddr; NODES],
    weather: &Weather,
    rng: &Mutex<Rng>,
    tell: &Sender<Late>,
) {
    let mut room = vec![0; 64 << 10];
    while !weather.is_over() {
        // Errors are timeouts, and news of datagrams that nobody received.
        let Ok((len, sender)) = socket.recv_from(&mut room) else { continue };
        let Some(from) = private.iter().position(|addr| *addr == sender) else { continue };
        let path = weather.path(from, to);
        let Ok(mut rng) = rng.lock() else { return };
        if !path.open || rng.chance(path.loss) {
            continue;
        }
        let mut delays = vec![rng.between(0, path.delay)];
        if rng.chance(path.twice) {
            delays.push(rng.magnitude(1, LATE));
        }
        drop(rng);
        for delay in delays {
            let due = Instant::now() + Duration::from_micros(delay);
            let _ = tell.send(Late { due, from, to, bytes: room[..len].to_vec() });
        }
    }
}

fn deliver(
    told: &Receiver<Late>,
    public: &[UdpSocket; NODES],
    private: &[SocketAddr; NODES],
    weather: &Weather,
) {
    let mut waiting = BTreeMap::new();
    let mut count = 0u64;
    while !weather.is_over() {
        let first = waiting.first_key_value().map(|((due, _), _): (&(Instant, u64), &Late)| *due);
        let wait = first.map_or(LOOK, |due| due.saturating_duration_since(Instant::now()));
        match told.recv_timeout(wait.min(LOOK)) {
            Ok(late) => {
                count += 1;
                waiting.insert((late.due, count), late);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(entry) = waiting.first_entry()
            && entry.key().0 <= Instant::now()
        {
            let Late { from, to, bytes, .. } = entry.remove();
            // A node that is not there gets nothing.
            let _ = public[from].send_to(&bytes, private[to]);
        }
    }
}
