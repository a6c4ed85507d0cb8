use quorate_core::{NodeId, Outcome};
use quorate_raft::{EntryId, Event, Index, ProposalId, Term};

use super::clients::OperationId;

/// What a host did in the event that it handled last, for the invariants to judge.
#[derive(Clone, Debug)]
pub enum Seen {
    /// It sent a vote for this node.
    Voted {
        /// In which term.
        term: Term,
        /// For whom.
        candidate: NodeId,
    },
    /// It told a leader that it holds the leader's log, durably.
    Accepted {
        /// The leader's term.
        term: Term,
        /// Up to here.
        matched: Index,
    },
    /// It changed its log in memory and gave the change to its disk; entries from here on are new.
    Wrote {
        /// The first new index.
        from: Index,
    },
    /// It told what happened to it.
    Told(Event),
    /// Its state machine applied an entry.
    Applied {
        /// Which.
        id: EntryId,
        /// A hash of all that was applied so far, this included.
        history: u64,
        /// The operation that the command belongs to, if it is one.
        operation: Option<OperationId>,
        /// The proposal that the entry was said to answer.
        proposal: Option<ProposalId>,
    },
    /// Its state machine was restored from a snapshot.
    Restored {
        /// As of this entry.
        last: EntryId,
        /// The hash of all that was applied up to there.
        history: u64,
    },
    /// A client asked for something.
    Invoked {
        /// What.
        operation: OperationId,
    },
    /// A client got its answer.
    Answered {
        /// To what.
        operation: OperationId,
        /// What it was told.
        answer: Answer,
    },
}

/// What a client is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A write: it was applied here.
    Written(Index),
    /// A read: it saw all up to here.
    Read(Index),
    /// An error, with what it says of the outcome.
    Failed(Outcome),
}
