//! Where the daemon is that tests run.

use std::path::PathBuf;

/// The daemon of this build; `None`, with a word of why, if there is none.
pub(crate) fn daemon() -> Option<PathBuf> {
    let test = std::env::current_exe().expect("the test is a file");
    // target/PROFILE/deps/TEST
    let profile = test.ancestors().nth(2).expect("tests lie in deps");
    let binary = profile.join("zabkeeper");
    if !binary.exists() {
        println!("skipped: there is no {}; cargo test --workspace builds it", binary.display());
        return None;
    }
    if !cfg!(target_os = "linux") {
        println!("skipped: all of 127.0.0.0/8 is loopback on Linux only");
        return None;
    }
    Some(binary)
}
