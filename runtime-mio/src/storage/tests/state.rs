//! Stored states: what is checkpointed, folded and staged is there again, whenever the process
//! ended, and a file that is not the one written is never read as if it were.

use crate::storage::Items;
use crate::storage::catalogue::Meta;
use crate::storage::error::OpenError;
use crate::storage::merge::Merge;
use crate::storage::pace::Pace;
use crate::storage::staging::States;
use crate::storage::state::{Row, StateStore, generation_name};
use crate::storage::table::{Table, Writer, table_name};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use zabkeeper_core::words::{Digest, Epoch, Txid};
use zabkeeper_core::zab::{Change, Checkpoint, Item, Position};

pub(super) type Model = BTreeMap<Vec<u8>, Vec<u8>>;
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

#[test]
fn a_fold_may_be_interrupted_at_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let (mut states, mut model) = new(dir.path());
    for n in 1..=9 {
        // More than a step of a fold, some of it said again, some removed.
        let changes = (0..40).map(|k| (key(k * n % 90), (k % 7 != n).then(|| value(k, n, 30_000))));
        checkpoint(&mut states, &mut model, n, changes.collect());
    }
    assert_eq!(tables(dir.path()).len(), 9);
    let (mut steps, mut last) = (0, 9);
    loop {
        killed(dir.path(), last, &model);
        if !states.fold().unwrap() {
            break;
        }
        steps += 1;
        if steps == 2 {
            killed(dir.path(), last, &model);
            // The fold goes on beside it.
            for n in [10, 11] {
                checkpoint(&mut states, &mut model, n, Changes::from([(key(n), None)]));
            }
            last = 11;
        }
    }
    assert!(steps > 3, "{steps} steps");
    assert_eq!(tables(dir.path()).len(), 3);
}

#[test]
fn a_table_that_is_not_whole_or_not_the_one_is_damage_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (mut states, mut model) = new(dir.path());
    for n in 1..=2 {
        let changes = (0..40).map(|k| (key(k), Some(value(k, n, 4000))));
        checkpoint(&mut states, &mut model, n, changes.collect());
    }
    drop(states);
    let names = tables(dir.path());
    let state = |dir: &Path| dir.join(generation_name(0));
    let [first, second] = [0, 1].map(|n: usize| state(dir.path()).join(&names[n]));
    let bytes = fs::read(&second).unwrap();
    assert_eq!(bytes.len(), fs::read(&first).unwrap().len());
    let step = bytes.len() / 50;
    let flips = (0..50).map(|n| {
        let mut flipped = bytes.clone();
        flipped[n * step] ^= 4;
        flipped
    });
    let cuts = [0, 7, 16, bytes.len() / 2, bytes.len() - 1].map(|end| bytes[..end].to_vec());
    let mut torn = bytes.clone();
    torn[70_000..].fill(0);
    let other = fs::read(&first).unwrap();
    for wrong in flips.chain(cuts).chain([torn, other, [bytes.as_slice(), b"x"].concat()]) {
        let copy = copy(dir.path());
        fs::write(state(copy.path()).join(&names[1]), wrong).unwrap();
        let text = load(copy.path()).unwrap_err();
        assert!(text.contains(&names[1]) && text.contains("must not vote"), "{text}");
    }
    for name in &names {
        let copy = copy(dir.path());
        fs::remove_file(state(copy.path()).join(name)).unwrap();
        let text = load(copy.path()).unwrap_err();
        assert!(text.contains(name) && text.contains("missing"), "{text}");
        assert_eq!(tables(copy.path()).len(), 1, "nothing else is removed");
    }
    killed(dir.path(), 2, &model);
}

#[test]
fn a_table_whose_keys_are_out_of_order_is_damage_even_if_it_was_written_so() {
    for keys in [[b"b", b"a"], [b"a", b"a"]] {
        let (dir, table) = table(|writer| {
            keys.iter().for_each(|key| writer.push((*key, Some(b"1"))).unwrap());
        });
        let text = elements(dir.path(), table).unwrap_err();
        assert!(text.contains("out of order"), "{text}");
    }
    // Across chunks too.
    let (dir, table) = table(|writer| {
        writer.push((b"b", Some(&[1; 100_000]))).unwrap();
        writer.push((b"a", None)).unwrap();
    });
    let text = elements(dir.path(), table).unwrap_err();
    assert!(text.contains("out of order"), "{text}");
}

