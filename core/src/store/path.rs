//! Keys: paths of non-empty segments.

use super::key::{Key, SEPARATOR};
use alloc::string::String;
use alloc::sync::Arc;
use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

/// The longest path, in bytes of UTF-8, without the leading `/`.
pub const MAX_PATH_BYTES: usize = 4096;

/// A key: UTF-8 segments joined by `/`, at most [`MAX_PATH_BYTES`] long. No segment is empty, `.`
/// or `..`, and none holds a NUL. Kept without the leading `/`; the root is empty.
///
/// Paths are ordered segment by segment: a node comes before everything below it, and nothing else
/// comes between it and the last of its subtree (`a`, `a/b`, `a/b/c`, `a-b`). Cloning shares the
/// text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Path(Arc<str>);

/// Why a text is not a path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PathError {
    /// It is longer than [`MAX_PATH_BYTES`]; this is its length.
    TooLong(usize),
    /// Two `/` follow each other, or it ends with one.
    EmptySegment,
    /// A segment is `.` or `..`, which other systems would take for a direction.
    Dots,
    /// It holds a NUL character.
    Nul,
    /// The name of a single node holds a `/`.
    Slash,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(length) => {
                write!(f, "the key has {length} bytes, more than the {MAX_PATH_BYTES} allowed")
            }
            Self::EmptySegment => f.write_str(
                "the key has an empty part: remove the doubled '/', or the '/' at its end",
            ),
            Self::Dots => f.write_str("the key has a part '.' or '..': name the part otherwise"),
            Self::Nul => f.write_str("the key holds a NUL character: remove it"),
            Self::Slash => f.write_str("the name of a single node cannot hold a '/'"),
        }
    }
}

impl core::error::Error for PathError {}

impl Path {
    /// The root: the path without segments, whose text is empty or `/`.
    pub fn root() -> Self {
        Self(Arc::from(""))
    }

    /// Reads a path. One leading `/` is allowed and means nothing.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let text = text.strip_prefix('/').unwrap_or(text);
        check(text, b'/')?;
        Ok(Self(Arc::from(text)))
    }

    /// Checks the text of a path without its leading `/`.
    pub(super) fn check(text: &str) -> Result<(), PathError> {
        check(text, b'/')
    }

    /// The text, without a leading `/`; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The node above; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        match self.0.rsplit_once('/') {
            Some((parent, _)) => Some(Self(Arc::from(parent))),
            None if self.is_root() => None,
            None => Some(Self::root()),
        }
    }

    /// The last segment; empty for the root.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }

    /// The segments from the root down; none for the root.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// The node `name` below this one.
    pub fn child(&self, name: &str) -> Result<Self, PathError> {
        if name.contains('/') {
            return Err(PathError::Slash);
        }
        check_segment(name.as_bytes())?;
        if self.is_root() {
            return Self::parse(name);
        }
        let text = alloc::format!("{}/{name}", self.0);
        if text.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong(text.len()));
        }
        Ok(Self(text.into()))
    }

    /// True if this is `above` or a node below it.
    pub fn starts_with(&self, above: &Self) -> bool {
        match self.0.strip_prefix(&*above.0) {
            Some(rest) => above.is_root() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }

    /// The text by which the tree sorts and stores it.
    pub(super) fn key(&self) -> Key {
        Key::of(self.as_str())
    }

    /// The path that [`Path::key`] was made from. `key` must be such a text.
    pub(super) fn from_key(key: &str) -> Self {
        Self(key.replace(SEPARATOR, "/").into())
    }
}

/// Checks a key that came from outside.
pub(super) fn check_key(key: &str) -> Result<(), PathError> {
    if key.contains('/') {
        return Err(PathError::Slash);
    }
    check(key, SEPARATOR as u8)
}

/// Checks the segments of a text, which `separator` parts.
fn check(text: &str, separator: u8) -> Result<(), PathError> {
    if text.len() > MAX_PATH_BYTES {
        return Err(PathError::TooLong(text.len()));
    }
    if text.is_empty() {
        return Ok(());
    }
    text.as_bytes().split(|byte| *byte == separator).try_for_each(check_segment)
}

fn check_segment(segment: &[u8]) -> Result<(), PathError> {
    match segment {
        b"" => Err(PathError::EmptySegment),
        b"." | b".." => Err(PathError::Dots),
        _ if segment.contains(&0) => Err(PathError::Nul),
        _ => Ok(()),
    }
}

/// The key of the node above, or `None` for the root's.
pub(super) fn parent_key(key: &str) -> Option<&str> {
    match key.rsplit_once(SEPARATOR) {
        Some((parent, _)) => Some(parent),
        None if key.is_empty() => None,
        None => Some(""),
    }
}

/// The first text that sorts after everything below `key`, whether it is a key or not. Not for the
/// root, after whose subtree nothing comes.
pub(super) fn end_of_subtree(key: &str) -> String {
    alloc::format!("{key}\u{1}")
}

