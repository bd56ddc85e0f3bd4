//! What clients ask and what nodes answer.

use crate::convert::{all, entry_id, need, payload, refuse_reason, share, to_refuse_reason};
use crate::error::DecodeError;
use crate::frame::{self, Frame, Kind};
use crate::{outline, replies, requests, wire};
use bytes::Bytes;
use prost::Message as _;
use zabkeeper_core::store::{
    Answer, Command, CommandError, Found, Op, Outcome, Page, Path, Query, Stat,
};
use zabkeeper_core::words::{End, ReadLevel, Txid, WallTime};
use zabkeeper_core::zab::Status;

/// A client's request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientRequest {
    /// Chosen by the client and returned in the reply.
    pub id: u64,
    /// How long the client waits, in milliseconds.
    pub timeout_ms: u32,
    /// What it wants.
    pub op: Op,
}

/// The reply to a [`ClientRequest`]. Every request gets exactly one, in the order of the requests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientReply {
    /// The request's.
    pub id: u64,
    /// How it ended.
    pub end: End<Answer>,
}

/// Appends the request to `out` as a whole frame.
pub fn encode_request(request: &ClientRequest, out: &mut Vec<u8>) {
    frame::write(out, Kind::Request, &wire::ClientRequest::from(request));
}

/// Reads the request of a frame.
///
/// If this fails, [`request_id`] may still tell which request to answer with
/// [`End::Invalid`].
pub fn decode_request(frame: &Frame<'_>) -> Result<ClientRequest, DecodeError> {
    match requests::read(frame.body()) {
        Some(request) => Ok(request),
        None => wire::ClientRequest::decode(frame.body())?.try_into(),
    }
}

/// The id of a request that is otherwise not understood, for the reply that says so; `None` if
/// even the protobuf is broken.
pub fn request_id(frame: &Frame<'_>) -> Option<u64> {
    Some(wire::ClientRequest::decode(frame.body()).ok()?.id)
}

/// The id of a request of which only the first 11 bytes are here; 0 if they do not begin with it.
pub fn id_at_start(body: &[u8]) -> u64 {
    crate::fields::Fields(body).number(1).unwrap_or_default()
}

/// Appends the reply to `out` as a whole frame.
pub fn encode_reply(reply: &ClientReply, out: &mut Vec<u8>) {
    let begun = frame::begin(out, Kind::Reply);
    match &reply.end {
        End::Done { txid, answer: Answer::Written(Ok(stat)) } => {
            replies::put_written(reply.id, *txid, stat, out);
        }
        End::Done { txid, answer: Answer::Node(Some(found)) } => {
            replies::put_found(reply.id, *txid, found, out);
        }
        _ => wire::put(&wire::ClientReply::from(reply), out),
    }
    frame::finish(out, begun);
}

/// Reads the reply of a frame.
pub fn decode_reply(frame: &Frame<'_>) -> Result<ClientReply, DecodeError> {
    wire::ClientReply::decode(Bytes::copy_from_slice(frame.body()))?.try_into()
}

/// What a reply says at a glance, for those who only count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outline {
    /// A command was done, as asked.
    Written,
    /// A command is in the log and could not be done.
    Failed,
    /// A node was read.
    Found,
    /// There is no such node.
    Missing,
    /// [`End::Refused`].
    Refused,
    /// [`End::Unknown`].
    Unknown,
    /// Anything else.
    Other,
}

/// Reads the id of a reply's request and what the reply says, and skips the rest: what is skipped
/// is only checked to be protobuf. Nothing is copied.
pub fn decode_outline(frame: &Frame<'_>) -> Result<(u64, Outline), DecodeError> {
    outline::read(frame.body())
}

impl From<&ClientRequest> for wire::ClientRequest {
    fn from(request: &ClientRequest) -> Self {
        use wire::client_request::Op as Wire;
        Self {
            id: request.id,
            timeout_ms: request.timeout_ms,
            op: Some(match &request.op {
                Op::Write(command) => Wire::Write(command.into()),
                Op::Read { query, level } => Wire::Read(wire::Read {
                    level: Some((*level).into()),
                    query: Some(query.into()),
                }),
                Op::Status => Wire::Status(wire::Empty {}),
            }),
        }
    }
}

impl TryFrom<wire::ClientRequest> for ClientRequest {
    type Error = DecodeError;

    fn try_from(wire: wire::ClientRequest) -> Result<Self, DecodeError> {
        use wire::client_request::Op as Wire;
        let op = match wire.op.ok_or(DecodeError::Missing("request.op"))? {
            Wire::Write(write) => Op::Write(write.try_into()?),
            Wire::Read(read) => Op::Read {
                query: need(read.query, "read.query")?,
                level: need(read.level, "read.level")?,
            },
            Wire::Status(wire::Empty {}) => Op::Status,
        };
        Ok(Self { id: wire.id, timeout_ms: wire.timeout_ms, op })
    }
}

