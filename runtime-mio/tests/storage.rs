//! A data directory through its public face: what is stored is there again, and whatever is wrong
//! is said.

mod storage_common;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use storage_common::*;
use zabkeeper_core::words::{ConnId, Digest, Epoch, NodeId, Txid, WriteId};
use zabkeeper_core::zab::{Base, Position, Promise, Record};
use zabkeeper_runtime_mio::server::ExitReason;
use zabkeeper_runtime_mio::storage::{
    Completion, Failure, JournalOptions, OpenError, Options, StorageCommand, StorageThread, open,
};

#[test]
fn an_empty_directory_is_initialised_once_and_known_again() {
    let dir = Scratch::new("initialise");
    let first = open_node(&dir);
    assert!(first.created);
    let identity = first.recovered.identity;
    drop(first);
    let second = open(&dir, &Options::default(), &bootstrap(1, 3, 999)).unwrap();
    assert!(!second.created);
    assert_eq!(second.recovered.identity, identity, "the first incarnation stays");
}

#[test]
fn records_and_checkpoints_are_there_after_a_restart() {
    let dir = Scratch::new("restart");
    let mut store = open_node(&dir).store;
    let entries = chain(Position::ZERO, 1, 40, 100);
    store.append(&Record::append(entries.clone())).unwrap();
    store.flush().unwrap();
    let long: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    let changes =
        [("a", Some(b"1".to_vec())), ("long", Some(long.clone())), ("gone", Some(vec![9; 70_000]))];
    store.checkpoint(&checkpoint(entries[19].position(), 7, &changes)).unwrap();
    let changes = [("a", Some(b"2".to_vec())), ("gone", None), ("empty", Some(Vec::new()))];
    store.checkpoint(&checkpoint(entries[29].position(), 8, &changes)).unwrap();
    // Shorter now than before: no old part may remain.
    let changes = [("long", Some(long[..100_000].to_vec()))];
    store.checkpoint(&checkpoint(entries[30].position(), 9, &changes)).unwrap();
    store.append(&Record::Prune(base(entries[9].position()))).unwrap();
    store.flush().unwrap();
    store.close().unwrap();
    let opened = open_node(&dir);
    assert_eq!(opened.recovered.base.at, entries[9].position());
    assert_eq!(opened.recovered.entries, entries[10..]);
    assert_eq!(opened.recovered.applied, entries[30].position());
    assert_eq!(opened.digest, Digest::new(9));
    let found = load(opened.items);
    assert_eq!(found.len(), 3);
    assert_eq!(found["a"], b"2");
    assert_eq!(found["empty"], b"");
    assert_eq!(found["long"], long[..100_000]);
}

#[test]
fn an_installed_snapshot_replaces_the_state_and_an_abandoned_one_does_not() {
    let dir = Scratch::new("install");
    let mut store = open_node(&dir).store;
    let entries = chain(Position::ZERO, 1, 5, 10);
    store.append(&Record::append(entries.clone())).unwrap();
    store.flush().unwrap();
    store.checkpoint(&checkpoint(entries[2].position(), 1, &[("old", Some(vec![1]))])).unwrap();
    store.states().stage_open(50).unwrap();
    store.states().stage(50, &[item("half", b"x")]).unwrap();
    drop(store);
    let opened = open_node(&dir);
    assert_eq!(load(opened.items).keys().collect::<Vec<_>>(), ["old"]);
    assert_eq!(generations(&dir), ["state-0000000000"]);
    let mut store = opened.store;
    store.states().stage_open(50).unwrap();
    store.states().stage(50, &[item("dropped", b"x")]).unwrap();
    store.states().stage_open(51).unwrap();
    for n in 0..500 {
        store.states().stage(51, &[item(&format!("k{n}"), &[n as u8; 900])]).unwrap();
    }
    let at = Position { txid: Txid::new(Epoch::new(9), 4).unwrap(), chain: Digest::new(77) };
    let install = Record::Install { base: base(at), stage: 51, digest: Digest::new(5) };
    assert!(store.append(&install).is_err(), "it is not sealed");
    store.states().seal(51, at, Digest::new(5)).unwrap();
    store.append(&install).unwrap();
    store.flush().unwrap();
    store.close().unwrap();
    let opened = open_node(&dir);
    assert_eq!(opened.recovered.applied, at);
    assert_eq!(opened.recovered.base.at, at);
    assert_eq!(opened.digest, Digest::new(5));
    let found = load(opened.items);
    assert_eq!(found.len(), 500);
    assert_eq!(generations(&dir).len(), 1);
}

