//! A whole ensemble inside a unit test.

use crate::run::options::Options;
use crate::run::plan::{Op, OpKind, Plan};
use crate::world::{Occur, World};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use zabkeeper_core::store::{Answer, Command, CommandError, Found, Path, Query, Stat};
use zabkeeper_core::words::{End, NodeId, ReadLevel, RefuseReason, Txid};
use zabkeeper_core::zab::{RoleStatus, Status};

/// An ensemble of nodes in virtual time, and clients of it. Nodes are numbered from 1.
///
/// Nodes and clients are the production core; disks, network and clocks are modelled. Nothing happens
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
///
/// A call through a number asks that node alone. [`Via::Any`] is a client that fails over:
///
/// ```
/// use std::time::Duration;
/// use zabkeeper_sim::{Cluster, Via};
///
/// let mut cluster = Cluster::new(3, 1);
/// cluster.set(Via::Any, "jobs/1", b"sweep").expect("it waits for the election");
/// cluster.set(Via::Any, "jobs/2", b"mop").expect("there is a leader");
///
/// // The leader goes down while it is asked; the client finds the next.
/// let leader = cluster.leader().expect("it has just written");
/// cluster.crash(leader);
/// assert_eq!(cluster.get(Via::Any, "jobs/2").expect("served"), Some(b"mop".to_vec()));
///
/// let jobs = cluster.list(Via::Any, "jobs").expect("served").expect("it was made");
/// assert_eq!(jobs, ["jobs/1", "jobs/2"]);
/// let stat = cluster.stat(Via::Any, "jobs").expect("served").expect("it was made");
/// assert_eq!((stat.children, stat.version), (2, 0));
/// ```
///
/// The whole language of the tree is there in [`Cluster::write`] and [`Cluster::read`]:
///
/// ```
/// use zabkeeper_core::store::{Answer, Command, Path, Query};
/// use zabkeeper_core::words::ReadLevel;
/// use zabkeeper_sim::{Cluster, Via};
///
/// let mut cluster = Cluster::new(3, 1);
/// for key in ["a/b", "a/b/c", "a/d"] {
///     cluster.add(Via::Any, key, b"x").expect("new");
/// }
/// let path = Path::parse("a").expect("a key");
/// let query = Query::List { path: path.clone(), recursive: true, after: None, limit: 2, values: true };
/// let Ok(Answer::List(Some(page))) = cluster.read(Via::Any, query, ReadLevel::Linearizable) else {
///     panic!("the key exists");
/// };
/// assert!(page.nodes.len() == 2 && page.more);
/// cluster.write(Via::Any, Command::Delete { path, recursive: true }).expect("it exists");
/// assert_eq!(cluster.list(Via::Any, "a"), Ok(None));
/// ```
#[derive(Debug)]
pub struct Cluster {
    world: World,
    patience: u64,
    cuts: BTreeSet<(NodeId, NodeId)>,
}

/// Whose client makes a call. Each is one client: what it has seen, its local reads never fall
/// behind. Partitions are between nodes; clients reach every node that runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// A client that knows this node only. A plain number means this.
    Node(u32),
    /// A client that knows all nodes and turns to another when one fails it.
    Any,
}

impl From<u32> for Via {
    fn from(node: u32) -> Self {
        Self::Node(node)
    }
}

/// Names a call that was begun and not waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallId(usize);

