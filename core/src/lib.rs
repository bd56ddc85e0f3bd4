//! Zab, the protocol of ZooKeeper, as a pure state machine.
//!
//! A [`zab::Node`] consumes events (a packet came, time passed, the disk is done) and emits
//! actions (send this, write that). It has no clock, socket, file, thread or randomness of its own,
//! so the very code that runs in production also runs in a simulator, under a model checker, and
//! in the tests of programs that embed it. A [`Replica`] puts an application beside the
//! node, such as the metadata tree of [`store`], and answers clients.
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
//! # Where to begin
//!
//! [`Replica`] is the one type that a runtime drives, [`App`] the one trait that an application
//! implements; [`store::Tree`] is the application that Zabkeeper replicates. What they are made of
//! lies in wings, each of which knows only those above it:
//!
//! | wing | what it holds |
//! | --- | --- |
//! | [`words`] | ids, time, digests, bytes: what all others speak of |
//! | [`zab`] | how nodes agree on one history: [`zab::Node`], its events and actions, what it stores and says |
//! | [`replica`] | a node and its application in one |
//! | [`store`] | the metadata tree: commands, queries, snapshots |
//! | [`service`] | the half of a node that speaks to clients: order, limits, listings, refusals |
//! | [`client`] | fail-over and retry of a client, on [`words`] only |
//!
//! `docs/protocol.md` maps each rule of the protocol to its function and test.
//!
//! # The contract with the runtime
//!
//! * Perform the actions in order: order within one connection, and on the disk, is the order given.
//!   Nothing has to wait for anything else: the core never emits a message that claims something
//!   durable before [`Event::Persisted`] has said that it is.
//! * Keep the rules of [`zab::Record`].
//! * Give each connection a fresh [`words::ConnId`].
//! * Call back with [`Event::Tick`] at [`Replica::deadline`], or earlier.
//! * A different seed at each start.
//!
//! # The loop
//!
//! A complete runtime for an ensemble of one, with a disk that completes at once:
//!
//! ```
//! use std::collections::{BTreeMap, VecDeque};
//! use std::sync::Arc;
//! use zabkeeper_core::replica::{ClientRequest, Request};
//! use zabkeeper_core::store::{Answer, Command, Path, Tree};
//! use zabkeeper_core::words::{End, Incarnation, Instant, NodeId, Now, Ticket, Txid};
//! use zabkeeper_core::zab::{Identity, Member, Membership, Recovered};
//! use zabkeeper_core::{Action, App, Config, Event, Input, Outputs, Replica};
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
//! let End::Done { txid, answer: Answer::Written(outcome) } = &replies[0].1 else { panic!("{replies:?}") };
//! assert_eq!(txid.to_string(), "1.2"); // 1.1 is the membership.
//! assert_eq!(outcome.unwrap().version, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![no_std]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[macro_use]
mod planted;

pub mod client;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod replica;
pub mod service;
pub mod store;
pub mod words;
pub mod zab;

pub use replica::{App, Input, Outputs, Replica};
pub use zab::{Action, Config, Event};
