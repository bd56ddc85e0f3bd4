//! Reading the journal back: everything that was flushed, or an error that says where it is not.
//!
//! A power cut may leave any part of what was not yet flushed, so the last segment may end in the
//! middle of a record, and that end is cut off. Damage to what *was* flushed must never be taken
//! for such an end: a node with a short log, elected, would truncate acknowledged entries
//! elsewhere. The rule: at the first record that cannot be read, look on; if any later record says
//! that the journal was flushed beyond that point, or another segment follows, this is damage and
//! the node stops. Only the very last flush before a crash leaves no such witness.

use super::codec;
use super::error::{Damage, OpenError};
use super::fs::{Fs, JournalFile};
use super::journal::{
    Journal, JournalOptions, Segment, is_spare, note_truncation, segment_name, segment_number,
};
use super::past::{self, SharedMap};
use super::segment::{self, ALIGN, HEADER, Header, HeaderError, Kind};
use super::summary::{Head, Summary};
use std::io;
use std::path::Path;
use zabkeeper_core::words::{Life, Txid};
use zabkeeper_core::zab::{Image, ImageError, Record};

/// What a journal holds, read and checked; nothing written yet.
pub(crate) struct Found {
    /// The protocol state.
    pub image: Image,
    summary: Summary,
    segments: Vec<Segment>,
    /// Older segments that nothing needs.
    left_behind: Vec<u64>,
    header: Header,
    /// The last segment, where its records end, and up to where they are known to be durable.
    bytes: Vec<u8>,
    end: usize,
    flushed: usize,
}

/// Reads the journal in a directory and changes nothing there: what recovery would find.
///
/// # Errors
/// As those of [`open`](super::open) about the journal. `dir` only serves their texts.
pub fn inspect<F: Fs>(fs: &F, dir: &Path) -> Result<Image, OpenError> {
    Ok(read(fs, dir)?.image)
}

/// True if there is a journal among these files.
pub(crate) fn exists(names: &[String]) -> bool {
    names.iter().any(|name| segment_number(name).is_some())
}

/// Reads the journal in a directory.
pub(crate) fn read<F: Fs>(fs: &F, dir: &Path) -> Result<Found, OpenError> {
    let names = fs.names().map_err(OpenError::io("list", dir))?;
    let mut numbers = consecutive(&names)?;
    let mut left_behind = Vec::new();
    while !numbers.is_empty() {
        match read_from(fs, dir, &numbers)? {
            Some(found) => {
                return Ok(Found { left_behind, ..found });
            }
            None => left_behind.push(numbers.remove(0)),
        }
    }
    Err(Damage::new("there is no journal", ".").into())
}

/// Reads the journal from the first of these segments on; `None` if recovery cannot begin there,
/// because a crash came while several old segments were given back.
fn read_from<F: Fs>(fs: &F, dir: &Path, numbers: &[u64]) -> Result<Option<Found>, OpenError> {
    let mut replay = Replay::default();
    let mut tail = None;
    let mut following = None;
    for (index, number) in numbers.iter().enumerate() {
        let (header, bytes) = match following.take() {
            Some(read) => read,
            None => read_segment(fs, dir, *number)?,
        };
        following = match numbers.get(index + 1) {
            Some(next) => Some(read_segment(fs, dir, *next)?),
            None => None,
        };
        let next = following.as_ref().map(|(header, _): &(Header, _)| header.start);
        let end = match replay.segment(&header, &bytes, next) {
            Err(_) if replay.uprooted => return Ok(None),
            end => end?,
        };
        tail = Some((header, bytes, end));
    }
    let (Some((header, bytes, end)), Some((image, summary))) = (tail, replay.state) else {
        return Ok(None);
    };
    if summary.head().base < replay.origin {
        // The entries between are in a segment that is not there.
        let before = numbers.first().map_or(0, |first| first.saturating_sub(1));
        return Err(Damage::new("this file is missing", segment_name(before)).into());
    }
    Ok(Some(Found {
        image,
        summary,
        segments: replay.segments,
        left_behind: Vec::new(),
        header,
        bytes,
        end,
        flushed: replay.flushed,
    }))
}

impl Found {
    /// Whose journal it is, and for which members it was made.
    pub(crate) fn head(&self) -> &Head {
        self.summary.head()
    }

