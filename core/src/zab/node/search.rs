//! A node in an exhaustive search.

use super::Node;
use super::role::Role;
use crate::words::Instant;
use crate::zab::testing::rebase::Rebase;

impl Node {
    /// Makes `to` the present of this node, and numbers its writes anew, `completed` of them being
    /// durable: the first one that is not becomes number 1. Changes nothing that the node will do,
    /// except when: no timer fires earlier than it would have, measured from the present.
    pub fn rebase(&mut self, to: Instant, completed: u64) {
        let rebase = Rebase::new(self.latest.since(to), to, completed);
        self.latest = to;
        self.state.rebase(rebase);
        match &mut self.role {
            Role::Looking(looking) => {
                looking.rebase(rebase, self.state.cfg.timeouts.resend_min);
            }
            Role::Following(following) => following.rebase(rebase),
            Role::Claiming(claiming) => claiming.rebase(rebase),
            Role::Reigning(reigning) => reigning.rebase(rebase),
            Role::Halted => {}
        }
    }

    /// Plants a bug in a node that runs already.
    #[cfg(feature = "mutants")]
    pub fn plant(&mut self, mutant: crate::mutants::Mutant) {
        self.state.cfg.mutant = Some(mutant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Incarnation, NodeId, Now, Txid, WallTime};
    use crate::zab::config::Config;
    use crate::zab::event::{Actions, Event};
    use crate::zab::history::storage::{Identity, Recovered};
    use crate::zab::membership::quorum::{Member, Membership};
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
