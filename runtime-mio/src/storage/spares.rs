//! Making journal segments ahead of time. A file of zeros takes tens of milliseconds to write and
//! flush; were it made when it is needed, every write would wait for it.

use super::fs::{Fs, JournalFile};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

/// A file to be made: its name and its size.
type Order = (String, u64);

/// The end of the journal's thread: orders files, one at a time, and gets them when they are whole
/// and flushed.
pub(super) struct Spares {
    orders: Sender<Order>,
    made: Receiver<io::Result<String>>,
    /// What was ordered last.
    last: String,
    /// True until that is made.
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
    let spares = Spares { orders, made, last: String::new(), waiting: false };
    (spares, Maker { fs, orders: ordered, made: done })
}

impl Spares {
    /// Orders a file, unless one is being made, or this one was ordered before: what cannot be made
    /// is not tried twice, and a maker that is gone makes none. The journal makes its own then.
    pub(super) fn order(&mut self, name: String, size: u64) {
        if !self.waiting && self.last != name {
            self.last.clone_from(&name);
            self.waiting = self.orders.send((name, size)).is_ok();
        }
    }

    /// The file that was ordered, once it is there, or why it could not be made.
    pub(super) fn take(&mut self) -> Option<io::Result<String>> {
        let made = self.made.try_recv().ok()?;
        self.waiting = false;
        Some(made)
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
    use crate::storage::fs::DirFs;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Has a maker carry out these orders in a directory. Returns what it made, or could not.
    fn make(dir: &std::path::Path, names: &[&str]) -> Vec<io::Result<String>> {
        let (mut spares, maker) = spares(DirFs::new(dir));
        let mut made = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| maker.run());
            for name in names {
                spares.order((*name).into(), 4096);
                while spares.waiting {
                    made.extend(spares.take());
                    std::thread::yield_now();
                }
            }
            drop(spares);
        });
        made
    }

    #[test]
    fn each_file_is_made_once_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let made = make(dir.path(), &["spare-1.zkj", "spare-1.zkj", "spare-2.zkj"]);
        let made: Vec<String> = made.into_iter().map(Result::unwrap).collect();
        assert_eq!(made, ["spare-1.zkj", "spare-2.zkj"]);
        assert_eq!(fs::read(dir.path().join("spare-1.zkj")).unwrap(), vec![0; 4096]);
    }

    #[test]
    fn what_cannot_be_made_is_told_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spare-1.zkj");
        symlink("/dev/full", &path).unwrap();
        let made = make(dir.path(), &["spare-1.zkj", "spare-1.zkj", "spare-2.zkj"]);
        assert_eq!(made.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true]);
        assert!(fs::symlink_metadata(path).is_err());
    }
}