    /// Goes on writing where the journal ends. First everything read is made durable: a process
    /// that died before its flush leaves records that are readable now and would be gone after a
    /// power cut. Then the node's next life begins.
    pub(crate) fn resume<F: Fs>(
        self,
        fs: F,
        dir: &Path,
        options: JournalOptions,
        life: Life,
    ) -> Result<(Journal<F>, Image), OpenError> {
        let node = self.head().identity.node;
        let resume = || -> io::Result<(Journal<F>, Image)> {
            let file = self.clean_tail(&fs)?;
            // Whether a spare was made whole is not known: they are not worth finding out.
            for name in fs.names()?.iter().filter(|name| is_spare(name)) {
                fs.remove(name)?;
            }
            fs.sync_names()?;
            for number in self.left_behind {
                fs.remove(&segment_name(number))?;
                fs.sync_names()?;
            }
            let past = match self.segments.first() {
                Some(first) => past::find(&fs, first, self.header.origin())?,
                None => Vec::new(),
            };
            let base = self.image.log.base().at.txid;
            let mut journal = Journal {
                fs,
                options,
                summary: self.summary,
                segments: self.segments,
                past,
                keep: past::everything(),
                map: SharedMap::default(),
                spares: Vec::new(),
                file,
                durable: self.header.start + self.end as u64,
                header: self.header,
                buffer: Vec::new(),
                claims: false,
                unwitnessed: false,
                payload: Vec::new(),
                base,
                durable_base: base,
            };
            // The present life is on disk before the node says a word; it is also a witness that
            // everything before it was flushed.
            let begin = self.image.begin(node, life);
            journal.append(&begin)?;
            journal.mark()?;
            journal.trim()?;
            journal.publish();
            let mut image = self.image;
            image.apply(&begin).map_err(io::Error::other)?;
            Ok((journal, image))
        };
        resume().map_err(OpenError::io("write the journal in", dir))
    }

    /// Writes what is not known to be durable once more, since a flush alone need not write what an
    /// earlier life failed to, and clears everything behind the end, so that no remnant can come
    /// back to life behind new records of the same length.
    fn clean_tail<F: Fs>(&self, fs: &F) -> io::Result<F::File> {
        let mut file = fs.open(&segment_name(self.header.number))?;
        let mut again = self.bytes.get(self.flushed..self.end).unwrap_or_default().to_vec();
        let tail = self.bytes.get(self.end..).unwrap_or_default();
        let remnant = tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        again.resize(again.len() + remnant, 0);
        if !again.is_empty() {
            file.write_at(&again, self.flushed as u64)?;
        }
        file.sync()?;
        Ok(file)
    }
}

/// The segments' numbers, which must follow each other.
fn consecutive(names: &[String]) -> Result<Vec<u64>, Damage> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    for pair in numbers.windows(2) {
        if let [a, b] = pair
            && a + 1 != *b
        {
            return Err(Damage::new("this file is missing", segment_name(a + 1)));
        }
    }
    Ok(numbers)
}

fn read_segment<F: Fs>(fs: &F, dir: &Path, number: u64) -> Result<(Header, Vec<u8>), OpenError> {
    let name = segment_name(number);
    let path = dir.join(&name);
    let bytes = fs.read(&name).map_err(OpenError::io("read", &path))?;
    let header = Header::decode(&bytes).map_err(|error| match error {
        HeaderError::Damaged => Damage::new("the header cannot be read", &name).at(0).into(),
        HeaderError::Version(found) => {
            OpenError::Version { file: path, found, supported: segment::VERSION }
        }
    })?;
    let (size, found) = (header.size, bytes.len() as u64);
    if size != found {
        let what = format!("the file has {found} bytes; it was made with {size}");
        return Err(Damage::new(what, name).into());
    }
    if header.number != number {
        let what = format!("the file holds segment {}", header.number);
        return Err(Damage::new(what, name).into());
    }
    Ok((header, bytes))
}

/// The fold over all segments.
#[derive(Default)]
struct Replay {
    state: Option<(Image, Summary)>,
    /// Where the log of the oldest segment starts: what precedes it is gone, and so are the
    /// entries that records about it speak of.
    origin: Txid,
    segments: Vec<Segment>,
    /// Up to where the last segment says of itself that it was flushed.
    flushed: usize,
    /// A truncation to before `origin` was met: recovery cannot begin where it did.
    uprooted: bool,
}

