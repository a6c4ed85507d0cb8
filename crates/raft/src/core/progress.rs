//! What a leader knows of one peer.

use std::collections::VecDeque;

use quorate_core::{StoreId, Time};

use crate::entry::{EntryId, Index};

/// A peer's progress, as its leader sees it.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// The peer's log is the leader's up to here, durably.
    pub(super) matched: Index,
    /// The next index to send.
    pub(super) next: Index,
    pub(super) pace: Pace,
    /// Appends on their way: the last index of each, its bytes and when it left.
    inflight: VecDeque<(Index, usize, Time)>,
    inflight_bytes: usize,
    /// The commit index that the peer was told.
    pub(super) commit_told: Index,
    /// The last round that the peer confirmed.
    pub(super) round: u64,
    /// When the peer was last heard from.
    pub(super) heard: Option<Time>,
    /// Entries are being read from storage for it.
    pub(super) loading: bool,
    /// The store it speaks from, and whether its word counts.
    pub(super) store: Option<StoreId>,
    pub(super) counts: bool,
}

/// How a peer is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// One append at a time, until one is accepted. `sent`: when the one that is on its way left.
    Probe { sent: Option<Time> },
    /// Appends are pipelined, each sent without waiting for the one before.
    Replicate,
    /// The entries it needs are gone: it gets a snapshot, piece by piece.
    Snapshot(Transfer),
}

/// A snapshot on its way to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    /// What it covers; unknown until the first piece has been read.
    pub(super) last: Option<EntryId>,
    /// Its size in bytes, once known.
    pub(super) total: u64,
    /// The piece that is being read or is on its way.
    pub(super) offset: u64,
    /// When that was asked for.
    pub(super) since: Time,
}

impl Progress {
    pub(super) fn new(last: Index) -> Self {
        Self {
            matched: 0,
            next: last + 1,
            pace: Pace::Probe { sent: None },
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            commit_told: 0,
            round: 0,
            heard: None,
            loading: false,
            store: None,
            counts: false,
        }
    }

    /// Back to one append at a time, after what is known to match.
    pub(super) fn probe(&mut self, next: Index) {
        self.pace = Pace::Probe { sent: None };
        self.next = next.max(self.matched + 1);
        self.clear_inflight();
    }

    pub(super) fn replicate(&mut self) {
        self.pace = Pace::Replicate;
        self.next = self.matched + 1;
        self.clear_inflight();
    }

    pub(super) fn sent(&mut self, last: Index, bytes: usize, now: Time) {
        self.inflight.push_back((last, bytes, now));
        self.inflight_bytes += bytes;
        self.next = last + 1;
    }

    pub(super) fn acknowledged(&mut self, matched: Index) {
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched + 1);
        while self.inflight.front().is_some_and(|(last, ..)| *last <= self.matched) {
            if let Some((_, bytes, _)) = self.inflight.pop_front() {
                self.inflight_bytes -= bytes;
            }
        }
    }

    pub(super) fn has_room(&self, messages_max: usize, bytes_max: usize) -> bool {
        self.inflight.len() < messages_max && self.inflight_bytes < bytes_max
    }

    /// When the oldest append that is still on its way left, if it goes beyond `last`.
    pub(super) fn oldest_inflight_beyond(&self, last: Index) -> Option<Time> {
        self.inflight.front().filter(|(index, ..)| *index > last).map(|(.., since)| *since)
    }

    /// When the oldest append that is still on its way left.
    pub(super) fn oldest_inflight(&self) -> Option<Time> {
        self.inflight.front().map(|(.., since)| *since)
    }

    fn clear_inflight(&mut self) {
        self.inflight.clear();
        self.inflight_bytes = 0;
    }
}
