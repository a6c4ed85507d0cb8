//! Outputs, and the writes they wait for.

use std::collections::VecDeque;

use quorate_core::{BootId, NodeId};

use super::io::Output;
use crate::entry::{Entry, EntryId, Index};
use crate::message::{Message, Payload};
use crate::storage::{HardState, Snapshot, Write, WriteId};

/// Gathers what one wake-up wants written into a single [`Write`], and holds back every output that promises
/// something until the write it depends on is durable.
///
/// A promise is pushed with [`Outbox::promise`]. There is no way to poll it before `persisted` has passed the
/// write, so an answer that is sent too early can't be expressed.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    boot: BootId,
    truncation: u64,
    /// The sequence of the last write that was sealed.
    sealed: u64,
    persisted: u64,
    /// The write that holds the newest term and vote.
    hard_state: u64,
    /// Being gathered; its sequence will be `sealed + 1`.
    staged: Write,
    is_staged: bool,
    promised: VecDeque<(u64, Output)>,
    ready: VecDeque<Output>,
}

impl Outbox {
    pub(super) fn new(boot: BootId) -> Self {
        Self {
            boot,
            truncation: 0,
            sealed: 0,
            persisted: 0,
            hard_state: 0,
            staged: Write::default(),
            is_staged: false,
            promised: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }

    pub(super) fn truncation(&self) -> u64 {
        self.truncation
    }

    /// The sequence that covers everything staged so far.
    pub(super) fn sequence(&self) -> u64 {
        self.sealed + u64::from(self.is_staged)
    }

    /// Writes term and vote, which messages then wait for.
    pub(super) fn hard_state(&mut self, hard_state: &HardState) {
        self.note_in_hard_state(hard_state);
        self.hard_state = self.sequence();
    }

    /// Writes something beside term and vote that no message waits for.
    pub(super) fn note_in_hard_state(&mut self, hard_state: &HardState) {
        self.is_staged = true;
        self.staged.hard_state = Some(hard_state.clone());
    }

    pub(super) fn append(&mut self, entry: Entry) {
        self.is_staged = true;
        self.staged.entries.push(entry);
    }

    pub(super) fn truncate(&mut self, from: Index) {
        self.seal_before_reshaping();
        self.truncation += 1;
        self.staged.truncate_from = Some(from);
    }

    pub(super) fn snapshot(&mut self, snapshot: Snapshot, discard_before: Index) {
        self.seal_before_reshaping();
        self.staged.snapshot = Some(snapshot);
        self.staged.discard_before = Some(discard_before);
    }

    pub(super) fn restart(&mut self, snapshot: Option<Snapshot>, after: EntryId) {
        self.seal_before_reshaping();
        self.truncation += 1;
        self.staged.snapshot = snapshot;
        self.staged.restart_after = Some(after);
    }

    /// The fields of a write take effect in their own order, so a change of the log's shape that comes after
    /// entries were staged needs a write of its own.
    fn seal_before_reshaping(&mut self) {
        let staged = &self.staged;
        let reshaped =
            staged.snapshot.is_some() || staged.restart_after.is_some() || staged.truncate_from.is_some();
        if reshaped || !staged.entries.is_empty() {
            self.seal();
        }
        self.is_staged = true;
    }

    /// Hands the gathered write out. True if there was one.
    pub(super) fn seal(&mut self) -> bool {
        if !self.is_staged {
            return false;
        }
        self.is_staged = false;
        self.sealed += 1;
        let mut write = std::mem::take(&mut self.staged);
        write.id = WriteId { boot: self.boot, truncation: self.truncation, sequence: self.sealed };
        self.ready.push_back(Output::Persist(write));
        true
    }

    /// An output that depends on nothing.
    pub(super) fn push(&mut self, output: Output) {
        self.ready.push_back(output);
    }

    /// A message that promises nothing.
    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        self.push(Output::Send { to, message });
    }

    /// An output that may be seen only once everything staged so far is durable.
    pub(super) fn promise(&mut self, output: Output) {
        self.promise_after(self.sequence(), output);
    }

    /// An output that may be seen only once the newest term and vote are durable.
    pub(super) fn promise_hard_state(&mut self, output: Output) {
        self.promise_after(self.hard_state, output);
    }

    /// True while something staged or written is not yet durable.
    pub(super) fn has_unpersisted(&self) -> bool {
        self.sequence() > self.persisted
    }

    fn promise_after(&mut self, sequence: u64, output: Output) {
        if sequence <= self.persisted {
            return self.ready.push_back(output);
        }
        // The queue is in order of sequence, so a promise behind a later one waits for that too.
        let sequence = self.promised.back().map_or(sequence, |(last, _)| sequence.max(*last));
        // What a later answer makes needless is dropped, so that a disk that hangs gathers only so many.
        let recent = self.promised.len().saturating_sub(PROMISES_COMPARED)..;
        let needless = self
            .promised
            .range(recent)
            .rposition(|(earlier, promised)| *earlier == sequence && supersedes(&output, promised));
        if let Some(at) = needless {
            self.promised.remove(at + self.promised.len().saturating_sub(PROMISES_COMPARED));
        }
        self.promised.push_back((sequence, output));
    }

    /// Takes a completion in; false if it is none of this boot's writes.
    pub(super) fn persisted(&mut self, id: WriteId) -> bool {
        if id.boot != self.boot || id.sequence > self.sealed {
            return false;
        }
        self.persisted = self.persisted.max(id.sequence);
        while self.promised.front().is_some_and(|(sequence, _)| *sequence <= self.persisted) {
            let Some((_, output)) = self.promised.pop_front() else { break };
            let stale = self
                .promised
                .front()
                .is_some_and(|(sequence, next)| *sequence <= self.persisted && supersedes(next, &output));
            if !stale {
                self.ready.push_back(output);
            }
        }
        true
    }

    /// Takes back restores that are still held: a newer snapshot has replaced what they would read.
    pub(super) fn withdraw_restores(&mut self) {
        self.promised.retain(|(_, output)| !matches!(output, Output::Restore(_)));
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        self.ready.pop_front()
    }
}

/// Whether a later message to the same node, in the same term, says all that an earlier one does.
fn supersedes(later: &Output, earlier: &Output) -> bool {
    let (Output::Send { to: a, message: later }, Output::Send { to: b, message: earlier }) = (later, earlier)
    else {
        return false;
    };
    let covers = match (&later.payload, &earlier.payload) {
        (Payload::AppendAccepted { matched: more }, Payload::AppendAccepted { matched: less }) => {
            more >= less
        }
        (Payload::HeartbeatReply { round: more, .. }, Payload::HeartbeatReply { round: less, .. }) => {
            more >= less
        }
        (Payload::PreVoteReply { round: more, .. }, Payload::PreVoteReply { round: less, .. }) => {
            more >= less
        }
        (Payload::AppendRejected { .. }, Payload::AppendRejected { .. }) => true,
        _ => false,
    };
    covers && a == b && later.term == earlier.term
}

/// How many of the latest promises a new one is compared with.
const PROMISES_COMPARED: usize = 64;
