use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use quorate_core::StoreId;

use crate::error::is_full;
use crate::format::SegmentHeader;
use crate::sealed::TEMPORARY;
use crate::{Disk, File, Open};

/// A file that is written full, durable under its name, and free to become a segment.
#[derive(Debug)]
pub(crate) struct Spare<F> {
    pub(crate) name: String,
    pub(crate) file: F,
    pub(crate) length: u32,
}

type Preparing<F> = JoinHandle<io::Result<Spare<F>>>;

/// Writes files full of zeros before they are needed.
///
/// Overwriting blocks that were written before needs no allocation, so that a sync waits for the device
/// alone; on a busy machine a growing file was measured at up to fifty times the latency.
#[derive(Debug)]
pub(crate) struct Preparer<D: Disk> {
    disk: D,
    store: StoreId,
    next_slot: u32,
    stop: Arc<AtomicBool>,
    running: Option<(u32, Preparing<D::File>)>,
    /// Why the last file could not be prepared, if that was not for want of room: it ends the log.
    failure: Option<io::Error>,
}

impl<D: Disk> Preparer<D> {
    pub(crate) fn new(disk: D, store: StoreId, next_slot: u32) -> Self {
        Self { disk, store, next_slot, stop: Arc::default(), running: None, failure: None }
    }

    /// Prepares a file now.
    pub(crate) fn prepare(&mut self, length: u32) -> io::Result<Spare<D::File>> {
        let slot = self.slot()?;
        prepare(&self.disk, self.store, slot, length, &self.stop)
    }

    /// Starts to prepare a file on another thread, unless one is being prepared.
    pub(crate) fn start(&mut self, length: u32) {
        if self.running.is_some() {
            return;
        }
        // Where no name is left, the segment that needs one says so.
        let Ok(slot) = self.slot() else { return };
        let (disk, store, stop) = (self.disk.clone(), self.store, self.stop.clone());
        let work = move || prepare(&disk, store, slot, length, &stop);
        // A thread that can't be started now is no loss: the file is then prepared when it is needed.
        if let Ok(handle) = Builder::new().name("wal-prepare".to_owned()).spawn(work) {
            self.running = Some((length, handle));
        }
    }

    /// The file that was started, if it is finished.
    pub(crate) fn reap(&mut self) -> Option<Spare<D::File>> {
        if !self.running.as_ref()?.1.is_finished() {
            return None;
        }
        self.finish()
    }

    /// Why a file could not be prepared on another thread: told once.
    pub(crate) fn failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// The length of the file that is being prepared.
    pub(crate) fn running(&self) -> Option<u32> {
        self.running.as_ref().map(|(length, _)| *length)
    }

    /// The file that was started, waiting for it: it takes as long as writing it does. `None` if there is
    /// none, for want of room or by a [failure](Self::failure).
    pub(crate) fn finish(&mut self) -> Option<Spare<D::File>> {
        let (_, handle) = self.running.take()?;
        match handle.join() {
            Ok(Ok(spare)) => return Some(spare),
            Ok(Err(error)) if is_full(&error) => {}
            Ok(Err(error)) => self.failure = Some(error),
            Err(_) => self.failure = Some(io::Error::other("the preparing thread panicked")),
        }
        None
    }

    fn slot(&mut self) -> io::Result<u32> {
        let slot = self.next_slot;
        self.next_slot = slot.checked_add(1).ok_or_else(|| io::Error::other("no file name is left"))?;
        Ok(slot)
    }
}

impl<D: Disk> Drop for Preparer<D> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.finish();
    }
}

fn prepare<D: Disk>(
    disk: &D,
    store: StoreId,
    slot: u32,
    length: u32,
    stop: &AtomicBool,
) -> io::Result<Spare<D::File>> {
    let name = segment_name(slot);
    let temporary = format!("{name}{TEMPORARY}");
    let written = write_zeros(disk, store, &temporary, length, stop);
    if written.is_err() {
        // The next opening removes it if this fails.
        let _ = disk.remove(&temporary);
    }
    let file = written?;
    disk.rename(&temporary, &name)?;
    disk.sync_directory()?;
    Ok(Spare { name, file, length })
}

fn write_zeros<D: Disk>(
    disk: &D,
    store: StoreId,
    name: &str,
    length: u32,
    stop: &AtomicBool,
) -> io::Result<D::File> {
    let file = disk.open(name, Open::Empty)?;
    let zeros = vec![0; CHUNK.min(length as usize)];
    let mut offset = 0;
    while offset < length as usize {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = zeros.len().min(length as usize - offset);
        file.write_at(&zeros[..count], offset as u64)?;
        offset += count;
        // In small steps, so that a commit meanwhile does not wait for the whole file.
        if offset % SYNC_STEP == 0 && offset < length as usize {
            file.sync()?;
        }
    }
    file.write_at(&SegmentHeader::spare(store, length).encode(), 0)?;
    file.sync()?;
    Ok(file)
}

/// The name of the file in a slot. Slots are never used twice; which segment a file is, its header says.
pub(crate) fn segment_name(slot: u32) -> String {
    format!("{slot:08x}{SEGMENT_SUFFIX}")
}

/// The slot of a segment file by its name.
pub(crate) fn segment_slot(name: &str) -> Option<u32> {
    u32::from_str_radix(name.strip_suffix(SEGMENT_SUFFIX)?, 16).ok()
}

const SEGMENT_SUFFIX: &str = ".segment";
const CHUNK: usize = 256 << 10;
const SYNC_STEP: usize = 4 << 20;
