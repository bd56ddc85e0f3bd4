//! The metadata tree: the application that Zabkeeper replicates.

mod path;
mod types;

pub use path::Path;
pub use types::{Answer, Command, CommandError, Found, Outcome, Page, Query, Stat};
