//! Runs every command that `docs/cli.md` and `README.md` show, against an ensemble, and compares
//! the output.

mod cli_support;

use cli_support::{Dev, Ran, ran, run_with};
use std::path::Path;
use std::process::Command;

/// A command of the document, and what it prints. `...` stands for the rest of a line, or for any
/// number of lines.
struct Step {
    command: String,
    exit: i32,
    output: Vec<String>,
}

/// The commands of all `console` blocks: lines that begin with `$ `. A comment `# exit N` at the
/// end tells an exit code other than 0.
fn steps(document: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            inside = fence == "console";
        } else if let (true, Some(command)) = (inside, line.strip_prefix("$ ")) {
            let exit = command.rsplit_once("# exit ");
            steps.push(Step {
                command: command.to_owned(),
                exit: exit.map_or(0, |(_, code)| code.trim().parse().expect("an exit code")),
                output: Vec::new(),
            });
        } else if inside {
            let step = steps.last_mut().expect("output follows a command");
            step.output.push(line.to_owned());
        }
    }
    steps
}

/// Compares one line; each `...` in `pattern` stands for any text.
fn like(pattern: &str, line: &str) -> bool {
    match pattern.split_once("...") {
        None => pattern == line,
        Some((begin, rest)) => line.strip_prefix(begin).is_some_and(|line| {
            let mut ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
            ends.any(|at| like(rest, &line[at..]))
        }),
    }
}

fn matches(expected: &[String], lines: &[&str]) -> bool {
    match (expected, lines) {
        ([], []) => true,
        ([any, rest @ ..], _) if any == "..." => {
            (0..=lines.len()).any(|skip| matches(rest, &lines[skip..]))
        }
        ([one, rest @ ..], [line, lines @ ..]) => like(one, line) && matches(rest, lines),
        _ => false,
    }
}

/// A document of the project.
fn document(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Runs the steps in order against one ensemble.
fn run_all(steps: &[Step]) {
    let dev = Dev::start(&[]);
    let program = Path::new(env!("CARGO_BIN_EXE_zabkeeper"));
    let bin = program.parent().expect("a directory").to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let dir = tempfile::tempdir().expect("a temporary directory");
    for step in steps {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &step.command])
            .current_dir(dir.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("ZABKEEPER_ENDPOINTS", dev.endpoints());
        let ran: Ran = ran(&run_with(&mut shell, b""));
        assert_eq!(ran.code, step.exit, "$ {}\n{ran:#?}", step.command);
        let printed = format!("{}{}", ran.out, ran.err);
        let lines: Vec<_> = printed.lines().collect();
        let wanted = &step.output;
        assert!(
            matches(wanted, &lines),
            "$ {}\nprinted {lines:#?}\nthe document says {wanted:#?}",
            step.command
        );
    }
}

#[test]
fn the_commands_of_the_command_line_document_do_what_it_says() {
    let steps = steps(&document("docs/cli.md"));
    assert!(steps.len() >= 20, "only {} commands were found", steps.len());
    run_all(&steps);
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    let mut steps = steps(&document("README.md"));
    let ci = document(".ci/run") + &document(".ci/readme");
    // What cargo does takes long, and is run as written by the project's own check.
    steps.retain(|step| {
        let by_ci = step.command.starts_with("cargo ");
        assert!(!by_ci || ci_runs(&ci, &step.command), "{} is run nowhere", step.command);
        !by_ci
    });
    for step in &mut steps {
        step.command = step.command.replace("target/release/zabkeeper", "zabkeeper");
    }
    assert!(steps.len() >= 5, "only {} commands were found", steps.len());
    run_all(&steps);
}

/// True if the check has this command, whatever flags it adds.
fn ci_runs(ci: &str, command: &str) -> bool {
    ci.lines().any(|line| line.replace(" --locked", "").contains(command))
}

#[test]
fn the_comparison_sees_differences() {
    let expected = |lines: &[&str]| lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
    assert!(matches(&expected(&["a ... c", "...", "z"]), &["a b c", "x", "y", "z"]));
    assert!(matches(&expected(&["...", "z"]), &["z"]));
    assert!(!matches(&expected(&["a"]), &["a", "b"]));
    assert!(!matches(&expected(&["a", "b"]), &["a"]));
    assert!(!matches(&expected(&["a ... c"]), &["a b"]));
    assert!(like("a...b...c", "a-b-b-c"));
    assert!(!like("a...b...c", "a-c-b"));
}

#[test]
fn the_unit_file_starts_the_node_again_after_the_codes_that_the_document_says() {
    let unit = document("contrib/zabkeeper.service");
    let setting = |name: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("{name} is not set")).to_owned()
    };
    assert_eq!(setting("Restart"), "on-failure");
    let text = document("docs/operations.md");
    let (_, table) = text.split_once("## Exit codes of `zabkeeper server`").expect("the table");
    let rows = table.lines().skip_while(|line| !line.starts_with("| 0 |"));
    let rows = rows.map_while(|line| line.strip_prefix("| ")).map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        (cells[0].to_owned(), cells[2].starts_with("yes") || cells[0] == "0")
    });
    let kept_down: Vec<_> = rows.filter(|(_, again)| !again).map(|(code, _)| code).collect();
    assert!(kept_down.len() >= 3, "{kept_down:?}");
    assert_eq!(setting("RestartPreventExitStatus"), kept_down.join(" "));

    // The command is one that the program takes.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("zabkeeper.json");
    let config = r#"{"Host": {"ElectionAddr": "a:1", "MessageAddr": "a:2", "RequestAddr": "a:3"},
                     "Peer": []}"#;
    std::fs::write(&file, config).expect("the file can be written");
    let command = setting("ExecStart");
    let mut words = command.split(' ');
    assert_eq!(words.next(), Some("/usr/local/bin/zabkeeper"));
    let words = words.map(|word| match word {
        "/etc/zabkeeper/zabkeeper.json" => file.to_str().expect("text"),
        word => word,
    });
    let mut program = Command::new(env!("CARGO_BIN_EXE_zabkeeper"));
    let ran = ran(&run_with(program.args(words).arg("--check"), b""));
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.out.contains("data directory /var/lib/zabkeeper "), "{}", ran.out);
}
