//! The shapes of a space-time diagram, as SVG.

use super::page::Window;
use super::record::{Call, Record, Sent};
use std::collections::BTreeMap;
use std::fmt::Write;
use zabkeeper_core::zab::RoleStatus;

/// Where the first lifeline stands, and how far apart they are.
const LEFT: f64 = 170.0;
const APART: f64 = 230.0;

/// Room above and below the time drawn.
const TOP: f64 = 60.0;
const BOTTOM: f64 = 40.0;

/// The heights between which the time drawn is fitted.
const HEIGHT: (f64, f64) = (900.0, 12_000.0);

/// The place of everything.
pub(super) struct Canvas<'a> {
    record: &'a Record,
    window: Window,
    nodes: u32,
    height: f64,
    svg: String,
}

/// Text with nothing in it that markup would take for its own.
pub(super) fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

/// A time in the notation of the traces.
pub(super) fn time(at: u64) -> String {
    format!("+{}.{:06}s", at / 1_000_000, at % 1_000_000)
}

/// The class by which messages are coloured and filtered.
pub(super) fn class(kind: &str) -> &'static str {
    match kind {
        "Vote" => "vote",
        "FollowerInfo" | "LeaderInfo" | "EpochAck" | "EpochNack" | "Rejected" => "discovery",
        "Propose" => "propose",
        "Ack" => "ack",
        "Commit" => "commit",
        "Ping" | "Pong" => "ping",
        "Forward" | "ForwardRefused" | "ReadIndex" | "ReadIndexAck" => "forward",
        _ => "sync",
    }
}

impl<'a> Canvas<'a> {
    pub(super) fn new(record: &'a Record, nodes: u32, window: Window) -> Self {
        let inside = |sent: &&Sent| window.holds(sent.at);
        let busy = record.messages.values().filter(inside).count() as f64;
        let height = (busy * 9.0).clamp(HEIGHT.0, HEIGHT.1);
        Self { record, window, nodes, height, svg: String::new() }
    }

    /// The whole drawing. `ring` is the violation: its time, its node and what it says.
    pub(super) fn draw(
        mut self,
        notes: &[(u64, u32, String)],
        ring: Option<(u64, u32, &str)>,
    ) -> String {
        let (width, height) = (self.x(self.nodes + 1) + 150.0, TOP + self.height + BOTTOM);
        let _ = writeln!(
            self.svg,
            "<svg id=\"diagram\" xmlns=\"http://www.w3.org/2000/svg\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">"
        );
        self.arrowheads();
        self.axis(width);
        self.lifelines();
        let labels = self.bands();
        self.writes();
        self.messages();
        self.calls();
        self.deliveries();
        self.svg.push_str(&labels);
        self.notes(notes);
        if let Some((at, node, what)) = ring {
            self.ring(at, node, what);
        }
        self.svg.push_str("</svg>\n");
        self.svg
    }

    /// The lifeline of a node; the clients' stands after the last.
    fn x(&self, node: u32) -> f64 {
        LEFT + APART * f64::from(node.saturating_sub(1))
    }

    fn y(&self, at: u64) -> f64 {
        let (from, to) = (self.window.from, self.window.to.max(self.window.from + 1));
        let part = (at.clamp(from, to) - from) as f64 / (to - from) as f64;
        TOP + part * self.height
    }

    fn arrowheads(&mut self) {
        self.svg.push_str("<defs>\n");
        let kinds =
            ["vote", "discovery", "sync", "propose", "ack", "commit", "ping", "forward", "client"];
        for kind in kinds {
            let _ = writeln!(
                self.svg,
                "<marker id=\"to-{kind}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" \
                 markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
                 <path class=\"fill-{kind}\" d=\"M0 0.8 L8 4 L0 7.2 z\"/></marker>"
            );
        }
        self.svg.push_str("</defs>\n");
    }

