//! The memory of all client connections together.
//!
//! What a connection holds is counted: its buffers, the answers that wait in them, and what it was
//! granted in advance for a large request or a page of a listing. Small requests are always taken;
//! for large ones and for pages there must be room, else they wait until others have left.

/// The budget, and what is used of it.
#[derive(Clone, Debug)]
pub(super) struct Room {
    limit: usize,
    used: usize,
}

impl Room {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, used: 0 }
    }

    /// A connection holds `now` bytes, where it held `before`.
    pub(super) fn change(&mut self, before: usize, now: usize) {
        self.used = self.used.saturating_sub(before).saturating_add(now);
    }

    /// True if there is room for so many bytes more; always for the first ones.
    pub(super) const fn has(&self, bytes: usize) -> bool {
        self.used.saturating_add(bytes) <= self.limit || self.used <= self.limit / 4
    }

    /// True if connections should give back what they do not need, and read in small pieces.
    pub(super) const fn is_short(&self) -> bool {
        self.used > self.limit / 4 * 3
    }

    /// True if whoever holds much must wait or go.
    pub(super) const fn is_over(&self) -> bool {
        self.used > self.limit
    }

    /// Bytes that are used.
    pub(super) const fn used(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_the_first_whatever_its_size_and_for_others_up_to_the_limit() {
        let mut room = Room::new(100);
        assert!(room.has(1000));
        room.change(0, 60);
        assert!(room.has(40) && !room.has(41) && !room.is_short());
        room.change(60, 101);
        assert!(room.is_short() && room.is_over() && !room.has(0));
        room.change(101, 0);
        assert_eq!(room.used(), 0);
    }
}
