//! Replies at a glance: the same messages with most of their fields left out, which prost skips.

use crate::client::Outline;
use crate::error::DecodeError;
use crate::wire::Empty;
use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
struct Reply {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(oneof = "Outcome", tags = "10, 11, 13, 14")]
    outcome: Option<Outcome>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Outcome {
    #[prost(message, tag = "10")]
    Written(Written),
    #[prost(message, tag = "11")]
    Read(Read),
    #[prost(int32, tag = "13")]
    Refused(i32),
    #[prost(message, tag = "14")]
    Unknown(Empty),
}

#[derive(Clone, PartialEq, Message)]
struct Written {
    #[prost(message, optional, tag = "2")]
    stat: Option<Empty>,
    #[prost(int32, optional, tag = "3")]
    error: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Read {
    #[prost(message, optional, tag = "2")]
    node: Option<Empty>,
    #[prost(message, optional, tag = "3")]
    no_node: Option<Empty>,
}

/// The id and what the reply says.
pub(crate) fn read(body: &[u8]) -> Result<(u64, Outline), DecodeError> {
    let Reply { id, outcome } = Reply::decode(body)?;
    let outline = match outcome {
        Some(Outcome::Written(Written { stat: Some(_), error: None })) => Outline::Written,
        Some(Outcome::Written(Written { stat: None, error: Some(_) })) => Outline::Failed,
        Some(Outcome::Read(Read { node: Some(_), no_node: None })) => Outline::Found,
        Some(Outcome::Read(Read { node: None, no_node: Some(_) })) => Outline::Missing,
        Some(Outcome::Refused(_)) => Outline::Refused,
        Some(Outcome::Unknown(_)) => Outline::Unknown,
        _ => Outline::Other,
    };
    Ok((id, outline))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{decode_outline, encode_reply};
    use crate::frame::{self, Kind};
    use crate::strategies;
    use proptest::prelude::*;
    use zabkeeper_core::store::Answer;
    use zabkeeper_core::words::End;

    proptest! {
        #[test]
        fn an_outline_says_what_the_whole_reply_says(reply in strategies::reply()) {
            let mut bytes = Vec::new();
            encode_reply(&reply, &mut bytes);
            let frame = frame::parse(&bytes, Kind::Reply, frame::MAX_REPLY_BODY).unwrap().unwrap();
            let expected = match &reply.end {
                End::Done { answer: Answer::Written(Ok(_)), .. } => Outline::Written,
                End::Done { answer: Answer::Written(Err(_)), .. } => Outline::Failed,
                End::Done { answer: Answer::Node(Some(_)), .. } => Outline::Found,
                End::Done { answer: Answer::Node(None), .. } => Outline::Missing,
                End::Refused(_) => Outline::Refused,
                End::Unknown => Outline::Unknown,
                End::Done { answer: Answer::List(_) | Answer::Status(_), .. }
                | End::Invalid(_) => Outline::Other,
            };
            prop_assert_eq!(decode_outline(&frame), Ok((reply.id, expected)));
        }
    }
}
