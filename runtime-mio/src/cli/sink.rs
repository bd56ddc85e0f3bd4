//! Lines for a stream that others read, or do not: a thread of its own writes them, so that nobody
//! who has something to say ever waits for a reader. What does not fit any more is dropped, and
//! counted; the count is written once there is room again.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that may wait for the reader.
const ROOM: usize = 1 << 20;

/// Takes lines and never waits. Clones write to the same stream.
#[derive(Clone, Debug)]
pub(crate) struct Sink {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// The thread holds bytes that are not written yet.
    writing: bool,
    /// Lines that were lost since the last time that this was told.
    dropped: usize,
}

impl Sink {
    /// Starts the thread, which is never waited for: a write to a full pipe may not end.
    pub(crate) fn new(name: &str, out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name(name.to_owned()).spawn(move || of_thread.run(out))?;
        Ok(Self { shared })
    }

    /// Adds whole lines.
    pub(crate) fn put(&self, lines: &[u8]) {
        let mut state = self.shared.lock();
        if state.waiting.len() + lines.len() > ROOM {
            state.dropped += count(lines);
            return;
        }
        state.waiting.extend_from_slice(lines);
        drop(state);
        self.shared.filled.notify_one();
    }

    /// Waits until everything is written, but no longer than this: true if it is.
    pub(crate) fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut state = self.shared.lock();
        while !state.waiting.is_empty() || state.writing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.emptied.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// For a logger: each call is one whole record.
impl Write for Sink {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.put(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Bytes and a count are whole at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        let mut state = self.lock();
        loop {
            while state.waiting.is_empty() {
                state.writing = false;
                self.emptied.notify_all();
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.writing = true;
            mem::swap(&mut state.waiting, &mut lines);
            drop(state);
            let written = out.write_all(&lines).and_then(|()| out.flush());
            state = self.lock();
            match written {
                Ok(()) => self.admit(&mut state),
                Err(_) => state.dropped += count(&lines),
            }
            lines.clear();
        }
    }

    /// Has it written, behind what waits, how much was dropped.
    fn admit(&self, state: &mut State) {
        let dropped = mem::take(&mut state.dropped);
        if dropped > 0 {
            let text = format!("({dropped} lines were dropped here: nobody took them in time)\n");
            state.waiting.extend_from_slice(text.as_bytes());
        }
    }
}

fn count(lines: &[u8]) -> usize {
    lines.iter().filter(|byte| **byte == b'\n').count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    #[test]
    fn nobody_waits_for_a_reader_who_does_not_read_and_what_is_lost_is_counted() {
        let (reader, writer) = io::pipe().unwrap();
        let sink = Sink::new("test", writer).unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        // More than the pipe and the queue hold.
        for _ in 0..3000 {
            sink.put(&line);
        }
        assert!(!sink.flush(Duration::from_millis(20)), "the pipe is full");
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        let mut read = 0;
        let told = lines
            .find(|line| {
                read += usize::from(line.starts_with('x'));
                line.starts_with('(')
            })
            .unwrap();
        assert_eq!(
            told,
            format!("({} lines were dropped here: nobody took them in time)", 3000 - read)
        );
        sink.put(b"again\n");
        assert_eq!(lines.next().unwrap(), "again");
        assert!(sink.flush(Duration::from_secs(30)));
    }
}
