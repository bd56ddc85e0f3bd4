//! Who votes, and what a quorum is. Everything that counts heads goes through [`Ensemble`].
//!
//! A membership of version zero (the initial list of peers, not yet agreed through the log) has
//! only one quorum: everyone. An ensemble therefore forms once, with all its initial voters
//! present, and its first entry records the storage incarnation of each; from then on a majority
//! serves, and a voter that comes back with another disk is recognised. Without this rule a node
//! whose disk was wiped could, together with one that was never part of a quorum, vote away
//! everything that was acknowledged.
//!
//! While a newer membership is logged but not committed, a quorum is one of the old *and* one of
//! the new membership (Shraer et al., ATC 2012).

use crate::words::{ClusterId, Digester, Incarnation, Life, NodeId, Txid};
use crate::zab::membership::lives::Recorded;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// One member of the ensemble.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Member {
    /// Whether it votes; one that does not is an observer.
    pub voter: bool,
    /// The disk by which the ensemble knows it; `None` until the ensemble has formed.
    pub incarnation: Option<Incarnation>,
    /// The last life of it that is recorded; `None` until the ensemble has formed.
    pub life: Option<Recorded>,
    /// Where it takes votes, over UDP. Not looked at by the core.
    pub election_addr: String,
    /// Where it takes peer connections, over TCP. Not looked at by the core.
    pub message_addr: String,
}

/// A membership: the members, and the txid of the entry that made it so.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Membership {
    version: Txid,
    members: BTreeMap<NodeId, Member>,
}

impl Membership {
    /// A membership made by the entry `version`; [`Txid::ZERO`] for the initial one.
    pub fn new(version: Txid, members: BTreeMap<NodeId, Member>) -> Self {
        Self { version, members }
    }

    /// The txid of the entry that made it.
    pub fn version(&self) -> Txid {
        self.version
    }

    /// All members by id.
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// The ids of the voters, ascending.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().filter(|(_, member)| member.voter).map(|(id, _)| *id)
    }

    /// True if `node` votes here.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| member.voter)
    }

    /// Nodes and where votes reach them, for people: `n1 (10.0.0.1:5001), n3 (10.0.0.3:5001)`.
    pub fn named(&self, nodes: &[NodeId]) -> String {
        let name = |node: &NodeId| match self.members.get(node) {
            Some(member) => format!("{node} ({})", member.election_addr),
            None => format!("{node}"),
        };
        nodes.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// This membership with lives that later entries record, oldest entry first.
    #[must_use]
    pub fn with_lives<'a>(
        mut self: Arc<Self>,
        entries: impl IntoIterator<Item = (Txid, &'a [(NodeId, Life)])>,
    ) -> Arc<Self> {
        for (at, lives) in entries {
            let members = &mut Arc::make_mut(&mut self).members;
            for (node, life) in lives {
                if let Some(member) = members.get_mut(node) {
                    member.life = Some(Recorded { at, life: *life });
                }
            }
        }
        self
    }

    /// This membership as it may be told to those who are no members: without lives.
    #[must_use]
    pub fn without_lives(mut self: Arc<Self>) -> Arc<Self> {
        if self.members.values().any(|member| member.life.is_some()) {
            let members = &mut Arc::make_mut(&mut self).members;
            members.values_mut().for_each(|member| member.life = None);
        }
        self
    }

    /// The last life that is recorded of each member.
    fn lives(&self) -> BTreeMap<NodeId, Recorded> {
        let recorded = |(id, member): (&NodeId, &Member)| Some((*id, member.life?));
        self.members.iter().filter_map(recorded).collect()
    }

    /// How many voters make a quorum: all of the initial membership, a majority of any other.
    pub fn quorum_size(&self) -> usize {
        let voters = self.voters().count();
        if self.version.is_zero() { voters } else { voters / 2 + 1 }
    }

    /// True if the voters for whom `has` holds are a quorum.
    pub fn is_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        let size = self.quorum_size();
        size > 0 && self.voters().filter(|id| has(*id)).count() >= size
    }

    /// True if the voters for whom `has` holds are a majority.
    fn is_majority(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.voters().filter(|id| has(*id)).count() > self.voters().count() / 2
    }

    /// The greatest txid that a quorum has reached, each voter having reached `at(voter)`.
    pub fn watermark(&self, at: impl Fn(NodeId) -> Txid) -> Txid {
        self.reach(at)
    }

    /// The greatest value that a quorum reaches, each voter reaching `at(voter)`.
    fn reach<T: Ord + Copy + Default>(&self, at: impl Fn(NodeId) -> T) -> T {
        let mut reached: Vec<T> = self.voters().map(at).collect();
        reached.sort_unstable_by(|a, b| b.cmp(a));
        let index = self.quorum_size().checked_sub(1);
        index.and_then(|index| reached.get(index).copied()).unwrap_or_default()
    }

    /// The cluster's identity: a digest of this list of members. Meant for the initial one.
    pub fn cluster_id(&self) -> ClusterId {
        let digester = Digester::after(crate::words::Digest::ZERO);
        ClusterId::new(self.digest(digester).finish().get())
    }

    pub(crate) fn digest(&self, digester: Digester) -> Digester {
        let start = digester.number(self.members.len() as u64);
        self.members.iter().fold(start, |digester, (id, member)| {
            digester
                .number(u64::from(id.get()))
                .number(u64::from(member.voter))
                .number(member.incarnation.map_or(0, |i| i.get().wrapping_add(1)))
                .number(member.life.map_or(0, |recorded| recorded.at.epoch().get()))
                .number(member.life.map_or(0, |recorded| recorded.at.counter()))
                .number(member.life.map_or(0, |recorded| recorded.life.get()))
                .bytes(member.election_addr.as_bytes())
                .bytes(member.message_addr.as_bytes())
        })
    }
}

