use super::*;

const HOST: &str =
    r#""Host": {"ElectionAddr": "a:5001", "MessageAddr": "a:5002", "RequestAddr": "a:5003"}"#;
const PEER_B: &str = r#"{"ElectionAddr": "b:5001", "MessageAddr": "b:5002"}"#;
const PEER_C: &str = r#"{"ElectionAddr": "c:5001", "MessageAddr": "c:5002"}"#;

fn server(text: &str) -> Result<ServerConfig, ConfigError> {
    ServerConfig::parse("node.json", text)
}

fn with_peers(peers: &str) -> Result<ServerConfig, ConfigError> {
    server(&format!("{{{HOST}, \"Peer\": [{peers}]}}"))
}

#[test]
fn gometas_file_is_read_unchanged() {
    let config = server(
        r#"{
    "Host" : {
            "ElectionAddr" : "localhost:5001",
            "MessageAddr"  : "localhost:5002",
            "RequestAddr"  : "localhost:5003"
            },
    "Peer" : [
            {"ElectionAddr" : "localhost:7001", "MessageAddr"  : "localhost:7002"},
            {"ElectionAddr" : "localhost:6001", "MessageAddr"  : "localhost:6002"}
     ]
}"#,
    )
    .unwrap();
    assert_eq!(config.node, NodeId::new(1));
    assert_eq!(config.request_addr, "localhost:5003");
    assert_eq!(config.data_dir, PathBuf::from("zabkeeper-data/1"));
    let addrs: Vec<_> = config.membership.members().values().collect();
    assert_eq!(addrs[1].election_addr, "localhost:6001");
    assert_eq!(addrs[2].message_addr, "localhost:7002");
    assert!(addrs.iter().all(|member| member.voter));
}

