//! Where the nodes of a local ensemble live: ports, directories, configuration files.

use super::super::exit::{Failure, OTHER};
use super::setting::{self, Setting};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zabkeeper_runtime_mio::config::ServerConfig;

/// Ports of one ensemble: `base` is held as a lock, node i listens on base + 10 (i - 1) + 1, 2, 3.
const BLOCK: u16 = 100;
/// Blocks are looked for up to here: below the ports that systems give out by themselves.
const LAST_BASE: u16 = 31_000;
/// The first block; its nodes are the client's default endpoints.
const FIRST_BASE: u16 = 4210;

/// One node's place.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Place {
    pub(in crate::cli) name: String,
    pub(in crate::cli) endpoint: String,
    pub(in crate::cli) config: PathBuf,
    pub(in crate::cli) data: PathBuf,
    pub(in crate::cli) log: PathBuf,
}

/// The places of an ensemble's nodes, held for as long as this lives.
#[derive(Debug)]
pub(in crate::cli) struct Layout {
    pub(in crate::cli) dir: PathBuf,
    pub(in crate::cli) places: Vec<Place>,
    /// The directory held no ensemble before.
    pub(in crate::cli) fresh: bool,
    /// Removed with everything in it when dropped.
    pub(in crate::cli) temporary: Option<TempDir>,
    /// While it is bound, no other `dev` takes these ports, nor this directory.
    _lock: TcpListener,
}

impl Layout {
    /// Finds or makes the places of `nodes` nodes, whose configurations get these settings.
    pub(in crate::cli) fn prepare(
        nodes: Option<u8>,
        data_dir: Option<&Path>,
        base_port: Option<u16>,
        settings: &[Setting],
    ) -> Result<Self, Failure> {
        let (dir, temporary) = directory(data_dir)?;
        let stored = load(&dir)?;
        let (base, nodes, lock) = match stored {
            Some((base, stored_nodes)) => {
                if nodes.is_some_and(|nodes| nodes != stored_nodes)
                    || base_port.is_some_and(|port| port != base)
                {
                    return Err(Failure::usage(format_args!(
                        "{} holds an ensemble of {stored_nodes} nodes at base port {base}; \
                         leave out --nodes and --base-port, or choose another --data-dir",
                        dir.display()
                    )));
                }
                if !settings.is_empty() {
                    return Err(Failure::usage(format_args!(
                        "{} holds an ensemble already, whose settings stand in n1.json and so on; \
                         leave out --set, or choose another --data-dir",
                        dir.display()
                    )));
                }
                (base, stored_nodes, take(base, stored_nodes)?)
            }
            None => {
                let nodes = nodes.unwrap_or(3);
                let (base, lock) = match base_port {
                    Some(base) => (base, take(base, nodes)?),
                    None => find(nodes)?,
                };
                (base, nodes, lock)
            }
        };
        let places: Vec<_> = (1..=nodes).map(|node| place(&dir, base, node)).collect();
        if stored.is_none() {
            let texts = configurations(base, nodes, settings);
            // Before anything is written: the settings may contradict each other.
            for (place, text) in places.iter().zip(&texts) {
                let file = format!("{}.json", place.name);
                ServerConfig::parse(&file, text).map_err(Failure::usage)?;
            }
            let failed =
                |error| cannot(&format!("write the configuration to {}", dir.display()), &error);
            for (place, text) in places.iter().zip(texts) {
                fs::write(&place.config, text).map_err(failed)?;
            }
            remember(&dir, base, nodes).map_err(failed)?;
        }
        Ok(Self { dir, places, fresh: stored.is_none(), temporary, _lock: lock })
    }

    /// Where clients connect, as `--endpoints` takes it.
    pub(in crate::cli) fn endpoints(&self) -> String {
        let all: Vec<_> = self.places.iter().map(|p| p.endpoint.as_str()).collect();
        all.join(",")
    }
}

