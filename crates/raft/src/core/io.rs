//! What goes into the core and what comes out.

use bytes::Bytes;
use quorate_core::NodeId;

use super::event::Event;
use crate::entry::{Entry, EntryId, EntryPayload, Index};
use crate::error::{ProposeError, ReadError};
use crate::message::Message;
use crate::storage::{SnapshotMeta, Write, WriteId};

/// What can happen to a [`Raft`](crate::Raft).
#[derive(Clone, Debug)]
pub enum Input {
    /// A message arrived.
    Message {
        /// From whom, as the transport knows.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// Time has passed. Harmless when early or late.
    Deadline,
    /// The application proposes a command. It is answered exactly once: by [`Output::Apply`] with its id, or
    /// by [`Output::ProposalFailed`].
    Propose {
        /// Chosen by the driver, unique within the boot.
        id: ProposalId,
        /// The command.
        command: Bytes,
    },
    /// The application wants to read. Answered exactly once: by [`Output::ReadReady`] or
    /// [`Output::ReadFailed`].
    Read {
        /// Chosen by the driver, unique within the boot.
        id: ReadId,
    },
    /// The write and all before it are durable. Completions may be skipped: the newest stands for all.
    Persisted(WriteId),
    /// What an [`Output::Load`] asked for.
    Loaded {
        /// As in the request.
        request: LoadRequest,
        /// The entries from `request.from` on; empty if they have been discarded.
        entries: Vec<Entry>,
    },
    /// What an [`Output::LoadSnapshot`] asked for; not given if there is no snapshot.
    SnapshotLoaded {
        /// As in the request.
        to: NodeId,
        /// What the newest snapshot covers.
        meta: SnapshotMeta,
        /// Its size in bytes.
        total: u64,
        /// As in the request.
        offset: u64,
        /// The bytes from there on.
        data: Bytes,
    },
    /// The state machine has applied all up to and with this index, or was restored as of it.
    Applied(Index),
    /// The state machine's snapshot, as [`Output::TakeSnapshot`] asked.
    SnapshotTaken {
        /// As in the request.
        last: EntryId,
        /// The state.
        data: Bytes,
    },
}

/// What a [`Raft`](crate::Raft) wants done. To be carried out in the order given.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a message. It may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Write, then tell with [`Input::Persisted`] when it is durable. Writes are done in order.
    Persist(Write),
    /// Read entries that are no longer in memory, in order with the writes.
    Load(LoadRequest),
    /// Read a piece of the newest snapshot, in order with the writes.
    LoadSnapshot {
        /// For whom: returned with the answer.
        to: NodeId,
        /// From where.
        offset: u64,
        /// How much at the most.
        max_bytes: usize,
    },
    /// Apply committed entries, in order, then tell with [`Input::Applied`].
    Apply(Vec<Committed>),
    /// Replace the state machine's state with the newest snapshot in the storage, which covers at least
    /// `meta.last`, then tell with [`Input::Applied`]. The snapshot is read in order with the writes: as of
    /// those that came before.
    Restore(SnapshotMeta),
    /// Take a snapshot of the state machine as it is after the applies so far, then tell with
    /// [`Input::SnapshotTaken`].
    TakeSnapshot {
        /// The last entry it will cover.
        last: EntryId,
    },
    /// The proposal was not committed, or that is not known: the error says which.
    ProposalFailed {
        /// Which.
        id: ProposalId,
        /// Why.
        error: ProposeError,
    },
    /// The state machine may be read once it has applied the outputs so far.
    ReadReady {
        /// Which.
        id: ReadId,
    },
    /// The read can't be answered.
    ReadFailed {
        /// Which.
        id: ReadId,
        /// Why.
        error: ReadError,
    },
    /// Something that an observer would want to know.
    Event(Event),
}

/// A committed entry.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Term and position.
    pub id: EntryId,
    /// What it carries; only commands concern the state machine.
    pub payload: EntryPayload,
    /// The proposal that it answers, if it was made on this node in this boot.
    pub proposal: Option<ProposalId>,
}

/// Asks for entries from storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadRequest {
    /// For what.
    pub purpose: LoadPurpose,
    /// The first index.
    pub from: Index,
    /// The index after the last.
    pub to: Index,
    /// How many bytes at the most, but at least one entry.
    pub max_bytes: usize,
    /// How often the log was truncated when the question was put: an older answer is stale.
    pub truncation: u64,
}

/// What loaded entries are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadPurpose {
    /// To be sent to a peer that is behind.
    Send(NodeId),
    /// To be applied.
    Apply,
}

/// Names a proposal within a boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProposalId(pub u64);

/// Names a read within a boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadId(pub u64);
