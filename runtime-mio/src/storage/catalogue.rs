//! What a stored state consists of.

use super::error::{Damage, OpenError};
use super::table::Table;
use std::path::Path;
use zabkeeper_core::words::{Digest, Epoch, Txid};
use zabkeeper_core::zab::Position;

/// The format of stored states that this release writes and reads, tables included. The one before
/// had every element in sled.
const FORMAT: u32 = 2;
/// Numbers before those of the tables, and of each table.
const META: usize = 6;
const TABLE: usize = 4;

/// What a stored state stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Meta {
    pub generation: u64,
    /// The last entry applied.
    pub applied: Position,
    /// The digest of the application's state.
    pub digest: Digest,
}

/// A stored state: what it stands for, and the tables that hold it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Catalogue {
    pub meta: Meta,
    /// Oldest first: what a newer one says of an element counts.
    pub tables: Vec<Table>,
}

impl Catalogue {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Meta { generation, applied, digest } = self.meta;
        let (epoch, counter) = (applied.txid.epoch().get(), applied.txid.counter());
        let meta = [FORMAT.into(), generation, epoch, counter, applied.chain.get(), digest.get()];
        let tables =
            self.tables.iter().flat_map(|t| [t.number, t.bytes, t.records, t.checksum.into()]);
        meta.into_iter().chain(tables).flat_map(u64::to_be_bytes).collect()
    }

    /// Reads the catalogue found in `dir`, whose name in messages is `name`.
    pub(crate) fn decode(bytes: &[u8], dir: &Path, name: &str) -> Result<Self, OpenError> {
        let numbers = bytes.chunks(8).map(|raw| Some(u64::from_be_bytes(raw.try_into().ok()?)));
        let numbers: Option<Vec<u64>> = numbers.collect();
        let numbers = numbers.unwrap_or_default();
        // The place of the format is the same in every format.
        if let Some(found) = numbers.first().and_then(|n| u32::try_from(*n).ok())
            && found != FORMAT
        {
            let file = dir.to_path_buf();
            return Err(OpenError::Version { file, found, supported: FORMAT });
        }
        let damage = || Damage::new("the list of the state's tables makes no sense", name);
        Ok(Self::from_numbers(&numbers).ok_or_else(damage)?)
    }

    fn from_numbers(numbers: &[u64]) -> Option<Self> {
        let ([_, generation, epoch, counter, chain, digest], tables) =
            numbers.split_first_chunk::<META>()?;
        let txid = Txid::new(Epoch::new(*epoch), *counter)?;
        let applied = Position { txid, chain: Digest::new(*chain) };
        let table = |raw: &[u64]| {
            let [number, bytes, records, checksum] = raw.try_into().ok()?;
            let checksum = u32::try_from(checksum).ok()?;
            Some(Table { number, bytes, records, checksum })
        };
        Some(Self {
            meta: Meta { generation: *generation, applied, digest: Digest::new(*digest) },
            tables: tables.chunks(TABLE).map(table).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_frozen_and_every_cut_is_seen() {
        let applied =
            Position { txid: Txid::new(Epoch::new(2), 3).unwrap(), chain: Digest::new(4) };
        let meta = Meta { generation: 1, applied, digest: Digest::new(5) };
        let table = |number| Table { number, bytes: 7, records: 8, checksum: 9 };
        let whole = Catalogue { meta, tables: vec![table(6), table(10)] };
        let bytes = whole.encode();
        let numbers: Vec<u8> = bytes.chunks(8).map(|raw| raw[7]).collect();
        assert_eq!(numbers, [2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 7, 8, 9]);
        let dir = Path::new("dir");
        assert_eq!(Catalogue::decode(&bytes, dir, "dir").unwrap(), whole);
        for end in (0..bytes.len()).filter(|end| (end / 8) % 4 != 2 || end % 8 != 0) {
            let cut = Catalogue::decode(&bytes[..end], dir, "dir");
            assert!(matches!(cut, Err(OpenError::Damaged(_))), "{end}");
        }
        let mut old = bytes;
        old[7] = 1;
        let error = Catalogue::decode(&old, dir, "dir").unwrap_err();
        assert!(error.to_string().contains("start the release that wrote it"), "{error}");
    }
}
