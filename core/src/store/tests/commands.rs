//! Commands, stats, reads, digests and changes.

use super::naive::entry;
use super::{Twins, changes, command, commands, items, path, paths, set};
use crate::replica::App;
use crate::store::{
    Answer, Command, CommandError, MAX_PAGE_BYTES, MAX_VALUE_BYTES, Page, Query, Tree,
};
use crate::words::{Digest, Payload};
use crate::zab::Change;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use proptest::prelude::*;

fn list(tree: &Tree, query: Query) -> Option<Page> {
    match tree.query(&query) {
        Answer::List(page) => page,
        other => panic!("asked for a list: {other:?}"),
    }
}

fn elements(tree: &mut Tree) -> BTreeMap<Payload, Payload> {
    items(tree).into_iter().map(|item| (item.key, item.value)).collect()
}

fn bring(stored: &mut BTreeMap<Payload, Payload>, changes: Vec<Change>) {
    for change in changes {
        match change.value {
            Some(value) => stored.insert(change.key, value),
            None => stored.remove(&change.key),
        };
    }
}

proptest! {
    #[test]
    fn the_tree_is_its_naive_twin(commands in commands(), asked in paths()) {
        let mut twins = Twins::new();
        for command in &commands {
            twins.apply(command);
            prop_assert_eq!(twins.tree.digest(), twins.naive.digest());
        }
        prop_assert_eq!(items(&mut twins.tree), twins.naive.items());
        let answer = twins.tree.query(&Query::Get { path: asked.clone() });
        prop_assert_eq!(answer, Answer::Node(twins.naive.get(&asked)));
    }

    #[test]
    fn a_subtree_is_cleared_in_parts_from_its_end(
        commands in commands(),
        cleared in paths(),
        parts in prop::collection::vec(0..5u8, 1..8),
    ) {
        let mut twins = Twins::after(&commands);
        for most in parts {
            twins.clear(&cleared, most);
            prop_assert_eq!(twins.tree.digest(), twins.naive.digest());
            // What is left is a tree: each node has its parent and as many children as it says.
            let whole = items(&mut twins.tree);
            prop_assert_eq!(&whole, &twins.naive.items());
            let mut loaded = Tree::empty();
            whole.iter().for_each(|item| loaded.load(&item.key, &item.value).unwrap());
            prop_assert_eq!(loaded.finish_load(entry(twins.applied).0), Ok(()));
        }
    }

    #[test]
    fn bytes_are_those_of_the_nodes_that_are_there(commands in commands()) {
        let mut twins = Twins::after(&commands);
        let whole = items(&mut twins.tree);
        let mut loaded = Tree::empty();
        let empty = loaded.bytes();
        whole.iter().for_each(|item| loaded.load(&item.key, &item.value).unwrap());
        loaded.finish_load(entry(twins.applied.max(1)).0).unwrap();
        // The root was there before.
        prop_assert!(loaded.bytes().abs_diff(twins.tree.bytes()) <= empty + 256);
        for top in ["a", "b", "a-", "a\u{1}"] {
            twins.apply(&Command::Delete { path: path(top), recursive: true });
        }
        prop_assert!(twins.tree.bytes() <= 256, "{} bytes of nothing", twins.tree.bytes());
    }

    #[test]
    fn pages_are_those_of_the_naive_twin(
        commands in commands(),
        top in paths(),
        after in prop::option::of(paths()),
        limit in 0..6u32,
        recursive: bool,
        values: bool,
    ) {
        let twins = Twins::after(&commands);
        let expected = twins.naive.list(&top, recursive, after.as_ref(), limit, values);
        let page = list(&twins.tree, Query::List { path: top, recursive, after, limit, values });
        prop_assert_eq!(page, expected);
    }

    #[test]
    fn changes_bring_an_older_state_up_to_date(
        before in commands(),
        after in commands(),
        meanwhile in commands(),
        part in 1..5usize,
    ) {
        let mut twins = Twins::after(&before);
        let mut stored = elements(&mut twins.tree);
        changes(&mut twins.tree);
        for command in &after {
            twins.apply(command);
        }
        let expected = elements(&mut twins.tree);
        twins.tree.begin_changes();
        // What is applied while the changes are read is none of them, but is among the next.
        let mut meanwhile = meanwhile.iter();
        let mut last = false;
        while !last {
            if let Some(command) = meanwhile.next() {
                twins.apply(command);
            }
            let list;
            (list, last) = twins.tree.read_changes(part);
            prop_assert!(list.len() <= part && (last || list.len() == part));
            prop_assert!(list.is_sorted_by(|a, b| a.key < b.key));
            bring(&mut stored, list);
        }
        prop_assert_eq!(&stored, &expected);
        bring(&mut stored, changes(&mut twins.tree));
        prop_assert_eq!(stored, elements(&mut twins.tree));
        prop_assert_eq!(changes(&mut twins.tree), []);
    }

    #[test]
    fn a_refused_command_changes_nothing(commands in commands(), last in command()) {
        let mut twins = Twins::after(&commands);
        changes(&mut twins.tree);
        let before = twins.tree.clone();
        let (txid, time) = entry(twins.applied + 1);
        if twins.tree.change(txid, time, &last.encode()).is_err() {
            prop_assert_eq!(twins.tree, before);
        }
    }

    #[test]
    fn bytes_that_are_no_command_have_an_outcome(bytes: Vec<u8>) {
        let mut tree = Tree::empty();
        let (txid, time) = entry(1);
        let outcome = tree.change(txid, time, &bytes);
        if Command::decode(&bytes).is_err() {
            prop_assert_eq!(outcome, Err(CommandError::Malformed));
            prop_assert_eq!(tree, Tree::empty());
        }
    }
}

