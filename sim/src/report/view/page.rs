//! One HTML page that draws a run: it needs no network, and opens in any browser.

use super::record::Record;
use super::shapes::{Canvas, escape, time};
use crate::report::trace::{Moment, What};
use crate::run::Report;

/// The part of a run that is drawn, in microseconds, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// From here.
    pub from: u64,
    /// To here.
    pub to: u64,
}

impl Window {
    /// What is asked for; else the last second before a violation, or the first three seconds.
    pub fn of(report: &Report, from: Option<u64>, to: Option<u64>) -> Self {
        let end = report.time;
        let to = to.unwrap_or(match (&report.violation, from) {
            (Some(_), _) => end,
            (None, Some(from)) => (from + 3_000_000).min(end),
            (None, None) => end.min(3_000_000),
        });
        let from = from.unwrap_or_else(|| match report.violation {
            Some(_) => to.saturating_sub(1_000_000),
            None => to.saturating_sub(3_000_000),
        });
        Self { from: from.min(to), to }
    }

    /// True for a time in it.
    pub fn holds(self, at: u64) -> bool {
        (self.from..=self.to).contains(&at)
    }
}

/// The page of a run of `nodes` nodes that kept its record.
pub fn page(report: &Report, nodes: u32, window: Window) -> String {
    let empty = Record::default();
    let record = report.view.as_deref().unwrap_or(&empty);
    let what = report.violation.as_ref().map(ToString::to_string);
    let ring = what.as_deref().map(|what| (report.time, culprit(report, nodes), what));
    let svg = Canvas::new(record, nodes, window).draw(&faults(&report.moments), ring);
    let verdict = match &what {
        Some(what) => format!("<b class=\"bad\">{}</b>", escape(what)),
        None => "no violation".to_string(),
    };
    let head = format!(
        "<h1>Seed {}</h1><p>{} to {} of {} &middot; {verdict}</p>",
        report.seed,
        time(window.from),
        time(window.to),
        time(report.time)
    );
    let nodes: Vec<String> = (1..=nodes).map(|id| toggle(&format!("n{id}"), "")).collect();
    let kinds = KINDS.map(|(kind, words)| toggle(kind, words));
    include_str!("page.html")
        .replace("<!--HEAD-->", &head)
        .replace("<!--NODES-->", &nodes.concat())
        .replace("<!--KINDS-->", &kinds.concat())
        .replace("<!--DIAGRAM-->", &svg)
}

/// What can be hidden, and what it means.
const KINDS: [(&str, &str); 11] = [
    ("vote", "votes"),
    ("discovery", "discovery"),
    ("sync", "synchronisation"),
    ("propose", "PROPOSE"),
    ("ack", "ACK"),
    ("commit", "COMMIT"),
    ("ping", "heartbeats"),
    ("forward", "forwarded, reads"),
    ("client", "clients"),
    ("write", "disk writes"),
    ("apply", "deliveries"),
];

fn toggle(class: &str, words: &str) -> String {
    let words = if words.is_empty() { class } else { words };
    format!(
        "<label><input type=\"checkbox\" checked=\"\" value=\"{class}\"/>\
         <i class=\"key {class}\"></i>{words}</label>\n"
    )
}

/// The node whose step broke the invariant: the last at which something happened.
fn culprit(report: &Report, nodes: u32) -> u32 {
    let at_node = |moment: &&Moment| (1..=nodes).contains(&moment.node);
    report.moments.iter().rev().find(at_node).map_or(1, |moment| moment.node)
}

/// What struck a node, for labels beside its lifeline. A crash that is over at once is a restart.
fn faults(moments: &[Moment]) -> Vec<(u64, u32, String)> {
    let mut labels: Vec<(u64, u32, String)> = Vec::new();
    for moment in moments {
        let (What::World(text), 1..) = (&moment.what, moment.node) else { continue };
        if text.contains(" springs ") {
            continue;
        }
        let last = labels.iter_mut().rev().find(|(_, node, _)| *node == moment.node);
        match last {
            Some((at, _, crash))
                if crash == "crashes" && text == "starts" && moment.at - *at < RESTART =>
            {
                *crash = "restarts".to_string();
            }
            _ => labels.push((moment.at, moment.node, text.chars().take(28).collect())),
        }
    }
    labels
}

/// A process that is back within this time has only restarted, for a label.
const RESTART: u64 = 50_000;
