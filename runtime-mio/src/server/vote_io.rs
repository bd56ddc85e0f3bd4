//! The loop's part for election datagrams: whatever arrives, receiving goes on.

use super::event_loop::{EventLoop, SHARE_DATAGRAMS};
use super::wire;
use crate::notes;
use log::Level;
use std::collections::BTreeMap;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use zabkeeper_core::words::{ClusterId, NodeId, Now, Txid};
use zabkeeper_core::zab::{Event, Membership, Rejection, Vote};
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
                    self.look_at_sender(now, vote.from, from);
                    self.work.sender = Some(from);
                    self.step(now, Event::Notified(vote));
                    self.work.sender = None;
                }
                Ok(Datagram::Rejected { from: node, cluster, why, omitted }) => {
                    self.heard_rejection(now, (node, cluster, from), &why, omitted)
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
    /// it is told to the operator, and the core asks the member itself.
    fn heard_rejection(
        &mut self,
        now: Now,
        (node, cluster, from): (NodeId, ClusterId, SocketAddr),
        why: &Rejection,
        omitted: u32,
    ) {
        let text = match why {
            Rejection::WrongCluster { members } if !members.members().is_empty() => {
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
        let ours = cluster == self.shared.cluster;
        if ours && matches!(why, Rejection::WrongDisk | Rejection::NotMember { .. }) {
            self.step(now, Event::Denied(node));
        }
    }

    /// Takes note of a vote that comes from another address than the sender's name stands for now:
    /// a forged one, a node behind a translator of addresses, or a name that has moved. The vote
    /// is used all the same: what it says counts only if its sender reads what is sent to the
    /// member's address.
    fn look_at_sender(&mut self, now: Now, node: NodeId, from: SocketAddr) {
        let membership = self.replica.node().ensemble().latest();
        let Some(member) = membership.members().get(&node) else {
            return;
        };
        let name = member.election_addr.clone();
        let Some(addr) = self.names.lookup(&name, now.at).filter(|addr| *addr != from) else {
            return;
        };
        self.shared.counters.add("election.elsewhere");
        let last = self.work.elsewhere.get(&node).copied();
        let votes = last.map_or(1, |(_, votes)| votes.saturating_add(1));
        self.work.elsewhere.insert(node, (from, votes));
        if last.is_none_or(|(last, _)| last != from) {
            let text = format!("a vote of {node} comes from {from}; {name} is {addr}");
            self.work.limit.log("election.elsewhere", Level::Warn, now.at, &text);
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
                why: self.fit_for(now, sender, why),
                omitted: 0,
            };
            self.election.send(&encode_datagram(&datagram), sender);
        }
    }

    /// The reason as it may be told to this address: lists of members only to members.
    fn fit_for(&mut self, now: Now, sender: SocketAddr, why: &Rejection) -> Rejection {
        let Rejection::WrongCluster { members } = why else {
            return why.clone();
        };
        let latest = self.replica.node().ensemble().latest().clone();
        let known = members.members().values().chain(latest.members().values());
        let names: Vec<String> = known.map(|member| member.election_addr.clone()).collect();
        if names.iter().any(|name| self.names.lookup(name, now.at) == Some(sender)) {
            return why.clone();
        }
        let nobody = Membership::new(Txid::ZERO, BTreeMap::new());
        Rejection::WrongCluster { members: Arc::new(nobody) }
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
