//! Whatever was logged, cut, put aside and given back: what is read back is the log.

use super::forgetful::Forgetful;
use super::random;
use crate::storage::journal::{Journal, JournalOptions, segment_name};
use crate::storage::past::{self, Give, Reader, Wanted, past_name};
use crate::storage::recover;
use std::path::Path;
use zabkeeper_core::words::{Life, Rng, Txid};
use zabkeeper_core::zab::{Entry, Image, Keep, Position, Record};

const OPTIONS: JournalOptions = JournalOptions { segment_bytes: 4 << 10 };

/// A journal, its reader, and all that is in the log since a snapshot was installed last.
struct Bench {
    fs: Forgetful,
    journal: Journal<Forgetful>,
    reader: Reader<Forgetful>,
    image: Image,
    start: Position,
    log: Vec<Entry>,
}

impl Bench {
    fn new() -> Self {
        let fs = Forgetful::default();
        Journal::initialise(&fs, Path::new("d"), OPTIONS, &random::fresh_head(), 99).unwrap();
        Self::open(fs, Position::ZERO, Vec::new())
    }

    fn open(fs: Forgetful, start: Position, log: Vec<Entry>) -> Self {
        let found = recover::read(&fs, Path::new("d")).expect("an undamaged journal");
        let resumed = found.resume(fs.clone(), Path::new("d"), OPTIONS, Life::new(5));
        let (journal, image) = resumed.unwrap();
        fs.moments();
        let reader = Reader::new(fs.clone(), journal.map.clone());
        Self { fs, journal, reader, image, start, log }
    }

    fn append(&mut self, record: &Record) {
        self.image.apply(record).expect("a possible record");
        self.journal.append(record).unwrap();
        match record {
            Record::Append { entries, .. } => self.log.extend(entries.iter().cloned()),
            Record::Truncate(to) => self.log.retain(|entry| entry.txid <= to.txid),
            Record::Install { base, .. } => (self.start, self.log) = (base.at, Vec::new()),
            _ => {}
        }
    }

    /// Flushes, puts aside and gives back.
    fn flush(&mut self) {
        self.journal.flush().unwrap();
        self.journal.trim().unwrap();
        self.fs.moments();
    }

    fn floor(&self, txid: Txid) -> Position {
        let before = self.log.iter().rfind(|entry| entry.txid <= txid);
        before.map_or(self.start, Entry::position)
    }

    /// Reads and compares with what it should be; true if there was an answer.
    fn read(&mut self, wanted: Wanted) -> bool {
        let (from, entries) = self.reader.read(wanted);
        let Some(from) = from else {
            assert!(entries.is_empty());
            return false;
        };
        assert_eq!(from, self.floor(wanted.after), "{wanted:?}");
        let rest = self.log.iter().filter(|it| it.txid > wanted.after && it.txid <= wanted.upto);
        let rest: Vec<&Entry> = rest.take(entries.len().max(1)).collect();
        assert_eq!(entries.iter().collect::<Vec<_>>(), rest, "{wanted:?}");
        let bytes: usize = entries.iter().map(Entry::size).sum();
        assert!(entries.len() < 2 || bytes <= wanted.max_bytes);
        true
    }

    /// A question about a place that is, or nearly is, in the log.
    fn question(&self, rng: &mut Rng) -> Wanted {
        let place = |rng: &mut Rng| {
            let index = rng.below(self.log.len() as u64 + 1) as usize;
            let txid = self.log.get(index).map_or(self.start.txid, |entry| entry.txid);
            match rng.below(4) {
                0 => txid.next().unwrap_or(txid),
                _ => txid,
            }
        };
        let (one, other) = (place(rng), place(rng));
        let max_bytes = rng.below(2_000) as usize;
        Wanted { after: one.min(other), upto: one.max(other), max_bytes }
    }

    fn keep(&mut self, after: Option<Txid>, bytes: u64) {
        self.journal.keep(Keep { after, most: u64::MAX, bytes });
    }
}

