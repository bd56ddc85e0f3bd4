//! Runs the scripts of `testdata`: blank-line separated stanzas of a command, `----`, and what it
//! prints. `UPDATE=1` rewrites the expected text; read the difference before you commit it.

mod app;
#[path = "../../../sim/src/world/past.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is the model of the simulator")]
mod past;
mod show;
mod world;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use world::World;

/// Runs one script and returns it with what its commands really print.
fn run(text: &str) -> String {
    let mut out = String::new();
    let mut world = World::default();
    for stanza in text.split("\n\n") {
        let stanza = stanza.trim_matches('\n');
        if stanza.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        let (input, _) = stanza.split_once("\n----").unwrap_or((stanza, ""));
        let is_command = |line: &&str| !line.is_empty() && !line.starts_with('#');
        writeln!(out, "{input}").unwrap();
        if input.lines().any(|line| is_command(&line)) {
            let printed: String = input.lines().filter(is_command).map(|l| world.run(l)).collect();
            let printed = if printed.is_empty() { "ok\n".to_owned() } else { printed };
            write!(out, "----\n{printed}").unwrap();
        }
    }
    out
}

fn scripts(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("testdata is there") {
        let path = entry.expect("testdata can be listed").path();
        if path.is_dir() {
            found.extend(scripts(&path));
        } else if path.extension().is_some_and(|ext| ext == "txt") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn every_script_prints_what_it_says() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata");
    let list = scripts(&dir);
    assert!(list.len() >= 8, "scripts are missing: only {list:?}");
    let mut wrong = Vec::new();
    for path in list {
        let text = std::fs::read_to_string(&path).expect("a script can be read");
        let real = run(&text);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &real).expect("a script can be written");
        } else if real != text {
            let line = real.lines().zip(text.lines()).position(|(a, b)| a != b);
            let line = line.unwrap_or(real.lines().count().min(text.lines().count()));
            wrong.push(format!(
                "{}:{}: expected {:?}, printed {:?}",
                path.display(),
                line + 1,
                text.lines().nth(line).unwrap_or("(end)"),
                real.lines().nth(line).unwrap_or("(end)"),
            ));
        }
    }
    assert!(wrong.is_empty(), "UPDATE=1 rewrites them:\n{}", wrong.join("\n"));
}