#[test]
fn whoever_reads_on_after_damage_is_told_of_it_again() {
    let (dir, table) = table(|writer| {
        [b"b", b"a"].iter().for_each(|key| writer.push((*key, Some(b"1"))).unwrap());
    });
    let mut items = Items::new(Merge::open(dir.path(), &[table]).unwrap());
    assert!(items.next_element().unwrap().is_some());
    let damage = items.next_element().unwrap_err();
    assert_eq!(items.next_element(), Err(damage));
}

#[test]
fn the_format_of_tables_is_frozen() {
    let (dir, table) = table(|writer| {
        writer.push((b"", Some(b""))).unwrap();
        writer.push((b"ab", Some(b"cde"))).unwrap();
        writer.push((b"b", None)).unwrap();
    });
    let hex: String = fs::read(dir.path().join(table_name(7)))
        .unwrap()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, GOLDEN);
    assert_eq!((table.number, table.bytes, table.records), (7, 54, 3));
}

const GOLDEN: &str = "7a6b7461626c650001000000000000001e0000008269be2f0000000000000000\
    0200000003000000616263646501000000ffffffff62";

#[test]
fn a_state_of_another_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(new(dir.path()));
    let path = dir.path().join(generation_name(0));
    let with = |segment: usize, root: &[u64]| {
        fs::remove_dir_all(&path).unwrap();
        let db = sled::Config::new().path(&path).segment_size(segment).open().unwrap();
        let root: Vec<u8> = root.iter().flat_map(|n| n.to_be_bytes()).collect();
        db.insert(b"m", root).unwrap();
        db.flush().unwrap();
        drop(db);
        load(dir.path()).unwrap_err()
    };
    let text = with(8 << 20, &[1, 0, 0, 0, 0, 0]);
    assert!(text.contains("conf was made with other settings"), "{text}");
    assert!(text.contains(&(8 << 20).to_string()), "{text}");
    assert!(text.contains("start the release that wrote it"), "{text}");
    let text = with(128 << 10, &[1, 0, 0, 0, 0, 0]);
    assert!(text.contains("has format 1, and this release reads format 2 only"), "{text}");
    let text = with(128 << 10, &[3, 0, 0, 0, 0, 0]);
    assert!(text.contains("has format 3"), "{text}");
}

#[test]
fn a_snapshot_in_any_order_is_installed_and_goes_on_with_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let (mut states, _) = new(dir.path());
    states.stage_open(5).unwrap();
    let mut model = Model::new();
    for n in 0..60 {
        // Backwards, and in several tables: what is put in order in memory is less.
        let items: Vec<Item> = (0..10).map(|k| item(59 - n, k)).collect();
        model.extend(items.iter().map(|item| (item.key.to_vec(), item.value.to_vec())));
        states.stage(5, &items).unwrap();
    }
    states.seal(5, at(50), Digest::new(50)).unwrap();
    let generation = states.adopt(5).unwrap();
    assert_eq!(generation, 1);
    states.retire(generation);
    let copied = copy(dir.path());
    let store = StateStore::open(copied.path(), 1, Pace::default()).unwrap();
    assert_eq!(store.meta().applied, at(50));
    assert_eq!(elements_of(&store).unwrap(), model);
    drop(store);
    for n in 51..70 {
        let changes =
            Changes::from([(key(n), Some(vec![1; 30])), (item(n % 60, 3).key.to_vec(), None)]);
        checkpoint(&mut states, &mut model, n, changes);
        while states.fold().unwrap() {}
    }
    drop(states);
    let store = StateStore::open(dir.path(), 1, Pace::default()).unwrap();
    assert_eq!((store.meta().applied, elements_of(&store).unwrap()), (at(69), model));
}

#[test]
fn a_snapshot_with_an_element_twice_is_not_installed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut states, _) = new(dir.path());
    states.stage_open(5).unwrap();
    states.stage(5, &[item(1, 1), item(1, 1)]).unwrap();
    let error = states.seal(5, at(50), Digest::new(50)).unwrap_err();
    assert!(error.contains("reads back otherwise"), "{error}");
}

