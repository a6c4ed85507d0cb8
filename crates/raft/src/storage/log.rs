use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_wal::{Directory, Disk, Error as WalError, StreamId};

use super::layout::{
    ENTRY_HEAD_BYTES, decode_entry, decode_snapshot, decode_state, encode_entry, encode_snapshot,
    encode_state,
};
use super::outline::Outline;
use super::{HardState, Recovered, Snapshot, SnapshotMeta, Storage, StorageError, Write};
use crate::entry::{Entry, EntryId, Index};

/// The storage on disk, over a `quorate_wal::Log`: one stream of it for each raft group.
///
/// A write costs one write to a file that lies there already, a sync one `fdatasync`, whatever they hold.
/// Entries are records, term and vote are the stream's state, a snapshot is a sealed file beside the log.
/// Space returns as snapshots let entries go. The newest snapshot that was read is kept in memory, because a
/// transfer to a follower asks for it piece by piece.
///
/// [`group`](Log::group) gives storages of further groups on the same log.
pub struct Log<D: Disk = Directory> {
    wal: Arc<Mutex<quorate_wal::Log<D>>>,
    group: u64,
    limits: Limits,
    hard: HardState,
    outline: Outline,
    snapshot: Option<SnapshotMeta>,
    read: Option<Snapshot>,
    failure: Option<StorageError>,
}

/// What the log under it takes.
#[derive(Clone, Copy)]
struct Limits {
    /// The largest payload of an entry.
    entry_bytes_max: usize,
    /// How much may be staged before it is written.
    stage_bytes_max: usize,
}

impl Limits {
    fn of(config: &quorate_wal::Config) -> Self {
        Self {
            entry_bytes_max: config.record_bytes_max.saturating_sub(ENTRY_HEAD_BYTES),
            stage_bytes_max: config.stage_bytes_max.min(STAGE_BYTES_MAX),
        }
    }
}

impl Log {
    /// Opens the log in a directory, made new if it is missing, for group 0.
    ///
    /// # Errors
    ///
    /// [`StorageError::Unavailable`] if it is in use by another process or can't be read,
    /// [`StorageError::Damaged`] if what is there can't be trusted.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        let config = quorate_wal::Config { sealed_bytes_max: SNAPSHOT_BYTES_MAX, ..Default::default() };
        let limits = Limits::of(&config);
        let wal = quorate_wal::Log::open_with(path, config).map_err(opening)?;
        Ok(Self::on(Arc::new(Mutex::new(wal)), limits, 0))
    }
}

impl<D: Disk> Log<D> {
    /// Opens the log on a disk of any kind, made new if it has none, for group 0.
    ///
    /// The limit on a record is that on a command and 9 bytes: a [`Node`](crate::Node) on it takes none that
    /// are larger. The limit on a state must leave room for 39 bytes and 24 for each voter.
    ///
    /// # Errors
    ///
    /// As [`Log::open`].
    pub fn with_disk(disk: D, config: quorate_wal::Config) -> Result<Self, StorageError> {
        let limits = Limits::of(&config);
        let wal = quorate_wal::Log::with_disk(disk, config).map_err(opening)?;
        Ok(Self::on(Arc::new(Mutex::new(wal)), limits, 0))
    }

    /// The storage of another group on the same log. Ask once for each: two storages of one group at a time
    /// would not know of each other's writes.
    ///
    /// The groups' syncs go one after another, and each makes durable what all of them have written.
    pub fn group(&self, group: u64) -> Self {
        Self::on(Arc::clone(&self.wal), self.limits, group)
    }

    fn on(wal: Arc<Mutex<quorate_wal::Log<D>>>, limits: Limits, group: u64) -> Self {
        Self {
            wal,
            group,
            limits,
            hard: HardState::default(),
            outline: Outline::new(EntryId::ZERO),
            snapshot: None,
            read: None,
            failure: None,
        }
    }

    fn stream(&self) -> StreamId {
        StreamId::new(self.group)
    }

