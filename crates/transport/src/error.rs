use std::fmt;

use quorate_core::{ClusterId, NodeId, Outcome};
use thiserror::Error;

use crate::{Message, ProtocolId};

/// Why a one-way message was not taken. Each variant hands the message back, unchanged.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The queue of this peer and lane is at its bound, in messages or in bytes. Drop the message, send it
    /// later, or slow down.
    #[error("the queue to the peer is full")]
    Full(Message),
    /// No address is known for the node, or it is the sender itself.
    #[error("no such peer")]
    UnknownPeer(Message),
    /// The body is longer than [`body_max`](crate::Transport::body_max). Send it in chunks.
    #[error("a body of {} bytes is over the limit of {max}", message.body.len())]
    TooLarge {
        /// The message.
        message: Message,
        /// The limit in bytes.
        max: usize,
    },
    /// The last attempt to reach the peer failed, and the next is being waited for.
    #[error("the peer is disconnected")]
    Disconnected(Message),
    /// The transport has been shut down.
    #[error("the transport is closed")]
    Closed(Message),
}

impl SendError {
    /// The message that was not taken.
    pub fn into_message(self) -> Message {
        match self {
            Self::Full(message)
            | Self::UnknownPeer(message)
            | Self::Disconnected(message)
            | Self::Closed(message)
            | Self::TooLarge { message, .. } => message,
        }
    }

    /// Always [`Outcome::NotDone`]: nothing was sent.
    pub const fn outcome(&self) -> Outcome {
        Outcome::NotDone
    }
}

/// The same refusal, for a request.
impl From<SendError> for CallError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Full(_) => Self::NotSent(Reason::Full),
            SendError::UnknownPeer(_) => Self::NotSent(Reason::UnknownPeer),
            SendError::Disconnected(_) => Self::NotSent(Reason::Disconnected),
            SendError::Closed(_) => Self::NotSent(Reason::Closed),
            SendError::TooLarge { message, max } => Self::TooLarge { len: message.body.len(), max },
        }
    }
}

/// Why a call brought no answer.
///
/// Only where [`outcome`](Self::outcome) says [`Outcome::NotDone`] may the call be repeated blindly.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// No byte of the request can have left this node.
    #[error("not sent: {0}")]
    NotSent(Reason),
    /// The request may have reached its handler, or may yet; the answer won't come.
    #[error("outcome unknown: {0}")]
    Indeterminate(Reason),
    /// The deadline passed.
    #[error("deadline passed {}", if *sent { "waiting for the answer" } else { "before the request was sent" })]
    DeadlineExceeded {
        /// Whether any byte of the request can have left this node.
        sent: bool,
    },
    /// The other end answered that it failed, or that it refuses.
    #[error("refused by the peer: {0}")]
    Remote(Status),
    /// The request's body is longer than [`body_max`](crate::Transport::body_max). Nothing was sent.
    #[error("a body of {len} bytes is over the limit of {max}")]
    TooLarge {
        /// The body's length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
}

impl CallError {
    /// Whether the request took effect.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::NotSent(_) | Self::TooLarge { .. } | Self::DeadlineExceeded { sent: false } => {
                Outcome::NotDone
            }
            Self::Indeterminate(_) | Self::DeadlineExceeded { sent: true } => Outcome::Unknown,
            Self::Remote(status) => status.outcome(),
        }
    }
}

/// What stood in the way of a message, or ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Error)]
#[non_exhaustive]
pub enum Reason {
    /// The queue of this peer and lane is at its bound.
    #[error("the queue to the peer is full")]
    Full,
    /// No address is known for the node, or it is the caller itself.
    #[error("no such peer")]
    UnknownPeer,
    /// This transport has been shut down.
    #[error("the transport is closed")]
    Closed,
    /// The peer can't be reached, or the connection to it was lost.
    #[error("the peer is disconnected")]
    Disconnected,
    /// The peer came back as another process, and the message was meant for the one before.
    #[error("the peer has restarted")]
    PeerRestarted,
    /// The peer sent what the protocol doesn't allow, or bytes were damaged on the way; the connection was
    /// cut.
    #[error("the peer broke the protocol")]
    ProtocolViolation,
    /// The handshake ended in a refusal.
    #[error("the handshake was refused: {0}")]
    Refused(Refusal),
}

/// Why two nodes don't talk, though bytes pass between them. Retrying fast doesn't help: someone has to
/// change an address or a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The other end belongs to another cluster.
    #[error("the other end belongs to cluster {theirs}")]
    WrongCluster {
        /// The cluster it belongs to.
        theirs: ClusterId,
    },
    /// The address leads to another node than the one that was dialled.
    #[error("the address leads to node {theirs}")]
    WrongNode {
        /// The node that is there.
        theirs: NodeId,
    },
    /// The address leads back to the dialling node itself, or to one that claims its name.
    #[error("the address leads to this node itself")]
    Itself,
    /// The ranges of protocol versions don't overlap.
    #[error("the other end speaks versions {min} to {max}")]
    Version {
        /// The lowest version it speaks.
        min: u16,
        /// The highest version it speaks.
        max: u16,
    },
    /// The other end doesn't speak this protocol at all.
    #[error("the other end speaks another protocol")]
    NotQuorate,
}

/// Why a protocol could not be registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// It has a handler already, whose [`Registration`](crate::Registration) is still alive.
    #[error("protocol {0} has a handler already")]
    Taken(ProtocolId),
    /// The transport has been shut down.
    #[error("the transport is closed")]
    Closed,
}

impl RegisterError {
    /// Always [`Outcome::NotDone`].
    pub const fn outcome(&self) -> Outcome {
        Outcome::NotDone
    }
}

/// A failure as the answering side states it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{code}: {text}")]
pub struct Status {
    code: StatusCode,
    text: String,
}

impl Status {
    /// The longest text in bytes; longer ones are cut at a character's border.
    pub const TEXT_MAX: usize = 1024;

    /// A status with an explanation for people.
    pub fn new(code: StatusCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        let mut end = text.len().min(Self::TEXT_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        Self { code, text }
    }

    /// What kind of failure it is.
    pub const fn code(&self) -> StatusCode {
        self.code
    }

    /// The explanation, at most [`TEXT_MAX`](Self::TEXT_MAX) bytes long.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the request took effect.
    pub const fn outcome(&self) -> Outcome {
        match self.code {
            StatusCode::Failed => Outcome::Unknown,
            StatusCode::Rejected | StatusCode::Overloaded | StatusCode::Unsupported => Outcome::NotDone,
        }
    }
}

/// What kind of failure a [`Status`] is. The numbers are on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum StatusCode {
    /// The handler failed part-way, or panicked: it may have had effects.
    Failed = 1,
    /// The handler refused and did nothing.
    Rejected = 2,
    /// Too many calls of the protocol are in progress there; this one was not begun.
    Overloaded = 3,
    /// No handler takes calls of this protocol there.
    Unsupported = 4,
}

impl StatusCode {
    /// The code with this number on the wire. An unknown one, of a newer peer, reads as
    /// [`Failed`](Self::Failed): the outcome is then unknown, which is never wrong.
    pub const fn from_wire(number: u8) -> Self {
        match number {
            2 => Self::Rejected,
            3 => Self::Overloaded,
            4 => Self::Unsupported,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Overloaded => "overloaded",
            Self::Unsupported => "unsupported",
        })
    }
}