    /// Lines across at round times.
    fn axis(&mut self, width: f64) {
        let span = self.window.to.saturating_sub(self.window.from).max(1);
        let wanted = (span as f64 * 60.0 / self.height) as u64;
        let steps = (0..8).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)));
        let step = steps.into_iter().find(|step| *step >= wanted).unwrap_or(100_000_000);
        let mut at = self.window.from.div_ceil(step) * step;
        while at <= self.window.to {
            let y = self.y(at);
            let _ = writeln!(
                self.svg,
                "<line class=\"grid\" x1=\"96\" x2=\"{width:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"time\" x=\"90\" y=\"{:.1}\">{}</text>",
                y + 4.0,
                short_time(at)
            );
            at += step;
        }
    }

    fn lifelines(&mut self) {
        let bottom = TOP + self.height;
        for node in 1..=self.nodes + 1 {
            let (x, clients) = (self.x(node), node > self.nodes);
            let name = if clients { "clients".to_string() } else { format!("n{node}") };
            let kind = if clients { "clients" } else { "lifeline" };
            let _ = writeln!(
                self.svg,
                "<line class=\"{kind}\" data-node=\"{name}\" x1=\"{x:.0}\" x2=\"{x:.0}\" \
                 y1=\"{TOP}\" y2=\"{bottom:.0}\"/>\
                 <text class=\"name\" x=\"{x:.0}\" y=\"34\">{name}</text>"
            );
        }
    }

    /// The bands; returns their labels, which stand above all arrows.
    fn bands(&mut self) -> String {
        let mut labels = String::new();
        for node in 1..=self.nodes {
            let own: Vec<_> = self.record.bands.iter().filter(|band| band.node == node).collect();
            for (index, band) in own.iter().enumerate() {
                let until = own.get(index + 1).map_or(self.window.to, |next| next.at);
                if band.at > self.window.to || until < self.window.from {
                    continue;
                }
                let (role, words) = role(band.role, band.epoch);
                let (x, y) = (self.x(node), self.y(band.at));
                let tall = self.y(until) - y;
                let _ = writeln!(
                    self.svg,
                    "<rect class=\"band {role} n{node}\" x=\"{:.1}\" y=\"{y:.1}\" width=\"14\" \
                     height=\"{tall:.1}\"><title>n{node} {words} {} to {}</title></rect>",
                    x - 7.0,
                    time(band.at),
                    time(until)
                );
                if tall >= 15.0 {
                    let _ = writeln!(
                        labels,
                        "<text class=\"state n{node}\" x=\"{:.1}\" y=\"{:.1}\">{words}</text>",
                        x + 11.0,
                        y + 12.0
                    );
                }
            }
        }
        labels
    }

    /// Bars left of the lifelines; those that overlap in time stand side by side.
    fn writes(&mut self) {
        let mut lanes: Vec<[f64; 5]> = vec![[f64::MIN; 5]; self.nodes as usize + 1];
        for write in &self.record.writes {
            let until = write.until.unwrap_or(self.record.end);
            if write.at > self.window.to || until < self.window.from {
                continue;
            }
            let (y, end) = (self.y(write.at), self.y(until).max(self.y(write.at) + 1.5));
            let Some(lanes) = lanes.get_mut(write.node as usize) else { continue };
            let lane = lanes.iter().position(|last| *last <= y).unwrap_or(4);
            lanes[lane] = end + 0.5;
            let (kind, fate) = match (write.durable, write.until) {
                (true, _) => ("durable", format!("durable {}", time(until))),
                (false, Some(_)) => ("torn", format!("process died {}", time(until))),
                (false, None) => ("torn", "not durable when the run ended".to_string()),
            };
            let x = self.x(write.node) - 14.0 - 5.0 * lane as f64;
            let _ = writeln!(
                self.svg,
                "<rect class=\"write {kind} n{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"4\" \
                 height=\"{:.1}\"><title>n{} {} issued {}, {fate}</title></rect>",
                write.node,
                end - y,
                write.node,
                escape(&write.text),
                time(write.at)
            );
        }
    }

    fn messages(&mut self) {
        for (id, sent) in &self.record.messages {
            let seen = |at: &&u64| self.window.holds(sent.at) || self.window.holds(**at);
            let arrivals: Vec<u64> = sent.arrived.iter().filter(seen).copied().collect();
            for at in &arrivals {
                self.arrow(*id, sent, Some(*at));
            }
            if sent.arrived.is_empty() && self.window.holds(sent.at) {
                self.arrow(*id, sent, None);
            }
        }
    }

    fn arrow(&mut self, id: u64, sent: &Sent, arrived: Option<u64>) {
        let (from, to) = sent.ends;
        let side = if to > from { 1.0 } else { -1.0 };
        let (x1, y1) = (self.x(from) + side * 7.0, self.y(sent.at));
        let (x2, y2) = match arrived {
            Some(at) => (self.x(to) - side * 7.0, self.y(at)),
            // One that got lost points the way it went; those to further nodes get further.
            None => (self.x(from) + side * (20.0 + 55.0 * f64::from(from.abs_diff(to))), y1 + 8.0),
        };
        let kind = class(&sent.kind);
        let (fate, lost) = match (arrived, sent.lost) {
            (Some(at), _) => (format!("arrived {}", time(at)), ""),
            (None, true) => ("lost".to_string(), " lost"),
            (None, false) => ("on its way when the run ended".to_string(), " lost"),
        };
        let _ = write!(
            self.svg,
            "<g class=\"msg {kind}{lost} n{from} n{to}\" data-id=\"{id}\"><title>n{from} to n{to} \
             {} sent {}, {fate}</title><line class=\"wide\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" \
             x2=\"{x2:.1}\" y2=\"{y2:.1}\"/><line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" \
             y2=\"{y2:.1}\"",
            escape(&sent.text),
            time(sent.at)
        );
        match (arrived, sent.lost) {
            (Some(_), _) => {
                let _ = write!(self.svg, " marker-end=\"url(#to-{kind})\"/>");
            }
            (None, true) => {
                let (l, r, t, b) = (x2 - 4.0, x2 + 4.0, y2 - 4.0, y2 + 4.0);
                let cross = format!("M{l:.1} {t:.1} L{r:.1} {b:.1} M{l:.1} {b:.1} L{r:.1} {t:.1}");
                let _ = write!(self.svg, "/><path class=\"cross\" d=\"{cross}\"/>");
            }
            (None, false) => self.svg.push_str("/>"),
        }
        self.svg.push_str("</g>\n");
    }

    fn calls(&mut self) {
        for call in self.record.calls.values() {
            let answered = call.ended.as_ref().map(|(at, _)| *at);
            if let (true, Some(at)) = (self.window.holds(call.asked), call.arrived) {
                self.client(call, call.asked, at, true);
            }
            if let (Some(replied), Some(at)) = (call.replied, answered)
                && self.window.holds(replied)
                && at >= replied
            {
                self.client(call, replied, at, false);
            }
        }
    }

    fn client(&mut self, call: &Call, at: u64, until: u64, asks: bool) {
        let (node, clients) = (self.x(call.node) + 7.0, self.x(self.nodes + 1));
        let (x1, x2) = if asks { (clients, node) } else { (node, clients) };
        let how = call.ended.as_ref().map_or("never ended", |(_, how)| how.as_str());
        let _ = writeln!(
            self.svg,
            "<g class=\"msg-client client n{}\"><title>{} asked {}, {}</title>\
             <line x1=\"{x1:.1}\" y1=\"{:.1}\" x2=\"{x2:.1}\" y2=\"{:.1}\" \
             marker-end=\"url(#to-client)\"/></g>",
            call.node,
            escape(&call.text),
            time(call.asked),
            escape(how),
            self.y(at),
            self.y(until)
        );
    }

    fn deliveries(&mut self) {
        for applied in self.record.applied.iter().filter(|applied| self.window.holds(applied.at)) {
            let _ = writeln!(
                self.svg,
                "<circle class=\"apply n{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>n{} applied \
                 up to {} {}</title></circle>",
                applied.node,
                self.x(applied.node),
                self.y(applied.at),
                applied.node,
                applied.to,
                time(applied.at)
            );
        }
    }

    fn notes(&mut self, notes: &[(u64, u32, String)]) {
        let mut lowest = Lowest::new();
        for (at, node, text) in notes.iter().filter(|(at, _, _)| self.window.holds(*at)) {
            let y = self.y(*at) + 4.0;
            let last = lowest.entry(*node).or_insert(f64::MIN);
            *last = y.max(*last + 13.0);
            let (x, y) = (self.x(*node) - 34.0, *last);
            let _ = writeln!(
                self.svg,
                "<text class=\"fault n{node}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
                escape(text)
            );
        }
    }

    fn ring(&mut self, at: u64, node: u32, what: &str) {
        let (x, y) = (self.x(node), self.y(at));
        let words = what.split(": ").next().unwrap_or(what);
        let _ = writeln!(
            self.svg,
            "<g id=\"violation\"><title>{} {}</title><circle cx=\"{x:.1}\" cy=\"{y:.1}\" \
             r=\"16\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            escape(what),
            time(at),
            x + 20.0,
            y + 28.0,
            escape(words)
        );
    }
}

/// How far down the labels of each node reach, lest they cover each other.
type Lowest = BTreeMap<u32, f64>;

fn short_time(at: u64) -> String {
    let text = time(at);
    let cut = text.trim_end_matches('s').trim_end_matches('0');
    let cut = if cut.ends_with('.') { format!("{cut}0") } else { cut.to_string() };
    format!("{cut}s")
}

/// The class and the words of a role.
fn role(role: Option<RoleStatus>, epoch: u64) -> (&'static str, String) {
    match role {
        None => ("down", "down".to_string()),
        Some(RoleStatus::Looking) => ("looking", format!("looks e{epoch}")),
        Some(RoleStatus::Following { leader, serving: true }) => {
            ("following", format!("follows {leader} e{epoch}"))
        }
        Some(RoleStatus::Following { leader, serving: false }) => {
            ("joining", format!("joins {leader} e{epoch}"))
        }
        Some(RoleStatus::Leading { established: true }) => ("leading", format!("leads e{epoch}")),
        Some(RoleStatus::Leading { established: false }) => {
            ("claiming", format!("claims e{epoch}"))
        }
        Some(RoleStatus::Halted) => ("halted", format!("halted e{epoch}")),
    }
}
