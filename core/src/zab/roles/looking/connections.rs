//! The connections of a node without a leader: followers that come early, and members that it asks
//! whether it belongs to them.

use super::Looking;
use crate::words::{ConnId, NodeId};
use crate::zab::cx::{Cx, Next};
use crate::zab::error::CloseReason;
use crate::zab::event::Action;
use crate::zab::message::{FollowerInfo, Message};
use alloc::vec::Vec;

impl Looking {
    /// A peer that takes this node for the leader: remembered until the election ends.
    pub(crate) fn on_follower_info(&mut self, cx: &mut Cx<'_>, conn: ConnId, info: FollowerInfo) {
        let older = self.early.iter().filter(|(_, (i, _))| i.node == info.node);
        for conn in older.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.early.remove(&conn);
            cx.close(conn, CloseReason::Replaced);
        }
        self.early.insert(conn, (info, cx.now.at));
    }

    /// Somebody said by a datagram that this node does not belong to it. Anybody can send such a
    /// datagram: asks the member itself, by TCP.
    pub(crate) fn on_denied(&mut self, cx: &mut Cx<'_>, by: NodeId) {
        if by != cx.s.node() && cx.s.ensemble.is_voter(by) && !self.asking.contains_key(&by) {
            self.asking.insert(by, (None, cx.now.at));
            cx.out.push(Action::Connect(by));
        }
    }

    pub(crate) fn on_connected(&mut self, cx: &mut Cx<'_>, conn: ConnId, to: NodeId) {
        match self.asking.get_mut(&to) {
            Some((asked @ None, _)) => {
                *asked = Some(conn);
                let info = cx.follower_info();
                cx.send(conn, Message::FollowerInfo(info));
            }
            _ => cx.close(conn, CloseReason::RoleChange),
        }
    }

    pub(crate) fn asks(&self, conn: ConnId) -> bool {
        self.asking.values().any(|(asked, _)| *asked == Some(conn))
    }

    /// The answer to the question whether this node belongs to a member.
    pub(crate) fn on_answer(&mut self, cx: &mut Cx<'_>, conn: ConnId, msg: Message) -> Next {
        let mut asked = self.asking.iter_mut();
        let Some((node, (open, _))) = asked.find(|(_, (asked, _))| *asked == Some(conn)) else {
            return Next::Stay;
        };
        let node = *node;
        *open = None;
        cx.close(conn, CloseReason::RoleChange);
        match msg {
            Message::Rejected(why) => cx.denied(node, why),
            _ => {
                cx.s.denied.remove(&node);
                Next::Stay
            }
        }
    }

    pub(crate) fn on_closed(&mut self, conn: ConnId) {
        self.early.remove(&conn);
        // Who was asked stays in the list until the time is up, so that it is not asked again
        // and again.
        if let Some((asked, _)) = self.asking.values_mut().find(|(asked, _)| *asked == Some(conn)) {
            *asked = None;
        }
    }

    /// Closes what was open for too long.
    pub(super) fn drop_mute(&mut self, cx: &mut Cx<'_>) {
        let init = cx.s.cfg.timeouts.init;
        let now = cx.now.at;
        let early = self.early.iter().filter(|(_, (_, at))| now >= at.after(init));
        for conn in early.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            self.early.remove(&conn);
            cx.close(conn, CloseReason::Silent);
        }
        let asking = self.asking.iter().filter(|(_, (_, at))| now >= at.after(init));
        for node in asking.map(|(node, _)| *node).collect::<Vec<_>>() {
            if let Some((Some(conn), _)) = self.asking.remove(&node) {
                cx.close(conn, CloseReason::Silent);
            }
        }
    }

    /// Closes what is not handed over.
    pub(crate) fn leave(self, cx: &mut Cx<'_>) {
        for conn in self.early.into_keys() {
            cx.close(conn, CloseReason::NotLeading);
        }
        for conn in self.asking.into_values().filter_map(|(conn, _)| conn) {
            cx.close(conn, CloseReason::RoleChange);
        }
    }
}
