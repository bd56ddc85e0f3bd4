//! Zab as a pure state machine.

#![no_std]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod app;
pub mod client;
pub mod config;
pub mod digest;
mod election;
pub mod entry;
pub mod error;
pub mod event;
mod follower;
pub mod ids;
pub mod image;
#[cfg(test)]
mod image_tests;
mod leader;
mod ledger;
pub mod log;
pub mod message;
pub mod mutants;
pub mod node;
pub mod note;
pub mod plan;
pub mod quorum;
pub mod replica;
mod requests;
pub mod rng;
mod state;
pub mod storage;
pub mod time;
pub mod tree;
