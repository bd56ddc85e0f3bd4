//! How results are printed: text for people, or one JSON object a line.

use super::args::Output;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::fmt;
use std::io::{self, Write};
use zabkeeper_core::store::{Found, Stat};
use zabkeeper_core::words::Txid;

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
    path: &zabkeeper_core::store::Path,
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

/// Says a line on stderr. Nobody has to listen: that changes neither what is done nor the exit code.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    // In one piece, so that lines of several processes do not mix.
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Bytes of others as a piece of one line, from which they can be told exactly: what is printable
/// as it is, a backslash as `\\`, what is not text as `\xHH`, and what would move, hide or break
/// text as `\n`, `\r`, `\t` or `\u{HEX}`.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                c => push_tame(&mut out, c, false),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Text that may hold words of others, as one line: only what would move, hide or break text is
/// replaced.
pub(crate) fn tame(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push_tame(&mut out, c, false));
    out
}

/// A value for a terminal: its lines stay lines.
pub(crate) fn tame_value(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_tame(&mut out, c, true));
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

fn push_tame(out: &mut String, c: char, lines: bool) {
    match c {
        '\n' | '\t' if lines => out.push(c),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        // Control characters, line ends of Unicode, and what turns the direction of writing.
        c if c.is_control()
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{61c}') =>
        {
            out.push_str(&c.escape_unicode().to_string());
        }
        c => out.push(c),
    }
}

/// Prints a table: left-aligned columns as wide as their widest cell. Cells may hold words of
/// others.
pub(crate) fn table(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let tame_row = |row: &Vec<String>| row.iter().map(|cell| tame(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(tame_row).collect();
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
    use zabkeeper_core::store::Path;

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
    fn what_is_no_plain_text_is_printed_as_escapes_that_cannot_be_mistaken() {
        assert_eq!(printable("grün".as_bytes()), "grün");
        assert_eq!(printable(b"a\nb\x1b"), "a\\nb\\u{1b}");
        assert_eq!(printable(&[b'a', 0xff]), "a\\xff");
        assert_eq!(printable(b"it's \"so\""), "it's \"so\"");
        // A newline is not the two characters, a byte not the four.
        assert_eq!(printable(br"a\nb\xff"), r"a\\nb\\xff");
        for odd in ['\u{85}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{7f}'] {
            let shown = printable(odd.to_string().as_bytes());
            assert_eq!(shown, format!("\\u{{{:x}}}", u32::from(odd)));
        }
    }

    proptest::proptest! {
        /// Two different values never look the same, and each is one line of harmless text.
        #[test]
        fn printed_bytes_can_be_told_exactly(a: Vec<u8>, b: Vec<u8>) {
            let shown = printable(&a);
            proptest::prop_assert!(!shown.chars().any(char::is_control));
            proptest::prop_assert_eq!(shown == printable(&b), a == b);
        }
    }

    #[test]
    fn a_value_on_a_terminal_keeps_its_lines_and_nothing_else_that_moves_the_cursor() {
        assert_eq!(tame_value(b"a\\b\n\tc\x1b[2J\r\n"), "a\\b\n\tc\\u{1b}[2J\\r\n");
        assert_eq!(tame("no such key 'a\x1b]0;x\x07\n'"), "no such key 'a\\u{1b}]0;x\\u{7}\\n'");
    }
}
