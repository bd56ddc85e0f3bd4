//! The committed inputs: what real encoders write, and what once broke something.

use std::fs;
use std::path::PathBuf;

/// Where the inputs of a target are kept.
pub fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The inputs of a target, by name. None if it has no folder.
pub fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder(target)).into_iter().flatten().flatten();
    let mut inputs: Vec<(String, Vec<u8>)> = files
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            Some((name, fs::read(file.path()).ok()?))
        })
        .collect();
    inputs.sort();
    inputs
}
