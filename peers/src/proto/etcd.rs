//! etcd's KV service: gRPC calls over HTTP/2 without TLS. Written by hand, as it needs little of
//! either, so that the generator takes little CPU from the servers it measures.

use super::{Codec, Event, Key, Op, Refused, Unusable, int};
use std::collections::HashMap;
use std::io::Write;

// Types and flags of HTTP/2 frames (RFC 9113).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
/// Of SETTINGS and PING.
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
const FRAME_HEADER: usize = 9;
/// What a server takes in a frame, and in all of a connection before it says more.
const MAX_FRAME: usize = 16_384;
const FIRST_WINDOW: u32 = 65_535;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// A gRPC message begins with a flag (not compressed) and its length.
const MESSAGE_HEADER: usize = 5;
/// The bytes of a put besides its value.
const PUT_OVERHEAD: usize = 64;

/// The codec. Each request is a stream of its own.
#[derive(Debug)]
pub(super) struct Grpc {
    serializable: bool,
    next_stream: u32,
    /// Requests that wait, by stream: their slot, and the bytes of the answer so far.
    waiting: HashMap<u32, (u32, usize)>,
    /// How much data the server takes now.
    window: i64,
    /// Data received since the server was last told that there is room for more.
    received: u32,
    /// A request's message, kept for its memory.
    message: Vec<u8>,
}

impl Grpc {
    /// `serializable` reads are answered by the node asked alone.
    pub(super) fn new(serializable: bool) -> Self {
        Self {
            serializable,
            next_stream: 1,
            waiting: HashMap::new(),
            window: i64::from(FIRST_WINDOW),
            received: 0,
            message: Vec::new(),
        }
    }

    /// Takes a frame.
    fn frame(
        &mut self,
        head: FrameHead,
        body: &[u8],
        out: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> Result<(), Unusable> {
        let first = head.flags & ACK == 0;
        match head.kind {
            DATA => {
                self.received = self.received.saturating_add(body.len() as u32);
                if let Some((_, bytes)) = self.waiting.get_mut(&head.stream) {
                    *bytes += body.len();
                }
            }
            SETTINGS if first => {
                put_frame(out, SETTINGS, ACK, 0, &[]);
                events.push(Event::Ready);
            }
            PING if first => put_frame(out, PING, ACK, 0, body),
            WINDOW_UPDATE if head.stream == 0 => {
                self.window += i64::from(int(body, 0).ok_or(Unusable("a short frame"))?);
            }
            GOAWAY => return Err(Unusable("the server wants no more requests")),
            _ => {}
        }
        let ends = matches!(head.kind, DATA | HEADERS) && head.flags & END_STREAM != 0;
        if (ends || head.kind == RST_STREAM)
            && let Some((slot, bytes)) = self.waiting.remove(&head.stream)
        {
            // A call that fails has no message, only a status in its trailers.
            let value = bytes.checked_sub(MESSAGE_HEADER).filter(|bytes| ends && *bytes > 0);
            events.push(Event::Done { slot, result: value.ok_or(Refused) });
        }
        Ok(())
    }
}

impl Codec for Grpc {
    fn hello(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut settings = INITIAL_WINDOW_SIZE.to_vec();
        settings.extend_from_slice(&LARGEST_WINDOW.to_be_bytes());
        put_frame(out, SETTINGS, 0, 0, &settings);
        put_frame(out, WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - FIRST_WINDOW).to_be_bytes());
    }

    fn has_room(&self, value_len: usize) -> bool {
        usize::try_from(self.window).is_ok_and(|window| window >= value_len + PUT_OVERHEAD)
    }

