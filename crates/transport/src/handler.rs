use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Body, Lane, NodeIdentity, ProtocolId, Status, StatusCode};

/// What takes the messages of a protocol in.
///
/// Both methods have defaults, so a protocol implements only the half that it uses. A handler that panics
/// harms its own message alone: the transport carries on, and the caller is told
/// [`StatusCode::Failed`].
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Takes a one-way message.
    ///
    /// Called in the order of sending for each (peer, lane), by the task that reads the connection: it must
    /// not block, and should hand longer work over through a bounded queue of its own. What it can't take it
    /// drops; one-way messages may always be lost.
    fn on_message(&self, from: NodeIdentity, message: Incoming) {
        let _ = (from, message);
    }

    /// Answers a call.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when the caller gives up, when the deadline passes and when the connection is
    /// lost: at any `.await`. Work that must not be cut in half is to be handed to another task.
    ///
    /// The first poll may run on the task that reads the connection, so that an answer that needs no waiting
    /// costs no task: the code before the first `.await` must not block.
    ///
    /// # Errors
    ///
    /// A [`Status`] reaches the caller as it is. [`StatusCode::Rejected`] promises that nothing was done.
    async fn on_call(&self, from: NodeIdentity, call: Incoming) -> Result<Body, Status> {
        let _ = from;
        Err(Status::new(StatusCode::Unsupported, format!("protocol {} takes no calls", call.protocol)))
    }
}

/// A message that has arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Incoming {
    /// The protocol it was sent to.
    pub protocol: ProtocolId,
    /// The instance of the protocol.
    pub channel: u64,
    /// The lane it came by.
    pub lane: Lane,
    /// What remained of its deadline when it arrived; `None` if it has none.
    pub deadline: Option<Duration>,
    /// The bytes, in one piece. They may be a slice of a larger read, whose memory they keep from being freed:
    /// copy what is short and kept for long.
    pub body: Bytes,
}

impl Incoming {
    /// For transports: what arrived, on channel 0 and the normal lane, without a deadline.
    pub const fn new(protocol: ProtocolId, body: Bytes) -> Self {
        Self { protocol, channel: 0, lane: Lane::Normal, deadline: None, body }
    }
}

impl From<crate::Message> for Incoming {
    /// What the receiver sees of a message that took no time to travel. Joins the body's chunks.
    fn from(message: crate::Message) -> Self {
        let crate::Message { protocol, channel, lane, deadline, body } = message;
        Self { protocol, channel, lane, deadline, body: body.into_bytes() }
    }
}
