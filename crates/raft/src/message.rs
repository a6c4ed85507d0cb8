//! What nodes say to each other. The layout on the wire is in [`wire`](crate::wire).

use bytes::Bytes;
use quorate_core::{BootId, StoreId};

use crate::entry::{Entry, EntryId, Index, Term};
use crate::storage::{SnapshotMeta, Standing};

/// A message between two nodes of a group.
///
/// Who sent it is not a part of it: the transport knows, and a peer can't claim to be another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The sender's term. In [`Payload::PreVote`] the term it would run in.
    pub term: Term,
    /// The sender's store.
    pub store: StoreId,
    /// Whether that store may vote; a standby's acknowledgements do not count.
    pub standing: Standing,
    /// What it says.
    pub payload: Payload,
}

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// Would you vote for me? Nobody changes a term over it (Ongaro's thesis, section 9.6).
    PreVote {
        /// The candidate's last entry.
        last: EntryId,
    },
    /// The answer. `round` is the term asked about.
    PreVoteReply {
        /// The term that the question was about.
        round: Term,
        /// Yes or no.
        granted: bool,
    },
    /// Vote for me in this term (Raft, section 5.2).
    Vote {
        /// The candidate's last entry.
        last: EntryId,
    },
    /// The answer, in the message's term.
    VoteReply {
        /// Yes or no. A yes has been persisted.
        granted: bool,
    },
    /// Entries to append after `previous` (Raft, section 5.3).
    Append {
        /// The entry before the first of `entries`.
        previous: EntryId,
        /// What the leader knows to be committed.
        commit: Index,
        /// The entries; empty in a probe.
        entries: Vec<Entry>,
    },
    /// The follower's log is the leader's up to `matched`, durably.
    AppendAccepted {
        /// The last index that is certain to match.
        matched: Index,
    },
    /// The follower has another entry, or none, at `previous`.
    AppendRejected {
        /// The index that did not match, as it was asked.
        previous: Index,
        /// The last entry of the follower that could match: at or before `previous`, and of a term not
        /// after that of the leader's entry there.
        hint: EntryId,
    },
    /// More is committed, and there was no append to say it with. Not answered: the next heartbeat says it
    /// again.
    Commit {
        /// The last committed entry of those that the receiver is known to hold.
        id: EntryId,
    },
    /// The leader lives.
    Heartbeat {
        /// The last committed entry of those that the receiver is known to hold.
        commit: EntryId,
        /// Counts the rounds in which the leader asks to be confirmed.
        round: u64,
    },
    /// It does for me, in this term.
    HeartbeatReply {
        /// The round that is confirmed.
        round: u64,
        /// The last index that was appended to the follower's log, durable or not: the leader sees by it that
        /// an append was lost.
        last: Index,
    },
    /// A piece of a snapshot, for a follower whose entries are gone from the leader's log.
    Snapshot {
        /// What the snapshot covers.
        meta: SnapshotMeta,
        /// The bytes of the whole snapshot.
        total: u64,
        /// Where this piece begins.
        offset: u64,
        /// The piece.
        data: Bytes,
    },
    /// How much of it has arrived.
    SnapshotReply {
        /// The last entry that the snapshot covers.
        last: EntryId,
        /// How far it has come.
        progress: SnapshotProgress,
    },
    /// Commands for the leader of the message's term, and no other: a copy that arrives in a later term is
    /// dropped without an answer, so a command is appended at most once.
    Forward {
        /// The sender's boot.
        boot: BootId,
        /// Counts the sender's forwards within its boot.
        sequence: u64,
        /// The commands.
        commands: Vec<Bytes>,
    },
    /// Where the leader appended the commands of a [`Payload::Forward`]: all in its term, one after another.
    Forwarded {
        /// As in the request.
        boot: BootId,
        /// As in the request.
        sequence: u64,
        /// The index of the first; `None` if none was appended, nor will be.
        first: Option<Index>,
    },
    /// From which index on is a read linearizable? (Ongaro's thesis, section 6.4)
    ReadIndex {
        /// The sender's boot.
        boot: BootId,
        /// Counts the sender's requests within its boot.
        sequence: u64,
    },
    /// The answer, for the request and all before it of the same boot.
    ReadIndexReply {
        /// As in the request.
        boot: BootId,
        /// As in the request.
        sequence: u64,
        /// The index that must have been applied; `None` if the receiver does not lead.
        index: Option<Index>,
    },
}

/// How far a snapshot has come at the follower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotProgress {
    /// So many bytes have arrived, from its start on.
    Received(u64),
    /// It is installed, durably, or was not needed.
    Installed,
    /// It is larger than the follower accepts.
    Refused,
}
