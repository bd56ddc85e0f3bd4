//! The journal: one stream of records in segment files.
//!
//! A segment file is made at its full size, zeroed, headed and flushed under another name, and only
//! then named; so a named segment always begins well, flushes into it have no metadata to write,
//! and a segment that is followed by another is complete. Segments that the log has left behind
//! are recycled. Whether a segment can be the oldest one is explained at [`Segment::startable`].

use super::codec;
use super::error::OpenError;
use super::fs::{Fs, JournalFile};
use super::past::{self, Give, Map, SharedMap, past_name};
use super::segment::{self, HEADER, Header, Kind};
use super::summary::{Head, Summary};
use std::path::Path;
use std::{io, mem};
use zabkeeper_core::words::Txid;
use zabkeeper_core::zab::{Keep, Position, Record};

/// Segments that were left behind and wait to be used again, at most: as many as are filled between
/// two checkpoints by default, and one.
const SPARES: usize = 3;

/// What can be chosen about the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalOptions {
    /// Bytes of a segment file. A record that does not fit gets a longer one of its own.
    pub segment_bytes: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { segment_bytes: 8 << 20 }
    }
}

/// A segment that exists on disk.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub number: u64,
    pub size: u64,
    /// The end of the log at the segment's start.
    pub start: Position,
    /// The place of its first byte in the stream.
    pub lsn: u64,
    /// Recovery may begin here once the log itself begins at or behind `start`. It may not if the
    /// log was cut to before `start` later on: that truncation needs the entries before it.
    pub startable: bool,
}

/// A journal open for writing. After an error nothing more may be asked of it.
pub struct Journal<F: Fs> {
    pub(crate) fs: F,
    pub(crate) options: JournalOptions,
    pub(crate) summary: Summary,
    /// Oldest first; the last one is being written.
    pub(crate) segments: Vec<Segment>,
    /// Those before them that are kept for others, oldest first, and what is wanted of them.
    pub(crate) past: Vec<Segment>,
    pub(crate) keep: Keep,
    /// For those who read the log back.
    pub(crate) map: SharedMap,
    pub(crate) spares: Vec<String>,
    pub(crate) file: F::File,
    pub(crate) header: Header,
    /// Everything before this is durable.
    pub(crate) durable: u64,
    /// What follows it.
    pub(crate) buffer: Vec<u8>,
    /// True if something in `buffer`, or in what was flushed last, may be acknowledged.
    pub(crate) claims: bool,
    pub(crate) unwitnessed: bool,
    /// Room for the payload of a record, kept from one to the next.
    pub(crate) payload: Vec<u8>,
    /// The start of the log, according to the records appended, and to those flushed.
    pub(crate) base: Txid,
    pub(crate) durable_base: Txid,
}

