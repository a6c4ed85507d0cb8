use quorate_core::NodeId;

use super::event::RoleKind;
use crate::entry::{EntryId, Index, Term};

/// How a node stands: a copy, taken at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Which node.
    pub node: NodeId,
    /// Its term.
    pub term: Term,
    /// Its role.
    pub role: RoleKind,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The last index that it knows to be committed.
    pub commit: Index,
    /// The last index that its state machine has applied.
    pub applied: Index,
    /// The last index up to which its own log is durable.
    pub durable: Index,
    /// The index of the first entry in its log.
    pub first: Index,
    /// The last entry in its log.
    pub last: EntryId,
    /// The last entry that its newest snapshot covers.
    pub snapshot: EntryId,
}
