//! What `zabkeeper dev` says: text for people, or one JSON object a line.

use super::child::Node;
use super::layout::Layout;
use crate::cli::args::Output;
use crate::cli::sink::Sink;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How long the last words may take to be heard.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Speaks on stdout. Nobody listening is no reason to stop, or to wait.
#[derive(Debug)]
pub(super) struct Voice {
    output: Output,
    out: Sink,
}

impl Voice {
    pub(super) fn new(output: Output) -> io::Result<Self> {
        Ok(Self { output, out: Sink::new("voice", io::stdout())? })
    }

    /// A sentence for people.
    pub(super) fn say(&self, text: &str) {
        if self.output == Output::Text {
            self.put(text);
        }
    }

    fn event(&self, event: &Value) {
        if self.output == Output::Json {
            self.put(&event.to_string());
        }
    }

    fn put(&self, text: &str) {
        self.out.put(format!("{text}\n").as_bytes());
    }

    /// The processes run.
    pub(super) fn started(&self, layout: &Layout, nodes: &[Node]) {
        let kept = match layout.temporary {
            Some(_) => "removed at the end; keep it with --data-dir DIR",
            None => "kept",
        };
        self.say(&format!(
            "Zabkeeper: {} on this machine.\nData, configuration and logs: {} ({kept})\n",
            count(nodes.len()),
            layout.dir.display()
        ));
        for node in nodes {
            self.say(&format!(
                "  {}  pid {:<8} clients {:<16} log {}",
                node.place.name,
                node.pid,
                node.place.endpoint,
                node.place.log.display()
            ));
        }
        self.say("\nWaiting for the first write to be on the disks of a majority ...");
    }

    /// A write works.
    pub(super) fn works(&self, layout: &Layout, nodes: &[Node], leader: &str, after: Duration) {
        let leads = nodes.iter().find(|node| node.place.endpoint == leader);
        let leads = leads.map(|node| node.place.name.as_str());
        let list: Vec<_> = nodes
            .iter()
            .map(|node| {
                json!({
                    "node": node.place.name,
                    "pid": node.pid,
                    "endpoint": node.place.endpoint,
                    "config": text(&node.place.config),
                    "log": text(&node.place.log),
                })
            })
            .collect();
        self.event(&json!({
            "event": "ready",
            "endpoints": layout.endpoints(),
            "data_dir": text(&layout.dir),
            "leader": leads,
            "nodes": list,
        }));
        self.say(&format!(
            "A write works after {:.1} s{}.\n\nTry in another terminal:",
            after.as_secs_f64(),
            leads.map(|name| format!("; {name} leads")).unwrap_or_default()
        ));
        let program = program();
        let options = format!("--endpoints {}", layout.endpoints());
        for command in ["set answer 42", "get answer", "status", "client"] {
            self.say(&format!("  {program} {command} {options}"));
        }
        self.say("\nCtrl-C stops all nodes.");
    }

    /// A node ended by itself.
    pub(super) fn ended(&self, node: &Node, how: &str) {
        let place = &node.place;
        let tail = node.tail();
        self.event(&json!({"event": "ended", "node": place.name, "how": how, "log_tail": tail}));
        self.say(&format!(
            "{} (pid {}) ended: {how}. The end of {}:",
            place.name,
            node.pid,
            place.log.display()
        ));
        for line in tail {
            self.say(&format!("  | {line}"));
        }
        self.say(&format!(
            "Start it again with:\n  {} server --config {} --data-dir {}",
            program(),
            quoted(&text(&place.config)),
            quoted(&text(&place.data))
        ));
    }

    /// A node stopped, as it was asked to.
    pub(super) fn stopped(&self, node: &Node, how: &str) {
        let name = &node.place.name;
        self.event(&json!({"event": "stopped", "node": name, "how": how}));
        self.say(&format!("{name} stopped: {how}."));
    }
}

/// A path for people, who may have given one that is no text.
fn text(path: &Path) -> Cow<'_, str> {
    path.to_string_lossy()
}

fn count(nodes: usize) -> String {
    match nodes {
        1 => "1 node".to_owned(),
        nodes => format!("{nodes} nodes"),
    }
}

/// How this program was called, for commands that people copy.
fn program() -> String {
    let name = std::env::args().next().filter(|name| !name.is_empty());
    quoted(&name.unwrap_or_else(|| "zabkeeper".to_owned()))
}

fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), Into::into)
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.out.flush(LAST_WORDS);
    }
}
