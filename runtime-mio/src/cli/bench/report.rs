//! The results: a table for people, or one JSON object.

use super::args::{FailoverArgs, How, LoadArgs};
use super::failover::Round;
use super::step::Outcome;
use super::tally::{self, SHOWN};
use crate::cli::output::table;
use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// One JSON object for a measurement. Latencies are in microseconds, memory in bytes.
pub(super) fn json(load: &LoadArgs, outcome: &Outcome) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("load", load.load.name().into());
    put("target", load.target.name().into());
    put("connections", outcome.connections.into());
    put("outstanding", load.outstanding.into());
    put("rate", outcome.rate.into());
    put("keys", load.keys.into());
    put("value_bytes", load.value_size.into());
    put("micros", outcome.micros.into());
    put("ops", outcome.tally.ops().into());
    put("per_second", rounded(outcome.per_second()));
    put("errors", outcome.tally.errors.json());
    put("backlog", outcome.backlog.into());
    let parts = outcome.tally.parts();
    put("latency", parts.iter().map(|(name, h)| ((*name).to_owned(), tally::json(h))).collect());
    put("generator_cpu_per_op", rounded(outcome.per_op(outcome.own_cpu)));
    if !outcome.nodes.is_empty() {
        put("nodes_cpu_per_op", rounded(outcome.per_op(outcome.nodes_cpu())));
        let node = |node: &super::step::Usage| {
            json!({
                "node": node.name,
                "cpu_micros": u64::try_from(node.cpu.as_micros()).unwrap_or(u64::MAX),
                "rss": node.rss,
                "pss": node.pss,
            })
        };
        put("nodes", outcome.nodes.iter().map(node).collect());
    }
    Value::Object(fields)
}

/// A line for each measurement, and what else is to be known.
pub(super) fn text(out: &mut impl Write, load: &LoadArgs, outcomes: &[Outcome]) -> io::Result<()> {
    let write_share = match load.load {
        super::args::Load::Mixed => format!(" ({} of them writes)", load.write_share),
        _ => String::new(),
    };
    writeln!(
        out,
        "Load: {}{write_share}, {} keys of {} bytes, connections to {}, {} outstanding each.",
        load.load.name(),
        load.keys,
        load.value_size,
        match load.target {
            super::args::Target::Spread => "all nodes in turn",
            super::args::Target::Leader => "the leader alone",
        },
        load.outstanding,
    )?;
    writeln!(out, "Latencies in milliseconds.\n")?;
    let mut rows = vec![head(outcomes)];
    for outcome in outcomes {
        rows.extend(lines(outcome));
    }
    table(out, &rows)?;
    for outcome in outcomes {
        notes(out, outcome)?;
    }
    Ok(())
}

fn head(outcomes: &[Outcome]) -> Vec<String> {
    let mut head = vec!["connections", "rate", "of", "done/s", "p50", "p90", "p99", "p99.9", "max"];
    head.push("errors");
    head.push("own CPU µs/op");
    if outcomes.iter().any(|outcome| !outcome.nodes.is_empty()) {
        head.extend(["nodes' CPU µs/op", "nodes' memory MB"]);
    }
    head.into_iter().map(str::to_owned).collect()
}

/// A line for all requests, and one for each kind of a mixed load.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn lines(outcome: &Outcome) -> Vec<Vec<String>> {
    let ms = |micros: u64| format!("{:.2}", micros as f64 / 1e3);
    let mut lines = Vec::new();
    for (name, part) in outcome.tally.parts() {
        let first = name == "all";
        let per_second = part.len() as f64 * 1e6 / outcome.micros.max(1) as f64;
        let rate = outcome.rate.map_or_else(|| "-".to_owned(), |rate| rate.to_string());
        let mut line = vec![outcome.connections.to_string(), rate, name.to_owned()];
        line.push(format!("{per_second:.0}"));
        line.extend(SHOWN.map(|(percentile, _)| ms(part.value_at_percentile(percentile))));
        line.push(ms(part.max()));
        if first {
            line.push(outcome.tally.errors.total().to_string());
            line.push(format!("{:.2}", outcome.per_op(outcome.own_cpu)));
            if !outcome.nodes.is_empty() {
                let memory: u64 = outcome.nodes.iter().map(|n| n.pss.unwrap_or(n.rss)).sum();
                line.push(format!("{:.2}", outcome.per_op(outcome.nodes_cpu())));
                line.push(format!("{:.1}", memory as f64 / 1e6));
            }
        }
        lines.push(line);
    }
    lines
}

