//! Connections by their names: a table in which looking up takes the same time however many there
//! are, and in which no name ever means two of them.

use crate::words::ConnId;
use alloc::vec::Vec;

/// So many low bits of a name are the place in the table; the rest counts the connections.
const PLACE_BITS: u32 = 24;

/// What belongs to each connection.
#[derive(Clone, Debug)]
pub(super) struct Table<T> {
    places: Vec<(ConnId, Option<T>)>,
    free: Vec<usize>,
    len: usize,
    count: u64,
}

/// The place of a connection in any table of them: small, and reused when it is gone.
pub const fn place(conn: ConnId) -> usize {
    (conn.get() & ((1 << PLACE_BITS) - 1)) as usize
}

impl<T> Table<T> {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), len: 0, count: 0 }
    }

    /// Takes something in, by a new name.
    pub(super) fn insert(&mut self, it: T) -> ConnId {
        self.count += 1;
        self.len += 1;
        let at = self.free.pop().unwrap_or(self.places.len());
        let conn = ConnId::new(self.count << PLACE_BITS | at as u64);
        match self.places.get_mut(at) {
            Some(free) => *free = (conn, Some(it)),
            None => self.places.push((conn, Some(it))),
        }
        conn
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&T> {
        let (holder, it) = self.places.get(place(conn))?;
        it.as_ref().filter(|_| *holder == conn)
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut T> {
        let (holder, it) = self.places.get_mut(place(conn))?;
        it.as_mut().filter(|_| *holder == conn)
    }

    pub(super) fn remove(&mut self, conn: ConnId) -> Option<T> {
        let (holder, it) = self.places.get_mut(place(conn))?;
        if *holder != conn {
            return None;
        }
        let it = it.take()?;
        self.len -= 1;
        self.free.push(place(conn));
        Some(it)
    }

    /// All of them, in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.places.iter().filter_map(|(conn, it)| Some((*conn, it.as_ref()?)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_a_name_never() {
        let mut table = Table::new();
        let (a, b) = (table.insert('a'), table.insert('b'));
        assert_eq!((place(a), place(b), table.len()), (0, 1, 2));
        assert_eq!(table.remove(a), Some('a'));
        assert_eq!((table.remove(a), table.get(a)), (None, None));
        let c = table.insert('c');
        assert_eq!(place(c), place(a));
        assert_ne!(c, a);
        assert_eq!(table.get(a), None);
        assert_eq!(table.remove(a), None);
        assert_eq!(table.get_mut(a), None);
        assert_eq!(table.get(c), Some(&'c'));
        assert_eq!(table.iter().map(|(conn, _)| conn).collect::<Vec<_>>(), [c, b]);
        table.remove(b);
        table.remove(c);
        assert!(table.is_empty());
        assert_eq!(table.get(ConnId::new(u64::MAX)), None);
    }
}