fn directory(data_dir: Option<&Path>) -> Result<(PathBuf, Option<TempDir>), Failure> {
    let Some(dir) = data_dir else {
        let made = tempfile::Builder::new().prefix("zabkeeper-dev-").tempdir();
        let temporary = made.map_err(|error| cannot("make a temporary directory", &error))?;
        return Ok((temporary.path().to_owned(), Some(temporary)));
    };
    let mut private = fs::DirBuilder::new();
    let made = private.recursive(true).mode(0o700).create(dir);
    let made = made.and_then(|()| fs::canonicalize(dir));
    let dir = made.map_err(|error| cannot(&format!("make {}", dir.display()), &error))?;
    Ok((dir, None))
}

/// The file that remembers the ports and number of nodes of a directory.
fn memory(dir: &Path) -> PathBuf {
    dir.join("dev.json")
}

fn load(dir: &Path) -> Result<Option<(u16, u8)>, Failure> {
    let file = memory(dir);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot(&format!("read {}", file.display()), &error)),
    };
    let parsed: Option<(u16, u8)> = serde_json::from_str(&text)
        .ok()
        .and_then(|json: serde_json::Value| {
            let base = json.get("base_port")?.as_u64()?.try_into().ok()?;
            let nodes = json.get("nodes")?.as_u64()?.try_into().ok()?;
            Some((base, nodes))
        })
        .filter(|(base, nodes)| (1..=65_400).contains(base) && (1..=7).contains(nodes));
    match parsed {
        Some(found) => Ok(Some(found)),
        None => Err(Failure::usage(format_args!(
            "{} cannot be understood; it should be like {{\"base_port\": 4210, \"nodes\": 3}}",
            file.display()
        ))),
    }
}

/// Takes the ports of a block, or says which one is in use.
fn take(base: u16, nodes: u8) -> Result<TcpListener, Failure> {
    claim(base, nodes).map_err(|(port, error)| {
        Failure::new(
            OTHER,
            format_args!(
                "port {port} on 127.0.0.1 cannot be used: {error}. If another `zabkeeper dev` \
                 runs here, stop it; or choose another --base-port"
            ),
        )
    })
}

/// Looks for a block in which every port is free.
fn find(nodes: u8) -> Result<(u16, TcpListener), Failure> {
    for base in (FIRST_BASE..LAST_BASE).step_by(usize::from(BLOCK)) {
        if let Ok(lock) = claim(base, nodes) {
            return Ok((base, lock));
        }
    }
    Err(Failure::new(OTHER, "no free ports were found on 127.0.0.1; choose a --base-port"))
}

/// Binds the block's lock for good, and every other port of it for a moment.
fn claim(base: u16, nodes: u8) -> Result<TcpListener, (u16, io::Error)> {
    let local = Ipv4Addr::LOCALHOST;
    let lock = TcpListener::bind((local, base)).map_err(|error| (base, error))?;
    for node in 1..=nodes {
        let [election, message, request] = ports(base, node);
        UdpSocket::bind((local, election)).map_err(|error| (election, error))?;
        TcpListener::bind((local, message)).map_err(|error| (message, error))?;
        TcpListener::bind((local, request)).map_err(|error| (request, error))?;
    }
    Ok(lock)
}

fn ports(base: u16, node: u8) -> [u16; 3] {
    let first = base + 10 * u16::from(node - 1);
    [first + 1, first + 2, first + 3]
}

fn place(dir: &Path, base: u16, node: u8) -> Place {
    let name = format!("n{node}");
    Place {
        endpoint: format!("127.0.0.1:{}", ports(base, node)[2]),
        config: dir.join(format!("{name}.json")),
        data: dir.join(&name),
        log: dir.join(format!("{name}.log")),
        name,
    }
}

