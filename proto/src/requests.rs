//! The hot requests, a value to set or add and a node to get, read straight out of a frame: in the
//! form in which the clients of this project send them, without what prost would allocate on the
//! way. Whatever has another form is left to prost; a test compares.

use crate::client::ClientRequest;
use crate::fields::Fields;
use zabkeeper_core::store::{Command, Op, Path, Query};
use zabkeeper_core::words::ReadLevel;

/// The request, if it has that form and is good.
pub(crate) fn read(body: &[u8]) -> Option<ClientRequest> {
    let mut fields = Fields(body);
    let id = fields.number(1)?;
    let timeout_ms = fields.number(2)?.try_into().ok()?;
    let op = match fields.bytes(10)? {
        Some(write) => Op::Write(write_command(write)?),
        None => read_op(fields.bytes(11)??)?,
    };
    fields.end(ClientRequest { id, timeout_ms, op })
}

fn write_command(bytes: &[u8]) -> Option<Command> {
    let mut fields = Fields(bytes);
    let (add, set) = (fields.bytes(1)?, fields.bytes(2)?);
    let mut inner = Fields(match (add, set) {
        (Some(inner), None) | (None, Some(inner)) => inner,
        _ => return None,
    });
    let path = path(&mut inner)?;
    let value = inner.bytes(2)?.unwrap_or_default().into();
    let command = match add {
        Some(_) => Command::Add { path, value },
        None => Command::Set { path, value },
    };
    fields.end(inner.end(command)?)
}

fn read_op(bytes: &[u8]) -> Option<Op> {
    let mut fields = Fields(bytes);
    let level = match (fields.bytes(1)?, fields.bytes(2)?) {
        (Some([]), None) => ReadLevel::Linearizable,
        (None, Some(txid)) => ReadLevel::Local(Fields::txid(txid)?),
        _ => return None,
    };
    let mut inner = Fields(fields.bytes(10)??);
    let query = Query::Get { path: path(&mut inner)? };
    fields.end(Op::Read { query: inner.end(query)?, level })
}

/// The path in the first field.
fn path(fields: &mut Fields<'_>) -> Option<Path> {
    let bytes = fields.bytes(1)?.unwrap_or_default();
    Path::parse(str::from_utf8(bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{strategies, wire};
    use proptest::prelude::*;
    use prost::Message as _;
    use zabkeeper_core::words::{Epoch, Txid};

    fn by_prost(bytes: &[u8]) -> Option<ClientRequest> {
        wire::ClientRequest::decode(bytes).ok()?.try_into().ok()
    }

    fn encoded(request: &ClientRequest) -> Vec<u8> {
        wire::ClientRequest::from(request).encode_to_vec()
    }

    #[test]
    fn the_hot_requests_do_not_need_prost() {
        let path = Path::parse("bench/17").unwrap();
        let value = vec![7; 256].into();
        let local = Txid::new(Epoch::new(3), 1 << 30).unwrap();
        let get = |level| Op::Read { query: Query::Get { path: path.clone() }, level };
        for op in [
            Op::Write(Command::Set { path: path.clone(), value }),
            Op::Write(Command::Add { path: path.clone(), value: Vec::new().into() }),
            get(ReadLevel::Linearizable),
            get(ReadLevel::Local(Txid::ZERO)),
            get(ReadLevel::Local(local)),
        ] {
            for (id, timeout_ms) in [(0, 0), (1 << 62, 5000)] {
                let request = ClientRequest { id, timeout_ms, op: op.clone() };
                assert_eq!(read(&encoded(&request)), Some(request));
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_prost_reads(request in strategies::request()) {
            let bytes = encoded(&request);
            let short = read(&bytes);
            prop_assert!(short.is_none() || short == by_prost(&bytes));
        }

        #[test]
        fn any_bytes_are_read_as_prost_reads_them_or_left_to_it(
            request in strategies::request(),
            at in any::<prop::sample::Index>(),
            change in prop::collection::vec(any::<u8>(), 0..6),
        ) {
            let bytes = strategies::damaged(encoded(&request), at, change);
            let short = read(&bytes);
            prop_assert!(short.is_none() || short == by_prost(&bytes));
        }
    }
}