/// True if the node of `key` is below that of `above`.
pub(super) fn is_below(key: &str, above: &str) -> bool {
    match key.strip_prefix(above) {
        Some(rest) if above.is_empty() => !rest.is_empty(),
        Some(rest) => rest.starts_with(SEPARATOR),
        None => false,
    }
}

impl Default for Path {
    fn default() -> Self {
        Self::root()
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

impl Ord for Path {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
        let (ours, theirs) = (self.0.bytes().map(rank), other.0.bytes().map(rank));
        ours.cmp(theirs)
    }
}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Path {
    /// With the leading `/`, so that the root can be seen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    #[test]
    fn the_leading_slash_means_nothing() {
        assert_eq!(path("/a/b"), path("a/b"));
        assert_eq!(path("a/b").as_str(), "a/b");
        assert_eq!(path("a/b").to_string(), "/a/b");
        assert_eq!(path(""), Path::root());
        assert_eq!(path("/"), Path::root());
        assert_eq!(Path::root().to_string(), "/");
    }

    #[test]
    fn what_is_wrong_with_a_path_is_said() {
        for (text, error) in [
            ("//", PathError::EmptySegment),
            ("//a", PathError::EmptySegment),
            ("a//b", PathError::EmptySegment),
            ("a/", PathError::EmptySegment),
            (".", PathError::Dots),
            ("a/../b", PathError::Dots),
            ("a\0b", PathError::Nul),
        ] {
            assert_eq!(Path::parse(text), Err(error), "{text:?}");
        }
        let longest = "é".repeat(MAX_PATH_BYTES / 2);
        assert_eq!(path(&format!("/{longest}")).as_str(), longest);
        assert_eq!(
            Path::parse(&format!("{longest}a")),
            Err(PathError::TooLong(MAX_PATH_BYTES + 1))
        );
        assert_eq!(path("...").as_str(), "...");
    }

    #[test]
    fn a_path_knows_what_is_above_and_below_it() {
        assert_eq!(path("a/b/c").parent(), Some(path("a/b")));
        assert_eq!(path("a").parent(), Some(Path::root()));
        assert_eq!(Path::root().parent(), None);
        assert_eq!(path("a/b").name(), "b");
        assert_eq!(Path::root().name(), "");
        assert_eq!(Path::root().segments().count(), 0);
        assert_eq!(path("a/b").segments().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(path("a").child("b"), Ok(path("a/b")));
        assert_eq!(Path::root().child("b"), Ok(path("b")));
        assert_eq!(path("a").child("b/c"), Err(PathError::Slash));
        assert_eq!(path("a").child(""), Err(PathError::EmptySegment));
        assert_eq!(Path::root().child(""), Err(PathError::EmptySegment));
        assert!(path("a/b").starts_with(&path("a")));
        assert!(path("a").starts_with(&path("a")));
        assert!(path("a").starts_with(&Path::root()));
        assert!(!path("a-b").starts_with(&path("a")));
        assert!(!path("a").starts_with(&path("a/b")));
    }

    #[test]
    fn a_subtree_is_a_contiguous_range() {
        let mut paths = ["a-b", "a/b/c", "b", "a", "a/b", "a/b-c", ""].map(path);
        paths.sort();
        let sorted: Vec<_> = paths.iter().map(Path::as_str).collect();
        assert_eq!(sorted, ["", "a", "a/b", "a/b/c", "a/b-c", "a-b", "b"]);
    }

    fn segments() -> impl Strategy<Value = Vec<String>> {
        // The bytes next to '/', and the lowest and some of the highest that are allowed.
        prop::collection::vec("[a\\-0\u{1}é\u{10ffff}]{1,3}", 0..4)
    }

    proptest! {
        #[test]
        fn order_is_by_segments_and_keys_sort_alike(a in segments(), b in segments()) {
            let (p, q) = (path(&a.join("/")), path(&b.join("/")));
            prop_assert_eq!(p.cmp(&q), a.cmp(&b));
            prop_assert_eq!(p.key().cmp(&q.key()), a.cmp(&b));
            prop_assert_eq!(is_below(&q.key(), &p.key()), p != q && q.starts_with(&p));
            let past = !p.is_root() && *end_of_subtree(&p.key()) <= *q.key();
            prop_assert_eq!(past, !q.starts_with(&p) && q > p);
        }

        #[test]
        fn keys_can_be_turned_back(a in segments()) {
            let p = path(&a.join("/"));
            prop_assert_eq!(&Path::from_key(&p.key()), &p);
            prop_assert_eq!(check_key(&p.key()), Ok(()));
            let parent = p.parent().map(|parent| parent.key());
            let key = p.key();
            prop_assert_eq!(parent_key(&key), parent.as_deref());
        }

        #[test]
        fn any_text_is_a_path_or_an_error(text in "[a./\0]{0,8}") {
            if let Ok(p) = Path::parse(&text) {
                prop_assert_eq!(p.to_string(), format!("/{}", text.trim_start_matches('/')));
            }
        }
    }
}
