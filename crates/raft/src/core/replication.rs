//! Entries from the leader to its followers (Raft, section 5.3).

use quorate_core::{NodeId, StoreId, Time};

use super::event::Event;
use super::io::{LoadPurpose, LoadRequest, Output};
use super::log::Slice;
use super::progress::{Pace, Progress, Transfer};
use super::{Raft, Role};
use crate::entry::{Entry, EntryId, EntryPayload, Index};
use crate::message::Payload;

impl Raft {
    /// A follower's part: appends what follows `previous`, if that matches.
    pub(super) fn append_received(
        &mut self,
        from: NodeId,
        previous: EntryId,
        commit: Index,
        mut entries: Vec<Entry>,
    ) {
        if !is_contiguous(previous, &entries) || entries.last().is_some_and(|e| e.id.term > self.hard.term) {
            return self.refuse(from, "an append whose entries do not follow each other");
        }
        if entries
            .iter()
            .any(|entry| matches!(&entry.payload, EntryPayload::Membership(m) if m.voters.is_empty()))
        {
            return self.refuse(from, "a membership without voters");
        }
        let matched = previous.index.saturating_add(entries.len() as u64);
        if previous.index < self.commit {
            // What is committed matches the leader's log by definition: only the rest needs a look.
            if matched <= self.commit {
                return self.promise(from, Payload::AppendAccepted { matched: self.commit });
            }
            entries.drain(..(self.commit - previous.index) as usize);
        } else if !self.log.contains(previous) {
            let hint = self.log.last_possible_match(previous.index, previous.term);
            return self.promise_term(from, Payload::AppendRejected { previous: previous.index, hint });
        }
        // A late copy of an older append is no conflict: only an entry that differs cuts the log, and what is
        // already there stays there.
        let known = entries.iter().take_while(|entry| self.log.contains(entry.id)).count();
        if let Some(first_new) = entries.get(known) {
            if self.log.term(first_new.id.index - 1).is_none_or(|term| term > first_new.id.term) {
                return self.refuse(from, "an append whose terms go back");
            }
            if first_new.id.index <= self.log.last() {
                self.truncate(first_new.id.index);
            }
        }
        for entry in entries.drain(known..) {
            if let EntryPayload::Membership(membership) = &entry.payload {
                self.memberships.push((entry.id.index, membership.clone()));
            }
            self.append_entry(entry);
        }
        self.commit_upto(commit.min(matched));
        self.promise(from, Payload::AppendAccepted { matched });
    }

    fn truncate(&mut self, from: Index) {
        assert!(from > self.commit, "a committed entry is never dropped");
        self.outbox.truncate(from);
        self.log.truncate(from);
        self.memberships.retain(|(index, _)| *index < from);
    }

    /// Notes that a peer answered; false if this node doesn't lead or the sender is no peer.
    ///
    /// A peer that speaks from another store than before has forgotten what it acknowledged, so its progress
    /// starts anew.
    pub(super) fn peer_heard(&mut self, from: NodeId, store: StoreId, counts: bool) -> bool {
        let (now, last) = (self.now, self.log.last());
        let Role::Leader(leader) = &mut self.role else { return false };
        let Some(peer) = leader.peers.get_mut(&from) else { return false };
        if peer.store.is_some_and(|known| known != store) {
            *peer = Progress::new(last);
        }
        let is_news = peer.store != Some(store);
        peer.store = Some(store);
        peer.counts = counts;
        peer.heard = Some(now);
        if let (true, Some(known)) = (is_news, self.hard.stores.get(&from).copied()) {
            if known != store {
                self.event(Event::StoreChanged { node: from, known, now: store });
            }
        }
        true
    }

