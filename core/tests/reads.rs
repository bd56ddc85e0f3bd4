//! However much a node is asked for at once, a step takes a bounded time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use zabkeeper_core::replica::{App, ClientRequest, Input, Outputs, Replica, Request};
use zabkeeper_core::store::{Answer, Command, Path, Query, Tree};
use zabkeeper_core::words::{
    End, Incarnation, Instant, NodeId, Now, ReadLevel, RefuseReason, Ticket, Txid,
};
use zabkeeper_core::zab::{Action, Config, Event, Identity, Limits, Member, Membership, Recovered};

/// An ensemble of one, with a disk that completes at once.
struct Alone {
    replica: Replica<Tree>,
    out: Outputs<Tree>,
    tickets: u64,
}

impl Alone {
    fn start() -> Self {
        Self::limited(Limits::default())
    }

    fn limited(limits: Limits) -> Self {
        let node = NodeId::new(1);
        let member = Member {
            voter: true,
            incarnation: None,
            life: None,
            election_addr: "host1:5001".into(),
            message_addr: "host1:5002".into(),
        };
        let membership = Arc::new(Membership::new(Txid::ZERO, BTreeMap::from([(node, member)])));
        let identity =
            Identity { cluster: membership.cluster_id(), node, incarnation: Incarnation::new(7) };
        let disk = Recovered::fresh(identity, membership);
        let now = Now::default();
        let config = Config { limits, ..Config::new(node) };
        let (replica, out) = Replica::restore(config, disk, Tree::empty(), 1, now).unwrap();
        let mut alone = Self { replica, out, tickets: 0 };
        alone.settle();
        alone
    }

    /// Gives an input and all that the disk completes of it; returns the replies.
    fn give(&mut self, input: Input<Query>) -> Vec<(Ticket, End<Answer>)> {
        self.replica.handle(Now::default(), input, &mut self.out);
        self.settle()
    }

    fn settle(&mut self) -> Vec<(Ticket, End<Answer>)> {
        let mut done = VecDeque::new();
        loop {
            for action in std::mem::take(&mut self.out.actions) {
                if let Action::Persist { id, .. } = action {
                    done.push_back(id);
                }
            }
            let Some(id) = done.pop_front() else {
                return std::mem::take(&mut self.out.replies);
            };
            let input = Input::Event(Event::Persisted(id));
            self.replica.handle(Now::default(), input, &mut self.out);
        }
    }

    fn ask(&mut self, requests: impl IntoIterator<Item = Request<Query>>) -> Input<Query> {
        let request = |request| {
            self.tickets += 1;
            let ticket = Ticket::new(self.tickets);
            ClientRequest { ticket, deadline: Instant::from_micros(1_000_000), request }
        };
        Input::Requests(requests.into_iter().map(request).collect())
    }

    /// The answers that each step gives until there are no more.
    fn steps(&mut self, input: Input<Query>) -> Vec<Vec<Answer>> {
        let answers = |replies: Vec<(Ticket, End<Answer>)>| {
            let answer = |(_, reply)| match reply {
                End::Done { answer, .. } => answer,
                other => panic!("{other:?} is no answer to a read"),
            };
            replies.into_iter().map(answer).collect()
        };
        let mut steps = vec![answers(self.give(input))];
        while self.replica.deadline() == Some(Instant::default()) {
            steps.push(answers(self.give(Input::Event(Event::Tick))));
        }
        steps
    }
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn read(query: Query, level: ReadLevel) -> Request<Query> {
    Request::Read { query, level }
}

const LEVELS: [ReadLevel; 2] = [ReadLevel::Linearizable, ReadLevel::Local(Txid::ZERO)];

#[test]
fn large_answers_are_made_one_in_a_step_and_small_ones_a_thousand() {
    let mut alone = Alone::start();
    let set = |n| Command::Set { path: path(&format!("dir/{n}")), value: b"v".as_slice().into() };
    let writes = alone.ask((0..1_500).map(|n| Request::Write(set(n).encode())));
    assert_eq!(alone.give(writes).len(), 1_500);

    let list = |limit| {
        let path = path("dir");
        Query::List { path, recursive: false, after: None, limit, values: false }
    };
    for level in LEVELS {
        let input = alone.ask((0..4).map(|_| read(list(10_000), level)));
        let counts: Vec<_> = alone.steps(input).iter().map(Vec::len).collect();
        assert_eq!(counts, [1, 1, 1, 1]);
        let input = alone.ask((0..100).map(|_| read(list(24), level)));
        let counts: Vec<_> = alone.steps(input).iter().map(Vec::len).collect();
        assert_eq!(counts, [40, 40, 20]);
        let get = |n| Query::Get { path: path(&format!("dir/{n}")) };
        let input = alone.ask((0..1_500).map(|n| read(get(n), level)));
        let steps = alone.steps(input);
        assert_eq!(steps.iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 500]);
        assert!(steps.iter().flatten().all(|answer| matches!(answer, Answer::Node(Some(_)))));
    }
}