/// The text of each node's configuration. Where it keeps its data is not in it, but told at each
/// start: the directory may be moved, or copied.
fn configurations(base: u16, nodes: u8, settings: &[Setting]) -> Vec<String> {
    let address = |node: u8| {
        let [election, message, request] = ports(base, node);
        serde_json::json!({
            "Id": node,
            "ElectionAddr": format!("127.0.0.1:{election}"),
            "MessageAddr": format!("127.0.0.1:{message}"),
            "RequestAddr": format!("127.0.0.1:{request}"),
        })
    };
    let text = |node: u8| {
        let peers: Vec<_> = (1..=nodes).filter(|&n| n != node).map(address).collect();
        let mut config = serde_json::json!({
            "Host": address(node),
            "Peer": peers,
        });
        if let Some(config) = config.as_object_mut() {
            setting::put(settings, config);
        }
        format!("{config:#}\n")
    };
    (1..=nodes).map(text).collect()
}

/// Writes the file that says that the configurations are complete.
fn remember(dir: &Path, base: u16, nodes: u8) -> io::Result<()> {
    let memory_text = serde_json::json!({"base_port": base, "nodes": nodes});
    fs::write(memory(dir), format!("{memory_text}\n"))
}

fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::new(OTHER, format_args!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_blocks_endpoints_are_the_clients_defaults() {
        let places: Vec<_> =
            (1..=3).map(|node| place(Path::new("/d"), FIRST_BASE, node).endpoint).collect();
        assert_eq!(places.join(","), crate::cli::args::DEFAULT_ENDPOINTS);
    }

    #[test]
    fn two_ensembles_get_different_ports_and_a_directory_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let first = Layout::prepare(Some(2), Some(dir.path()), None, &[]).unwrap();
        let other = Layout::prepare(None, None, None, &[]).unwrap();
        assert_eq!(other.places.len(), 3);
        assert_ne!(first.endpoints(), other.endpoints());
        let configs: Vec<_> =
            other.places.iter().map(|place| ServerConfig::load(&place.config).unwrap()).collect();
        assert!(configs.iter().all(|c| c.membership == configs[0].membership));
        let text = fs::read_to_string(&other.places[0].config).unwrap();
        let dir_of_other = other.dir.to_str().unwrap();
        assert!(!text.contains(dir_of_other), "a place that is remembered: {text}");

        let busy = Layout::prepare(None, Some(dir.path()), None, &[]).unwrap_err();
        assert!(busy.text.contains("another `zabkeeper dev`"), "{}", busy.text);
        let endpoints = first.endpoints();
        drop(first);
        let wrong = Layout::prepare(Some(3), Some(dir.path()), None, &[]).unwrap_err();
        assert!(wrong.text.contains("an ensemble of 2 nodes"), "{}", wrong.text);
        let again = Layout::prepare(None, Some(dir.path()), None, &[]).unwrap();
        assert_eq!(again.endpoints(), endpoints);
    }

    #[test]
    fn settings_go_into_new_configurations_and_must_make_sense() {
        let dir = tempfile::tempdir().unwrap();
        let prepare = |text: &str| {
            let settings = [setting::setting(text).unwrap()];
            Layout::prepare(Some(1), Some(dir.path()), None, &settings)
        };
        let wrong = prepare("Timeouts.PingMs=700").unwrap_err();
        assert!(wrong.text.contains("at most half of SyncMs"), "{}", wrong.text);
        let unknown = prepare("Limits.Retain=1").unwrap_err();
        assert!(unknown.text.contains("Retain"), "{}", unknown.text);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "what was refused left something");
        let layout = prepare("Timeouts.PingMs=70").unwrap();
        let config = ServerConfig::load(&layout.places[0].config).unwrap();
        assert_eq!(config.core.timeouts.ping.get(), 70_000);
        drop(layout);
        let late = prepare("Timeouts.PingMs=70").unwrap_err();
        assert!(late.text.contains("leave out --set"), "{}", late.text);
    }

    #[test]
    fn a_temporary_directory_is_removed_with_the_layout() {
        let layout = Layout::prepare(Some(1), None, None, &[]).unwrap();
        let dir = layout.dir.clone();
        assert!(dir.join("n1.json").exists());
        drop(layout);
        assert!(!dir.exists());
    }
}