    fn request(&mut self, slot: u32, op: Op, key: Key, value: &[u8], out: &mut Vec<u8>) {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.waiting.insert(stream, (slot, 0));
        let path: &[u8] = match op {
            Op::Get => b"/etcdserverpb.KV/Range",
            Op::Create | Op::Set => b"/etcdserverpb.KV/Put",
        };
        put_frame(out, HEADERS, END_HEADERS, stream, &headers(path, stream == 1));
        let message = &mut self.message;
        message.clear();
        message.extend_from_slice(&[0; MESSAGE_HEADER]);
        put_field(message, 1, key.to_string().as_bytes());
        match op {
            Op::Create | Op::Set => put_field(message, 2, value),
            Op::Get if self.serializable => message.extend_from_slice(&[7 << 3, 1]),
            Op::Get => {}
        }
        let len = (message.len() - MESSAGE_HEADER) as u32;
        message[1..MESSAGE_HEADER].copy_from_slice(&len.to_be_bytes());
        self.window -= message.len() as i64;
        let mut parts = message.chunks(MAX_FRAME).peekable();
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() { END_STREAM } else { 0 };
            put_frame(out, DATA, flags, stream, part);
        }
    }

    fn parse(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> Result<usize, Unusable> {
        let mut used = 0;
        while let Some(head) = FrameHead::parse(&input[used..]) {
            let start = used + FRAME_HEADER;
            let Some(body) = input.get(start..start + head.len) else { break };
            used = start + head.len;
            self.frame(head, body, out, events)?;
        }
        if self.received > LARGEST_WINDOW / 4 {
            put_frame(out, WINDOW_UPDATE, 0, 0, &self.received.to_be_bytes());
            self.received = 0;
        }
        Ok(used)
    }
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug)]
struct FrameHead {
    len: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl FrameHead {
    fn parse(input: &[u8]) -> Option<Self> {
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = input.first_chunk::<FRAME_HEADER>()?;
        Some(Self {
            len: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & LARGEST_WINDOW,
        })
    }
}

fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, body: &[u8]) {
    out.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(body);
}

/// A request's headers (RFC 7541). The `first` request of a connection puts those that stay the
/// same into the table of both sides, and later ones name their places there.
fn headers(path: &[u8], first: bool) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8]; // POST, http, and a path as follows
    block.extend_from_slice(path);
    if !first {
        block.extend_from_slice(&[0x80 | 64, 0x80 | 63, 0x80 | 62]);
        return block;
    }
    let kept: [(&[u8], &[u8]); 3] = [
        (b"\x41", b"127.0.0.1"),        // :authority
        (b"\x5f", b"application/grpc"), // content-type
        (b"\x40\x02te", b"trailers"),
    ];
    for (name, value) in kept {
        block.extend_from_slice(name);
        block.push(value.len() as u8);
        block.extend_from_slice(value);
    }
    block
}

/// A field of bytes in a protocol buffer.
fn put_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.write_all(bytes).expect("a Vec takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_find_their_requests_however_the_bytes_arrive() {
        let mut grpc = Grpc::new(false);
        let mut sent = Vec::new();
        for slot in 0..3 {
            grpc.request(slot, Op::Get, Key::Child(7), b"", &mut sent);
        }

        let mut received = Vec::new();
        put_frame(&mut received, SETTINGS, 0, 0, &[]);
        put_frame(&mut received, SETTINGS, ACK, 0, &[]);
        put_frame(&mut received, PING, 0, 0, b"12345678");
        put_frame(&mut received, HEADERS, END_HEADERS, 3, &[0x88]);
        put_frame(&mut received, HEADERS, END_HEADERS | END_STREAM, 1, &[0x88]); // failed
        put_frame(&mut received, DATA, 0, 3, &[0; 105]);
        put_frame(&mut received, DATA, 0, 3, &[0; 200]);
        put_frame(&mut received, HEADERS, END_HEADERS | END_STREAM, 3, &[]);
        put_frame(&mut received, DATA, 0, 5, &[0; 105]);
        put_frame(&mut received, RST_STREAM, 0, 5, &[0; 4]);

        let (mut events, mut waiting, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for byte in received {
            waiting.push(byte);
            let used = grpc.parse(&waiting, &mut out, &mut events).unwrap();
            waiting.drain(..used);
        }
        let done = |slot, result| Event::Done { slot, result };
        assert_eq!(
            events,
            [Event::Ready, done(0, Err(Refused)), done(1, Ok(300)), done(2, Err(Refused))]
        );
        let mut answers = Vec::new();
        put_frame(&mut answers, SETTINGS, ACK, 0, &[]);
        put_frame(&mut answers, PING, ACK, 0, b"12345678");
        assert_eq!(out, answers);
    }

    #[test]
    fn no_request_is_sent_beyond_what_the_server_takes() {
        let mut grpc = Grpc::new(false);
        let mut sent = 0;
        while grpc.has_room(10_000) {
            grpc.request(0, Op::Set, Key::Child(7), &[0; 10_000], &mut Vec::new());
            sent += 1;
        }
        assert_eq!(sent, 6);
        let mut update = Vec::new();
        put_frame(&mut update, WINDOW_UPDATE, 0, 0, &20_000u32.to_be_bytes());
        grpc.parse(&update, &mut Vec::new(), &mut Vec::new()).unwrap();
        assert!(grpc.has_room(10_000));
    }
}
