//! `status`: every node in one table.

use super::args::{Output, StatusArgs};
use super::exit::{Failure, NOT_DONE};
use super::output;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::thread;
use std::time::Duration;
use zabkeeper_core::words::{Digest, Micros, NodeId, Txid};
use zabkeeper_core::zab::{Membership, Obstacle, RoleStatus, Status};
use zabkeeper_runtime_mio::client::{Client, ClientOptions};

/// Nodes answer at once or not at all.
const LONGEST: Duration = Duration::from_secs(2);
/// A node that stood still for so long is worth a word.
const LONG_TURN: Micros = Micros::millis(1_000);
/// How often nodes are looked for that the answers of the round before told of.
const ROUNDS: usize = 3;

/// An address and what its node said, or why it said nothing.
#[derive(Debug)]
struct Asked {
    addr: String,
    said: Result<Status, String>,
}

/// What was found out about all nodes.
#[derive(Debug)]
pub(super) struct Survey {
    asked: Vec<Asked>,
    /// Members that neither answered nor have a known address.
    missing: Vec<NodeId>,
}

/// Runs the command.
pub(super) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let options = args.connect.options()?;
    let survey = Survey::make(&options)?;
    survey.print(args.connect.output, &mut io::stdout().lock())?;
    match survey.leader() {
        Some(_) => Ok(()),
        None => Err(Failure::new(NOT_DONE, survey.without_leader())),
    }
}

impl Survey {
    /// Asks every endpoint, and every node that the answers tell of.
    pub(super) fn make(options: &ClientOptions) -> Result<Self, Failure> {
        // A wrong endpoint is a mistake of the caller, not a node that does not answer.
        Client::connect(options.clone())?;
        let mut asked: Vec<Asked> = Vec::new();
        let mut next = options.endpoints.clone();
        for _ in 0..ROUNDS {
            let known: BTreeSet<_> = asked.iter().map(|a| a.addr.clone()).collect();
            next.retain(|addr| !known.contains(addr));
            next.sort_unstable();
            next.dedup();
            if next.is_empty() {
                break;
            }
            asked.extend(ask_all(&next, options.timeout.min(LONGEST)));
            next = asked.iter().flat_map(hints).collect();
        }
        Ok(Self::of(asked))
    }

    fn of(asked: Vec<Asked>) -> Self {
        let mut seen = BTreeSet::new();
        // A node that was asked under two addresses counts once.
        let mut asked: Vec<_> = asked
            .into_iter()
            .filter(|a| a.said.as_ref().map_or(true, |status| seen.insert(status.node)))
            .collect();
        asked.sort_by_key(|a| {
            let node = a.said.as_ref().map(|status| status.node).ok();
            (node.is_none(), node, a.addr.clone())
        });
        let silent = asked.iter().filter(|a| a.said.is_err()).count();
        let statuses = asked.iter().filter_map(|a| a.said.as_ref().ok());
        let newest = statuses.max_by_key(|status| status.membership.version());
        let members = newest.map(|status| status.membership.members());
        let absent = members.into_iter().flatten().map(|(node, _)| *node);
        let mut missing: Vec<_> = absent.filter(|node| !seen.contains(node)).collect();
        if missing.len() <= silent {
            // They are most likely the endpoints that did not answer.
            missing.clear();
        }
        Self { asked, missing }
    }

    fn statuses(&self) -> impl Iterator<Item = &Status> {
        self.asked.iter().filter_map(|a| a.said.as_ref().ok())
    }

    /// The established leader of the newest epoch.
    fn leader(&self) -> Option<&Status> {
        self.statuses()
            .filter(|s| s.role == RoleStatus::Leading { established: true })
            .max_by_key(|s| s.current)
    }

