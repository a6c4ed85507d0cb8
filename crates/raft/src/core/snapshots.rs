//! Snapshots: taken here, sent to followers that are too far behind, received from a leader (Raft, section 7).

use bytes::{Bytes, BytesMut};
use quorate_core::NodeId;

use super::event::Event;
use super::io::Output;
use super::progress::Pace;
use super::{Raft, Role};
use crate::entry::{EntryId, Index, Membership};
use crate::message::{Payload, SnapshotProgress};
use crate::storage::{Snapshot, SnapshotMeta};

/// A snapshot that is arriving.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    last: EntryId,
    total: u64,
    data: BytesMut,
}

impl Incoming {
    /// Whether a commit has overtaken it.
    pub(super) fn is_covered_by(&self, commit: Index) -> bool {
        self.last.index <= commit
    }
}

impl Raft {
    pub(super) fn take_snapshot_if_due(&mut self, last: EntryId) {
        let applying = &mut self.applying;
        // A state that is larger than the entries since is not worth writing again yet.
        let due = self.config.snapshot_after_bytes.max(applying.snapshot_bytes);
        if applying.bytes_since_snapshot < due || applying.taking_snapshot {
            return;
        }
        // A transfer that is under way would have to begin again with a new snapshot, so it is waited for, up
        // to a limit.
        let overdue = applying.bytes_since_snapshot >= due.saturating_mul(TRANSFER_PATIENCE);
        if overdue || !self.is_transferring() {
            let applying = &mut self.applying;
            applying.taking_snapshot = true;
            applying.bytes_since_snapshot = 0;
            self.outbox.push(Output::TakeSnapshot { last });
        }
    }

    /// Whether a peer is being sent a snapshot, and answers.
    fn is_transferring(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let patience = self.config.election_timeout_max;
        leader.peers.values().any(|peer| match &peer.pace {
            Pace::Snapshot(transfer) => self.now.since(transfer.since) < patience,
            _ => false,
        })
    }

    pub(super) fn snapshot_taken(&mut self, last: EntryId, data: Bytes) {
        self.applying.taking_snapshot = false;
        if last.index <= self.applying.snapshot.index || !self.log.contains(last) {
            return;
        }
        let membership = self.membership_at(last.index);
        let kept = last.index.saturating_sub(self.config.snapshot_keep_entries);
        let through = kept.max(self.log.before().index);
        self.applying.snapshot = last;
        self.applying.snapshot_bytes = data.len() as u64;
        let meta = SnapshotMeta { last, membership };
        self.outbox.snapshot(Snapshot { meta, data }, through + 1);
        self.log.discard(through);
        self.forget_memberships(through);
        self.event(Event::Compacted { first: self.log.first() });
    }

    fn membership_at(&self, index: Index) -> Membership {
        let upto = self.memberships.partition_point(|(at, _)| *at <= index);
        upto.checked_sub(1).map(|at| self.memberships[at].1.clone()).unwrap_or_default()
    }

    /// Drops the memberships that a later one before `through` replaced.
    fn forget_memberships(&mut self, through: Index) {
        let upto = self.memberships.partition_point(|(at, _)| *at <= through);
        self.memberships.drain(..upto.saturating_sub(1));
    }

    /// Asks the storage for the piece that a peer needs next.
    pub(super) fn load_snapshot(&mut self, to: NodeId) {
        let max_bytes = self.config.snapshot_chunk_bytes;
        let Some(peer) = self.peer(to) else { return };
        if let Pace::Snapshot(transfer) = &peer.pace {
            let offset = transfer.offset;
            self.outbox.push(Output::LoadSnapshot { to, offset, max_bytes });
        }
    }

    pub(super) fn snapshot_loaded(
        &mut self,
        to: NodeId,
        meta: SnapshotMeta,
        total: u64,
        offset: u64,
        data: Bytes,
    ) {
        let now = self.now;
        let Some(peer) = self.peer(to) else { return };
        let Pace::Snapshot(transfer) = &mut peer.pace else { return };
        transfer.total = total;
        if transfer.last.is_some_and(|last| last != meta.last) && transfer.offset > 0 {
            // A newer snapshot has replaced the one that was being sent: begin again. It may be shorter than
            // the offset that was asked for, so that is not looked at before.
            (transfer.last, transfer.offset) = (None, 0);
            return self.load_snapshot(to);
        }
        if transfer.offset != offset {
            return;
        }
        transfer.last = Some(meta.last);
        transfer.since = now;
        self.send(to, Payload::Snapshot { meta, total, offset, data });
    }