#[test]
fn what_is_read_back_is_the_log_whatever_was_cut_and_given_back() {
    let (mut past, mut gone, mut installed) = (0, 0, 0);
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let mut bench = Bench::new();
        for life in 0..5 {
            for _group in 0..20 {
                let bytes = rng.below(8) * 8_000;
                let pin = bench.question(&mut rng).after;
                bench.keep(Some(pin).filter(|_| rng.below(2) > 0), bytes);
                for _record in 0..1 + rng.below(8) {
                    let record = random::record(&bench.image, 500, &mut rng);
                    installed += usize::from(matches!(record, Record::Install { .. }));
                    bench.append(&record);
                }
                bench.flush();
                for _question in 0..6 {
                    let wanted = bench.question(&mut rng);
                    let there = bench.read(wanted);
                    past += usize::from(there && wanted.after < bench.image.log.base().at.txid);
                    gone += usize::from(!there);
                }
            }
            if life % 2 == 0 {
                let disk = bench.fs.now().cut(&mut rng);
                bench = Bench::open(Forgetful::new(disk), bench.start, bench.log);
            }
        }
    }
    assert!(past > 2000 && gone > 500 && installed > 30, "{past} {gone} {installed}");
}

/// A journal of many segments whose log starts at its end.
fn long() -> Bench {
    let mut rng = Rng::new(7);
    let mut bench = Bench::new();
    while bench.log.len() < 300 {
        let record = random::record(&bench.image, 500, &mut rng);
        if matches!(record, Record::Append { .. }) {
            bench.append(&record);
        }
    }
    bench.flush();
    bench
}

fn prune(bench: &mut Bench) {
    let at = bench.image.log.last();
    let membership = bench.image.log.membership_at(at.txid);
    bench.append(&Record::Prune(zabkeeper_core::zab::Base { at, membership }));
    bench.flush();
}

fn all(bench: &mut Bench, after: Txid) -> bool {
    let upto = bench.log.last().unwrap().txid;
    bench.read(Wanted { after, upto, max_bytes: usize::MAX })
}

#[test]
fn what_a_follower_needs_is_kept_as_long_as_it_is_not_more_than_agreed() {
    let mut bench = long();
    let (pin, early) = (bench.log[100].txid, bench.log[10].txid);
    bench.keep(Some(pin), 0);
    prune(&mut bench);
    assert!(all(&mut bench, pin) && !all(&mut bench, early));
    let mut bench = long();
    bench.journal.keep(Keep { after: Some(pin), most: 20_000, bytes: 0 });
    prune(&mut bench);
    assert!(!all(&mut bench, pin));
    let mut bench = long();
    bench.keep(None, 20_000);
    prune(&mut bench);
    let kept: u64 = bench.journal.past.iter().map(|segment| segment.size).sum();
    assert!((20_000..25_000).contains(&kept), "{kept}");
}

#[test]
fn what_is_kept_is_there_after_a_restart_and_no_part_of_the_recovery() {
    let mut bench = long();
    prune(&mut bench);
    let segments = bench.journal.past.len();
    assert!(segments > 5, "{segments}");
    // Damage to it is no damage.
    let mut disk = bench.fs.now();
    let first = past_name(bench.journal.past[0].number);
    disk.bytes(&first)[100] ^= 1;
    let (start, log) = (bench.start, std::mem::take(&mut bench.log));
    let early = log[0].txid;
    let mut bench = Bench::open(Forgetful::new(disk), start, log);
    assert_eq!(bench.image.log.len(), 0);
    assert_eq!(bench.journal.past.len(), segments - 1);
    assert!(!bench.fs.now().names().contains(&first));
    let after = bench.journal.past[0].start.txid;
    assert!(all(&mut bench, after) && !all(&mut bench, early));
}

#[test]
fn a_segment_that_is_used_again_while_it_is_read_gives_nothing_wrong() {
    let mut bench = long();
    prune(&mut bench);
    let old = bench.journal.map.clone();
    let stale = old.get();
    bench.keep(None, 0);
    let mut rng = Rng::new(9);
    for _ in 0..400 {
        let record = random::record(&bench.image, 500, &mut rng);
        if matches!(record, Record::Append { .. }) {
            bench.append(&record);
        }
        prune(&mut bench);
    }
    let mut disk = bench.fs.now();
    // Under the name that the reader knows stands what was written since.
    let newest = bench.journal.segments.last().unwrap().number;
    let bytes = disk.bytes(&segment_name(newest)).clone();
    let name = past_name(stale.segments[3].number);
    disk.put(&name, bytes);
    old.publish(stale.clone());
    let mut reader = Reader::new(Forgetful::new(disk), old);
    let after = stale.segments[3].start.txid;
    let (_, entries) = reader.read(Wanted { after, upto: after.max(t_max()), max_bytes: 9_999 });
    assert!(entries.is_empty());
}

