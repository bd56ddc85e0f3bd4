//! `zabkeeper server` as a supervisor sees it: one ready line, clean stops, exit codes.

mod cli_support;

use cli_support::{Process, free_port, ran, run, run_with, zabkeeper};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Writes the configuration of an ensemble of one, and gives its file and request address.
fn single(dir: &Path) -> (String, String) {
    let [election, message, request] = [(); 3].map(|()| format!("127.0.0.1:{}", free_port()));
    let config = serde_json::json!({
        "Host": {"ElectionAddr": election, "MessageAddr": message, "RequestAddr": request},
        "Peer": [],
    });
    let file = dir.join("node.json");
    fs::write(&file, config.to_string()).unwrap();
    (file.to_str().unwrap().to_owned(), request)
}

fn start(dir: &Path, more: &[&str]) -> (Process, String) {
    let (file, request) = single(dir);
    let data = dir.join("data");
    let args = ["server", "--config", &file, "--data-dir", data.to_str().unwrap()];
    let process = Process::start(zabkeeper(&args).args(more));
    let ready = process.line(|_| true);
    assert!(ready.starts_with("ready node=n1 election=127.0.0.1:"), "{ready}");
    assert!(ready.ends_with(&format!(" request={request}")), "{ready}");
    (process, request)
}

#[test]
fn sigterm_and_sigint_stop_it_cleanly() {
    for name in ["TERM", "INT"] {
        let dir = tempfile::tempdir().unwrap();
        let (mut process, request) = start(dir.path(), &[]);
        assert_eq!(run(&["set", "a", "1", "--endpoints", &request]).code, 0);
        process.signal(name);
        assert_eq!(process.exit_code(), Some(0));
        assert!(process.lines.try_recv().is_err(), "one line, no more");
        assert!(dir.path().join("data").is_dir());
    }
}

#[test]
fn a_supervised_server_stops_when_its_stdin_ends_or_gets_a_line() {
    for line in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (mut process, _) = start(dir.path(), &["--watch-stdin"]);
        let mut stdin = process.child.stdin.take().unwrap();
        if line {
            stdin.write_all(b"\n").unwrap();
            assert_eq!(process.exit_code(), Some(0));
        } else {
            drop(stdin);
            assert_eq!(process.exit_code(), Some(0));
        }
    }
}

#[test]
fn an_unsupervised_server_does_not_care_for_stdin() {
    let dir = tempfile::tempdir().unwrap();
    let (mut process, request) = start(dir.path(), &[]);
    drop(process.child.stdin.take());
    assert_eq!(run(&["set", "a", "1", "--endpoints", &request]).code, 0);
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut process, request) = start(dir.path(), &[]);
    assert_eq!(run(&["set", "a", "1", "--endpoints", &request]).code, 0);
    process.signal("KILL");
    process.exit_code();
    let (_process, request) = start_again(dir.path(), &request);
    let read = run(&["get", "a", "--endpoints", &request]);
    assert_eq!((read.code, read.out.as_str()), (0, "1\n"));
}

/// Starts the node with the files that are there.
fn start_again(dir: &Path, request: &str) -> (Process, String) {
    let file = dir.join("node.json");
    let data = dir.join("data");
    let args = ["--data-dir", data.to_str().unwrap(), "--config", file.to_str().unwrap()];
    let process = Process::start(zabkeeper(&["server"]).args(args));
    process.line(|line| line.starts_with("ready "));
    (process, request.to_owned())
}

#[test]
fn a_wrong_configuration_ends_with_2_and_names_the_field() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.json");
    fs::write(&file, r#"{"Host": {}, "Peers": []}"#).unwrap();
    let file = file.to_str().unwrap();
    let ran = run(&["server", "--config", file]);
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.err.contains("Peers") && ran.err.contains(file), "{}", ran.err);
    assert_eq!(ran.out, "", "no ready line");
    let ran = run(&["server", "--config", file, "--log", "info,=?/["]);
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.err.contains("--log"), "{}", ran.err);
}

#[test]
fn a_variable_that_is_no_filter_is_named_and_does_not_stop_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = single(dir.path());
    let mut command = zabkeeper(&["server", "--check", "--config", &file]);
    let ran = ran(&run_with(command.env("RUST_LOG", "info,=?/["), b""));
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.err.contains("RUST_LOG=info,=?/["), "{}", ran.err);
}

