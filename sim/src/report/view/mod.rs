//! Pictures of a run: what was recorded while it ran, and one page that draws it.

pub mod page;
pub mod record;
mod shapes;

pub use page::{Window, page};

#[cfg(test)]
mod tests;
