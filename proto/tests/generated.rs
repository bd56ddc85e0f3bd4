//! The structs in `src/wire` are generated from the `.proto` files and committed, so that a build
//! needs neither protoc nor a build script; this test makes drift between the two impossible.
//! `UPDATE=1 cargo test -p zabkeeper-proto --test generated` writes them anew.

use std::path::Path;

const FILES: [&str; 5] = ["common", "election", "peer", "client", "journal"];

#[test]
fn the_committed_structs_are_what_the_proto_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = FILES.map(|name| format!("zabkeeper/v1/{name}.proto"));
    let descriptors = protox::compile(files, [root.join("proto")]).expect("valid .proto files");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wire");
    std::fs::create_dir_all(&out).unwrap();
    prost_build::Config::new()
        .bytes(["."])
        // Written by hand: see `src/payloads.rs`.
        .extern_path(".zabkeeper.v1.Entry", "crate::payloads::Entry")
        .extern_path(".zabkeeper.v1.Forwarded", "crate::payloads::Forwarded")
        .out_dir(&out)
        .compile_fds(descriptors)
        .expect("generated structs");
    let generated = std::fs::read_to_string(out.join("zabkeeper.v1.rs")).unwrap();
    let committed = root.join("src/wire/zabkeeper.v1.rs");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&committed, &generated).unwrap();
    }
    let held = std::fs::read_to_string(&committed).unwrap_or_default();
    assert!(
        held == generated,
        "{} is not what the .proto files say: run this test with UPDATE=1",
        committed.display()
    );
}