impl<F: Fs> Journal<F> {
    /// Writes the first segment of a new journal: the one act that makes a directory a node's.
    pub(crate) fn initialise(
        fs: &F,
        dir: &Path,
        options: JournalOptions,
        head: &Head,
        secret: u64,
    ) -> Result<(), OpenError> {
        // Members that could not be read back would make the directory useless for ever.
        if codec::decode_head(&codec::encode_head(head)).as_ref() != Ok(head) {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "no proper list of members");
            return Err(OpenError::io("initialise", dir)(error));
        }
        make_segment(fs, options, (head, secret), 1, 0, None, 0)
            .map(drop)
            .map_err(OpenError::io("initialise", dir))
    }

    /// Adds a record to what the next flush writes. Writes and flushes by itself only when the
    /// segment is full.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut payload = mem::take(&mut self.payload);
        payload.clear();
        codec::encode_record(record, &mut payload);
        debug_assert_eq!(codec::decode_record(&payload).as_ref(), Ok(record));
        self.make_room(segment::framed(payload.len()))?;
        self.summary
            .apply(record, self.end())
            .map_err(|error| io::Error::other(format!("a record cannot be written: {error}")))?;
        if let Record::Truncate(_) | Record::Install { .. } = record {
            note_truncation(&mut self.segments, record);
            self.publish();
        }
        if let Record::Prune(base) | Record::Install { base, .. } = record {
            self.base = base.at.txid;
        }
        // What is known to be committed may be lost: nobody was told that it is on this disk.
        self.claims |= !matches!(record, Record::Commit(_));
        self.push(Kind::Record, &payload);
        payload.shrink_to(BUFFER_KEPT);
        self.payload = payload;
        Ok(())
    }

    /// Writes and flushes what was appended: one write, one flush. Nothing appended, nothing done.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.file.write_at(&self.buffer, self.durable - self.header.start)?;
        self.file.sync()?;
        self.durable = self.end();
        self.durable_base = self.base;
        self.unwitnessed = mem::take(&mut self.claims);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT);
        Ok(())
    }

    /// Ends a journal in good order: a last note on disk that everything before it was flushed, so
    /// that later damage to it cannot be taken for a write that was cut off.
    pub fn close(mut self) -> io::Result<()> {
        self.mark()
    }

    /// From now on keeps so much of what the log leaves behind.
    pub fn keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    /// Puts aside the segments that the log has left behind, and gives back those that nobody wants.
    /// The log's start is taken from what is flushed. Oldest first, and no name is missing among the
    /// journal's own after a crash.
    pub fn trim(&mut self) -> io::Result<()> {
        let first = |s: &Segment| s.startable && s.start.txid <= self.durable_base;
        let left = self.segments.iter().rposition(first).unwrap_or(0);
        if left == 0 {
            return Ok(());
        }
        let before = self.past.len();
        self.past.extend(self.segments.drain(..left));
        let Some(next) = self.segments.first() else { return Ok(()) };
        let unwanted = past::unwanted(&self.past, next, self.keep, &self.summary.head().cuts);
        let unwanted: Vec<Segment> = self.past.drain(..unwanted).collect();
        self.publish();
        for (index, segment) in unwanted.iter().enumerate() {
            self.give_back(segment, index < before)?;
        }
        for segment in self.past.iter().skip(before.saturating_sub(unwanted.len())) {
            self.fs.rename(&segment_name(segment.number), &past_name(segment.number))?;
            self.fs.sync_names()?;
        }
        Ok(())
    }

    /// Removes what the log has left behind and what is kept for others, oldest first. After an error
    /// the rest is still there, and known.
    pub(crate) fn forget_past(&mut self, give: Give) -> io::Result<()> {
        let count = match (give, self.segments.first()) {
            (Give::Unpinned, Some(next)) => {
                let pinned = Keep { bytes: 0, ..self.keep };
                past::unwanted(&self.past, next, pinned, &self.summary.head().cuts)
            }
            _ => self.past.len(),
        };
        if count == 0 {
            return Ok(());
        }
        let rest = self.past.split_off(count);
        let going = mem::replace(&mut self.past, rest);
        self.publish();
        for (index, segment) in going.iter().enumerate() {
            match self.fs.remove(&past_name(segment.number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    self.past.splice(..0, going.into_iter().skip(index));
                    self.publish();
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes a spare of a segment, or removes it. It was put aside before if it is `past`: then no
    /// recovery depends on its name.
    fn give_back(&mut self, segment: &Segment, past: bool) -> io::Result<()> {
        let name = if past { past_name } else { segment_name }(segment.number);
        if self.spares.len() < SPARES && segment.size == self.options.segment_bytes {
            let spare = spare_name(segment.number);
            self.fs.rename(&name, &spare)?;
            self.spares.push(spare);
        } else {
            self.fs.remove(&name)?;
        }
        if past { Ok(()) } else { self.fs.sync_names() }
    }

    /// Lets readers know which segments there are.
    pub(crate) fn publish(&self) {
        let segments = self.past.iter().chain(&self.segments).cloned().collect();
        let (cuts, origin) = (self.summary.head().cuts.clone(), self.header.origin());
        self.map.publish(Map { segments, cuts, origin });
    }

    /// The spare file that should be made now, if one should: its name and its size. Not before half
    /// of the segment is used, so that little used directories stay small.
    pub(crate) fn wanted_spare(&self) -> Option<(String, u64)> {
        let half = self.header.start + self.header.size / 2;
        let wanted = self.spares.is_empty() && self.end() > half;
        wanted.then(|| (ahead_name(self.header.number + 1), self.options.segment_bytes))
    }

    /// Takes in a spare file that was made: whole and flushed.
    pub(crate) fn add_spare(&mut self, name: String) {
        self.spares.push(name);
    }

    /// Bytes appended and not flushed.
    pub fn unflushed(&self) -> usize {
        self.buffer.len()
    }

    /// True if what was flushed last might be acknowledged, and nothing on disk says yet that it was
    /// flushed: rot there would pass for a write that was cut off.
    pub(crate) fn lacks_witness(&self) -> bool {
        self.unwitnessed
    }

    /// Notes on disk how far the journal is known to be flushed, if there is room for it.
    pub(crate) fn mark(&mut self) -> io::Result<()> {
        self.flush()?;
        self.unwitnessed = false;
        if self.room() >= segment::framed(0) as u64 {
            self.push(Kind::Mark, &[]);
        }
        self.flush()
    }

    fn push(&mut self, kind: Kind, payload: &[u8]) {
        let (seed, lsn) = (self.header.seed(), self.end());
        segment::frame(seed, kind, lsn, self.durable, payload, &mut self.buffer);
    }

    fn end(&self) -> u64 {
        self.durable + self.buffer.len() as u64
    }

    /// Bytes left for records: all but the room for a seal.
    fn room(&self) -> u64 {
        let end = self.header.start + self.header.size - segment::framed(0) as u64;
        end.saturating_sub(self.end())
    }

    /// Begins a new segment if a record of `size` bytes does not fit in the present one.
    fn make_room(&mut self, size: usize) -> io::Result<()> {
        if self.room() >= size as u64 {
            return Ok(());
        }
        // The new segment's name says that everything before it is durable.
        self.flush()?;
        let spare = self.spares.pop();
        let made = match self.make_next(spare.clone(), size) {
            Err(error) if is_full(&error) && !self.past.is_empty() => {
                log::warn!("gives back old segments of the journal, to make a new one: {error}");
                if let Err(error) = self.forget_past(Give::Whole) {
                    log::warn!("cannot give back old segments of the journal: {error}");
                }
                // It was begun, so it cannot be known what it holds.
                let _ = spare.map(|spare| self.fs.remove(&spare));
                self.make_next(None, size)?
            }
            made => made?,
        };
        self.segments.push(Segment {
            number: made.header.number,
            size: made.header.size,
            start: self.summary.last(),
            lsn: made.header.start,
            startable: true,
        });
        self.publish();
        // Now the old segment may say that another follows, so that the loss of that file cannot go
        // unnoticed.
        let mut seal = Vec::new();
        let (old, seed, end) = (self.header, self.header.seed(), self.durable);
        segment::frame(seed, Kind::Seal, end, end, &[], &mut seal);
        self.file.write_at(&seal, end - old.start)?;
        self.file.sync()?;
        (self.file, self.header, self.durable) = (made.file, made.header, made.end);
        Ok(())
    }

    /// Makes the segment after the present one.
    fn make_next(&mut self, spare: Option<String>, size: usize) -> io::Result<Made<F::File>> {
        if let Some(oldest) = self.past.first().or(self.segments.first()) {
            self.summary.forget_cuts(oldest.lsn, oldest.start);
        }
        let (number, head) = (self.header.number + 1, (self.summary.head(), self.header.secret));
        make_segment(&self.fs, self.options, head, number, self.durable, spare, size)
    }
}

/// True if there was no room.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Takes note of segments whose beginning a truncation has cut away.
pub(crate) fn note_truncation(segments: &mut [Segment], record: &Record) {
    if let Record::Truncate(to) = record {
        let beyond = segments.iter_mut().filter(|s| s.start.txid > to.txid);
        beyond.for_each(|segment| segment.startable = false);
    }
}

/// A new segment, open.
struct Made<T> {
    file: T,
    header: Header,
    /// The LSN behind its head.
    end: u64,
}

/// Makes segment `number`, which begins at `start` and has room for a record of `size` bytes:
/// whole and durable under another name before it gets its own.
fn make_segment<F: Fs>(
    fs: &F,
    options: JournalOptions,
    (head, secret): (&Head, u64),
    number: u64,
    start: u64,
    spare: Option<String>,
    size: usize,
) -> io::Result<Made<F::File>> {
    let incarnation = head.identity.incarnation.get();
    let payload = codec::encode_head(head);
    let needed = HEADER + segment::framed(payload.len()) + size + segment::framed(0);
    let needed = needed as u64;
    let fits = needed <= options.segment_bytes;
    let (name, mut file, bytes) = match spare {
        Some(spare) if fits => {
            let file = fs.open(&spare)?;
            (spare, file, options.segment_bytes)
        }
        unused => {
            if let Some(unused) = unused {
                fs.remove(&unused)?;
            }
            let bytes = needed.next_multiple_of(4096).max(options.segment_bytes);
            let name = spare_name(number);
            let file = fs.create(&name, bytes)?;
            (name, file, bytes)
        }
    };
    let header = Header { number, start, incarnation, secret, size: bytes };
    let mut begin = header.encode().to_vec();
    let lsn = start + HEADER as u64;
    segment::frame(header.seed(), Kind::Head, lsn, start, &payload, &mut begin);
    file.write_at(&begin, 0)?;
    file.sync()?;
    fs.rename(&name, &segment_name(number))?;
    fs.sync_names()?;
    Ok(Made { file, header, end: start + begin.len() as u64 })
}

/// A buffer that grew for a large batch is given back down to this.
const BUFFER_KEPT: usize = 256 << 10;

/// The name of a segment file.
pub(crate) fn segment_name(number: u64) -> String {
    format!("journal-{number:010}.zkj")
}

/// The number in the name of a segment file.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("journal-")?.strip_suffix(".zkj")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// The name of a file that may become a segment.
fn spare_name(number: u64) -> String {
    format!("spare-{number:010}.zkj")
}

/// The name of such a file that is made ahead of time.
fn ahead_name(number: u64) -> String {
    format!("spare-ahead-{number:010}.zkj")
}

/// True for files that no segment depends on.
pub(crate) fn is_spare(name: &str) -> bool {
    name.starts_with("spare-") && name.ends_with(".zkj")
}
