//! What simulated clients ask of the tree: a few flat keys, and values that name the request that
//! wrote them, so that no two writes look alike.

use crate::run::plan::{Op, OpKind};
use zabkeeper_core::store::{Answer, Command, Path, Query};
use zabkeeper_core::words::Payload;

/// The path of a key.
pub fn path(key: u32) -> Path {
    Path::parse(&format!("k/{key}")).expect("two plain segments")
}

/// The value that request number `id` writes: its number, padded to the size asked for.
pub fn value(id: usize, size: u32) -> Payload {
    let mut text = format!("v{id}.").into_bytes();
    text.resize(text.len().max(size as usize), b'.');
    text.into()
}

/// The request that wrote a value.
pub fn writer(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value).ok()?;
    text.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// The command of a write.
pub fn command(id: usize, op: &Op) -> Option<Command> {
    let path = path(op.key);
    match op.kind {
        OpKind::Set => Some(Command::Set { path, value: value(id, op.size) }),
        OpKind::Add => Some(Command::Add { path, value: value(id, op.size) }),
        OpKind::Delete => Some(Command::Delete { path, recursive: false }),
        OpKind::Get | OpKind::Peek | OpKind::List | OpKind::PeekList => None,
    }
}

/// What a read asks; for a write, a read of its key.
pub fn query(op: &Op) -> Query {
    let path = path(op.key);
    match op.kind {
        OpKind::List | OpKind::PeekList => Query::List {
            path: Path::parse("k").expect("a plain segment"),
            recursive: false,
            after: (!op.key.is_multiple_of(2)).then_some(path),
            limit: if op.key.is_multiple_of(3) { 2 } else { u32::MAX },
            values: true,
        },
        OpKind::Set | OpKind::Add | OpKind::Delete | OpKind::Get | OpKind::Peek => {
            Query::Get { path }
        }
    }
}

/// The request whose value a Get found; `None` if it found nothing.
pub fn found(answer: &Answer) -> Option<usize> {
    match answer {
        Answer::Node(Some(found)) => writer(found.value.as_ref()?),
        Answer::Written(_) | Answer::Node(None) | Answer::List(_) | Answer::Status(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_its_writer() {
        assert_eq!(writer(&value(17, 40)), Some(17));
        assert_eq!(writer(&value(0, 0)), Some(0));
        assert_eq!(writer(b"x"), None);
    }
}
