//! ZooKeeper's client protocol (jute records behind a length): the requests that a load needs.

use super::{Codec, Event, Key, Op, Refused, Unusable, int};
use std::io::Write;

const SESSION_TIMEOUT_MS: i32 = 30_000;
// Types of requests, and the error that a repeated create gets, as in ZooDefs and KeeperException.
const CREATE: i32 = 1;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const PING: i32 = 11;
const CLOSE_SESSION: i32 = -11;
const NODE_EXISTS: i32 = -110;
/// The xid of pings; those of requests are above 0, those of watch events below.
const PING_XID: i32 = -2;
/// An answer begins with xid, zxid and error.
const HEADER: usize = 16;

/// The codec. The xid of a request is its slot and one.
#[derive(Debug, Default)]
pub(super) struct Jute {
    connected: bool,
    /// What was asked in each slot that waits.
    waiting: Vec<Option<Op>>,
}

impl Jute {
    fn answer(&mut self, message: &[u8]) -> Result<Option<Event>, Unusable> {
        if !self.connected {
            // Protocol version, then the timeout granted: none if the session is refused.
            let granted = int(message, 4).ok_or(Unusable("a short answer to connect"))?;
            if granted <= 0 {
                return Err(Unusable("the session is refused"));
            }
            self.connected = true;
            return Ok(Some(Event::Ready));
        }
        let short = Unusable("a short answer");
        let (xid, error) = (int(message, 0).ok_or(short)?, int(message, 12).ok_or(short)?);
        let Some(slot) = xid.checked_sub(1).and_then(|slot| u32::try_from(slot).ok()) else {
            return Ok(None); // a ping's answer
        };
        let Some(op) = self.waiting.get_mut(slot as usize).and_then(Option::take) else {
            return Ok(None); // the end of the session
        };
        let result = match (error, op) {
            (0, Op::Get) => int(message, HEADER).and_then(|len| usize::try_from(len).ok()),
            (0, _) | (NODE_EXISTS, Op::Create) => Some(0),
            _ => None,
        };
        Ok(Some(Event::Done { slot, result: result.ok_or(Refused) }))
    }
}

impl Codec for Jute {
    fn hello(&mut self, out: &mut Vec<u8>) {
        framed(out, |out| {
            put(out, 0); // version
            out.extend_from_slice(&0i64.to_be_bytes()); // the last zxid seen
            put(out, SESSION_TIMEOUT_MS);
            out.extend_from_slice(&0i64.to_be_bytes()); // a new session
            buffer(out, &[0; 16]); // its password
            out.push(0); // no read-only server, please
        });
    }

    fn request(&mut self, slot: u32, op: Op, key: Key, value: &[u8], out: &mut Vec<u8>) {
        let index = slot as usize;
        if self.waiting.len() <= index {
            self.waiting.resize(index + 1, None);
        }
        self.waiting[index] = Some(op);
        framed(out, |out| {
            put(out, slot as i32 + 1);
            let kind = match op {
                Op::Create => CREATE,
                Op::Set => SET_DATA,
                Op::Get => GET_DATA,
            };
            put(out, kind);
            framed(out, |out| write!(out, "{key}").expect("a Vec takes everything"));
            match op {
                Op::Create => {
                    buffer(out, value);
                    put(out, 1); // one entry in the list of rights: all rights ...
                    put(out, 31);
                    buffer(out, b"world"); // ... for everybody
                    buffer(out, b"anyone");
                    put(out, 0); // persistent
                }
                Op::Set => {
                    buffer(out, value);
                    put(out, -1); // whatever the version
                }
                Op::Get => out.push(0), // no watch
            }
        });
    }

    fn parse(
        &mut self,
        input: &[u8],
        _out: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> Result<usize, Unusable> {
        let mut used = 0;
        while let Some(len) = int(input, used) {
            let len = usize::try_from(len).map_err(|_| Unusable("a negative length"))?;
            let start = used + 4;
            let Some(message) = input.get(start..start.saturating_add(len)) else { break };
            used = start + len;
            events.extend(self.answer(message)?);
        }
        Ok(used)
    }

    fn ping(&mut self, out: &mut Vec<u8>) {
        framed(out, |out| {
            put(out, PING_XID);
            put(out, PING);
        });
    }

    fn bye(&mut self, out: &mut Vec<u8>) {
        framed(out, |out| {
            put(out, i32::MAX);
            put(out, CLOSE_SESSION);
        });
    }
}

fn put(out: &mut Vec<u8>, number: i32) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn buffer(out: &mut Vec<u8>, bytes: &[u8]) {
    framed(out, |out| out.extend_from_slice(bytes));
}

/// What `fill` writes, behind its length.
fn framed(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    put(out, 0);
    fill(out);
    let len = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to a request of this xid.
    fn answer(xid: i32, error: i32, rest: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        framed(&mut out, |out| {
            put(out, xid);
            out.extend_from_slice(&7i64.to_be_bytes());
            put(out, error);
            out.extend_from_slice(rest);
        });
        out
    }

    #[test]
    fn answers_find_their_requests_however_the_bytes_arrive() {
        let mut jute = Jute::default();
        let mut sent = Vec::new();
        jute.request(0, Op::Get, Key::Child(7), b"", &mut sent);
        assert_eq!(sent.len(), 4 + 8 + 4 + "/bench/00000007".len() + 1);
        jute.request(1, Op::Set, Key::Child(7), b"value", &mut sent);
        jute.request(2, Op::Create, Key::Child(7), b"value", &mut sent);

        let mut received = Vec::new();
        framed(&mut received, |out| {
            put(out, 0);
            put(out, SESSION_TIMEOUT_MS);
        });
        received.extend(answer(2, -101, &[])); // no such node
        received.extend(answer(PING_XID, 0, &[]));
        received.extend(answer(3, NODE_EXISTS, &[]));
        let mut data = Vec::new();
        buffer(&mut data, b"value");
        received.extend(answer(1, 0, &data));

        let (mut events, mut waiting) = (Vec::new(), Vec::new());
        for byte in received {
            waiting.push(byte);
            let used = jute.parse(&waiting, &mut Vec::new(), &mut events).unwrap();
            waiting.drain(..used);
        }
        let done = |slot, result| Event::Done { slot, result };
        assert_eq!(events, [Event::Ready, done(1, Err(Refused)), done(2, Ok(0)), done(0, Ok(5))]);
        assert_eq!(
            jute.parse(&[255; 4], &mut Vec::new(), &mut events),
            Err(Unusable("a negative length"))
        );
    }
}
