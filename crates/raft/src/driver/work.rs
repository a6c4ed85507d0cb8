use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::core::Committed;
use crate::entry::EntryId;
use crate::error::{ProposeError, ReadError};
use crate::state_machine::StateMachine;
use crate::storage::{Snapshot, SnapshotMeta, StorageError};

/// Where the answer to a proposal goes. Dropped without one, it says that the node has stopped.
pub(crate) struct Reply<T> {
    sender: oneshot::Sender<Result<T, ProposeError>>,
    _permits: [Permit; 2],
}

impl<T> Reply<T> {
    pub(crate) fn new(sender: oneshot::Sender<Result<T, ProposeError>>, permits: [Permit; 2]) -> Self {
        Self { sender, _permits: permits }
    }

    /// Answers; for nothing if the asker has gone.
    pub(crate) fn send(self, result: Result<T, ProposeError>) {
        let _ = self.sender.send(result);
    }
}

/// A read that waits. Called once: with the state, or with why there is none to see.
pub(crate) type ReadJob<S> = Box<dyn FnOnce(Result<&S, ReadError>) + Send>;

/// What the application asks of the core's task.
pub(crate) enum Request<S: StateMachine> {
    /// Append this.
    Propose { command: Bytes, reply: Reply<S::Response> },
    /// Read, linearizably.
    Read(ReadJob<S>),
    /// Read what there is.
    Local(ReadJob<S>),
}

/// A committed entry, and who waits for its result.
pub(crate) type Answerable<S> = (Committed, Option<Reply<<S as StateMachine>::Response>>);

/// What the core's task asks of the state machine's task.
pub(crate) enum Job<S: StateMachine> {
    Apply(Vec<Answerable<S>>),
    Read(ReadJob<S>),
    TakeSnapshot(EntryId),
    Restore(SnapshotMeta, oneshot::Receiver<Result<Option<Snapshot>, StorageError>>),
}

/// Counts what is under way, in whatever unit, against a limit. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Gauge {
    used: Arc<AtomicUsize>,
    max: usize,
}

/// A share of a [`Gauge`], given back on drop.
#[derive(Debug)]
pub(crate) struct Permit {
    used: Arc<AtomicUsize>,
    amount: usize,
}

impl Gauge {
    pub(crate) fn new(max: usize) -> Self {
        Self { used: Arc::new(AtomicUsize::new(0)), max }
    }

    /// A share, if it fits, or if nothing else is under way.
    pub(crate) fn acquire(&self, amount: usize) -> Option<Permit> {
        // Relaxed: the count protects no other memory.
        let before = self.used.fetch_add(amount, Ordering::Relaxed);
        let permit = Permit { used: Arc::clone(&self.used), amount };
        (before == 0 || before.saturating_add(amount) <= self.max).then_some(permit)
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.used.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// What waits for an answer, by an id that is unique within a boot: a slot and how often it was used.
pub(crate) struct Waiting<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Waiting<T> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// Keeps it, and names it.
    pub(crate) fn insert(&mut self, waiter: T) -> u64 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let (uses, kept) = &mut self.slots[slot as usize];
        *uses = uses.wrapping_add(1);
        *kept = Some(waiter);
        u64::from(*uses) << 32 | u64::from(slot)
    }

    /// Gives it back, once.
    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let slot = id as u32;
        let (uses, kept) = self.slots.get_mut(slot as usize)?;
        if u64::from(*uses) != id >> 32 {
            return None;
        }
        let waiter = kept.take()?;
        self.free.push(slot);
        Some(waiter)
    }
}
