//! Held states, read in parts while commands go on.

use super::naive::Naive;
use super::{Twins, command, set};
use crate::replica::App;
use crate::store::Command;
use crate::words::ConnId;
use crate::zab::Item;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Apply(Command),
    Open(ConnId),
    Read(ConnId, usize),
    Close(ConnId),
}

fn step() -> impl Strategy<Value = Step> {
    let conn = || (0..3u64).prop_map(ConnId::new);
    prop_oneof![
        6 => command().prop_map(Step::Apply),
        1 => conn().prop_map(Step::Open),
        4 => (conn(), 0..120usize).prop_map(|(conn, bytes)| Step::Read(conn, bytes)),
        1 => conn().prop_map(Step::Close),
    ]
}

/// What is expected of a held state: a copy of everything, made when it was opened.
struct Twin {
    whole: Vec<Item>,
    read: Vec<Item>,
}

fn check_part(twin: &mut Twin, items: Vec<Item>, last: bool, max_bytes: usize) {
    assert!(!items.is_empty(), "a part is empty");
    let bytes =
        |items: &[Item]| -> usize { items.iter().map(|i| i.key.len() + i.value.len()).sum() };
    assert!(bytes(&items[..items.len() - 1]) <= max_bytes, "a part is too large");
    assert!(last || bytes(&items) >= max_bytes, "a part is too small");
    twin.read.extend(items);
    assert_eq!(twin.read, twin.whole[..twin.read.len()]);
    assert_eq!(last, twin.read.len() == twin.whole.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn a_held_state_stays_as_it_was_opened(steps in prop::collection::vec(step(), 0..150)) {
        let mut twins = Twins::new();
        let mut open: BTreeMap<ConnId, Twin> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Apply(command) => twins.apply(&command),
                Step::Open(conn) => {
                    twins.tree.open_snapshot(conn);
                    let whole = Naive::items(&twins.naive);
                    open.insert(conn, Twin { whole, read: Vec::new() });
                }
                Step::Read(conn, max_bytes) => {
                    let (items, last) = twins.tree.read_snapshot(conn, max_bytes);
                    let Some(twin) = open.get_mut(&conn) else {
                        prop_assert_eq!((items, last), (Vec::new(), true));
                        continue;
                    };
                    check_part(twin, items, last, max_bytes);
                    if last {
                        open.remove(&conn);
                    }
                }
                Step::Close(conn) => {
                    twins.tree.close_snapshot(conn);
                    open.remove(&conn);
                }
            }
        }
        for (conn, mut twin) in open {
            let (items, last) = twins.tree.read_snapshot(conn, usize::MAX);
            prop_assert!(last);
            check_part(&mut twin, items, last, usize::MAX);
        }
    }
}

#[test]
fn what_comes_after_the_opening_is_not_a_part_of_its_own() {
    let mut twins = Twins::new();
    twins.tree.open_snapshot(ConnId::new(1));
    twins.apply(&set("a", "1"));
    let (items, last) = twins.tree.read_snapshot(ConnId::new(1), 1);
    assert_eq!(items, Naive::new().items());
    assert!(last, "nodes that came later must not cost an empty part");
}
