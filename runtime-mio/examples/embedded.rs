//! Three nodes inside one program, on free loopback ports: form an ensemble, write through one
//! node, read through another, stop.
//!
//! Run it with `cargo run -p zabkeeper-runtime-mio --example embedded`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path as DirPath;
use std::sync::Arc;
use std::time::Duration;
use zabkeeper_core::store::{Answer, Command, Op, Path, Query};
use zabkeeper_core::words::{End, NodeId, ReadLevel, Txid};
use zabkeeper_core::zab::{Member, Membership};
use zabkeeper_runtime_mio::config::ServerConfig;
use zabkeeper_runtime_mio::server::{ExitReason, Server, Sockets};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("zabkeeper-embedded-{}", std::process::id()));
    let read = run(&dir);
    std::fs::remove_dir_all(&dir)?;
    println!("read back: {}", read?);
    Ok(())
}

/// Runs the ensemble below `dir` and returns what it read back.
pub(crate) fn run(dir: &DirPath) -> Result<String, Box<dyn Error>> {
    let servers = start(dir, 3)?;
    let timeout = Duration::from_secs(20);
    let key = Path::parse("greeting")?;

    // Any node takes writes; it waits for a leader as long as the request may take.
    let write =
        Op::Write(Command::Set { path: key.clone(), value: b"hello, ensemble".as_slice().into() });
    match servers[0].handle().request(write, timeout) {
        End::Done { txid, answer: Answer::Written(outcome) } => {
            println!("written at {txid}: {outcome:?}")
        }
        other => return Err(format!("the write ended as {other:?}").into()),
    }

    // A linearizable read through another node sees it.
    let read = Op::Read { query: Query::Get { path: key }, level: ReadLevel::Linearizable };
    let text = match servers[2].handle().request(read, timeout) {
        End::Done { answer: Answer::Node(Some(found)), .. } => {
            let value = found.value.ok_or("the answer has no value")?;
            String::from_utf8(value.to_vec())?
        }
        other => return Err(format!("the read ended as {other:?}").into()),
    };

    for server in &servers {
        server.stop();
    }
    for server in servers {
        match server.wait() {
            ExitReason::Stopped => {}
            other => return Err(other.to_string().into()),
        }
    }
    Ok(text)
}

/// Starts `count` nodes with their data below `dir`.
fn start(dir: &DirPath, count: u32) -> Result<Vec<Server>, Box<dyn Error>> {
    let mut sockets = Vec::new();
    let mut members = BTreeMap::new();
    for id in 1..=count {
        let bound = Sockets::loopback()?;
        let member = Member {
            voter: true,
            incarnation: None,
            life: None,
            election_addr: bound.election_addr()?.to_string(),
            message_addr: bound.message_addr()?.to_string(),
        };
        members.insert(NodeId::new(id), member);
        sockets.push((NodeId::new(id), bound));
    }
    let membership = Arc::new(Membership::new(Txid::ZERO, members));
    let mut servers = Vec::new();
    for (id, bound) in sockets {
        let request_addr = bound.request_addr()?.to_string();
        let data_dir = dir.join(id.to_string());
        let config = ServerConfig::new(id, Arc::clone(&membership), request_addr, data_dir);
        servers.push(Server::start_with_sockets(config, bound)?);
    }
    Ok(servers)
}
