use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use quorate_core::NodeId;

/// A term: the reign of at most one leader (Raft, section 5.1). Zero is before the first election.
pub type Term = u64;

/// A position in the log, counted from one. Zero is before the first entry.
pub type Index = u64;

/// Names an entry for ever: within a group, two entries with the same term and index are the same entry.
///
/// Ordered by term, then index: the order in which a vote compares logs (Raft, section 5.4.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId {
    /// The term whose leader appended it.
    pub term: Term,
    /// Its position.
    pub index: Index,
}

impl EntryId {
    /// Before the first entry.
    pub const ZERO: Self = Self { term: 0, index: 0 };

    /// The entry of `term` at `index`.
    pub const fn new(term: Term, index: Index) -> Self {
        Self { term, index }
    }
}

/// `term/index`, as golden scripts and traces write it.
impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term, self.index)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Term and position.
    pub id: EntryId,
    /// What it carries.
    pub payload: EntryPayload,
}

impl Entry {
    /// What the entry counts against the limits in bytes: its payload and a fixed share for its header.
    pub fn cost(&self) -> usize {
        let payload = match &self.payload {
            EntryPayload::Blank => 0,
            EntryPayload::Command(command) => command.len(),
            EntryPayload::Membership(membership) => {
                membership.voters.values().map(|address| address.len() + 12).sum()
            }
        };
        payload + ENTRY_OVERHEAD_BYTES
    }
}

/// What an entry carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EntryPayload {
    /// Nothing: a new leader's first entry, by which it learns what is committed (Raft, section 8).
    Blank,
    /// A command for the state machine, opaque to the protocol.
    Command(Bytes),
    /// Who votes.
    Membership(Membership),
}

/// Who votes, and where each voter can be reached (opaque to the protocol).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Membership {
    /// The voters with their addresses.
    pub voters: BTreeMap<NodeId, Bytes>,
}

impl Membership {
    /// How many voters are a majority of them: floor(n / 2) + 1.
    pub fn quorum(&self) -> usize {
        self.voters.len() / 2 + 1
    }
}

/// Voters without addresses, for transports that know where everyone is.
impl<I: Into<NodeId>> FromIterator<I> for Membership {
    fn from_iter<T: IntoIterator<Item = I>>(nodes: T) -> Self {
        Self { voters: nodes.into_iter().map(|node| (node.into(), Bytes::new())).collect() }
    }
}

/// What an entry costs beside its payload, in bytes: its header on the wire and its place in memory.
pub const ENTRY_OVERHEAD_BYTES: usize = 32;