    /// Why nobody leads, in a sentence.
    fn without_leader(&self) -> &'static str {
        let obstacles = self.statuses().flat_map(|status| &status.obstacles);
        match obstacles.into_iter().any(|it| matches!(it, Obstacle::Forming { .. })) {
            true => {
                "the ensemble has not formed yet; the first time, all its nodes must be present: \
                 start those that are missing, or correct their addresses"
            }
            false => "no node leads with a majority behind it; start the nodes that are down",
        }
    }

    /// How many entries a node lacks that its leader has.
    fn lag(&self, status: &Status) -> Option<u64> {
        let leader = self.leader()?;
        if leader.node == status.node {
            return Some(0);
        }
        let mut followers = leader.followers.iter();
        followers.find(|f| f.node == status.node).map(|f| f.lag)
    }

    /// Whether a node's state is that of the others which are at the same entry; `None` if no
    /// other one is.
    fn same(&self, status: &Status) -> Option<bool> {
        let mut digests: BTreeMap<Txid, Vec<Digest>> = BTreeMap::new();
        for other in self.statuses() {
            digests.entry(other.applied).or_default().push(other.digest);
        }
        let at = digests.get(&status.applied)?;
        (at.len() > 1).then(|| at.iter().all(|digest| *digest == status.digest))
    }

    /// Prints the table or the JSON object.
    pub(super) fn print(&self, output: Output, out: &mut impl Write) -> io::Result<()> {
        match output {
            Output::Text => self.print_table(out),
            Output::Json => {
                let reached = self.asked.iter().map(|a| self.json(a));
                let missing = self.missing.iter().map(
                    |node| json!({"node": node.to_string(), "reached": false, "error": NO_ADDRESS}),
                );
                let nodes: Vec<_> = reached.chain(missing).collect();
                let leader = self.leader().map(|leader| leader.node.to_string());
                writeln!(out, "{}", json!({"leader": leader, "nodes": nodes}))
            }
        }
    }

    fn print_table(&self, out: &mut impl Write) -> io::Result<()> {
        const HEAD: [&str; 11] = [
            "node",
            "address",
            "role",
            "epoch",
            "last",
            "committed",
            "applied",
            "round",
            "lag",
            "same",
            "reached",
        ];
        let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
        let silent = |node: &str, addr: &str, why: &str| {
            let mut row = vec!["-".to_owned(); HEAD.len() - 1];
            row.splice(..2, [node.to_owned(), addr.to_owned()]);
            row.push(format!("no: {why}"));
            row
        };
        for asked in &self.asked {
            rows.push(match &asked.said {
                Err(why) => silent("-", &asked.addr, why),
                Ok(status) => vec![
                    status.node.to_string(),
                    asked.addr.clone(),
                    role(status).to_owned(),
                    status.current.to_string(),
                    status.last.to_string(),
                    status.committed.to_string(),
                    status.applied.to_string(),
                    status.round.to_string(),
                    self.lag(status).map_or("-".to_owned(), |lag| lag.to_string()),
                    match self.same(status) {
                        None => "-",
                        Some(true) => "yes",
                        Some(false) => "NO",
                    }
                    .to_owned(),
                    "yes".to_owned(),
                ],
            });
        }
        for node in &self.missing {
            rows.push(silent(&node.to_string(), "-", NO_ADDRESS));
        }
        output::table(out, &rows)?;
        for status in self.statuses() {
            for obstacle in &status.obstacles {
                writeln!(out, "{}: {}", status.node, text(obstacle, &status.membership))?;
            }
            if status.longest_turn >= LONG_TURN {
                let seconds = status.longest_turn.get() as f64 / 1e6;
                writeln!(
                    out,
                    "{}: it stood still for {seconds:.1} s of late; see its log",
                    status.node
                )?;
            }
            for stray in &status.strays {
                let from = output::printable(stray.from.as_bytes());
                writeln!(
                    out,
                    "{}: {} votes of {} came from elsewhere, the last from {from}: they are forged, \
                     its addresses are translated, or its name has moved",
                    status.node, stray.votes, stray.node
                )?;
            }
        }
        Ok(())
    }

    fn json(&self, asked: &Asked) -> Value {
        let status = match &asked.said {
            Ok(status) => status,
            Err(why) => return json!({"address": asked.addr, "reached": false, "error": why}),
        };
        json!({
            "node": status.node.to_string(),
            "address": asked.addr,
            "reached": true,
            "role": match status.role {
                RoleStatus::Looking => "looking",
                RoleStatus::Following { .. } => "following",
                RoleStatus::Leading { .. } => "leading",
                RoleStatus::Halted => "halted",
            },
            "serving": matches!(
                status.role,
                RoleStatus::Following { serving: true, .. }
                    | RoleStatus::Leading { established: true }
            ),
            "epoch": status.current.get(),
            "accepted_epoch": status.accepted.get(),
            "round": status.round.get(),
            "base": status.base.to_string(),
            "last": status.last.to_string(),
            "durable": status.durable.to_string(),
            "committed": status.committed.to_string(),
            "applied": status.applied.to_string(),
            "digest": status.digest.to_string(),
            "lag": self.lag(status),
            "same": self.same(status),
            "log_bytes": status.log_bytes,
            "waiting": status.waiting,
            "incarnation": status.incarnation.to_string(),
            "longest_turn_ms": status.longest_turn.get() / 1000,
            "strays": status.strays.iter().map(|stray| json!({
                "node": stray.node.to_string(),
                "from": stray.from,
                "votes": stray.votes,
            })).collect::<Vec<_>>(),
            "obstacles": status.obstacles.iter().map(|it| obstacle(it, status)).collect::<Vec<_>>(),
        })
    }
}

const NO_ADDRESS: &str = "it did not answer, and its client address is not known";

fn role(status: &Status) -> &'static str {
    let forming = |it: &Obstacle| matches!(it, Obstacle::Forming { .. });
    match status.role {
        RoleStatus::Looking if status.obstacles.iter().any(forming) => "forming",
        RoleStatus::Looking => "looking",
        RoleStatus::Following { serving: true, .. } => "following",
        RoleStatus::Following { serving: false, .. } => "catching up",
        RoleStatus::Leading { established: true } => "leading",
        RoleStatus::Leading { established: false } => "taking over",
        RoleStatus::Halted => "halted",
    }
}

