//! Writing in whole blocks, as files that are written past the page cache (`O_DIRECT`) must be.
//!
//! The journal appends records of any length. The block in which the last write ended is kept, so
//! that the next one writes it again whole, with what is new in it. That is no less safe than
//! writing through the cache, which writes whole pages too: a block that is written again has the
//! same bytes where records stood, so that a power cut, which may mix the sectors of both, leaves
//! them as they were.

use std::io;

/// Bytes of a block: of the usual ones the largest. A disk or file system that wants larger ones is
/// written through the cache.
pub(crate) const BLOCK: usize = 4 << 10;

/// The most that one write takes.
const PART: usize = 256 << 10;

/// Something that is read and written in whole blocks, whose first byte in memory is at a multiple
/// of [`BLOCK`] as well.
pub(crate) trait WholeBlocks {
    /// Reads one block.
    fn read(&mut self, block: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes blocks.
    fn write(&mut self, blocks: &[u8], offset: u64) -> io::Result<()>;
}

/// Makes whole blocks of what is written.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// Where the last block that was written begins. It is the first in `room`.
    last: Option<u64>,
    room: Room,
}

impl Blocks {
    /// Writes all of `bytes` at `offset`. What stood behind them becomes zeros, up to the end of
    /// the block in which they end. After an error nothing is known about what was written.
    pub(crate) fn write_at(
        &mut self,
        file: &mut impl WholeBlocks,
        mut bytes: &[u8],
        offset: u64,
    ) -> io::Result<()> {
        let mut lead = (offset % BLOCK as u64) as usize;
        let mut first = offset - lead as u64;
        // After an error the room holds no block of the file.
        let last = self.last.take();
        while !bytes.is_empty() {
            let count = bytes.len().min(PART - lead);
            let (part, rest) = bytes.split_at(count);
            let blocks = self.room.blocks((lead + count).div_ceil(BLOCK));
            if lead > 0 && last != Some(first) {
                file.read(&mut blocks[..BLOCK], first)?;
            }
            blocks[lead..lead + count].copy_from_slice(part);
            blocks[lead + count..].fill(0);
            file.write(blocks, first)?;
            let end = blocks.len() - BLOCK;
            if rest.is_empty() {
                blocks.copy_within(end.., 0);
                self.last = Some(first + end as u64);
            }
            first += blocks.len() as u64;
            (lead, bytes) = (0, rest);
        }
        Ok(())
    }
}

/// Memory whose used part begins at a multiple of [`BLOCK`].
#[derive(Debug, Default)]
struct Room(Vec<u8>);

impl Room {
    /// So many blocks: the first as it was left, whatever in the others.
    fn blocks(&mut self, count: usize) -> &mut [u8] {
        let size = count * BLOCK;
        if self.0.len() < size + BLOCK {
            let mut larger = Self(vec![0; size + BLOCK]);
            if !self.0.is_empty() {
                larger.blocks(1).copy_from_slice(self.blocks(1));
            }
            *self = larger;
        }
        let start = self.0.as_ptr().align_offset(BLOCK);
        &mut self.0[start..start + size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file of blocks that counts how often it is read.
    struct Memory {
        bytes: Vec<u8>,
        reads: usize,
    }

    impl WholeBlocks for Memory {
        fn read(&mut self, block: &mut [u8], offset: u64) -> io::Result<()> {
            self.reads += 1;
            let start = usize::try_from(offset).unwrap();
            block.copy_from_slice(&self.bytes[start..start + BLOCK]);
            Ok(())
        }

        fn write(&mut self, blocks: &[u8], offset: u64) -> io::Result<()> {
            let whole = |number: usize| number.is_multiple_of(BLOCK);
            let start = usize::try_from(offset).unwrap();
            assert!(whole(start) && whole(blocks.len()) && whole(blocks.as_ptr() as usize));
            self.bytes[start..start + blocks.len()].copy_from_slice(blocks);
            Ok(())
        }
    }

    fn memory() -> Memory {
        Memory { bytes: vec![0xa5; 3 * PART], reads: 0 }
    }

    #[test]
    fn appending_reads_nothing_but_the_block_where_it_began() {
        let mut file = memory();
        let mut blocks = Blocks::default();
        let mut at = 100;
        for size in [1, 300, 3 * BLOCK, 70, 4096, PART + 5, 1] {
            blocks.write_at(&mut file, &vec![7; size], at).unwrap();
            at += size as u64;
        }
        assert_eq!(file.reads, 1);
        let end = usize::try_from(at).unwrap();
        assert!(file.bytes[..100].iter().all(|byte| *byte == 0xa5));
        assert!(file.bytes[100..end].iter().all(|byte| *byte == 7));
        let padded = end.next_multiple_of(BLOCK);
        assert!(file.bytes[end..padded].iter().all(|byte| *byte == 0));
        assert!(file.bytes[padded..].iter().all(|byte| *byte == 0xa5));
    }

    proptest! {
        #[test]
        fn what_is_written_stands_there_and_what_was_before_it_stays(
            writes in prop::collection::vec(
                (prop_oneof![0..20_000usize, Just(BLOCK), Just(2 * BLOCK - 1)], 1..10_000usize),
                1..12,
            ),
        ) {
            let mut file = Memory { bytes: vec![0xa5; 32 << 10], reads: 0 };
            let mut model = file.bytes.clone();
            let mut blocks = Blocks::default();
            for (number, (at, size)) in writes.into_iter().enumerate() {
                let piece = vec![number as u8 + 1; size];
                blocks.write_at(&mut file, &piece, at as u64).unwrap();
                let end = at + size;
                model[at..end].copy_from_slice(&piece);
                model[end..end.next_multiple_of(BLOCK)].fill(0);
                prop_assert!(file.bytes == model);
            }
        }
    }
}