#[test]
fn paths_in_a_file_are_relative_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let text = |data: &str| {
        format!(
            r#"{{"Host": {{"ElectionAddr": "a:1", "MessageAddr": "a:2", "RequestAddr": "a:3"}},
                "Peer": []{data}}}"#
        )
    };
    let file = dir.join("node.json");
    let placed = |data: &str| {
        std::fs::write(&file, text(data)).unwrap();
        ServerConfig::load(&file).map(|config| config.data_dir)
    };
    assert_eq!(placed("").unwrap(), dir.join("zabkeeper-data/1"));
    assert_eq!(placed(r#", "DataDir": ".""#).unwrap(), dir);
    assert_eq!(placed(r#", "DataDir": "../zk""#).unwrap(), dir.join("../zk"));
    assert_eq!(placed(r#", "DataDir": "/var/lib/zk""#).unwrap(), PathBuf::from("/var/lib/zk"));
    let empty = placed(r#", "DataDir": " ""#).unwrap_err();
    assert!(empty.field() == "DataDir" && empty.to_string().contains("empty"), "{empty}");

    // Beside something that is no file there is no place.
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, text("").as_bytes()).unwrap();
    drop(writer);
    let pipe = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let pipe = ServerConfig::load(Path::new(&pipe)).unwrap_err();
    assert!(pipe.field() == "DataDir" && pipe.to_string().contains("--data-dir"), "{pipe}");
}

#[test]
fn every_node_of_an_ensemble_finds_the_same_members() {
    let all = [("a", 1), ("b", 2), ("c", 3)];
    let configs = all.map(|(own, id)| {
        let node = |name: &str| {
            format!(r#"{{"ElectionAddr": "{name}:1", "MessageAddr": "{name}:2", "RequestAddr": "{name}:3"}}"#)
        };
        // Every file lists all nodes, its own included, in another order.
        let mut names = all.map(|(name, _)| node(name));
        names.rotate_left(id as usize);
        let text = format!("{{\"Host\": {}, \"Peer\": [{}]}}", node(own), names.join(","));
        let config = server(&text).unwrap();
        assert_eq!(config.node, NodeId::new(id));
        config.membership.cluster_id()
    });
    assert_eq!(configs[0], configs[1]);
    assert_eq!(configs[0], configs[2]);
}

#[test]
fn ids_and_tuning_can_be_given() {
    let config = server(
        r#"{"host": {"electionaddr": "Z:1", "MESSAGEADDR": "z:2", "RequestAddr": "[::1]:3", "id": 7,
                     "ListenIp": "0.0.0.0"},
            "Peer": [{"ElectionAddr": "a:1", "MessageAddr": "a:2", "Id": 9}],
            "DataDir": "/var/lib/zk", "Timeouts": {"PingMs": 50, "SyncMs": 400},
            "Limits": {"ValueBytes": 100, "RetainEntries": 5, "Clients": 3, "ClientStallMs": 9}}"#,
    )
    .unwrap();
    assert_eq!(config.node, NodeId::new(7));
    assert_eq!(config.listen_ip, Some("0.0.0.0".parse().unwrap()));
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/zk"));
    assert_eq!(config.core.timeouts.ping, Micros::millis(50));
    assert_eq!(config.core.limits.retain_entries, 5);
    assert_eq!(config.core.limits.command_bytes, 100 + COMMAND_OVERHEAD);
    assert_eq!(config.net.clients, 3);
    assert_eq!(config.net.client_stall, Micros::millis(9));
}

#[test]
fn each_mistake_in_a_servers_file_names_the_field_and_what_to_do() {
    let peers = |peers: &str| format!("{{{HOST}, \"Peer\": [{peers}]}}");
    let extra = |extra: &str| format!("{{{HOST}, \"Peer\": [{PEER_B}], {extra}}}");
    let host = |host: &str| format!(r#"{{"Host": {{{host}}}, "Peer": []}}"#);
    let own = r#""ElectionAddr": "a:1", "MessageAddr": "a:2""#;
    let table = [
        ("{".to_owned(), "", "not valid JSON"),
        ("[]".to_owned(), "", "expected an object, found a list"),
        ("{}".to_owned(), "Host", "the field is missing"),
        (format!("{{{HOST}}}"), "Peer", "write [] for an ensemble of one"),
        (format!("{{{HOST}, \"Peer\": {{}}}}"), "Peer", "expected a list"),
        (extra(r#""Peers": []"#), "Peers", "the fields here are Host, Peer"),
        (extra(r#""peer": []"#), "peer", "given twice"),
        (extra(r#""DataDir": 5"#), "DataDir", "expected a text in quotes, found a number"),
        (host(own), "Host.RequestAddr", "where this node answers clients"),
        (host(r#""MessageAddr": "a:2""#), "Host.ElectionAddr", "UDP address"),
        (host(r#""ElectionAddr": "a:1""#), "Host.MessageAddr", "TCP address"),
        (host(&format!(r#"{own}, "RequestAddr": "a:2""#)), "Host.RequestAddr", "its own number"),
        (host(&format!(r#"{own}, "RequestAddr": "a""#)), "Host.RequestAddr", "port is missing"),
        (host(&format!(r#"{own}, "RequestAddr": ":3""#)), "Host.RequestAddr", "host is missing"),
        (host(&format!(r#"{own}, "RequestAddr": "a:0""#)), "Host.RequestAddr", "1 to 65535"),
        (host(&format!(r#"{own}, "RequestAddr": "::1:3""#)), "Host.RequestAddr", "brackets"),
        (
            host(&format!(r#"{own}, "RequestAddr": "0.0.0.0:3""#)),
            "Host.RequestAddr",
            "use Host.ListenIp",
        ),
        (host(&format!(r#"{own}, "ListenIp": "eth0""#)), "Host.ListenIp", "interface"),
        (peers(r#"{"ElectionAddr": "b:1"}"#), "Peer[0].MessageAddr", "is missing"),
        (peers("5"), "Peer[0]", "expected an object"),
        (
            peers(&format!(r#"{PEER_B}, {{"ElectionAddr": "b:5001", "MessageAddr": "b:9"}}"#)),
            "Peer[1].MessageAddr",
            "Peer[0] has the same ElectionAddr, but the MessageAddr b:5002",
        ),
        (
            peers(r#"{"ElectionAddr": "b:1", "MessageAddr": "a:5002"}"#),
            "Peer[0].ElectionAddr",
            "Host has the same MessageAddr",
        ),
        (
            peers(r#"{"ElectionAddr": "a:5001", "MessageAddr": "a:5002", "RequestAddr": "a:9"}"#),
            "Peer[0].RequestAddr",
            "Host gives the same node the RequestAddr a:5003",
        ),
        (
            peers(r#"{"ElectionAddr": "b:1", "MessageAddr": "b:2", "Id": 2}"#),
            "Host.Id",
            "to Host and to every Peer",
        ),
        (
            peers(r#"{"ElectionAddr": "b:1", "MessageAddr": "b:2", "Id": 0}"#),
            "Peer[0].Id",
            "from 1 to 4294967295",
        ),
        (
            peers(
                r#"{"ElectionAddr": "b:1", "MessageAddr": "b:2", "Id": 2},
                   {"ElectionAddr": "c:1", "MessageAddr": "c:2", "Id": 2}"#,
            ),
            "Peer[1].Id",
            "Peer[0] has the same Id",
        ),
        (extra(r#""Timeouts": {"Ping": 5}"#), "Timeouts.Ping", "PingMs"),
        (extra(r#""Timeouts": {"PingMs": 700}"#), "Timeouts.PingMs", "half of SyncMs"),
        (extra(r#""Timeouts": {"ResendMinMs": 900}"#), "Timeouts.ResendMinMs", "ResendMaxMs"),
        (extra(r#""Timeouts": {"PingMs": 1.5}"#), "Timeouts.PingMs", "whole number"),
        (extra(r#""Limits": {"Clients": 0}"#), "Limits.Clients", "from 1 to"),
        (extra(r#""Limits": {"ValueBytes": -1}"#), "Limits.ValueBytes", "from 1 to"),
        (extra(r#""DataDir": """#), "DataDir", "it is empty"),
        (extra(r#""DataDir": " ""#), "DataDir", "it is empty"),
        (
            host(r#""ElectionAddr": "udp://a:1", "MessageAddr": "a:2", "RequestAddr": "a:3""#),
            "Host.ElectionAddr",
            "without a scheme",
        ),
        (extra(r#""Limits": {"Clients": "9"}"#), "Limits.Clients", "found a text"),
    ];
    for (text, field, says) in table {
        let error = server(&text).expect_err(&text);
        assert_eq!(error.field(), field, "{text}\n{error}");
        let message = error.to_string();
        assert!(message.starts_with("node.json: "), "{message}");
        assert!(message.contains(says), "{message}\nlacks: {says}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = ServerConfig::load(Path::new("/nonexistent/node.json")).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/node.json: the file cannot be read"));
}

#[test]
fn naming_the_own_node_among_the_peers_does_no_harm() {
    let own = r#"{"ElectionAddr": "a:5001", "MessageAddr": "a:5002"}"#;
    let with = with_peers(&format!("{PEER_C}, {own}, {PEER_B}")).unwrap();
    let without = with_peers(&format!("{PEER_B}, {PEER_C}")).unwrap();
    assert_eq!(with.membership, without.membership);
    assert_eq!(with_peers("").unwrap().membership.members().len(), 1);
}

#[test]
fn a_clients_file_lists_where_nodes_answer() {
    let parse = |text| ClientConfig::parse("client.json", text);
    let config = parse(r#"{"Peer": [{"RequestAddr": "a:1"}, {"RequestAddr": "b:1"}]}"#).unwrap();
    assert_eq!(config.endpoints, ["a:1", "b:1"]);
    for (text, field) in [
        (r#"{"Peer": []}"#, "Peer"),
        (r#"{}"#, "Peer"),
        (r#"{"Peer": [{"ElectionAddr": "a:1"}]}"#, "Peer[0].RequestAddr"),
        (r#"{"Peer": [{"RequestAddr": "a"}]}"#, "Peer[0].RequestAddr"),
        (r#"{"Host": {}}"#, "Peer"),
        (r#"{"Hosts": {}}"#, "Hosts"),
    ] {
        assert_eq!(parse(text).unwrap_err().field(), field);
    }
}

#[test]
fn a_servers_file_tells_a_client_where_its_node_answers() {
    let text = format!(r#"{{{HOST}, "Peer": [{PEER_B}, {PEER_C}], "DataDir": "x"}}"#);
    let config = ClientConfig::parse("node.json", &text).unwrap();
    assert_eq!((config.endpoints, config.silent), (vec!["a:5003".to_owned()], 2));
}

#[test]
fn a_mark_of_the_byte_order_is_skipped() {
    let marked = |text: &str| format!("\u{feff}{text}");
    let file = r#"{"Peer": [{"RequestAddr": "a:1"}]}"#;
    assert_eq!(ClientConfig::parse("c", &marked(file)), ClientConfig::parse("c", file));
}

/// The number in a cell of a table, such as `4,096`, `64 MiB` or `10,000 ms`.
fn number(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_once(' ').unwrap_or((text, ""));
    let unit = match unit.split(' ').next() {
        Some("MiB") => 1 << 20,
        Some("KiB") => 1 << 10,
        _ => 1,
    };
    digits.replace(',', "").parse::<u64>().ok().map(|count| count * unit)
}

#[test]
fn the_table_of_limits_names_every_limit_and_its_default() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = std::fs::read_to_string(place).unwrap();
    let section = text.split("### Limits").nth(1).expect("there is such a section");
    let config = |limits: &str| {
        server(&format!("{{{HOST}, \"Peer\": [{PEER_B}], \"Limits\": {{{limits}}}}}"))
    };
    let default = format!("{:?}", config("").unwrap());
    let (mut named, mut compared) = (Vec::new(), 0);
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    for row in rows.take_while(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names: Vec<&str> = cells[1].split('`').skip(1).step_by(2).collect();
        for (name, value) in names.iter().zip(cells[2].split(", ").map(number)) {
            let Some(value) = value else { continue };
            let set = config(&format!("\"{name}\": {value}")).unwrap();
            assert_eq!(format!("{set:?}"), default, "{name} is not {value} by default");
            compared += 1;
        }
        named.extend(names);
    }
    assert!(compared >= 14, "{compared} defaults were compared");
    // An unknown field is answered with the names of those that there are.
    let told = config("\"Unheard\": 1").unwrap_err().to_string();
    let known = told.split("the fields here are ").nth(1).expect("the names");
    for name in known.split(|c: char| !c.is_alphanumeric()).filter(|name| !name.is_empty()) {
        assert!(named.contains(&name), "{name} is not in the table");
    }
    let sent = |name: &&str| known.contains(*name);
    assert!(named.iter().all(sent), "a limit of the table is not in the configuration");
}