#[test]
fn a_sealed_snapshot_stands_for_nothing_until_it_is_named_and_can_be_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (mut states, mut model) = new(dir.path());
    checkpoint(&mut states, &mut model, 3, Changes::from([(key(1), Some(vec![1]))]));
    let generations = || {
        let names = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("state-")).count()
    };
    let stage = |states: &mut States, stage| {
        states.stage_open(stage).unwrap();
        states.stage(stage, &[item(7, 7)]).unwrap();
        states.seal(stage, at(50), Digest::new(50)).unwrap();
    };
    stage(&mut states, 5);
    assert!(states.adopt(4).is_err(), "another one was sealed");
    // The old state is still brought forward.
    checkpoint(&mut states, &mut model, 4, Changes::from([(key(2), Some(vec![2]))]));
    states.stage_drop(5);
    assert!(states.adopt(5).is_err());
    assert_eq!(generations(), 1);
    stage(&mut states, 6);
    // Another one that begins takes its place.
    stage(&mut states, 7);
    assert!(states.adopt(6).is_err());
    assert_eq!(generations(), 2);
    // Nobody wants it any more while it is read back.
    states.stage_open(8).unwrap();
    (0..1100).for_each(|n| _ = states.stage(8, &[item(n, 1)]).unwrap());
    assert!(!states.seal_slowly(8, at(60), Digest::new(60), &mut |_| false).unwrap());
    assert_eq!(generations(), 1);
    drop(states);
    let store = StateStore::open(dir.path(), 0, Pace::default()).unwrap();
    assert_eq!((store.meta().applied, elements_of(&store).unwrap()), (at(4), model));
}

#[derive(Clone, Debug)]
enum Step {
    Checkpoint(Vec<(u64, Option<usize>)>),
    /// Parts of a checkpoint, and whether the process is killed before the rest of it comes.
    Parts(Vec<Vec<(u64, Option<usize>)>>, bool),
    Fold(usize),
    Kill,
    Install(Vec<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![6 => 0..300_usize, 1 => 30_000..200_000_usize];
    let change = (0..40_u64, prop::option::weighted(0.8, size));
    let changes = prop::collection::vec(change, 0..12);
    let parts = (prop::collection::vec(changes.clone(), 1..4), prop::bool::weighted(0.2));
    prop_oneof![
        6 => changes.prop_map(Step::Checkpoint),
        3 => parts.prop_map(|(parts, lost)| Step::Parts(parts, lost)),
        3 => (0..6_usize).prop_map(Step::Fold),
        1 => Just(Step::Kill),
        1 => prop::collection::vec(0..40_u64, 0..20).prop_map(Step::Install),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_stored_state_is_what_a_map_would_be(steps in prop::collection::vec(step(), 1..50)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut states, mut model) = new(dir.path());
        let mut generation = 0;
        for (n, step) in (1..).zip(steps) {
            match step {
                Step::Checkpoint(changes) => {
                    checkpoint(&mut states, &mut model, n, changes_of(n, changes));
                }
                Step::Parts(parts, lost) => {
                    let mut after = model.clone();
                    for part in parts {
                        let changes = changes_of(n, part);
                        states.checkpoint_part(at(n).txid, &listed(&changes)).unwrap();
                        states.fold().unwrap();
                        change(&mut after, changes);
                    }
                    if lost {
                        drop(states);
                        let store = StateStore::open(dir.path(), generation, Pace::default()).unwrap();
                        prop_assert_eq!(&elements_of(&store).unwrap(), &model);
                        states = States::new(dir.path(), store);
                    } else {
                        checkpoint(&mut states, &mut after, n, Changes::new());
                        model = after;
                    }
                }
                Step::Fold(steps) => {
                    for _ in 0..steps {
                        states.fold().unwrap();
                    }
                }
                Step::Kill => {
                    drop(states);
                    let store = StateStore::open(dir.path(), generation, Pace::default()).unwrap();
                    prop_assert_eq!(&elements_of(&store).unwrap(), &model);
                    states = States::new(dir.path(), store);
                }
                Step::Install(keys) => {
                    model = keys.iter().map(|k| (key(*k), value(*k, n, 50))).collect();
                    let items: Vec<_> = model.iter().map(|(k, v)| Item {
                        key: k.as_slice().into(),
                        value: v.as_slice().into(),
                    }).collect();
                    states.stage_open(n).unwrap();
                    items.chunks(7).for_each(|part| _ = states.stage(n, part).unwrap());
                    states.seal(n, at(n), Digest::new(n)).unwrap();
                    generation = states.adopt(n).unwrap();
                    states.retire(generation);
                }
            }
        }
        while states.fold().unwrap() {}
        drop(states);
        let store = StateStore::open(dir.path(), generation, Pace::default()).unwrap();
        prop_assert_eq!(elements_of(&store).unwrap(), model);
        let held = fs::read_dir(dir.path().join(generation_name(generation))).unwrap();
        let held = held.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "zkt"));
        prop_assert!(held.count() <= 8);
    }
}

