//! Whatever the disk does to what was not flushed: recovery gives a prefix that reaches at least to
//! the last flush. Whatever happens to what was flushed: recovery says so.

use super::forgetful::{Disk, Forgetful};
use super::random;
use crate::storage::error::OpenError;
use crate::storage::journal::{Journal, JournalOptions, is_spare, segment_name};
use crate::storage::recover;
use std::path::Path;
use zabkeeper_core::words::{Life, Rng};
use zabkeeper_core::zab::{Image, Keep, Record};

/// What a journal consists of: how long its segments are, and how long a command now and then is.
#[derive(Clone, Copy)]
struct Shape {
    options: JournalOptions,
    large: usize,
}

/// Segments of one block.
const SMALL: Shape = Shape { options: JournalOptions { segment_bytes: 4 << 10 }, large: 120 };
/// Records that reach over blocks.
const WIDE: Shape = Shape { options: JournalOptions { segment_bytes: 20 << 10 }, large: 7_000 };
/// Records that reach over segments, and are written in several parts.
const HUGE: Shape = Shape { large: 300_000, ..WIDE };

fn fresh(shape: Shape) -> Forgetful {
    let fs = Forgetful::default();
    Journal::initialise(&fs, Path::new("d"), shape.options, &random::fresh_head(), 99).unwrap();
    fs.moments();
    fs
}

fn image(disk: Disk) -> Result<Image, OpenError> {
    recover::read(&Forgetful::new(disk), Path::new("d")).map(|found| found.image)
}

fn resume(fs: &Forgetful, shape: Shape) -> (Journal<Forgetful>, Image) {
    let found = recover::read(fs, Path::new("d")).expect("an undamaged journal");
    found.resume(fs.clone(), Path::new("d"), shape.options, Life::new(5)).unwrap()
}

/// A journal being written, with all it should amount to.
struct Writer {
    fs: Forgetful,
    shape: Shape,
    journal: Journal<Forgetful>,
    /// After each record since the last flush; the first one is what is flushed.
    images: Vec<Image>,
}

impl Writer {
    fn new(fs: Forgetful, shape: Shape) -> Self {
        let (journal, image) = resume(&fs, shape);
        fs.moments();
        Self { fs, shape, journal, images: vec![image] }
    }

    fn append(&mut self, record: &Record) {
        let mut image = self.images.last().unwrap().clone();
        image.apply(record).expect("a possible record");
        self.images.push(image);
        self.journal.append(record).unwrap();
    }

    fn flush(&mut self) {
        self.journal.flush().unwrap();
        self.images = vec![self.images.pop().unwrap()];
    }

    fn append_random(&mut self, rng: &mut Rng) {
        let record = random::record(self.images.last().unwrap(), self.shape.large, rng);
        self.append(&record);
    }
}

