//! Reading the log back, also what is before its start: for followers that lack it.
//!
//! Segments that the log has left behind are not given back at once: as many as the core wants stay,
//! under another name, so that recovery has nothing to do with them. What they and the journal's own
//! segments hold is read from another thread than writes it, by the list that the writer keeps up to
//! date: where each segment begins, and where the log was cut. With the list a reader knows of every
//! entry that it meets whether it is still in the log, before it has seen the record that cuts it.
//!
//! A file may be renamed or used again while it is read. Records say at which place of the endless
//! stream they stand, and their checksums begin with a secret, so that what is read is a record of
//! that place or nothing.

use super::codec;
use super::fs::Fs;
use super::journal::{Segment, segment_name};
use super::segment::{self, HEADER, Header, Kind, Origin};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use zabkeeper_core::words::Txid;
use zabkeeper_core::zab::{Base, Entry, Keep, Position, Record};

/// Truncations that are remembered. With one more, what is before it cannot be read any more.
const CUTS: usize = 32;
/// Segments that a reader holds in memory, and places where it goes on.
const HELD: usize = 2;
const SPOTS: usize = 16;

/// Where the log was cut, as far back as it can be read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Cuts {
    /// The log before this place of the stream cannot be read: there it ended at `at`.
    pub since: u64,
    pub at: Position,
    /// The place of each truncation after that, and to where it cut.
    pub cuts: Vec<(u64, Txid)>,
}

impl Cuts {
    /// Takes note of a record at `lsn`.
    pub(crate) fn note(&mut self, record: &Record, lsn: u64) {
        match record {
            Record::Truncate(to) if self.cuts.len() < CUTS => self.cuts.push((lsn, to.txid)),
            Record::Truncate(at) | Record::Install { base: Base { at, .. }, .. } => {
                *self = Self { since: lsn, at: *at, cuts: Vec::new() };
            }
            _ => {}
        }
    }

    /// Forgets what was cut before `since`, where the log ended at `at`: nothing before that is kept.
    pub(crate) fn forget(&mut self, since: u64, at: Position) {
        if self.cuts.iter().any(|(lsn, _)| *lsn < since) {
            self.cuts.retain(|(lsn, _)| *lsn >= since);
            (self.since, self.at) = (since, at);
        }
    }

    /// True if what was logged at `lsn` as `txid` is still in the log.
    fn spare(&self, lsn: u64, txid: Txid) -> bool {
        !self.cuts.iter().any(|(cut, to)| *cut >= lsn && *to < txid)
    }
}

/// What can be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    /// Oldest first, without a gap; the last one is being written.
    pub segments: Vec<Segment>,
    pub cuts: Cuts,
    /// Whose segments they are.
    pub origin: Origin,
}

/// The list, shared by the writer and the reader.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedMap(Arc<Mutex<Map>>);

impl SharedMap {
    pub(crate) fn publish(&self, map: Map) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = map;
    }

    pub(crate) fn get(&self) -> Map {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is kept until the core has said what it wants. No follower is known to need it.
pub(crate) fn everything() -> Keep {
    Keep { after: None, most: 0, bytes: u64::MAX }
}

/// How much of what is kept for others goes when the disk is short of space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Give {
    /// What no follower is being fed from.
    Unpinned,
    /// All of it.
    Whole,
}

/// How many of the segments that the log has left behind, oldest first, nobody wants. `next` is the
/// one after them.
pub(crate) fn unwanted(past: &[Segment], next: &Segment, keep: Keep, cuts: &Cuts) -> usize {
    let mut bytes: u64 = past.iter().map(|segment| segment.size).sum();
    for (index, segment) in past.iter().enumerate() {
        let next = past.get(index + 1).unwrap_or(next);
        let pinned = keep.after.is_some_and(|after| next.start.txid > after);
        let wanted = bytes - segment.size < keep.bytes || pinned && bytes <= keep.most;
        if wanted && next.lsn > cuts.since {
            return index;
        }
        bytes -= segment.size;
    }
    past.len()
}

/// The name of a segment that the log has left behind.
pub(crate) fn past_name(number: u64) -> String {
    format!("past-{number:010}.zkj")
}

/// The number in such a name.
pub(crate) fn past_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("past-")?.strip_suffix(".zkj")?;
    let number = digits.parse().ok()?;
    (past_name(number) == name).then_some(number)
}

