//! Disks that are slow: a library of a few lines, compiled where a run begins and preloaded into
//! the daemons, makes each flush take longer while a file says so.

use super::weather::NODES;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOURCE: &str = include_str!("slow_disk.c");

/// The library, and where each node's delay is written.
pub(super) struct SlowDisks {
    library: PathBuf,
    dir: PathBuf,
}

impl SlowDisks {
    /// Compiles the library below `dir`; `None`, with a word of why, if that cannot be done.
    pub(super) fn new(dir: &Path) -> Option<Self> {
        let (source, library) = (dir.join("slow_disk.c"), dir.join("slow_disk.so"));
        let compile = || {
            fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
            let mut cc = Command::new("cc");
            cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
            let output = cc.output().map_err(|error| format!("cc cannot be run ({error})"))?;
            match output.status.success() {
                true => Ok(()),
                false => Err(String::from_utf8_lossy(&output.stderr).trim().to_string()),
            }
        };
        match compile() {
            Ok(()) => Some(Self { library, dir: dir.to_path_buf() }),
            Err(why) => {
                println!("without slow disks: {why}");
                None
            }
        }
    }

    /// Makes a daemon that is about to start one whose disk can be slow.
    pub(super) fn prepare(&self, node: usize, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("SLOW_DISK", self.file(node));
    }

    /// From now on each flush of a node takes so much longer.
    pub(super) fn set(&self, node: usize, delay: Duration) -> std::io::Result<()> {
        fs::write(self.file(node), delay.as_micros().to_string())
    }

    /// All disks are as fast again as they are.
    pub(super) fn clear(&self) {
        (0..NODES).for_each(|node| _ = fs::remove_file(self.file(node)));
    }

    fn file(&self, node: usize) -> PathBuf {
        self.dir.join(format!("n{}.delay", node + 1))
    }
}