#[test]
fn after_a_power_cut_at_any_moment_a_prefix_up_to_the_last_flush_is_there() {
    let (mut cuts, mut shorter, mut recycled) = (0, 0, 0);
    for seed in 0..48 {
        let mut rng = Rng::new(seed);
        let shape = [SMALL, SMALL, WIDE, if seed < 12 { HUGE } else { WIDE }][seed as usize % 4];
        let mut fs = fresh(shape);
        for _life in 0..6 {
            let mut writer = Writer::new(fs, shape);
            let bytes = rng.below(3) * 20_000;
            writer.journal.keep(Keep { after: None, most: 0, bytes });
            let mut last_cut = None;
            for _group in 0..12 {
                for _record in 0..1 + rng.below(6) {
                    writer.append_random(&mut rng);
                }
                let all = writer.images.clone();
                writer.flush();
                let mut moments = writer.fs.moments();
                // At these moments the records were written but perhaps not flushed.
                for disk in moments.drain(..) {
                    let cut = disk.cut(&mut rng);
                    let found = image(cut.clone()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                    assert!(all.contains(&found), "seed {seed}: not a prefix: {found:?}");
                    shorter += usize::from(all.last() != Some(&found));
                    cuts += 1;
                    last_cut = Some((cut, writer.images.clone()));
                }
                // From here on all of it must be there.
                writer.journal.trim().unwrap();
                let mut moments = writer.fs.moments();
                moments.push(writer.fs.now());
                for disk in moments {
                    let found = image(disk.cut(&mut rng)).unwrap();
                    assert_eq!(Some(&found), all.last(), "seed {seed}: flushed and gone");
                    cuts += 1;
                }
                recycled += writer.fs.now().names().iter().filter(|name| is_spare(name)).count();
            }
            let (disk, _) = last_cut.unwrap();
            fs = Forgetful::new(disk);
        }
    }
    assert!(cuts > 5000 && shorter > 500, "{cuts} cuts, {shorter} of them lost something");
    assert!(recycled > 100, "{recycled}");
}

#[test]
fn a_power_cut_during_recovery_loses_nothing_either() {
    for seed in 100..160 {
        let mut rng = Rng::new(seed);
        let shape = if seed % 2 == 0 { SMALL } else { WIDE };
        let mut writer = Writer::new(fresh(shape), shape);
        for _ in 0..60 {
            writer.append_random(&mut rng);
        }
        writer.flush();
        for _ in 0..5 {
            writer.append_random(&mut rng);
        }
        let disks = {
            let flushed = writer.fs.now();
            writer.journal.flush().unwrap();
            writer.fs.moments();
            [flushed, writer.fs.now()]
        };
        let fs = Forgetful::new(disks[1].cut(&mut rng));
        let found = image(fs.now()).unwrap();
        let (_, first) = resume(&fs, shape);
        // The life that began with the recovery is there or not.
        for disk in fs.moments() {
            let again = image(disk.cut(&mut rng)).unwrap();
            assert!(again == found || again == first, "seed {seed}: {again:?}");
        }
    }
}

#[test]
fn a_lost_record_does_not_come_back_behind_a_new_one_of_its_length() {
    let mut rng = Rng::new(1);
    let mut writer = Writer::new(fresh(SMALL), SMALL);
    let promise = |epoch| {
        Record::Promise(zabkeeper_core::zab::Promise {
            epoch: zabkeeper_core::words::Epoch::new(epoch),
            leader: zabkeeper_core::words::NodeId::new(1),
        })
    };
    for epoch in 1..60 {
        writer.append(&promise(epoch));
    }
    let old = writer.images.clone();
    // The first sector of these records is lost, the others are on disk.
    let cut = (0..2000)
        .find_map(|_| {
            writer.fs.now();
            let before = writer.fs.now();
            let fs = Forgetful::new(before);
            let mut twin = Writer::new(fs, SMALL);
            for epoch in 1..60 {
                twin.append(&promise(epoch));
            }
            twin.fs.moments();
            twin.journal.flush().unwrap();
            let written = twin.fs.moments().pop().unwrap().cut(&mut rng);
            let short = image(written.clone()).unwrap();
            (short.promise.map_or(0, |p| p.epoch.get()) < 5).then_some(written)
        })
        .expect("a cut that loses the beginning and keeps the rest");
    let mut writer = Writer::new(Forgetful::new(cut), SMALL);
    let next = writer.images[0].promise.map_or(1, |p| p.epoch.get() + 1);
    writer.append(&promise(next));
    writer.flush();
    let found = image(writer.fs.now()).unwrap();
    assert_eq!(&found, writer.images.last().unwrap());
    assert!(old.contains(&found));
}

#[test]
fn a_flipped_bit_in_what_was_flushed_is_damage_and_never_a_shorter_journal() {
    let mut rng = Rng::new(3);
    let mut writer = Writer::new(fresh(SMALL), SMALL);
    let mut last_group = Vec::new();
    let mut segments = 0;
    while segments < 3 {
        for _ in 0..4 {
            writer.append_random(&mut rng);
        }
        last_group = writer.images.clone();
        writer.flush();
        segments = writer.journal.segments.len();
    }
    let disk = writer.fs.now();
    let whole = writer.images[0].clone();
    let (mut damaged, mut cut) = (0, 0);
    for name in disk.names() {
        let mut copy = disk.clone();
        let size = copy.bytes(&name).len();
        for byte in 0..size {
            let mut copy = disk.clone();
            copy.bytes(&name)[byte] ^= 1 << rng.below(8);
            match image(copy) {
                Ok(found) if found == whole => {}
                Ok(found) => {
                    // Only the very last flush has no witness.
                    assert!(last_group.contains(&found), "{name} {byte}");
                    cut += 1;
                }
                Err(OpenError::Damaged(_)) => damaged += 1,
                Err(error) => panic!("{name} {byte}: {error}"),
            }
        }
    }
    assert!(damaged > 6000, "{damaged} damaged, {cut} cut");
}

#[test]
fn a_flipped_bit_after_a_clean_end_is_always_damage() {
    let mut rng = Rng::new(4);
    let mut writer = Writer::new(fresh(SMALL), SMALL);
    for _ in 0..15 {
        writer.append_random(&mut rng);
    }
    writer.flush();
    let end = (writer.journal.durable - writer.journal.header.start) as usize;
    let name = segment_name(writer.journal.header.number);
    writer.journal.close().unwrap();
    for byte in 0..end {
        let mut disk = writer.fs.now();
        disk.bytes(&name)[byte] ^= 1 << rng.below(8);
        let found = image(disk);
        assert!(matches!(found, Err(OpenError::Damaged(_))), "byte {byte}");
    }
}

#[test]
fn a_shortened_file_and_a_missing_file_are_damage() {
    let mut rng = Rng::new(5);
    let mut writer = Writer::new(fresh(SMALL), SMALL);
    while writer.journal.segments.len() < 4 {
        writer.append_random(&mut rng);
    }
    writer.flush();
    let disk = writer.fs.now();
    let names = disk.names();
    for (index, name) in names.iter().enumerate() {
        let mut short = disk.clone();
        let size = short.bytes(name).len() as u64;
        short.bytes(name).truncate(rng.below(size) as usize);
        assert!(matches!(image(short), Err(OpenError::Damaged(_))), "{name}");
        if index > 0 {
            let mut missing = disk.clone();
            missing.lose(name);
            let error = image(missing).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("missing"), "{error}");
        }
    }
}

