//! Names into addresses, without waiting for them: the system's resolver blocks, sometimes for many
//! seconds. Each look-up has a thread of its own, so that one name that hangs holds up no other
//! one; there is at most one for each endpoint.

use mio::Waker;
use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{io, thread};
use zabkeeper_core::words::ConnId;

/// The addresses of a name, or why there is none.
pub(super) type Found = io::Result<VecDeque<SocketAddr>>;

/// The look-ups under way.
#[derive(Debug)]
pub(super) struct Names {
    waker: Arc<Waker>,
    look_up: fn(&str) -> Found,
    tell: Sender<(usize, Found)>,
    told: Receiver<(usize, Found)>,
    /// By endpoint; with the connection that waits for it, if one still does.
    asked: BTreeMap<usize, Option<ConnId>>,
    /// What came when nobody waited any more, or was not used: for the next one.
    late: BTreeMap<usize, Found>,
}

impl Names {
    /// `waker` is woken after each look-up.
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        Self::by(waker, |name| name.to_socket_addrs().map(Iterator::collect))
    }

    fn by(waker: Arc<Waker>, look_up: fn(&str) -> Found) -> Self {
        let (tell, told) = channel();
        Self { waker, look_up, tell, told, asked: BTreeMap::new(), late: BTreeMap::new() }
    }

    /// The addresses of an endpoint, `host:port`. `None` if they have to be looked up:
    /// [`Names::found`] will give them to this connection.
    pub(super) fn find(&mut self, name: &str, conn: ConnId, endpoint: usize) -> Option<Found> {
        if let Ok(addr) = name.parse::<SocketAddr>() {
            return Some(Ok(VecDeque::from([addr])));
        }
        if let Some(found) = self.late.remove(&endpoint) {
            return Some(found);
        }
        if self.asked.insert(endpoint, Some(conn)).is_some() {
            return None;
        }
        let (name, tell, waker) = (name.to_owned(), self.tell.clone(), Arc::clone(&self.waker));
        let look_up = self.look_up;
        let ask = move || {
            let found = look_up(&name);
            // A client that is gone needs neither.
            let _ = tell.send((endpoint, found));
            let _ = waker.wake();
        };
        match thread::Builder::new().name("name".to_owned()).spawn(ask) {
            Ok(_) => None,
            Err(error) => {
                self.asked.remove(&endpoint);
                Some(Err(error))
            }
        }
    }

    /// What was found for those who still wait.
    pub(super) fn found(&mut self) -> Vec<(ConnId, usize, Found)> {
        let mut all = Vec::new();
        while let Ok((endpoint, found)) = self.told.try_recv() {
            match self.asked.remove(&endpoint).flatten() {
                Some(conn) => all.push((conn, endpoint, found)),
                None => {
                    self.late.insert(endpoint, found);
                }
            }
        }
        all
    }

    /// Addresses that were not tried when the time was up: the next attempt begins with them.
    pub(super) fn keep(&mut self, endpoint: usize, rest: VecDeque<SocketAddr>) {
        if !rest.is_empty() {
            self.late.insert(endpoint, Ok(rest));
        }
    }

    /// A connection waits no longer; gives its endpoint if it did.
    pub(super) fn forget(&mut self, conn: ConnId) -> Option<usize> {
        let mut asked = self.asked.iter_mut();
        let (endpoint, waiting) = asked.find(|(_, waiting)| **waiting == Some(conn))?;
        *waiting = None;
        Some(*endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    /// `slow` is looked up until the test ends, `gone` has no address.
    fn look_up(name: &str) -> Found {
        match name {
            "slow:1" => loop {
                thread::park();
            },
            "gone:1" => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(VecDeque::from(["127.0.0.1:1".parse().unwrap()])),
        }
    }

    #[test]
    fn a_name_that_hangs_holds_up_nobody() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut names = Names::by(waker, look_up);
        let conns = [ConnId::new(1), ConnId::new(2), ConnId::new(3), ConnId::new(4)];
        assert!(names.find("slow:1", conns[0], 0).is_none());
        assert_eq!(names.forget(conns[0]), Some(0));
        // Not looked up twice at a time.
        assert!(names.find("slow:1", conns[1], 0).is_none());
        assert!(names.find("good:1", conns[2], 1).is_none());
        assert!(names.find("gone:1", conns[3], 2).is_none());
        let mut found = BTreeMap::new();
        while found.len() < 2 {
            poll.poll(&mut Events::with_capacity(1), Some(LONG)).unwrap();
            let news = names.found().into_iter();
            found.extend(news.map(|(conn, endpoint, found)| ((conn, endpoint), found.is_ok())));
        }
        assert_eq!(found, BTreeMap::from([((conns[2], 1), true), ((conns[3], 2), false)]));
        assert_eq!(names.forget(conns[1]), Some(0));
    }

    #[test]
    fn what_comes_too_late_is_there_for_the_next_attempt() {
        let mut poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let mut names = Names::by(waker, look_up);
        assert!(names.find("good:1", ConnId::new(1), 0).is_none());
        names.forget(ConnId::new(1));
        poll.poll(&mut Events::with_capacity(1), Some(LONG)).unwrap();
        assert!(names.found().is_empty());
        assert!(names.find("good:1", ConnId::new(2), 0).is_some_and(|found| found.is_ok()));
        let number = names.find("127.0.0.1:9", ConnId::new(3), 0).unwrap().unwrap();
        assert_eq!(number, ["127.0.0.1:9".parse().unwrap()]);
    }
}
