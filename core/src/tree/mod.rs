//! The metadata tree: the application that Zabkeeper replicates.

mod path;
mod types;

pub use path::{MAX_PATH_BYTES, Path, PathError};
pub use types::{Answer, Command, CommandError, Found, Outcome, Page, Query, Stat};