impl From<&Command> for wire::Write {
    fn from(command: &Command) -> Self {
        use wire::write::Command as Wire;
        Self {
            command: Some(match command {
                Command::Add { path, value } => {
                    Wire::Add(wire::Add { path: path.as_str().to_owned(), value: share(value) })
                }
                Command::Set { path, value } => {
                    Wire::Set(wire::Set { path: path.as_str().to_owned(), value: share(value) })
                }
                Command::Delete { path, recursive } => Wire::Delete(wire::Delete {
                    path: path.as_str().to_owned(),
                    recursive: *recursive,
                }),
                Command::Clear { path } => {
                    Wire::Clear(wire::Clear { path: path.as_str().to_owned() })
                }
            }),
        }
    }
}

impl TryFrom<wire::Write> for Command {
    type Error = DecodeError;

    fn try_from(wire: wire::Write) -> Result<Self, DecodeError> {
        use wire::write::Command as Wire;
        Ok(match wire.command.ok_or(DecodeError::Missing("write.command"))? {
            Wire::Add(add) => {
                Self::Add { path: Path::parse(&add.path)?, value: payload(&add.value) }
            }
            Wire::Set(set) => {
                Self::Set { path: Path::parse(&set.path)?, value: payload(&set.value) }
            }
            Wire::Delete(delete) => {
                Self::Delete { path: Path::parse(&delete.path)?, recursive: delete.recursive }
            }
            Wire::Clear(clear) => Self::Clear { path: Path::parse(&clear.path)? },
        })
    }
}

impl From<ReadLevel> for wire::read::Level {
    fn from(level: ReadLevel) -> Self {
        match level {
            ReadLevel::Linearizable => Self::Linearizable(wire::Empty {}),
            ReadLevel::Local(seen) => Self::Local(seen.into()),
        }
    }
}

impl TryFrom<wire::read::Level> for ReadLevel {
    type Error = DecodeError;

    fn try_from(wire: wire::read::Level) -> Result<Self, DecodeError> {
        Ok(match wire {
            wire::read::Level::Linearizable(wire::Empty {}) => Self::Linearizable,
            wire::read::Level::Local(seen) => Self::Local(seen.try_into()?),
        })
    }
}

impl From<&Query> for wire::read::Query {
    fn from(query: &Query) -> Self {
        match query {
            Query::Get { path } => Self::Get(wire::Get { path: path.as_str().to_owned() }),
            Query::List { path, recursive, after, limit, values } => Self::List(wire::List {
                path: path.as_str().to_owned(),
                recursive: *recursive,
                after: after.as_ref().map(|path| path.as_str().to_owned()),
                limit: *limit,
                values: *values,
            }),
        }
    }
}

impl TryFrom<wire::read::Query> for Query {
    type Error = DecodeError;

    fn try_from(wire: wire::read::Query) -> Result<Self, DecodeError> {
        Ok(match wire {
            wire::read::Query::Get(get) => Self::Get { path: Path::parse(&get.path)? },
            wire::read::Query::List(list) => Self::List {
                path: Path::parse(&list.path)?,
                recursive: list.recursive,
                after: list.after.as_deref().map(Path::parse).transpose()?,
                limit: list.limit,
                values: list.values,
            },
        })
    }
}

impl From<&ClientReply> for wire::ClientReply {
    fn from(reply: &ClientReply) -> Self {
        use wire::client_reply::Result as Wire;
        Self {
            id: reply.id,
            result: Some(match &reply.end {
                End::Done { txid, answer } => match answer {
                    Answer::Written(outcome) => Wire::Written(wire::Written {
                        txid: Some((*txid).into()),
                        outcome: Some(outcome.into()),
                    }),
                    Answer::Node(found) => Wire::Read(read_result(*txid, found_or_not(found))),
                    Answer::List(page) => Wire::Read(read_result(*txid, page_or_not(page))),
                    Answer::Status(status) => Wire::Status((&**status).into()),
                },
                End::Refused(why) => Wire::Refused(refuse_reason(*why)),
                End::Unknown => Wire::Unknown(wire::Empty {}),
                End::Invalid(why) => Wire::Invalid(why.clone()),
            }),
        }
    }
}

impl TryFrom<wire::ClientReply> for ClientReply {
    type Error = DecodeError;

    fn try_from(wire: wire::ClientReply) -> Result<Self, DecodeError> {
        use wire::client_reply::Result as Wire;
        let end = match wire.result.ok_or(DecodeError::Missing("reply.result"))? {
            Wire::Written(written) => End::Done {
                txid: entry_id(written.txid, "written.txid")?,
                answer: Answer::Written(to_outcome(written.outcome)?),
            },
            Wire::Read(read) => End::Done {
                txid: need(read.applied, "read.applied")?,
                answer: need(read.answer, "read.answer")?,
            },
            Wire::Status(status) => {
                let status: Status = status.try_into()?;
                End::Done { txid: status.applied, answer: Answer::Status(Box::new(status)) }
            }
            Wire::Refused(why) => End::Refused(to_refuse_reason(why)?),
            Wire::Unknown(wire::Empty {}) => End::Unknown,
            Wire::Invalid(why) => End::Invalid(why),
        };
        Ok(Self { id: wire.id, end })
    }
}

