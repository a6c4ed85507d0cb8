//! Snapshots: taken here, sent to followers that are too far behind, received from a leader (Raft, section 7).

use bytes::{Bytes, BytesMut};
use quorate_core::NodeId;

use super::Raft;
use super::event::Event;
use super::io::Output;
use super::progress::Pace;
use crate::entry::{EntryId, Index, Membership};
use crate::message::Payload;
use crate::storage::{Snapshot, SnapshotMeta};

/// A snapshot that is arriving.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    last: EntryId,
    total: u64,
    data: BytesMut,
}

impl Raft {
    pub(super) fn take_snapshot_if_due(&mut self, last: EntryId) {
        let applying = &mut self.applying;
        if applying.bytes_since_snapshot >= self.config.snapshot_after_bytes && !applying.taking_snapshot {
            applying.taking_snapshot = true;
            applying.bytes_since_snapshot = 0;
            self.outbox.push(Output::TakeSnapshot { last });
        }
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
        if transfer.offset != offset {
            return;
        }
        if transfer.last.is_some_and(|last| last != meta.last) {
            // A newer snapshot has replaced the one that was being sent: begin again.
            transfer.last = None;
            if offset > 0 {
                transfer.offset = 0;
                return self.load_snapshot(to);
            }
        }
        transfer.last = Some(meta.last);
        transfer.since = now;
        self.send(to, Payload::Snapshot { meta, total, offset, data });
    }

    pub(super) fn snapshot_answered(&mut self, from: NodeId, last: EntryId, next: u64) {
        let now = self.now;
        let log_last = self.log.last();
        let Some(peer) = self.peer(from) else { return };
        let Pace::Snapshot(transfer) = &mut peer.pace else { return };
        if transfer.last != Some(last) {
            return;
        }
        if next == INSTALLED {
            let matched = last.index.min(log_last);
            peer.acknowledged(matched);
            peer.probe(matched + 1);
            self.advance_commit();
        } else if next != transfer.offset {
            transfer.offset = next;
            transfer.since = now;
            self.load_snapshot(from);
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
            return self.promise(from, Payload::SnapshotReply { last, next: INSTALLED });
        }
        let end = offset.checked_add(data.len() as u64);
        let is_possible = last.term <= self.hard.term && last.index < Index::MAX / 2;
        if !is_possible || total > self.config.snapshot_bytes_max || end.is_none_or(|end| end > total) {
            return self.refuse(from, "a snapshot that is too large or inconsistent");
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
            return self.promise_term(from, Payload::SnapshotReply { last, next: have });
        }
        if let Some(incoming) = self.incoming.take() {
            self.install(meta, incoming.data.freeze());
            self.promise(from, Payload::SnapshotReply { last, next: INSTALLED });
        }
    }

    fn install(&mut self, meta: SnapshotMeta, data: Bytes) {
        let last = meta.last;
        let snapshot = Snapshot { meta: meta.clone(), data };
        if self.log.contains(last) {
            self.outbox.snapshot(snapshot, last.index + 1);
            self.log.discard(last.index);
            self.memberships.retain(|(index, _)| *index > last.index);
        } else {
            self.outbox.restart(snapshot, last);
            self.log.restart(last);
            self.memberships.clear();
        }
        self.memberships.insert(0, (last.index, meta.membership.clone()));
        self.commit = last.index;
        self.applying.restore(last);
        self.proposals_overtaken(last.index);
        self.outbox.promise(Output::Restore(meta));
        self.event(Event::SnapshotInstalled { last });
    }
}

/// In a reply: the whole snapshot is installed, durably. An offset can't say it, for a snapshot may be empty.
const INSTALLED: u64 = u64::MAX;
