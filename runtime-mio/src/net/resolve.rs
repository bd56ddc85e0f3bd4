//! Names into addresses. Numbers are taken as they are; each name is looked up on a thread of its
//! own, because the system's resolver blocks, sometimes for many seconds: neither the loop nor
//! another name waits for it.
//!
//! A name is looked up again when it is used and the last answer is older than [`FRESH`]: nodes
//! use addresses only while they elect or dial, so a settled ensemble asks nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use zabkeeper_core::words::{Instant, Micros};

/// How old an answer may be. Also how long one may take before the operator hears of it.
const FRESH: Micros = Micros::millis(5_000);
/// After how long the operator hears again that a name cannot be resolved: twice as long each
/// time, up to the second.
const AGAIN: (Micros, Micros) = (Micros::millis(30_000), Micros::millis(1_800_000));
/// Look-ups at one time. Each name has one at most.
const THREADS: usize = 32;

type Answer = (String, io::Result<SocketAddr>);
type Resolver = dyn Fn(&str) -> io::Result<SocketAddr> + Send + Sync;

/// The names in use and what is known about them.
pub(crate) struct Names {
    known: BTreeMap<String, Known>,
    resolver: Arc<Resolver>,
    notify: Arc<dyn Fn() + Send + Sync>,
    answer: Sender<Answer>,
    answers: Receiver<Answer>,
    /// How many threads look something up.
    asking: usize,
    /// Where this node listens, until it was told that others cannot reach it there.
    own: Option<SocketAddr>,
}

#[derive(Default)]
struct Known {
    /// Its port means nothing.
    addr: Option<SocketAddr>,
    asked: Option<Instant>,
    waiting: bool,
    silence: Silence,
}

impl Names {
    /// Of a node that listens at `own`; `notify` is called after each answer, on the thread that
    /// found it. Of several addresses it takes one of the same version as `own`, if there is one:
    /// a socket cannot send to the other kind.
    pub(crate) fn new(own: SocketAddr, notify: impl Fn() + Send + Sync + 'static) -> Self {
        let ipv4 = own.is_ipv4();
        Self::with(own, notify, move |host| lookup((host, 0), ipv4))
    }

    fn with(
        own: SocketAddr,
        notify: impl Fn() + Send + Sync + 'static,
        resolver: impl Fn(&str) -> io::Result<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        let (answer, answers) = channel();
        Self {
            known: BTreeMap::new(),
            resolver: Arc::new(resolver),
            notify: Arc::new(notify),
            answer,
            answers,
            asking: 0,
            own: Some(own),
        }
    }

    /// The address of `name` (`host:port`), if it is known; asks for it if it is not, or old.
    pub(crate) fn lookup(&mut self, name: &str, now: Instant) -> Option<SocketAddr> {
        if let Ok(addr) = name.parse::<SocketAddr>() {
            self.compare(name, addr);
            return Some(addr);
        }
        let (host, port) = name.rsplit_once(':')?;
        let port = port.parse().ok()?;
        if !self.known.contains_key(host) {
            self.known.insert(host.to_owned(), Known::default());
        }
        let known = self.known.get_mut(host)?;
        let old = known.asked.is_none_or(|asked| now.since(asked) > FRESH);
        if old && known.waiting {
            known.silence.tell(now, host, &"no name server has answered yet");
        } else if old && self.asking < THREADS {
            known.asked = Some(now);
            match ask(host, &self.resolver, &self.notify, &self.answer) {
                Ok(()) => {
                    known.waiting = true;
                    self.asking += 1;
                }
                Err(error) => known.silence.tell(now, host, &error),
            }
        }
        let found = known.addr.map(|found| SocketAddr::new(found.ip(), port));
        if let Some(addr) = found {
            self.compare(name, addr);
        }
        found
    }

    /// Takes in the answers that have arrived.
    pub(crate) fn take_answers(&mut self, now: Instant) {
        while let Ok((host, found)) = self.answers.try_recv() {
            self.asking = self.asking.saturating_sub(1);
            let Some(known) = self.known.get_mut(&host) else {
                continue;
            };
            known.waiting = false;
            match found {
                // A name that stops resolving keeps its last address: the resolver may be away.
                Err(error) => known.silence.tell(now, &host, &error),
                Ok(addr) => {
                    if known.addr.is_some_and(|before| before != addr) {
                        log::info!("{host} is now at {}", addr.ip());
                    }
                    known.addr = Some(addr);
                    known.silence = Silence::default();
                }
            }
        }
    }

