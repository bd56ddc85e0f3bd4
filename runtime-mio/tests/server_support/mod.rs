//! Ensembles inside the test process, on loopback ports that nobody else can have, and a client
//! that can also misbehave.

#![allow(dead_code, reason = "each test file uses its share")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use zabkeeper_core::store::{Answer, Command, Op, Path, Query};
use zabkeeper_core::words::{End, NodeId, ReadLevel, Txid};
use zabkeeper_core::zab::{Member, Membership, RoleStatus};
use zabkeeper_proto::client::{self, ClientReply, ClientRequest};
use zabkeeper_proto::frame;
use zabkeeper_runtime_mio::config::ServerConfig;
use zabkeeper_runtime_mio::server::{Server, Sockets};

/// Longer than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addrs {
    pub(crate) election: SocketAddr,
    pub(crate) message: SocketAddr,
    pub(crate) request: SocketAddr,
}

/// An ensemble, and the directory of its data.
pub(crate) struct Ensemble {
    pub(crate) servers: Vec<Server>,
    pub(crate) addrs: Vec<Addrs>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) dir: TempDir,
}

impl Ensemble {
    /// Starts `count` nodes, each configured by `tune`.
    pub(crate) fn start(count: u32, tune: impl Fn(&mut ServerConfig)) -> Self {
        // `RUST_LOG=debug` shows what the nodes say.
        let _ = env_logger::builder().is_test(true).try_init();
        let dir = tempfile::tempdir().unwrap();
        let sockets: Vec<Sockets> = (0..count).map(|_| Sockets::loopback().unwrap()).collect();
        let addrs: Vec<Addrs> = sockets.iter().map(addrs).collect();
        let membership = membership(&addrs);
        let mut servers = Vec::new();
        for (id, sockets) in (1..).zip(sockets) {
            let mut config = config(&dir, id, &membership, &sockets);
            tune(&mut config);
            servers.push(Server::start_with_sockets(config, sockets).unwrap());
        }
        Self { servers, addrs, membership, dir }
    }

    /// Has node `index` write.
    pub(crate) fn set(&self, index: usize, key: &str, value: &[u8]) {
        match self.servers[index].handle().request(set(key, value), LONG) {
            End::Done { answer: Answer::Written(Ok(_)), .. } => {}
            other => panic!("writing {key} ended as {other:?}"),
        }
    }

    /// Has node `index` read what is committed now.
    pub(crate) fn get(&self, index: usize, key: &str) -> Option<Vec<u8>> {
        value_of(self.servers[index].handle().request(get(key), LONG))
    }

    /// A count of node `index`.
    pub(crate) fn count(&self, index: usize, name: &str) -> u64 {
        count(&self.servers[index], name)
    }

    /// Stops all nodes in good order.
    pub(crate) fn stop(self) {
        for server in &self.servers {
            server.stop();
        }
        for server in self.servers {
            assert_eq!(server.wait().exit_code(), 0);
        }
    }
}

pub(crate) fn addrs(sockets: &Sockets) -> Addrs {
    Addrs {
        election: sockets.election_addr().unwrap(),
        message: sockets.message_addr().unwrap(),
        request: sockets.request_addr().unwrap(),
    }
}

/// The membership of nodes 1 and up that listen there.
pub(crate) fn membership(addrs: &[Addrs]) -> Arc<Membership> {
    let members: BTreeMap<NodeId, Member> = (1..)
        .zip(addrs)
        .map(|(id, addrs)| {
            let member = Member {
                voter: true,
                incarnation: None,
                life: None,
                election_addr: addrs.election.to_string(),
                message_addr: addrs.message.to_string(),
            };
            (NodeId::new(id), member)
        })
        .collect();
    Arc::new(Membership::new(Txid::ZERO, members))
}

pub(crate) fn config(
    dir: &TempDir,
    id: u32,
    membership: &Arc<Membership>,
    sockets: &Sockets,
) -> ServerConfig {
    let request_addr = addrs(sockets).request.to_string();
    let data_dir = dir.path().join(id.to_string());
    ServerConfig::new(NodeId::new(id), membership.clone(), request_addr, data_dir)
}

pub(crate) fn count(server: &Server, name: &str) -> u64 {
    server.handle().counters().get(name).copied().unwrap_or(0)
}

pub(crate) fn serves(server: &Server) -> bool {
    match server.handle().status().unwrap().role {
        RoleStatus::Following { serving, .. } => serving,
        RoleStatus::Leading { established } => established,
        RoleStatus::Looking | RoleStatus::Halted => false,
    }
}

/// Waits until `done`, asking again and again; fails if that takes too long.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LONG, "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn set(key: &str, value: &[u8]) -> Op {
    Op::Write(Command::Set { path: Path::parse(key).unwrap(), value: value.into() })
}

pub(crate) fn get(key: &str) -> Op {
    read(key, ReadLevel::Linearizable)
}

pub(crate) fn get_local(key: &str) -> Op {
    read(key, ReadLevel::Local(Txid::ZERO))
}

fn read(key: &str, level: ReadLevel) -> Op {
    let path = Path::parse(key).unwrap();
    Op::Read { query: Query::Get { path }, level }
}

/// The value that a Get found.
pub(crate) fn value_of(result: End<Answer>) -> Option<Vec<u8>> {
    match result {
        End::Done { answer: Answer::Node(found), .. } => {
            found.map(|found| found.value.unwrap().to_vec())
        }
        other => panic!("reading ended as {other:?}"),
    }
}

/// A client's connection, byte by byte.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Wire {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        Self { stream, unread: Vec::new() }
    }

    pub(crate) fn send(&mut self, id: u64, op: Op) {
        self.stream.write_all(&request(id, op)).unwrap();
    }

    pub(crate) fn receive(&mut self) -> ClientReply {
        loop {
            let limit = frame::MAX_REPLY_BODY;
            if let Some(found) = frame::parse(&self.unread, frame::Kind::Reply, limit).unwrap() {
                let reply = client::decode_reply(&found).unwrap();
                let size = found.consumed();
                self.unread.drain(..size);
                return reply;
            }
            let mut part = vec![0; 64 << 10];
            let count = self.stream.read(&mut part).unwrap();
            assert_ne!(count, 0, "the server closed the connection");
            self.unread.extend_from_slice(&part[..count]);
        }
    }

    pub(crate) fn ask(&mut self, id: u64, op: Op) -> End<Answer> {
        self.send(id, op);
        let reply = self.receive();
        assert_eq!(reply.id, id);
        reply.end
    }
}

pub(crate) fn request(id: u64, op: Op) -> Vec<u8> {
    let mut bytes = Vec::new();
    let timeout_ms = u32::try_from(LONG.as_millis()).unwrap();
    client::encode_request(&ClientRequest { id, timeout_ms, op }, &mut bytes);
    bytes
}

/// Sends bytes to a port and waits until the other side closes the connection.
pub(crate) fn send_and_be_closed(to: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => assert_eq!(rest, b"", "garbage was answered"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}
