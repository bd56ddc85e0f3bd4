//! An application of one's own: a counter that an ensemble of one replicates. It shows what an `App`
//! has to give; `core/src/store/` is a larger one.
//!
//! Run it with `cargo run -p zabkeeper-core --example counter`.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::sync::Arc;
use zabkeeper_core::replica::{ClientRequest, LoadError, Request};
use zabkeeper_core::words::{
    ConnId, Digest, Digester, End, Incarnation, Instant, NodeId, Now, Payload, ReadLevel, Ticket,
    Txid, WallTime,
};
use zabkeeper_core::zab::{Change, Identity, Item, Member, Membership, Recovered};
use zabkeeper_core::{Action, App, Config, Event, Input, Outputs, Replica};

/// A number. Its commands are numbers to be added, as eight bytes.
#[derive(Clone, PartialEq, Debug, Default)]
struct Counter {
    count: u64,
    /// What it was when a checkpoint began, until that is read.
    changed: Option<u64>,
    /// The same for each snapshot that is being sent.
    held: BTreeMap<ConnId, u64>,
}

impl App for Counter {
    type Query = ();
    /// The sum, or nothing if a command could not be read.
    type Answer = Option<u64>;

    fn empty() -> Self {
        Self::default()
    }

    fn apply(&mut self, _: Txid, _: WallTime, command: &Payload) -> Option<u64> {
        let more = u64::from_be_bytes(command.as_slice().try_into().ok()?);
        self.count = self.count.wrapping_add(more);
        Some(self.count)
    }

    fn query(&self, (): &()) -> Option<u64> {
        Some(self.count)
    }

    fn weight(_: &Option<u64>) -> usize {
        1
    }

    fn digest(&self) -> Digest {
        Digester::after(Digest::ZERO).number(self.count).finish()
    }

    // The state is one element, whatever changed.

    fn begin_changes(&mut self) {
        self.changed = Some(self.count);
    }

    fn read_changes(&mut self, _: usize) -> (Vec<Change>, bool) {
        let change = |count: u64| Change {
            key: b"count".as_slice().into(),
            value: Some(count.to_be_bytes().as_slice().into()),
        };
        (self.changed.take().map(change).into_iter().collect(), true)
    }

    fn open_snapshot(&mut self, id: ConnId) {
        self.held.insert(id, self.count);
    }

    fn read_snapshot(&mut self, id: ConnId, _: usize) -> (Vec<Item>, bool) {
        let item = |count: u64| Item {
            key: b"count".as_slice().into(),
            value: count.to_be_bytes().as_slice().into(),
        };
        (self.held.remove(&id).map(item).into_iter().collect(), true)
    }

    fn close_snapshot(&mut self, id: ConnId) {
        self.held.remove(&id);
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let count = value.try_into().map_err(|_| LoadError::Malformed("the count"))?;
        if key != b"count" {
            return Err(LoadError::Malformed("a key"));
        }
        self.count = u64::from_be_bytes(count);
        Ok(())
    }

    fn finish_load(&mut self, _: Txid) -> Result<(), LoadError> {
        Ok(())
    }
}

/// A node alone, on a disk that completes at once.
struct Alone {
    replica: Replica<Counter>,
    out: Outputs<Counter>,
    tickets: u64,
}

impl Alone {
    fn start() -> Result<Self, Box<dyn Error>> {
        let node = NodeId::new(1);
        let member = Member {
            voter: true,
            incarnation: None,
            life: None,
            election_addr: "host1:5001".into(),
            message_addr: "host1:5002".into(),
        };
        let members = BTreeMap::from([(node, member)]);
        let membership = Arc::new(Membership::new(Txid::ZERO, members));
        let cluster = membership.cluster_id();
        let identity = Identity { cluster, node, incarnation: Incarnation::new(7) };
        let disk = Recovered::fresh(identity, membership);
        let (config, app) = (Config::new(node), Counter::empty());
        let (replica, out) = Replica::restore(config, disk, app, 1, Now::default())?;
        Ok(Self { replica, out, tickets: 0 })
    }

    /// Asks, and drives the replica until nothing follows.
    fn ask(&mut self, request: Request<()>) -> Option<End<Option<u64>>> {
        self.tickets += 1;
        let ticket = Ticket::new(self.tickets);
        let deadline = Instant::from_micros(1_000_000);
        let request = ClientRequest { ticket, deadline, request };
        let mut inputs = VecDeque::from([Input::Requests(vec![request])]);
        loop {
            for action in std::mem::take(&mut self.out.actions) {
                if let Action::Persist { id, .. } = action {
                    inputs.push_back(Input::Event(Event::Persisted(id)));
                }
            }
            let Some(input) = inputs.pop_front() else { break };
            self.replica.handle(Now::default(), input, &mut self.out);
        }
        self.out.replies.pop().map(|(_, end)| end)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut alone = Alone::start()?;
    for more in [40_u64, 2] {
        let end = alone.ask(Request::Write(more.to_be_bytes().as_slice().into()));
        let Some(End::Done { txid, answer }) = end else {
            return Err(format!("not written: {end:?}").into());
        };
        println!("{more} added at {txid}: {answer:?}");
    }
    let end = alone.ask(Request::Read { query: (), level: ReadLevel::Linearizable });
    println!("read: {end:?}");
    match end {
        Some(End::Done { answer: Some(42), .. }) => Ok(()),
        _ => Err("the sum is not 42".into()),
    }
}
