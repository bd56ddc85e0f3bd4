//! The structs that prost generates from the `.proto` files; `tests/generated.rs` keeps them equal.

#![allow(
    unreachable_pub,
    missing_docs,
    private_interfaces,
    clippy::all,
    reason = "generated code, private to this crate"
)]

include!("wire/zabkeeper.v1.rs");