/// What keeps a node from serving, for people.
fn text(obstacle: &Obstacle, members: &Membership) -> String {
    let waits = |missing: &[NodeId], nobody: &str| match missing {
        [] => nobody.to_owned(),
        missing => format!("waits for {}", members.named(missing)),
    };
    match obstacle {
        Obstacle::Forming { missing } => {
            format!("forming: {}", waits(missing, "all nodes are here"))
        }
        Obstacle::NoLeader { missing } => {
            format!("no leader: {}", waits(missing, "all nodes are heard, the election goes on"))
        }
        Obstacle::CatchingUp { leader } => format!("catching up with {leader}"),
        Obstacle::Installing { leader, bytes, total, sealing } => {
            let progress = match total {
                _ if *sealing => format!("all {bytes} bytes are here, and are made durable"),
                Some(total) => format!("{bytes} of about {total} bytes are here"),
                None => format!("{bytes} bytes are here"),
            };
            format!("installing the state of {leader}: {progress}")
        }
        Obstacle::TakingOver { missing } => {
            format!("taking over: {}", waits(missing, "all nodes have joined"))
        }
        Obstacle::Disk { unflushed } => {
            let seconds = unflushed.get() as f64 / 1e6;
            format!("slow disk: the oldest write that is not durable began {seconds:.1} s ago")
        }
        Obstacle::Halted => "halted: its log says why".to_owned(),
        Obstacle::DiskFull => {
            "its disk has less free space than Limits.FreeBytes: what makes the state grow is \
             refused; delete keys, or free space on the file system"
                .to_owned()
        }
        Obstacle::StateFull => {
            "the state has reached Limits.TreeBytes: what makes it grow is refused; delete keys, or \
             raise the limit on all nodes"
                .to_owned()
        }
        Obstacle::EnsembleFull => {
            "too few of the other nodes have room for more data: what makes the state grow is refused"
                .to_owned()
        }
    }
}

/// The same for programs.
fn obstacle(obstacle: &Obstacle, status: &Status) -> Value {
    let names = |nodes: &[NodeId]| nodes.iter().map(NodeId::to_string).collect::<Vec<_>>();
    let mut json = match obstacle {
        Obstacle::Forming { missing } => json!({"kind": "forming", "missing": names(missing)}),
        Obstacle::NoLeader { missing } => json!({"kind": "no_leader", "missing": names(missing)}),
        Obstacle::CatchingUp { leader } => {
            json!({"kind": "catching_up", "leader": leader.to_string()})
        }
        Obstacle::Installing { leader, bytes, total, sealing } => json!({
            "kind": "installing",
            "leader": leader.to_string(),
            "bytes": bytes,
            "total": total,
            "sealing": sealing,
        }),
        Obstacle::TakingOver { missing } => {
            json!({"kind": "taking_over", "missing": names(missing)})
        }
        Obstacle::Disk { unflushed } => {
            json!({"kind": "disk", "unflushed_ms": unflushed.get() / 1000})
        }
        Obstacle::Halted => json!({"kind": "halted"}),
        Obstacle::DiskFull => json!({"kind": "disk_full"}),
        Obstacle::StateFull => json!({"kind": "state_full"}),
        Obstacle::EnsembleFull => json!({"kind": "ensemble_full"}),
    };
    json["text"] = text(obstacle, &status.membership).into();
    json
}

/// Where other nodes answer, as far as this one knows.
fn hints(asked: &Asked) -> Vec<String> {
    let Ok(status) = &asked.said else {
        return Vec::new();
    };
    let followers = status.followers.iter().map(|f| &f.client_addr);
    let all = followers.chain([&status.leader_addr]);
    all.filter(|addr| !addr.is_empty()).cloned().collect()
}

/// Asks all these addresses at the same time.
fn ask_all(addrs: &[String], timeout: Duration) -> Vec<Asked> {
    thread::scope(|scope| {
        let threads: Vec<_> =
            addrs.iter().map(|addr| scope.spawn(move || ask(addr, timeout))).collect();
        let answers = threads.into_iter().map(|thread| {
            let broken = |_| Err("asking it failed; this is a bug".to_owned());
            thread.join().unwrap_or_else(broken)
        });
        let pairs = addrs.iter().cloned().zip(answers);
        pairs.map(|(addr, said)| Asked { addr, said }).collect()
    })
}

fn ask(addr: &str, timeout: Duration) -> Result<Status, String> {
    let mut options = ClientOptions::new(vec![addr.to_owned()]);
    options.timeout = timeout;
    options.fail_fast = true;
    let answer = Client::connect(options).and_then(|mut client| client.status());
    answer.map_err(|error| super::exit::short(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use zabkeeper_core::words::Txid;

    #[test]
    fn how_far_a_state_has_come_over_is_told_in_words() {
        let members = Membership::new(Txid::ZERO, BTreeMap::new());
        let said = |bytes, total, sealing| {
            let leader = NodeId::new(3);
            text(&Obstacle::Installing { leader, bytes, total, sealing }, &members)
        };
        let told = [said(10, Some(90), false), said(10, None, false), said(90, Some(90), true)];
        assert_eq!(
            told,
            [
                "installing the state of n3: 10 of about 90 bytes are here",
                "installing the state of n3: 10 bytes are here",
                "installing the state of n3: all 90 bytes are here, and are made durable",
            ]
        );
    }
}
