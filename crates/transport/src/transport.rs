use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use quorate_core::NodeId;

use crate::{
    CallError, Handler, Message, NodeIdentity, PeerEvents, ProtocolId, RegisterError, Registration, SendError,
};

/// Moves whole messages between the nodes of a cluster: what every other crate holds as
/// `Arc<dyn Transport>`.
///
/// Implement it to ride on what a program already has: a message broker, a service mesh, memory. To bring
/// another kind of byte stream, implement the `Connector` of `quorate-net` instead and keep its framing,
/// handshake, lanes and reconnecting. The kit in the `conformance` feature runs the contract below against
/// any implementation; the name of a case starts with the number of its clause.
///
/// # Contract
///
/// Identity
/// 1. [`local`](Self::local) never changes, and is what peers see as the sender of this node's messages:
///    cluster, node and boot.
/// 2. A node is not its own peer: sending to itself, or to a node without an address, is refused as an
///    unknown peer.
///
/// Messages
///
/// 3. A message arrives as it was sent (protocol, channel, lane, bytes) or not at all: never corrupted,
///    never at another node, never made up. Bodies of every length from zero to
///    [`body_max`](Self::body_max) travel, however they are cut into chunks.
/// 4. A one-way message arrives at most once. It may be lost with a connection, not otherwise.
/// 5. One-way messages of one sender to one peer on one lane arrive in the order of sending while the
///    connection lasts, and [`Handler::on_message`] is called for one of them at a time.
/// 6. What was sent to one boot of a peer never reaches a later boot.
/// 7. [`try_send`](Self::try_send) never waits. Every queue is bounded; a message over the bound is handed
///    back unchanged in [`SendError::Full`].
/// 8. A body over [`body_max`](Self::body_max) is refused as too large before any of it is sent, and harms
///    neither the connection nor later messages.
///
/// Calls
///
/// 9. Every answer belongs to its own request, however many are under way; a slow call doesn't hold up a
///    quick one.
/// 10. A handler's [`Status`](crate::Status) reaches the caller as it is, code and text; a handler that
///     panics answers [`StatusCode::Failed`](crate::StatusCode::Failed) and harms nothing else.
/// 11. A call to a protocol without a handler ends with
///     [`StatusCode::Unsupported`](crate::StatusCode::Unsupported); a one-way message to it is dropped.
/// 12. A call ends by its deadline, at the latest, with [`CallError::DeadlineExceeded`]. One whose deadline
///     is zero is never sent.
/// 13. The handler is told what remains of the deadline: never more than the caller set, to the next
///     millisecond.
/// 14. When the caller drops the call, or its deadline passes, the handler's future is dropped soon after.
/// 15. [`CallError::NotSent`] is only said when no byte of the request can have left; when the peer or the
///     connection is lost under a call, it ends, with [`CallError::Indeterminate`] or an honest `NotSent`.
///
/// Handlers
///
/// 16. A protocol has at most one handler; a second is refused as
///     [`RegisterError::Taken`]. Dropping the [`Registration`] makes room for another.
///
/// Life
///
/// 17. A peer that was lost and comes back is reached again without anyone asking for it.
/// 18. Where [`events`](Self::events) are told at all, a peer's `Up` comes before its `Down`, with the boot
///     that was reached.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Who this end is.
    fn local(&self) -> &NodeIdentity;

    /// Puts a one-way message in the peer's queue. Never blocks; the message may still be lost.
    ///
    /// # Errors
    ///
    /// Every [`SendError`] hands the message back; nothing of it was sent.
    fn try_send(&self, to: NodeId, message: Message) -> Result<(), SendError>;

    /// Sends a request and waits for its answer.
    ///
    /// Without a deadline it waits for as long as the connection lasts, or can still be made. The answer may be
    /// a slice of a larger read, whose memory it keeps from being freed: copy what is short and kept for long.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call: what is still queued isn't sent, and the handler's future is
    /// dropped. The request may have had its effect all the same.
    ///
    /// # Errors
    ///
    /// [`CallError`], whose [`outcome`](CallError::outcome) says whether the request took effect.
    async fn call(&self, to: NodeId, message: Message) -> Result<Bytes, CallError>;

    /// Gives a protocol its handler, until the returned guard is dropped.
    ///
    /// # Errors
    ///
    /// [`RegisterError::Taken`] if it has one already, [`RegisterError::Closed`] after a shutdown.
    fn register(
        &self,
        protocol: ProtocolId,
        handler: Arc<dyn Handler>,
    ) -> Result<Registration, RegisterError>;

    /// The changes in the reach of peers from now on. By default there are none to be told.
    fn events(&self) -> PeerEvents {
        PeerEvents::none()
    }

    /// The longest body in bytes, on every lane; at least [`BODY_MAX_LEAST`].
    fn body_max(&self) -> usize {
        BODY_MAX_LEAST
    }
}

/// The body length that every transport carries: 1 MiB. What is longer goes in chunks.
pub const BODY_MAX_LEAST: usize = 1 << 20;
