//! The bytes of a segment file: a header, then framed records, then zeros or what an earlier life
//! of the file left there.
//!
//! Every record stands at one position of an endless stream (its LSN, in bytes) and says so. A
//! recycled file therefore needs no clearing: what it held before is at the wrong position. The
//! checksums start from a random number that is in the headers and nowhere else, and that nobody is
//! told: so nothing of another disk, and nothing that a client could put into a value, is ever taken
//! for a record.
//!
//! ```text
//! header  magic 8 | version u32 | 0 u32 | number u64 | start LSN u64 | incarnation u64 | size u64 | secret u64 | 0.. | crc
//! record  magic u32 | length u32 | LSN u64 | flushed LSN u64 | kind u32 | crc u32 | payload | 0..7 zeros
//! ```
//! All numbers are little-endian. Records begin at multiples of eight bytes.

/// The format that this release writes and reads.
pub const VERSION: u32 = 1;
/// Bytes of a segment's header.
pub const HEADER: usize = 64;
/// Bytes of a record before its payload.
pub const FRAME: usize = 32;
/// Records begin at multiples of this.
pub const ALIGN: usize = 8;

const MAGIC: [u8; 8] = *b"zkjourn\0";
const RECORD_MAGIC: [u8; 4] = [0xd7, b'z', b'k', b'r'];
const CRC_AT: usize = 28;

/// What a record holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The state at the start of the segment; the first record of every segment, only there.
    Head,
    /// A record of the protocol.
    Record,
    /// Nothing: it only tells how far the stream is known to be flushed.
    Mark,
    /// Nothing: it tells that the next segment exists.
    Seal,
}

/// A segment's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// The segment's number, as in the file's name.
    pub number: u64,
    /// The LSN of the header's first byte. Everything before it was durable when this was written.
    pub start: u64,
    /// The disk that the segment belongs to.
    pub incarnation: u64,
    /// What the checksums of its records start from.
    pub secret: u64,
    /// Bytes of the file: it was made this long before its name was given, and stays so.
    pub size: u64,
}

/// What the segments of a journal have in common, and with those of no other directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Origin {
    incarnation: u64,
    secret: u64,
}

/// Why a header cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderError {
    /// It is not a header, or a damaged one.
    Damaged,
    /// It is of another format.
    Version(u32),
}

/// A record found in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found<'a> {
    pub kind: Kind,
    /// Everything before this LSN was known to be durable when the record was written.
    pub flushed: u64,
    pub payload: &'a [u8],
    /// Bytes that the record takes in the file.
    pub size: usize,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.start.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.incarnation.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.size.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.secret.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..HEADER - 4]);
        bytes[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let Some((body, crc)) = bytes.get(..HEADER).and_then(|b| b.split_at_checked(HEADER - 4))
        else {
            return Err(HeaderError::Damaged);
        };
        if body.get(..8) != Some(&MAGIC) || crc != crc32c::crc32c(body).to_le_bytes() {
            return Err(HeaderError::Damaged);
        }
        // The place of version and checksum is the same in every format.
        match u32_at(body, 8) {
            VERSION => Ok(Self {
                number: u64_at(body, 16),
                start: u64_at(body, 24),
                incarnation: u64_at(body, 32),
                size: u64_at(body, 40),
                secret: u64_at(body, 48),
            }),
            other => Err(HeaderError::Version(other)),
        }
    }

    /// Which journal the segment is of.
    pub(crate) fn origin(&self) -> Origin {
        Origin { incarnation: self.incarnation, secret: self.secret }
    }

    /// Where the checksums of this segment's records start from.
    pub(crate) fn seed(&self) -> u32 {
        crc32c::crc32c(&self.secret.to_le_bytes())
    }
}

/// Bytes that a record of `payload` bytes takes.
pub(crate) const fn framed(payload: usize) -> usize {
    (FRAME + payload).next_multiple_of(ALIGN)
}

/// Adds a record at `lsn` to a buffer.
pub(crate) fn frame(
    seed: u32,
    kind: Kind,
    lsn: u64,
    flushed: u64,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let length = u32::try_from(payload.len()).expect("records are far below 4 GiB");
    let kind: u32 = match kind {
        Kind::Head => 1,
        Kind::Record => 2,
        Kind::Mark => 3,
        Kind::Seal => 4,
    };
    out.extend_from_slice(&RECORD_MAGIC);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&lsn.to_le_bytes());
    out.extend_from_slice(&flushed.to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out.resize(start + framed(payload.len()), 0);
    let record = &mut out[start..];
    let crc = checksum(seed, record);
    record[CRC_AT..FRAME].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the record at `offset` of a segment, if a whole and undamaged one stands there.
pub(crate) fn record_at<'a>(bytes: &'a [u8], offset: usize, header: &Header) -> Option<Found<'a>> {
    let rest = bytes.get(offset..)?;
    if rest.len() < FRAME || rest.get(..4)? != RECORD_MAGIC {
        return None;
    }
    let length = u32_at(rest, 4) as usize;
    let size = framed(length);
    let record = rest.get(..size)?;
    let lsn = header.start.checked_add(offset as u64)?;
    let flushed = u64_at(record, 16);
    if u64_at(record, 8) != lsn || flushed > lsn {
        return None;
    }
    let kind = match u32_at(record, 24) {
        1 => Kind::Head,
        2 => Kind::Record,
        3 => Kind::Mark,
        4 => Kind::Seal,
        _ => return None,
    };
    if u32_at(record, CRC_AT) != checksum(header.seed(), record) {
        return None;
    }
    Some(Found { kind, flushed, payload: record.get(FRAME..FRAME + length)?, size })
}

/// The checksum over everything but its own place.
fn checksum(seed: u32, record: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(seed, &record[..CRC_AT]);
    crc32c::crc32c_append(head, &record[FRAME..])
}

/// The caller has checked that the bytes are there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut raw = [0; N];
    if let Some(part) = bytes.get(at..at + N) {
        raw.copy_from_slice(part);
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER_OF_TEST: Header =
        Header { number: 3, start: 4096, incarnation: 77, secret: 77, size: 8192 };

    fn segment() -> Vec<u8> {
        let mut bytes = HEADER_OF_TEST.encode().to_vec();
        let lsn = HEADER_OF_TEST.start + HEADER as u64;
        frame(HEADER_OF_TEST.seed(), Kind::Record, lsn, 4096, b"metadata", &mut bytes);
        bytes
    }

    #[test]
    fn the_format_is_frozen() {
        let hex: String = segment()[HEADER - 4..].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "6c920ff0d77a6b720800000040100000000000000010000000000000020000003660cab16d65746164617461"
        );
    }

    #[test]
    fn every_flipped_bit_of_a_segment_is_seen() {
        let whole = segment();
        let read = |bytes: &[u8]| {
            let header = Header::decode(bytes).ok()?;
            record_at(bytes, HEADER, &header).map(|found| found.payload.to_vec())
        };
        assert_eq!(read(&whole).as_deref(), Some(b"metadata".as_slice()));
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn a_record_counts_only_at_its_own_position_and_on_its_own_disk() {
        let bytes = segment();
        let moved = Header { start: HEADER_OF_TEST.start + 8, ..HEADER_OF_TEST };
        assert_eq!(record_at(&bytes, HEADER, &moved), None);
        let other_disk = Header { secret: 78, ..HEADER_OF_TEST };
        assert_eq!(record_at(&bytes, HEADER, &other_disk), None);
    }
}
