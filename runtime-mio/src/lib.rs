//! Zabkeeper on a real machine: sockets by mio, disks by a journal of our own and sled, and the
//! `zabkeeper` binary as a thin shell over it. [`server::Server`] embeds a node in any program.

// They panic when nobody reads what is printed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod client;
pub mod config;
pub mod exit_code;
mod net;
mod notes;
pub mod server;
pub mod storage;
