//! An ensemble of the bench's own: the processes that `zabkeeper dev` would start.

use crate::cli::dev::child::{Node, Said, describe};
use crate::cli::dev::layout::Layout;
use crate::cli::dev::setting::Setting;
use crate::cli::dev::{News, probe};
use crate::cli::exit::{Failure, NOT_DONE, OTHER};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How long the ensemble may take until its first write works.
const FORM: Duration = Duration::from_secs(60);
/// How often the wish to stop is looked at while waiting.
const LOOK: Duration = Duration::from_millis(100);

/// The node processes. They end with this value, and also when this process dies: then their
/// stdin ends.
#[derive(Debug)]
pub(super) struct Local {
    // Before the layout: processes end before their directory is removed.
    pub(super) nodes: Vec<Node>,
    layout: Layout,
}

impl Local {
    /// Starts the nodes and waits until a write works.
    pub(super) fn start(
        nodes: u8,
        data_dir: Option<&Path>,
        settings: &[Setting],
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let layout = Layout::prepare(Some(nodes), data_dir, None, settings)?;
        let mut local = Self { nodes: Vec::new(), layout };
        for place in local.layout.places.clone() {
            let name = place.name.clone();
            let node = Node::start(place, |_: Said| {}).map_err(|error| {
                Failure::new(OTHER, format_args!("cannot start {name}: {error}"))
            })?;
            local.nodes.push(node);
        }
        local.wait_for_a_write(stop)?;
        Ok(local)
    }

    /// Where the nodes answer clients.
    pub(super) fn endpoints(&self) -> Vec<String> {
        self.layout.places.iter().map(|place| place.endpoint.clone()).collect()
    }

    /// Starts a node again after its end.
    pub(super) fn restart(&mut self, index: usize) -> Result<(), Failure> {
        if let Some(node) = self.nodes.get_mut(index) {
            let place = node.place.clone();
            let name = place.name.clone();
            node.wait();
            *node = Node::start(place, |_: Said| {}).map_err(|error| {
                Failure::new(OTHER, format_args!("cannot start {name} again: {error}"))
            })?;
        }
        Ok(())
    }

    fn wait_for_a_write(&mut self, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
        let (tell, news) = mpsc::channel();
        let endpoints = self.endpoints();
        thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || probe(endpoints, &tell))
            .map_err(|error| Failure::new(OTHER, format_args!("cannot start a thread: {error}")))?;
        let begin = Instant::now();
        let mut why = "no node answers".to_owned();
        while begin.elapsed() < FORM {
            match news.recv_timeout(LOOK) {
                Ok(News::Works(_)) => return Ok(()),
                Ok(News::Waiting(reason)) => why = reason,
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if stop.load(Ordering::Relaxed) {
                return Err(Failure::new(OTHER, "stopped before the ensemble was formed"));
            }
            self.check()?;
        }
        Err(Failure::new(NOT_DONE, format_args!("the ensemble took no write: {why}")))
    }

    /// Fails if a node has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        for node in &mut self.nodes {
            if let Some(status) = node.ended() {
                let tail = node.tail().join("\n  | ");
                return Err(Failure::new(
                    OTHER,
                    format_args!(
                        "{} ended: {}. The end of its log:\n  | {tail}",
                        node.place.name,
                        describe(status)
                    ),
                ));
            }
        }
        Ok(())
    }
}
