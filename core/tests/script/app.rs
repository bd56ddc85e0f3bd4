//! A small application: a list of lines. `del X` takes out the lines that equal X.

use std::fmt;
use zabkeeper_core::replica::{App, LoadError};
use zabkeeper_core::words::{ConnId, Digest, Digester, Payload, Txid, WallTime};
use zabkeeper_core::zab::{Change, Item};

/// What a command did, or what a read got.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Did(String),
    Read(String),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Did(what) | Self::Read(what)) = self;
        f.write_str(what)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lines {
    lines: Vec<String>,
    open: Vec<(ConnId, Vec<String>)>,
    saved: String,
}

impl App for Lines {
    type Query = ();
    type Answer = Said;

    fn empty() -> Self {
        Self::default()
    }

    fn apply(&mut self, _: Txid, _: WallTime, command: &Payload) -> Said {
        let text = String::from_utf8_lossy(command).into_owned();
        if let Some(gone) = text.strip_prefix("del ") {
            let before = self.lines.len();
            self.lines.retain(|line| line != gone);
            return Said::Did(format!("deleted {}", before - self.lines.len()));
        }
        self.lines.push(text);
        Said::Did(format!("line {}", self.lines.len()))
    }

    fn query(&self, (): &()) -> Said {
        Said::Read(self.lines.join(" "))
    }

    fn weight(_: &Said) -> usize {
        1
    }

    fn grows(&self, command: &[u8]) -> bool {
        !command.starts_with(b"del ")
    }

    fn digest(&self) -> Digest {
        let start = Digester::after(Digest::ZERO);
        self.lines.iter().fold(start, |digest, line| digest.bytes(line.as_bytes())).finish()
    }

    fn begin_changes(&mut self) {
        // The whole state as one element: small enough here.
        self.saved = self.lines.join("\n");
    }

    fn read_changes(&mut self, _: usize) -> (Vec<Change>, bool) {
        let text = core::mem::take(&mut self.saved).into_bytes();
        (vec![Change { key: b"lines".as_slice().into(), value: Some(text.into()) }], true)
    }

    fn open_snapshot(&mut self, id: ConnId) {
        self.open.push((id, self.lines.clone()));
    }

    fn read_snapshot(&mut self, id: ConnId, _: usize) -> (Vec<Item>, bool) {
        let lines = &self.open.iter().find(|(held, _)| *held == id).expect("it was opened").1;
        let text = lines.join("\n");
        let item = Item { key: b"lines".as_slice().into(), value: text.as_bytes().into() };
        (vec![item], true)
    }

    fn close_snapshot(&mut self, id: ConnId) {
        self.open.retain(|(held, _)| *held != id);
    }

    fn load(&mut self, _: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let text =
            core::str::from_utf8(value).map_err(|_| LoadError::Malformed("a line is not UTF-8"))?;
        self.lines = text.lines().map(str::to_owned).collect();
        Ok(())
    }

    fn finish_load(&mut self, _: Txid) -> Result<(), LoadError> {
        Ok(())
    }
}