impl From<&Outcome> for wire::written::Outcome {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Ok(stat) => Self::Stat((*stat).into()),
            Err(error) => Self::Error(command_error(*error)),
        }
    }
}

fn to_outcome(wire: Option<wire::written::Outcome>) -> Result<Outcome, DecodeError> {
    Ok(match wire.ok_or(DecodeError::Missing("written.outcome"))? {
        wire::written::Outcome::Stat(stat) => Ok(stat.try_into()?),
        wire::written::Outcome::Error(value) => Err(to_command_error(value)?),
    })
}

/// The number of an error. The core may grow more: one that is not added here would be sent as "not
/// set", which every reader takes for a broken reply.
fn command_error(error: CommandError) -> i32 {
    use wire::CommandError as Wire;
    i32::from(match error {
        CommandError::Exists => Wire::Exists,
        CommandError::NotFound => Wire::NotFound,
        CommandError::HasChildren => Wire::HasChildren,
        CommandError::Root => Wire::Root,
        CommandError::Malformed => Wire::Malformed,
        CommandError::TooMany => Wire::TooMany,
        CommandError::Unfinished => Wire::Unfinished,
    })
}

fn to_command_error(value: i32) -> Result<CommandError, DecodeError> {
    use wire::CommandError as Wire;
    match Wire::try_from(value) {
        Ok(Wire::Exists) => Ok(CommandError::Exists),
        Ok(Wire::NotFound) => Ok(CommandError::NotFound),
        Ok(Wire::HasChildren) => Ok(CommandError::HasChildren),
        Ok(Wire::Root) => Ok(CommandError::Root),
        Ok(Wire::Malformed) => Ok(CommandError::Malformed),
        Ok(Wire::TooMany) => Ok(CommandError::TooMany),
        Ok(Wire::Unfinished) => Ok(CommandError::Unfinished),
        Ok(Wire::Unspecified) | Err(_) => {
            Err(DecodeError::Unknown { field: "command error", value })
        }
    }
}

impl From<Stat> for wire::Stat {
    fn from(stat: Stat) -> Self {
        Self {
            created: Some(stat.created.into()),
            modified: Some(stat.modified.into()),
            created_ms: stat.created_at.as_millis(),
            modified_ms: stat.modified_at.as_millis(),
            version: stat.version,
            children_version: stat.children_version,
            children_changed: Some(stat.children_changed.into()),
            children: stat.children,
        }
    }
}

impl TryFrom<wire::Stat> for Stat {
    type Error = DecodeError;

    fn try_from(wire: wire::Stat) -> Result<Self, DecodeError> {
        Ok(Self {
            created: need(wire.created, "stat.created")?,
            modified: need(wire.modified, "stat.modified")?,
            created_at: WallTime::from_millis(wire.created_ms),
            modified_at: WallTime::from_millis(wire.modified_ms),
            version: wire.version,
            children_version: wire.children_version,
            children_changed: need(wire.children_changed, "stat.children_changed")?,
            children: wire.children,
        })
    }
}

fn read_result(applied: Txid, answer: wire::read_result::Answer) -> wire::ReadResult {
    wire::ReadResult { applied: Some(applied.into()), answer: Some(answer) }
}

fn found_or_not(found: &Option<Found>) -> wire::read_result::Answer {
    use wire::read_result::Answer as Wire;
    found.as_ref().map_or(Wire::NoNode(wire::Empty {}), |found| Wire::Node(found.into()))
}

fn page_or_not(page: &Option<Page>) -> wire::read_result::Answer {
    use wire::read_result::Answer as Wire;
    page.as_ref().map_or(Wire::NoParent(wire::Empty {}), |page| {
        let nodes = page.nodes.iter().map(wire::Node::from).collect();
        Wire::Page(wire::Page { nodes, more: page.more })
    })
}

impl TryFrom<wire::read_result::Answer> for Answer {
    type Error = DecodeError;

    fn try_from(wire: wire::read_result::Answer) -> Result<Self, DecodeError> {
        use wire::read_result::Answer as Wire;
        Ok(match wire {
            Wire::Node(found) => Self::Node(Some(found.try_into()?)),
            Wire::NoNode(wire::Empty {}) => Self::Node(None),
            Wire::Page(page) => Self::List(Some(Page { nodes: all(page.nodes)?, more: page.more })),
            Wire::NoParent(wire::Empty {}) => Self::List(None),
        })
    }
}

impl From<&Found> for wire::Node {
    fn from(found: &Found) -> Self {
        Self {
            path: found.path.as_str().to_owned(),
            value: found.value.as_ref().map(share),
            stat: Some(found.stat.into()),
        }
    }
}

impl TryFrom<wire::Node> for Found {
    type Error = DecodeError;

    fn try_from(wire: wire::Node) -> Result<Self, DecodeError> {
        Ok(Self {
            path: Path::parse(&wire.path)?,
            value: wire.value.as_ref().map(payload),
            stat: need(wire.stat, "node.stat")?,
        })
    }
}