    /// The leader's part: takes a peer's answer in.
    pub(super) fn peer_answered(&mut self, from: NodeId, payload: Payload) {
        match payload {
            Payload::AppendAccepted { matched } => self.append_accepted(from, matched),
            Payload::AppendRejected { previous, hint } => self.append_rejected(from, previous, hint),
            Payload::HeartbeatReply { round, last } => self.heartbeat_answered(from, round, last),
            Payload::SnapshotReply { last, progress } => self.snapshot_answered(from, last, progress),
            _ => {}
        }
    }

    pub(super) fn append_accepted(&mut self, from: NodeId, matched: Index) {
        if matched > self.log.last() {
            return self.refuse(from, "an acknowledgement of entries that were never sent");
        }
        let before = self.log.before().index;
        let Some(peer) = self.peer(from) else { return };
        peer.acknowledged(matched);
        // A peer that has what comes before the first entry needs no snapshot any more.
        let covered = match &peer.pace {
            Pace::Probe { .. } => true,
            Pace::Replicate => false,
            Pace::Snapshot(_) => peer.matched >= before,
        };
        if covered {
            peer.replicate();
        }
        self.advance_commit();
    }

    fn append_rejected(&mut self, from: NodeId, previous: Index, hint: EntryId) {
        let possible = self.log.last_possible_match(hint.index, hint.term);
        let Some(peer) = self.peer(from) else { return };
        let is_late = match peer.pace {
            Pace::Probe { .. } => previous.checked_add(1) != Some(peer.next),
            Pace::Replicate => previous <= peer.matched || previous >= peer.next,
            Pace::Snapshot(_) => true,
        };
        if !is_late && previous > peer.matched {
            peer.probe(possible.index.min(previous - 1) + 1);
        }
    }

    fn heartbeat_answered(&mut self, from: NodeId, round: u64, last: Index) {
        let (now, patience) = (self.now, self.retransmit_after());
        if self.leader_state().is_some_and(|leader| round > leader.round) {
            return self.refuse(from, "a confirmation of a round that was never asked for");
        }
        let Some(peer) = self.peer(from) else { return };
        peer.round = peer.round.max(round);
        let overdue = |since: Time| now.since(since) >= patience;
        match &mut peer.pace {
            // The peer lives, and the probe or its answer is gone: ask again.
            Pace::Probe { sent } => *sent = sent.filter(|since| !overdue(*since)),
            Pace::Replicate => {
                let lost = peer.oldest_inflight_beyond(last).is_some_and(overdue);
                let answer_lost = peer
                    .oldest_inflight()
                    .is_some_and(|since| now.since(since) >= patience.saturating_mul(4));
                if lost || answer_lost {
                    peer.probe(peer.matched + 1);
                }
            }
            Pace::Snapshot(transfer) => {
                if overdue(transfer.since) {
                    transfer.since = now;
                    self.load_snapshot(from);
                }
            }
        }
        self.advance_reads();
    }

    /// How long an answer may take before what was asked counts as lost.
    fn retransmit_after(&self) -> std::time::Duration {
        self.config.election_timeout_min / 2
    }

    pub(super) fn peer(&mut self, node: NodeId) -> Option<&mut Progress> {
        self.leader_state()?.peers.get_mut(&node)
    }

    pub(super) fn broadcast_heartbeat(&mut self) {
        let commit = self.commit;
        let Some(leader) = self.leader_state() else { return };
        let round = leader.round;
        let told: Vec<_> = leader
            .peers
            .iter_mut()
            .map(|(node, peer)| {
                peer.commit_told = commit.min(peer.matched);
                (*node, peer.commit_told)
            })
            .collect();
        for (node, index) in told {
            let commit = self.entry_id(index).unwrap_or(EntryId::ZERO);
            self.send(node, Payload::Heartbeat { commit, round });
        }
    }

    /// Sends every peer what it may be sent.
    pub(super) fn flush_appends(&mut self) {
        let Some(leader) = self.leader_state() else { return };
        let peers: Vec<NodeId> = leader.peers.keys().copied().collect();
        for node in peers {
            while self.send_append(node) {}
            self.tell_commit(node);
        }
    }

