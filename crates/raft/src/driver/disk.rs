use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_core::NodeId;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::mailbox::Mailbox;
use super::stop::{StopReason, panic_text};
use crate::core::{Input, LoadRequest};
use crate::entry::Entry;
use crate::state_machine::StateMachine;
use crate::storage::{Snapshot, Storage, StorageError, Write, WriteId};

/// What is asked of the storage.
pub(crate) enum DiskJob {
    Write(Write),
    Load(LoadRequest),
    LoadSnapshot { to: NodeId, offset: u64, max_bytes: usize },
    Restore(oneshot::Sender<Result<Option<Snapshot>, StorageError>>),
}

/// The storage, at work beside the core's task.
///
/// Jobs are gathered over a turn of the core and handed over together. A storage that blocks works on a
/// thread of the runtime's blocking pool, which it occupies only while there is work: it takes all that is
/// queued, writes it, syncs once, reports the newest write and looks again. So the writes of many turns share
/// a sync when the disk is slow, an idle group costs no thread, and a paused clock stands still meanwhile. A
/// storage that doesn't block works in place.
pub(crate) struct Disk<S: StateMachine> {
    pending: Vec<DiskJob>,
    mailbox: Arc<Mailbox<S>>,
    place: Place,
}

enum Place {
    Inline(Box<dyn Storage>),
    Pool(Handle, Arc<Mutex<Queue>>),
}

#[derive(Default)]
struct Queue {
    jobs: Vec<DiskJob>,
    /// At rest; elsewhere while a thread works with it.
    storage: Option<Box<dyn Storage>>,
    /// Nothing more will come. Told once the storage has been let go.
    released: Option<oneshot::Sender<()>>,
    /// Failed, and let go.
    gone: bool,
}

impl<S: StateMachine> Disk<S> {
    pub(crate) fn new(storage: Box<dyn Storage>, mailbox: Arc<Mailbox<S>>, runtime: Handle) -> Self {
        let place = if storage.blocks() {
            let queue = Queue { storage: Some(storage), ..Queue::default() };
            Place::Pool(runtime, Arc::new(Mutex::new(queue)))
        } else {
            Place::Inline(storage)
        };
        Self { pending: Vec::new(), mailbox, place }
    }

    /// Takes a job for the end of the turn.
    pub(crate) fn push(&mut self, job: DiskJob) {
        self.pending.push(job);
    }

    /// Hands the turn's jobs over. In place, they are done at once and their completions given to `done`.
    pub(crate) fn flush(&mut self, mut done: impl FnMut(Input)) -> Result<(), StopReason> {
        if self.pending.is_empty() {
            return Ok(());
        }
        match &mut self.place {
            Place::Inline(storage) => run(storage.as_mut(), self.pending.drain(..), &mut done),
            Place::Pool(runtime, queue) => {
                let mut guard = lock(queue);
                if guard.gone {
                    self.pending.clear();
                    return Ok(());
                }
                guard.jobs.append(&mut self.pending);
                let storage = guard.storage.take();
                drop(guard);
                if let Some(storage) = storage {
                    let (queue, mailbox) = (Arc::clone(queue), Arc::clone(&self.mailbox));
                    runtime.spawn_blocking(move || work(&queue, storage, &mailbox));
                }
                Ok(())
            }
        }
    }

    /// Lets the storage go once it has done what is queued.
    pub(crate) fn release(self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        match self.place {
            Place::Inline(storage) => {
                drop(storage);
                let _ = sender.send(());
            }
            Place::Pool(runtime, queue) => {
                let mut guard = lock(&queue);
                if guard.gone {
                    let _ = sender.send(());
                } else if let Some(storage) = guard.storage.take() {
                    // Letting go of files may block too.
                    runtime.spawn_blocking(move || {
                        drop(storage);
                        let _ = sender.send(());
                    });
                } else {
                    guard.released = Some(sender);
                }
            }
        }
        receiver
    }
}