#[test]
fn a_read_that_is_forgotten_while_it_waits_for_room_is_not_answered() {
    let mut alone = Alone::start();
    let get = Query::Get { path: path("dir") };
    for level in LEVELS {
        let first = alone.tickets + 1;
        let input = alone.ask((0..1_002).map(|_| read(get.clone(), level)));
        assert_eq!(alone.give(input).len(), 1_000);
        let forgotten = vec![Ticket::new(first + 1_000)];
        let replies = alone.give(Input::Event(Event::Forget(forgotten)));
        let answered: Vec<_> = replies.into_iter().map(|(ticket, _)| ticket).collect();
        assert_eq!(answered, [Ticket::new(first + 1_001)]);
    }
}

#[test]
fn no_more_reads_wait_for_room_than_requests_may_wait() {
    let limits = Limits { read_part: 2, pending_requests: 5, ..Limits::default() };
    for level in LEVELS {
        let mut alone = Alone::limited(limits.clone());
        let get = Query::Get { path: path("dir") };
        // Each time five more come than the step before has answered.
        let mut busy = 0;
        for _ in 0..4 {
            let input = alone.ask((0..5).map(|_| read(get.clone(), level)));
            let replies = alone.give(input);
            assert!(alone.replica.put_off() <= 5);
            let refused = End::Refused(RefuseReason::Busy);
            busy += replies.iter().filter(|(_, reply)| *reply == refused).count();
        }
        assert!(busy > 0);
        // What was not refused is answered.
        let mut answered = 0;
        while alone.replica.put_off() > 0 {
            answered += alone.give(Input::Event(Event::Tick)).len();
        }
        assert_eq!(answered, 5);
    }
}