    /// Makes a failure final.
    fn guarded<R>(
        &mut self,
        work: impl FnOnce(&mut Self, &mut quorate_wal::Log<D>) -> Result<R, StorageError>,
    ) -> Result<R, StorageError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let wal = Arc::clone(&self.wal);
        let result = work(self, &mut lock(&wal));
        self.failure = result.as_ref().err().cloned();
        result
    }

    fn take_in(&mut self, wal: &mut quorate_wal::Log<D>, write: &Write) -> Result<(), StorageError> {
        let stream = self.stream();
        if let Some(hard) = &write.hard_state {
            self.hard = hard.clone();
            self.put_state(wal)?;
        }
        if let Some(snapshot) = &write.snapshot {
            // The file is durable at once, so what was written before it must be, too.
            wal.commit().map_err(failed)?;
            self.put_snapshot(wal, snapshot)?;
        }
        if let Some(after) = write.restart_after {
            self.restart(wal, after)?;
        }
        if let Some(first) = write.discard_before {
            self.outline.discard(first);
            self.put_state(wal)?;
            self.drop_discarded(wal)?;
        }
        if let Some(from) = write.truncate_from {
            if from <= self.outline.before_first().index {
                return Err(StorageError::Failed(format!(
                    "entry {from} is discarded and can't be truncated"
                )));
            }
            if from <= self.outline.last().index {
                wal.truncate(stream, from).map_err(failed)?;
                self.outline.truncate(from);
            }
        }
        for entry in &write.entries {
            if !self.outline.accepts(entry.id) {
                let last = self.outline.last();
                return Err(StorageError::Failed(format!("entry {} doesn't follow {last}", entry.id)));
            }
            let (head, payload) = encode_entry(entry);
            // A write may hold more than may be staged: what is staged is brought to the file in between.
            let staged = wal.staged_bytes();
            if staged > 0 && staged + payload.len() + RECORD_OVERHEAD_BYTES > self.limits.stage_bytes_max {
                wal.write().map_err(failed)?;
            }
            wal.append_parts(stream, entry.id.index, &[&head, &payload]).map_err(failed)?;
            self.outline.append(entry);
        }
        wal.write().map_err(failed)
    }

    fn put_state(&self, wal: &mut quorate_wal::Log<D>) -> Result<(), StorageError> {
        let state = encode_state(&self.hard, self.outline.before_first());
        wal.set_state(self.stream(), &state).map_err(failed)
    }

    /// Drops the log. The state follows the reset, so that a state is never ahead of what it describes; if a
    /// crash comes between the two, the snapshot tells where the log goes on.
    fn restart(&mut self, wal: &mut quorate_wal::Log<D>, after: EntryId) -> Result<(), StorageError> {
        wal.reset(self.stream(), after.index + 1).map_err(failed)?;
        self.outline = Outline::new(after);
        self.put_state(wal)
    }

    /// Brings the stream's start up to where the state says that it is.
    fn drop_discarded(&self, wal: &mut quorate_wal::Log<D>) -> Result<(), StorageError> {
        let first = self.outline.before_first().index + 1;
        if wal.range(self.stream()).start < first {
            wal.remove_prefix(self.stream(), first).map_err(failed)?;
        }
        Ok(())
    }

    fn put_snapshot(
        &mut self,
        wal: &mut quorate_wal::Log<D>,
        snapshot: &Snapshot,
    ) -> Result<(), StorageError> {
        wal.write_sealed(&self.name(snapshot.meta.last), &encode_snapshot(snapshot)).map_err(failed)?;
        let older =
            self.snapshot.replace(snapshot.meta.clone()).filter(|older| older.last != snapshot.meta.last);
        if let Some(older) = older {
            // One that stays takes room, and is removed when the log is next opened.
            let _ = wal.remove_sealed(&self.name(older.last));
        }
        self.read = None;
        Ok(())
    }

    fn recover_from(&mut self, wal: &mut quorate_wal::Log<D>) -> Result<Recovered, StorageError> {
        let names = self.snapshot_names(wal)?;
        self.read = match names.last() {
            Some((last, name)) => Some(self.read_snapshot(wal, *last, name)?),
            None => None,
        };
        self.snapshot = self.read.as_ref().map(|snapshot| snapshot.meta.clone());
        let mut floor = EntryId::ZERO;
        if let Some(state) = wal.state(self.stream()) {
            (self.hard, floor) = decode_state(state).map_err(|error| damaged("the state", error))?;
        }
        let covered = self.snapshot.as_ref().map_or(EntryId::ZERO, |snapshot| snapshot.last);
        self.scan(wal, floor, covered)?;
        let before_first = self.outline.before_first();
        if covered.index < before_first.index {
            return Err(damaged(
                "the log",
                format!("it begins after {before_first}, but nothing covers that"),
            ));
        }
        if self.outline.term(covered.index) != Some(covered.term) {
            // The snapshot was installed over a log that it does not continue, and a crash came before the
            // log was dropped.
            self.restart(wal, covered)?;
        } else if self.outline.before_first() != floor {
            self.put_state(wal)?;
        }
        if wal.range(self.stream()).end > 0 {
            self.drop_discarded(wal)?;
        }
        wal.commit().map_err(failed)?;
        for (_, name) in names.iter().rev().skip(1) {
            wal.remove_sealed(name).map_err(failed)?;
        }
        Ok(self.outline.recovered(wal.store_id(), self.hard.clone(), self.snapshot.clone()))
    }

    /// Reads every entry once, for the outline.
    fn scan(
        &mut self,
        wal: &quorate_wal::Log<D>,
        floor: EntryId,
        covered: EntryId,
    ) -> Result<(), StorageError> {
        let range = wal.range(self.stream());
        let is_known = range.end > 0;
        let next = floor.index + 1;
        self.outline = Outline::new(floor);
        if !is_known && floor == EntryId::ZERO {
            return Ok(());
        }
        if range.start > next && range.start == covered.index + 1 {
            // The log was dropped for the snapshot, and a crash came before the state said so.
            self.outline = Outline::new(covered);
        } else if range.start > next || range.end < next {
            let text = format!("it holds entries {} to {}, after {floor}", range.start, range.end);
            return Err(damaged("the log", text));
        }
        let mut at = self.outline.last().index + 1;
        while at < range.end {
            let records = wal.read(self.stream(), at, range.end, SCAN_BYTES).map_err(reading)?;
            if records.is_empty() {
                return Err(damaged("the log", format!("entry {at} is missing")));
            }
            for (index, record) in records {
                let entry = decode_entry(index, record).map_err(|error| damaged("an entry", error))?;
                if !self.outline.accepts(entry.id) {
                    let last = self.outline.last();
                    return Err(damaged("the log", format!("entry {} doesn't follow {last}", entry.id)));
                }
                self.outline.append(&entry);
                at = index + 1;
            }
        }
        Ok(())
    }

    /// The group's snapshots, the newest last.
    fn snapshot_names(&self, wal: &quorate_wal::Log<D>) -> Result<Vec<(EntryId, String)>, StorageError> {
        let prefix = format!("snapshot-{}-", self.group);
        let parse = |name: String| {
            let (term, index) = name.strip_prefix(&prefix)?.split_once('-')?;
            let last = EntryId::new(term.parse().ok()?, index.parse().ok()?);
            (self.name(last) == name).then_some((last, name))
        };
        let mut names: Vec<_> = wal.list_sealed().map_err(reading)?.into_iter().filter_map(parse).collect();
        names.sort_by_key(|(last, _)| (last.index, last.term));
        Ok(names)
    }

    fn read_snapshot(
        &self,
        wal: &quorate_wal::Log<D>,
        last: EntryId,
        name: &str,
    ) -> Result<Snapshot, StorageError> {
        let missing = || damaged("the snapshot", format!("{name} has gone"));
        let bytes = wal.read_sealed(name).map_err(reading)?.ok_or_else(missing)?;
        let snapshot = decode_snapshot(bytes).map_err(|error| damaged("the snapshot", error))?;
        if snapshot.meta.last != last {
            return Err(damaged("the snapshot", format!("{name} covers {}", snapshot.meta.last)));
        }
        Ok(snapshot)
    }

    fn name(&self, last: EntryId) -> String {
        format!("snapshot-{}-{}-{}", self.group, last.term, last.index)
    }
}

