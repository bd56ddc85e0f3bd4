//! A whole ensemble inside a unit test.

use crate::clients::Ending;
use crate::options::Options;
use crate::plan::{Op, OpKind, Plan};
use crate::world::{Occur, World};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use zabkeeper_core::ids::{NodeId, Txid};
use zabkeeper_core::message::RefuseReason;
use zabkeeper_core::replica::{RoleStatus, Status};
use zabkeeper_core::tree::{Answer, Command, CommandError, Path};

/// An ensemble of nodes in virtual time, and a client of it. Nodes are numbered from 1.
///
/// Everything is the production core; disks, network and clocks are modelled. Nothing happens
/// unless the test lets time pass: by [`Cluster::advance`], or by a call that waits for its answer.
/// The simulator's invariants are checked all the while; a broken one panics.
///
/// ```
/// use std::time::Duration;
/// use zabkeeper_sim::{Cluster, Failure};
///
/// let mut cluster = Cluster::new(3, 1);
/// cluster.wait_for_leader(Duration::from_secs(5)).expect("an election");
///
/// // A node that is cut off refuses; the other two go on.
/// cluster.partition(&[1], &[2, 3]);
/// assert!(matches!(cluster.set(1, "a", b"lost"), Err(Failure::Refused(_) | Failure::Unknown)));
/// cluster.set(2, "a", b"kept").expect("two of three are a quorum");
///
/// cluster.heal();
/// cluster.advance(Duration::from_secs(5));
/// assert_eq!(cluster.get(1, "a").expect("it is back"), Some(b"kept".to_vec()));
/// assert_eq!(cluster.status(1).unwrap().digest, cluster.status(2).unwrap().digest);
/// ```
#[derive(Debug)]
pub struct Cluster {
    world: World,
    patience: u64,
    cuts: BTreeSet<(NodeId, NodeId)>,
}

/// Names a call that was begun and not waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallId(usize);

