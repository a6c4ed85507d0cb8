use quorate_core::{NodeId, StoreId};

use crate::entry::{EntryId, Index, Term};

/// Something that happened to a node, for logs, metrics and tests. Nothing depends on it being read.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The node took on a role.
    RoleChanged {
        /// In which term.
        term: Term,
        /// Which.
        role: RoleKind,
    },
    /// The node knows another leader, or none.
    LeaderChanged {
        /// In which term.
        term: Term,
        /// Who leads.
        leader: Option<NodeId>,
    },
    /// More is known to be committed.
    Committed {
        /// The last index.
        index: Index,
    },
    /// A snapshot from the leader replaced the log.
    SnapshotInstalled {
        /// The last entry it covers.
        last: EntryId,
    },
    /// A follower refused a snapshot: it is larger than its
    /// [`snapshot_bytes_max`](crate::Config::snapshot_bytes_max). It is offered again from time to time.
    SnapshotRefused {
        /// Which follower.
        node: NodeId,
        /// The last entry that the snapshot covers.
        last: EntryId,
    },
    /// The log before this index was given up for a snapshot.
    Compacted {
        /// The first index that is left.
        first: Index,
    },
    /// A voter speaks from another disk than before: it was wiped. Its votes and acknowledgements are not
    /// counted.
    StoreChanged {
        /// Which voter.
        node: NodeId,
        /// The store it was known by.
        known: StoreId,
        /// The store it has now.
        now: StoreId,
    },
    /// A message was ignored because no correct peer, on the disk it is known by, would send it.
    Refused {
        /// Who sent it.
        from: NodeId,
        /// What was wrong with it.
        reason: &'static str,
    },
}

/// The part that a node plays (Raft, figure 4; pre-candidate from Ongaro's thesis, section 9.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum RoleKind {
    /// Listens to a leader.
    Follower,
    /// Asks whether it could win, before it disturbs anyone.
    PreCandidate,
    /// Runs for leader.
    Candidate,
    /// Leads.
    Leader,
}
