//! What a run tells people.

pub mod show;
pub mod timeline;
pub mod trace;
pub mod view;
