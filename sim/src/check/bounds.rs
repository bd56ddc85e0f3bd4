//! Nothing grows without bound (L6).

use super::{Check, ensure};
use crate::host::Host;
use zabkeeper_core::replica::Status;

/// A process holds no more than its limits allow.
pub fn within(host: &Host, status: &Status) -> Check {
    let limits = &host.config.limits;
    ensure!(
        status.waiting <= limits.pending_requests,
        "bounded queues (L6)",
        "{} holds {} requests, the limit is {}",
        host.id,
        status.waiting,
        limits.pending_requests
    );
    let put_off = host.process.as_ref().map_or(0, |process| process.replica.put_off());
    ensure!(
        put_off <= limits.pending_requests,
        "bounded queues (L6)",
        "{} has put off {put_off} reads, the limit is {}",
        host.id,
        limits.pending_requests
    );
    Ok(())
}
