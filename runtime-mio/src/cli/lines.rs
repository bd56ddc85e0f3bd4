//! Where the interactive client's lines come from: a terminal with editing and history, or a pipe.

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

/// A source of lines.
pub(super) struct Lines {
    editor: Option<Editor>,
}

struct Editor {
    editor: DefaultEditor,
    history: Option<PathBuf>,
}

/// What was read.
pub(super) enum Line {
    /// A line, without its end.
    Text(String),
    /// Ctrl-C.
    Cancelled,
    /// The end of the input, or Ctrl-D.
    End,
}

impl Lines {
    /// Lines from stdin: edited if it is a terminal.
    pub(super) fn new() -> Self {
        let edited = io::stdin().is_terminal() && io::stdout().is_terminal();
        let editor = edited.then(Editor::new).flatten();
        Self { editor }
    }

    /// True if somebody sits there.
    pub(super) fn is_terminal(&self) -> bool {
        self.editor.is_some()
    }

    /// The next command; the history remembers it.
    pub(super) fn command(&mut self, prompt: &str) -> Line {
        let line = self.ask(prompt);
        if let (Some(editor), Line::Text(text)) = (&mut self.editor, &line) {
            // A history that cannot be kept is no reason to stop.
            let _ = editor.editor.add_history_entry(text.as_str());
        }
        line
    }

    /// The next line. Only a terminal shows the prompt.
    pub(super) fn ask(&mut self, prompt: &str) -> Line {
        match &mut self.editor {
            Some(editor) => editor.read(prompt),
            None => {
                let mut line = String::new();
                match io::stdin().lock().read_line(&mut line) {
                    Ok(0) => Line::End,
                    Ok(_) => {
                        let text = line.strip_suffix('\n').unwrap_or(&line);
                        Line::Text(text.strip_suffix('\r').unwrap_or(text).to_owned())
                    }
                    Err(error) => {
                        eprintln!("zabkeeper: cannot read stdin: {error}");
                        Line::End
                    }
                }
            }
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
            Ok(line) => Line::Text(line),
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
