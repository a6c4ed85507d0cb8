//! What a node must remember: the trait to implement, and what passes through it.

#[cfg(feature = "wal")]
mod layout;
#[cfg(feature = "wal")]
mod log;
mod memory;
mod outline;

#[cfg(feature = "wal")]
#[cfg_attr(docsrs, doc(cfg(feature = "wal")))]
pub use log::Log;
pub use memory::Memory;

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::{BootId, NodeId, Outcome, StoreId};

use crate::entry::{Entry, EntryId, Index, Membership, Term};

/// Where a node keeps its log, its vote and its snapshot.
///
/// The calls block; a driver makes them from a thread of its own, and the simulator makes them directly.
/// There are five rules, and [`conformance`](crate::conformance) tests each:
///
/// 1. **Order.** Writes take effect in the order of the calls. Within one [`Write`], the order of its fields.
/// 2. **Prefix durability.** After [`sync`](Storage::sync) returns, every write before it survives a crash.
///    Before, a crash may lose any suffix of the writes that were not synced, but never one in the middle. It
///    may also cut the last one that survives, between two of its fields or two of its entries; a snapshot
///    that survives without the restart that follows it is completed by the recovery. What
///    [`recover`](Storage::recover) reports is durable by then, even if the one who wrote it never synced it:
///    a node acknowledges a recovered entry at once.
/// 3. **Read your writes.** [`entries`](Storage::entries) sees what was written, synced or not.
/// 4. **Failure is final.** After an error from `write` or `sync`, the storage refuses everything else. A
///    failed fsync must not be retried: the kernel may have dropped the pages it failed to write.
/// 5. **No guessing.** Damage is an error, never a shorter log.
pub trait Storage: Send + 'static {
    /// What survived, all of it durable. Called once, before anything else.
    fn recover(&mut self) -> Result<Recovered, StorageError>;

    /// Takes a write in: visible to reads at once, durable after the next [`sync`](Storage::sync). Refuses an
    /// entry that does not follow the last one, and the truncation of what was discarded.
    fn write(&mut self, write: &Write) -> Result<(), StorageError>;

    /// Makes every write so far durable.
    fn sync(&mut self) -> Result<(), StorageError>;

    /// The entries from `from` up to, and without, `to`: as many as fit in `max_bytes` of
    /// [`cost`](Entry::cost), but at least one. Empty if `from` has been discarded or is not there yet.
    fn entries(&mut self, from: Index, to: Index, max_bytes: usize) -> Result<Vec<Entry>, StorageError>;

    /// The newest snapshot that was written, if any. `Bytes` clones are cheap; an implementation keeps what
    /// it read if it can afford to, because a transfer asks once a chunk.
    fn snapshot(&mut self) -> Result<Option<Snapshot>, StorageError>;

    /// Whether a call can wait for a device. A driver makes the calls of a storage that can't in place, which
    /// saves two changes of thread a write. Asked once.
    fn blocks(&self) -> bool {
        true
    }

    /// The largest payload of an entry that fits, in bytes. A [`Node`](crate::Node) takes no commands that
    /// are larger, because one that is committed and can't be written would stop every node that meets it:
    /// give the nodes of a group storages with the same limit. Asked once.
    fn entry_bytes_max(&self) -> usize {
        usize::MAX
    }
}

/// One ordered write. Its fields take effect from the first to the last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Write {
    /// Names the write to the core, which waits for it in [`Input::Persisted`](crate::Input::Persisted).
    pub id: WriteId,
    /// Term and vote, as one atomic record. First, so that no entry of a term is durable before the term is.
    pub hard_state: Option<HardState>,
    /// A snapshot, durable before anything below it is: it replaces the one before.
    pub snapshot: Option<Snapshot>,
    /// Drop the whole log; the next entry follows this one.
    pub restart_after: Option<EntryId>,
    /// Drop the entries before this index: a snapshot covers them.
    pub discard_before: Option<Index>,
    /// Drop this entry and all after it: they conflict with the leader's.
    pub truncate_from: Option<Index>,
    /// Append these, without a gap after the last.
    pub entries: Vec<Entry>,
}

/// Names a [`Write`]: totally ordered within one boot, so that a completion can stand for all before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct WriteId {
    /// The boot that wrote it; completions of another boot are ignored.
    pub boot: BootId,
    /// How many truncations and restarts the log had seen in this boot: a completed append that was
    /// truncated since says nothing about the entries that replaced it.
    pub truncation: u64,
    /// Its place in the order, from one.
    pub sequence: u64,
}

/// Term and vote, and the stores that the other voters were first heard from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HardState {
    /// The newest term this node has heard of.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// Whether the store may vote at all.
    pub standing: Standing,
    /// For each voter, the store it was first heard from: a vote or an acknowledgement from another store
    /// of the same node is from a wiped disk, and does not count.
    pub stores: BTreeMap<NodeId, StoreId>,
}

/// Whether a store may vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Standing {
    /// It was never bootstrapped: it follows and serves, but neither votes nor counts. A wiped disk that
    /// comes back is a standby, so it can't vote against what it has forgotten.
    #[default]
    Standby,
    /// It was bootstrapped with the first members.
    Voter,
}

/// A state machine's state as of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// As of when.
    pub meta: SnapshotMeta,
    /// The state, in the state machine's own format.
    pub data: Bytes,
}

/// What a snapshot covers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SnapshotMeta {
    /// The last entry it covers.
    pub last: EntryId,
    /// Who voted as of that entry.
    pub membership: Membership,
}

/// What [`Storage::recover`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Whose memory this is. Drawn when the storage was made.
    pub store: StoreId,
    /// Term and vote.
    pub hard_state: HardState,
    /// What the newest snapshot covers.
    pub snapshot: Option<SnapshotMeta>,
    /// The entry before the first one that is still there: [`EntryId::ZERO`] for a log from its start.
    pub before_first: EntryId,
    /// The index of the last entry, or `before_first.index` if there is none.
    pub last: Index,
    /// Where each term begins in the entries that are there, in order of index.
    pub terms: Vec<TermRun>,
    /// The membership entries that are there, in order of index.
    pub memberships: Vec<(Index, Membership)>,
}

/// A run of entries of one term.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct TermRun {
    /// The index of its first entry.
    pub first: Index,
    /// Their term.
    pub term: Term,
}

/// What went wrong in a storage.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// What is stored contradicts itself or its checksums. Nothing was changed. The node must not start from
    /// it: restore the disk, or replace the member.
    #[error("the stored state is damaged: {0}")]
    Damaged(String),
    /// The write or sync did not complete, or an earlier one did not. What was asked may or may not survive a
    /// crash; the node must stop.
    #[error("the storage has failed: {0}")]
    Failed(String),
    /// It can't be opened now: another process has it, or the system refuses. Nothing was changed.
    #[error("the storage can't be opened: {0}")]
    Unavailable(String),
    /// The device is full. The write may be partly there; the node must stop, and can start again once there
    /// is space.
    #[error("the storage is full: {0}")]
    Full(String),
}

impl StorageError {
    /// Whether the write took effect: unknown after a failure, not done otherwise.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Damaged(_) | Self::Unavailable(_) => Outcome::NotDone,
            Self::Failed(_) | Self::Full(_) => Outcome::Unknown,
        }
    }
}