    /// Sends one append; false when there is nothing more to send for now.
    fn send_append(&mut self, to: NodeId) -> bool {
        let config = &self.config;
        let (messages_max, bytes_max) = (config.inflight_messages_max, config.inflight_bytes_max);
        let append_bytes_max = config.append_bytes_max;
        let (now, last, before) = (self.now, self.log.last(), self.log.before());
        let Some(peer) = self.peer(to) else { return false };
        let is_probe = match &peer.pace {
            Pace::Probe { sent: Some(_) } | Pace::Snapshot(_) => return false,
            Pace::Probe { sent: None } => true,
            Pace::Replicate if !peer.has_room(messages_max, bytes_max) || peer.next > last => return false,
            Pace::Replicate => false,
        };
        let next = peer.next;
        if next <= before.index {
            peer.pace = Pace::Snapshot(Transfer { last: None, total: 0, offset: 0, since: now });
            self.load_snapshot(to);
            return false;
        }
        let entries = match self.log.slice(next, last + 1, append_bytes_max) {
            Slice::Entries(entries) => entries,
            Slice::InStorage => return self.load_entries(to, next, last + 1),
        };
        self.send_entries(to, next, entries);
        !is_probe
    }

    /// Asks the storage for entries that are no longer in memory. Always false: there is nothing to send yet.
    fn load_entries(&mut self, to: NodeId, from: Index, end: Index) -> bool {
        let truncation = self.outbox.truncation();
        let max_bytes = self.config.append_bytes_max;
        let Some(peer) = self.peer(to) else { return false };
        if !peer.loading {
            peer.loading = true;
            let purpose = LoadPurpose::Send(to);
            self.outbox.push(Output::Load(LoadRequest { purpose, from, to: end, max_bytes, truncation }));
        }
        false
    }

    fn send_entries(&mut self, to: NodeId, next: Index, entries: Vec<Entry>) {
        let Some(term) = self.log.term(next - 1) else { return };
        let (now, commit) = (self.now, self.commit);
        let Some(peer) = self.peer(to) else { return };
        peer.commit_told = commit.min(next - 1 + entries.len() as u64).max(peer.commit_told);
        if let Pace::Probe { sent } = &mut peer.pace {
            *sent = Some(now);
        } else if let Some(last) = entries.last() {
            peer.sent(last.id.index, entries.iter().map(Entry::cost).sum(), now);
        }
        self.send(to, Payload::Append { previous: EntryId::new(term, next - 1), commit, entries });
    }

    /// Tells a peer what is committed, if no append did.
    fn tell_commit(&mut self, to: NodeId) {
        let commit = self.commit;
        let Some(peer) = self.peer(to) else { return };
        let index = commit.min(peer.matched);
        if index > peer.commit_told && peer.pace == Pace::Replicate {
            peer.commit_told = index;
            if let Some(id) = self.entry_id(index) {
                self.send(to, Payload::Commit { id });
            }
        }
    }

    pub(super) fn loaded(&mut self, request: LoadRequest, entries: Vec<Entry>) {
        let is_current = request.truncation == self.outbox.truncation();
        match request.purpose {
            LoadPurpose::Apply => self.loaded_for_apply(is_current, entries),
            LoadPurpose::Send(to) => {
                let Some(peer) = self.peer(to) else { return };
                peer.loading = false;
                let wanted = peer.next == request.from
                    && matches!(peer.pace, Pace::Replicate | Pace::Probe { sent: None });
                if is_current && wanted && !entries.is_empty() {
                    self.send_entries(to, request.from, entries);
                }
            }
        }
    }
}

/// Whether each entry follows the one before, from `previous` on, with terms that never go back.
fn is_contiguous(previous: EntryId, entries: &[Entry]) -> bool {
    let mut before = previous;
    for entry in entries {
        if Some(entry.id.index) != before.index.checked_add(1) || entry.id.term < before.term {
            return false;
        }
        before = entry.id;
    }
    true
}