/// The segments of this journal that an earlier life has kept before `first`, oldest first; what is
/// not one of them goes.
pub(crate) fn find<F: Fs>(fs: &F, first: &Segment, origin: Origin) -> io::Result<Vec<Segment>> {
    let names = fs.names()?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| past_number(name)).collect();
    numbers.sort_unstable();
    let (mut found, mut next) = (Vec::new(), Some(first.clone()));
    for number in numbers.into_iter().rev() {
        next = next.and_then(|next| read_start(fs, number, &next, origin));
        match &next {
            Some(segment) => found.push(segment.clone()),
            None => fs.remove(&past_name(number))?,
        }
    }
    found.reverse();
    Ok(found)
}

/// Removes whatever is kept for others in a directory, without a look into it.
pub(crate) fn discard<F: Fs>(fs: &F) -> io::Result<()> {
    let names = fs.names()?;
    names.iter().filter(|name| past_number(name).is_some()).try_for_each(|name| fs.remove(name))
}

/// Segment `number`, if it is one of this journal's and ends where `next` begins.
fn read_start<F: Fs>(fs: &F, number: u64, next: &Segment, origin: Origin) -> Option<Segment> {
    const HEAD: usize = 256 << 10;
    let name = past_name(number);
    let bytes = fs.read_first(&name, HEAD).ok()?;
    let ours = |it: &Header| it.number == number && it.origin() == origin;
    let header = Header::decode(&bytes).ok().filter(ours)?;
    Some(next.number).filter(|next| number.checked_add(1) == Some(*next))?;
    let end = next.lsn.checked_sub(header.start)?;
    let bytes_of_seal = fs.read_part(&name, end, segment::framed(0)).ok()?;
    segment::record_at(&bytes_of_seal, 0, &Header { start: next.lsn, ..header })
        .filter(|seal| seal.kind == Kind::Seal)?;
    let head = segment::record_at(&bytes, HEADER, &header)?;
    let head = Some(head).filter(|head| head.kind == Kind::Head)?;
    let start = codec::decode_head(head.payload).ok()?.start.at;
    let Header { number, size, start: lsn, .. } = header;
    Some(Segment { number, size, start, lsn, startable: false })
}

/// What was asked for: entries after `after`, up to `upto`, about `max_bytes` of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub after: Txid,
    pub upto: Txid,
    pub max_bytes: usize,
}

/// The last place of the log at or before `after`, and the entries; none if they cannot be read.
pub(crate) type Found = (Option<Position>, Vec<Entry>);

/// Reads the log back.
pub(crate) struct Reader<F> {
    fs: F,
    map: SharedMap,
    /// The last segments that were read, the last one last.
    held: Vec<(Header, Vec<u8>)>,
    /// Where the record of an entry stands that was read last by somebody, as long as nothing is cut.
    /// The one that was used last is the last one.
    pub(crate) spots: Vec<(Txid, Spot)>,
    cuts: Cuts,
}

/// A place in a segment, before which the log ends at `at`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    number: u64,
    offset: usize,
    at: Position,
}

impl<F: Fs> Reader<F> {
    pub(crate) fn new(fs: F, map: SharedMap) -> Self {
        Self { fs, map, held: Vec::new(), spots: Vec::new(), cuts: Cuts::default() }
    }

    /// Reads entries.
    pub(crate) fn read(&mut self, wanted: Wanted) -> Found {
        let map = self.map.get();
        if self.cuts != map.cuts {
            self.spots.clear();
            self.cuts = map.cuts.clone();
        }
        let known = self.spots.iter().position(|(after, _)| *after == wanted.after);
        let known = known.map(|index| self.spots.remove(index).1);
        let known = known.filter(|spot| map.segments.iter().any(|it| it.number == spot.number));
        let Some(spot) = known.or_else(|| map.before(wanted.after)) else {
            return (None, Vec::new());
        };
        let (from, entries, last) = self.walk(&map, wanted, spot);
        // Where nothing was found to go on from, it is asked again from the same place.
        let reached = last.and_then(|spot| Some((entries.last()?.txid, spot)));
        if let Some(spot) = reached.or(known.map(|spot| (wanted.after, spot))) {
            self.spots.retain(|(after, _)| *after != spot.0);
            self.spots.push(spot);
            self.spots.drain(..self.spots.len().saturating_sub(SPOTS));
        }
        (Some(from), entries)
    }