fn t_max() -> Txid {
    Txid::new(zabkeeper_core::words::Epoch::new(u64::MAX), 1).unwrap()
}

#[test]
fn what_is_kept_for_others_is_removed_when_the_disk_is_short_of_space() {
    let mut bench = long();
    let early = bench.log[10].txid;
    prune(&mut bench);
    assert!(all(&mut bench, early));
    bench.journal.forget_past(Give::Unpinned).unwrap();
    assert!(!all(&mut bench, early));
    assert!(!has_past(&bench));
}

fn has_past(bench: &Bench) -> bool {
    bench.fs.now().names().iter().any(|name| name.starts_with("past-"))
}

/// Adds entries to the log, none of them known to be committed.
fn append(bench: &mut Bench, rng: &mut Rng) {
    loop {
        if let Record::Append { entries, .. } = random::record(&bench.image, 500, rng) {
            return bench.append(&Record::append(entries));
        }
    }
}

#[test]
fn what_a_follower_is_being_fed_from_stays_when_the_rest_is_removed_for_space() {
    let mut bench = long();
    let (pin, early) = (bench.log[100].txid, bench.log[10].txid);
    bench.keep(Some(pin), u64::MAX);
    prune(&mut bench);
    assert!(all(&mut bench, early));
    bench.journal.forget_past(Give::Unpinned).unwrap();
    assert!(all(&mut bench, pin) && !all(&mut bench, early));
    bench.journal.forget_past(Give::Whole).unwrap();
    assert!(!all(&mut bench, pin) && !has_past(&bench));
}

#[test]
fn what_could_not_be_removed_is_still_known_and_is_removed_later() {
    let mut bench = long();
    prune(&mut bench);
    let third = bench.journal.past[2].clone();
    bench.fs.stick(Some(past_name(third.number)));
    bench.journal.forget_past(Give::Whole).unwrap_err();
    assert_eq!(bench.journal.past[0].number, third.number);
    assert!(bench.journal.past.len() > 3);
    assert!(all(&mut bench, third.start.txid));
    bench.fs.stick(None);
    bench.journal.forget_past(Give::Whole).unwrap();
    assert!(bench.journal.past.is_empty() && !has_past(&bench));
}

