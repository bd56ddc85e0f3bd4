//! The requests of a load, encoded once, so that sending one is a copy.

use super::args::Load;
use crate::cli::exit::Failure;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use zabkeeper_core::store::{Command, Op, Path, Query};
use zabkeeper_core::words::{Payload, ReadLevel, Txid};
use zabkeeper_proto::client::{ClientRequest, encode_request};

/// Whether a request writes or reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Write,
    Read,
}

/// How much memory encoded requests may take. With more keys, each is encoded when it is sent.
const MEMORY: usize = 256 << 20;

/// Encodes requests. A request's id is the number of its key: answers come in the order of the
/// requests on their connection, so it need not be unique.
#[derive(Debug)]
pub(super) struct Frames {
    write: Option<Table>,
    read: Option<Table>,
    maker: Maker,
    keys: u32,
    rng: SmallRng,
    write_share: f64,
}

/// Encoded requests, one after the other; `ends[i]` is where that of key `i` ends.
#[derive(Debug)]
struct Table {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

#[derive(Debug)]
struct Maker {
    value: Payload,
    level: ReadLevel,
    timeout_ms: u32,
}

impl Frames {
    /// The requests of `load` over `keys` keys. Local reads are told of the entry `seen`, so that
    /// a node which is behind it waits instead of missing a key.
    pub(super) fn new(
        load: Load,
        write_share: f64,
        keys: u32,
        value_size: u32,
        seen: Txid,
        timeout_ms: u32,
    ) -> Result<Self, Failure> {
        // The same requests in the same order in every run; the value cannot be compressed.
        let mut rng = SmallRng::seed_from_u64(0x7a6b);
        let value: Vec<u8> = (0..value_size).map(|_| rng.random()).collect();
        let level = match load {
            Load::LocalRead => ReadLevel::Local(seen),
            Load::Write | Load::Read | Load::Mixed => ReadLevel::Linearizable,
        };
        let maker = Maker { value: value.into(), level, timeout_ms };
        let write_share = match load {
            Load::Write => 1.0,
            Load::Read | Load::LocalRead => 0.0,
            Load::Mixed => write_share,
        };
        let kinds = usize::from(write_share > 0.0) + usize::from(write_share < 1.0);
        let write = (write_share > 0.0)
            .then(|| maker.table(Kind::Write, keys, MEMORY / kinds))
            .transpose()?
            .flatten();
        let read = (write_share < 1.0)
            .then(|| maker.table(Kind::Read, keys, MEMORY / kinds))
            .transpose()?
            .flatten();
        Ok(Self { write, read, maker, keys, rng, write_share })
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> u32 {
        self.keys
    }

    /// Which request comes next: a key and what to do with it.
    pub(super) fn draw(&mut self) -> (Kind, u32) {
        let key = self.rng.random_range(0..self.keys);
        let write = self.write_share >= 1.0
            || (self.write_share > 0.0 && self.rng.random_bool(self.write_share));
        (if write { Kind::Write } else { Kind::Read }, key)
    }

    /// Appends a request to `out`.
    pub(super) fn put(&self, kind: Kind, key: u32, out: &mut Vec<u8>) -> Result<(), Failure> {
        let table = match kind {
            Kind::Write => &self.write,
            Kind::Read => &self.read,
        };
        match table.as_ref().and_then(|table| table.get(key)) {
            Some(frame) => {
                out.extend_from_slice(frame);
                Ok(())
            }
            None => self.maker.put(kind, key, out),
        }
    }
}

impl Table {
    fn get(&self, key: u32) -> Option<&[u8]> {
        let key = usize::try_from(key).ok()?;
        let start = match key.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..*self.ends.get(key)?)
    }
}

impl Maker {
    /// All requests of a kind, or `None` if they would take more than `limit` bytes.
    fn table(&self, kind: Kind, keys: u32, limit: usize) -> Result<Option<Table>, Failure> {
        let mut table = Table { bytes: Vec::new(), ends: Vec::new() };
        for key in 0..keys {
            self.put(kind, key, &mut table.bytes)?;
            table.ends.push(table.bytes.len());
            if table.bytes.len() > limit {
                return Ok(None);
            }
        }
        Ok(Some(table))
    }

    fn put(&self, kind: Kind, key: u32, out: &mut Vec<u8>) -> Result<(), Failure> {
        let path = Path::parse(&format!("bench/{key}")).map_err(Failure::usage)?;
        let op = match kind {
            Kind::Write => Op::Write(Command::Set { path, value: self.value.clone() }),
            Kind::Read => Op::Read { query: Query::Get { path }, level: self.level },
        };
        let request = ClientRequest { id: u64::from(key), timeout_ms: self.timeout_ms, op };
        encode_request(&request, out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zabkeeper_proto::client::decode_request;
    use zabkeeper_proto::frame;

    #[test]
    fn prepared_requests_are_those_that_would_be_encoded_on_the_way() {
        let mut frames = Frames::new(Load::Mixed, 0.5, 12, 7, Txid::ZERO, 1000).unwrap();
        let (mut writes, mut reads) = (0, 0);
        for _ in 0..200 {
            let (kind, key) = frames.draw();
            let (mut prepared, mut made) = (Vec::new(), Vec::new());
            frames.put(kind, key, &mut prepared).unwrap();
            frames.maker.put(kind, key, &mut made).unwrap();
            assert_eq!(prepared, made);
            let frame =
                frame::parse(&prepared, frame::Kind::Request, frame::MAX_REQUEST_BODY).unwrap();
            let request = decode_request(&frame.unwrap()).unwrap();
            assert_eq!(request.id, u64::from(key));
            match (kind, request.op) {
                (Kind::Write, Op::Write(Command::Set { path, value })) => {
                    assert_eq!(path.as_str(), format!("bench/{key}"));
                    assert_eq!(value.len(), 7);
                    writes += 1;
                }
                (Kind::Read, Op::Read { level: ReadLevel::Linearizable, .. }) => reads += 1,
                (kind, op) => panic!("{kind:?} {op:?}"),
            }
        }
        assert!(writes > 50 && reads > 50, "{writes} writes, {reads} reads");
    }
}