    /// Reads from a place on. The last spot is where the record of the last entry stands.
    fn walk(
        &mut self,
        map: &Map,
        wanted: Wanted,
        spot: Spot,
    ) -> (Position, Vec<Entry>, Option<Spot>) {
        let (mut from, mut entries, mut last) = (spot.at, Vec::new(), None);
        let (mut number, mut offset, mut bytes) = (spot.number, spot.offset, 0);
        let mut fresh = false;
        while let Some(index) = map.segments.iter().position(|it| it.number == number) {
            let next = map.segments.get(index + 1).map(|next| next.lsn);
            let Some((header, content)) = self.segment(map, index, fresh) else { break };
            loop {
                let lsn = header.start + offset as u64;
                if next == Some(lsn) {
                    (number, offset, fresh) = (number + 1, HEADER, false);
                    break;
                }
                let Some(found) = segment::record_at(content, offset, header) else {
                    if fresh {
                        return (from, entries, last);
                    }
                    // There may be more of it by now.
                    fresh = true;
                    break;
                };
                let record = match found.kind {
                    Kind::Record => codec::decode_record(found.payload).ok(),
                    Kind::Head | Kind::Mark | Kind::Seal => None,
                };
                let Some(Record::Append { entries: list, .. }) = record else {
                    offset += found.size;
                    continue;
                };
                let end = entries.last().map_or(from, Entry::position);
                for entry in list.into_iter().filter(|entry| map.cuts.spare(lsn, entry.txid)) {
                    if entry.txid <= wanted.after {
                        from = entry.position();
                        continue;
                    }
                    let ends = entries.last().map_or(from, Entry::position);
                    let fits = entries.is_empty() || bytes + entry.size() <= wanted.max_bytes;
                    if entry.txid > wanted.upto || !fits || entry.follows(ends).is_err() {
                        return (from, entries, last);
                    }
                    bytes += entry.size();
                    entries.push(entry);
                    last = Some(Spot { number, offset, at: end });
                }
                offset += found.size;
            }
        }
        (from, entries, last)
    }

    /// A segment's content, read anew if `fresh`.
    fn segment(&mut self, map: &Map, index: usize, fresh: bool) -> Option<&(Header, Vec<u8>)> {
        let Segment { number, lsn, .. } = *map.segments.get(index)?;
        let held = self.held.iter().position(|(header, _)| header.number == number);
        match held {
            Some(index) if !fresh => {
                let last = self.held.remove(index);
                self.held.push(last);
            }
            stale => {
                if let Some(index) = stale {
                    self.held.remove(index);
                }
                self.held.drain(..self.held.len().saturating_sub(HELD - 1));
                // It gets the other name while it is looked for under the first, at worst.
                let names = [past_name(number), segment_name(number), past_name(number)];
                let content = names.iter().find_map(|name| self.fs.read(name).ok())?;
                let ours = |it: &Header| {
                    it.number == number && it.start == lsn && it.origin() == map.origin
                };
                let header = Header::decode(&content).ok().filter(ours)?;
                self.held.push((header, content));
            }
        }
        self.held.last()
    }
}

impl Map {
    /// The last place known at or before `txid` from which the log can be read.
    fn before(&self, txid: Txid) -> Option<Spot> {
        let cuts = &self.cuts;
        let root = self.segments.iter().rev().find(|segment| segment.lsn <= cuts.since);
        let root = root.map(|segment| {
            let offset = usize::try_from(cuts.since - segment.lsn).unwrap_or(usize::MAX);
            let offset = offset.max(HEADER);
            (cuts.since, Spot { number: segment.number, offset, at: cuts.at })
        });
        let starts = self.segments.iter().filter(|segment| segment.lsn >= cuts.since);
        let starts = starts.map(|segment| {
            let Segment { number, start, lsn, .. } = *segment;
            (lsn, Spot { number, offset: HEADER, at: start })
        });
        let fits =
            |(lsn, spot): &(u64, Spot)| spot.at.txid <= txid && cuts.spare(*lsn, spot.at.txid);
        root.into_iter().chain(starts).rfind(fits).map(|(_, spot)| spot)
    }
}