#[test]
fn an_empty_tree_has_the_digest_of_nothing_and_gets_it_back_only_untouched() {
    let mut twins = Twins::new();
    assert_eq!(twins.tree.digest(), Digest::ZERO);
    twins.apply(&set("a", "1"));
    twins.apply(&Command::Delete { path: path("a"), recursive: false });
    // The root remembers that it had a child.
    assert!(twins.tree.is_empty());
    assert_ne!(twins.tree.digest(), Digest::ZERO);
}

#[test]
fn a_node_whose_parents_are_missing_brings_them_along() {
    let mut twins = Twins::new();
    twins.apply(&set("a/b/c", "1"));
    let found = twins.naive.get(&path("a/b")).unwrap();
    assert_eq!(found.value.as_deref(), Some(b"".as_slice()));
    assert_eq!((found.stat.children, found.stat.version), (1, 0));
    assert_eq!(twins.tree.len(), 4);
}

#[test]
fn a_page_is_limited_by_its_bytes_but_never_empty() {
    let mut twins = Twins::new();
    for n in 0..5 {
        let value = alloc::vec![7; if n == 0 { MAX_VALUE_BYTES } else { MAX_PAGE_BYTES / 3 }];
        twins.apply(&Command::Add { path: path(&format!("k/{n}")), value: value.into() });
    }
    let page = |after: Option<&str>, values| {
        let query = Query::List {
            path: path("k"),
            recursive: false,
            after: after.map(path),
            limit: 100,
            values,
        };
        let page = list(&twins.tree, query).unwrap();
        let names: Vec<_> = page.nodes.iter().map(|found| found.path.name()).collect();
        (names.join(","), page.more)
    };
    assert_eq!(page(None, true), ("0".into(), true));
    assert_eq!(page(Some("k/0"), true), ("1,2".into(), true));
    assert_eq!(page(Some("k/2"), true), ("3,4".into(), false));
    assert_eq!(page(None, false), ("0,1,2,3,4".into(), false));
}

#[test]
fn a_subtree_that_is_too_large_is_not_deleted_at_once() {
    let mut twins = Twins::new();
    for index in 0..5 {
        twins.apply(&set(&format!("a/{index}"), "x"));
    }
    let before = twins.tree.digest();
    let mut command = Command::Delete { path: path("a"), recursive: true }.encode().to_vec();
    command.truncate(command.len() - 3);
    for (most, outcome) in [(4, Some(CommandError::TooMany)), (5, None)] {
        let bytes = [&*command, &[most]].concat();
        let (txid, time) = entry(10 + u64::from(most));
        assert_eq!(twins.tree.change(txid, time, &bytes).err(), outcome);
        assert_eq!(twins.tree.digest() == before, outcome.is_some());
    }
}

#[test]
fn a_command_that_makes_nothing_larger_does_not_grow() {
    let mut twins = Twins::new();
    twins.apply(&set("a", "123"));
    for (command, grows) in [
        (set("a", "1234"), true),
        (set("a", "456"), false),
        (set("b", ""), true),
        (Command::Add { path: path("c"), value: b"".as_slice().into() }, true),
        (Command::Delete { path: path("a"), recursive: true }, false),
        (Command::Clear { path: path("a") }, false),
    ] {
        assert_eq!(twins.tree.grows(&command.encode()), grows, "{command:?}");
    }
}

#[test]
fn changes_of_many_runs_are_read_in_order_and_once() {
    let mut tree = Tree::empty();
    let count = 40_000;
    for n in 0..count {
        let (txid, time) = entry(n + 1);
        // Each key twice, far from each other, so that runs overlap.
        let command = set(&format!("{}", n * 7919 % (count / 2)), "x");
        assert!(tree.change(txid, time, &command.encode()).is_ok());
    }
    tree.begin_changes();
    let mut keys: Vec<Payload> = Vec::new();
    loop {
        let (changes, last) = tree.read_changes(1000);
        assert!(changes.len() <= 1000);
        keys.extend(changes.into_iter().map(|change| change.key));
        if last {
            break;
        }
    }
    assert!(keys.is_sorted_by(|a, b| a < b));
    assert_eq!(keys.len() as u64, count / 2 + 1, "all of them and the root");
}
