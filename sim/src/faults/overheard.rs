//! What was said on the network, for those who say it again: old votes, and the greetings of
//! followers.

use crate::world::dice::Dice;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use zabkeeper_core::words::{Epoch, NodeId, Rng, Round};
use zabkeeper_core::zab::{FollowerInfo, Stance, Vote};

/// How many old votes a link remembers for replay.
const OLD_VOTES: usize = 32;

/// A vote, and its number among all that was sent.
type Sent = (u64, Arc<Vote>);

/// What somebody who listens remembers.
#[derive(Debug, Default)]
pub struct Overheard {
    old: BTreeMap<(NodeId, NodeId), VecDeque<Sent>>,
    /// The votes of settled nodes, by the epoch that they name and their sender.
    settled: BTreeMap<Epoch, BTreeMap<NodeId, Arc<Vote>>>,
    /// The oldest vote of each sender that looked for a leader.
    looking: BTreeMap<NodeId, Arc<Vote>>,
    /// The newest greeting of each node.
    greetings: BTreeMap<NodeId, FollowerInfo>,
}

impl Overheard {
    /// A vote leaves under this number. Returns one that went the same way before, perhaps itself.
    pub fn vote(
        &mut self,
        to: NodeId,
        sent: u64,
        vote: &Arc<Vote>,
        fate: &mut Rng,
    ) -> (u64, Arc<Vote>) {
        self.remember(vote);
        let old = self.old.entry((vote.from, to)).or_default();
        old.push_back((sent, vote.clone()));
        if old.len() > OLD_VOTES {
            old.remove(fate.below(OLD_VOTES as u64) as usize);
        }
        fate.pick(old.make_contiguous()).clone()
    }

    /// A follower greets its leader.
    pub fn greeting(&mut self, info: &FollowerInfo) {
        self.greetings.insert(info.node, info.clone());
    }

    fn remember(&mut self, vote: &Arc<Vote>) {
        match vote.stance {
            Stance::Following(Some(epoch)) | Stance::Leading(Some(epoch)) => {
                self.settled.entry(epoch).or_default().insert(vote.from, vote.clone());
            }
            Stance::Looking => {
                self.looking.entry(vote.from).or_insert_with(|| vote.clone());
            }
            Stance::Following(None) | Stance::Leading(None) => {}
        }
    }

    /// A vote that one machine sent to the other not long ago.
    pub fn between(&self, from: NodeId, to: NodeId) -> Option<&Vote> {
        self.old.get(&(from, to))?.back().map(|(_, vote)| &**vote)
    }

    /// How a node greeted its leader last.
    pub fn greeting_of(&self, node: NodeId) -> Option<&FollowerInfo> {
        self.greetings.get(&node)
    }

    /// The votes of a reign: the newest one's, or those of so many reigns before it.
    pub fn votes_of_reign(&self, back: u32) -> Vec<Arc<Vote>> {
        let reign = self.settled.values().rev().nth(back as usize);
        reign.map(|votes| votes.values().cloned().collect()).unwrap_or_default()
    }

    /// Old votes that must not impress anyone in a later round: those of nodes that looked for a
    /// leader, and those of followers of old reigns.
    pub fn harmless_votes(&self, round: Round, from: impl Fn(NodeId) -> bool) -> Vec<Arc<Vote>> {
        let reigns = self.settled.values().rev().skip(1).take(2);
        let followers = reigns
            .flat_map(|votes| votes.values())
            .filter(|vote| matches!(vote.stance, Stance::Following(_)));
        let votes = self.looking.values().chain(followers);
        votes.filter(|vote| vote.round < round && from(vote.from)).cloned().collect()
    }
}
