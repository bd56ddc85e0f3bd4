//! `zabkeeper dev`: an ensemble of real node processes on this machine.

pub(super) mod child;
pub(super) mod layout;
pub(super) mod setting;
mod voice;

use super::args::DevArgs;
use super::exit::{Failure, OTHER};
use super::stop::Held;
use child::{Node, Said};
use layout::Layout;
use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};
use voice::Voice;
use zabkeeper_core::store::{CommandError, Path};
use zabkeeper_runtime_mio::client::{Client, ClientError, ClientOptions};

/// How long nodes may take to stop by themselves.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// Signals that come together count as one: some senders signal a process and its group.
const ONE_SIGNAL: Duration = Duration::from_secs(1);
/// How often the user hears that there is no leader yet.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the supervisor hears.
#[derive(Debug)]
pub(super) enum News {
    /// Somebody asks to stop.
    Stop(String),
    /// A node said something.
    Said(usize, Said),
    /// A write works; the leader's client address, if it is known.
    Works(String),
    /// Why a write does not work, for the user.
    Waiting(String),
}

/// Runs the command until somebody asks to stop.
pub(super) fn run(args: &DevArgs, held: Held) -> Result<(), Failure> {
    let (tell, news) = mpsc::channel();
    let on_stop = tell.clone();
    held.watch(args.watch_stdin, move |why| {
        // It fails only if the supervisor is gone.
        let _ = on_stop.send(News::Stop(why.to_owned()));
    })
    .map_err(|error| Failure::new(OTHER, format_args!("cannot watch for signals: {error}")))?;
    let dir = args.data_dir.as_deref();
    let layout = Layout::prepare(args.nodes, dir, args.base_port, &args.set)?;

    let mut dev = Dev {
        voice: Voice::new(args.output)
            .map_err(|error| Failure::new(OTHER, format_args!("cannot start a thread: {error}")))?,
        nodes: Vec::new(),
        news,
        tell,
        works: false,
        formed: !layout.fresh,
    };
    let result = dev.start(&layout).and_then(|()| dev.supervise(&layout));
    dev.stop();
    drop(dev.nodes);
    match &layout.temporary {
        Some(_) => dev.voice.say(&format!("Removing {}.", layout.dir.display())),
        None => dev
            .voice
            .say(&format!("Data, configuration and logs stay in {}.", layout.dir.display())),
    }
    result
}

struct Dev {
    voice: Voice,
    nodes: Vec<Node>,
    news: Receiver<News>,
    tell: Sender<News>,
    /// A write has worked.
    works: bool,
    /// The ensemble was formed once, and can go on with a majority.
    formed: bool,
}

impl Dev {
    fn start(&mut self, layout: &Layout) -> Result<(), Failure> {
        for (index, place) in layout.places.iter().enumerate() {
            let tell = self.tell.clone();
            let node = Node::start(place.clone(), move |said| {
                let _ = tell.send(News::Said(index, said));
            })
            .map_err(|error| {
                Failure::new(OTHER, format_args!("cannot start {}: {error}", place.name))
            })?;
            self.nodes.push(node);
        }
        self.voice.started(layout, &self.nodes);
        let tell = self.tell.clone();
        let endpoints = layout.places.iter().map(|p| p.endpoint.clone()).collect();
        thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || probe(endpoints, &tell))
            .map_err(|error| Failure::new(OTHER, format_args!("cannot start a thread: {error}")))?;
        Ok(())
    }

    fn supervise(&mut self, layout: &Layout) -> Result<(), Failure> {
        let begin = Instant::now();
        loop {
            let Ok(news) = self.news.recv() else {
                return Ok(());
            };
            match news {
                News::Stop(why) => {
                    self.voice.say(&format!("Stopping all nodes: {why}."));
                    return Ok(());
                }
                News::Said(_, Said::Ready) => {}
                News::Said(index, Said::Ended) => {
                    if let ControlFlow::Break(failure) = self.ended(index) {
                        return Err(failure);
                    }
                }
                News::Waiting(why) if !self.works => {
                    let waited = begin.elapsed().as_secs();
                    self.voice.say(&format!("Still waiting for a leader after {waited} s: {why}"));
                }
                News::Waiting(_) => {}
                News::Works(leader) => {
                    self.works = true;
                    self.formed = true;
                    self.voice.works(layout, &self.nodes, &leader, begin.elapsed());
                }
            }
        }
    }

    /// Reports a node that ended by itself. Before the ensemble is formed every node is needed.
    fn ended(&mut self, index: usize) -> ControlFlow<Failure> {
        let Some(node) = self.nodes.get_mut(index) else {
            return ControlFlow::Continue(());
        };
        let Some(status) = node.wait() else {
            return ControlFlow::Continue(());
        };
        let how = child::describe(status);
        self.voice.ended(node, &how);
        let name = &node.place.name;
        if !self.formed {
            return ControlFlow::Break(Failure::new(
                OTHER,
                format_args!(
                    "{name} ended before the ensemble was formed ({how}); an ensemble needs all \
                     its nodes once, when it starts for the first time"
                ),
            ));
        }
        if self.nodes.iter().any(Node::is_running) {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(Failure::new(OTHER, "all nodes have ended"))
    }

    /// Stops all nodes and waits for them; kills those that take too long, and all of them when
    /// asked a second time.
    fn stop(&mut self) {
        for node in &mut self.nodes {
            node.ask_to_stop();
        }
        let begin = Instant::now();
        let deadline = begin + STOP_WAIT;
        while self.nodes.iter().any(Node::is_running) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.news.recv_timeout(left) {
                Ok(News::Said(index, Said::Ended)) => {
                    if let Some(node) = self.nodes.get_mut(index)
                        && let Some(status) = node.wait()
                    {
                        self.voice.stopped(node, &child::describe(status));
                    }
                }
                Ok(News::Stop(_)) if begin.elapsed() < ONE_SIGNAL => {}
                Ok(News::Stop(_)) | Err(RecvTimeoutError::Timeout) => {
                    for node in self.nodes.iter_mut().filter(|node| node.is_running()) {
                        self.voice
                            .say(&format!("Killing {}, which did not stop.", node.place.name));
                        node.kill();
                        node.wait();
                    }
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// Tries a write until one works, and tells.
pub(super) fn probe(endpoints: Vec<String>, tell: &Sender<News>) {
    let mut options = ClientOptions::new(endpoints);
    options.timeout = PATIENCE;
    loop {
        let tried = Client::connect(options.clone()).and_then(|mut client| {
            try_write(&mut client)?;
            Ok(client.status().map(|status| status.leader_addr))
        });
        let news = match tried {
            Ok(leader) => News::Works(leader.unwrap_or_default()),
            Err(error) => News::Waiting(error.to_string()),
        };
        let done = matches!(news, News::Works(_));
        if tell.send(news).is_err() || done {
            return;
        }
    }
}

/// A write that goes all the way through the log and changes nothing: nobody can delete the root.
fn try_write(client: &mut Client) -> Result<(), ClientError> {
    match client.delete(&Path::root(), false) {
        Ok(_) | Err(ClientError::Rejected(CommandError::Root)) => Ok(()),
        Err(error) => Err(error),
    }
}
