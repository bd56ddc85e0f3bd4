//! Connections between machines: their ends, and what travels towards each.

use crate::world::size;
use std::collections::VecDeque;
use zabkeeper_core::words::{ConnId, NodeId};
use zabkeeper_core::zab::Message;
use zabkeeper_proto::client::{ClientReply, ClientRequest};

/// What travels on a connection towards one of its ends.
#[derive(Clone, Debug)]
pub enum Packet {
    /// The connection is open: the first thing its dialler sees.
    Open,
    /// A message, and its number among all that were sent.
    Message(u64, Message),
    /// What a client asks.
    Request(Box<ClientRequest>),
    /// What it is told.
    Reply(Box<ClientReply>),
    /// It is closed or broken: the last thing an end sees.
    Fin,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub struct Side {
    /// The machine.
    pub node: NodeId,
    /// The life of the process that holds it; 0 for a client.
    pub boot: u64,
    /// The machine at the other end.
    pub peer: NodeId,
    /// The name by which that process knows it.
    pub conn: ConnId,
    /// False once the process closed it, was told that it is closed, or died.
    pub open: bool,
    pub(crate) inbox: VecDeque<(u64, Packet)>,
    /// Bytes of messages on the way to it, but for requests that are passed on.
    pub(crate) bytes: u64,
    pub(crate) scheduled: bool,
    pub(crate) last_at: u64,
    /// When the last byte that it was given to send will have left.
    pub(crate) busy_until: u64,
}

impl Side {
    /// The same end, without what is on the way to it.
    pub(crate) fn without_inbox(&self) -> Self {
        Self { inbox: VecDeque::new(), ..*self }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    pub ends: [Side; 2],
    pub broken: bool,
}

/// Clients are machines too, with numbers from here on.
const CLIENTS: u32 = 1_000_000;

/// A client's machine.
pub fn machine_of(client: u32) -> NodeId {
    NodeId::new(CLIENTS + client)
}

/// The client on a machine, if it is one of a client.
pub fn client_of(machine: NodeId) -> Option<u32> {
    machine.get().checked_sub(CLIENTS)
}

/// What a packet counts for in what waits for a peer: requests that are passed on have a limit of
/// their own, and what has no contents is counted by the packet.
pub(crate) fn weight(packet: &Packet) -> u64 {
    match packet {
        Packet::Message(_, Message::Forward { .. }) => 0,
        packet => size::packet(packet).saturating_sub(size::FIXED),
    }
}
