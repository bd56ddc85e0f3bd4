//! Making journal segments ahead of time. A file of zeros takes tens of milliseconds to write and
//! flush; were it made when it is needed, every write would wait for it.

use super::fs::{Fs, JournalFile};
use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

/// A file to be made: its name and its size.
type Order = (String, u64);

/// The end of the journal's thread: orders files, one at a time, and gets them when they are whole
/// and flushed.
pub(super) struct Spares {
    orders: Sender<Order>,
    made: Receiver<io::Result<String>>,
    waiting: bool,
}

/// The end of the thread that makes them.
pub(super) struct Maker<F> {
    fs: F,
    orders: Receiver<Order>,
    made: Sender<io::Result<String>>,
}

/// Both ends.
pub(super) fn spares<F: Fs>(fs: F) -> (Spares, Maker<F>) {
    let (orders, ordered) = channel();
    let (done, made) = channel();
    (Spares { orders, made, waiting: false }, Maker { fs, orders: ordered, made: done })
}

impl Spares {
    /// True if a file is being made.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Orders a file. A maker that is gone makes none, and the journal makes its own.
    pub(super) fn order(&mut self, name: String, size: u64) {
        self.waiting = self.orders.send((name, size)).is_ok();
    }

    /// The file that was ordered, once it is there, or why it could not be made.
    pub(super) fn take(&mut self) -> Option<io::Result<String>> {
        match self.made.try_recv() {
            Ok(made) => {
                self.waiting = false;
                Some(made)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.waiting = false;
                None
            }
        }
    }
}

impl<F: Fs> Maker<F> {
    /// Makes what is ordered until nobody can order any more.
    pub(super) fn run(self) {
        while let Ok((name, size)) = self.orders.recv() {
            let made = self.make(&name, size).map(|()| name);
            if self.made.send(made).is_err() {
                return;
            }
        }
    }

    fn make(&self, name: &str, size: u64) -> io::Result<()> {
        let made = self.fs.create(name, size).and_then(|mut file| file.sync());
        if made.is_err() {
            // Room that it takes may be what others lack. What is left of it is of no use, and
            // goes at the next start at the latest.
            let _ = self.fs.remove(name);
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tests::forgetful::Forgetful;

    #[test]
    fn what_is_ordered_is_made_and_what_cannot_be_made_is_told() {
        let fs = Forgetful::default();
        let (mut spares, maker) = spares(fs.clone());
        let thread = std::thread::spawn(move || maker.run());
        spares.order("spare-made-1.zkj".into(), 4096);
        assert!(spares.is_waiting());
        let made = loop {
            if let Some(made) = spares.take() {
                break made;
            }
            std::thread::yield_now();
        };
        assert_eq!(made.unwrap(), "spare-made-1.zkj");
        assert_eq!(fs.read("spare-made-1.zkj").unwrap(), vec![0; 4096]);
        assert!(!spares.is_waiting() && spares.take().is_none());
        drop(spares);
        thread.join().unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_made_leaves_nothing_behind() {
        // A directory that takes the name makes the creation fail.
        let dir = tempfile::tempdir().unwrap();
        let fs = crate::storage::fs::DirFs::new(&dir.path().join("missing"));
        let (mut spares, maker) = spares(fs);
        spares.order("spare-made-2.zkj".into(), 4096);
        let Spares { orders, made, .. } = spares;
        drop(orders);
        maker.run();
        assert!(made.recv().unwrap().is_err());
    }
}
