//! What the generator must know of a protocol to drive a server that speaks it.

mod echo;
mod etcd;
mod zookeeper;

pub(crate) use echo::MESSAGE;

use clap::ValueEnum;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Make a key; one that exists is left as it is.
    Create,
    /// Give an existing key a value.
    Set,
    /// Get a key's value.
    Get,
}

/// Which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The parent of all others; ZooKeeper wants it to exist before them.
    Parent,
    /// One of those that the load uses.
    Child(u32),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parent => f.write_str("/bench"),
            Self::Child(number) => write!(f, "/bench/{number:08}"),
        }
    }
}

/// What a server's bytes meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The connection takes requests from now on.
    Ready,
    /// The request of this slot is answered: with so many bytes at most of a value, or refused.
    Done { slot: u32, result: Result<usize, Refused> },
}

/// A server said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// A server's bytes made no sense, or end the connection. Says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unusable(pub(crate) &'static str);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unusable connection: {}", self.0)
    }
}

impl Error for Unusable {}

/// The client's side of one connection, without the socket: it appends what is to be sent to
/// `out`, and takes whole messages from the front of what was received.
pub(crate) trait Codec {
    /// What a client sends first.
    fn hello(&mut self, out: &mut Vec<u8>);
    /// Sends a request. No other request of this slot is without an answer.
    fn request(&mut self, slot: u32, op: Op, key: Key, value: &[u8], out: &mut Vec<u8>);
    /// Takes the whole messages at the front of `input`, and says how many bytes those were.
    fn parse(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> Result<usize, Unusable>;
    /// Whether the server's flow control allows a request with so long a value now.
    fn has_room(&self, _value_len: usize) -> bool {
        true
    }
    /// Tells the server that a silent client lives.
    fn ping(&mut self, _out: &mut Vec<u8>) {}
    /// Ends what the server keeps for this client.
    fn bye(&mut self, _out: &mut Vec<u8>) {}
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// ZooKeeper's client protocol; reads are local
    Zookeeper,
    /// etcd's KV service, with linearizable reads
    Etcd,
    /// etcd's KV service, with serializable reads: from the node asked, perhaps old
    EtcdLocal,
    /// No protocol: what is sent comes back
    #[value(skip)]
    Echo,
}

impl Protocol {
    /// A codec for a new connection.
    pub(crate) fn codec(self) -> Box<dyn Codec> {
        match self {
            Self::Zookeeper => Box::new(zookeeper::Jute::default()),
            Self::Etcd => Box::new(etcd::Grpc::new(false)),
            Self::EtcdLocal => Box::new(etcd::Grpc::new(true)),
            Self::Echo => Box::new(echo::Echo),
        }
    }
}

/// How long a connection may be silent before `Codec::ping`. ZooKeeper ends sessions that are
/// silent for the time that a client asks for, here 30 s, but for 40 s at most.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);

/// The big-endian number at `at`, if `bytes` has it.
fn int(bytes: &[u8], at: usize) -> Option<i32> {
    let end = at.checked_add(4)?;
    Some(i32::from_be_bytes(bytes.get(at..end)?.try_into().ok()?))
}
