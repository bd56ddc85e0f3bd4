//! The one queue of everything that will happen, in the order in which it will.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What will happen, by virtual time in microseconds; what is due at the same time comes in the
/// order in which it was scheduled.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<Due<T>>>,
    scheduled: u64,
}

#[derive(Debug)]
struct Due<T> {
    at: u64,
    order: u64,
    what: T,
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<T> Eq for Due<T> {}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), scheduled: 0 }
    }
}

impl<T> Queue<T> {
    /// Schedules `what` for the time `at`.
    pub fn push(&mut self, at: u64, what: T) {
        self.scheduled += 1;
        let order = self.scheduled;
        self.heap.push(Reverse(Due { at, order, what }));
    }

    /// When the next thing is due.
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(due)| due.at)
    }

    /// Takes the `n`-th of the things for which `may` holds, counted from 0 in the order in which
    /// they are due, or the last of them if there are not so many.
    pub fn take(&mut self, n: usize, may: impl Fn(&T) -> bool) -> Option<(u64, T)> {
        let all = std::mem::take(&mut self.heap).into_vec();
        let (mut some, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|Reverse(due)| may(&due.what));
        some.sort_unstable_by(|Reverse(a), Reverse(b)| a.cmp(b));
        let taken = some.len().checked_sub(1).map(|last| some.remove(n.min(last)));
        self.heap = some.into_iter().chain(rest).collect();
        taken.map(|Reverse(due)| (due.at, due.what))
    }

    /// Takes the next thing.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        self.heap.pop().map(|Reverse(due)| (due.at, due.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_come_in_the_order_of_scheduling() {
        let mut queue = Queue::default();
        for (at, what) in [(5, 'c'), (3, 'a'), (5, 'd'), (4, 'b')] {
            queue.push(at, what);
        }
        let order: String = std::iter::from_fn(|| queue.pop()).map(|(_, what)| what).collect();
        assert_eq!(order, "abcd");
    }

    #[test]
    fn what_is_taken_out_of_turn_leaves_the_rest_in_order() {
        let mut queue = Queue::default();
        for (at, what) in [(5, 'c'), (3, 'a'), (5, 'd'), (4, 'b')] {
            queue.push(at, what);
        }
        assert_eq!(queue.take(1, |what| *what != 'a'), Some((5, 'c')));
        assert_eq!(queue.take(9, |what| *what != 'd'), Some((4, 'b')));
        assert_eq!(queue.take(0, |_| false), None);
        let order: String = std::iter::from_fn(|| queue.pop()).map(|(_, what)| what).collect();
        assert_eq!(order, "ad");
    }
}
