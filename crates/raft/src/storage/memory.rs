use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_core::StoreId;

use super::outline::Outline;
use super::{HardState, Recovered, Snapshot, Storage, StorageError, Write};
use crate::entry::{Entry, EntryId, Index};

/// A storage in memory: for tests, and for groups that may forget everything when their processes end.
///
/// A clone is another handle on the same memory. [`crash`](Memory::crash) loses what was not synced, as a
/// power failure would, and cuts the handles from before it off, as the process they belonged to is gone. A
/// write costs no system call and doesn't block, so a driver makes it in place.
///
/// ```
/// use quorate_raft::{Memory, Storage, Write};
/// let mut storage = Memory::new(7);
/// storage.write(&Write { entries: vec![], ..Write::default() })?;
/// storage.sync()?;
/// let mut survivor = storage.crash();
/// assert_eq!(survivor.recover()?.last, 0);
/// assert!(storage.sync().is_err());
/// # Ok::<(), quorate_raft::StorageError>(())
/// ```
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Mutex<Shared>>,
    epoch: u64,
}

struct Shared {
    epoch: u64,
    store: StoreId,
    durable: State,
    current: State,
    unsynced: VecDeque<Write>,
    failure: Option<StorageError>,
    syncs: u64,
}

#[derive(Clone, Default)]
struct State {
    hard_state: HardState,
    snapshot: Option<Snapshot>,
    before_first: EntryId,
    entries: VecDeque<Entry>,
}

impl Memory {
    /// An empty storage with this identity. Draw it at random where several nodes, or several lives of one,
    /// must be told apart.
    pub fn new(store: impl Into<StoreId>) -> Self {
        let shared = Shared {
            epoch: 0,
            store: store.into(),
            durable: State::default(),
            current: State::default(),
            unsynced: VecDeque::new(),
            failure: None,
            syncs: 0,
        };
        Self { shared: Arc::new(Mutex::new(shared)), epoch: 0 }
    }

    /// Loses every write that was not synced, and returns the handle of the process that starts after it. All
    /// handles from before refuse everything.
    pub fn crash(&self) -> Self {
        self.crash_keeping(0)
    }

    /// As [`crash`](Memory::crash), but the first `writes` of those that were not synced happen to survive.
    pub fn crash_keeping(&self, writes: usize) -> Self {
        let mut shared = self.lock();
        for write in shared.unsynced.drain(..).take(writes).collect::<Vec<_>>() {
            // It was taken in once, after the same writes.
            let _ = shared.durable.take_in(&write);
        }
        shared.current = shared.durable.clone();
        shared.failure = None;
        shared.epoch += 1;
        Self { shared: Arc::clone(&self.shared), epoch: shared.epoch }
    }

    /// A memory of its own, with the same identity, as this one is now: all of it synced.
    pub fn fork(&self) -> Self {
        let shared = self.lock();
        let copy = Self::new(shared.store);
        let mut inner = copy.lock();
        (inner.durable, inner.current) = (shared.current.clone(), shared.current.clone());
        drop(inner);
        copy
    }

    /// Makes the next write or sync end with this error, and everything after it.
    pub fn fail(&self, error: StorageError) {
        self.lock().failure = Some(error);
    }

    /// How many syncs have completed.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// How many writes wait for a sync.
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self) -> Result<MutexGuard<'_, Shared>, StorageError> {
        let shared = self.lock();
        if shared.epoch != self.epoch {
            return Err(StorageError::Failed("the process that held this storage has crashed".to_owned()));
        }
        match &shared.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(shared),
        }
    }
}

impl Storage for Memory {
    fn recover(&mut self) -> Result<Recovered, StorageError> {
        let mut shared = self.usable()?;
        // Who recovers relies on all of it, as after a start from a disk whose cache a crash had spared.
        shared.make_durable();
        let state = &shared.current;
        let mut outline = Outline::new(state.before_first);
        for entry in &state.entries {
            outline.append(entry);
        }
        let meta = state.snapshot.as_ref().map(|snapshot| snapshot.meta.clone());
        Ok(outline.recovered(shared.store, state.hard_state.clone(), meta))
    }

    fn write(&mut self, write: &Write) -> Result<(), StorageError> {
        let mut shared = self.usable()?;
        if let Err(reason) = shared.current.take_in(write) {
            let error = StorageError::Failed(reason.to_owned());
            shared.failure = Some(error.clone());
            return Err(error);
        }
        shared.unsynced.push_back(write.clone());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        let mut shared = self.usable()?;
        shared.make_durable();
        shared.syncs += 1;
        Ok(())
    }

    fn entries(&mut self, from: Index, to: Index, max_bytes: usize) -> Result<Vec<Entry>, StorageError> {
        let shared = self.usable()?;
        let state = &shared.current;
        let Some(skip) = from.checked_sub(state.before_first.index + 1) else { return Ok(Vec::new()) };
        let mut bytes = 0usize;
        let entries = state.entries.iter().skip(skip as usize).take(to.saturating_sub(from) as usize);
        let fitting = entries.take_while(|entry| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(entry.cost());
            first || bytes <= max_bytes
        });
        Ok(fitting.cloned().collect())
    }

    fn snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        Ok(self.usable()?.current.snapshot.clone())
    }

    fn blocks(&self) -> bool {
        false
    }
}

impl Shared {
    fn make_durable(&mut self) {
        for write in self.unsynced.drain(..) {
            // It was taken in once, after the same writes.
            let _ = self.durable.take_in(&write);
        }
    }
}

impl State {
    fn take_in(&mut self, write: &Write) -> Result<(), &'static str> {
        if let Some(hard_state) = &write.hard_state {
            self.hard_state = hard_state.clone();
        }
        if let Some(snapshot) = &write.snapshot {
            self.snapshot = Some(snapshot.clone());
        }
        if let Some(after) = write.restart_after {
            self.entries.clear();
            self.before_first = after;
        }
        if let Some(first) = write.discard_before {
            while self.entries.front().is_some_and(|entry| entry.id.index < first) {
                self.before_first = self.entries.pop_front().map_or(self.before_first, |entry| entry.id);
            }
        }
        if let Some(from) = write.truncate_from {
            if from <= self.before_first.index {
                return Err("a truncation of entries that were discarded");
            }
            self.entries.truncate((from - self.before_first.index - 1) as usize);
        }
        for entry in &write.entries {
            let last = self.entries.back().map_or(self.before_first, |last| last.id);
            if entry.id.index != last.index + 1 || entry.id.term < last.term {
                return Err("an entry that doesn't follow the last one");
            }
            self.entries.push_back(entry.clone());
        }
        Ok(())
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.lock();
        f.debug_struct("Memory")
            .field("store", &shared.store)
            .field("before_first", &shared.current.before_first)
            .field("entries", &shared.current.entries.len())
            .field("unsynced", &shared.unsynced.len())
            .finish_non_exhaustive()
    }
}
