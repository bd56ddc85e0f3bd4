//! Leading: an epoch is claimed, and then the leader reigns in it.

mod claiming;
mod feed;
mod office;
mod reading;
mod reigning;
pub(crate) mod rounds;
mod source;
mod waiting;

pub(crate) use claiming::Claiming;
pub(crate) use reigning::Reigning;
