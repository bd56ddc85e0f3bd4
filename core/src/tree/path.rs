//! Keys: paths of non-empty segments.

use alloc::sync::Arc;
use core::fmt;

/// A key: UTF-8 segments joined by `/`. Kept without the leading `/`; the root is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<str>);

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}
