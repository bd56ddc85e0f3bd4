//! Folds that cannot be written: the state goes on without them.

use super::state::{Changes, Model, checkpoint, key, killed, new, tables, value};
use crate::storage::staging::States;
use crate::storage::state::generation_name;
use crate::storage::table::table_name;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

#[test]
fn a_fold_whose_file_cannot_be_begun_is_put_off() {
    put_off_and_made_good(300, |path| {
        symlink("/dev/full", path).unwrap();
        Box::new(|states| assert!(!states.fold().unwrap()))
    });
}

#[test]
fn a_fold_that_cannot_go_on_is_put_off() {
    put_off_and_made_good(30_000, |path| {
        let reader = pipe(path);
        Box::new(move |states| {
            assert!(states.fold().unwrap());
            drop(reader);
            assert!(!states.fold().unwrap());
        })
    });
}

#[test]
fn a_fold_that_cannot_be_flushed_is_put_off() {
    put_off_and_made_good(300, |path| {
        let reader = pipe(path);
        Box::new(move |states| {
            assert!(states.fold().unwrap());
            assert!(!states.fold().unwrap(), "a pipe cannot be flushed");
            drop(reader);
        })
    });
}

#[test]
fn a_fold_goes_faster_when_there_are_many_tables() {
    let steps = |count: u64| {
        let dir = tempfile::tempdir().unwrap();
        let (mut states, mut model) = new(dir.path());
        // 8 MiB in all.
        let size = (8 << 20) / count as usize;
        for n in 1..=count {
            checkpoint(&mut states, &mut model, n, Changes::from([(key(n), Some(vec![1; size]))]));
        }
        let mut steps = 0;
        while tables(dir.path()).len() as u64 > 1 {
            assert!(states.fold().unwrap());
            steps += 1;
        }
        steps
    };
    let (few, many) = (steps(32), steps(320));
    assert!(few >= 8 && many <= 4, "{few} and {many} steps");
}

#[test]
fn no_tables_are_merged_while_a_snapshot_comes_in() {
    let dir = tempfile::tempdir().unwrap();
    let (mut states, mut model) = new(dir.path());
    let mut last = 0;
    for _ in 0..9 {
        last = next(&mut states, &mut model, last, 300);
    }
    states.stage_open(5).unwrap();
    assert!(!states.fold().unwrap());
    assert_eq!(tables(dir.path()).len(), 9);
    states.stage_drop(5);
    while states.fold().unwrap() {}
    assert!(tables(dir.path()).len() <= 8);
    killed(dir.path(), last, &model);
}

/// Has a fold of values of `size` bytes fail, for what `hinder` puts in the place of its file and
/// then does with the fold; it must be made good after eight more checkpoints, and not before.
fn put_off_and_made_good(size: usize, hinder: impl FnOnce(&Path) -> Box<dyn FnOnce(&mut States)>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut states, mut model) = new(dir.path());
    let mut last = 0;
    for _ in 0..9 {
        last = next(&mut states, &mut model, last, size);
    }
    let path = table(dir.path(), 10);
    hinder(&path)(&mut states);
    assert!(fs::symlink_metadata(&path).is_err(), "what was written of it is gone");
    killed(dir.path(), last, &model);
    for more in 0..8 {
        assert!(!states.fold().unwrap(), "{more} checkpoints later");
        assert_eq!(tables(dir.path()).len(), 9 + more);
        last = next(&mut states, &mut model, last, size);
    }
    while states.fold().unwrap() {}
    assert!(tables(dir.path()).len() <= 8);
    killed(dir.path(), last, &model);
}

/// Changes part of the state.
fn next(states: &mut States, model: &mut Model, last: u64, size: usize) -> u64 {
    let n = last + 1;
    let changes: Changes =
        (0..20).map(|k| (key(k * n % 50), (k % 7 != n).then(|| value(k, n, size)))).collect();
    checkpoint(states, model, n, changes);
    n
}

/// Makes a pipe, whose reader is returned, of a table's name.
fn pipe(path: &Path) -> File {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().try_into().unwrap();
    OpenOptions::new().read(true).custom_flags(nonblocking).open(path).unwrap()
}

fn table(dir: &Path, number: u64) -> PathBuf {
    dir.join(generation_name(0)).join(table_name(number))
}