/// Works until nothing is queued, on a thread that may block.
fn work<S: StateMachine>(queue: &Mutex<Queue>, mut storage: Box<dyn Storage>, mailbox: &Mailbox<S>) {
    let mut jobs = Vec::new();
    loop {
        let mut guard = lock(queue);
        std::mem::swap(&mut guard.jobs, &mut jobs);
        if jobs.is_empty() {
            match guard.released.take() {
                Some(released) => {
                    drop(guard);
                    drop(storage);
                    let _ = released.send(());
                }
                None => guard.storage = Some(storage),
            }
            return;
        }
        drop(guard);
        if let Err(reason) =
            run(storage.as_mut(), jobs.drain(..), &mut |input| mailbox.push_completion(input))
        {
            // Let go first: who hears of the end may open the storage again.
            drop(storage);
            let mut guard = lock(queue);
            guard.gone = true;
            guard.jobs.clear();
            let released = guard.released.take();
            drop(guard);
            if let Some(released) = released {
                let _ = released.send(());
            }
            return mailbox.stop(reason);
        }
    }
}

/// Does the jobs in order, syncs once if any was a write, and reports the newest write then.
fn run(
    storage: &mut dyn Storage,
    jobs: impl Iterator<Item = DiskJob>,
    done: &mut dyn FnMut(Input),
) -> Result<(), StopReason> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut newest = None;
        let mut jobs = jobs.peekable();
        while let Some(mut job) = jobs.next() {
            if let DiskJob::Write(write) = &mut job {
                let mut bytes = cost(write);
                while let Some(DiskJob::Write(next)) =
                    jobs.next_if(|job| appends(job, MERGED_BYTES_MAX.saturating_sub(bytes)))
                {
                    bytes += cost(&next);
                    write.entries.extend(next.entries);
                    write.id = next.id;
                }
            }
            run_one(storage, job, &mut newest, done)?;
        }
        if let Some(newest) = newest {
            storage.sync()?;
            done(Input::Persisted(newest));
        }
        Ok(())
    }));
    match outcome {
        Ok(result) => result.map_err(StopReason::Storage),
        Err(payload) => Err(StopReason::Storage(StorageError::Failed(panic_text(payload.as_ref())))),
    }
}

/// What the entries of a write count, in bytes.
fn cost(write: &Write) -> usize {
    write.entries.iter().map(Entry::cost).sum()
}

/// Whether the job is a write that could as well have been the end of the write before, and of no more bytes
/// than this.
fn appends(job: &DiskJob, bytes_max: usize) -> bool {
    let DiskJob::Write(write) = job else { return false };
    let Write { id: _, hard_state, snapshot, restart_after, discard_before, truncate_from, entries: _ } =
        write;
    hard_state.is_none()
        && snapshot.is_none()
        && restart_after.is_none()
        && discard_before.is_none()
        && truncate_from.is_none()
        && cost(write) <= bytes_max
}

fn run_one(
    storage: &mut dyn Storage,
    job: DiskJob,
    newest: &mut Option<WriteId>,
    done: &mut dyn FnMut(Input),
) -> Result<(), StorageError> {
    match job {
        DiskJob::Write(write) => {
            storage.write(&write)?;
            *newest = Some(write.id);
        }
        DiskJob::Load(request) => {
            let entries = storage.entries(request.from, request.to, request.max_bytes)?;
            done(Input::Loaded { request, entries });
        }
        DiskJob::LoadSnapshot { to, offset, max_bytes } => {
            let Some(Snapshot { meta, data }) = storage.snapshot()? else { return Ok(()) };
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
            let end = start.saturating_add(max_bytes).min(data.len());
            let total = data.len() as u64;
            done(Input::SnapshotLoaded {
                to,
                meta,
                total,
                offset: start as u64,
                data: data.slice(start..end),
            });
        }
        DiskJob::Restore(reply) => {
            let snapshot = storage.snapshot();
            let failure = snapshot.as_ref().err().cloned();
            let _ = reply.send(snapshot);
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
    }
    Ok(())
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many bytes of entries are handed to the storage as one write, unless one write of the core has more. A
/// larger one is no faster, and an application's storage would have to take it.
const MERGED_BYTES_MAX: usize = 8 << 20;
