//! A run as text: one column a node, one line a change.
//!
//! ```text
//! time        n1                  n2                  n3
//! +0.112034s  looking r1          .                   .
//! +0.158220s  .                   .                   leads e3 from 2.17
//! ```
//!
//! Legend: `looking rN` looks for a leader in round N; `elected nX` takes X for elected;
//! `proposes eN`, `promises eN`; `leads eN from T` is established on the history up to T;
//! `follows nX in eN` serves; `leaves`, `gives up` with the reason; `cut to T`, `snapshot T`;
//! `CRASH`, `start`, `paused`, `HALT`. Faults of the world stand on lines of their own, after `==`.

use crate::report::trace::{Moment, What};
use std::fmt::Write;

const WIDTH: usize = 22;

/// The timeline of a run that kept its moments.
pub fn timeline(moments: &[Moment], nodes: u32) -> String {
    let mut text = format!("{:<13}", "time");
    for node in 1..=nodes {
        let _ = write!(text, "{:<WIDTH$}", format!("n{node}"));
    }
    text.push('\n');
    for moment in moments {
        let time = format!("+{}.{:06}s", moment.at / 1_000_000, moment.at % 1_000_000);
        match (&moment.what, moment.node) {
            (What::World(what), 0) if is_fault(what) => {
                let _ = writeln!(text, "{time:<13}== {what}");
            }
            (What::World(what), node) if node > 0 => {
                if let Some(short) = event(what) {
                    line(&mut text, &time, node, nodes, &short);
                }
            }
            (What::Note(note), node) => {
                if let Some(short) = note_text(note) {
                    line(&mut text, &time, node, nodes, &short);
                }
            }
            _ => {}
        }
    }
    text
}

fn line(text: &mut String, time: &str, node: u32, nodes: u32, what: &str) {
    let _ = write!(text, "{time:<13}");
    for column in 1..=nodes {
        let cell = if column == node { what } else { "." };
        let _ = write!(text, "{cell:<WIDTH$}");
    }
    let end = text.trim_end().len();
    text.truncate(end);
    text.push('\n');
}

fn is_fault(what: &str) -> bool {
    !what.starts_with("client")
}

fn event(what: &str) -> Option<String> {
    let short = match what {
        "crashes" => "CRASH",
        "starts" => "start",
        "is paused" => "paused",
        "goes on" => "goes on",
        "its disk is wiped" => "WIPED",
        "an old copy of its disk is put back" => "OLD DISK",
        "a flush fails" => "FLUSH FAILS",
        halts if halts.starts_with("halts") => "HALT",
        springs if springs.contains(" springs ") => "ambushed",
        _ => return None,
    };
    Some(short.to_string())
}

/// The short form of a note's text, for those that change something.
fn note_text(note: &str) -> Option<String> {
    let field = |name: &str| {
        let rest = note.split(&format!("{name}: ")).nth(1)?;
        let end = rest.find([',', ' ', '}', ')']).unwrap_or(rest.len());
        Some(rest.get(..end)?.to_string())
    };
    let inner = || {
        let rest = note.split_once('(')?.1;
        Some(rest.trim_end_matches(')').to_string())
    };
    let name = note.split(|c: char| !c.is_alphanumeric()).next()?;
    Some(match name {
        "Looking" => format!("looking {}", field("round")?),
        "Elected" => format!("elected {}", field("leader")?),
        "Joins" => format!("joins {} in {}", field("leader")?, field("epoch")?),
        "EpochProposed" => format!("proposes {}", inner()?),
        "EpochAccepted" => format!("promises {} {}", field("epoch")?, field("leader")?),
        "Established" => format!("leads {} from {}", field("epoch")?, field("last")?),
        "Serving" => format!("follows {} in {}", field("leader")?, field("epoch")?),
        "SteppedDown" => format!("gives up: {}", field("why")?),
        "LeftLeader" => format!("leaves: {}", field("why")?),
        "Truncated" => format!("cut to {}", field("to")?),
        "Installed" => format!("snapshot {}", inner()?),
        "MembershipCommitted" => "formed".to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::plan::Plan;
    use crate::run::run;

    #[test]
    fn a_run_has_a_line_for_each_change_of_leader() {
        let plan = Plan::draw(5);
        let report = run(&plan, true);
        let text = timeline(&report.moments, plan.options.nodes);
        let leads = text.matches("leads e").count();
        assert_eq!(leads, report.reigns, "{text}");
        assert!(report.reigns > 0);
    }

    #[test]
    fn notes_become_short() {
        let note = "SteppedDown { epoch: Some(e3), why: Silence }";
        assert_eq!(note_text(note).as_deref(), Some("gives up: Silence"));
        assert_eq!(note_text("EpochProposed(e4)").as_deref(), Some("proposes e4"));
        assert_eq!(note_text("Pruned(1.2)"), None);
    }
}