impl<D: Disk> Storage for Log<D> {
    fn recover(&mut self) -> Result<Recovered, StorageError> {
        self.guarded(Self::recover_from)
    }

    fn write(&mut self, write: &Write) -> Result<(), StorageError> {
        self.guarded(|log, wal| log.take_in(wal, write))
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.guarded(|_, wal| {
            wal.sync().map_err(failed)?;
            // A log that can't copy its records forward any more would grow until the disk is full.
            wal.health().map_err(reading)
        })
    }

    fn entries(&mut self, from: Index, to: Index, max_bytes: usize) -> Result<Vec<Entry>, StorageError> {
        let to = to.min(self.outline.last().index + 1);
        if from <= self.outline.before_first().index || from >= to {
            return Ok(Vec::new());
        }
        self.guarded(|log, wal| {
            let records = wal.read(log.stream(), from, to, max_bytes).map_err(reading)?;
            let mut bytes = 0usize;
            let mut entries = Vec::with_capacity(records.len());
            for (index, record) in records {
                let entry = decode_entry(index, record).map_err(|error| damaged("an entry", error))?;
                bytes = bytes.saturating_add(entry.cost());
                if bytes > max_bytes && !entries.is_empty() {
                    break;
                }
                entries.push(entry);
            }
            Ok(entries)
        })
    }