fn notes(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    let Outcome { connections, rate, .. } = outcome;
    if outcome.tally.errors.total() > 0 {
        writeln!(
            out,
            "\nErrors with {connections} connections: {}.",
            outcome.tally.errors.words()
        )?;
    }
    if let Some(rate) = rate
        && outcome.backlog > u64::from(*rate) / 100
    {
        writeln!(
            out,
            "\nAt {rate} a second the ensemble did not keep up: {} requests were overdue at the \
             end, and more time would make their latencies longer.",
            outcome.backlog
        )?;
    }
    Ok(())
}

fn rounded(number: f64) -> Value {
    json!((number * 100.0).round() / 100.0)
}

/// The table of the rounds, and the least, middle and longest time.
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn failover_text(
    out: &mut impl Write,
    args: &FailoverArgs,
    rounds: &[Round],
) -> io::Result<()> {
    let ms = |micros: u64| format!("{:.1}", micros as f64 / 1e3);
    let mut rows =
        vec![["round", "leader", "next write ms", "all serve again ms"].map(str::to_owned)];
    for (number, round) in (1..).zip(rounds) {
        let back = u64::try_from(round.back.as_micros()).unwrap_or(u64::MAX);
        rows.push([u64::to_string(&number), round.leader.clone(), ms(round.gap), ms(back)]);
    }
    let rows: Vec<_> = rows.into_iter().map(Vec::from).collect();
    table(out, &rows)?;
    let how = match args.how {
        How::Kill => "killed (kill -9)",
        How::Pause => "paused (SIGSTOP)",
    };
    if let Some([min, median, max]) = spread(rounds) {
        writeln!(
            out,
            "\nNext acknowledged write after the leader was {how}: min {} ms, median {} ms, \
             max {} ms ({} rounds).",
            ms(min),
            ms(median),
            ms(max),
            rounds.len(),
        )?;
    }
    Ok(())
}

/// One JSON object with all rounds. Times are in microseconds.
pub(super) fn failover_json(
    out: &mut impl Write,
    args: &FailoverArgs,
    rounds: &[Round],
) -> io::Result<()> {
    let round = |round: &Round| {
        let back = u64::try_from(round.back.as_micros()).unwrap_or(u64::MAX);
        json!({"leader": round.leader, "next_write": round.gap, "all_serve": back})
    };
    let [min, median, max] = spread(rounds).map_or([None; 3], |all| all.map(Some));
    let fields = json!({
        "how": args.how.name(),
        "nodes": args.local,
        "connections": args.connections,
        "rounds": rounds.iter().map(round).collect::<Vec<_>>(),
        "min": min,
        "median": median,
        "max": max,
    });
    writeln!(out, "{fields}")
}

/// The least, middle and longest time to the next write; of two in the middle their mean.
fn spread(rounds: &[Round]) -> Option<[u64; 3]> {
    let mut gaps: Vec<u64> = rounds.iter().map(|round| round.gap).collect();
    gaps.sort_unstable();
    let (low, high) = (gaps.len().saturating_sub(1) / 2, gaps.len() / 2);
    let median = u64::midpoint(*gaps.get(low)?, *gaps.get(high)?);
    Some([*gaps.first()?, median, *gaps.last()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        let rounds = |gaps: &[u64]| -> Vec<_> {
            let round = |&gap| Round { leader: "n1".to_owned(), gap, back: Duration::ZERO };
            gaps.iter().map(round).collect()
        };
        assert_eq!(spread(&rounds(&[])), None);
        assert_eq!(spread(&rounds(&[9])), Some([9, 9, 9]));
        assert_eq!(spread(&rounds(&[9, 1, 5])), Some([1, 5, 9]));
        assert_eq!(spread(&rounds(&[9, 1, 5, 2])), Some([1, 3, 9]));
    }
}
