//! For exhaustive search: puts a node's clock back, so that states that differ only by when they
//! came about are equal.
//!
//! A node compares instants with the present alone, never with another node's. So it cannot tell
//! whether everything it remembers, and the present, were moved by the same span; and a timer may
//! fire late anyhow, so what lies in the past may be taken for having happened just now. What is
//! left of the jitter of the votes decides nothing but when the next one is sent.

use crate::ids::WriteId;
use crate::node::Node;
use crate::time::{Instant, Micros};

/// Moves instants so that the present becomes `to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rebase {
    by: Micros,
    to: Instant,
    completed: u64,
}

impl Rebase {
    /// Where the present lies afterwards.
    pub(crate) fn present(self) -> Instant {
        self.to
    }

    /// Moves an instant. The past becomes the present; the end of time, which stands for "never",
    /// stays.
    pub(crate) fn instant(self, at: &mut Instant) {
        if at.as_micros() < u64::MAX {
            let moved = Instant::from_micros(at.as_micros().saturating_sub(self.by.get()));
            *at = moved.max(self.to);
        }
    }

    /// Renumbers a write: those that the disk has completed count as zero.
    pub(crate) fn write(self, id: &mut WriteId) {
        *id = WriteId::new(id.get().saturating_sub(self.completed));
    }
}

impl Node {
    /// Makes `to` the present of this node, and numbers its writes anew, `completed` of them being
    /// durable: the first one that is not becomes number 1. Changes nothing that the node will do,
    /// except when: no timer fires earlier than it would have, measured from the present.
    pub fn rebase(&mut self, to: Instant, completed: u64) {
        let by = self.latest().since(to);
        self.rebase_by(Rebase { by, to, completed });
    }

    /// Plants a bug in a node that runs already.
    #[cfg(feature = "mutants")]
    pub fn plant(&mut self, mutant: crate::mutants::Mutant) {
        self.plant_in_state(mutant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::event::{Actions, Event};
    use crate::ids::{Incarnation, NodeId, Txid};
    use crate::quorum::{Member, Membership};
    use crate::storage::{Identity, Recovered};
    use crate::time::{Now, WallTime};
    use alloc::collections::BTreeMap;
    use alloc::string::String;
    use alloc::sync::Arc;

    fn at(seconds: u64) -> Now {
        Now { at: Instant::from_micros(seconds * 1_000_000), wall: WallTime::default() }
    }

    /// One of three nodes with empty disks, which starts and looks for a leader for a second.
    fn looking_since(start: u64) -> Node {
        let node = NodeId::new(1);
        let member = Member {
            voter: true,
            incarnation: None,
            life: None,
            election_addr: String::new(),
            message_addr: String::new(),
        };
        let members = (1..=3).map(|id| (NodeId::new(id), member.clone()));
        let membership = Membership::new(Txid::ZERO, BTreeMap::from_iter(members));
        let cluster = membership.cluster_id();
        let identity = Identity { cluster, node, incarnation: Incarnation::new(7) };
        let disk = Recovered::fresh(identity, Arc::new(membership));
        let mut out = Actions::new();
        // Stamps count what was sent: nodes of the search have none.
        let config = Config { unstamped: true, ..Config::new(node) };
        let node = Node::restore(config, disk, 1, at(start), &mut out);
        let mut node = node.expect("an empty disk is good");
        node.handle(at(start + 1), Event::Tick, &mut out);
        node
    }

    #[test]
    fn nodes_that_differ_by_when_they_started_become_equal() {
        let (mut early, mut late) = (looking_since(5), looking_since(50));
        assert_ne!(early, late);
        early.rebase(at(3).at, 0);
        late.rebase(at(3).at, 0);
        assert_eq!(early, late);
    }

    #[test]
    fn a_node_goes_on_as_if_its_clock_had_not_been_put_back() {
        let mut node = looking_since(5);
        let mut back = node.clone();
        back.rebase(at(3).at, 0);
        let (mut out, mut out_back) = (Actions::new(), Actions::new());
        node.handle(at(16), Event::Tick, &mut out);
        back.handle(at(13), Event::Tick, &mut out_back);
        assert!(!out.actions.is_empty(), "it says again for whom it votes");
        assert_eq!(out, out_back);
    }
}