/// Why a call did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// It was certainly not done.
    Refused(RefuseReason),
    /// It was certainly not done: no node took it, or answered the read, in time.
    TimedOut,
    /// Nobody knows whether it was done.
    Unknown,
    /// It was done, and the tree said no.
    Rejected(CommandError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "refused, certainly not done: {why:?}"),
            Self::TimedOut => write!(f, "no node answered in time, certainly not done"),
            Self::Unknown => write!(f, "no answer: perhaps done, perhaps not"),
            Self::Rejected(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// Far enough away for any test.
const NEVER: u64 = u64::MAX / 4;

impl Cluster {
    /// An ensemble of so many voters on a quiet network. The seed decides all that is left to
    /// chance; the same seed gives the same run.
    pub fn new(nodes: u32, seed: u64) -> Self {
        Self::with_options(Options::calm(nodes), seed)
    }

    /// An ensemble under circumstances of your own.
    pub fn with_options(mut options: Options, seed: u64) -> Self {
        options.duration = NEVER;
        let plan = Plan { seed, mutant: None, options, faults: Vec::new(), ops: Vec::new() };
        Self { world: World::new(plan, false), patience: 5_000_000, cuts: BTreeSet::new() }
    }

    /// How long a call waits for its answer from now on; 5 s at first.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = micros(patience);
    }

    /// The virtual time since the start.
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.world.now)
    }

    /// Lets time pass.
    pub fn advance(&mut self, span: Duration) {
        let end = self.world.now + micros(span);
        self.run_while(end, |_| true);
        self.world.now = end;
    }

    /// Lets time pass until `done` holds, at most `limit`. True if it holds.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.world.now + micros(limit);
        self.run_while(end, |cluster| !done(cluster));
        done(self)
    }

    /// Lets time pass until a leader is established whom a majority follows, at most `limit`.
    pub fn wait_for_leader(&mut self, limit: Duration) -> Option<u32> {
        self.run_until(limit, |cluster| cluster.leader().is_some());
        self.leader()
    }

    /// The established leader whom a majority serves, itself included, once the ensemble has formed.
    pub fn leader(&self) -> Option<u32> {
        let serves = |leader: u32| {
            let follows = |node: &u32| {
                // Until the first membership is committed, every node is needed for everything.
                let formed = |status: &&Status| !status.membership.version().is_zero();
                match self.status(*node).filter(formed).map(|status| status.role) {
                    Some(RoleStatus::Leading { established: true }) => *node == leader,
                    Some(RoleStatus::Following { leader: whom, serving: true }) => {
                        whom.get() == leader
                    }
                    _ => false,
                }
            };
            follows(&leader) && self.nodes().filter(follows).count() > self.world.hosts.len() / 2
        };
        self.nodes().find(|node| serves(*node))
    }

    /// What a node says of itself; `None` if it is down.
    pub fn status(&self, node: u32) -> Option<&Status> {
        self.world.host(NodeId::new(node)).process.as_ref().map(|process| &process.status)
    }

    /// Creates a key through a node.
    pub fn add(&mut self, node: u32, key: &str, value: &[u8]) -> Result<Txid, Failure> {
        let call = self.begin_add(node, key, value);
        self.written(call)
    }

    /// Sets a key through a node.
    pub fn set(&mut self, node: u32, key: &str, value: &[u8]) -> Result<Txid, Failure> {
        let call = self.begin_set(node, key, value);
        self.written(call)
    }

    /// Deletes a key through a node.
    pub fn delete(&mut self, node: u32, key: &str) -> Result<Txid, Failure> {
        let call = self.begin_delete(node, key);
        self.written(call)
    }

    /// Reads a key through a node, linearizably.
    pub fn get(&mut self, node: u32, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.read(node, key, OpKind::Get)
    }

    /// Reads a key from a node's own state, perhaps an old one.
    pub fn get_local(&mut self, node: u32, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.read(node, key, OpKind::Peek)
    }

    /// Begins to create a key, without waiting.
    pub fn begin_add(&mut self, node: u32, key: &str, value: &[u8]) -> CallId {
        let path = path(key);
        let command = Command::Add { path: path.clone(), value: value.into() };
        self.begin(node, path, OpKind::Add, Some(command))
    }

    /// Begins to set a key, without waiting.
    pub fn begin_set(&mut self, node: u32, key: &str, value: &[u8]) -> CallId {
        let path = path(key);
        let command = Command::Set { path: path.clone(), value: value.into() };
        self.begin(node, path, OpKind::Set, Some(command))
    }

    /// Begins to delete a key, without waiting.
    pub fn begin_delete(&mut self, node: u32, key: &str) -> CallId {
        let path = path(key);
        let command = Command::Delete { path: path.clone(), recursive: false };
        self.begin(node, path, OpKind::Delete, Some(command))
    }

    /// How a call ended; `None` if it has not.
    pub fn outcome(&self, call: CallId) -> Option<Result<Txid, Failure>> {
        let (_, ending) = self.world.clients.calls[call.0].ended.as_ref()?;
        Some(match ending {
            Ending::Written { txid, outcome: Ok(_) } => Ok(*txid),
            Ending::Written { outcome: Err(error), .. } => Err(Failure::Rejected(*error)),
            Ending::Read { applied, .. } => Ok(*applied),
            Ending::Refused(why) => Err(Failure::Refused(*why)),
            Ending::TimedOut => Err(Failure::TimedOut),
            Ending::Unknown => Err(Failure::Unknown),
        })
    }

    /// A machine loses power, with everything that its disk had not flushed.
    pub fn crash(&mut self, node: u32) {
        self.checked(|world| world.kill(NodeId::new(node)));
    }

    /// A machine that is down comes back.
    pub fn start(&mut self, node: u32) {
        let node = NodeId::new(node);
        let boot = self.world.host(node).boots;
        self.world.queue.push(self.world.now, Occur::Start { node, boot });
    }

    /// All machines lose power at once.
    pub fn power_cut(&mut self) {
        for node in self.nodes().collect::<Vec<_>>() {
            self.crash(node);
        }
    }

    /// A process stands still for a while: timers and messages wait.
    pub fn pause(&mut self, node: u32, span: Duration) {
        self.world.pause(NodeId::new(node), micros(span));
    }

    /// Nothing gets from one side to the other, in both directions.
    pub fn partition(&mut self, left: &[u32], right: &[u32]) {
        for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
            self.cut(a, b);
            self.cut(b, a);
        }
    }

    /// Nothing gets from one node to another, in this direction.
    pub fn cut(&mut self, from: u32, to: u32) {
        let link = (NodeId::new(from), NodeId::new(to));
        if self.cuts.insert(link) {
            self.world.net.cut(link.0, link.1);
        }
    }

    /// All links work again.
    pub fn heal(&mut self) {
        for (from, to) in std::mem::take(&mut self.cuts) {
            self.world.net.heal(from, to, self.world.now, &mut self.world.queue);
        }
    }

    fn nodes(&self) -> impl Iterator<Item = u32> + use<> {
        1..=self.world.plan.options.nodes
    }

    fn begin(&mut self, node: u32, path: Path, kind: OpKind, command: Option<Command>) -> CallId {
        let op = Op {
            at: self.world.now,
            client: 1,
            node,
            kind,
            key: 0,
            size: 0,
            patience: self.patience,
        };
        let call = self.world.clients.push(op, path, command);
        self.world.queue.push(self.world.now, Occur::Ask(vec![call]));
        CallId(call)
    }

    fn written(&mut self, call: CallId) -> Result<Txid, Failure> {
        self.run_while(NEVER, |cluster| cluster.outcome(call).is_none());
        self.outcome(call).unwrap_or(Err(Failure::Unknown))
    }

    fn read(&mut self, node: u32, key: &str, kind: OpKind) -> Result<Option<Vec<u8>>, Failure> {
        let call = self.begin(node, path(key), kind, None);
        self.written(call)?;
        match &self.world.clients.calls[call.0].ended {
            Some((_, Ending::Read { answer: Answer::Node(found), .. })) => {
                let value = found.as_ref().and_then(|found| found.value.as_ref());
                Ok(value.map(|value| value.to_vec()))
            }
            _ => Err(Failure::Unknown),
        }
    }

    fn run_while(&mut self, end: u64, go_on: impl Fn(&Self) -> bool) {
        while go_on(self) && self.world.next_at().is_some_and(|at| at <= end) {
            self.checked(|world| world.advance().map(|_| ()));
        }
    }

    fn checked(&mut self, act: impl FnOnce(&mut World) -> crate::check::Check) {
        if let Err(violation) = act(&mut self.world) {
            panic!("an invariant is broken at {:?}: {violation}", self.now());
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(NEVER).min(NEVER)
}

fn path(key: &str) -> Path {
    match Path::parse(key) {
        Ok(path) => path,
        Err(why) => panic!("{key:?} is not a key: {why}"),
    }
}
