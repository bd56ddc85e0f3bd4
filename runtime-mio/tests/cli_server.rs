//! `zabkeeper server` as a supervisor sees it: one ready line, clean stops, exit codes.

mod cli_support;

use cli_support::{Process, free_port, run, zabkeeper};
use std::fs;
use std::io::Write;
use std::path::Path;

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
