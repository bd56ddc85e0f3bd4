//! The state of a small world: machines, what is on its way, and what the checkers remember.

use super::print::{Copies, Shared};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use zabkeeper_core::mutants::Mutant;
use zabkeeper_core::words::{ConnId, Epoch, Incarnation, Instant, Life, Micros, NodeId, Txid};
use zabkeeper_core::zab::{
    Base, Config, Identity, Image, Lives, Member, Membership, Message, Node, Position, Record, Vote,
};

/// The present of every node, always: see [`Node::rebase`].
pub(super) const PRESENT: Instant = Instant::from_micros(1_000_000_000);

/// Longer than everything that a node waits for.
pub(super) const LONG: Micros = Micros::millis(100_000);

/// How often each thing may still happen. Everything else happens as often as it can.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Budget {
    /// Writes that clients ask of an established leader.
    pub proposals: u8,
    /// Power cuts of a machine.
    pub crashes: u8,
    /// Messages lost: a datagram, or a connection with what is on its way on it.
    pub losses: u8,
    /// Times at which everything that a node waits for runs out.
    pub timeouts: u8,
}

/// What is searched of the orders in which things can happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Orders {
    /// Every datagram arrives unless it is lost, instead of the newest from each to each only.
    pub all_votes: bool,
    /// Also what cannot matter: how long it takes to open a connection.
    pub all_dials: bool,
}

/// Everything that decides what can happen next, and what of it would be wrong.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct World {
    pub(super) machines: Vec<Shared<Machine>>,
    /// Connections, also those that only one side still takes for open.
    pub(super) links: BTreeMap<ConnId, Shared<Link>>,
    /// Datagrams from a node to another, in order.
    pub(super) votes: BTreeMap<(u8, u8), Shared<VecDeque<Vote>>>,
    /// Who is opening a connection to whom.
    pub(super) dials: BTreeSet<(u8, u8)>,
    pub(super) left: Budget,
    pub(super) history: Shared<History>,
}

/// One copy of each part that states share. Machines are shared by their turns.
#[derive(Debug, Default)]
pub(super) struct Parts {
    links: Copies<Link>,
    votes: Copies<VecDeque<Vote>>,
    histories: Copies<History>,
}

/// A machine: its disk, and the node that runs on it, if it has power.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) id: NodeId,
    pub(super) node: Option<Node>,
    /// What survives a power cut.
    pub(super) disk: Image,
    /// Records that are not durable yet, oldest first.
    pub(super) pending: VecDeque<Record>,
    /// The disk with these records.
    pub(super) issued: Image,
    /// How often it was started.
    pub(super) lives: u8,
    /// The last history that it acknowledged.
    pub(super) acked: Option<(Epoch, Position)>,
}

/// A connection between two machines.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Link {
    /// Who opened it, and to whom.
    pub(super) ends: [u8; 2],
    /// What travels from each end to the other.
    pub(super) ways: [Way; 2],
}

/// One direction of a connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Way {
    pub(super) queue: VecDeque<Arc<Message>>,
    pub(super) state: Flow,
}

/// Whether more comes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Flow {
    Open,
    /// The sender closed it: what it sent arrives, then the end.
    Closed,
    /// The connection broke or the sender lost power: perhaps only a part arrives, then the end.
    Broken,
    /// The receiver takes nothing any more.
    Done,
}

/// What the checkers remember.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct History {
    /// The one committed sequence.
    pub(super) order: Vec<Committed>,
    /// Who was established in each epoch, on which history.
    pub(super) established: BTreeMap<Epoch, (NodeId, Position)>,
    /// What became of each write asked for.
    pub(super) writes: Vec<Fate>,
}

/// A committed entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Committed {
    pub(super) at: Position,
    /// Which write it is; `None` for the first membership.
    pub(super) write: Option<u8>,
}

/// What a client was told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Fate {
    Open,
    Done(Txid),
    Refused,
    Unknown,
}

