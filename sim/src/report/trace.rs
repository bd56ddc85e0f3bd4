//! What happened in a run: as a hash, to compare runs, and on request as text, to read them.

use crate::report::view::record::Record;
use std::hash::{Hash, Hasher};

/// A hash of fixed definition over everything that is fed to it.
#[derive(Clone, Debug)]
pub struct TraceHash(u64);

impl Default for TraceHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for TraceHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut raw = [0; 8];
            raw[..word.len()].copy_from_slice(word);
            self.write_u64(u64::from_le_bytes(raw));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product as u64) ^ ((product >> 64) as u64) ^ word.rotate_left(29);
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
}

/// One thing that happened at a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment {
    /// When, in microseconds.
    pub at: u64,
    /// Where: a node's number, or 0 for the world.
    pub node: u32,
    /// What.
    pub what: What,
}

/// The kinds of things that happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// Something came in.
    Input(String),
    /// Something went out.
    Action(String),
    /// A message went out towards a node, to arrive under this number, if it does.
    Sent {
        /// To whom.
        to: u32,
        /// What.
        text: String,
    },
    /// A transition.
    Note(String),
    /// A client was answered.
    Reply(String),
    /// A fault struck, or something in the world changed.
    World(String),
}

impl What {
    /// The text, without its kind.
    pub fn text(&self) -> &str {
        match self {
            Self::Input(text)
            | Self::Action(text)
            | Self::Note(text)
            | Self::Reply(text)
            | Self::World(text)
            | Self::Sent { text, .. } => text,
        }
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, micros) = (self.at / 1_000_000, self.at % 1_000_000);
        write!(f, "+{seconds}.{micros:06}s ")?;
        match self.node {
            0 => write!(f, "   ")?,
            node => write!(f, "n{node} ")?,
        }
        match &self.what {
            What::Input(text) => write!(f, "<- {text}"),
            What::Action(text) => write!(f, "     {text}"),
            What::Sent { to, text } => write!(f, "     -> n{to} {text}"),
            What::Note(text) => write!(f, "   * {text}"),
            What::Reply(text) => write!(f, "     answer {text}"),
            What::World(text) => write!(f, "== {text}"),
        }
    }
}

/// The trace of a run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: TraceHash,
    /// How many steps were taken.
    pub steps: u64,
    /// What happened, if it is kept.
    pub moments: Option<Vec<Moment>>,
    /// What a drawing shows, if it is kept.
    pub view: Option<Box<Record>>,
}

impl Trace {
    /// A trace that keeps the text of what happened if `keep` is true.
    pub fn new(keep: bool) -> Self {
        Self { moments: keep.then(Vec::new), view: keep.then(Box::default), ..Self::default() }
    }

    /// Records something for a drawing, if one is wanted.
    pub fn see(&mut self, what: impl FnOnce(&mut Record)) {
        if let Some(view) = &mut self.view {
            what(view);
        }
    }

    /// Feeds the hash.
    pub fn feed(&mut self, what: &impl Hash) {
        what.hash(&mut self.hash);
    }

    /// The hash of everything fed so far.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// Keeps a moment, if moments are kept.
    pub fn keep(&mut self, at: u64, node: u32, what: impl FnOnce() -> What) {
        if let Some(moments) = &mut self.moments {
            moments.push(Moment { at, node, what: what() });
        }
    }
}
