//! What a node is to the others. Each role owns what it needs, and leaving it drops everything.

pub(super) mod following;
pub(super) mod leading;
pub(super) mod looking;
