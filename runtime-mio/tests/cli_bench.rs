//! `zabkeeper bench`, with real processes: what it prints is what it did.

mod cli_support;

use cli_support::{Dev, Process, is_alive, ran, run_with, until, zabkeeper};
use serde_json::Value;

/// Runs a bench that prints one JSON object.
fn bench(args: &[&str]) -> (i32, Value) {
    let ran = ran(&run_with(zabkeeper(&["bench"]).args(args).args(["--output", "json"]), b""));
    let json = serde_json::from_str(&ran.out);
    (ran.code, json.unwrap_or_else(|error| panic!("{error}: {ran:#?}")))
}

fn number(json: &Value) -> u64 {
    json.as_u64().unwrap_or_else(|| panic!("{json} is no number"))
}

/// How many requests the buckets of a histogram hold.
fn held(part: &Value) -> u64 {
    let buckets = part["histogram"].as_array().expect("a histogram");
    buckets.iter().map(|bucket| number(&bucket[1])).sum()
}

/// Checks what holds for every measurement, and gives the number of requests.
fn consistent(json: &Value) -> u64 {
    let ops = number(&json["ops"]);
    assert_eq!(ops, held(&json["latency"]["all"]), "{json}");
    let errors = json["errors"].as_object().expect("errors");
    assert!(errors.values().all(|count| number(count) == 0), "{json}");
    let seconds = number(&json["micros"]) as f64 / 1e6;
    let per_second = json["per_second"].as_f64().expect("a number");
    assert!((per_second - ops as f64 / seconds).abs() < 0.1, "{json}");
    let all = &json["latency"]["all"];
    let shown = ["p50", "p90", "p99", "p99_9", "max"].map(|name| number(&all[name]));
    assert!(shown.is_sorted(), "{json}");
    ops
}

#[test]
fn a_closed_loop_counts_every_write_once_and_the_ensemble_has_them() {
    let dev = Dev::start(&[]);
    let endpoints = dev.endpoints();
    let last = || {
        let status = dev.json(&["status"]);
        let applied = status["nodes"][0]["applied"].as_str().expect("a txid").to_owned();
        let (epoch, counter) = applied.split_once('.').expect("epoch.counter");
        (epoch.to_owned(), counter.parse::<u64>().expect("a counter"))
    };
    let before = last();
    let (code, json) = bench(&[
        "--endpoints",
        endpoints,
        "--keys",
        "50",
        "--warmup",
        "100ms",
        "--duration",
        "500ms",
        "--connections",
        "4",
        "--outstanding",
        "3",
        "--target",
        "leader",
    ]);
    assert_eq!(code, 0, "{json}");
    let ops = consistent(&json);
    let after = last();
    assert_eq!(before.0, after.0, "an election went between");
    // The keys and the warm-up count too.
    assert!(after.1 - before.1 >= ops + 50, "{before:?} {after:?} {json}");
    assert_eq!(dev.run(&["get", "bench/49", "--output", "json"]).code, 0);
    assert_eq!(dev.run(&["get", "bench/50"]).code, 1);
}

#[test]
fn an_open_loop_keeps_its_rate_and_its_kinds_add_up() {
    let dev = Dev::start(&[]);
    let (code, json) = bench(&[
        "--endpoints",
        dev.endpoints(),
        "--keys",
        "50",
        "--warmup",
        "100ms",
        "--duration",
        "1s",
        "--load",
        "mixed",
        "--write-share",
        "0.5",
        "--rate",
        "400",
    ]);
    assert_eq!(code, 0, "{json}");
    let ops = consistent(&json);
    let part = |name: &str| held(&json["latency"][name]);
    assert_eq!(part("reads") + part("writes"), ops);
    // All that was due meanwhile, and at most all of the warm-up that was late.
    let due = 400 * number(&json["micros"]) / 1_000_000;
    assert!((due - 1..=due + 42).contains(&(ops + number(&json["backlog"]))), "{json}");
}

