//! What the program says about itself, and how it answers mistakes: by text and exit code.

mod cli_support;

use cli_support::{free_port, run, run_with, zabkeeper};
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn every_command_explains_itself_with_examples() {
    let main = run(&["--help"]);
    assert_eq!(main.code, 0);
    for (command, example) in [
        ("dev", "zabkeeper dev --nodes 5"),
        ("server", "ready node=n1"),
        ("client", "| zabkeeper client"),
        ("get", "zabkeeper get app/config --local"),
        ("set", "date | zabkeeper set clock -"),
        ("add", "zabkeeper add lock me"),
        ("delete", "zabkeeper delete app --recursive"),
        ("list", "zabkeeper list app --recursive --values"),
        ("status", "zabkeeper status --output json"),
    ] {
        assert!(main.out.contains(&format!("  {command} ")), "{}", main.out);
        let help = run(&[command, "--help"]);
        assert_eq!(help.code, 0);
        assert!(help.out.contains(example), "{command}: {}", help.out);
        assert!(help.out.lines().all(|line| line.chars().count() <= 100));
    }
    assert!(main.out.contains("4  unknown"), "{}", main.out);
}

#[test]
fn a_wrong_command_line_is_told_and_ends_with_2() {
    for (args, says) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["set", "key"][..], "<VALUE>"),
        (&["set", "key", "a", "--file", "b"][..], "cannot be used with"),
        (&["get", "key", "--timeout", "soon"][..], "'soon' is no time"),
        (&["get", "a//b"][..], "the key 'a//b'"),
        (&["get", "key", "--endpoints", "nowhere"][..], "host:port"),
        (&["set", "key", "--file", "/nonexistent"][..], "/nonexistent"),
        (&["get", "key", "--config", "/nonexistent.json"][..], "/nonexistent.json"),
        (&["status", "--endpoints", "nowhere"][..], "host:port"),
        (&["set", "key", "--fiel=c.toml"][..], "--fiel"),
        (&["set", "key", "value", "--endpoints", "http://a:1"][..], "write a:1"),
        (&["frob", "-config=x"][..], "unrecognized subcommand"),
        (&["dev", "--nodes", "8"][..], "1..=7"),
        (&["dev", "--base-port", "65500"][..], "65400"),
    ] {
        let ran = run(args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:#?}");
        assert!(ran.err.contains(says), "{args:?}: {}", ran.err);
    }
}

#[test]
fn without_any_node_nothing_was_done_and_the_exit_code_is_3() {
    let endpoint = format!("127.0.0.1:{}", free_port());
    for args in [
        &["set", "key", "value"][..],
        &["get", "key"][..],
        &["get", "key", "--local"][..],
        &["list"][..],
        &["delete", "key"][..],
    ] {
        let ran = run(&[args, &["--endpoints", &endpoint, "--timeout", "300ms"]].concat());
        assert_eq!(ran.code, 3, "{args:?}: {ran:#?}");
        assert!(ran.err.contains("certainly not done"), "{}", ran.err);
        assert!(ran.err.contains(&endpoint), "{}", ran.err);
        assert!(ran.err.contains("start the nodes"), "{}", ran.err);
    }
    let status = run(&["status", "--endpoints", &endpoint]);
    assert_eq!(status.code, 3);
    assert!(status.out.contains("no: Connection refused"), "{}", status.out);
}

/// `/dev/full`: a disk without room.
fn full() -> Stdio {
    Stdio::from(File::options().write(true).open("/dev/full").unwrap())
}

/// A pipe whose reader is gone.
fn gone() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Stdio::from(writer)
}

fn code(args: &[&str], out: Stdio, err: Stdio) -> Option<i32> {
    let mut command = zabkeeper(args);
    command.stdout(out).stderr(err).status().unwrap().code()
}

#[test]
fn exit_codes_hold_when_nobody_reads_stderr() {
    let dead = format!("127.0.0.1:{}", free_port());
    for (args, wanted) in [
        (&["get", "key", "--timeout", "1200ms", "--endpoints", &dead][..], 3),
        (&["status", "--endpoints", &dead][..], 3),
        (&["get", "a//b"][..], 2),
        (&["frobnicate"][..], 2),
        (&["server", "--config", "/dev/null"][..], 2),
        (&["bench", "--local", "0"][..], 2),
    ] {
        for err in [full as fn() -> Stdio, gone] {
            assert_eq!(code(args, Stdio::null(), err()), Some(wanted), "{args:?}");
        }
    }
    let script = || run_to(zabkeeper(&["client"]).stderr(full()), b"\xff\nSet\n");
    assert_eq!(script(), Some(2));
}

#[test]
fn what_cannot_be_written_is_told_with_6_and_a_reader_that_left_not_at_all() {
    for args in [&["--help"][..], &["--version"], &["set", "--help"]] {
        assert_eq!(code(args, full(), Stdio::null()), Some(6), "{args:?}");
        assert_eq!(code(args, gone(), Stdio::null()), Some(0), "{args:?}");
    }
    let mut help = zabkeeper(&["client", "--endpoints", "127.0.0.1:1"]);
    assert_eq!(run_to(help.stdout(full()), b"help\n"), Some(6));
}

fn run_to(command: &mut Command, input: &[u8]) -> Option<i32> {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait().unwrap().code()
}

#[test]
fn the_program_called_gometa_takes_gometas_flags() {
    let dir = tempfile::tempdir().unwrap();
    let gometa = dir.path().join("gometa");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_zabkeeper"), &gometa).unwrap();
    let file = dir.path().join("client.json");
    std::fs::write(&file, r#"{"Peer": [{"RequestAddr": "127.0.0.1:1"}]}"#).unwrap();
    let flag = format!("-config={}", file.display());
    let said = |args: &[&str], input: &[u8]| {
        let output = run_with(Command::new(&gometa).args(args), input);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // A command that stands alone asks for its words, which come from the next lines.
    let (code, err) = said(&["-client=true", &flag], b"Add\na//b\nvalue\n1\nquit\n");
    assert_eq!(code, Some(2));
    assert!(err.contains("the key 'a//b'"), "{err}");
    let (code, err) = said(&[&flag], b"");
    assert_eq!(code, Some(2));
    assert!(err.contains("client.json: Host: the field is missing"), "{err}");
    let (code, err) = said(&["-frob"], b"");
    assert_eq!(code, Some(2));
    assert!(err.contains("-client=true -config=FILE"), "{err}");
}
