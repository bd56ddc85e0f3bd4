//! `zabkeeper-peers failover`: how long writes wait when the leader is killed.

use crate::Fallible;
use crate::engine::{Answer, Engine, Plan, Workload};
use crate::load::Mix;
use crate::proto::{Key, Op};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a node may leave a write without an answer before the connection goes to the next. What
/// a node of etcd sent to a leader that is gone has no answer for seconds, so this is about how much
/// longer the time measured may be than that of the election.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// Whom to kill, and when.
#[derive(Args, Clone, Debug)]
pub(crate) struct FailoverArgs {
    /// The leader's process. It is killed (SIGKILL)
    #[arg(long, value_name = "PID")]
    leader: i32,
    /// How long to write before that
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    calm: f64,
    /// How long to wait for a write after that
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    timeout: f64,
}

/// Writes, kills the leader, and waits for the answer to a write that was sent after that.
pub(crate) fn run(plan: Plan, keys: u32, args: &FailoverArgs) -> Fallible<Value> {
    let leader = Pid::from_raw(args.leader).ok_or("0 is no process")?;
    let mut engine = Engine::connect(plan)?;
    let timeout = Duration::try_from_secs_f64(args.timeout)?;
    let kill_at = Instant::now() + Duration::try_from_secs_f64(args.calm)?;
    let mut writes =
        Writes { mix: Mix::new(keys, 1.0), leader, kill_at, timeout, killed: None, answered: None };
    engine.run(&mut writes)?;
    match (writes.killed, writes.answered) {
        (Some(killed), Some(answered)) => {
            let micros = u64::try_from((answered - killed).as_micros())?;
            Ok(json!({ "next_write": micros }))
        }
        _ => Err(format!("no write was acknowledged for {timeout:?}").into()),
    }
}

struct Writes {
    mix: Mix,
    leader: Pid,
    kill_at: Instant,
    timeout: Duration,
    killed: Option<Instant>,
    /// When the first write that was sent after the kill was acknowledged.
    answered: Option<Instant>,
}

impl Workload for Writes {
    fn next(&mut self) -> Option<(Op, Key)> {
        Some(self.mix.next())
    }

    fn done(&mut self, answer: &Answer) {
        let sent_after = self.killed.is_some_and(|killed| answer.since > killed);
        if sent_after && answer.result.is_ok() {
            self.answered.get_or_insert(answer.at);
        }
    }

    fn is_over(&mut self, now: Instant) -> Fallible<bool> {
        match self.killed {
            None if now >= self.kill_at => {
                self.killed = Some(Instant::now());
                kill_process(self.leader, Signal::KILL)?;
                Ok(false)
            }
            Some(killed) if now >= killed + self.timeout => Ok(true),
            _ => Ok(self.answered.is_some()),
        }
    }
}