#[test]
fn a_full_disk_ends_the_journal_only_if_nothing_is_kept_for_others() {
    let mut bench = long();
    prune(&mut bench);
    let (before, past) = (bench.journal.segments.len(), bench.journal.past.len());
    assert!(past > 5 && bench.journal.spares.is_empty());
    bench.fs.is_full();
    let mut rng = Rng::new(3);
    while bench.journal.segments.len() < before + past {
        append(&mut bench, &mut rng);
    }
    assert!(bench.journal.past.is_empty() && !has_past(&bench));
    bench.journal.flush().unwrap();
    let failure = loop {
        let Record::Append { entries, .. } = random::record(&bench.image, 500, &mut rng) else {
            continue;
        };
        let record = Record::append(entries);
        match bench.journal.append(&record) {
            Ok(()) => bench.image.apply(&record).unwrap(),
            Err(error) => break error,
        }
    };
    assert_eq!(failure.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn all_that_is_kept_for_others_can_go_before_a_start() {
    let mut bench = long();
    prune(&mut bench);
    assert!(has_past(&bench));
    past::discard(&bench.fs).unwrap();
    assert!(!has_past(&bench));
    let bench = Bench::open(bench.fs, bench.start, bench.log);
    assert!(bench.journal.past.is_empty());
}

#[test]
fn the_place_of_a_follower_far_behind_is_known_as_long_as_it_goes_on() {
    let mut bench = long();
    prune(&mut bench);
    let upto = bench.log.last().unwrap().txid;
    let mut slow = 0;
    for turn in 0..60 {
        let after = bench.log[slow].txid;
        assert!(bench.read(Wanted { after, upto, max_bytes: 1 }));
        slow += 1;
        // Another one each time, that does not come back.
        let after = bench.log[100 + 2 * turn].txid;
        assert!(bench.read(Wanted { after, upto, max_bytes: 1 }));
        let place = bench.log[slow].txid;
        assert!(bench.reader.spots.iter().any(|(after, _)| *after == place), "turn {turn}");
    }
    assert_eq!(bench.reader.spots.len(), 16);
}

#[test]
fn one_place_is_kept_of_a_follower_also_when_there_is_nothing_more() {
    let mut bench = long();
    let upto = bench.log.last().unwrap().txid;
    for from in (0..20).chain(298..299) {
        let after = bench.log[from].txid;
        assert!(bench.read(Wanted { after, upto, max_bytes: 1 }));
    }
    let before = bench.reader.spots.len();
    assert!(bench.read(Wanted { after: upto, upto, max_bytes: 1 }));
    assert!(before <= 2 && bench.reader.spots.len() == before, "{before}");
}

/// A journal like that of [`long`], of another directory or of this one in another time.
fn other(secret: u64, seed: u64) -> Bench {
    let fs = Forgetful::default();
    Journal::initialise(&fs, Path::new("d"), OPTIONS, &random::fresh_head(), secret).unwrap();
    let mut bench = Bench::open(fs, Position::ZERO, Vec::new());
    let mut rng = Rng::new(seed);
    while bench.log.len() < 400 {
        append(&mut bench, &mut rng);
    }
    bench.flush();
    prune(&mut bench);
    bench
}

#[test]
fn a_segment_of_another_journal_is_not_one_of_this() {
    // With the same secret it is what remains of a copy of the directory that went its own way.
    for secret in [7777, 99] {
        let mut bench = long();
        prune(&mut bench);
        let count = bench.journal.past.len();
        let swapped = bench.journal.past[count - 3].clone();
        let name = past_name(swapped.number);
        // Its entries at that place have smaller numbers: they would do for a start.
        let mut theirs = other(secret, 19).fs.now();
        let mut disk = bench.fs.now();
        disk.bytes(&name).clone_from(theirs.bytes(&name));
        let (start, log, map) = (bench.start, bench.log.clone(), bench.journal.map.clone());
        // While the journal is open nothing is read from it ...
        bench.reader = Reader::new(Forgetful::new(disk.clone()), map);
        let next = bench.journal.past[count - 2].start.txid;
        let after = log.iter().rfind(|entry| entry.txid < next).unwrap().txid;
        let wanted = Wanted { after, upto: t_max(), max_bytes: 9_999 };
        let (from, entries) = bench.reader.read(wanted);
        assert_eq!((from, entries), (Some(swapped.start), Vec::new()));
        // ... and at a start it goes, with what is before it.
        let mut bench = Bench::open(Forgetful::new(disk), start, log);
        assert_eq!(bench.journal.past.len(), 2, "secret {secret}");
        assert!(!bench.fs.now().names().contains(&name));
        assert!(!all(&mut bench, swapped.start.txid));
    }
}

#[test]
fn truncations_are_forgotten_with_the_segments_that_need_them() {
    let mut rng = Rng::new(4);
    let mut bench = Bench::new();
    bench.keep(None, 20_000);
    for turn in 0..100 {
        for _ in 0..6 {
            append(&mut bench, &mut rng);
        }
        let to = bench.image.log.last();
        append(&mut bench, &mut rng);
        bench.append(&Record::Truncate(to));
        prune(&mut bench);
        assert!(turn < 30 || bench.journal.past.len() > 3, "turn {turn}");
        if turn % 10 == 9 {
            let (fs, start) = (bench.fs.now(), bench.start);
            bench = Bench::open(Forgetful::new(fs), start, bench.log);
            bench.keep(None, 20_000);
        }
    }
    let oldest = bench.journal.past[0].start.txid;
    assert!(all(&mut bench, oldest));
}