/// A directory whose node has promised something.
fn promised(dir: &Path) {
    let mut store = open_node(dir).store;
    let promise = Promise { epoch: Epoch::new(1), leader: NodeId::new(3) };
    store.append(&Record::Promise(promise)).unwrap();
    store.flush().unwrap();
    store.close().unwrap();
}

#[test]
fn another_node_and_another_cluster_are_told_apart() {
    let dir = Scratch::new("identity");
    promised(&dir);
    let options = Options::default();
    let error = open(&dir, &options, &bootstrap(2, 3, 1)).err().unwrap();
    assert!(matches!(error, OpenError::WrongNode { .. }), "{error}");
    let error = open(&dir, &options, &bootstrap(1, 5, 1)).err().unwrap();
    assert!(matches!(error, OpenError::WrongCluster { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("n3 host3:1/host3:2]") && text.contains("n5 host5:1"), "{text}");
    drop(open_node(&dir));
}

#[test]
fn a_directory_that_never_promised_anything_is_made_anew_for_a_corrected_list() {
    let dir = Scratch::new("corrected");
    let first = open_node(&dir).recovered.identity;
    let corrected = bootstrap(2, 5, 77);
    let second = open(&dir, &Options::default(), &corrected).unwrap();
    assert!(second.created);
    let identity = second.recovered.identity;
    assert_ne!(identity, first);
    assert_eq!(identity.incarnation, corrected.incarnation);
    assert_eq!(second.recovered.base.membership, corrected.membership);
    drop(second);
    assert!(!open(&dir, &Options::default(), &corrected).unwrap().created);

    // A crash on the way: the mark is there, and some of the old files.
    fs::write(dir.join("initialising"), "").unwrap();
    fs::remove_dir_all(dir.join("state-0000000000")).unwrap();
    fs::remove_file(dir.join("journal-0000000001.zkj")).unwrap();
    assert!(open_node(&dir).created);
}

#[test]
fn what_others_put_into_a_new_directory_is_no_damage_and_a_lost_journal_is() {
    let dir = Scratch::new("not-quite-empty");
    for name in [".gitkeep", "zabkeeper.json", "node.log"] {
        fs::write(dir.join(name), "x").unwrap();
    }
    for name in [".snapshot", "lost+found", "state-of-the-art"] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    assert!(open_node(&dir).created);
    assert!(!open_node(&dir).created);
    assert!(dir.join("state-of-the-art").is_dir() && dir.join("zabkeeper.json").is_file());

    for name in ["spare-0000000002.zkj", "state-0000000007"] {
        let dir = Scratch::new("lost-journal");
        fs::write(dir.join(name), "x").unwrap();
        let error = open(&dir, &Options::default(), &bootstrap(1, 3, 1)).err().unwrap();
        assert!(matches!(error, OpenError::Damaged(_)), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_directory_serves_one_process_at_a_time() {
    let dir = Scratch::new("lock");
    let held = open_node(&dir);
    let error = open(&dir, &Options::default(), &bootstrap(1, 3, 1)).err().unwrap();
    let OpenError::InUse { pid, .. } = error else { panic!("{error}") };
    assert_eq!(pid, Some(std::process::id()));
    drop(held);
    drop(open_node(&dir));
}

#[test]
fn whatever_is_missing_is_named_and_nothing_is_made_anew() {
    let dir = Scratch::new("missing");
    let mut store = open_node(&dir).store;
    let entries = chain(Position::ZERO, 1, 5, 10);
    store.append(&Record::append(entries.clone())).unwrap();
    store.flush().unwrap();
    store.checkpoint(&checkpoint(entries[4].position(), 1, &[("a", Some(vec![1]))])).unwrap();
    store.close().unwrap();
    for victim in [
        "journal-0000000001.zkj",
        "state-0000000000",
        "state-0000000000/db",
        "state-0000000000/conf",
    ] {
        let copy = Scratch::new("missing-copy");
        copy_dir(&dir, &copy);
        let path = copy.join(victim);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        let before = listing(&copy);
        let error = open(&copy, &Options::default(), &bootstrap(1, 3, 1)).err().unwrap();
        assert!(matches!(error, OpenError::Damaged(_)), "{victim}: {error}");
        assert!(error.to_string().contains("must not vote"), "{error}");
        assert_eq!(listing(&copy), before, "{victim}");
    }
}

#[test]
fn flipped_bytes_in_the_state_store_never_panic_and_never_change_what_is_loaded() {
    let dir = Scratch::new("state-rot");
    let mut store = open_node(&dir).store;
    let entries = chain(Position::ZERO, 1, 5, 10);
    store.append(&Record::append(entries.clone())).unwrap();
    store.flush().unwrap();
    let values: Vec<_> = (0..50).map(|n| (format!("key{n}"), Some(vec![n as u8; 200]))).collect();
    let changes: Vec<_> = values.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    store.checkpoint(&checkpoint(entries[4].position(), 1, &changes)).unwrap();
    store.close().unwrap();
    let whole = load(open_node(&dir).items);
    let file = "state-0000000000/db";
    let bytes = fs::read(dir.join(file)).unwrap();
    let end = bytes.iter().rposition(|b| *b != 0).unwrap();
    let (mut found, mut unseen) = (0, 0);
    for step in 0..40 {
        let copy = Scratch::new("state-rot-copy");
        copy_dir(&dir, &copy);
        let mut damaged = bytes.clone();
        damaged[end * step / 40] ^= 0x10;
        fs::write(copy.join(file), damaged).unwrap();
        match open(&copy, &Options::default(), &bootstrap(1, 3, 1)) {
            Err(OpenError::Damaged(_)) => found += 1,
            Err(error) => panic!("{error}"),
            Ok(opened) => match try_load(opened.items) {
                // Wrong content is for the state's own digest to find; here it must not be short
                // of the checkpoint without a word.
                Ok(items) => {
                    assert_eq!(items, whole, "byte {}", end * step / 40);
                    unseen += 1;
                }
                Err(_) => found += 1,
            },
        }
    }
    assert!(found > 0, "{found} found, {unseen} harmless");
}

#[test]
fn a_read_only_and_a_full_file_system_are_named() {
    let Some(small) = Mounted::tmpfs("full", "size=256k") else { return };
    let error =
        open(&small.dir.join("node"), &Options::default(), &bootstrap(1, 3, 1)).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("free space") || text.contains("No space"), "{text}");
    let Some(mut read_only) = Mounted::tmpfs("read-only", "size=64m") else { return };
    drop(open_node(&read_only.dir));
    read_only.remount("ro");
    let error = open(&read_only.dir, &Options::default(), &bootstrap(1, 3, 1)).err().unwrap();
    assert!(error.to_string().contains("make the directory writable"), "{error}");
    let Some(few) = Mounted::tmpfs("inodes", "size=64m,nr_inodes=4") else { return };
    let error = open(&few.dir, &Options::default(), &bootstrap(1, 3, 1)).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("no inodes left") && text.contains(few.dir.to_str().unwrap()), "{text}");
}

#[test]
fn a_disk_that_fills_up_ends_the_storage_and_keeps_what_was_acknowledged() {
    let Some(mut small) = Mounted::tmpfs("fills", "size=40m") else { return };
    let (tell, told) = channel();
    let handle =
        StorageThread::spawn(open_node(&small.dir).store, move || _ = tell.send(())).unwrap();
    let entries = chain(Position::ZERO, 1, 4000, 16_000);
    for (n, entry) in (1..).zip(&entries) {
        let record = Record::append(vec![entry.clone()]);
        handle.submit(vec![StorageCommand::Persist { id: WriteId::new(n), record }]);
    }
    let mut durable = 0;
    let failure = 'wait: loop {
        told.recv().unwrap();
        for completion in handle.completions() {
            match completion {
                Completion::Persisted(id) => durable = id.get(),
                Completion::Failed(why) => break 'wait why,
                Completion::SpaceShort(short) => assert!(short, "it runs full"),
                Completion::Checkpointed(_)
                | Completion::Staged { .. }
                | Completion::Sealed(_)
                | Completion::Progress(_)
                | Completion::LogRead { .. } => {
                    panic!("no state was to be stored")
                }
            }
        }
    };
    let text = failure.to_string();
    assert!(text.contains("No space") && text.contains(small.dir.to_str().unwrap()), "{text}");
    assert!(!handle.stop().iter().any(|c| matches!(c, Completion::Persisted(_))));
    small.remount("size=200m");
    let found = open_node(&small.dir).recovered.entries;
    assert!(found.len() as u64 >= durable && durable > 100, "{} of {durable}", found.len());
    assert_eq!(found[..], entries[..found.len()]);
}

#[test]
fn the_threads_complete_everything_in_order_and_keep_it() {
    let dir = Scratch::new("threads");
    let (tell, told) = channel();
    let handle = StorageThread::spawn(open_node(&dir).store, move || _ = tell.send(())).unwrap();
    let entries = chain(Position::ZERO, 1, 500, 200);
    for (n, entry) in (1..).zip(&entries) {
        let record = Record::append(vec![entry.clone()]);
        handle.submit(vec![StorageCommand::Persist { id: WriteId::new(n), record }]);
    }
    let mut persisted = Vec::new();
    while persisted.last() != Some(&500) {
        told.recv().unwrap();
        for completion in handle.completions() {
            let Completion::Persisted(id) = completion else { panic!("{completion:?}") };
            persisted.push(id.get());
        }
    }
    assert!(persisted.is_sorted() && persisted.len() < 500, "{persisted:?}");
    let at = entries[400].position();
    let part = |name| checkpoint(at, 3, &[(name, Some(vec![1; 1000]))]).changes;
    handle.submit(vec![
        StorageCommand::CheckpointPart { at: at.txid, changes: part("0") },
        StorageCommand::CheckpointPart { at: at.txid, changes: part("1") },
        StorageCommand::Checkpoint(checkpoint(at, 3, &[("a", Some(vec![1; 1000]))])),
    ]);
    let mut written = 0;
    'saved: loop {
        told.recv().unwrap();
        for completion in handle.completions() {
            match completion {
                Completion::Progress(bytes) => written += bytes,
                Completion::Checkpointed(txid) if txid == at.txid => break 'saved,
                other => panic!("{other:?}"),
            }
        }
    }
    // What it wrote was told before it was done: three elements of a thousand bytes.
    assert!((3000..4000).contains(&written), "{written}");
    assert_eq!(handle.queued_bytes(), 0);
    // A snapshot that comes in, is installed, and a checkpoint upon it.
    let base_at = Position { txid: Txid::new(Epoch::new(2), 9).unwrap(), chain: Digest::new(1) };
    let after = chain(base_at, 2, 1, 10);
    handle.submit(vec![
        StorageCommand::StageOpen(8),
        StorageCommand::Stage { stage: 8, items: vec![item("b", b"2"), item("c", b"3")] },
        StorageCommand::Seal { stage: 8, at: base_at, digest: Digest::new(4) },
    ]);
    while !handle.completions().contains(&Completion::Sealed(8)) {
        told.recv().unwrap();
    }
    handle.submit(vec![
        StorageCommand::Persist {
            id: WriteId::new(501),
            record: Record::Install { base: base(base_at), stage: 8, digest: Digest::new(4) },
        },
        StorageCommand::Persist { id: WriteId::new(502), record: Record::append(after.clone()) },
        StorageCommand::Checkpoint(checkpoint(after[0].position(), 5, &[("b", None)])),
    ]);
    let done = handle.stop();
    assert_eq!(
        done.iter().filter(|c| matches!(c, Completion::Checkpointed(_))).count(),
        1,
        "{done:?}"
    );
    assert!(done.contains(&Completion::Persisted(WriteId::new(502))), "{done:?}");
    let opened = open_node(&dir);
    assert_eq!(opened.recovered.applied, after[0].position());
    assert_eq!(opened.recovered.entries, after);
    assert_eq!(load(opened.items).keys().collect::<Vec<_>>(), ["c"]);
}

#[test]
fn the_log_before_its_start_is_read_back_in_pieces_also_by_the_next_life() {
    let dir = Scratch::new("read-back");
    let entries = chain(Position::ZERO, 1, 400, 60_000);
    let last = entries.last().unwrap().position();
    for life in 0..2 {
        let (tell, told) = channel();
        let store = open_node(&dir).store;
        let handle = StorageThread::spawn(store, move || _ = tell.send(())).unwrap();
        let wait = |wanted: &dyn Fn(&Completion) -> bool| loop {
            told.recv().unwrap();
            if let Some(found) = handle.completions().into_iter().find(|one| wanted(one)) {
                return found;
            }
        };
        if life == 0 {
            let records = entries.iter().map(|entry| Record::append(vec![entry.clone()]));
            for (n, record) in (1..).zip(records) {
                handle.submit(vec![StorageCommand::Persist { id: WriteId::new(n), record }]);
            }
            handle.submit(vec![StorageCommand::Checkpoint(checkpoint(last, 1, &[]))]);
            wait(&|one| matches!(one, Completion::Checkpointed(_)));
            let (id, record) = (WriteId::new(401), Record::Prune(base(last)));
            handle.submit(vec![StorageCommand::Persist { id, record }]);
            wait(&|one| *one == Completion::Persisted(id));
        }
        let (mut after, mut read) = (Txid::ZERO, Vec::new());
        let conn = ConnId::new(7);
        while after < last.txid {
            let upto = last.txid;
            handle.submit(vec![StorageCommand::ReadLog { conn, after, upto, max_bytes: 1 << 20 }]);
            let answer = wait(&|one| matches!(one, Completion::LogRead { .. }));
            let Completion::LogRead { from, entries: piece, .. } = answer else { continue };
            assert_eq!(from.unwrap().txid, after);
            assert!(!piece.is_empty() && piece.len() < 18, "{}", piece.len());
            after = piece.last().unwrap().txid;
            read.extend(piece);
        }
        assert!(read == entries);
        handle.stop();
    }
}

#[test]
fn parts_of_a_snapshot_that_was_given_up_are_not_written() {
    let dir = Scratch::new("given-up");
    let (tell, told) = channel();
    let handle = StorageThread::spawn(open_node(&dir).store, move || _ = tell.send(())).unwrap();
    let part = |stage, n: u8| StorageCommand::Stage {
        stage,
        items: vec![item(&format!("k{n}"), &[n; 1000])],
    };
    let mut commands = vec![StorageCommand::StageOpen(8), StorageCommand::StageOpen(9)];
    commands.extend((0..20).map(|n| part(8, n)));
    commands.push(part(9, 1));
    handle.submit(commands);
    let mut staged = Vec::new();
    while !staged.contains(&Completion::Staged { stage: 9, parts: 1 }) {
        told.recv().unwrap();
        staged.extend(handle.completions());
    }
    assert_eq!(staged, [Completion::Staged { stage: 9, parts: 1 }]);
    assert_eq!(handle.queued_bytes(), 0);
    handle.stop();
}

#[test]
fn the_journal_goes_on_while_a_snapshot_is_made_durable() {
    let dir = Scratch::new("sealing");
    let (tell, told) = channel();
    let handle = StorageThread::spawn(open_node(&dir).store, move || _ = tell.send(())).unwrap();
    let at = Position { txid: Txid::new(Epoch::new(9), 4).unwrap(), chain: Digest::new(77) };
    let digest = Digest::new(5);
    handle.submit(vec![StorageCommand::StageOpen(8)]);
    // So much that it takes much longer to read back than one flush takes.
    for n in 0..400_u32 {
        let part = |k: u32| item(&format!("{:06}", n * 500 + k), &[7; 100]);
        let items = (0..500).map(part).collect();
        handle.submit(vec![StorageCommand::Stage { stage: 8, items }]);
    }
    while handle.queued_bytes() > 0 {
        told.recv().unwrap();
    }
    handle.submit(vec![StorageCommand::Seal { stage: 8, at, digest }]);
    let entries = chain(Position::ZERO, 1, 100_000, 10);
    let (mut before, mut sealed) = (0, false);
    for (id, entry) in (1..).zip(entries) {
        let record = Record::append(vec![entry]);
        handle.submit(vec![StorageCommand::Persist { id: WriteId::new(id), record }]);
        let mut durable = false;
        while !durable {
            told.recv().unwrap();
            for completion in handle.completions() {
                durable |= completion == Completion::Persisted(WriteId::new(id));
                sealed |= completion == Completion::Sealed(8);
            }
        }
        if sealed {
            break;
        }
        before += 1;
    }
    assert!(sealed && before > 0, "{before} flushes while it was sealed");
    let record = Record::Install { base: base(at), stage: 8, digest };
    handle.submit(vec![StorageCommand::Persist { id: WriteId::new(1 << 40), record }]);
    handle.stop();
    assert_eq!(load(open_node(&dir).items).len(), 200_000);
}

#[test]
fn tables_that_piled_up_in_earlier_lives_are_merged_without_a_checkpoint() {
    let dir = Scratch::new("piled");
    pile_up(&dir, 20);
    let tables = || listing(&dir).iter().filter(|name| name.ends_with(".zkt")).count();
    let opened = open_node(&dir);
    assert_eq!(tables(), 20);
    let handle = StorageThread::spawn(opened.store, || {}).unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    while tables() > 8 {
        assert!(Instant::now() < patience, "{} tables", tables());
        thread::sleep(Duration::from_millis(5));
    }
    // It says that it gets on, and completes nothing that anybody waits for.
    let said = handle.stop();
    assert!(said.iter().all(|one| matches!(one, Completion::Progress(0))), "{said:?}");
    assert_eq!(load(open_node(&dir).items).len(), 20);
}

#[test]
fn a_full_disk_can_be_started_on_and_written_to_thanks_to_the_room_that_was_kept() {
    let Some(small) = Mounted::tmpfs("reserve", "size=256m") else { return };
    drop(open_node(&small.dir));
    assert!(small.dir.join("reserve").exists());
    let mut filler = File::create(small.dir.join("of-somebody-else")).unwrap();
    let block = vec![7; 1 << 16];
    while filler.write_all(&block).is_ok() {}
    let mut store = open_node(&small.dir).store;
    assert!(!small.dir.join("reserve").exists());
    let entries = chain(Position::ZERO, 1, 10, 1000);
    store.append(&Record::append(entries.clone())).unwrap();
    store.flush().unwrap();
    let change = [("deleted", None), ("kept", Some(vec![1; 1000]))];
    store.checkpoint(&checkpoint(entries[9].position(), 1, &change)).unwrap();
    drop(store);
    // With room again it is kept again: a file takes its room along only once nobody holds it.
    drop(filler);
    fs::remove_file(small.dir.join("of-somebody-else")).unwrap();
    assert_eq!(load(open_node(&small.dir).items).len(), 1);
    assert!(small.dir.join("reserve").exists());
}

#[test]
fn free_space_that_is_short_is_told_and_so_is_that_others_freed_some() {
    let Some(small) = Mounted::tmpfs("short", "size=64m") else { return };
    let (tell, told) = channel();
    let handle =
        StorageThread::spawn(open_node(&small.dir).store, move || _ = tell.send(())).unwrap();
    let mut filler = File::create(small.dir.join("of-somebody-else")).unwrap();
    while filler.write_all(&[7; 1 << 16]).is_ok() {}
    let entries = chain(Position::ZERO, 1, 1000, 10);
    let mut said = Vec::new();
    let mut wait = |short| {
        while !said.contains(&Completion::SpaceShort(short)) {
            told.recv().unwrap();
            said.extend(handle.completions());
        }
    };
    // It looks once a second while something is written.
    let mut entries = (1..).zip(&entries);
    loop {
        let (n, entry) = entries.next().expect("it is not told");
        let record = Record::append(vec![entry.clone()]);
        handle.submit(vec![StorageCommand::Persist { id: WriteId::new(n), record }]);
        if told.recv_timeout(Duration::from_secs(10)).is_err() {
            panic!("nothing is stored");
        }
        let new = handle.completions();
        if new.contains(&Completion::SpaceShort(true)) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    drop(filler);
    fs::remove_file(small.dir.join("of-somebody-else")).unwrap();
    wait(false);
    handle.stop();
}

#[test]
fn rot_in_the_last_write_of_a_burst_is_damage_a_moment_later() {
    let (dir, copy) = (Scratch::new("last-write"), Scratch::new("last-write-copy"));
    let (tell, told) = channel();
    let handle = StorageThread::spawn(open_node(&dir).store, move || _ = tell.send(())).unwrap();
    let record = Record::append(chain(Position::ZERO, 1, 2, 100));
    handle.submit(vec![StorageCommand::Persist { id: WriteId::new(1), record }]);
    told.recv().unwrap();
    // Nothing is written any more, but for the mark that says that it was flushed.
    let until = Instant::now() + Duration::from_secs(30);
    let error = loop {
        copy_dir(&dir, &copy);
        let journal = copy.join("journal-0000000001.zkj");
        let mut bytes = fs::read(&journal).unwrap();
        let at =
            bytes.windows(90).rposition(|bytes| bytes.iter().all(|b| *b == bytes[0] && *b > 0));
        bytes[at.expect("the entry's value")] ^= 1;
        fs::write(&journal, bytes).unwrap();
        match open(&copy, &Options::default(), &bootstrap(1, 3, 1)) {
            Err(error) => break error,
            Ok(cut) => assert!(cut.recovered.entries.is_empty()),
        }
        assert!(Instant::now() < until, "it is cut as if it had been torn");
        thread::sleep(Duration::from_millis(50));
        fs::remove_dir_all(&*copy).unwrap();
    };
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    handle.stop();
}

#[test]
fn a_merge_for_which_there_is_no_room_does_not_take_what_checkpoints_need() {
    let Some(small) = Mounted::tmpfs("room", "size=64m") else { return };
    let entries = chain(Position::ZERO, 1, 18, 10);
    let mut store = open_node(&small.dir).store;
    store.append(&Record::append(entries.clone())).unwrap();
    store.flush().unwrap();
    for (n, entry) in (1..).zip(&entries) {
        // All of it fits, but not a merge of it besides.
        let size = if n <= 9 { 3 << 20 } else { 2 << 20 };
        let change = [(&*format!("k{n}"), Some(vec![n as u8; size]))];
        store.states().checkpoint(&checkpoint(entry.position(), n, &change)).unwrap();
        store.states().fold().unwrap();
        store.states().fold().unwrap();
    }
    drop(store);
    assert_eq!(load(open_node(&small.dir).items).len(), 18);
}

#[test]
fn damage_that_is_found_while_tables_are_merged_is_told_as_damage_at_a_start_is() {
    let dir = Scratch::new("merged");
    pile_up(&dir, 9);
    let opened = open_node(&dir);
    let file = "state-0000000000/table-0000000004.zkt";
    let mut bytes = fs::read(dir.join(file)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(dir.join(file), bytes).unwrap();
    let (tell, told) = channel();
    let handle = StorageThread::spawn(opened.store, move || _ = tell.send(())).unwrap();
    told.recv().unwrap();
    let done = handle.stop();
    let [Completion::Failed(failure @ Failure::Damaged(damage))] = &done[..] else {
        panic!("{done:?}")
    };
    assert!(damage.file == file && damage.offset.is_some(), "{damage}");
    assert_eq!(ExitReason::StorageFailed(failure.clone()).exit_code(), 3);
    assert!(failure.to_string().contains("must not vote"), "{failure}");
    assert_eq!(try_load(open_node(&dir).items), Err(damage.to_string()));
}

#[test]
fn the_next_segment_is_made_before_the_present_one_is_full() {
    let dir = Scratch::new("ahead");
    let options = Options { journal: JournalOptions { segment_bytes: 1 << 20 }, free_bytes: 0 };
    let opened = open(&dir, &options, &bootstrap(1, 3, 11)).unwrap();
    let (tell, told) = channel();
    let handle = StorageThread::spawn(opened.store, move || _ = tell.send(())).unwrap();
    let entries = chain(Position::ZERO, 1, 14, 100_000);
    let names = |kind: &str| listing(&dir).iter().filter(|name| name.starts_with(kind)).count();
    for (n, entry) in (1..).zip(&entries) {
        let record = Record::append(vec![entry.clone()]);
        handle.submit(vec![StorageCommand::Persist { id: WriteId::new(n), record }]);
        told.recv().unwrap();
        assert_eq!(handle.completions(), [Completion::Persisted(WriteId::new(n))]);
        match n {
            // So little of it is used.
            3 => assert_eq!(names("spare-"), 0),
            // The write after the one that used its half sees to it.
            8 => {
                let patience = Instant::now() + Duration::from_secs(60);
                while names("spare-ahead-") == 0 {
                    assert!(Instant::now() < patience, "no segment is made");
                    thread::sleep(Duration::from_millis(1));
                }
                assert_eq!(names("journal-"), 1);
            }
            _ => {}
        }
    }
    assert_eq!(names("journal-"), 2);
    assert_eq!(handle.stop(), []);
    assert_eq!(open(&dir, &options, &bootstrap(1, 3, 11)).unwrap().recovered.entries, entries);
}

#[test]
fn a_list_without_members_does_not_initialise_anything() {
    let dir = Scratch::new("nobody");
    let error = open(&dir, &Options::default(), &bootstrap(1, 0, 1)).err().unwrap();
    assert!(error.to_string().contains("no proper list of members"), "{error}");
    assert!(open_node(&dir).created);
}

#[test]
fn an_interrupted_initialisation_is_begun_again() {
    let dir = Scratch::new("interrupted");
    fs::create_dir_all(dir.join("state-0000000000")).unwrap();
    fs::write(dir.join("state-0000000000/db"), "half").unwrap();
    fs::write(dir.join("initialising"), "").unwrap();
    assert!(open_node(&dir).created);
    assert!(!dir.join("initialising").exists());
}

#[test]
fn a_half_made_snapshot_file_of_sleds_does_not_block_the_start() {
    let dir = Scratch::new("generating");
    drop(open_node(&dir));
    fs::write(dir.join("state-0000000000/snap.00000000.generating"), "half").unwrap();
    assert!(!open_node(&dir).created);
}

/// Leaves so many tables behind, as lives do that end before they are merged.
fn pile_up(dir: &Path, count: usize) {
    let entries = chain(Position::ZERO, 1, count, 10);
    let mut store = open_node(dir).store;
    store.append(&Record::append(entries.clone())).unwrap();
    store.flush().unwrap();
    for (n, entry) in (1..).zip(&entries) {
        let change = [(&*format!("k{n}"), Some(vec![n as u8; 100]))];
        store.states().checkpoint(&checkpoint(entry.position(), n, &change)).unwrap();
    }
}

fn base(at: Position) -> Base {
    Base { at, membership: bootstrap(1, 3, 1).membership }
}

fn generations(dir: &Path) -> Vec<String> {
    let mut names = listing(dir);
    names.retain(|name| name.starts_with("state-") && !name.contains('/'));
    names
}
