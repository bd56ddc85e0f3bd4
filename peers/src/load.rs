//! `zabkeeper-peers fill` and `zabkeeper-peers load`.

use crate::engine::{Answer, Engine, Plan, Workload};
use crate::proto::{Key, Op};
use crate::tally::{Tally, tenths};
use crate::{Fallible, usage};
use clap::Args;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What to send.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadArgs {
    /// The share of writes, 0 to 1; the rest are reads
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    pub(crate) write_share: f64,
    /// How long to measure
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// How long to run before that without measuring
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub(crate) warmup: f64,
    /// The processes of the nodes, to tell what they use
    #[arg(long, value_name = "PID,...", value_delimiter = ',')]
    pub(crate) pids: Vec<u32>,
}

/// Makes keys `0..count`, with the value of the plan.
pub(crate) fn fill(plan: Plan, count: u32) -> Fallible<Value> {
    let begin = Instant::now();
    let mut engine = Engine::connect(plan)?;
    for keys in [vec![Key::Parent], (0..count).map(Key::Child).collect()] {
        let mut fill = Fill { keys: keys.into_iter(), refused: 0 };
        engine.run(&mut fill)?;
        if fill.refused > 0 {
            return Err("the nodes refused to make the keys of the load".into());
        }
    }
    engine.finish()?;
    Ok(json!({ "keys": count, "seconds": tenths(begin.elapsed().as_secs_f64()) }))
}

/// Creates keys.
struct Fill {
    keys: std::vec::IntoIter<Key>,
    refused: u64,
}

impl Workload for Fill {
    fn next(&mut self) -> Option<(Op, Key)> {
        self.keys.next().map(|key| (Op::Create, key))
    }

    fn done(&mut self, answer: &Answer) {
        self.refused += u64::from(answer.result.is_err());
    }

    fn is_over(&mut self, _now: Instant) -> Fallible<bool> {
        Ok(self.refused > 0)
    }
}

/// Reads and writes for a while.
pub(crate) fn run(plan: Plan, keys: u32, args: &LoadArgs) -> Fallible<Value> {
    let value_len = plan.value.len();
    let mut engine = Engine::connect(plan)?;
    let mut load = Load {
        mix: Mix::new(keys, args.write_share),
        args,
        value_len,
        next_at: Instant::now() + Duration::try_from_secs_f64(args.warmup)?,
        measured: Measured::new()?,
        from: None,
        to: None,
    };
    engine.run(&mut load)?;
    let (Some(from), Some(to)) = (load.from, load.to) else {
        return Err("the load ended before its time".into());
    };
    engine.finish()?;
    let measured = &load.measured;
    let ops = measured.all.count();
    let seconds = (to.at - from.at).as_secs_f64();
    let per_op = |cpu: Duration| tenths(cpu.as_secs_f64() * 1e6 / ops.max(1) as f64);
    Ok(json!({
        "seconds": seconds,
        "ops": ops,
        "per_second": tenths(ops as f64 / seconds),
        "errors": measured.errors,
        "latency": measured.all.json(),
        "read_latency": measured.reads.json(),
        "write_latency": measured.writes.json(),
        "nodes_cpu_per_op": per_op(to.nodes_cpu - from.nodes_cpu),
        "generator_cpu_per_op": per_op(to.own_cpu - from.own_cpu),
        "rss": usage::memory(&args.pids)?,
    }))
}

/// Random keys, read and written as a share says.
#[derive(Debug)]
pub(crate) struct Mix {
    keys: u32,
    write_share: f64,
    state: u64,
}

impl Mix {
    /// With keys `0..keys`. Every run has the same requests.
    pub(crate) fn new(keys: u32, write_share: f64) -> Self {
        Self { keys: keys.max(1), write_share, state: 0x9e37_79b9_7f4a_7c15 }
    }

    /// The next request.
    pub(crate) fn next(&mut self) -> (Op, Key) {
        let key = self.number() % u64::from(self.keys);
        let chance = self.number() as f64 / (1u64 << 32) as f64;
        let op = if chance < self.write_share { Op::Set } else { Op::Get };
        (op, Key::Child(u32::try_from(key).unwrap_or(0)))
    }

    /// A random number below 2^32 (xorshift*).
    fn number(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }
}

/// The moment in which measuring begins or ends.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    nodes_cpu: Duration,
    own_cpu: Duration,
}

/// What was measured so far.
#[derive(Debug)]
struct Measured {
    all: Tally,
    reads: Tally,
    writes: Tally,
    errors: u64,
}

impl Measured {
    fn new() -> Fallible<Self> {
        Ok(Self { all: Tally::new()?, reads: Tally::new()?, writes: Tally::new()?, errors: 0 })
    }
}

struct Load<'a> {
    mix: Mix,
    args: &'a LoadArgs,
    value_len: usize,
    /// When the warm-up ends, then when measuring does.
    next_at: Instant,
    measured: Measured,
    from: Option<Mark>,
    to: Option<Mark>,
}

impl Load<'_> {
    fn mark(&self) -> Fallible<Mark> {
        let nodes_cpu = usage::cpu(&self.args.pids)?;
        Ok(Mark { at: Instant::now(), nodes_cpu, own_cpu: usage::own_cpu() })
    }
}

impl Workload for Load<'_> {
    fn next(&mut self) -> Option<(Op, Key)> {
        Some(self.mix.next())
    }

    fn done(&mut self, answer: &Answer) {
        if self.from.is_none() || self.to.is_some() {
            return;
        }
        // A read must bring the value that was written.
        let least = if answer.op == Op::Get { self.value_len } else { 0 };
        if !answer.result.is_ok_and(|len| len >= least) {
            self.measured.errors += 1;
            return;
        }
        let latency = answer.at.saturating_duration_since(answer.since);
        self.measured.all.add(latency);
        match answer.op {
            Op::Get => self.measured.reads.add(latency),
            Op::Create | Op::Set => self.measured.writes.add(latency),
        }
    }

    fn is_over(&mut self, now: Instant) -> Fallible<bool> {
        if now < self.next_at {
            return Ok(false);
        }
        let mark = self.mark()?;
        if self.from.is_none() {
            self.next_at = mark.at + Duration::try_from_secs_f64(self.args.seconds)?;
            self.from = Some(mark);
        } else {
            self.to = Some(mark);
        }
        Ok(self.to.is_some())
    }
}
