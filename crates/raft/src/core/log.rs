//! The log as the core sees it: which term each index has, and the newest entries.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use crate::entry::{Entry, EntryId, Index, Term};
use crate::storage::TermRun;

/// A view of the log that answers every question of the protocol without reading storage.
///
/// Terms are kept as runs (a handful for a log of any length), entries only from the end, up to a limit in
/// bytes. Whoever needs older entries asks the storage for them.
#[derive(Clone, Debug)]
pub(super) struct LogView {
    /// The entry before the first: where a snapshot ends.
    before: EntryId,
    last: Index,
    runs: VecDeque<TermRun>,
    /// The newest entries, without gaps, ending at `last`.
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    tail_bytes_max: usize,
    /// All up to here is durable.
    stable: Index,
    /// Writes under way: once the write of this sequence is durable, the log is up to this index.
    marks: VecDeque<(u64, Index)>,
}

/// Entries, or word that they must be loaded.
pub(super) enum Slice {
    Entries(Vec<Entry>),
    InStorage,
}

impl LogView {
    pub(super) fn new(before: EntryId, last: Index, runs: Vec<TermRun>, tail_bytes_max: usize) -> Self {
        Self {
            before,
            last,
            runs: runs.into(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_bytes_max,
            stable: last,
            marks: VecDeque::new(),
        }
    }

    /// The entry before the first one.
    pub(super) fn before(&self) -> EntryId {
        self.before
    }

    pub(super) fn first(&self) -> Index {
        self.before.index + 1
    }

    pub(super) fn last(&self) -> Index {
        self.last
    }

    pub(super) fn last_id(&self) -> EntryId {
        let term = self.runs.back().map_or(self.before.term, |run| run.term);
        EntryId::new(term, self.last)
    }

    /// All up to this index is durable.
    pub(super) fn stable(&self) -> Index {
        self.stable
    }

    /// The term at `index`, if that lies between the entry before the first and the last.
    pub(super) fn term(&self, index: Index) -> Option<Term> {
        if index == self.before.index {
            return Some(self.before.term);
        }
        if index < self.before.index || index > self.last {
            return None;
        }
        let run = self.runs.partition_point(|run| run.first <= index).checked_sub(1)?;
        Some(self.runs[run].term)
    }

    pub(super) fn contains(&self, id: EntryId) -> bool {
        self.term(id.index) == Some(id.term)
    }

    /// The last entry at or before `index` whose term is not after `term`; the one before the first entry if
    /// there is none.
    ///
    /// When two logs differ at an index, all that they can share lies at or before this. Applied on both
    /// sides, it skips a whole term of conflicts in one exchange (Raft, end of section 5.3).
    pub(super) fn last_possible_match(&self, index: Index, term: Term) -> EntryId {
        let mut index = index.min(self.last);
        while index > self.before.index {
            let at = self.runs.partition_point(|run| run.first <= index);
            let Some(run) = at.checked_sub(1).map(|at| self.runs[at]) else { break };
            if run.term <= term {
                return EntryId::new(run.term, index);
            }
            index = run.first - 1;
        }
        self.before
    }

    /// Appends an entry, which must follow the last one.
    pub(super) fn append(&mut self, entry: Entry) {
        assert_eq!(entry.id.index, self.last + 1, "the log has no gaps");
        assert!(entry.id.term >= self.last_id().term, "terms never go back along the log");
        if self.runs.back().is_none_or(|run| run.term != entry.id.term) {
            self.runs.push_back(TermRun { first: entry.id.index, term: entry.id.term });
        }
        self.last = entry.id.index;
        self.tail_bytes += entry.cost();
        self.tail.push_back(entry);
    }

    /// Drops the entry at `from` and all after it.
    pub(super) fn truncate(&mut self, from: Index) {
        assert!(from > self.before.index, "what a snapshot covers is never truncated");
        while self.tail.back().is_some_and(|entry| entry.id.index >= from) {
            if let Some(entry) = self.tail.pop_back() {
                self.tail_bytes -= entry.cost();
            }
        }
        while self.runs.back().is_some_and(|run| run.first >= from) {
            self.runs.pop_back();
        }
        self.last = self.last.min(from - 1);
        self.stable = self.stable.min(self.last);
        for mark in &mut self.marks {
            mark.1 = mark.1.min(self.last);
        }
    }

    /// Drops everything; the next entry follows `after`.
    pub(super) fn restart(&mut self, after: EntryId) {
        let tail_bytes_max = self.tail_bytes_max;
        let marks = self.marks.iter().map(|(sequence, _)| (*sequence, after.index)).collect();
        *self = Self::new(after, after.index, Vec::new(), tail_bytes_max);
        self.marks = marks;
    }

    /// Drops the entries up to and with `through`, which a snapshot covers.
    pub(super) fn discard(&mut self, through: Index) {
        let Some(term) = self.term(through) else { return };
        if through <= self.before.index {
            return;
        }
        self.before = EntryId::new(term, through);
        while self.tail.front().is_some_and(|entry| entry.id.index <= through) {
            self.pop_tail();
        }
        while self.runs.get(1).is_some_and(|run| run.first <= through + 1) {
            self.runs.pop_front();
        }
        if through == self.last {
            self.runs.clear();
        } else if let Some(run) = self.runs.front_mut() {
            run.first = run.first.max(through + 1);
        }
        self.stable = self.stable.max(through);
    }

    /// Notes that the write of this sequence carries all that is in the log now.
    pub(super) fn mark(&mut self, sequence: u64) {
        self.marks.push_back((sequence, self.last));
    }

    /// Notes that this write and all before it are durable.
    pub(super) fn persisted(&mut self, sequence: u64) {
        while self.marks.front().is_some_and(|mark| mark.0 <= sequence) {
            if let Some((_, index)) = self.marks.pop_front() {
                self.stable = self.stable.max(index);
            }
        }
    }

    /// Entries from `from` up to, and without, `to`: as many as fit in `max_bytes`, but at least one.
    pub(super) fn slice(&self, from: Index, to: Index, max_bytes: usize) -> Slice {
        let start = self.last + 1 - self.tail.len() as u64;
        if from < start {
            return Slice::InStorage;
        }
        let skip = (from - start) as usize;
        let count = to.saturating_sub(from) as usize;
        let mut bytes = 0usize;
        let fitting = self.tail.iter().skip(skip).take(count).take_while(|entry| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(entry.cost());
            first || bytes <= max_bytes
        });
        Slice::Entries(fitting.cloned().collect())
    }

    /// Gives up the oldest entries in memory beyond the limit. Called only once they have been handed to the
    /// storage, which reads what it was given.
    pub(super) fn evict(&mut self) {
        while self.tail_bytes > self.tail_bytes_max {
            self.pop_tail();
        }
    }

    fn pop_tail(&mut self) {
        if let Some(entry) = self.tail.pop_front() {
            self.tail_bytes -= entry.cost();
        }
    }
}

/// What the protocol can tell apart: the entries' terms and how far they are durable, not what is in memory.
impl Hash for LogView {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.before, self.last, self.stable).hash(state);
        self.runs.hash(state);
    }
}