impl Replay {
    /// Adds a segment; `next` is where the following one says that this one ends. Gives the offset
    /// of the end.
    fn segment(
        &mut self,
        header: &Header,
        bytes: &[u8],
        next: Option<u64>,
    ) -> Result<usize, OpenError> {
        let name = segment_name(header.number);
        let mut offset = HEADER;
        self.head(header, bytes, &mut offset, &name)?;
        // A segment is made whole, its head included, before it gets its name.
        self.flushed = offset;
        loop {
            let lsn = header.start + offset as u64;
            if next == Some(lsn) {
                return Ok(offset);
            }
            let Some(found) = segment::record_at(bytes, offset, header) else {
                break;
            };
            match found.kind {
                Kind::Record => self.record(found.payload, &name, offset, lsn)?,
                Kind::Mark => {}
                Kind::Seal => {
                    let missing = segment_name(header.number + 1);
                    return Err(Damage::new("this file is missing", missing).into());
                }
                Kind::Head => {
                    return Err(Damage::new("a second head", name).at(offset as u64).into());
                }
            }
            let flushed = found.flushed.saturating_sub(header.start);
            self.flushed = self.flushed.max(usize::try_from(flushed).unwrap_or(0));
            offset += found.size;
        }
        let bad = Damage::new("a record that was flushed cannot be read", name).at(offset as u64);
        if next.is_some() || witness(bytes, offset, header) {
            return Err(bad.into());
        }
        Ok(offset)
    }

    /// Reads a segment's head: the start of everything, or a check of what came before.
    fn head(
        &mut self,
        header: &Header,
        bytes: &[u8],
        offset: &mut usize,
        name: &str,
    ) -> Result<(), OpenError> {
        let damage = |what: String| Damage::new(what, name).at(HEADER as u64);
        let found = segment::record_at(bytes, *offset, header)
            .filter(|found| found.kind == Kind::Head)
            .ok_or_else(|| damage("the segment's head cannot be read".into()))?;
        let head = codec::decode_head(found.payload)
            .map_err(|error| damage(format!("the segment's head makes no sense: {error}")))?;
        if head.identity.incarnation.get() != header.incarnation {
            return Err(damage("the head is of another disk than the header".into()).into());
        }
        match &mut self.state {
            None => {
                let summary = Summary::new(head);
                self.origin = summary.last().txid;
                self.state = Some((summary.image(), summary));
            }
            Some((_, summary)) => {
                summary.forget_cuts(head.cuts.since, head.cuts.at);
                if *summary.head() != head {
                    let what = "the segment does not continue the one before it";
                    return Err(damage(what.into()).into());
                }
            }
        }
        if let Some((_, summary)) = &self.state {
            self.segments.push(Segment {
                number: header.number,
                size: header.size,
                start: summary.last(),
                lsn: header.start,
                startable: true,
            });
        }
        *offset += found.size;
        Ok(())
    }

    fn record(
        &mut self,
        payload: &[u8],
        name: &str,
        offset: usize,
        lsn: u64,
    ) -> Result<(), OpenError> {
        let damage = |what: String| Damage::new(what, name).at(offset as u64);
        let record = codec::decode_record(payload)
            .map_err(|error| damage(format!("a record makes no sense: {error}")))?;
        if let Record::Truncate(to) = &record {
            self.uprooted = to.txid < self.origin;
        }
        if let Some((image, summary)) = &mut self.state {
            fold(image, &record, self.origin)
                .and_then(|()| summary.apply(&record, lsn))
                .map_err(|error| damage(format!("a record does not follow: {error}")))?;
        }
        note_truncation(&mut self.segments, &record);
        Ok(())
    }
}

/// Adds a record to the image. Records about entries before `origin`, whose segments are gone, say
/// nothing any more about the log.
fn fold(image: &mut Image, record: &Record, origin: Txid) -> Result<(), ImageError> {
    match record {
        Record::Prune(base) if base.at.txid < origin => Ok(()),
        _ => image.apply(record),
    }
}

/// True if a record behind `bad` says that the journal was once flushed beyond it.
fn witness(bytes: &[u8], bad: usize, header: &Header) -> bool {
    let lsn = header.start + bad as u64;
    (bad + ALIGN..bytes.len())
        .step_by(ALIGN)
        .filter_map(|offset| segment::record_at(bytes, offset, header))
        .any(|found| found.flushed > lsn)
}