/// The memberships that count at a node: the last committed one and, while it is pending, the
/// last logged one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Ensemble {
    committed: Arc<Membership>,
    pending: Option<Pending>,
    /// The last life of each node that is logged, committed or not: whoever holds a record has
    /// met that life. Who votes, and what a quorum is, does not depend on it.
    lives: BTreeMap<NodeId, Recorded>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Pending {
    membership: Arc<Membership>,
    /// The last entry that the old membership alone decides.
    before: Txid,
}

impl Ensemble {
    /// An ensemble with nothing pending.
    pub fn new(committed: Arc<Membership>) -> Self {
        Self { lives: committed.lives(), committed, pending: None }
    }

    /// The last committed membership.
    pub fn committed(&self) -> &Arc<Membership> {
        &self.committed
    }

    /// The membership that is logged but not known to be committed.
    pub fn pending(&self) -> Option<&Arc<Membership>> {
        self.pending.as_ref().map(|pending| &pending.membership)
    }

    /// The newest membership known, committed or not.
    pub fn latest(&self) -> &Arc<Membership> {
        self.pending().unwrap_or(&self.committed)
    }

    /// Takes note of a membership entry as it is logged; `before` is the entry ahead of it. A
    /// leader proposes one only when the one before is committed: so that one is.
    pub fn log(&mut self, membership: Arc<Membership>, before: Txid) {
        self.commit(before);
        assert!(membership.version() > self.committed.version(), "memberships only grow newer");
        self.lives = membership.lives();
        self.pending = Some(Pending { membership, before });
    }

    /// Takes note that everything up to `upto` is committed.
    pub fn commit(&mut self, upto: Txid) {
        if let Some(pending) = self.pending.take_if(|p| p.membership.version() <= upto) {
            self.committed = pending.membership;
        }
    }

    /// Takes note of an entry that records lives, as it is logged.
    pub fn record(&mut self, at: Txid, lives: &[(NodeId, Life)]) {
        self.lives.extend(lives.iter().map(|(node, life)| (*node, Recorded { at, life: *life })));
    }

    /// Takes note that the log was cut to `last`; `there` is the membership at that place.
    pub fn truncate(&mut self, last: Txid, there: &Membership) {
        self.pending.take_if(|pending| pending.membership.version() > last);
        self.lives = there.lives();
    }

    /// The last life of a node that the log records.
    pub fn life_of(&self, node: NodeId) -> Option<Recorded> {
        self.lives.get(&node).copied()
    }

