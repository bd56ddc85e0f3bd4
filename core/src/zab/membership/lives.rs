//! How a disk proves that it is the one that acknowledged, and not an older copy of it.
//!
//! Each start of a node draws a random token, its *life*, and writes it to the disk before it says
//! a word. An established leader records the present life of each voter in the log. A disk keeps
//! every life that may have been recorded since the last one that it knows to be recorded; a node
//! presents them all. Whoever holds a later record in its log than a disk can show has met a later
//! life of that disk: what is presented is an old or copied directory, which may lack what the
//! later life promised and acknowledged. `docs/decisions/0004-a-disk-proves-itself.md` has the
//! argument.

use crate::words::{Life, Txid};
use alloc::vec::Vec;

/// A life of a voter, as the log records it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Recorded {
    /// The entry that records it.
    pub at: Txid,
    /// The life.
    pub life: Life,
}

/// The lives of a disk that still matter.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Lives {
    /// The last one that the disk knew to be recorded when its present life began.
    pub recorded: Option<Recorded>,
    /// Those begun since that may have been recorded, oldest first. The last is the present one.
    pub drawn: Vec<Life>,
}

impl Lives {
    /// Lives drawn that are kept, at most. A disk comes near only by starting so often, joining
    /// each time, without once coming to know that it was recorded; then the oldest go, which may
    /// have it refused, never trusted wrongly.
    pub const KEPT: usize = 1024;

    /// Those of a disk that has just been initialised.
    pub fn first(life: Life) -> Self {
        Self { recorded: None, drawn: alloc::vec![life] }
    }

    /// The present life, once one has begun.
    pub fn present(&self) -> Option<Life> {
        self.drawn.last().copied()
    }

    /// These lives and a new one. `recorded` is what is known to be recorded by now; `entered` is
    /// false if the present life cannot have been recorded, so that it need not be kept.
    #[must_use]
    pub fn begin(&self, recorded: Option<Recorded>, entered: bool, life: Life) -> Self {
        let mut next = self.clone();
        if !entered {
            next.drawn.pop();
        }
        let own = |known: &Recorded| next.drawn.iter().position(|drawn| *drawn == known.life);
        if let Some(upto) = recorded.as_ref().and_then(own) {
            next.drawn.drain(..=upto);
            next.recorded = recorded;
        }
        next.drawn.push(life);
        next.drawn.drain(..next.drawn.len().saturating_sub(Self::KEPT));
        next
    }

    /// True unless `known`, which another node's log records of this disk, is a life that these do
    /// not know of: then they are not the newest lives of the disk.
    pub fn fit(&self, known: Recorded) -> bool {
        let shown = self.recorded.map(|recorded| recorded.life);
        let behind = self.since() > Some(known.at);
        behind || shown == Some(known.life) || self.drawn.contains(&known.life)
    }

    fn since(&self) -> Option<Txid> {
        self.recorded.map(|recorded| recorded.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Epoch;
    use proptest::prelude::*;

    fn life(raw: u64) -> Life {
        Life::new(raw)
    }

    fn recorded(counter: u64, raw: u64) -> Recorded {
        Recorded { at: Txid::new(Epoch::new(1), counter).unwrap(), life: life(raw) }
    }

    #[test]
    fn a_disk_that_starts_without_a_leader_a_hundred_times_still_fits_what_is_recorded() {
        let mut lives = Lives::first(life(1));
        let known = recorded(1, 1);
        // It entered an epoch once, never knew whether it was recorded, and then found nobody.
        for start in 2..=101 {
            lives = lives.begin(None, start == 2, life(start));
        }
        assert!(lives.fit(known));
        assert_eq!(lives.drawn, [life(1), life(101)], "lives that joined nobody are not kept");
    }

    #[test]
    fn an_older_copy_does_not_fit_once_a_later_life_is_recorded() {
        let copy = Lives::first(life(1));
        let known = recorded(1, 1);
        let later = copy.begin(Some(known), true, life(2));
        let put_back = copy.begin(Some(known), true, life(3));
        assert!(later.fit(known) && put_back.fit(known), "nobody knows better yet");
        let known = recorded(7, 2);
        assert!(later.fit(known));
        assert!(!put_back.fit(known));
        assert!(!copy.fit(known));
    }

    #[test]
    fn a_node_that_is_behind_does_not_refuse_a_disk_that_knows_of_a_later_record() {
        let (first, second) = (recorded(1, 1), recorded(7, 2));
        let lives = Lives::first(life(1)).begin(Some(first), true, life(2));
        let lives = lives.begin(Some(second), true, life(3));
        assert_eq!(lives.drawn, [life(3)], "what came before is not needed any more");
        assert!(lives.fit(first) && lives.fit(second));
        assert!(!lives.fit(recorded(8, 9)));
    }

    proptest! {
        /// A healthy disk goes through starts, records (of its present life, committed or lost
        /// with their leader) and the knowledge of them, in any order: it fits whatever any log
        /// may hold of it. A copy taken before its last start fits nothing recorded after that.
        #[test]
        fn a_healthy_disk_fits_every_record_that_was_ever_made(
            steps in prop::collection::vec((0..4u8, any::<bool>()), 1..60),
        ) {
            let mut lives = Lives::first(life(1));
            let (mut next, mut entered, mut counter) = (2, false, 0);
            let mut made: Vec<Recorded> = Vec::new();
            let mut committed: Option<Recorded> = None;
            let mut copy: Option<(Lives, usize)> = None;
            for (step, flag) in steps {
                match step {
                    0 => {
                        copy = Some((lives.clone(), made.len()));
                        let known = committed.filter(|_| flag);
                        lives = lives.begin(known, entered, life(next));
                        (next, entered) = (next + 1, false);
                    }
                    1 => entered = true,
                    _ if entered => {
                        counter += 1;
                        let entry = recorded(counter, lives.present().unwrap().get());
                        made.push(entry);
                        if flag {
                            committed = Some(entry);
                        }
                    }
                    _ => {}
                }
                for known in &made {
                    prop_assert!(lives.fit(*known), "{lives:?} {known:?}");
                }
            }
            if let Some((copy, before)) = copy {
                let copy = copy.begin(None, true, life(next));
                prop_assert!(made.iter().skip(before).all(|later| !copy.fit(*later)));
            }
        }
    }
}
