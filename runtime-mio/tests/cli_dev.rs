//! `zabkeeper dev`: real processes, started, used, killed and stopped.

mod cli_support;

use cli_support::{Dev, is_alive, run, signal, until, zabkeeper};
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use zabkeeper_core::store::{Answer, Command, Op, Path as Key};
use zabkeeper_core::words::ReadLevel;
use zabkeeper_runtime_mio::client::{Client, ClientOptions, Done};

#[test]
fn commands_work_through_every_node_and_say_what_they_did() {
    let dev = Dev::start(&[]);
    assert_eq!(dev.endpoints().split(',').count(), 3);
    let data = dev.ready["data_dir"].as_str().unwrap().to_owned();

    assert_eq!(dev.run(&["set", "answer", "42"]).out, "");
    for endpoint in dev.endpoints().split(',') {
        let read = run(&["get", "/answer", "--endpoints", endpoint]);
        assert_eq!((read.code, read.out.as_str()), (0, "42\n"));
    }
    let taken = dev.run(&["add", "answer", "1"]);
    assert_eq!(taken.code, 1);
    assert!(taken.err.contains("/answer: the key exists"), "{}", taken.err);
    let absent = dev.run(&["get", "absent"]);
    assert_eq!((absent.code, absent.out.as_str()), (1, ""));
    assert!(absent.err.contains("/absent: the key does not exist"));
    assert_eq!(dev.run(&["list", "absent"]).code, 1);

    let added = dev.json(&["add", "app/a b", "x"]);
    assert_eq!(added["key"], "/app/a b");
    assert_eq!(added["txid"], added["created"]);
    let binary = dev.run_with(&["set", "app/bin", "-"], &[0xff, 0]);
    assert_eq!(binary.code, 0, "{binary:#?}");
    assert_eq!(dev.json(&["get", "app/bin"])["value_base64"], "/wA=");
    assert_eq!(dev.json(&["get", "app/a b"])["value"], "x");
    assert_eq!(dev.run(&["get", "app/a b", "--local", "-n"]).out, "x");

    let full = dev.run(&["delete", "app"]);
    assert_eq!(full.code, 1);
    assert!(full.err.contains("--recursive"), "{}", full.err);
    let list = dev.run(&["list", "--recursive", "--values"]);
    assert_eq!(list.out, "/answer\t42\n/app\t\n/app/a b\tx\n/app/bin\t\\xff\\u{0}\n");
    assert_eq!(dev.run(&["list", "app", "--limit", "1"]).out, "/app/a b\n");
    assert_eq!(dev.run(&["delete", "app", "--recursive"]).code, 0);
    assert_eq!(dev.run(&["list"]).out, "/answer\n");

    stop(dev);
    assert!(!Path::new(&data).exists(), "the temporary directory is removed");
}

/// Asks `dev` to stop, and sees that nothing stays behind.
fn stop(mut dev: Dev) {
    let pids = dev.pids();
    dev.process.signal("TERM");
    assert_eq!(dev.process.exit_code(), Some(0));
    assert_eq!(pids.iter().filter(|pid| is_alive(**pid)).count(), 0);
}

#[test]
fn status_finds_all_nodes_from_one_and_tells_who_is_away() {
    let dev = Dev::start(&[]);
    let first = dev.endpoints().split(',').next().unwrap();
    let full = |status: &Value| {
        let nodes = status["nodes"].as_array().unwrap();
        let up = |node: &&Value| node["serving"] == true && node["same"] == true;
        nodes.len() == 3 && nodes.iter().filter(up).count() == 3
    };
    let mut status = Value::Null;
    until("all nodes agree", || {
        status = dev.json(&["status", "--endpoints", first]);
        full(&status)
    });
    let nodes = status["nodes"].as_array().unwrap();
    let leaders = nodes.iter().filter(|n| n["role"] == "leading");
    let leaders: Vec<_> = leaders.map(|n| &n["node"]).collect();
    assert_eq!(leaders, [&status["leader"]]);

    let follower = nodes.iter().find(|n| n["role"] == "following").unwrap();
    let name = follower["node"].as_str().unwrap();
    let index = usize::from(name.as_bytes()[1] - b'1');
    signal(dev.pids()[index], "KILL");
    let event = dev.process.line(|line| line.contains("\"ended\""));
    let event: Value = serde_json::from_str(&event).unwrap();
    assert_eq!((&event["node"], &event["how"]), (&follower["node"], &Value::from("signal 9")));
    assert!(!event["log_tail"].as_array().unwrap().is_empty());

    assert_eq!(dev.run(&["set", "still", "here", "--timeout", "30s"]).code, 0);
    let table = dev.run(&["status"]);
    assert_eq!(table.code, 0, "{table:#?}");
    assert!(table.out.starts_with("node  address"), "{}", table.out);
    assert!(table.out.contains("no: Connection refused"), "{}", table.out);
    assert!(table.out.contains("leading"), "{}", table.out);
    stop(dev);
}

