use quorate_core::{NodeId, Time};

/// An event of the world, as invariants see it, after it has been carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// When.
    pub at: Time,
    /// To whom it happened; `None` for the network.
    pub node: Option<NodeId>,
    /// What.
    pub kind: StepKind,
}

/// What an event was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    /// The node was started, or started again.
    Started,
    /// The node crashed.
    Crashed,
    /// The node took a message.
    Message {
        /// From whom.
        from: NodeId,
    },
    /// The node did a task.
    Task,
    /// The node's deadline passed.
    Deadline,
    /// Links were cut or mended.
    Network,
    /// The node stands still for a while.
    Paused,
}

impl StepKind {
    pub(crate) fn code(self) -> u64 {
        match self {
            Self::Started => 1,
            Self::Crashed => 2,
            Self::Task => 3,
            Self::Deadline => 4,
            Self::Network => 5,
            Self::Paused => 6,
            Self::Message { from } => (from.get() << 8) | 7,
        }
    }
}
