//! The three sockets that a node listens on.

use super::StartError;
use crate::config::ServerConfig;
use crate::net::resolve_now;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use zabkeeper_core::words::NodeId;

/// The bound sockets of a node, not served yet.
#[derive(Debug)]
pub struct Sockets {
    pub(super) election: UdpSocket,
    pub(super) message: TcpListener,
    pub(super) request: TcpListener,
}

impl Sockets {
    /// Binds the addresses of a configuration.
    pub fn bind(config: &ServerConfig) -> Result<Self, StartError> {
        let own = config.membership.members().get(&config.node);
        let own = own.ok_or(StartError::NotMember(config.node))?;
        let place = |field: &'static str, name: &str| {
            // The name of an address that is not listened on need not be known here.
            let port = || name.rsplit_once(':')?.1.parse().ok();
            if let (Some(ip), Some(port)) = (config.listen_ip, port()) {
                return Ok(SocketAddr::new(ip, port));
            }
            let addr = name.to_owned();
            resolve_now(name).map_err(|error| StartError::Resolve { field, addr, error })
        };
        let failed = |field, addr: SocketAddr| {
            move |error| StartError::Bind { field, addr: addr.to_string(), error }
        };
        let election = place("ElectionAddr", &own.election_addr)?;
        let message = place("MessageAddr", &own.message_addr)?;
        let request = place("RequestAddr", &config.request_addr)?;
        Ok(Self {
            election: UdpSocket::bind(election).map_err(failed("ElectionAddr", election))?,
            message: TcpListener::bind(message).map_err(failed("MessageAddr", message))?,
            request: TcpListener::bind(request).map_err(failed("RequestAddr", request))?,
        })
    }

    /// Binds three free ports of the loopback interface. With all nodes' sockets bound first, an
    /// ensemble within one process knows its addresses before any node starts, and no port can be
    /// taken by another process in between.
    pub fn loopback() -> io::Result<Self> {
        let any = (Ipv4Addr::LOCALHOST, 0);
        Ok(Self {
            election: UdpSocket::bind(any)?,
            message: TcpListener::bind(any)?,
            request: TcpListener::bind(any)?,
        })
    }

    /// Where votes arrive, over UDP.
    pub fn election_addr(&self) -> io::Result<SocketAddr> {
        self.election.local_addr()
    }

    /// Where peers connect to, over TCP.
    pub fn message_addr(&self) -> io::Result<SocketAddr> {
        self.message.local_addr()
    }

    /// Where clients connect to, over TCP.
    pub fn request_addr(&self) -> io::Result<SocketAddr> {
        self.request.local_addr()
    }

    /// Tells the operator where the node listens, which names alone do not, and gives its election
    /// address.
    pub(super) fn tell(&self, node: NodeId) -> io::Result<SocketAddr> {
        let election = self.election_addr()?;
        log::info!(
            "{node}: listens on {election} (election, UDP), {} (messages), {} (requests)",
            self.message_addr()?,
            self.request_addr()?
        );
        Ok(election)
    }
}
