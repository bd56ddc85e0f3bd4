//! Zab, the protocol of ZooKeeper, as a pure state machine.
//!
//! A [`node::Node`] consumes events (a packet came, time passed, the disk is done) and emits
//! actions (send this, write that). It has no clock, socket, file, thread or randomness of its own,
//! so the very code that runs in production also runs in a simulator, under a model checker, and
//! in the tests of programs that embed it. A [`replica::Replica`] puts an application beside the
//! node, such as the metadata [`tree`], and answers clients.
//!
//! ```text
//!        events                                     actions
//!   datagram, message ─┐                        ┌─► Notify, Connect, Send, Close   (network)
//!   connection opened ─┤    ┌──────────────┐    ├─► Persist, Stage, Checkpoint     (disk)
//!   connection closed ─┼───►│ Node::handle │────┼─► Note, Halt                     (people)
//!   disk completed    ─┤    └──────┬───────┘    │
//!   Tick              ─┤           │ upcalls    │
//!   client requests   ─┘    ┌──────▼───────┐    │
//!                           │     App      │────┴─► replies to clients
//!                           └──────────────┘
//! ```
//!
//! # The contract with the runtime
//!
//! * Perform the actions in order: order within one connection, and on the disk, is the order given.
//!   Nothing has to wait for anything else: the core never emits a message that claims something
//!   durable before [`event::Event::Persisted`] has said that it is.
//! * Keep the rules of [`storage`].
//! * Give each connection a fresh [`ids::ConnId`].
//! * Call back with [`event::Event::Tick`] at [`replica::Replica::deadline`], or earlier.
//! * A different seed at each start.
//!
//! # The loop
//!
//! A complete runtime for an ensemble of one, with a disk that completes at once:
//!
//! ```
//! use std::collections::{BTreeMap, VecDeque};
//! use std::sync::Arc;
//! use zabkeeper_core::app::App;
//! use zabkeeper_core::config::Config;
//! use zabkeeper_core::event::{Action, Event};
//! use zabkeeper_core::ids::{Incarnation, NodeId, Ticket, Txid};
//! use zabkeeper_core::quorum::{Member, Membership};
//! use zabkeeper_core::replica::{ClientRequest, Input, Outputs, Replica, Reply, Request};
//! use zabkeeper_core::storage::{Identity, Recovered};
//! use zabkeeper_core::time::{Instant, Now};
//! use zabkeeper_core::tree::{Command, Path, Tree};
//!
//! let node = NodeId::new(1);
//! let member = Member {
//!     voter: true,
//!     incarnation: None,
//!     life: None,
//!     election_addr: "host1:5001".into(),
//!     message_addr: "host1:5002".into(),
//! };
//! let membership = Arc::new(Membership::new(Txid::ZERO, BTreeMap::from([(node, member)])));
//! let identity =
//!     Identity { cluster: membership.cluster_id(), node, incarnation: Incarnation::new(7) };
//! let disk = Recovered::fresh(identity, membership);
//! let now = Now::default();
//! let (mut replica, mut out) = Replica::restore(Config::new(node), disk, Tree::empty(), 1, now)?;
//!
//! let command = Command::Set { path: Path::parse("answer")?, value: b"42".as_slice().into() };
//! let request = ClientRequest {
//!     ticket: Ticket::new(1),
//!     deadline: Instant::from_micros(1_000_000),
//!     request: Request::Write(command.encode()),
//! };
//! let mut inputs = VecDeque::from([Input::Requests(vec![request])]);
//! let mut replies = Vec::new();
//! loop {
//!     for action in std::mem::take(&mut out.actions) {
//!         if let Action::Persist { id, record: _ } = action {
//!             // A real disk writes the record, flushes, and then says so.
//!             inputs.push_back(Input::Event(Event::Persisted(id)));
//!         }
//!     }
//!     replies.append(&mut out.replies);
//!     let Some(input) = inputs.pop_front() else { break };
//!     replica.handle(now, input, &mut out);
//! }
//! let Reply::Written { txid, outcome } = &replies[0].1 else { panic!("{replies:?}") };
//! assert_eq!(txid.to_string(), "1.2"); // 1.1 is the membership.
//! assert_eq!(outcome.unwrap().version, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where things are
//!
//! [`quorum`] is who votes, [`log`] and [`entry`] what they agree on, [`message`] what they say,
//! [`storage`] what must survive. [`node`] dispatches to three roles, which each own what they need
//! and are dropped whole: looking (`election.rs`), following (`follower.rs`), leading (`leader/`).
//! What outlives a role is in `state.rs`, what waits for the disk in `ledger.rs`, what clients wait
//! for in `requests.rs`. `docs/protocol.md` maps each rule of the protocol to its function and test.

#![no_std]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod app;
pub mod client;
mod compaction;
pub mod config;
mod cx;
pub mod digest;
mod election;
pub mod entry;
pub mod error;
pub mod event;
mod follower;
mod fresh;
pub mod ids;
pub mod image;
#[cfg(test)]
mod image_tests;
mod leader;
mod ledger;
pub mod lives;
pub mod log;
pub mod message;
pub mod mutants;
pub mod node;
pub mod note;
pub mod parts;
pub mod plan;
pub mod quorum;
#[cfg(feature = "explore")]
mod rebase;
pub mod replica;
mod requests;
mod retention;
pub mod rng;
mod standing;
mod state;
pub mod status;
pub mod storage;
pub mod time;
pub mod tree;
