//! Pages are well-formed and show what was recorded, and a browser runs them without an error.

use super::page::{Window, page};
use crate::run::plan::Plan;
use crate::run::{Report, run};
use std::path::PathBuf;
use std::process::Command;

fn drawn(seed: u64, mutant: Option<&str>) -> (Report, u32, String) {
    let mut plan = Plan::draw(seed);
    plan.mutant = mutant.map(str::to_string);
    let report = run(&plan, true);
    let whole = Window { from: 0, to: report.time };
    let text = page(&report, plan.options.nodes, whole);
    (report, plan.options.nodes, text)
}

/// Every element of the drawing is closed, in order.
fn check_well_formed(page: &str) {
    let start = page.find("<svg").expect("a drawing");
    let end = page.find("</svg>").expect("its end") + "</svg>".len();
    let mut open = Vec::new();
    for tag in page[start..end].split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "a stray > after {tag}");
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in {tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed");
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().expect("a name"));
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

/// As many arrows as arrivals, and one for each message that never arrived.
fn check_shapes(report: &Report, nodes: u32, page: &str) {
    let record = report.view.as_ref().expect("kept");
    let sent = record.messages.values();
    let arrows: usize = sent.map(|sent| sent.arrived.len().max(1)).sum();
    assert!(arrows > 50, "only {arrows} messages");
    assert_eq!(page.matches("<g class=\"msg ").count(), arrows);
    let lost = record.messages.values().filter(|sent| sent.lost && sent.arrived.is_empty());
    assert_eq!(page.matches("class=\"cross\"").count(), lost.count());
    assert_eq!(page.matches("class=\"lifeline\"").count(), nodes as usize);
    assert_eq!(page.matches("<circle class=\"apply").count(), record.applied.len());
    assert_eq!(page.matches("<rect class=\"write").count(), record.writes.len());
    let ringed = usize::from(report.violation.is_some());
    assert_eq!(page.matches("<g id=\"violation\">").count(), ringed);
}

#[test]
fn a_page_shows_each_message_write_and_delivery_of_a_run() {
    let (report, nodes, page) = drawn(1, None);
    assert_eq!(report.violation, None);
    check_well_formed(&page);
    check_shapes(&report, nodes, &page);
}

#[test]
fn a_page_rings_the_violation_of_a_planted_bug() {
    let (report, nodes, page) = drawn(1, Some("AckAtAppend"));
    assert!(report.violation.is_some());
    check_well_formed(&page);
    check_shapes(&report, nodes, &page);
}

#[test]
fn messages_arrive_after_they_were_sent_and_writes_last_some_time() {
    let (report, _, _) = drawn(3, None);
    let record = report.view.expect("kept");
    let mut arrived = record.messages.values().filter(|sent| !sent.arrived.is_empty());
    assert!(arrived.all(|sent| sent.arrived.iter().all(|at| *at > sent.at)));
    let mut done = record.writes.iter().filter_map(|write| Some((write, write.until?)));
    assert!(done.all(|(write, until)| until >= write.at));
}

#[test]
fn a_run_that_keeps_nothing_records_nothing() {
    assert!(run(&Plan::draw(1), false).view.is_none());
}

#[test]
fn a_browser_runs_the_page_without_an_error() {
    let browser = PathBuf::from("/usr/bin/chromium");
    if !browser.exists() {
        println!("skipped: {} is not installed", browser.display());
        return;
    }
    let (report, nodes, text) = drawn(1, Some("AckAtAppend"));
    // Errors of the page's own script are put where the test finds them.
    let trap = "<script>addEventListener('error', e => document.title = 'ERROR ' + e.message)\
                </script><title>";
    let folder = std::env::temp_dir().join(format!("zabkeeper-view-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("page.html");
    std::fs::write(&file, text.replacen("<title>", trap, 1)).expect("written");
    let out = Command::new("timeout")
        .args(["60".as_ref(), browser.as_os_str()])
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output();
    let dom = String::from_utf8_lossy(&out.expect("started").stdout).into_owned();
    let _ = std::fs::remove_dir_all(&folder);
    assert!(!dom.contains("<title>ERROR "), "{}", dom.get(..300).unwrap_or_default());
    assert!(dom.contains("data-ready=\"yes\""), "the script ran to its end");
    assert_eq!(dom.matches("class=\"lifeline\"").count(), nodes as usize);
    assert!(report.violation.is_some() && dom.contains("id=\"violation\""));
}
