//! How results are printed: text for people, or one JSON object a line.

use super::args::Output;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use zabkeeper_core::ids::Txid;
use zabkeeper_core::tree::{Found, Stat};

/// The JSON fields of a node: `key`, its stat, and `value` or `value_base64`.
pub(crate) fn found(found: &Found) -> Map<String, Value> {
    let mut fields = stat(&found.stat);
    fields.insert("key".to_owned(), found.path.to_string().into());
    if let Some(bytes) = &found.value {
        match std::str::from_utf8(bytes) {
            Ok(text) => fields.insert("value".to_owned(), text.into()),
            Err(_) => fields.insert("value_base64".to_owned(), STANDARD.encode(&**bytes).into()),
        };
    }
    fields
}

/// The JSON fields of a stat.
pub(crate) fn stat(stat: &Stat) -> Map<String, Value> {
    let fields = [
        ("created", json!(stat.created.to_string())),
        ("modified", json!(stat.modified.to_string())),
        ("created_at_ms", json!(stat.created_at.as_millis())),
        ("modified_at_ms", json!(stat.modified_at.as_millis())),
        ("version", json!(stat.version)),
        ("children", json!(stat.children)),
        ("children_version", json!(stat.children_version)),
        ("children_changed", json!(stat.children_changed.to_string())),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Prints what a write did.
pub(crate) fn written(
    output: Output,
    path: &zabkeeper_core::tree::Path,
    txid: Txid,
    after: &Stat,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match output {
        // A write that worked says nothing, so that scripts stay quiet.
        Output::Text => Ok(()),
        Output::Json => {
            let mut fields = stat(after);
            fields.insert("key".to_owned(), path.to_string().into());
            fields.insert("txid".to_owned(), txid.to_string().into());
            writeln!(out, "{}", Value::Object(fields))
        }
    }
}

/// Bytes for a line of text: as they are if they are printable, else with escapes.
pub(crate) fn printable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

/// Prints a table: left-aligned columns as wide as their widest cell.
pub(crate) fn table(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells.map(|(cell, &w)| format!("{cell:<w$}  ")).collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zabkeeper_core::tree::Path;

    #[test]
    fn a_value_that_is_no_text_is_given_in_base64() {
        let node = |bytes: &[u8]| {
            found(&Found {
                path: Path::parse("a/b").unwrap(),
                value: Some(bytes.to_vec().into()),
                stat: Stat::default(),
            })
        };
        assert_eq!(node(b"text")["value"], "text");
        assert_eq!(node(b"text")["key"], "/a/b");
        assert_eq!(node(&[0xff, 0])["value_base64"], "/wA=");
        assert_eq!(node(&[0xff, 0]).get("value"), None);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let mut out = Vec::new();
        table(&mut out, &[row(["a", "bb", ""]), row(["ccc", "d", "e"])]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a    bb\nccc  d   e\n");
    }

    #[test]
    fn control_characters_are_printed_as_escapes() {
        assert_eq!(printable("grün".as_bytes()), "grün");
        assert_eq!(printable(b"a\nb\x1b"), "a\\nb\\u{1b}");
        assert_eq!(printable(&[b'a', 0xff]), "a\\xff");
    }
}