impl World {
    /// Machines `1..=nodes` with empty disks, all without power.
    pub(super) fn empty(nodes: u8) -> Self {
        let member = |id: u8| {
            let name = format!("n{id}");
            let (election_addr, message_addr) = (name.clone(), name);
            Member { voter: true, incarnation: None, life: None, election_addr, message_addr }
        };
        let members = (1..=nodes).map(|id| (NodeId::new(id.into()), member(id)));
        let membership = Arc::new(Membership::new(Txid::ZERO, members.collect()));
        let ids = (1..=nodes).map(|id| NodeId::new(id.into()));
        let machines = ids.map(|id| Shared::new(Machine::blank(id, membership.clone())));
        Self {
            machines: machines.collect(),
            links: BTreeMap::new(),
            votes: BTreeMap::new(),
            dials: BTreeSet::new(),
            left: Budget { proposals: 0, crashes: 0, losses: 0, timeouts: 0 },
            history: Shared::new(History::default()),
        }
    }

    /// Takes the fingerprints of what has changed.
    pub(super) fn seal(&mut self) {
        self.links.values_mut().for_each(Shared::seal);
        self.votes.values_mut().for_each(Shared::seal);
        self.history.seal();
    }

    /// Lets go of what other states have as well.
    pub(super) fn share(&mut self, parts: &mut Parts) {
        self.links.values_mut().for_each(|link| parts.links.share(link));
        self.votes.values_mut().for_each(|queue| parts.votes.share(queue));
        parts.histories.share(&mut self.history);
    }

    /// The first number that no connection between these two has.
    pub(super) fn free_conn(&self, from: u8, to: u8) -> ConnId {
        let base = u64::from(from + 1) * 100 + u64::from(to + 1) * 10;
        let mut ids = (base..).map(ConnId::new);
        ids.find(|id| !self.links.contains_key(id)).unwrap_or_default()
    }
}

/// What was issued follows from the disk and what is on its way there.
impl Hash for Machine {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.id, &self.node, &self.disk, &self.pending, self.lives, self.acked).hash(state);
    }
}

impl Machine {
    /// A machine with an empty disk, without power.
    fn blank(id: NodeId, membership: Arc<Membership>) -> Self {
        let mut disk = Image::new(Base { at: Position::ZERO, membership });
        // One life for all starts: the search knows no copies of disks.
        disk.lives = Lives::first(Life::new(id.get().into()));
        Self {
            id,
            node: None,
            issued: disk.clone(),
            disk,
            pending: VecDeque::new(),
            lives: 0,
            acked: None,
        }
    }

    /// Who the machine is to the others.
    pub(super) fn identity(&self, cluster: zabkeeper_core::words::ClusterId) -> Identity {
        let incarnation = Incarnation::new(self.id.get().into());
        Identity { cluster, node: self.id, incarnation }
    }
}

impl Link {
    /// An open connection.
    pub(super) fn open(from: u8, to: u8) -> Self {
        let way = Way { queue: VecDeque::new(), state: Flow::Open };
        Self { ends: [from, to], ways: [way.clone(), way] }
    }

    /// The way on which `node` sends.
    pub(super) fn way_from(&self, node: u8) -> usize {
        usize::from(self.ends[0] != node)
    }

    /// This end takes nothing any more, and sends nothing more.
    pub(super) fn leave(&mut self, node: u8, how: Flow) {
        let from = self.way_from(node);
        self.ways[1 - from].finish();
        let out = &mut self.ways[from];
        if out.state == Flow::Open {
            out.state = how;
        }
    }

    /// Neither end knows it any more.
    pub(super) fn is_forgotten(&self) -> bool {
        self.ways.iter().all(|way| way.state == Flow::Done)
    }
}

impl Way {
    /// The receiver is gone.
    pub(super) fn finish(&mut self) {
        self.queue.clear();
        self.state = Flow::Done;
    }

    /// True if the end of it can arrive.
    pub(super) fn can_end(&self) -> bool {
        match self.state {
            Flow::Open | Flow::Done => false,
            Flow::Closed => self.queue.is_empty(),
            Flow::Broken => true,
        }
    }
}

/// How every node is configured: what it waits for a moment for comes at once, what it must not
/// wait for long comes when the budget lets time pass, and clients wait for ever.
pub(super) fn config(node: NodeId, mutant: Option<Mutant>) -> Config {
    let mut config = Config::new(node);
    config.timeouts.finalize = Micros::new(0);
    config.timeouts.redial = Micros::new(0);
    config.timeouts.hold = Micros::new(u64::MAX);
    config.timeouts.settle = Micros::new(u64::MAX);
    config.mutant = mutant;
    config.unstamped = true;
    config
}
