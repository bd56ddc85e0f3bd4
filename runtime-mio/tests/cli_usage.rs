//! What the program says about itself, and how it answers mistakes: by text and exit code.

mod cli_support;

use cli_support::{free_port, run};

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