/// An empty state that stands for the beginning.
pub(super) fn new(dir: &Path) -> (States, Model) {
    let mut store = StateStore::create(dir, 0, Pace::default()).unwrap();
    let meta = Meta { generation: 0, applied: Position::ZERO, digest: Digest::ZERO };
    store.seal(dir, meta, Row::default()).unwrap();
    (States::new(dir, store), Model::new())
}

/// Changes the state and the model of it alike.
pub(super) fn checkpoint(states: &mut States, model: &mut Model, n: u64, changes: Changes) {
    let list = listed(&changes);
    states.checkpoint(&Checkpoint { at: at(n), digest: Digest::new(n), changes: list }).unwrap();
    change(model, changes);
}

fn listed(changes: &Changes) -> Vec<Change> {
    let change = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| Change {
        key: key.as_slice().into(),
        value: value.as_deref().map(Into::into),
    };
    changes.iter().map(change).collect()
}

/// The changes of step `n`: keys, and the sizes of their new values.
fn changes_of(n: u64, changes: Vec<(u64, Option<usize>)>) -> Changes {
    let of = |(k, size): (u64, Option<usize>)| (key(k), size.map(|s| value(k, n, s)));
    changes.into_iter().map(of).collect()
}

fn change(model: &mut Model, changes: Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => model.insert(key, value),
            None => model.remove(&key),
        };
    }
}

/// What a process finds that starts after this one was killed now.
pub(super) fn killed(dir: &Path, n: u64, model: &Model) {
    let copy = copy(dir);
    let store = StateStore::open(copy.path(), 0, Pace::default()).unwrap();
    assert_eq!((store.meta().applied, store.meta().digest), (at(n), Digest::new(n)));
    assert_eq!(elements_of(&store).unwrap(), *model);
}

pub(super) fn load(dir: &Path) -> Result<Model, String> {
    let store = StateStore::open(dir, 0, Pace::default()).map_err(|error| error.to_string())?;
    elements_of(&store)
}

pub(super) fn elements_of(store: &StateStore) -> Result<Model, String> {
    collect(store.items().map_err(|error| error.to_string())?)
}

fn elements(dir: &Path, table: Table) -> Result<Model, String> {
    let merge = Merge::open(dir, &[table]);
    collect(Items::new(merge.map_err(|error| error.to_string())?))
}

fn collect(mut items: Items) -> Result<Model, String> {
    let mut found = Model::new();
    let told = |damage| OpenError::from(damage).to_string();
    while let Some((key, value)) = items.next_element().map_err(told)? {
        assert_eq!(found.insert(key.to_vec(), value.to_vec()), None, "twice");
    }
    Ok(found)
}

/// A table of what is pushed.
fn table(push: impl FnOnce(&mut Writer)) -> (tempfile::TempDir, Table) {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(dir.path(), 7, &Pace::default()).unwrap();
    push(&mut writer);
    let table = writer.finish().unwrap();
    (dir, table)
}

pub(super) fn copy(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for generation in paths(dir) {
        let to = copy.path().join(generation.file_name().unwrap());
        fs::create_dir(&to).unwrap();
        for file in paths(&generation).into_iter().filter(|path| path.is_file()) {
            fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
        }
    }
    copy
}

fn paths(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The names of the tables of generation 0, oldest first.
pub(super) fn tables(dir: &Path) -> Vec<String> {
    let names = paths(&dir.join(generation_name(0)));
    let names = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".zkt")).collect();
    names.sort();
    names
}

pub(super) fn at(n: u64) -> Position {
    Position { txid: Txid::new(Epoch::new(1), n).unwrap(), chain: Digest::new(n) }
}

pub(super) fn key(n: u64) -> Vec<u8> {
    format!("key/{n:03}").into_bytes()
}

pub(super) fn value(key: u64, n: u64, size: usize) -> Vec<u8> {
    vec![(key * 31 + n) as u8; size]
}

pub(super) fn item(n: u64, k: u64) -> Item {
    let key = format!("snapshot/{n:02}/{k}").into_bytes();
    Item { key: key.into(), value: vec![n as u8; 5000].into() }
}
