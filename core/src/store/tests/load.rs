//! Building a tree from elements.

use super::naive::entry;
use super::{Twins, changes, commands, items, set};
use crate::replica::{App, LoadError};
use crate::store::Tree;
use crate::words::{Epoch, Txid};
use crate::zab::Item;
use alloc::vec::Vec;
use proptest::prelude::*;

/// After every entry that the tests apply.
const LATE: Txid = Txid::first(Epoch::new(1_000));

fn load(parts: Vec<Vec<Item>>) -> Result<Tree, LoadError> {
    let mut tree = Tree::empty();
    for item in parts.iter().flatten() {
        tree.load(&item.key, &item.value)?;
    }
    tree.finish_load(LATE)?;
    Ok(tree)
}

fn some_items() -> Vec<Item> {
    let mut twins = Twins::after(&[set("a/b/c", "1"), set("a-b", "2"), set("b/c", "3")]);
    items(&mut twins.tree)
}

proptest! {
    #[test]
    fn elements_in_any_order_make_the_same_tree(
        (commands, shuffled) in commands().prop_flat_map(|commands| {
            let items = items(&mut Twins::after(&commands).tree);
            (Just(commands), Just(items).prop_shuffle())
        }),
        part in 1..9usize,
    ) {
        let mut source = Twins::after(&commands).tree;
        changes(&mut source);
        let mut loaded = load(shuffled.chunks(part).map(<[Item]>::to_vec).collect()).unwrap();
        prop_assert_eq!(loaded.digest(), source.digest());
        prop_assert_eq!(changes(&mut loaded), []);
        prop_assert_eq!(loaded, source);
    }

    #[test]
    fn a_missing_or_doubled_element_is_noticed(index: prop::sample::Index) {
        let good = some_items();
        let mut missing = good.clone();
        let item = missing.remove(index.index(good.len()));
        prop_assert!(matches!(load(alloc::vec![missing]), Err(LoadError::Inconsistent(_))));
        let doubled = alloc::vec![good, alloc::vec![item]];
        prop_assert!(matches!(load(doubled), Err(LoadError::Inconsistent(_))));
    }

    #[test]
    fn any_elements_make_a_tree_or_an_error(
        parts in prop::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..4),
    ) {
        let item = |(key, value): (Vec<u8>, Vec<u8>)| Item { key: key.into(), value: value.into() };
        let mut items = some_items();
        let damaged = !parts.is_empty();
        items.extend(parts.into_iter().map(item));
        prop_assert_eq!(load(alloc::vec![items]).is_err(), damaged);
    }
}

#[test]
fn no_elements_make_an_empty_tree() {
    assert_eq!(load(Vec::new()).map(|tree| tree.digest()), Ok(Tree::empty().digest()));
}

#[test]
fn a_node_changed_after_the_position_of_the_state_is_refused() {
    // It would be taken for one that the state store has, and left out of the next checkpoint.
    let finish = |at| {
        let mut tree = Tree::empty();
        for item in some_items() {
            tree.load(&item.key, &item.value)?;
        }
        tree.finish_load(at)
    };
    let last = entry(3).0;
    assert_eq!(finish(last), Ok(()));
    let changed = "a node was changed after the state's position";
    assert_eq!(finish(entry(2).0), Err(LoadError::Inconsistent(changed)));
}

#[test]
fn elements_that_the_tree_cannot_have_are_refused() {
    let good = some_items();
    let root = |item: &Item| item.key.is_empty();
    // A root with a value.
    let mut items = good.clone();
    for item in items.iter_mut().filter(|item| root(item)) {
        let mut value = item.value.to_vec();
        value.push(b'x');
        item.value = value.into();
    }
    assert_eq!(load(alloc::vec![items]), Err(LoadError::Inconsistent("the root has a value")));
    // A node that no entry created: the digest would not see it.
    let value = good.iter().find(|item| root(item)).unwrap().value.clone();
    let mut items = good;
    for item in items.iter_mut().filter(|item| !root(item)) {
        item.value = value.clone();
    }
    assert_eq!(
        load(alloc::vec![items]),
        Err(LoadError::Inconsistent("only the root was created by no entry"))
    );
}
