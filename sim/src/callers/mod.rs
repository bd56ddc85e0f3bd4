//! Who asks: clients, what they ask and how it ends, and their connections at a node.

pub mod app;
pub(crate) mod calls;
pub mod clients;
pub mod doors;
pub mod guests;
mod serving;
pub mod sessions;
