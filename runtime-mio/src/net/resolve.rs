//! Names into addresses. Numbers are taken as they are; names are looked up on a thread of their
//! own, because the system's resolver blocks, sometimes for many seconds, and the loop must not.
//!
//! A name is looked up again when it is used and the last answer is older than [`FRESH`]: nodes
//! use addresses only while they elect or dial, so a settled ensemble asks nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use zabkeeper_core::time::{Instant, Micros};

const FRESH: Micros = Micros::millis(5_000);

/// The names in use and what is known about them.
pub(crate) struct Names {
    known: BTreeMap<String, Known>,
    ask: Sender<String>,
    answers: Receiver<(String, io::Result<SocketAddr>)>,
}

#[derive(Default)]
struct Known {
    addr: Option<SocketAddr>,
    asked: Option<Instant>,
    waiting: bool,
}

impl Names {
    /// Starts the thread that looks names up; `notify` is called on it after each answer. It ends
    /// when this is dropped. Of several addresses it takes one of version 4 if `ipv4`, else one of
    /// version 6, if there is one: a socket cannot send to the other kind.
    pub(crate) fn start(ipv4: bool, notify: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (ask, asked) = channel::<String>();
        let (answer, answers) = channel();
        std::thread::Builder::new().name("names".to_owned()).spawn(move || {
            for name in asked {
                let found = lookup(&name, ipv4);
                if answer.send((name, found)).is_err() {
                    return;
                }
                notify();
            }
        })?;
        Ok(Self { known: BTreeMap::new(), ask, answers })
    }

    /// The address of `name` (`host:port`), if it is known; asks for it if it is not, or old.
    pub(crate) fn lookup(&mut self, name: &str, now: Instant) -> Option<SocketAddr> {
        if let Ok(addr) = name.parse::<SocketAddr>() {
            return Some(addr);
        }
        if !self.known.contains_key(name) {
            self.known.insert(name.to_owned(), Known::default());
        }
        let known = self.known.get_mut(name)?;
        let old = known.asked.is_none_or(|asked| now.since(asked) > FRESH);
        if old && !known.waiting {
            known.asked = Some(now);
            known.waiting = self.ask.send(name.to_owned()).is_ok();
        }
        known.addr
    }

    /// Takes in the answers that have arrived.
    pub(crate) fn take_answers(&mut self) {
        while let Ok((name, found)) = self.answers.try_recv() {
            let Some(known) = self.known.get_mut(&name) else {
                continue;
            };
            known.waiting = false;
            match found {
                // A name that stops resolving keeps its last address: the resolver may be away.
                Err(error) => log::warn!("{name} cannot be resolved: {error}; will try again"),
                Ok(addr) => {
                    if known.addr.is_some_and(|before| before != addr) {
                        log::info!("{name} is now at {addr}");
                    }
                    known.addr = Some(addr);
                }
            }
        }
    }
}

/// The address of `name`, looked up now. Blocks: for use before the loop starts.
pub(crate) fn resolve_now(name: &str) -> io::Result<SocketAddr> {
    lookup(name, true)
}

fn lookup(name: &str, ipv4: bool) -> io::Result<SocketAddr> {
    let found: Vec<SocketAddr> = name.to_socket_addrs()?.collect();
    let preferred = found.iter().find(|addr| addr.is_ipv4() == ipv4);
    preferred
        .or(found.first())
        .copied()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}
