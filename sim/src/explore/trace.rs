//! A way through the states, in words.

use super::step::Step;
use super::turn::Turns;
use super::world::World;
use crate::report::show;
use crate::run::guarded;
use zabkeeper_core::words::ConnId;

/// One line for each step from `world` on; the last one may break an invariant.
pub(super) fn trace(world: World, steps: &[Step], turns: &Turns) -> Vec<String> {
    let mut world = world;
    let mut lines = Vec::new();
    for step in steps {
        let mut line = world.tell(*step);
        let done = guarded(|| {
            world.take(*step, turns)?;
            while let Some(step) = world.prompt(turns) {
                line = format!("{line}; {}", world.tell(step));
                world.take(step, turns)?;
            }
            Ok(())
        });
        lines.push(line);
        if done.is_err() {
            break;
        }
        world.seal();
    }
    lines
}

impl World {
    fn tell(&self, step: Step) -> String {
        let id = |node: u8| self.machines[usize::from(node)].id;
        match step {
            Step::Tick(i) => format!("{} a timer fires", id(i)),
            Step::Flush(i, writes) => {
                let records = self.records(i, 0, usize::from(writes));
                format!("{} has on disk: {records}", id(i))
            }
            Step::Deliver(conn, way) => {
                let Some(link) = self.links.get(&ConnId::new(conn.into())) else {
                    return String::new();
                };
                let msg = link.ways[usize::from(way)].queue.front();
                let msg = msg.map_or(String::new(), |msg| show::message(msg));
                let [from, to] = [way, 1 - way].map(|end| id(link.ends[usize::from(end)]));
                format!("{to} <- {from} {msg}")
            }
            Step::End(conn, way) => {
                let Some(link) = self.links.get(&ConnId::new(conn.into())) else {
                    return String::new();
                };
                let [from, to] = [way, 1 - way].map(|end| id(link.ends[usize::from(end)]));
                let lost = match link.ways[usize::from(way)].queue.len() {
                    0 => String::new(),
                    1 => ", a message is lost".to_string(),
                    lost => format!(", {lost} messages are lost"),
                };
                format!("{to} <- {from} the connection has ended{lost}")
            }
            Step::Vote(from, to) | Step::Lose(from, to) => {
                let vote = self.votes.get(&(from, to)).and_then(|queue| queue.front());
                let vote = vote.map_or(String::new(), show::vote);
                let lost = if matches!(step, Step::Lose(..)) { "LOST: " } else { "" };
                format!("{} <- {} {lost}{vote}", id(to), id(from))
            }
            Step::Dial(from, to) => format!("{} connects to {}", id(from), id(to)),
            Step::Start(i) => format!("{} starts", id(i)),
            Step::Propose(i) => {
                let number = self.history.writes.len();
                format!("{} is asked for write {number}", id(i))
            }
            Step::Crash(i, keep) => {
                let (keep, all) = (usize::from(keep), self.machines[usize::from(i)].pending.len());
                let say = |what, from, to| match self.records(i, from, to) {
                    records if records.is_empty() => records,
                    records => format!(" {what} {records}"),
                };
                format!("{} CRASHES{}{}", id(i), say("with", 0, keep), say("without", keep, all))
            }
            Step::Cut(conn) => {
                let link = self.links.get(&ConnId::new(conn.into()));
                let ends = link.map_or([0, 0], |link| link.ends).map(id);
                format!("the connection of {} and {} BREAKS", ends[0], ends[1])
            }
            Step::Expire(i) => format!("{} has waited too long", id(i)),
        }
    }

    fn records(&self, i: u8, from: usize, to: usize) -> String {
        let pending = &self.machines[usize::from(i)].pending;
        let records = pending.iter().take(to).skip(from).map(show::record);
        records.collect::<Vec<_>>().join(", ")
    }
}
