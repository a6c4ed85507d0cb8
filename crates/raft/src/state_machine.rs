use bytes::Bytes;

/// What the log is for: the application's state, changed only by committed commands, the same way on every
/// node.
///
/// `apply` must be deterministic: no clock, no randomness, no iteration order that differs between runs.
/// It runs on a task of its own, so a slow apply or snapshot delays answers but not heartbeats.
pub trait StateMachine: Send + Sync + 'static {
    /// What is proposed.
    type Command: Command;
    /// What a proposal is answered with. It never crosses the network: the node where the command was
    /// proposed computes it.
    type Response: Send + 'static;

    /// Applies committed commands in order, and gives one response for each, in the same order.
    fn apply(&mut self, batch: Vec<Self::Command>) -> Vec<Self::Response>;

    /// The whole state, in a format of its own.
    fn snapshot(&self) -> Bytes;

    /// Replaces the state with one that [`snapshot`](StateMachine::snapshot) made, here or on another node.
    fn restore(&mut self, snapshot: Bytes) -> Result<(), RestoreError>;
}

/// A command with a layout in bytes. A `Bytes` is one as it is.
pub trait Command: Send + Sized + 'static {
    /// Its bytes.
    ///
    /// # Errors
    ///
    /// A [`CommandError`] for a value that its format can't hold; the proposal then ends as
    /// [`ProposeError::Encode`](crate::ProposeError::Encode), not committed.
    fn encode(&self) -> Result<Bytes, CommandError>;

    /// The command, from bytes that `encode` made, in this version or an older one. The payload may be kept
    /// as slices of `bytes`, without a copy: they are the command's own, no part of a larger buffer.
    fn decode(bytes: Bytes) -> Result<Self, CommandError>;
}

impl Command for Bytes {
    fn encode(&self) -> Result<Bytes, CommandError> {
        Ok(self.clone())
    }

    fn decode(bytes: Bytes) -> Result<Self, CommandError> {
        Ok(bytes)
    }
}

/// A value that can't be written as a command, or bytes that can't be read as one. A node that meets such
/// bytes in its log stops: to skip them would let the nodes' states drift apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no command: {0}")]
pub struct CommandError(pub String);

/// A snapshot that the state machine can't read. A node that meets one stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot can't be restored: {0}")]
pub struct RestoreError(pub String);
