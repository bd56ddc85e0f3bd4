//! Where the interactive client's lines come from: a terminal with editing and history, or a pipe.

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use zabkeeper_core::store::{MAX_PATH_BYTES, MAX_VALUE_BYTES};

/// The longest line: a command with the largest key and value.
const LONGEST: usize = MAX_VALUE_BYTES + MAX_PATH_BYTES + 1024;
/// How much of a longer line is passed over to find its end.
const PASSED: usize = 16 << 20;

/// A source of lines.
pub(super) struct Lines {
    editor: Option<Editor>,
    /// How many were read.
    count: u64,
}

struct Editor {
    editor: DefaultEditor,
    history: Option<PathBuf>,
}

/// What was read.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// A line, without its end. Any bytes.
    Text(Vec<u8>),
    /// A line that is longer than any command; the next one can be read.
    TooLong,
    /// Ctrl-C.
    Cancelled,
    /// The end of the input, or Ctrl-D.
    End,
    /// The input cannot be read any further.
    Broken(String),
}

impl Lines {
    /// Lines from stdin: edited if it is a terminal.
    pub(super) fn new() -> Self {
        let edited = io::stdin().is_terminal() && io::stdout().is_terminal();
        let editor = edited.then(Editor::new).flatten();
        Self { editor, count: 0 }
    }

    /// True if somebody sits there.
    pub(super) fn is_terminal(&self) -> bool {
        self.editor.is_some()
    }

    /// The number of the line that was read last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.count
    }

    /// The next command; the history remembers it.
    pub(super) fn command(&mut self, prompt: &str) -> Line {
        let line = self.ask(prompt);
        if let (Some(editor), Line::Text(text)) = (&mut self.editor, &line)
            && let Ok(text) = std::str::from_utf8(text)
        {
            // A history that cannot be kept is no reason to stop.
            let _ = editor.editor.add_history_entry(text);
        }
        line
    }

    /// The next line. Only a terminal shows the prompt.
    pub(super) fn ask(&mut self, prompt: &str) -> Line {
        self.count += 1;
        match &mut self.editor {
            Some(editor) => editor.read(prompt),
            None => match read(&mut io::stdin().lock()) {
                Line::Text(text) if self.count == 1 => Line::Text(without_mark(text)),
                line => line,
            },
        }
    }
}

/// Some editors begin a file with a mark of its byte order.
fn without_mark(text: Vec<u8>) -> Vec<u8> {
    text.strip_prefix("\u{feff}".as_bytes()).map(<[u8]>::to_vec).unwrap_or(text)
}

/// Reads a line, and keeps no more of it than a command can have.
fn read(from: &mut impl BufRead) -> Line {
    let (mut line, mut passed) = (Vec::new(), 0);
    loop {
        let chunk = match from.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Line::Broken(format!("cannot read stdin: {error}")),
        };
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let text = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        let empty = chunk.is_empty();
        match passed > 0 || line.len() + text.len() > LONGEST {
            true => passed += text.len(),
            false => line.extend_from_slice(text),
        }
        let used = text.len() + usize::from(end.is_some());
        from.consume(used);
        match (end, passed) {
            (None, _) if empty && line.is_empty() && passed == 0 => return Line::End,
            (None, 0) if !empty => {}
            (None, PASSED..) => return Line::Broken("the line does not end".to_owned()),
            (None, _) if !empty => {}
            (_, 0) => {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Line::Text(line);
            }
            _ => return Line::TooLong,
        }
    }
}

impl Editor {
    fn new() -> Option<Self> {
        let mut editor = DefaultEditor::new().ok()?;
        let history = history_file();
        if let Some(file) = &history {
            // The first time there is none.
            let _ = editor.load_history(file);
        }
        Some(Self { editor, history })
    }

    fn read(&mut self, prompt: &str) -> Line {
        match self.editor.readline(prompt) {
            Ok(line) => Line::Text(line.into_bytes()),
            Err(ReadlineError::Interrupted) => Line::Cancelled,
            Err(_) => Line::End,
        }
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        if let Some(file) = &self.history {
            let made = file.parent().map(std::fs::create_dir_all);
            if made.is_none_or(|made| made.is_ok()) {
                let _ = self.editor.save_history(file);
            }
        }
    }
}

/// `zabkeeper/history` in the user's directory for state.
fn history_file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = set("XDG_STATE_HOME").map(PathBuf::from).or_else(|| {
        let home = set("HOME").map(PathBuf::from)?;
        Some(home.join(".local/state"))
    })?;
    Some(state.join("zabkeeper/history"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Read};

    #[test]
    fn lines_are_bytes_with_either_end() {
        let mut from = b"Set a caf\xe9\r\n\nlast".as_slice();
        assert_eq!(read(&mut from), Line::Text(b"Set a caf\xe9".to_vec()));
        assert_eq!(read(&mut from), Line::Text(Vec::new()));
        assert_eq!(read(&mut from), Line::Text(b"last".to_vec()));
        assert_eq!(read(&mut from), Line::End);
        assert_eq!(without_mark(b"\xef\xbb\xbfSet".to_vec()), b"Set");
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_one_without_end_is_left() {
        let long = io::repeat(b'x').take(LONGEST as u64 + 1);
        let mut from = BufReader::new(long.chain(b"\nGet a\n".as_slice()));
        assert_eq!(read(&mut from), Line::TooLong);
        assert_eq!(read(&mut from), Line::Text(b"Get a".to_vec()));
        let fits = io::repeat(b'x').take(LONGEST as u64);
        assert_eq!(read(&mut BufReader::new(fits)), Line::Text(vec![b'x'; LONGEST]));
        let endless = read(&mut BufReader::new(io::repeat(b'x')));
        assert!(matches!(endless, Line::Broken(_)));
    }
}