#[test]
fn a_file_can_be_checked_without_starting_anything() {
    let dir = tempfile::tempdir().unwrap();
    let (file, request) = single(dir.path());
    let ran = run(&["server", "--check", "--config", &file]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:#?}");
    let data = dir.path().join("zabkeeper-data/1");
    assert!(ran.out.contains("node n1: election 127.0.0.1:"), "{}", ran.out);
    assert!(ran.out.contains(&format!("requests {request}\n")), "{}", ran.out);
    assert!(ran.out.contains(&format!("data directory {} (not there", data.display())));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the file, and nothing more");
    fs::write(&file, "{}").unwrap();
    let ran = run(&["server", "--check", "--config", &file]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:#?}");
    assert!(ran.err.contains("Host") && ran.err.contains(&file), "{}", ran.err);
}

#[test]
fn a_node_whose_log_nobody_reads_serves_and_stops_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let (file, request) = single(dir.path());
    // A pipe that is full already: every further byte of the log waits.
    let (_reader, mut writer) = std::io::pipe().unwrap();
    let blocking = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, blocking | OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    fcntl_setfl(&writer, blocking).unwrap();
    let mut command = zabkeeper(&["server", "--log", "trace", "--config", &file]);
    let mut process = Process::start(command.stderr(writer));
    process.line(|line| line.starts_with("ready "));
    assert_eq!(run(&["set", "a", "1", "--endpoints", &request]).code, 0);
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
fn signals_that_were_ignored_when_it_started_stay_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let (file, request) = single(dir.path());
    let server = format!("exec {} server --config {file}", env!("CARGO_BIN_EXE_zabkeeper"));
    let mut shell = Command::new("sh");
    let mut process = Process::start(shell.args(["-c", &format!("trap '' HUP INT; {server}")]));
    process.line(|line| line.starts_with("ready "));
    process.signal("HUP");
    process.signal("INT");
    assert_eq!(run(&["set", "a", "1", "--endpoints", &request]).code, 0);
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
}

#[test]
fn a_node_whose_address_is_not_there_yet_waits_says_so_and_stops_when_asked() {
    for stdin in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = single(dir.path());
        // An address that no machine has.
        let text = fs::read_to_string(&file).unwrap().replace("127.0.0.1", "192.0.2.7");
        fs::write(&file, text).unwrap();
        let command = &mut zabkeeper(&["server", "--watch-stdin", "--config", &file]);
        let mut process = Process::start_logged(command);
        let line = process.line(|line| line.contains("192.0.2.7"));
        assert!(line.contains("ElectionAddr") && line.contains("ListenIp"), "{line}");
        match stdin {
            true => drop(process.child.stdin.take()),
            false => process.signal("TERM"),
        }
        assert_eq!(process.exit_code(), Some(0));
    }
}

#[test]
fn nodes_that_are_missing_at_the_first_start_are_named_in_the_log_and_by_status() {
    let dir = tempfile::tempdir().unwrap();
    let addrs = [0; 3].map(|_| [(); 3].map(|()| format!("127.0.0.1:{}", free_port())));
    let node = |index: usize, request: bool| {
        let [election, message, client] = &addrs[index];
        let mut node =
            serde_json::json!({"Id": index + 1, "ElectionAddr": election, "MessageAddr": message});
        if request {
            node["RequestAddr"] = client.as_str().into();
        }
        node
    };
    let file = dir.path().join("n1.json");
    let config =
        serde_json::json!({"Host": node(0, true), "Peer": [node(1, false), node(2, false)]});
    fs::write(&file, config.to_string()).unwrap();
    let mut command = zabkeeper(&["server", "--config", file.to_str().unwrap()]);
    let process = Process::start_logged(&mut command);
    let missing = format!("n2 ({}), n3 ({})", addrs[1][0], addrs[2][0]);
    let line = process.line(|line| line.contains("listens on"));
    assert!(line.contains(&addrs[0][0]), "{line}");
    let line = process.line(|line| line.contains("has not formed yet"));
    assert!(line.contains(&format!("waiting for {missing}")), "{line}");
    let status = run(&["status", "--endpoints", &addrs[0][2]]);
    assert_eq!(status.code, 3, "{status:#?}");
    assert!(status.out.contains(&format!("n1: forming: waits for {missing}\n")), "{}", status.out);
    assert!(status.err.contains("not formed"), "{}", status.err);
    let status = run(&["status", "--endpoints", &addrs[0][2], "--output", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    let obstacle = &status["nodes"][0]["obstacles"][0];
    assert_eq!(obstacle["kind"], "forming");
    assert_eq!(obstacle["missing"], serde_json::json!(["n2", "n3"]));
}

#[test]
fn data_is_beside_the_file_wherever_the_node_is_started_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (file, request) = single(dir.path());
    let mut command = zabkeeper(&["server", "--config", &file]);
    let mut process = Process::start_logged(command.current_dir(elsewhere.path()));
    let data = dir.path().join("zabkeeper-data/1");
    let line = process.line(|line| line.contains("initialised the empty data directory"));
    assert!(line.contains("WARN") && line.contains(data.to_str().unwrap()), "{line}");
    assert_eq!(run(&["set", "a", "1", "--endpoints", &request, "--timeout", "30s"]).code, 0);
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    let mut places = vec![data];
    while let Some(place) = places.pop() {
        let found = fs::metadata(&place).unwrap();
        assert_eq!(found.permissions().mode() & 0o077, 0, "{}", place.display());
        if found.is_dir() {
            places.extend(fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[test]
fn the_names_of_new_directories_are_flushed_where_they_stand() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = single(dir.path());
    let trace = dir.path().join("trace");
    let data = dir.path().join("new/and/new");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-e", "trace=fsync", "-o"]).arg(&trace);
    let data_dir = data.to_str().unwrap();
    let args = ["server", "--config", &file, "--data-dir", data_dir, "--watch-stdin"];
    let node = zabkeeper(&args);
    let mut process = Process::start(command.arg(node.get_program()).args(node.get_args()));
    process.line(|line| line.contains("ready"));
    drop(process.child.stdin.take());
    assert_eq!(process.exit_code(), Some(0));
    let trace = fs::read_to_string(trace).unwrap();
    for made in [data.as_path(), &dir.path().join("new/and"), &dir.path().join("new")] {
        let parent = format!("<{}>", made.parent().unwrap().display());
        assert!(trace.contains(&parent), "{parent} is not flushed:\n{trace}");
    }
}

#[test]
fn damaged_data_ends_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let (mut process, request) = start(dir.path(), &[]);
    assert_eq!(run(&["set", "a", "1", "--endpoints", &request]).code, 0);
    process.signal("TERM");
    assert_eq!(process.exit_code(), Some(0));
    // The same directory under another ensemble's configuration is foreign data.
    let (file, _) = single(dir.path());
    let data = dir.path().join("data");
    let ran = run(&["server", "--config", &file, "--data-dir", data.to_str().unwrap()]);
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert_eq!(ran.out, "", "no ready line");
}