    fn snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        self.guarded(|log, wal| {
            if let (None, Some(meta)) = (&log.read, &log.snapshot) {
                log.read = Some(log.read_snapshot(wal, meta.last, &log.name(meta.last))?);
            }
            Ok(log.read.clone())
        })
    }

    fn entry_bytes_max(&self) -> usize {
        self.limits.entry_bytes_max
    }
}

/// The last storage of a log notes that all of it is durable, so that the next opening takes damage anywhere
/// for damage: one small write and a sync, and nothing if that is noted already or something is unsynced.
impl<D: Disk> Drop for Log<D> {
    fn drop(&mut self) {
        if self.failure.is_some() || std::thread::panicking() {
            return;
        }
        if let Some(wal) = Arc::get_mut(&mut self.wal) {
            // The records are durable without the note; a failure shows when the log is next opened.
            let _ = wal.get_mut().unwrap_or_else(PoisonError::into_inner).mark();
        }
    }
}

impl<D: Disk> fmt::Debug for Log<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("group", &self.group)
            .field("before_first", &self.outline.before_first())
            .field("last", &self.outline.last())
            .field("snapshot", &self.snapshot.as_ref().map(|snapshot| snapshot.last))
            .finish_non_exhaustive()
    }
}

fn lock<D: Disk>(wal: &Mutex<quorate_wal::Log<D>>) -> MutexGuard<'_, quorate_wal::Log<D>> {
    wal.lock().unwrap_or_else(PoisonError::into_inner)
}

fn damaged(what: &str, error: impl fmt::Display) -> StorageError {
    StorageError::Damaged(format!("{what}: {error}"))
}

/// What an error on the way in means.
fn failed(error: WalError) -> StorageError {
    match error {
        WalError::Full { .. } => StorageError::Full(error.to_string()),
        error => StorageError::Failed(error.to_string()),
    }
}

/// What an error on the way out means.
fn reading(error: WalError) -> StorageError {
    match error {
        WalError::Damaged { .. } | WalError::Foreign { .. } | WalError::Version { .. } => {
            StorageError::Damaged(error.to_string())
        }
        error => StorageError::Failed(error.to_string()),
    }
}

/// What an error at the start means.
fn opening(error: WalError) -> StorageError {
    match error {
        WalError::Locked | WalError::Config { .. } | WalError::Read { .. } => {
            StorageError::Unavailable(error.to_string())
        }
        WalError::Damaged { .. }
        | WalError::SegmentLength { .. }
        | WalError::SegmentMissing { .. }
        | WalError::SegmentTwice { .. }
        | WalError::Foreign { .. }
        | WalError::StoreMissing
        | WalError::Version { .. } => StorageError::Damaged(error.to_string()),
        error => failed(error),
    }
}

/// The largest snapshot that [`Log::open`] keeps: room for the largest that a node accepts, and its header.
const SNAPSHOT_BYTES_MAX: u64 = 5 << 30;
/// How much of a write is staged before it is brought to the file: beyond this a larger piece is no faster.
const STAGE_BYTES_MAX: usize = 8 << 20;
/// What an entry takes of the stage beside its payload, at the most: two of the log's headers and its own.
const RECORD_OVERHEAD_BYTES: usize = 128;
/// How much is read at a time when the log is opened.
const SCAN_BYTES: usize = 1 << 20;
