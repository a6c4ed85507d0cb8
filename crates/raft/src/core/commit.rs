//! What is committed, and its way to the state machine.

use std::collections::VecDeque;

use super::event::Event;
use super::io::{Committed, LoadPurpose, LoadRequest, Output};
use super::log::Slice;
use super::{Raft, Role, quorum_index};
use crate::entry::{Entry, EntryId, Index};
use crate::storage::SnapshotMeta;

/// How far the state machine is.
#[derive(Clone, Debug)]
pub(super) struct Applying {
    /// Handed out up to here.
    pub(super) dispatched: Index,
    /// Reported applied up to here.
    pub(super) applied: Index,
    /// The newest snapshot, written or being written.
    pub(super) snapshot: EntryId,
    /// A restore is under way, up to this index: nothing is handed out before it is done.
    restoring: Option<Index>,
    /// The last index of each batch that was handed out and not yet reported.
    batches: VecDeque<Index>,
    loading: bool,
    /// Bytes of entries handed out since the last snapshot.
    pub(super) bytes_since_snapshot: u64,
    pub(super) taking_snapshot: bool,
    /// The size of the newest snapshot, if it was seen in this boot.
    pub(super) snapshot_bytes: u64,
}

impl Applying {
    pub(super) fn from(snapshot: &SnapshotMeta) -> Self {
        let index = snapshot.last.index;
        Self {
            dispatched: index,
            applied: 0,
            snapshot: snapshot.last,
            restoring: (index > 0).then_some(index),
            batches: VecDeque::new(),
            loading: false,
            bytes_since_snapshot: 0,
            taking_snapshot: false,
            snapshot_bytes: 0,
        }
    }

    /// A snapshot replaces the state.
    pub(super) fn restore(&mut self, last: EntryId) {
        self.dispatched = last.index;
        self.snapshot = last;
        self.restoring = Some(last.index);
        self.batches.clear();
        self.bytes_since_snapshot = 0;
        self.taking_snapshot = false;
    }
}

impl Raft {
    /// Commits what a quorum holds durably, if it ends in an entry of this term: entries of older terms are
    /// committed only with one of this term after them (Raft, section 5.4.2 and figure 8).
    pub(super) fn advance_commit(&mut self) {
        let quorum = self.membership().quorum();
        let stable = self.log.stable();
        let Role::Leader(leader) = &self.role else { return };
        let counted = leader.peers.values().filter(|peer| peer.counts).map(|peer| peer.matched);
        let index = quorum_index(counted.chain([stable]).collect(), quorum);
        if index > self.commit && self.log.term(index) == Some(self.hard.term) {
            self.commit_to(index);
        }
    }

    /// A follower's part: the leader says what is committed, of what it knows this node to hold.
    ///
    /// It names the entry, not only the index: a node whose disk was wiped since may hold another there.
    pub(super) fn commit_received(&mut self, id: EntryId) {
        if self.log.contains(id) {
            self.commit_upto(id.index);
        }
    }

    /// Commits up to an index where this log is known to match the leader's.
    pub(super) fn commit_upto(&mut self, index: Index) {
        if index > self.commit {
            self.commit_to(index);
        }
    }

    pub(super) fn entry_id(&self, index: Index) -> Option<EntryId> {
        self.log.term(index).map(|term| EntryId::new(term, index))
    }

    fn commit_to(&mut self, index: Index) {
        assert!(index > self.commit && index <= self.log.last(), "a commit moves forward, within the log");
        self.commit = index;
        self.release_backlog();
        self.incoming.take_if(|incoming| incoming.is_covered_by(index));
        self.event(Event::Committed { index });
    }

    /// Forgets the bytes that are both committed and durable here: neither the followers nor this node's own
    /// disk may fall behind without bound.
    pub(super) fn release_backlog(&mut self) {
        let done = self.commit.min(self.log.stable());
        let Role::Leader(leader) = &mut self.role else { return };
        while leader.backlog.front().is_some_and(|(last, _)| *last <= done) {
            if let Some((_, bytes)) = leader.backlog.pop_front() {
                leader.backlog_bytes -= bytes;
            }
        }
    }

    /// Hands committed entries to the state machine: at most two batches at a time, so that one is there when
    /// it has done the other.
    pub(super) fn flush_applies(&mut self) {
        loop {
            let applying = &self.applying;
            let busy = applying.restoring.is_some() || applying.loading || applying.batches.len() >= 2;
            if busy || applying.dispatched >= self.commit {
                break;
            }
            let (from, to) = (applying.dispatched + 1, self.commit + 1);
            match self.log.slice(from, to, self.config.apply_bytes_max) {
                Slice::Entries(entries) => self.apply(entries),
                Slice::InStorage => {
                    self.applying.loading = true;
                    self.outbox.push(Output::Load(LoadRequest {
                        purpose: LoadPurpose::Apply,
                        from,
                        to,
                        max_bytes: self.config.apply_bytes_max,
                        truncation: self.outbox.truncation(),
                    }));
                }
            }
        }
        self.flush_ready_reads();
    }

    pub(super) fn loaded_for_apply(&mut self, is_current: bool, entries: Vec<Entry>) {
        self.applying.loading = false;
        let follows = entries.first().is_some_and(|first| first.id.index == self.applying.dispatched + 1);
        if is_current && follows && self.applying.restoring.is_none() {
            self.apply(entries);
        }
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        let Some(last) = entries.last().map(|entry| entry.id) else { return };
        self.applying.dispatched = last.index;
        self.applying.batches.push_back(last.index);
        self.applying.bytes_since_snapshot += entries.iter().map(|entry| entry.cost() as u64).sum::<u64>();
        let committed = entries
            .into_iter()
            .map(|Entry { id, payload }| Committed { proposal: self.resolve_proposals(id), id, payload })
            .collect();
        self.outbox.push(Output::Apply(committed));
        self.take_snapshot_if_due(last);
    }

    /// Whether the state machine holds what was handed to it, and not an older state that is being replaced.
    pub(super) fn is_restored(&self) -> bool {
        self.applying.restoring.is_none()
    }

    pub(super) fn applied(&mut self, index: Index) {
        let applying = &mut self.applying;
        applying.applied = applying.applied.max(index).min(applying.dispatched);
        while applying.batches.front().is_some_and(|last| *last <= index) {
            applying.batches.pop_front();
        }
        if applying.restoring.is_some_and(|restored| restored <= index) {
            applying.restoring = None;
        }
    }
}
