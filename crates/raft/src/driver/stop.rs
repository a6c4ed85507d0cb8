use crate::storage::StorageError;

/// Why a node has stopped.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StopReason {
    /// It was asked to, or its last handle was dropped. It can be started again from its storage.
    #[error("the node was shut down")]
    Shutdown,
    /// The storage failed. What was being written may or may not survive; start again from what does.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state machine panicked, met a command or a snapshot that it can't read, or broke its contract. To
    /// go on would let the nodes' states drift apart.
    #[error("the state machine failed: {0}")]
    StateMachine(String),
    /// The runtime that the node ran on was shut down under it.
    #[error("the runtime was shut down")]
    Runtime,
    /// The node itself is at fault: please report it, with the text.
    #[error("a bug in the node: {0}")]
    Bug(String),
}

/// The text of a panic, for a [`StopReason`].
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.map_or_else(|| "it panicked".to_owned(), |text| format!("it panicked: {text}"))
}