    /// True if the nodes for whom `has` holds are a quorum under every membership that counts.
    pub fn is_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.committed.is_quorum(&has) && self.pending().is_none_or(|m| m.is_quorum(&has))
    }

    /// True if the nodes for whom `has` holds are a majority, though perhaps no quorum: enough to
    /// believe that a leader is established, which a node that missed the forming of its ensemble
    /// has to be told by others. Never enough to elect, promise or commit.
    pub fn is_majority(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.committed.is_majority(&has) && self.pending().is_none_or(|m| m.is_majority(&has))
    }

    /// True if every voter satisfies `has`.
    pub fn is_everyone(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.voters().all(has)
    }

    /// The greatest txid that is on a quorum, each voter holding the log up to `at(voter)`.
    /// Entries before a pending membership need the old quorum, from it on both.
    pub fn watermark(&self, at: impl Fn(NodeId) -> Txid) -> Txid {
        let old = self.committed.watermark(&at);
        match &self.pending {
            None => old,
            Some(pending) if old < pending.membership.version() => old,
            Some(pending) => old.min(pending.membership.watermark(&at)).max(pending.before),
        }
    }

    /// The greatest number that a quorum reaches under every membership that counts, each voter
    /// reaching `at(voter)`.
    pub fn reach(&self, at: impl Fn(NodeId) -> u64) -> u64 {
        let both = core::iter::once(&self.committed).chain(self.pending());
        both.map(|membership| membership.reach(&at)).min().unwrap_or(0)
    }

    /// Voters of either membership, each once, ascending.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        let old = self.committed.voters();
        let new = self.pending().into_iter().flat_map(|m| m.voters());
        old.chain(new.filter(|id| !self.committed.is_voter(*id)))
    }

    /// True if `node` votes in either membership.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.committed.is_voter(node) || self.pending().is_some_and(|m| m.is_voter(node))
    }

    /// True until the first membership has gone through the log: see the module's text.
    pub fn is_forming(&self) -> bool {
        self.committed.version().is_zero()
    }

    /// The disk by which the ensemble knows a node; `None` if it never formed.
    pub fn disk_of(&self, node: NodeId) -> Option<Incarnation> {
        let known = |m: &Membership| m.members().get(&node).and_then(|member| member.incarnation);
        known(self.latest()).or_else(|| known(&self.committed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Epoch;
    use alloc::format;
    use proptest::prelude::*;

    fn txid(counter: u64) -> Txid {
        Txid::new(Epoch::new(1), counter).unwrap()
    }

    fn membership(version: Txid, voters: &[u32], observers: &[u32]) -> Arc<Membership> {
        let member = |id: &u32, voter| {
            let addr = format!("host{id}");
            let member = Member {
                voter,
                incarnation: None,
                life: None,
                election_addr: addr.clone(),
                message_addr: addr,
            };
            (NodeId::new(*id), member)
        };
        let members = voters.iter().map(|id| member(id, true));
        Arc::new(Membership::new(
            version,
            members.chain(observers.iter().map(|id| member(id, false))).collect(),
        ))
    }

    fn among(ids: &[u32]) -> impl Fn(NodeId) -> bool + '_ {
        |node| ids.contains(&node.get())
    }

    #[test]
    fn a_quorum_is_a_majority_of_the_voters_and_observers_never_count() {
        let three = Ensemble::new(membership(txid(1), &[1, 2, 3], &[4, 5]));
        assert!(three.is_quorum(among(&[1, 2])));
        assert!(!three.is_quorum(among(&[1, 4, 5])));
        let four = Ensemble::new(membership(txid(1), &[1, 2, 3, 4], &[]));
        assert!(!four.is_quorum(among(&[1, 2])));
        assert!(four.is_quorum(among(&[1, 2, 4])));
    }

    #[test]
    fn no_voters_make_no_quorum() {
        assert!(!membership(txid(1), &[], &[1]).is_quorum(|_| true));
        assert_eq!(membership(txid(1), &[], &[1]).watermark(|_| txid(9)), Txid::ZERO);
    }

    #[test]
    fn the_initial_membership_needs_everyone() {
        let forming = Ensemble::new(membership(Txid::ZERO, &[1, 2, 3], &[]));
        assert!(!forming.is_quorum(among(&[1, 2])));
        assert!(forming.is_quorum(among(&[1, 2, 3])));
    }

    #[test]
    fn a_pending_membership_needs_both_majorities_from_its_entry_on() {
        let mut ensemble = Ensemble::new(membership(txid(1), &[1, 2, 3], &[]));
        ensemble.log(membership(txid(5), &[3, 4, 5], &[]), txid(4));
        assert!(!ensemble.is_quorum(among(&[1, 2])));
        assert!(!ensemble.is_quorum(among(&[4, 5])));
        assert!(ensemble.is_quorum(among(&[2, 3, 4])));
        // Nodes 1 and 2 have everything: that commits what precedes the change, no more.
        let at = |node: NodeId| if node.get() <= 2 { txid(9) } else { Txid::ZERO };
        assert_eq!(ensemble.watermark(at), txid(4));
        let at = |node: NodeId| if node.get() <= 4 { txid(9) } else { Txid::ZERO };
        assert_eq!(ensemble.watermark(at), txid(9));
        ensemble.commit(txid(6));
        assert_eq!(ensemble.pending(), None);
        assert!(ensemble.is_quorum(among(&[4, 5])));
    }

    #[test]
    fn a_truncated_membership_is_forgotten() {
        let mut ensemble = Ensemble::new(membership(txid(1), &[1, 2, 3], &[]));
        ensemble.log(membership(txid(5), &[3, 4, 5], &[]), txid(4));
        ensemble.truncate(txid(5), &membership(txid(5), &[3, 4, 5], &[]));
        assert!(ensemble.pending().is_some());
        ensemble.truncate(txid(4), &membership(txid(1), &[1, 2, 3], &[]));
        assert!(ensemble.pending().is_none());
        assert!(ensemble.is_quorum(among(&[1, 2])));
    }

    #[test]
    fn a_life_is_recorded_without_a_change_of_the_quorum_and_forgotten_with_its_entry() {
        let three = membership(txid(1), &[1, 2, 3], &[]);
        let mut ensemble = Ensemble::new(three.clone());
        let (node, life) = (NodeId::new(2), Life::new(7));
        ensemble.record(txid(2), &[(node, life)]);
        assert_eq!(ensemble.life_of(node), Some(Recorded { at: txid(2), life }));
        assert!(ensemble.pending().is_none() && ensemble.is_quorum(among(&[1, 2])));
        ensemble.truncate(txid(1), &three);
        assert_eq!(ensemble.life_of(node), None);
        let there = three.with_lives([(txid(2), [(node, life)].as_slice())]);
        assert_eq!(there.version(), txid(1));
        assert_eq!(Ensemble::new(there).life_of(node), Some(Recorded { at: txid(2), life }));
    }

    proptest! {
        /// The naive twin of the watermark: try every txid that some voter reached.
        #[test]
        fn the_watermark_is_the_greatest_txid_that_a_quorum_reached(
            at in proptest::collection::vec(0..6u64, 7),
            old in proptest::collection::btree_set(1..8u32, 1..6),
            new in proptest::collection::btree_set(1..8u32, 1..6),
            pending in proptest::option::of(2..6u64),
        ) {
            let reach = |counter: u64| if counter == 0 { Txid::ZERO } else { txid(counter) };
            let at = |node: NodeId| reach(at[node.get() as usize - 1]);
            let (old, new): (Vec<u32>, Vec<u32>) =
                (old.into_iter().collect(), new.into_iter().collect());
            let mut ensemble = Ensemble::new(membership(txid(1), &old, &[]));
            if let Some(version) = pending {
                ensemble.log(membership(txid(version), &new, &[]), reach(version - 1));
            }
            let majority = |voters: &[u32], z: Txid| {
                let have = voters.iter().filter(|id| at(NodeId::new(**id)) >= z).count();
                have > voters.len() / 2
            };
            let counts = |z: Txid| {
                let joint = pending.is_some_and(|version| z >= txid(version));
                majority(&old, z) && (!joint || majority(&new, z))
            };
            let twin = (0..6).rev().map(reach).find(|z| z.is_zero() || counts(*z)).unwrap();
            prop_assert_eq!(ensemble.watermark(at), twin);
        }

        /// The naive twin of a quorum: count heads under each membership.
        #[test]
        fn any_two_quorums_of_one_ensemble_meet(
            voters in proptest::collection::btree_set(1..8u32, 1..8),
            a in 0..128u32,
            b in 0..128u32,
        ) {
            let voters: Vec<u32> = voters.into_iter().collect();
            let ensemble = Ensemble::new(membership(txid(1), &voters, &[]));
            let has = |set: u32| move |node: NodeId| set & (1 << (node.get() - 1)) != 0;
            let heads = voters.iter().filter(|id| has(a)(NodeId::new(**id))).count();
            prop_assert_eq!(ensemble.is_quorum(has(a)), heads > voters.len() / 2);
            if ensemble.is_quorum(has(a)) && ensemble.is_quorum(has(b)) {
                prop_assert!(voters.iter().any(|id| has(a & b)(NodeId::new(*id))));
            }
        }
    }
}
