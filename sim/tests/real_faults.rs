//! The black-box program on the daemon that was built beside this test: a short run that must
//! pass, and one that must fail. `zabkeeper-sim real` makes the long ones.

mod daemon;

use std::path::PathBuf;
use zabkeeper_sim::faults_real::{Args, run};

fn args(binary: PathBuf, seed: u64) -> Args {
    Args { binary, seconds: 9, seed: Some(seed), clients: 4, trace: true, canary: false }
}

#[test]
fn daemons_keep_their_word_under_real_faults() {
    let Some(binary) = daemon::daemon() else { return };
    let report = run(&args(binary, 41)).expect("the program runs");
    println!("{report}");
    assert_eq!(report.verdict, Ok(()));
    assert!(report.counts.done > 100, "hardly anything was asked");
    assert!(report.faults.contains_key("kill -9"), "nobody was killed");
}

#[test]
fn daemons_that_forget_what_they_acknowledged_are_found_out() {
    let Some(binary) = daemon::daemon() else { return };
    let report = run(&Args { canary: true, ..args(binary, 42) }).expect("the program runs");
    println!("{report}");
    let wrong = report.verdict.expect_err("all disks were put back to an earlier state");
    assert!(wrong.contains("Linearizable (23)"), "{wrong}");
    if let Some(kept) = report.kept {
        std::fs::remove_dir_all(kept).expect("what the run left is removed");
    }
}
