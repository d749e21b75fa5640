//! The body of an answer whose head has come.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use super::connection::Connection;
use super::connections::Connections;
use super::conversation::Conversation;
use super::finishing;
use super::outgoing::Rest;
use super::streamed_answer::StreamedAnswer;
use crate::http1::{BodyDecoder, BodyLength, Decoded, Persistence};
use crate::runner::BodyError;

/// The body of an answer whose head has come.
pub(super) enum Arriving {
    /// It came with the head, which is usual: its connection is free again.
    Whole(Bytes),
    /// It comes over its connection.
    Streamed(Box<StreamedAnswer>),
    /// It comes over a stream of an HTTP/2 connection.
    Http2(hyper::body::Incoming),
    /// There is none: the connection speaks another protocol now.
    Switched(Box<Connection>),
}

/// The longest body of a refusal that is read so that its connection can be used again.
const LONGEST_DRAINED: usize = 4 * 1024;

/// How long that may take: the body normally came with the head, and no attempt should wait for it.
const DRAIN_LIMIT: Duration = Duration::from_millis(50);

impl Arriving {
    /// What a conversation leaves when the head of its answer is read.
    pub(super) fn after(
        mut conversation: Conversation<'_>,
        length: BodyLength,
        persistence: Persistence,
        rest: Rest,
        connections: &Arc<Connections>,
    ) -> Self {
        let mut decoder = BodyDecoder::new(length);
        let first = if decoder.is_end() { Ok(Decoded::End) } else { decoder.decode(&mut conversation.connection.read) };
        match first {
            Ok(Decoded::End) => {
                finishing::release(conversation, persistence, rest, connections);
                Self::Whole(Bytes::new())
            }
            Ok(Decoded::Data(data)) if decoder.is_end() => {
                finishing::release(conversation, persistence, rest, connections);
                Self::Whole(data)
            }
            first => {
                let streamed = StreamedAnswer::new(conversation, decoder, first, persistence, rest, Arc::clone(connections));
                Self::Streamed(Box::new(streamed))
            }
        }
    }

    /// Reads the body of a refusal, so that its connection can be used again; closes the connection if that is too much.
    pub(super) async fn drain(self) {
        let read = match self {
            Self::Whole(_) | Self::Switched(_) => return,
            // One stream of many: dropping it is enough.
            Self::Http2(_) => return,
            Self::Streamed(body) => {
                if usize::try_from(body.size_hint().lower()).is_ok_and(|length| length > LONGEST_DRAINED) {
                    return;
                }
                read_at_most(*body, LONGEST_DRAINED)
            }
        };
        let _ = timeout(DRAIN_LIMIT, Box::pin(read)).await;
    }

    /// Reads a body to its end, if that comes within `limit` bytes.
    pub(super) async fn read_at_most(self, limit: usize) -> Result<Bytes, BodyError> {
        match self {
            Self::Whole(bytes) if bytes.len() > limit => Err(too_large(limit)),
            Self::Whole(bytes) => Ok(bytes),
            Self::Switched(_) => Ok(Bytes::new()),
            Self::Streamed(body) => Box::pin(read_at_most(*body, limit)).await,
            Self::Http2(body) => Box::pin(read_at_most(body, limit)).await,
        }
    }
}

async fn read_at_most<B>(body: B, limit: usize) -> Result<Bytes, BodyError>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Err(error) => Err(BodyError::connection(error)),
    }
}

fn too_large(limit: usize) -> BodyError {
    BodyError::TooLarge { limit: u64::try_from(limit).unwrap_or(u64::MAX) }
}
