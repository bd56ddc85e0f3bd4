//! What commands and queries on the tree cost: `cargo bench -p zabkeeper-core --bench tree`.

use divan::{Bencher, black_box};
use zabkeeper_core::replica::App;
use zabkeeper_core::store::{Command, Path, Query, Tree};
use zabkeeper_core::words::{Epoch, Payload, Txid, WallTime};
use zabkeeper_core::zab::Change;

/// Tests only see to it that the benches stay alive.
const SIZES: &[u64] = if cfg!(debug_assertions) { &[1_000] } else { &[1_000, 100_000, 1_000_000] };

fn main() {
    divan::main();
}

fn path(key: u64) -> Path {
    Path::parse(&format!("bench/k{key:08}")).expect("a path")
}

fn txid(counter: u64) -> Txid {
    Txid::new(Epoch::new(1), counter).expect("a txid")
}

fn set(key: u64) -> Payload {
    let value: &[u8] = &[7; 100];
    Command::Set { path: path(key), value: value.into() }.encode()
}

/// A tree of so many keys, and the counter of its last entry.
fn tree(keys: u64) -> (Tree, u64) {
    let mut tree = Tree::empty();
    for key in 0..keys {
        let outcome = tree.change(txid(key + 1), WallTime::from_millis(1), &set(key));
        assert!(outcome.is_ok());
    }
    drop(changes(&mut tree));
    (tree, keys)
}

fn changes(tree: &mut Tree) -> Vec<Change> {
    tree.begin_changes();
    tree.read_changes(usize::MAX).0
}

/// Keys in an order that is no order.
fn next(key: &mut u64, keys: u64) -> u64 {
    *key = key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*key >> 33) % keys
}

#[divan::bench(args = SIZES)]
fn set_a_key(bencher: Bencher<'_, '_>, keys: u64) {
    let (mut tree, mut last) = tree(keys);
    let commands: Vec<Payload> =
        (0..keys.min(10_000)).map(|n| set(n * keys / keys.min(10_000))).collect();
    let mut state = 1;
    bencher.bench_local(|| {
        last += 1;
        let command = &commands[next(&mut state, commands.len() as u64) as usize];
        black_box(tree.change(txid(last), WallTime::from_millis(1), command))
    });
}

#[divan::bench(args = SIZES)]
fn get_a_key(bencher: Bencher<'_, '_>, keys: u64) {
    let (tree, _) = tree(keys);
    let queries: Vec<Query> = (0..keys.min(10_000))
        .map(|n| Query::Get { path: path(n * keys / keys.min(10_000)) })
        .collect();
    let mut state = 1;
    bencher.bench_local(|| {
        black_box(tree.query(&queries[next(&mut state, queries.len() as u64) as usize]))
    });
}

#[divan::bench(args = SIZES)]
fn list_a_hundred_keys(bencher: Bencher<'_, '_>, keys: u64) {
    let (tree, _) = tree(keys);
    let query = Query::List {
        path: Path::parse("bench").expect("a path"),
        recursive: false,
        after: Some(path(keys / 2)),
        limit: 100,
        values: false,
    };
    bencher.bench_local(|| black_box(tree.query(&query)));
}

#[divan::bench(args = SIZES)]
fn take_ten_thousand_changes(bencher: Bencher<'_, '_>, keys: u64) {
    let (mut tree, mut last) = tree(keys);
    let commands: Vec<Payload> = (0..keys.min(10_000)).map(set).collect();
    bencher.bench_local(|| {
        for command in &commands {
            last += 1;
            let _ = tree.change(txid(last), WallTime::from_millis(1), command);
        }
        black_box(changes(&mut tree))
    });
}
