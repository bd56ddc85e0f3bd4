//! Zab: how nodes agree on one history. A [`Node`] orders opaque commands; it knows nothing of what
//! they mean, nor of clients' connections.
//!
//! | what | where |
//! | --- | --- |
//! | one event in, actions out; changes of role | `node/` |
//! | looking for a leader, following, leading | `roles/` |
//! | what outlives a role, and what a role may do with it | `state.rs`, `cx.rs`, `retention.rs` |
//! | what waits for the disk, and for clients | `ledger.rs`, `requests.rs` |
//! | who votes, and with which disk | `membership/` |
//! | entries, the log, what the disk holds | `history/` |
//! | what nodes say to each other | `message.rs`, `sync_plan.rs`, `parts.rs` |

mod compaction;
mod config;
mod cx;
mod error;
mod event;
mod fresh;
mod history;
mod ledger;
mod membership;
mod message;
mod node;
mod note;
pub mod parts;
mod requests;
mod retention;
mod roles;
mod standing;
mod state;
mod status;
mod sync_plan;
mod testing;

pub use config::{Config, Limits, Timeouts};
pub use error::{CloseReason, HaltReason, PeerFault, RestoreError};
pub use event::{Action, Actions, Event, Submission, Upcall};
pub use history::entry::{Body, Entry, Gap, Origin, Position};
pub use history::folded::{Image, ImageError};
pub use history::log::Log;
pub use history::storage::{Base, Change, Checkpoint, Identity, Keep, Promise, Record, Recovered};
pub use membership::lives::{Lives, Recorded};
pub use membership::quorum::{Ensemble, Member, Membership};
pub use message::{
    Candidate, EpochAck, FollowerInfo, Forwarded, Item, Message, Rejection, SnapshotHead, Staged,
    Stamp, Stance, Vote,
};
pub use node::Node;
pub use note::{LeaveReason, Note, Unready};
pub use status::{FollowerStatus, Obstacle, RoleStatus, Status, Stray};
pub use sync_plan::{SyncKind, SyncPlan};
