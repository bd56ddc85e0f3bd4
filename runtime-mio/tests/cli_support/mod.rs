//! Helpers of the tests that run the built program. Nothing here waits without a bound.

#![allow(dead_code, reason = "each test file uses a part of it")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// The longest that anything may take on a loaded machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The program with these arguments.
pub(crate) fn zabkeeper(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zabkeeper"));
    command
        .args(args)
        .env_remove("ZABKEEPER_ENDPOINTS")
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null());
    command
}

/// A process that does not outlive the test.
pub(crate) struct Process {
    pub(crate) child: Child,
    /// Its stdout, or what was started as its log.
    pub(crate) lines: Receiver<String>,
}

impl Process {
    /// Starts it with a stdin that stays open, and its stdout as lines.
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let lines = lines(child.stdout.take().expect("stdout is piped"));
        Self { child, lines }
    }

    /// Starts it with its stderr as lines.
    pub(crate) fn start_logged(command: &mut Command) -> Self {
        command.env("RUST_LOG", "info").stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let lines = lines(child.stderr.take().expect("stderr is piped"));
        Self { child, lines }
    }

    /// The next line that `wanted` accepts.
    pub(crate) fn line(&self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + LONG;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no such line ({error}); there were {seen:#?}"),
            }
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for the end, and gives the exit code.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        until("the process ends", || {
            status = self.child.try_wait().expect("the process can be waited for");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    lines
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    let kill = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(kill.expect("kill runs").success(), "cannot signal {pid}");
}

/// True while the process exists and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Looks until `done`.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < deadline, "in vain waited until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs the program to its end with this input.
pub(crate) fn run_with(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // A program that fails early does not read its input.
    let _ = child.stdin.take().expect("stdin is piped").write_all(input);
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let mut stderr = child.stderr.take().expect("stderr is piped");
    let read = move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes)
    };
    let out = thread::spawn(read);
    let err = thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).map(|_| bytes)
    });
    let deadline = Instant::now() + LONG;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the program can be waited for") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("{command:?} did not end");
        }
        thread::sleep(Duration::from_millis(5));
    };
    Output {
        status,
        stdout: out.join().expect("no panic").expect("stdout is read"),
        stderr: err.join().expect("no panic").expect("stderr is read"),
    }
}

/// What a finished program printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Ran {
    ran(&run_with(&mut zabkeeper(args), b""))
}

pub(crate) fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// An ensemble started by `zabkeeper dev`.
pub(crate) struct Dev {
    pub(crate) process: Process,
    /// The line that it printed when it was ready.
    pub(crate) ready: Value,
}

impl Dev {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::started(zabkeeper(&["dev", "--output", "json"]).args(args))
    }

    /// Starts it by this command, which must print JSON.
    pub(crate) fn started(command: &mut Command) -> Self {
        // The nodes' logs are files, which `dev` quotes from.
        let process = Process::start(command.env("RUST_LOG", "info"));
        let line = process.line(|_| true);
        let ready: Value = serde_json::from_str(&line).expect("dev prints JSON");
        assert_eq!(ready["event"], "ready", "{line}");
        Self { process, ready }
    }

    pub(crate) fn endpoints(&self) -> &str {
        self.ready["endpoints"].as_str().expect("endpoints")
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        let nodes = self.ready["nodes"].as_array().expect("nodes");
        let pid = |node: &Value| node["pid"].as_u64().expect("pid");
        nodes.iter().map(|node| pid(node) as u32).collect()
    }

    /// Runs a command of a client against it.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"")
    }

    pub(crate) fn run_with(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut command = zabkeeper(args);
        command.env("ZABKEEPER_ENDPOINTS", self.endpoints());
        ran(&run_with(&mut command, input))
    }

    /// Runs a command that must succeed and print one JSON object.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(&[args, &["--output", "json"]].concat());
        assert_eq!(ran.code, 0, "{args:?}: {ran:#?}");
        serde_json::from_str(&ran.out).expect("one JSON object")
    }
}

impl Drop for Dev {
    /// Lets `dev` stop its nodes and remove their files, also when a test fails.
    fn drop(&mut self) {
        let child = &mut self.process.child;
        if matches!(child.try_wait(), Ok(None)) {
            signal(child.id(), "TERM");
            let deadline = Instant::now() + Duration::from_secs(20);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// An address that nothing listens on just now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
