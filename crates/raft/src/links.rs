//! How a node reaches its peers.

mod memory;
mod transport;

use std::fmt;
use std::sync::Arc;

use quorate_core::NodeId;

use crate::driver::{Mailbox, PushError};
use crate::error::StartError;
use crate::message::Message;
use crate::state_machine::StateMachine;

pub use memory::{MemoryHub, MemoryLinks};
pub use transport::{RAFT_PROTOCOL, TransportGroups, TransportLinks};

/// Carries a node's messages to its peers, and theirs to it.
///
/// [`TransportLinks`] is the one over a `Transport`. Implement it where messages need not be put into bytes,
/// as [`MemoryLinks`] does, or to filter and count them in a test.
///
/// What it promises: a message arrives unchanged or not at all, at the node it was sent to, with its true
/// sender. It may be lost, delayed, duplicated and overtaken; but an answer to forwarded commands that is
/// overtaken by the append that holds them costs a proposal its outcome, so both should keep their order.
pub trait Links: Send + Sync + 'static {
    /// Delivers what arrives for this node to `inbox` from now on, until [`stop`](Links::stop).
    ///
    /// # Errors
    ///
    /// [`StartError::Transport`] if it can't.
    fn start(&self, inbox: Inbox) -> Result<(), StartError>;

    /// Sends a message. Doesn't block; what it can't take it drops.
    fn send(&self, to: NodeId, message: Message);

    /// Delivers nothing more. Called once, when the node stops.
    fn stop(&self);

    /// The largest message in bytes. The node keeps its commands and batches so far below it that every
    /// message fits.
    fn message_bytes_max(&self) -> usize {
        usize::MAX
    }
}

/// Where a node's messages are delivered. Clones are the same inbox.
///
/// It holds 4,096 messages or 64 MiB, whichever is less; what is over is dropped, as by a network.
#[derive(Clone)]
pub struct Inbox(Arc<dyn Deliver>);

/// Why a message was not taken. It is lost, as messages may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InboxError {
    /// Too much is waiting.
    #[error("the inbox is full")]
    Full,
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

impl InboxError {
    /// Always not done.
    pub fn outcome(&self) -> quorate_core::Outcome {
        quorate_core::Outcome::NotDone
    }
}

impl Inbox {
    pub(crate) fn new<S: StateMachine>(mailbox: Arc<Mailbox<S>>) -> Self {
        Self(mailbox)
    }

    /// Takes a message in. Never blocks.
    ///
    /// # Errors
    ///
    /// [`InboxError`] if the message was dropped.
    pub fn deliver(&self, from: NodeId, message: Message) -> Result<(), InboxError> {
        self.0.deliver(from, message)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

trait Deliver: Send + Sync {
    fn deliver(&self, from: NodeId, message: Message) -> Result<(), InboxError>;
}

impl<S: StateMachine> Deliver for Mailbox<S> {
    fn deliver(&self, from: NodeId, message: Message) -> Result<(), InboxError> {
        self.push_message(from, message).map_err(|error| match error {
            PushError::Full => InboxError::Full,
            PushError::Closed => InboxError::Stopped,
        })
    }
}
