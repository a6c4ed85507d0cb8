use std::collections::VecDeque;

use quorate_core::NodeId;
use quorate_raft::{Input, LoadRequest, Snapshot, Storage, StorageError, Write, WriteId};

use super::medium::Medium;
use super::shadow::{Shadow, Written};

/// The storage's thread: it takes all that is queued, writes it, syncs once and reports the newest write.
/// Between the steps time passes, and a crash can come.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) medium: Medium,
    queue: VecDeque<Job>,
    /// Snapshots that were read for the state machine.
    pub(super) restored: VecDeque<Option<Snapshot>>,
    newest: Option<WriteId>,
    pub(super) busy: bool,
    /// A fault was put in its way.
    pub(super) expects_failure: bool,
    pub(super) ledger: Ledger,
}

/// What a storage was given, for the judgement of what it brings back.
#[derive(Debug)]
pub(super) struct Ledger {
    /// What is durable for certain.
    pub(super) durable: Shadow,
    /// Written, not synced.
    unsynced: Vec<Written>,
}

#[derive(Debug)]
pub(super) enum Job {
    Write(Box<Write>, Written),
    Load(LoadRequest),
    LoadSnapshot {
        to: NodeId,
        offset: u64,
        max_bytes: usize,
    },
    /// Reads the newest snapshot for the state machine, as of this place in the order of writes.
    Restore,
}

impl Disk {
    pub(super) fn new(medium: Medium, durable: Shadow) -> Self {
        let ledger = Ledger { durable, unsynced: Vec::new() };
        Self {
            medium,
            queue: VecDeque::new(),
            restored: VecDeque::new(),
            newest: None,
            busy: false,
            expects_failure: false,
            ledger,
        }
    }

    pub(super) fn push(&mut self, job: Job) {
        self.queue.push_back(job);
    }

    pub(super) fn has_work(&self) -> bool {
        !self.busy && !self.queue.is_empty()
    }

    /// Does all that is queued, but syncs nothing. Loads are answered at once; true if a sync must follow.
    pub(super) fn write(&mut self, answers: &mut Vec<Input>) -> Result<bool, StorageError> {
        for job in self.queue.drain(..) {
            match job {
                Job::Write(write, written) => {
                    // Noted first: a write that a crash interrupts may be there in part.
                    self.ledger.unsynced.push(written);
                    self.newest = Some(write.id);
                    self.medium.storage.write(&write)?;
                }
                Job::Load(request) => {
                    let entries = self.medium.storage.entries(request.from, request.to, request.max_bytes)?;
                    answers.push(Input::Loaded { request, entries });
                }
                Job::Restore => self.restored.push_back(self.medium.storage.snapshot()?),
                Job::LoadSnapshot { to, offset, max_bytes } => {
                    if let Some(snapshot) = self.medium.storage.snapshot()? {
                        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(snapshot.data.len());
                        let end = start.saturating_add(max_bytes).min(snapshot.data.len());
                        answers.push(Input::SnapshotLoaded {
                            to,
                            total: snapshot.data.len() as u64,
                            offset: start as u64,
                            data: snapshot.data.slice(start..end),
                            meta: snapshot.meta,
                        });
                    }
                }
            }
        }
        if self.newest.is_none() {
            self.spare();
        }
        Ok(self.newest.is_some())
    }

    /// A failure that was to come and has not does not come later.
    fn spare(&mut self) {
        self.medium.disk.stop_after(u64::MAX);
        self.expects_failure = false;
    }

    /// Syncs what was written.
    pub(super) fn sync(&mut self) -> Result<Option<WriteId>, StorageError> {
        self.medium.storage.sync()?;
        self.spare();
        let Ledger { durable, unsynced } = &mut self.ledger;
        unsynced.drain(..).for_each(|written| durable.write(&written));
        Ok(self.newest.take())
    }
}

impl Ledger {
    /// Judges what was recovered after a crash: the durable writes and some of those that were not synced, in
    /// order, none left out in between.
    pub(super) fn judge(&self, recovered: &Shadow) -> Result<(), String> {
        let mut expected = self.durable.clone();
        if recovered.agrees_with(&expected) {
            return Ok(());
        }
        for written in &self.unsynced {
            for step in 0..written.steps() {
                expected.write_step(written, step);
                if recovered.agrees_with(&expected) {
                    return Ok(());
                }
            }
        }
        Err(format!(
            "durable was {:?}, then {} writes without a sync came to {expected:?}; recovered was {recovered:?}",
            self.durable,
            self.unsynced.len()
        ))
    }
}
