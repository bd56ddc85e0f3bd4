//! Sockets without protocol: connections with bounded buffers, and names turned into addresses.

mod conn;
mod resolve;

pub(crate) use conn::{Conn, Drained};
pub(crate) use resolve::{Names, resolve_now};