    /// Says once if this node and another cannot meet: one of them is at an address that only its
    /// own machine has.
    fn compare(&mut self, name: &str, addr: SocketAddr) {
        let stranded = |own: &mut SocketAddr| {
            !own.ip().is_unspecified() && own.ip().is_loopback() != addr.ip().is_loopback()
        };
        if let Some(own) = self.own.take_if(stranded) {
            let (inner, cause) = match own.ip().is_loopback() {
                true => ("this node listens on", "what its own name means here, or set ListenIp"),
                false => ("another node is at", "what that name means here"),
            };
            log::warn!(
                "{inner} a loopback address, which other machines cannot reach: this node is at \
                 {own}, {name} is at {addr}; correct {cause} (see /etc/hosts)"
            );
        }
    }
}

/// Begins to look a name up.
fn ask(
    host: &str,
    resolver: &Arc<Resolver>,
    notify: &Arc<dyn Fn() + Send + Sync>,
    answer: &Sender<Answer>,
) -> io::Result<()> {
    let host = host.to_owned();
    let (resolver, notify, answer) = (Arc::clone(resolver), Arc::clone(notify), answer.clone());
    let run = move || {
        let found = resolver(&host);
        if answer.send((host, found)).is_ok() {
            notify();
        }
    };
    std::thread::Builder::new().name("name".to_owned()).spawn(run).map(drop)
}

/// How long a name has not been resolved, as far as the operator was told.
#[derive(Default)]
struct Silence {
    /// When it was told last, and when it is worth telling again.
    told: Option<(Instant, Micros)>,
}

impl Silence {
    fn tell(&mut self, now: Instant, host: &str, why: &dyn std::fmt::Display) {
        if self.is_due(now) {
            log::warn!("{host} cannot be resolved: {why}; trying on");
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let pause = match self.told {
            None => AGAIN.0,
            Some((at, pause)) if now.since(at) >= pause => pause.doubled(AGAIN.1),
            Some(_) => return false,
        };
        self.told = Some((now, pause));
        true
    }
}

/// The address of `name`, looked up now. Blocks: for use before the loop starts.
pub(crate) fn resolve_now(name: &str) -> io::Result<SocketAddr> {
    lookup(name, true)
}

fn lookup(name: impl ToSocketAddrs, ipv4: bool) -> io::Result<SocketAddr> {
    let found: Vec<SocketAddr> = name.to_socket_addrs()?.collect();
    let preferred = found.iter().find(|addr| addr.is_ipv4() == ipv4);
    preferred
        .or(found.first())
        .copied()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_name_that_hangs_holds_up_no_other() {
        let (release, held) = channel::<()>();
        let held = Mutex::new(held);
        let resolver = move |host: &str| {
            if host == "hangs" {
                let _ = held.lock().unwrap().recv();
            }
            Ok(SocketAddr::from(([10, 0, 0, 7], 0)))
        };
        let (notify, notified) = channel();
        let own = SocketAddr::from(([10, 0, 0, 1], 5001));
        let mut names = Names::with(own, move || notify.send(()).unwrap_or_default(), resolver);
        assert_eq!(names.lookup("hangs:1", at(1)), None);
        assert_eq!(names.lookup("works:2", at(1)), None);
        notified.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
        names.take_answers(at(2));
        assert_eq!(names.lookup("works:2", at(2)), Some(SocketAddr::from(([10, 0, 0, 7], 2))));
        assert_eq!(names.lookup("hangs:1", at(20)), None);
        assert_eq!(names.asking, 1, "one look-up for a name, however often it is wanted");
        drop(release);
    }

    #[test]
    fn a_name_that_cannot_be_resolved_is_told_more_and_more_rarely() {
        let mut silence = Silence::default();
        let told: Vec<u64> = (0..3600).filter(|s| silence.is_due(at(*s))).collect();
        assert_eq!(told, [0, 30, 90, 210, 450, 930, 1890]);
    }

    #[test]
    fn loopback_beside_other_machines_is_told_once_and_not_to_nodes_of_one_machine() {
        let compared = |own: [u8; 4], peer: [u8; 4]| {
            let mut names = Names::new(SocketAddr::from((own, 5001)), || {});
            names.lookup(&SocketAddr::from((peer, 5001)).to_string(), at(1));
            names.own.is_none()
        };
        assert!(compared([127, 0, 1, 1], [10, 0, 0, 2]));
        assert!(compared([10, 0, 0, 1], [127, 0, 1, 1]));
        assert!(!compared([127, 0, 0, 1], [127, 0, 0, 2]));
        assert!(!compared([10, 0, 0, 1], [10, 0, 0, 2]));
        assert!(!compared([0, 0, 0, 0], [10, 0, 0, 2]), "every address of the machine");
    }
}
