//! The documents name functions, tests and files: all of them must exist.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between single backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// True if the file defines something of this name.
fn defines(text: &str, name: &str) -> bool {
    ["fn ", "struct ", "enum ", "trait "].iter().any(|kind| {
        text.match_indices(&format!("{kind}{name}")).any(|(at, found)| {
            let after = text[at + found.len()..].chars().next();
            !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

/// Checks `file: name` and `script.txt`, with files relative to one of these folders.
fn check(document: &str, folders: &[&str]) -> usize {
    let text = read(&root().join(document));
    let mut checked = 0;
    for word in quoted(&text) {
        let (file, name) = word.split_once(": ").unwrap_or((word, ""));
        let is_file = [".rs", ".txt", ".json"]
            .iter()
            .any(|end| file.len() > end.len() && file.ends_with(end));
        if !is_file || file.contains('*') {
            continue;
        }
        let found = folders.iter().map(|dir| root().join(dir).join(file)).find(|p| p.exists());
        let path = found.unwrap_or_else(|| panic!("{document} names {file}, which is not there"));
        assert!(
            name.is_empty() || defines(&read(&path), name),
            "{document} names {name}, which is not in {file}"
        );
        checked += 1;
    }
    checked
}

#[test]
fn the_protocol_document_names_what_exists() {
    let folders = ["core/src", "core/tests", "core/tests/testdata", "runtime-mio/src"];
    let checked = check("docs/protocol.md", &folders);
    assert!(checked > 80, "only {checked} references were found");
}

#[test]
fn every_pitfall_is_watched_by_something_that_exists() {
    let checked = check("docs/pitfalls.md", &[".", "core/tests/testdata"]);
    assert!(checked > 50, "only {checked} references were found");
    let text = read(&root().join("docs/pitfalls.md"));
    let mutants = read(&root().join("core/src/mutants.rs"));
    for name in quoted(&text).into_iter().filter_map(|word| word.strip_prefix("mutant ")) {
        // The first mention is the format itself.
        let exists = mutants.contains(&format!("    {name},\n"));
        assert!(exists || name == "Name", "there is no planted bug {name}");
    }
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let numbers: Vec<u32> = rows.filter_map(|(number, _)| number.parse().ok()).collect();
    assert_eq!(numbers, (1..=53).collect::<Vec<_>>());
    for row in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| | ")) {
        let shown = row.rsplit(" | ").next().unwrap_or_default();
        assert!(shown.contains('`') || shown.contains("---"), "nothing watches: {row}");
    }
}

#[test]
fn every_script_is_named_by_the_protocol_document() {
    let text = read(&root().join("docs/protocol.md"));
    for entry in std::fs::read_dir(root().join("core/tests/testdata")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(text.contains(&name), "docs/protocol.md says nothing of {name}");
    }
}

#[test]
fn the_architecture_document_names_what_exists() {
    let checked = check("docs/architecture.md", &["."]);
    assert!(checked > 20, "only {checked} references were found");
}

#[test]
fn the_first_hour_names_what_exists() {
    let checked = check("CONTRIBUTING.md", &["."]);
    assert!(checked > 5, "only {checked} references were found");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];
    let mut documents: Vec<PathBuf> = top.iter().map(|name| root().join(name)).collect();
    for dir in ["docs", "docs/decisions"] {
        let files = std::fs::read_dir(root().join(dir)).unwrap();
        documents.extend(files.map(|entry| entry.unwrap().path()).filter(|p| p.is_file()));
    }
    for document in documents.iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = read(document);
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split(')').next().unwrap_or_default();
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let target = document.parent().unwrap().join(file);
            assert!(target.exists(), "{} links to {link}", document.display());
        }
    }
}