#[test]
fn without_a_majority_writes_and_reads_are_refused_and_local_reads_go_on() {
    let dev = Dev::start(&[]);
    assert_eq!(dev.run(&["set", "a", "1"]).code, 0);
    let last = dev.endpoints().split(',').next_back().unwrap();
    // The last node must have applied it before it is alone.
    assert_eq!(run(&["get", "a", "--endpoints", last]).out, "1\n");
    let pids = dev.pids();
    signal(pids[0], "KILL");
    signal(pids[1], "KILL");
    until("the others are gone", || !is_alive(pids[0]) && !is_alive(pids[1]));
    // The lonely node notices after its timeout; what it took before is unknown, not refused.
    let mut refused = run(&["get", "a", "--endpoints", last, "--timeout", "2s"]);
    until("the lonely node knows", || {
        refused = run(&["set", "a", "2", "--endpoints", last, "--timeout", "2s"]);
        refused.code == 3
    });
    assert!(refused.err.contains("no leader with a majority"), "{}", refused.err);
    let read = run(&["get", "a", "--endpoints", last, "--timeout", "1s"]);
    assert_eq!((read.code, read.out.as_str()), (3, ""), "{read:#?}");
    let local = run(&["get", "a", "--endpoints", last, "--local"]);
    assert_eq!((local.code, local.out.as_str()), (0, "1\n"));
    let status = dev.run(&["status"]);
    assert_eq!(status.code, 3, "{status:#?}");
    stop(dev);
}

#[test]
fn a_kept_directory_keeps_data_and_ports() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let dev = Dev::start(&["--nodes", "1", "--data-dir", dir]);
    let endpoints = dev.endpoints().to_owned();
    assert_eq!(dev.run(&["set", "kept", "yes"]).code, 0);
    let second = run(&["dev", "--data-dir", dir]);
    assert_eq!(second.code, 1, "{second:#?}");
    assert!(second.err.contains("another `zabkeeper dev`"), "{}", second.err);
    stop(dev);
    let dev = Dev::start(&["--data-dir", dir]);
    assert_eq!(dev.endpoints(), endpoints);
    assert_eq!(dev.run(&["get", "kept"]).out, "yes\n");
    stop(dev);
    let more = run(&["dev", "--data-dir", dir, "--nodes", "3"]);
    assert_eq!(more.code, 2, "{more:#?}");
}

#[test]
fn a_directory_that_was_moved_or_copied_is_used_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    // A name that is no text, too.
    let place = |name: &[u8]| dir.path().join(OsStr::from_bytes(name));
    let (first, moved, copy) = (place(b"first"), place(b"od\xff"), place(b"copy"));
    let start = |data: &Path| {
        let mut command = zabkeeper(&["dev", "--output", "json", "--nodes", "1", "--data-dir"]);
        Dev::started(command.arg(data))
    };
    let dev = start(&first);
    assert_eq!(dev.run(&["set", "who", "original"]).code, 0);
    stop(dev);
    std::fs::rename(&first, &moved).unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(&moved).arg(&copy).status();
    assert!(copied.unwrap().success());
    let dev = start(&copy);
    assert_eq!(dev.run(&["get", "who"]).out, "original\n");
    assert_eq!(dev.run(&["set", "who", "copy"]).code, 0);
    stop(dev);
    let dev = start(&moved);
    assert_eq!(dev.run(&["get", "who"]).out, "original\n");
    stop(dev);
    assert!(!first.exists(), "nothing is made anew where it was");
}

#[test]
fn a_node_that_cannot_start_is_reported_and_ends_all() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("n2"), "in the way of a directory").unwrap();
    let ran = run(&["dev", "--data-dir", dir.path().to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.err.contains("n2 ended before the ensemble was formed"), "{}", ran.err);
    let log = dir.path().join("n2.log");
    assert!(ran.out.contains(&format!("The end of {}:\n  | zabkeeper server: ", log.display())));
    assert!(ran.out.contains("n1 stopped: exit code 0"), "{}", ran.out);
}