/// Why a call did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// It was certainly not done.
    Refused(RefuseReason),
    /// Nobody knows whether it was done.
    Unknown,
    /// It was done, and the tree said no.
    Rejected(CommandError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "refused, certainly not done: {why:?}"),
            Self::Unknown => write!(f, "no answer: perhaps done, perhaps not"),
            Self::Rejected(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Failure {}

/// The number of the client that knows all nodes; those that know one have its number.
const ANY: u32 = 0;

/// Far enough away for any test.
const NEVER: u64 = u64::MAX / 4;

impl Cluster {
    /// An ensemble of so many voters on a quiet network. The seed decides all that is left to
    /// chance; the same seed gives the same run.
    pub fn new(nodes: u32, seed: u64) -> Self {
        Self::with_options(Options::calm(nodes), seed)
    }

    /// An ensemble under circumstances of your own. Clients drive the production machine, with the
    /// defaults if the options name none.
    pub fn with_options(mut options: Options, seed: u64) -> Self {
        options.duration = NEVER;
        options.clients.get_or_insert_default();
        let plan = Plan { seed, mutant: None, options, faults: Vec::new(), ops: Vec::new() };
        let mut world = World::new(plan, false);
        let nodes: Vec<NodeId> = world.hosts.iter().map(|host| host.id).collect();
        for node in &nodes {
            world.sessions.open(node.get(), vec![*node]);
        }
        world.sessions.open(ANY, nodes);
        Self { world, patience: 5_000_000, cuts: BTreeSet::new() }
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

    /// Creates a key.
    pub fn add(&mut self, via: impl Into<Via>, key: &str, value: &[u8]) -> Result<Txid, Failure> {
        let call = self.begin_add(via, key, value);
        self.written(call)
    }

    /// Sets a key.
    pub fn set(&mut self, via: impl Into<Via>, key: &str, value: &[u8]) -> Result<Txid, Failure> {
        let call = self.begin_set(via, key, value);
        self.written(call)
    }

    /// Deletes a key that has no children.
    pub fn delete(&mut self, via: impl Into<Via>, key: &str) -> Result<Txid, Failure> {
        let call = self.begin_delete(via, key);
        self.written(call)
    }

    /// Does any command and waits for its outcome.
    pub fn write(&mut self, via: impl Into<Via>, command: Command) -> Result<Txid, Failure> {
        let call = self.begin_write(via, command);
        self.written(call)
    }

    /// Reads a key, linearizably.
    pub fn get(&mut self, via: impl Into<Via>, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.value(via.into(), key, ReadLevel::Linearizable)
    }

    /// Reads a key from the state of the node asked, perhaps an old one, but never older than what
    /// this client has seen.
    pub fn get_local(
        &mut self,
        via: impl Into<Via>,
        key: &str,
    ) -> Result<Option<Vec<u8>>, Failure> {
        self.value(via.into(), key, ReadLevel::Local(Txid::ZERO))
    }

    /// What the tree knows about a key besides its value, linearizably.
    pub fn stat(&mut self, via: impl Into<Via>, key: &str) -> Result<Option<Stat>, Failure> {
        Ok(self.node(via.into(), key, ReadLevel::Linearizable)?.map(|found| found.stat))
    }

    /// The children of a key in order, linearizably; `None` if there is no such key. They are
    /// whole keys. For pages, values or everything below, see [`Cluster::read`].
    pub fn list(&mut self, via: impl Into<Via>, key: &str) -> Result<Option<Vec<String>>, Failure> {
        let (via, mut names, mut after) = (via.into(), Vec::new(), None);
        loop {
            let (limit, path) = (u32::MAX, path(key));
            let query = Query::List { path, recursive: false, after, limit, values: false };
            let Answer::List(Some(page)) = self.read(via, query, ReadLevel::Linearizable)? else {
                return Ok(None);
            };
            names.extend(page.nodes.iter().map(|found| found.path.as_str().to_string()));
            after = page.nodes.last().map(|found| found.path.clone());
            if !page.more || after.is_none() {
                return Ok(Some(names));
            }
        }
    }

    /// Asks any question and waits for the answer.
    pub fn read(
        &mut self,
        via: impl Into<Via>,
        query: Query,
        level: ReadLevel,
    ) -> Result<Answer, Failure> {
        let call = self.begin_read(via, query, level);
        self.written(call)?;
        match &self.world.clients.calls[call.0].ended {
            Some((_, End::Done { answer, .. })) => Ok(answer.clone()),
            _ => Err(Failure::Unknown),
        }
    }

    /// Begins to create a key, without waiting.
    pub fn begin_add(&mut self, via: impl Into<Via>, key: &str, value: &[u8]) -> CallId {
        self.begin_write(via, Command::Add { path: path(key), value: value.into() })
    }

    /// Begins to set a key, without waiting.
    pub fn begin_set(&mut self, via: impl Into<Via>, key: &str, value: &[u8]) -> CallId {
        self.begin_write(via, Command::Set { path: path(key), value: value.into() })
    }

    /// Begins to delete a key, without waiting.
    pub fn begin_delete(&mut self, via: impl Into<Via>, key: &str) -> CallId {
        self.begin_write(via, Command::Delete { path: path(key), recursive: false })
    }

    /// Begins any command, without waiting.
    pub fn begin_write(&mut self, via: impl Into<Via>, command: Command) -> CallId {
        let kind = match &command {
            Command::Add { .. } => OpKind::Add,
            Command::Set { .. } => OpKind::Set,
            Command::Delete { .. } | Command::Clear { .. } => OpKind::Delete,
        };
        let query = Query::Get { path: command.path().clone() };
        self.begin(via.into(), query, kind, Some(command))
    }

    /// Begins to ask any question, without waiting.
    pub fn begin_read(&mut self, via: impl Into<Via>, query: Query, level: ReadLevel) -> CallId {
        let kind = match level {
            ReadLevel::Linearizable => OpKind::Get,
            ReadLevel::Local(_) => OpKind::Peek,
        };
        self.begin(via.into(), query, kind, None)
    }

    /// How a call ended; `None` if it has not.
    pub fn outcome(&self, call: CallId) -> Option<Result<Txid, Failure>> {
        let (_, ending) = self.world.clients.calls[call.0].ended.as_ref()?;
        Some(match ending {
            End::Done { answer: Answer::Written(Err(why)), .. } => Err(Failure::Rejected(*why)),
            End::Done { txid, .. } => Ok(*txid),
            End::Refused(why) => Err(Failure::Refused(*why)),
            End::Invalid(why) => panic!("the request makes no sense: {why}"),
            End::Unknown => Err(Failure::Unknown),
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

    fn begin(&mut self, via: Via, query: Query, kind: OpKind, command: Option<Command>) -> CallId {
        let (client, node) = match via {
            Via::Node(node) if self.nodes().any(|known| known == node) => (node, node),
            Via::Node(node) => panic!("there is no node {node}"),
            Via::Any => (ANY, 1),
        };
        let (at, patience) = (self.world.now, self.patience);
        let op = Op { at, client, node, kind, key: 0, size: 0, patience };
        let call = self.world.clients.push(op, query, command);
        self.world.queue.push(at, Occur::Ask(vec![call]));
        CallId(call)
    }

    fn written(&mut self, call: CallId) -> Result<Txid, Failure> {
        self.run_while(NEVER, |cluster| cluster.outcome(call).is_none());
        self.outcome(call).unwrap_or(Err(Failure::Unknown))
    }

    fn node(&mut self, via: Via, key: &str, level: ReadLevel) -> Result<Option<Found>, Failure> {
        match self.read(via, Query::Get { path: path(key) }, level)? {
            Answer::Node(found) => Ok(found),
            _ => Err(Failure::Unknown),
        }
    }

    fn value(&mut self, via: Via, key: &str, level: ReadLevel) -> Result<Option<Vec<u8>>, Failure> {
        let found = self.node(via, key, level)?;
        Ok(found.and_then(|found| found.value).map(|value| value.to_vec()))
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