#[test]
fn a_step_without_room_answers_one_read_all_the_same() {
    let mut alone = Alone::limited(Limits { read_part: 0, ..Limits::default() });
    let get = Query::Get { path: path("dir") };
    let input = alone.ask((0..3).map(|_| read(get.clone(), ReadLevel::Local(Txid::ZERO))));
    let counts: Vec<_> = alone.steps(input).iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn a_step_applies_a_part_of_what_is_committed_and_the_next_one_goes_on() {
    let mut alone = Alone::limited(Limits { apply_part: 10, ..Limits::default() });
    let set = |n| Command::Set { path: path(&format!("dir/{n}")), value: b"v".as_slice().into() };
    let input = alone.ask((0..40).map(|n| Request::Write(set(n).encode())));
    let first = alone.tickets - 39;
    // Each touches its node and the one above.
    let mut answered: Vec<(Ticket, End<Answer>)> = alone.give(input);
    let mut steps = 1;
    // A read that is asked for meanwhile sees all that was committed before.
    let get = Query::Get { path: path("dir/39") };
    let asked = alone.ask([read(get, ReadLevel::Linearizable)]);
    answered.extend(alone.give(asked));
    while alone.replica.is_applying() {
        assert_eq!(alone.replica.deadline(), Some(Instant::default()));
        let status = alone.replica.status();
        assert!(status.applied <= status.committed);
        assert_eq!(status.digest, alone.replica.app().digest());
        let replies = alone.give(Input::Event(Event::Tick));
        assert!(replies.len() <= 10, "{} in one step", replies.len());
        answered.extend(replies);
        steps += 1;
    }
    assert!(steps >= 8, "{steps} steps");
    let tickets: Vec<u64> = answered.iter().map(|(ticket, _)| ticket.get()).collect();
    assert_eq!(tickets, (first..=first + 40).collect::<Vec<_>>(), "in their order");
    let Some((_, End::Done { answer, .. })) = answered.last() else { panic!("a read") };
    assert!(matches!(answer, Answer::Node(Some(_))));
}

#[test]
fn a_step_applies_no_more_bytes_than_a_window_has() {
    let mut alone = Alone::limited(Limits { window_bytes: 10_000, ..Limits::default() });
    let value = |n: u8| Command::Set { path: path("key"), value: [n; 1_000].as_slice().into() };
    let input = alone.ask((0..40).map(|n| Request::Write(value(n).encode())));
    let mut steps = vec![alone.give(input).len()];
    while alone.replica.is_applying() {
        steps.push(alone.give(Input::Event(Event::Tick)).len());
    }
    // An entry counts somewhat more than its value, and the last of a step goes beyond.
    assert_eq!(steps, [10, 10, 10, 10]);
}

#[test]
fn a_write_that_is_forgotten_while_it_waits_for_a_step_is_not_answered() {
    let mut alone = Alone::limited(Limits { apply_part: 4, ..Limits::default() });
    let set = |n| Command::Set { path: path(&format!("dir/{n}")), value: b"v".as_slice().into() };
    let input = alone.ask((0..10).map(|n| Request::Write(set(n).encode())));
    let answered = alone.give(input).len();
    assert!(alone.replica.is_applying());
    let last = Ticket::new(alone.tickets);
    alone.give(Input::Event(Event::Forget(vec![last])));
    let mut rest = Vec::new();
    while alone.replica.is_applying() {
        rest.extend(alone.give(Input::Event(Event::Tick)));
    }
    assert!(rest.iter().all(|(ticket, _)| *ticket != last), "{rest:?}");
    assert_eq!(alone.replica.app().len(), 12, "it was done all the same");
    assert!(answered < 10);
}

#[test]
fn one_command_that_deletes_much_is_a_step_of_its_own() {
    let mut alone = Alone::limited(Limits { apply_part: 30, ..Limits::default() });
    let set = |n| Command::Set { path: path(&format!("dir/{n}")), value: b"v".as_slice().into() };
    for n in 0..100 {
        let input = alone.ask([Request::Write(set(n).encode())]);
        assert_eq!(alone.give(input).len(), 1);
    }
    let delete = Command::Delete { path: path("dir"), recursive: true };
    let input = alone.ask([delete.encode(), set(1).encode()].map(Request::Write));
    assert_eq!(alone.give(input).len(), 1);
    assert_eq!(alone.give(Input::Event(Event::Tick)).len(), 1);
}

#[test]
fn a_state_that_is_full_refuses_what_makes_it_grow_before_it_becomes_an_entry() {
    let mut alone = Alone::limited(Limits { state_bytes: 4 << 10, ..Limits::default() });
    let set = |n, bytes: usize| {
        let value = vec![1; bytes].into();
        Request::Write(Command::Set { path: path(&format!("{n}")), value }.encode())
    };
    let refused = |replies: &[(Ticket, End<Answer>)]| {
        matches!(replies, [(_, End::Refused(RefuseReason::NoSpace))])
    };
    let mut stored = 0;
    loop {
        let input = alone.ask([set(stored, 512)]);
        if refused(&alone.give(input)) {
            break;
        }
        stored += 1;
    }
    assert!((4..8).contains(&stored), "{stored} values of 512 bytes in 4096");
    let last = alone.replica.status().last;
    let input = alone.ask([set(stored, 1)]);
    assert!(refused(&alone.give(input)));
    assert_eq!(alone.replica.status().last, last);
    let input = alone.ask([set(0, 512)]);
    assert!(!refused(&alone.give(input)), "a value of the same size takes no more room");
    let delete = Command::Delete { path: path("0"), recursive: false };
    let input = alone.ask([Request::Write(delete.encode())]);
    assert!(!refused(&alone.give(input)));
    let input = alone.ask([set(0, 512)]);
    assert!(!refused(&alone.give(input)));
}