    pub(super) fn snapshot_answered(&mut self, from: NodeId, last: EntryId, progress: SnapshotProgress) {
        let (now, patience) = (self.now, self.config.election_timeout_max);
        let log_last = self.log.last();
        let Some(peer) = self.peer(from) else { return };
        let Pace::Snapshot(transfer) = &mut peer.pace else { return };
        if transfer.last != Some(last) {
            return;
        }
        match progress {
            SnapshotProgress::Installed => {
                let matched = last.index.min(log_last);
                peer.acknowledged(matched);
                peer.probe(matched + 1);
                self.advance_commit();
            }
            SnapshotProgress::Received(next) if next > transfer.total => {
                self.refuse(from, "more of a snapshot than there is");
            }
            SnapshotProgress::Received(next) => {
                if next != transfer.offset {
                    (transfer.offset, transfer.since) = (next, now);
                    self.load_snapshot(from);
                }
            }
            SnapshotProgress::Refused => {
                // Asking again at once would not help: its limit has to be raised first.
                transfer.since = now + patience.saturating_mul(REFUSED_PATIENCE);
                self.event(Event::SnapshotRefused { node: from, last });
            }
        }
    }

    pub(super) fn snapshot_received(
        &mut self,
        from: NodeId,
        meta: SnapshotMeta,
        total: u64,
        offset: u64,
        data: Bytes,
    ) {
        let last = meta.last;
        if last.index <= self.commit {
            // What is committed here matches the leader's log, so the snapshot has nothing to add.
            let progress = SnapshotProgress::Installed;
            return self.promise(from, Payload::SnapshotReply { last, progress });
        }
        let end = offset.checked_add(data.len() as u64);
        let is_possible = last.term <= self.hard.term
            && last.index < Index::MAX / 2
            && !meta.membership.voters.is_empty()
            && end.is_some_and(|end| end <= total);
        if !is_possible {
            return self.refuse(from, "a snapshot that contradicts itself");
        }
        if total > self.config.snapshot_bytes_max {
            let progress = SnapshotProgress::Refused;
            return self.promise_term(from, Payload::SnapshotReply { last, progress });
        }
        let fresh = Incoming { last, total, data: BytesMut::new() };
        let incoming = self.incoming.get_or_insert(fresh.clone());
        if (incoming.last, incoming.total) != (last, total) {
            *incoming = fresh;
        }
        let have = incoming.data.len() as u64;
        if offset == have {
            incoming.data.extend_from_slice(&data);
        }
        let have = incoming.data.len() as u64;
        if have < total {
            let progress = SnapshotProgress::Received(have);
            return self.promise_term(from, Payload::SnapshotReply { last, progress });
        }
        if let Some(incoming) = self.incoming.take() {
            self.install(meta, incoming.data.freeze());
            self.promise(from, Payload::SnapshotReply { last, progress: SnapshotProgress::Installed });
        }
    }

    fn install(&mut self, meta: SnapshotMeta, data: Bytes) {
        let last = meta.last;
        self.applying.snapshot_bytes = data.len() as u64;
        let snapshot = Snapshot { meta: meta.clone(), data };
        if self.log.contains(last) {
            self.outbox.snapshot(snapshot, last.index + 1);
            self.log.discard(last.index);
            self.memberships.retain(|(index, _)| *index > last.index);
        } else {
            self.outbox.restart(Some(snapshot), last);
            self.log.restart(last);
            self.memberships.clear();
        }
        self.memberships.insert(0, (last.index, meta.membership.clone()));
        self.commit = last.index;
        self.applying.restore(last);
        self.proposals_overtaken(last.index);
        self.outbox.withdraw_restores();
        self.outbox.promise(Output::Restore(meta));
        self.event(Event::SnapshotInstalled { last });
    }
}

/// How many times the bytes that make a snapshot due may gather while one is being sent.
const TRANSFER_PATIENCE: u64 = 4;

/// How many election timeouts a leader waits before it offers a refused snapshot again.
const REFUSED_PATIENCE: u32 = 16;
