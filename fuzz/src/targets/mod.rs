//! The targets, by name.

mod decoders;
mod state;
mod wire;

pub use crate::events::{node_events, reached};
pub use decoders::{configuration, journal_files, journal_records};
pub use state::{snapshots, tree_commands};
pub use wire::{client_frames, datagrams, peer_frames};

/// A target: bytes in, a panic if anything is wrong.
pub type Target = fn(&[u8]);

/// All targets.
pub const TARGETS: &[(&str, Target)] = &[
    ("datagrams", datagrams),
    ("peer_frames", peer_frames),
    ("client_frames", client_frames),
    ("journal_records", journal_records),
    ("journal_files", journal_files),
    ("configuration", configuration),
    ("snapshots", snapshots),
    ("tree_commands", tree_commands),
    ("node_events", node_events),
];

/// The target of this name.
pub fn by_name(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