#[test]
fn an_ensemble_of_its_own_is_measured_and_ended() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (code, json) = bench(&[
        "--local",
        "3",
        "--data-dir",
        dir.path().to_str().expect("UTF-8"),
        "--keys",
        "50",
        "--warmup",
        "100ms",
        "--duration",
        "300ms",
        "--load",
        "local-read",
    ]);
    assert_eq!(code, 0, "{json}");
    consistent(&json);
    let nodes = json["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), 3);
    assert!(nodes.iter().all(|node| number(&node["rss"]) > 1 << 20), "{json}");
    assert!(json["nodes_cpu_per_op"].as_f64().expect("a number") > 0.0, "{json}");
    // Its files can be taken over, so its processes are gone.
    let again = Dev::start(&["--data-dir", dir.path().to_str().expect("UTF-8")]);
    assert_eq!(again.run(&["get", "bench/49", "--output", "json"]).code, 0);
}

#[test]
fn a_plot_has_a_point_for_each_measurement_and_percentile() {
    let dev = Dev::start(&[]);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("curve.svg");
    let plot = file.to_str().expect("UTF-8");
    let short = ["--keys", "50", "--warmup", "50ms", "--duration", "200ms", "-c", "1,2"];
    let ran = dev.run(&[&["bench", "--plot", plot][..], &short].concat());
    assert_eq!(ran.code, 0, "{ran:#?}");
    let svg = std::fs::read_to_string(&file).expect("a plot");
    assert_eq!(svg.matches("<circle").count(), 6, "{svg}");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    assert_eq!(dev.run(&["bench", "--plot", "/nowhere/curve.svg"]).code, 2);
}

#[test]
fn a_signal_ends_the_bench_and_its_nodes() {
    let mut process = Process::start(&mut zabkeeper(&["bench", "--local", "3", "--keys", "50"]));
    let mut children = Vec::new();
    let own = process.child.id();
    until("the nodes run", || {
        let list = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
        children = list.unwrap_or_default().split(' ').filter_map(|p| p.parse().ok()).collect();
        children.len() == 3
    });
    process.signal("INT");
    // Stopped while it starts (1), before it measured (3), or with results so far (0).
    let code = process.exit_code();
    assert!(matches!(code, Some(0 | 1 | 3)), "{code:?}");
    assert!(children.iter().all(|&pid| !is_alive(pid)), "{children:?}");
}

#[test]
fn requests_without_an_answer_show_in_the_exit_code() {
    let dev = Dev::start(&[]);
    let pids = dev.pids();
    let args = [
        "bench",
        "--endpoints",
        dev.endpoints(),
        "--keys",
        "50",
        "--duration",
        "60s",
        "--timeout",
        "300ms",
        "--output",
        "json",
    ];
    let mut process = Process::start(&mut zabkeeper(&args));
    until("it measures", || dev.run(&["get", "bench/49"]).code == 0);
    for pid in &pids[..2] {
        cli_support::signal(*pid, "KILL");
    }
    // Without a majority requests are refused, or nobody knows; then it is asked to stop.
    until("a write is refused", || dev.run(&["add", "x", "1", "--timeout", "1s"]).code == 3);
    process.signal("TERM");
    let line = process.line(|_| true);
    let json: Value = serde_json::from_str(&line).expect("one JSON object");
    let errors = &json["errors"];
    let unknown = number(&errors["unknown"]) + number(&errors["lost"]);
    assert!(unknown + number(&errors["refused"]) > 0, "{json}");
    assert_eq!(process.exit_code(), Some(if unknown > 0 { 4 } else { 3 }), "{json}");
}

#[test]
fn a_round_of_failover_ends_with_a_write_and_all_nodes() {
    for how in ["kill", "pause"] {
        let (code, json) = bench(&["failover", "--times", "2", "--how", how, "-c", "4"]);
        assert_eq!(code, 0, "{json}");
        let rounds = json["rounds"].as_array().expect("rounds");
        assert_eq!(rounds.len(), 2, "{json}");
        let gaps: Vec<_> = rounds.iter().map(|round| number(&round["next_write"])).collect();
        assert_eq!(number(&json["min"]), *gaps.iter().min().expect("rounds"), "{json}");
        assert_eq!(number(&json["max"]), *gaps.iter().max().expect("rounds"), "{json}");
        assert!((1..60_000_000).contains(&gaps[0]), "{json}");
    }
}
