//! The loop's part for election datagrams: whatever arrives, receiving goes on.

use super::event_loop::{EventLoop, SHARE_DATAGRAMS};
use super::{ExitReason, wire};
use crate::notes;
use log::Level;
use std::mem;
use std::net::SocketAddr;
use zabkeeper_core::error::HaltReason;
use zabkeeper_core::event::Event;
use zabkeeper_core::ids::NodeId;
use zabkeeper_core::message::{Rejection, Vote};
use zabkeeper_core::time::Now;
use zabkeeper_proto::{Datagram, decode_datagram, encode_datagram};

impl EventLoop {
    pub(super) fn read_election(&mut self, now: Now) {
        if !mem::take(&mut self.work.ready.election) {
            return;
        }
        for _ in 0..SHARE_DATAGRAMS {
            let Some((bytes, from)) = self.election.receive() else {
                return;
            };
            match decode_datagram(bytes) {
                Ok(Datagram::Vote(vote)) => {
                    self.work.sender = Some(from);
                    self.step(now, Event::Notified(vote));
                    self.work.sender = None;
                }
                Ok(Datagram::Rejected { from: node, why, omitted, .. }) => {
                    self.heard_rejection(now, from, node, &why, omitted)
                }
                Err(error) => {
                    let text = format!("ignored a datagram from {from}: {error}");
                    self.complain(wire::datagram_counter(&error), Level::Warn, now, &text);
                }
            }
        }
        self.work.ready.election = true;
    }

    /// Another node says that this one does not belong to it. Anybody can send such a datagram, so
    /// it is only told to the operator.
    fn heard_rejection(
        &mut self,
        now: Now,
        from: SocketAddr,
        node: NodeId,
        why: &Rejection,
        omitted: u32,
    ) {
        let text = match why {
            Rejection::WrongCluster { members } => {
                let theirs = notes::member_list(members);
                let ours = notes::member_list(self.replica.node().ensemble().latest());
                let more = match omitted {
                    0 => String::new(),
                    count => format!(" and {count} more"),
                };
                format!(
                    "{node} at {from} belongs to another ensemble: its list of nodes is \
                     {theirs}{more}, this node's is {ours}; make the configuration files agree"
                )
            }
            why => format!("{node} at {from} refuses this node: {}", notes::rejection(why)),
        };
        self.complain("election.rejected", Level::Error, now, &text);
        self.halt_if_wiped(now, from, node, why);
    }

    /// A node that never saw the ensemble form, and hears from a member that it has formed with
    /// another disk of this node, can do nothing any more: it would look for a leader for ever.
    /// A node that once was part of the ensemble knows better than any datagram.
    fn halt_if_wiped(&mut self, now: Now, from: SocketAddr, node: NodeId, why: &Rejection) {
        let Rejection::WrongDisk { known } = *why else {
            return;
        };
        let status = self.replica.status();
        let ours = status.incarnation;
        if !self.replica.node().ensemble().is_forming() || known == ours {
            return;
        }
        let member = status.membership.members().get(&node);
        let addr = member.and_then(|m| self.names.lookup(&m.election_addr, now.at));
        if addr == Some(from) {
            let reason = HaltReason::WrongDisk { known, ours };
            log::error!("{} halts: {reason}", self.shared.node);
            self.work.exit = Some(ExitReason::Halted(reason));
        }
    }

    pub(super) fn reject(&mut self, now: Now, to: NodeId, why: &Rejection) {
        // The sender's own address, not the member's by that id: a foreign node's id may be the
        // id of a member, who has nothing to do with it.
        let Some(sender) = self.work.sender else {
            return;
        };
        if let Rejection::WrongCluster { members } = why {
            let text = format!(
                "a node at {sender} that says it is {to} belongs to another ensemble; this node's \
                 list is {}",
                notes::member_list(members)
            );
            self.work.limit.log("election.foreign", Level::Warn, now.at, &text);
        }
        if self.work.limit.allow("election.reject", now.at).is_some() {
            let datagram = Datagram::Rejected {
                from: self.shared.node,
                cluster: self.shared.cluster,
                why: why.clone(),
                omitted: 0,
            };
            self.election.send(&encode_datagram(&datagram), sender);
        }
    }

    /// Sends a vote.
    pub(super) fn notify(&mut self, now: Now, to: NodeId, vote: Vote) {
        let membership = self.replica.node().ensemble().latest();
        let Some(member) = membership.members().get(&to) else {
            return;
        };
        let bytes = encode_datagram(&Datagram::Vote(vote));
        if let Some(addr) = self.names.lookup(&member.election_addr, now.at)
            && !self.election.send(&bytes, addr)
        {
            self.shared.counters.add("election.unsent");
        }
    }
}
