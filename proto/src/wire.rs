//! The structs that prost generates from the `.proto` files; `tests/generated.rs` keeps them equal.
//! And how such a message is appended to a buffer.

#![allow(
    unreachable_pub,
    missing_docs,
    private_interfaces,
    clippy::all,
    reason = "generated code, private to this crate"
)]

include!("wire/zabkeeper.v1.rs");

/// Appends a message to `out`.
pub(crate) fn put(message: &impl prost::Message, out: &mut Vec<u8>) {
    out.reserve(message.encoded_len());
    message.encode_raw(out);
}
