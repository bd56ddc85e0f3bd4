//! What was typed is what is stored, and what is printed can be told: scripts, odd keys and values.

mod cli_support;

use cli_support::{Dev, Ran, run_with, zabkeeper};
use std::fs::File;
use std::process::Stdio;

/// Runs a script, and gives what the keys hold then; `None` where there is nothing.
fn after(dev: &Dev, script: &[u8], keys: &[&str]) -> (Ran, Vec<Option<String>>) {
    let ran = dev.run_with(&["client"], script);
    let held = keys.iter().map(|key| {
        let got = dev.run(&["get", key, "--no-newline"]);
        (got.code == 0).then_some(got.out)
    });
    let held = held.collect();
    (ran, held)
}

fn texts(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

#[test]
fn what_was_typed_is_stored_and_what_is_stored_can_be_told() {
    let dev = Dev::start(&["--nodes", "1"]);
    words_are_stored_as_typed(&dev);
    a_wrong_line_costs_itself_alone(&dev);
    a_line_of_other_bytes_is_refused(&dev);
    keys_and_values_are_shown_in_one_line_each(&dev);
    results_that_cannot_be_written_have_a_code_of_their_own(&dev);
    small_mistakes_are_answered(&dev);
}

fn words_are_stored_as_typed(dev: &Dev) {
    let script = br#"Set color #ff8800
Set size 10
Set j {"a":1}
Set re \d+\.txt
Set win C:\temp\new
Set name O'Brien
put words "two words"
"#;
    let keys = ["color", "size", "j", "re", "win", "name", "words"];
    let (ran, held) = after(dev, script, &keys);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let typed =
        ["#ff8800", "10", r#"{"a":1}"#, r"\d+\.txt", r"C:\temp\new", "O'Brien", "two words"];
    assert_eq!(held, texts(&typed));
}

fn a_wrong_line_costs_itself_alone(dev: &Dev) {
    for (wrong, says) in [
        (&b"Set empty"[..], "line 1: the value is missing"),
        (b"Set", "line 1: the key is missing"),
        (b"Get #1", "line 1: /#1: the key does not exist"),
        (b"Delete", "line 1: the key is missing"),
        (b"Set q 'open", "line 1: a quote is not closed"),
        (b"Set q a b", "line 1: 'b' is no number"),
        (b"Set q a b c", "line 1: too many words"),
        (b"Set q v 0", "line 1: '0' is no number"),
        (b"Frob\x1b[2J x", "line 1: there is no command 'Frob\\u{1b}[2J'"),
        (b"Set q caf\xe9", "line 1: the line is not UTF-8"),
    ] {
        dev.run(&["delete", "next"]);
        let (ran, held) = after(dev, &[wrong, b"\nSet next 1\n"].concat(), &["next", "q"]);
        let wanted = if wrong == b"Get #1" { 1 } else { 2 };
        assert_eq!(ran.code, wanted, "{ran:#?}");
        assert!(ran.err.contains(says), "{}", ran.err);
        assert_eq!(held, [Some("1".to_owned()), None]);
    }
}

fn a_line_of_other_bytes_is_refused(dev: &Dev) {
    let script = b"\xef\xbb\xbfSet a 1\r\nSet cafe caf\xe9\nSet b 2";
    let (ran, held) = after(dev, script, &["a", "cafe", "b"]);
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert!(ran.err.contains("line 2: the line is not UTF-8"), "{}", ran.err);
    assert_eq!(held, [Some("1".to_owned()), None, Some("2".to_owned())]);
    // Other bytes have a way of their own.
    assert_eq!(dev.run_with(&["set", "cafe", "-"], b"caf\xe9").code, 0);
    assert_eq!(dev.json(&["get", "cafe"])["value_base64"], "Y2Fm6Q==");
    let long = [b"Set long ", vec![b'x'; 2 << 20].as_slice(), b"\nSet b 3\n"].concat();
    let (ran, held) = after(dev, &long, &["long", "b"]);
    assert_eq!(ran.code, 2, "{ran:#?}");
    assert_eq!(held, [None, Some("3".to_owned())]);
}

fn keys_and_values_are_shown_in_one_line_each(dev: &Dev) {
    let keys =
        ["odd/one\n/two", "odd/tab\tvalue", "odd/\x1b[2J", "odd/a\\nb", "odd/a\nb", "odd/plain"];
    for key in keys {
        assert_eq!(dev.run(&["set", key, key]).code, 0);
    }
    let listed = dev.run(&["list", "odd", "--recursive", "--values"]).out;
    let json = dev.run(&["list", "odd", "--recursive", "--output", "json"]).out;
    assert_eq!(listed.lines().count(), json.lines().count(), "{listed}");
    assert!(listed.lines().all(|line| line.matches('\t').count() == 1), "{listed}");
    assert!(!listed.contains('\x1b'), "{listed}");
    for line in [r"/odd/a\\nb", r"/odd/a\nb", r"/odd/tab\tvalue", r"/odd/\u{1b}[2J"] {
        assert!(listed.lines().any(|it| it.starts_with(&format!("{line}\t"))), "{line}: {listed}");
    }
    assert!(json.contains(r#""key":"/odd/a\nb""#), "{json}");
    let missing = dev.run(&["get", "no\x1b]0;title\x07"]);
    assert_eq!(missing.err, "zabkeeper: /no\\u{1b}]0;title\\u{7}: the key does not exist\n");
    // Through a pipe, a value is its bytes.
    assert_eq!(dev.run(&["get", "odd/\x1b[2J"]).out, "odd/\x1b[2J\n");
}

fn results_that_cannot_be_written_have_a_code_of_their_own(dev: &Dev) {
    let into_full = |args: &[&str]| {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = zabkeeper(args);
        command.env("ZABKEEPER_ENDPOINTS", dev.endpoints()).stderr(Stdio::null());
        command.stdout(full).status().unwrap().code()
    };
    for args in [
        &["get", "a"][..],
        &["get", "a", "--no-newline"],
        &["list"],
        &["status"],
        &["add", "lock", "me", "--output", "json"],
    ] {
        assert_eq!(into_full(args), Some(6), "{args:?}");
    }
    assert_eq!(dev.run(&["get", "lock"]).out, "me\n");
}

fn small_mistakes_are_answered(dev: &Dev) {
    assert_eq!(dev.run(&["list", "missing", "--limit", "0"]).code, 1);
    let none = dev.run(&["ls", "--limit", "0"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""));
    assert_eq!(dev.run(&["set", "n", "-100"]).code, 0);
    assert_eq!(dev.run(&["get", "n"]).out, "-100\n");
    assert_eq!(dev.run(&["rm", "n"]).code, 0);
    // A server's file will do for a client.
    let file = dev.ready["nodes"][0]["config"].as_str().expect("its file");
    let mut command = zabkeeper(&["get", "a", "--config", file]);
    let ran = cli_support::ran(&run_with(command.env("ZABKEEPER_ENDPOINTS", "127.0.0.1:1"), b""));
    assert_eq!((ran.code, ran.out.as_str()), (0, "1\n"), "{ran:#?}");
    let limits = [(1 << 20, 0), ((1 << 20) + 1, 2), (2 << 20, 2)];
    for (bytes, wanted) in limits {
        let ran = dev.run_with(&["set", "large", "-"], &vec![b'x'; bytes]);
        assert_eq!(ran.code, wanted, "{ran:#?}");
    }
}