#[test]
fn the_loss_of_the_first_file_is_damage_while_its_entries_are_needed() {
    let mut rng = Rng::new(6);
    let mut writer = Writer::new(fresh(SMALL), SMALL);
    while writer.journal.segments.len() < 3 {
        let record = random::record(writer.images.last().unwrap(), SMALL.large, &mut rng);
        if matches!(record, Record::Append { .. }) {
            writer.append(&record);
        }
    }
    writer.flush();
    let mut disk = writer.fs.now();
    disk.lose(&segment_name(1));
    let error = image(disk).unwrap_err().to_string();
    assert!(error.contains("journal-0000000001.zkj: this file is missing"), "{error}");
}

#[test]
fn a_record_larger_than_a_segment_gets_a_segment_of_its_own() {
    use zabkeeper_core::words::{Epoch, Txid};
    use zabkeeper_core::zab::{Body, Entry};
    let mut writer = Writer::new(fresh(SMALL), SMALL);
    for size in [10, 100_000, 10] {
        let last = writer.images.last().unwrap().log.last();
        let txid = last.txid.next().unwrap_or(Txid::first(Epoch::new(1)));
        let body = Body::Command(vec![7; size].into());
        let entry = Entry::new(last, txid, Default::default(), None, body);
        writer.append(&Record::append(vec![entry]));
        writer.flush();
    }
    assert_eq!(image(writer.fs.now()).unwrap(), writer.images[0]);
}
