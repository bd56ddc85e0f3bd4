//! Clients that mean no good, or are broken: they say nothing, begin a request and do not go on, do
//! not take their answers, or come in crowds.

use crate::callers::app;
use crate::check::Check;
use crate::run::plan::GuestKind;
use crate::world::World;
use std::net::{IpAddr, Ipv4Addr};
use zabkeeper_core::store::{Command, Op, Path, Query};
use zabkeeper_core::words::{NodeId, ReadLevel, Txid};
use zabkeeper_proto::client::ClientRequest;

/// One of them.
#[derive(Clone, Debug)]
pub struct Guest {
    kind: GuestKind,
    requests: u32,
}

impl Guest {
    /// What it asks as soon as it has connected. Nobody looks at what it is answered.
    pub fn asks(&self) -> Vec<ClientRequest> {
        let (value, level) = (vec![b'g'; 400].into(), ReadLevel::Local(Txid::ZERO));
        let top = Path::parse("k").expect("a plain segment");
        let op = match self.kind {
            GuestKind::Silent => return Vec::new(),
            GuestKind::Unfinished => {
                let path = Path::parse("guest").expect("a plain segment");
                Op::Write(Command::Set { path, value })
            }
            GuestKind::Deaf | GuestKind::Slow => {
                let after = None;
                let (path, limit) = (top, u32::MAX);
                let query = Query::List { path, recursive: true, after, limit, values: true };
                Op::Read { query, level }
            }
            GuestKind::Curious | GuestKind::Confused => Op::Status,
            GuestKind::Eager => Op::Read { query: Query::Get { path: app::path(1) }, level },
        };
        let request = |n| ClientRequest { id: u64::from(n), timeout_ms: 5_000, op: op.clone() };
        (0..self.requests).map(request).collect()
    }

    /// True if the last byte of its first request never comes.
    pub fn stops_amid(&self) -> bool {
        self.kind == GuestKind::Unfinished
    }

    /// True if what it says makes no sense.
    pub fn is_confused(&self) -> bool {
        self.kind == GuestKind::Confused
    }

    /// How many bytes a second it takes of its answers; 0 for none at all.
    pub fn takes(&self) -> Option<u64> {
        match self.kind {
            GuestKind::Deaf => Some(0),
            GuestKind::Slow => Some(2_000),
            GuestKind::Silent
            | GuestKind::Unfinished
            | GuestKind::Curious
            | GuestKind::Eager
            | GuestKind::Confused => Some(10_000_000),
        }
    }
}

impl World {
    /// Guests come to a node: so many, from one address or from as many as they are.
    pub(crate) fn guests(
        &mut self,
        node: NodeId,
        kind: GuestKind,
        (count, requests): (u32, u32),
        apart: bool,
    ) -> Check {
        if self.quiet.is_some() || self.host(node).process.is_none() {
            return Ok(());
        }
        self.mark(&format!("guests: {kind:?}"));
        for n in 0..count {
            let [_, _, c, d] = if apart { n.to_be_bytes() } else { [0; 4] };
            let addr = IpAddr::V4(Ipv4Addr::new(10, 9, c, d));
            self.open_guest(node, Guest { kind, requests }, addr);
        }
        Ok(())
    }
}
