//! Who has to go.

use super::Service;
use super::conn::Fault;
use crate::words::{ConnId, Instant, Micros};
use alloc::vec::Vec;

/// How many of those that hold much have to go at a time.
const HOARDERS: usize = 8;

impl Service {
    /// The client that must go before another one is told that all places are taken.
    pub fn oldest_control(&self) -> Option<ConnId> {
        self.controls.front().copied().filter(|_| self.controls.len() > self.limits.controls)
    }

    /// The client that has said nothing for the longest time.
    pub fn stalest(&self) -> Option<ConnId> {
        self.conns.iter().min_by_key(|(_, it)| it.heard).map(|(conn, _)| conn)
    }

    /// True if a connection is there only to be told that all places are taken.
    pub fn is_control(&self, conn: ConnId) -> bool {
        self.conns.get(conn).is_some_and(|it| it.control)
    }

    /// When [`Service::overdue`] is due next: at `soon` if somebody may be too slow.
    pub fn next_look(&self, soon: Instant) -> Option<Instant> {
        let waits = !self.line.is_empty() || !self.blocked.is_empty();
        match waits || !self.watched.is_empty() {
            true => Some(soon),
            false => (!self.conns.is_empty()).then_some(self.next_idle),
        }
    }

    /// The connections that have to go, and why.
    pub fn overdue(&mut self, now: Instant) -> Vec<(ConnId, Fault)> {
        let mut overdue = Vec::new();
        let (conns, limits) = (&mut self.conns, &self.limits);
        self.watched.retain(|conn| {
            let Some(it) = conns.get_mut(*conn) else { return false };
            overdue.extend(it.fault(now, limits).map(|fault| (*conn, fault)));
            it.watched = it.is_watched();
            it.watched
        });
        if self.next_idle <= now {
            let idle = self.limits.idle;
            let late = self.conns.iter().filter(|(_, it)| {
                let waits = !it.is_idle() || it.queued || it.blocked || it.wants > 0;
                !waits && now.since(it.heard) > idle
            });
            overdue.extend(late.map(|(conn, _)| (conn, Fault::Idle)));
            self.next_idle = now.after(Micros::new(idle.get() / 8 + 1));
        }
        self.hoarders(now, &mut overdue);
        overdue
    }

    /// While others wait for room: those who hold most of it and do not get on. If that does not
    /// help, whoever holds most.
    fn hoarders(&mut self, now: Instant, overdue: &mut Vec<(ConnId, Fault)>) {
        if self.room.is_over() {
            self.over_since.get_or_insert(now);
        } else {
            self.over_since = None;
        }
        let waits = !self.large.is_empty() || self.listings.is_waited_for();
        if !waits && self.over_since.is_none() {
            return;
        }
        let (hoard, large) = (self.limits.hoard, self.limits.large);
        let watched = self.watched.iter().filter_map(|conn| {
            let it = self.conns.get(*conn)?;
            it.hoards(now, hoard, large).then_some((it.charge, *conn))
        });
        let mut hoarders: Vec<_> = watched.collect();
        hoarders.sort_unstable_by(|a, b| b.cmp(a));
        hoarders.truncate(HOARDERS);
        let over = self.over_since.is_some_and(|since| now.since(since) > hoard);
        if hoarders.is_empty() && over {
            let most = self.conns.iter().max_by_key(|(_, it)| it.charge);
            hoarders.extend(most.map(|(conn, it)| (it.charge, conn)));
            self.over_since = Some(now);
        }
        overdue.extend(hoarders.into_iter().map(|(_, conn)| (conn, Fault::Greedy)));
    }
}