#[test]
fn the_nodes_die_with_their_parent() {
    let mut dev = Dev::start(&["--nodes", "2"]);
    let pids = dev.pids();
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    dev.process.signal("KILL");
    dev.process.exit_code();
    until("all nodes are gone", || !pids.iter().any(|pid| is_alive(*pid)));
    // Nobody was left to remove it.
    std::fs::remove_dir_all(dev.ready["data_dir"].as_str().unwrap()).unwrap();
}

#[test]
fn the_interactive_client_works_through_a_pipe() {
    let dev = Dev::start(&["--nodes", "1"]);
    // As gometa asks for them: command, starting key, starting value, repetition.
    let gometa = ["client", "--prompts"];
    let ran = dev.run_with(&gometa, b"Add\nkey\nsome value\n3\nGet\nkey-2\nGet key 2\n");
    assert_eq!(ran.code, 0, "{ran:#?}");
    let lines: Vec<_> = ran.out.lines().collect();
    assert!(lines[0].starts_with("Done 3 times, last at "), "{}", ran.out);
    assert_eq!(lines[1..], ["some value-2", "some value-0", "some value-1"]);
    let ran = dev.run_with(
        &["client", "--output", "json"],
        b"Set 'a b' \"x y\"\nGet 'a b'\nGet absent\nfrobnicate\nDelete 'a b'\nList\n",
    );
    assert_eq!(ran.code, 1, "the first failure's: {ran:#?}");
    assert!(ran.err.contains("/absent: the key does not exist"), "{}", ran.err);
    assert!(ran.err.contains("no command 'frobnicate'"), "{}", ran.err);
    let json = ran.out.lines().map(|line| serde_json::from_str(line).unwrap());
    let json: Vec<Value> = json.collect();
    assert_eq!((&json[1]["key"], &json[1]["value"]), (&"/a b".into(), &"x y".into()));
    assert_eq!(json.len(), 6, "set, get, delete, and three listed: {}", ran.out);
    let ran = dev.run_with(&gometa, b"Set\nkey\n");
    assert_eq!(ran.code, 2, "{ran:#?}");
    stop(dev);
}

#[test]
fn a_host_can_be_chosen_by_its_number() {
    let dev = Dev::start(&["--nodes", "1"]);
    let dead = format!("127.0.0.1:{}", cli_support::free_port());
    let both = format!("{dead},{}", dev.endpoints());
    let client = ["client", "--endpoints", &both, "--timeout", "1s"];
    let chosen = dev.run_with(&client, b"1\nSet a 1\nGet a\nquit\nGet b\n");
    assert_eq!(chosen.code, 0, "{chosen:#?}");
    assert!(chosen.out.ends_with("1\n"), "{}", chosen.out);
    let dead = dev.run_with(&client, b"0\nGet a\n");
    assert_eq!(dead.code, 3, "no other host than the chosen one: {dead:#?}");
    let any = dev.run_with(&client, b"Get a\n");
    assert_eq!((any.code, any.out.as_str()), (0, "1\n"), "{any:#?}");
    assert_eq!(dev.run_with(&client, b"7\nGet a\n").code, 2);
    stop(dev);
}

#[test]
fn the_library_keeps_many_writes_under_way_and_in_order() {
    let dev = Dev::start(&[]);
    let endpoints = dev.endpoints().split(',').map(str::to_owned).collect();
    let mut client = Client::connect(ClientOptions::new(endpoints)).unwrap();
    let path = Key::parse("counter").unwrap();
    for value in 0..500 {
        let path = path.clone();
        let value = value.to_string().into_bytes().into();
        client.submit(Op::Write(Command::Set { path, value })).unwrap();
    }
    let mut txids = Vec::new();
    while let Some((ticket, result)) = client.collect().unwrap() {
        match result.unwrap() {
            Done { txid, answer: Answer::Written(outcome) } => {
                assert!(outcome.is_ok());
                txids.push((ticket, txid));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(txids.len(), 500);
    assert!(txids.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "done in another order");
    let read = client.get(&path, ReadLevel::Linearizable).unwrap();
    assert_eq!(read.answer.unwrap().value.as_deref(), Some(&b"499"[..]));
    stop(dev);
}
