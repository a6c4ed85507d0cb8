//! A network inside one process: for tests, and for clusters that live in one process.

mod link;
mod network;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use quorate_core::NodeId;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::link::{Item, Pending};
use self::network::{Member, Shared};
pub use self::network::{MemoryConfig, MemoryNetwork};
use crate::{
    CallError, Handler, Message, NodeIdentity, PeerEvents, ProtocolId, Reason, RegisterError, Registration,
    SendError, Transport,
};

/// A node's end of a [`MemoryNetwork`].
///
/// Dropping it takes the node off the network, as a crash would.
#[derive(Debug)]
pub struct MemoryTransport {
    member: Arc<Member>,
    network: Arc<Shared>,
}

impl MemoryTransport {
    fn new(member: Arc<Member>, network: Arc<Shared>) -> Self {
        Self { member, network }
    }

    fn send(
        &self,
        to: NodeId,
        message: Message,
        make: impl FnOnce(Message) -> Item,
    ) -> Result<(), SendError> {
        let max = self.network.config.body_max;
        if message.body.len() > max {
            return Err(SendError::TooLarge { message, max });
        }
        let link = match self.network.link(&self.member, to) {
            Ok(link) => link,
            Err(Reason::UnknownPeer) => return Err(SendError::UnknownPeer(message)),
            Err(Reason::Closed) => return Err(SendError::Closed(message)),
            Err(_) => return Err(SendError::Disconnected(message)),
        };
        link.push(message, make)
    }
}

#[async_trait]
impl Transport for MemoryTransport {
    fn local(&self) -> &NodeIdentity {
        &self.member.identity
    }

    fn try_send(&self, to: NodeId, message: Message) -> Result<(), SendError> {
        let expires = expiry(&message);
        self.send(to, message, |message| Item { message, expires, pending: None })
    }

    async fn call(&self, to: NodeId, message: Message) -> Result<Bytes, CallError> {
        if message.deadline.is_some_and(|deadline| deadline.is_zero()) {
            return Err(CallError::DeadlineExceeded { sent: false });
        }
        let expires = expiry(&message);
        let (answer, mut answered) = oneshot::channel();
        let pending = Pending::new(answer);
        let sent = pending.sent();
        self.send(to, message, |message| Item { message, expires, pending: Some(pending) })?;
        let ended = match expires {
            None => (&mut answered).await,
            Some(expires) => match tokio::time::timeout_at(expires, &mut answered).await {
                Ok(ended) => ended,
                Err(_) => return Err(CallError::DeadlineExceeded { sent: !sent.withdraw() }),
            },
        };
        ended.unwrap_or(Err(CallError::Indeterminate(Reason::Disconnected)))
    }

    fn register(
        &self,
        protocol: ProtocolId,
        handler: Arc<dyn Handler>,
    ) -> Result<Registration, RegisterError> {
        self.member.registry.register(protocol, handler)
    }

    fn events(&self) -> PeerEvents {
        self.member.events.listen()
    }

    fn body_max(&self) -> usize {
        self.network.config.body_max
    }
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        self.network.leave(&self.member);
    }
}

/// When a message stops being worth anything; `None` for never.
fn expiry(message: &Message) -> Option<Instant> {
    message.deadline.and_then(|deadline| Instant::now().checked_add(deadline))
}
