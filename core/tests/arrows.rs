//! The wings of the core know only those above them, and no files of a wing know each other in a
//! circle: read from their `use` lines and from the paths in their code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which wings a wing may know, besides itself.
const WINGS: &[(&str, &[&str])] = &[
    ("words", &[]),
    ("zab", &["words"]),
    ("replica", &["words", "zab"]),
    ("store", &["words", "zab", "replica"]),
    ("service", &["words", "zab", "replica", "store"]),
    ("client", &["words"]),
];
/// What anybody may know: test-only switches.
const ANYBODYS: &str = "mutants";

/// The files of the core by the path of their module, `zab::roles::looking`, without their tests.
fn modules() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    collect(&root, &root, &mut files);
    files
}

fn collect(root: &Path, dir: &Path, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let name = path.strip_prefix(root).unwrap().with_extension("");
        let mut parts: Vec<&str> = name.iter().map(|part| part.to_str().unwrap()).collect();
        if parts.last() == Some(&"mod") {
            parts.pop();
        }
        if parts.iter().any(|part| part.ends_with("tests")) || parts == ["lib"] {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code: Vec<&str> = code.lines().filter(|line| !line.trim().starts_with("//")).collect();
        files.insert(parts.join("::"), code.join("\n"));
    }
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, body)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return vec![path.trim_end_matches("::self").to_string()];
    };
    let body = body.trim_end().strip_suffix('}').unwrap_or(body);
    let mut depth = 0;
    let items = body.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let items = items.filter(|item| !item.trim().is_empty());
    items.flat_map(expand).map(|path| format!("{head}{path}")).collect()
}

/// All paths that a file names: of its `use` lines, and such as begin with `crate` or `super`.
fn paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = String::new();
    let mut front = false;
    for (index, piece) in code.split("use ").enumerate() {
        let in_use = index > 0 && piece.contains(';');
        let (tree, after) = piece.split_once(';').filter(|_| in_use).unwrap_or(("", piece));
        // The front of a wing shows what is in it: that is no knowledge.
        let tree = if std::mem::replace(&mut front, piece.ends_with("pub ")) { "" } else { tree };
        found.extend(expand(&tree.replace('\n', " ")).into_iter().filter(|path| !path.is_empty()));
        rest.push_str(after);
    }
    let ends = |c: char| !c.is_alphanumeric() && c != '_' && c != ':';
    let words =
        rest.split(ends).filter(|it| it.starts_with("crate::") || it.starts_with("super::"));
    found.extend(words.map(str::to_string));
    found
}

/// The module that a path of `module` leads to, if it is a file of the core.
fn resolve(path: &str, module: &str, modules: &BTreeMap<String, String>) -> Option<String> {
    let mut at: Vec<&str> = module.split("::").collect();
    let mut rest: Vec<&str> = path.split("::").map(str::trim).collect();
    match *rest.first()? {
        "crate" => {
            at.clear();
            rest.remove(0);
        }
        "super" => {
            while rest.first() == Some(&"super") {
                at.pop();
                rest.remove(0);
            }
        }
        "self" => drop(rest.remove(0)),
        child if !modules.contains_key(&format!("{module}::{child}")) => return None,
        _ => {}
    }
    at.extend(rest);
    while !at.is_empty() && !modules.contains_key(&at.join("::")) {
        at.pop();
    }
    Some(at.join("::")).filter(|to| to != module && !to.is_empty())
}

fn wing(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// Who knows whom.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let modules = modules();
    let to = |(module, code): (&String, &String)| {
        let to = paths(code).iter().filter_map(|path| resolve(path, module, &modules)).collect();
        (module.clone(), to)
    };
    modules.iter().map(to).collect()
}

#[test]
fn a_wing_knows_only_those_above_it() {
    let mut seen = 0;
    for (from, all) in arrows() {
        for to in all.iter().filter(|to| wing(to) != wing(&from) && wing(to) != ANYBODYS) {
            let Some((_, may)) = WINGS.iter().find(|(name, _)| *name == wing(&from)) else {
                assert_eq!(from, ANYBODYS, "{from} is in no wing");
                continue;
            };
            assert!(may.contains(&wing(to)), "{from} knows {to}");
            assert_eq!(to, wing(to), "{from} looks behind the front of another wing: {to}");
            seen += 1;
        }
    }
    assert!(seen > 60, "only {seen} arrows between wings were found");
}

#[test]
fn no_files_know_each_other_in_a_circle() {
    let mut left = arrows();
    while let Some(end) = left.iter().find(|(_, to)| to.iter().all(|to| !left.contains_key(to))) {
        let end = end.0.clone();
        left.remove(&end);
    }
    assert!(left.is_empty(), "in circles, or above one: {left:#?}");
}
