use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use quorate_core::Fingerprint;
use quorate_raft::{Entry, EntryId, EntryPayload, HardState, Index, Recovered, Term, Write};

/// What a node's storage should hold, kept beside it from the writes alone: each entry as its term and a
/// digest of its payload.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shadow {
    /// Term and vote.
    pub hard: HardState,
    /// The last entry that the newest snapshot covers.
    pub snapshot: EntryId,
    /// The entry before the first.
    pub before: EntryId,
    entries: VecDeque<(Term, u64)>,
}

/// A [`Write`], with payloads as digests.
#[derive(Clone, Debug)]
pub struct Written {
    hard: Option<HardState>,
    snapshot: Option<EntryId>,
    restart_after: Option<EntryId>,
    discard_before: Option<Index>,
    truncate_from: Option<Index>,
    entries: Vec<(EntryId, u64)>,
}

impl Shadow {
    /// What a recovery reports, with the entries it left.
    pub fn recovered(recovered: &Recovered, entries: &[Entry]) -> Self {
        Self {
            hard: recovered.hard_state.clone(),
            snapshot: recovered.snapshot.as_ref().map_or(EntryId::ZERO, |meta| meta.last),
            before: recovered.before_first,
            entries: entries.iter().map(|entry| (entry.id.term, digest(&entry.payload))).collect(),
        }
    }

    /// The index of the last entry, or of the one before the first.
    pub fn last(&self) -> Index {
        self.before.index + self.entries.len() as u64
    }

    /// The term at an index that is there, the one before the first included.
    pub fn term(&self, index: Index) -> Option<Term> {
        if index == self.before.index {
            return Some(self.before.term);
        }
        self.entry(index).map(|(term, _)| term)
    }

    /// Term and digest of an entry that is there.
    pub fn entry(&self, index: Index) -> Option<(Term, u64)> {
        let place = index.checked_sub(self.before.index + 1)?;
        self.entries.get(place as usize).copied()
    }

    /// Whether this entry is there, or was before a snapshot covered it.
    pub fn holds(&self, id: EntryId) -> bool {
        id.index < self.before.index || self.term(id.index) == Some(id.term)
    }

    /// Whether this log holds all of another up to an index, as far as it has not been covered by a snapshot.
    pub fn holds_same(&self, other: &Self, index: Index) -> bool {
        let first = self.before.index.max(other.before.index) + 1;
        // Log matching makes the last one stand for all before it.
        self.last() >= index && (index < first || self.entry(index) == other.entry(index))
    }

    /// Takes a write in.
    pub fn write(&mut self, written: &Written) {
        for step in 0..written.steps() {
            self.write_step(written, step);
        }
    }

    /// Takes one step of a write in: its fields take effect one after the other, and so do its entries, so a
    /// crash may leave any number of steps.
    pub fn write_step(&mut self, written: &Written, step: usize) {
        match step {
            0 => self.hard = written.hard.clone().unwrap_or_else(|| std::mem::take(&mut self.hard)),
            1 => self.snapshot = written.snapshot.unwrap_or(self.snapshot),
            2 => {
                if let Some(after) = written.restart_after {
                    self.entries.clear();
                    self.before = after;
                }
            }
            3 => self.discard(written.discard_before.unwrap_or(0)),
            4 => {
                if let Some(from) = written.truncate_from {
                    self.entries.truncate(from.saturating_sub(self.before.index + 1) as usize);
                }
            }
            _ => {
                let (id, digest) = written.entries[step - 5];
                debug_assert_eq!(id.index, self.last() + 1, "a write without gaps");
                self.entries.push_back((id.term, digest));
            }
        }
    }

    fn discard(&mut self, first: Index) {
        while self.before.index + 1 < first {
            let Some((term, _)) = self.entries.pop_front() else { return };
            self.before = EntryId::new(term, self.before.index + 1);
        }
    }

    /// Whether a storage that was recovered as `self` may have held `expected`: the same, but a snapshot may
    /// have become durable before the writes in front of it, and then covers what is missing.
    pub fn agrees_with(&self, expected: &Self) -> bool {
        if self.hard != expected.hard {
            return false;
        }
        let start = self.before.index.max(expected.before.index);
        let last = self.last().max(start);
        if last != expected.last().max(start) {
            return false;
        }
        let covered = self.snapshot.index;
        covered >= self.before.index
            && covered >= expected.snapshot.index
            && (start + 1..=last).all(|index| self.entry(index) == expected.entry(index))
    }
}

impl Written {
    /// The digest of a write.
    pub fn of(write: &Write) -> Self {
        Self {
            hard: write.hard_state.clone(),
            snapshot: write.snapshot.as_ref().map(|snapshot| snapshot.meta.last),
            restart_after: write.restart_after,
            discard_before: write.discard_before,
            truncate_from: write.truncate_from,
            entries: write.entries.iter().map(|entry| (entry.id, digest(&entry.payload))).collect(),
        }
    }

    /// How many steps it takes.
    pub fn steps(&self) -> usize {
        5 + self.entries.len()
    }

    /// The index of its first entry.
    pub fn first(&self) -> Option<Index> {
        self.entries.first().map(|(id, _)| id.index)
    }
}

/// What an entry carries, as a number.
pub(super) fn digest(payload: &EntryPayload) -> u64 {
    let mut digest = Fingerprint::default();
    match payload {
        EntryPayload::Blank => 0u64.hash(&mut digest),
        EntryPayload::Command(command) => {
            1u64.hash(&mut digest);
            digest.write(command);
        }
        EntryPayload::Membership(membership) => {
            2u64.hash(&mut digest);
            membership.voters.keys().for_each(|voter| voter.hash(&mut digest));
        }
    }
    digest.finish()
}
