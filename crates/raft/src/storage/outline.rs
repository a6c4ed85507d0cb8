use quorate_core::StoreId;

use super::{HardState, Recovered, SnapshotMeta, TermRun};
use crate::entry::{Entry, EntryId, EntryPayload, Index, Membership};

/// The shape of a log: where it begins and ends, and where its terms and memberships are. A handful of words
/// for a log of any length, kept along with the writes.
#[derive(Clone, Debug)]
pub(super) struct Outline {
    before_first: EntryId,
    last: Index,
    terms: Vec<TermRun>,
    memberships: Vec<(Index, Membership)>,
}

impl Outline {
    /// Of an empty log that goes on after `before_first`.
    pub(super) fn new(before_first: EntryId) -> Self {
        Self { before_first, last: before_first.index, terms: Vec::new(), memberships: Vec::new() }
    }

    /// The entry before the first.
    #[cfg(feature = "wal")]
    pub(super) fn before_first(&self) -> EntryId {
        self.before_first
    }

    /// The last entry, or the one before the first.
    pub(super) fn last(&self) -> EntryId {
        let term = self.terms.last().map_or(self.before_first.term, |run| run.term);
        EntryId::new(term, self.last)
    }

    /// Whether the entry can follow the last one.
    pub(super) fn accepts(&self, id: EntryId) -> bool {
        let last = self.last();
        id.index == last.index + 1 && id.term >= last.term
    }

    /// The term at an index from the one before the first to the last.
    #[cfg(feature = "wal")]
    pub(super) fn term(&self, index: Index) -> Option<crate::entry::Term> {
        if index < self.before_first.index || index > self.last {
            return None;
        }
        let runs = self.terms.partition_point(|run| run.first <= index);
        Some(runs.checked_sub(1).map_or(self.before_first.term, |run| self.terms[run].term))
    }

    /// Adds an entry, which follows the last one.
    pub(super) fn append(&mut self, entry: &Entry) {
        debug_assert!(self.accepts(entry.id), "the log has no gaps");
        if self.terms.last().is_none_or(|run| run.term != entry.id.term) {
            self.terms.push(TermRun { first: entry.id.index, term: entry.id.term });
        }
        if let EntryPayload::Membership(membership) = &entry.payload {
            self.memberships.push((entry.id.index, membership.clone()));
        }
        self.last = entry.id.index;
    }

    /// Drops this entry and all after it.
    #[cfg(feature = "wal")]
    pub(super) fn truncate(&mut self, from: Index) {
        self.terms.retain(|run| run.first < from);
        self.memberships.retain(|(index, _)| *index < from);
        self.last = self.last.min(from.saturating_sub(1)).max(self.before_first.index);
    }

    /// Drops the entries before this one; no more than there are.
    #[cfg(feature = "wal")]
    pub(super) fn discard(&mut self, first: Index) {
        let through = first.saturating_sub(1).min(self.last);
        if through <= self.before_first.index {
            return;
        }
        let Some(term) = self.term(through) else { return };
        self.before_first = EntryId::new(term, through);
        let gone = self.terms.partition_point(|run| run.first <= through + 1);
        self.terms.drain(..gone.saturating_sub(1));
        if through == self.last {
            self.terms.clear();
        } else if let Some(run) = self.terms.first_mut() {
            run.first = run.first.max(through + 1);
        }
        self.memberships.retain(|(index, _)| *index > through);
    }

    /// What a recovery reports.
    pub(super) fn recovered(
        &self,
        store: StoreId,
        hard_state: HardState,
        snapshot: Option<SnapshotMeta>,
    ) -> Recovered {
        Recovered {
            store,
            hard_state,
            snapshot,
            before_first: self.before_first,
            last: self.last,
            terms: self.terms.clone(),
            memberships: self.memberships.clone(),
        }
    }
}
