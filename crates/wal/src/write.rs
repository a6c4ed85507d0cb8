use std::io;

use quorate_core::Outcome;

use crate::error::is_full;
use crate::format::{GROUP_HEADER, GroupHeader, SegmentHeader, footprint};
use crate::prepare::Spare;
use crate::{Disk, Error, File, Log};

impl<D: Disk> Log<D> {
    /// Makes everything staged durable: one write and one `fdatasync`, or nothing if there is nothing to do.
    ///
    /// At the end of a segment it is a write and a sync more.
    ///
    /// # Errors
    /// Those of [`write`](Log::write) and [`sync`](Log::sync).
    pub fn commit(&mut self) -> Result<(), Error> {
        self.write()?;
        self.sync()
    }

    /// Brings everything staged to the file, without making it durable.
    ///
    /// Copies of live records from old segments may ride along, at most twice the bytes staged or 64 KiB and
    /// one old group.
    ///
    /// # Errors
    /// [`Error::Full`], after which the rest is still staged and may be written again; [`Error::Write`] and
    /// [`Error::Failed`], which are final.
    pub fn write(&mut self) -> Result<(), Error> {
        self.alive()?;
        self.preparer_works()?;
        if self.stage.groups.is_empty() {
            return Ok(());
        }
        if !self.stage.cleaned {
            self.stage.cleaned = true;
            self.clean(CLEAN_BYTES.max(2 * self.stage.size));
        }
        self.write_groups()
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    /// [`Error::Write`] and [`Error::Failed`]: final, the sync is never retried.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.alive()?;
        self.sync_head()?;
        self.prepare_ahead();
        Ok(())
    }

    /// Whether records that old segments hold can be copied out of them, so that space returns.
    ///
    /// # Errors
    /// [`Error::Damaged`] once a live record could not be read. The log goes on and grows from then on,
    /// until it is opened again.
    pub fn health(&self) -> Result<(), Error> {
        self.cleaner.refusal()
    }

    /// Does what is best done when nobody waits: moves live records out of old segments, notes on disk what
    /// is durable, prepares the next segment. Leaves everything durable. Costs at most two syncs, and the
    /// writing of a segment where the disk does not allow a thread for it.
    ///
    /// # Errors
    /// Those of [`commit`](Log::commit) and of [`health`](Log::health).
    pub fn maintain(&mut self) -> Result<(), Error> {
        self.commit()?;
        if self.unmarked || self.cleaning_is_due() {
            self.stage_group(0)?;
            self.clean(MAINTAIN_BYTES);
            self.write_groups()?;
            self.sync_head()?;
        }
        if !self.disk.concurrent() && self.head_is_half_full() {
            let length = self.next_length();
            if self.config.spare_segments > self.spares.len() && !self.has_spare(length) {
                let spare = self.prepare_now(length)?;
                self.spares.push(spare);
            }
        }
        self.prepare_ahead();
        self.health()
    }

    /// Notes on disk that all is durable, so that the next opening takes damage anywhere for damage: one
    /// small write and a sync. Does nothing if it is noted already, if something is staged or unsynced, or if
    /// the note would need another segment.
    ///
    /// It is for the end of use, where [`close`](Log::close) can't take the log.
    ///
    /// # Errors
    /// Those of [`sync`](Log::sync).
    pub fn mark(&mut self) -> Result<(), Error> {
        self.alive()?;
        let head = self.segment(self.head);
        let settled = self.stage.groups.is_empty() && self.durable == self.written;
        if !self.unmarked || !settled || head.end as usize + footprint(0) > head.length as usize {
            return Ok(());
        }
        self.stage_group(0)?;
        self.write_groups()?;
        self.sync_head()
    }

    /// Commits, and notes on disk that all is durable, so that the next opening takes damage anywhere for
    /// damage. Dropping a log instead forgets what is staged, and nothing else: damage to what the last sync
    /// made durable may then pass for a torn tail.
    ///
    /// # Errors
    /// Those of [`commit`](Log::commit).
    pub fn close(mut self) -> Result<(), Error> {
        self.commit()?;
        if self.unmarked {
            self.stage_group(0)?;
            self.write_groups()?;
            self.sync_head()?;
        }
        Ok(())
    }

    pub(crate) fn alive(&self) -> Result<(), Error> {
        if self.ended.get() { Err(Error::Failed) } else { Ok(()) }
    }

    pub(crate) fn write_groups(&mut self) -> Result<(), Error> {
        while let Some(segment) = self.stage.groups.front().map(|group| group.segment) {
            if segment != self.head {
                self.enter(segment)?;
            }
            let Some(mut group) = self.stage.groups.pop_front() else { break };
            let length = group.bytes.len() - GROUP_HEADER;
            let retired = self.retiring.iter().rev().find(|(_, since)| *since <= group.sequence);
            let header = GroupHeader {
                sequence: group.sequence,
                synced: self.durable,
                epoch: self.epoch,
                first_live: retired.map_or(self.first_live, |(segment, _)| segment + 1),
                previous: self.chain,
                length: length as u32,
                count: group.count,
                digest: group.digest,
            }
            .encode(group.salt);
            group.bytes[..GROUP_HEADER].copy_from_slice(&header);
            let written = match &self.segment(segment).file {
                Some((_, file)) => file.write_at(&group.bytes, group.offset.into()),
                None => Err(io::Error::other("the segment has no file")),
            };
            self.finally("write to", segment, written)?;
            self.chain = crc32c::crc32c(&header);
            self.written = group.sequence;
            self.unmarked = group.count > 0;
            self.stage.size -= length;
            if group.bytes.capacity() <= BUFFER_KEPT {
                self.stage.buffer = group.bytes;
            }
        }
        self.stage.cleaned = false;
        Ok(())
    }

    pub(crate) fn sync_head(&mut self) -> Result<(), Error> {
        if self.durable == self.written {
            return Ok(());
        }
        let synced = match &self.segment(self.head).file {
            Some((_, file)) => file.sync(),
            None => Err(io::Error::other("the segment has no file")),
        };
        self.finally("sync", self.head, synced)?;
        self.durable = self.written;
        while self.retiring.front().is_some_and(|(_, since)| *since <= self.durable) {
            self.retiring.pop_front();
            if let Some(segment) = self.segments.pop_front() {
                self.first_live = segment.sequence + 1;
                self.recycle(segment.file, segment.length);
            }
        }
        Ok(())
    }

    /// Goes over to a segment that has been planned. All groups before are made durable first: the header
    /// says so, which lets the next opening take any gap before it for damage.
    fn enter(&mut self, sequence: u32) -> Result<(), Error> {
        self.sync_head()?;
        let length = self.segment(sequence).length;
        let spare = self.take_spare(length)?;
        let header = SegmentHeader {
            store: self.store,
            sequence,
            length,
            first_group: self.written + 1,
            first_live: self.first_live,
            epoch: self.epoch,
            chain: self.chain,
        };
        let written = spare.file.write_at(&header.encode(), 0);
        self.segment_mut(sequence).file = Some((spare.name, spare.file));
        self.finally("write to", sequence, written)?;
        self.head = sequence;
        self.drop_useless_spares();
        Ok(())
    }

    fn take_spare(&mut self, length: u32) -> Result<Spare<D::File>, Error> {
        if let Some(at) = self.spares.iter().position(|spare| spare.length == length) {
            return Ok(self.spares.swap_remove(at));
        }
        if self.preparer.running() == Some(length) {
            let prepared = self.preparer.finish();
            self.preparer_works()?;
            if let Some(spare) = prepared {
                return Ok(spare);
            }
        }
        self.prepare_now(length)
    }

    fn prepare_now(&mut self, length: u32) -> Result<Spare<D::File>, Error> {
        self.preparer.prepare(length).map_err(|error| {
            if is_full(&error) {
                return Error::Full { bytes: length.into(), outcome: Outcome::Unknown };
            }
            self.ended.set();
            Error::write("prepare", "a segment", error)
        })
    }

    /// Has the next segment written on another thread once half of this one is used, where that is allowed.
    fn prepare_ahead(&mut self) {
        if let Some(spare) = self.preparer.reap() {
            self.spares.push(spare);
            self.drop_useless_spares();
        }
        let length = self.next_length();
        if self.disk.concurrent() && self.head_is_half_full() && !self.has_spare(length) {
            self.preparer.start(length);
        }
    }

    /// Ends the log if a file could not be prepared on the other thread: its disk can't be trusted either.
    fn preparer_works(&mut self) -> Result<(), Error> {
        match self.preparer.failure() {
            Some(error) => {
                self.ended.set();
                Err(Error::write("prepare", "a segment", error))
            }
            None => Ok(()),
        }
    }

    /// Removes spares of a length that no segment will have: one record that needs a segment of its own
    /// changes which length comes next.
    fn drop_useless_spares(&mut self) {
        let (next, standard) = (self.next_length(), self.config.segment_bytes);
        let disk = &self.disk;
        self.spares.retain(|spare| {
            let useful = spare.length == next || spare.length == standard;
            if !useful {
                // A file that stays is removed or kept by the next opening.
                let _ = disk.remove(&spare.name);
            }
            useful
        });
    }

    fn head_is_half_full(&self) -> bool {
        let head = self.segment(self.head);
        head.end > head.length / 2
    }

    fn next_length(&self) -> u32 {
        self.config.segment_length(self.head.saturating_add(1), 0)
    }

    fn has_spare(&self, length: u32) -> bool {
        self.spares.iter().any(|spare| spare.length == length)
    }

    fn recycle(&mut self, file: Option<(String, D::File)>, length: u32) {
        let Some((name, file)) = file else { return };
        if length == self.config.segment_bytes && self.spares.len() < self.config.spare_segments {
            self.spares.push(Spare { name, file, length });
        } else {
            // A file that stays is recognised as no longer needed by its number at the next opening.
            let _ = self.disk.remove(&name);
        }
    }

    /// Ends the log if a write or sync failed.
    fn finally(&mut self, action: &'static str, segment: u32, result: io::Result<()>) -> Result<(), Error> {
        result.map_err(|error| {
            self.ended.set();
            Error::write(action, self.segment(segment).name(), error)
        })
    }
}

/// What a write may move out of old segments besides what is staged, at least.
const CLEAN_BYTES: usize = 64 << 10;
const MAINTAIN_BYTES: usize = 4 << 20;
const BUFFER_KEPT: usize = 4 << 20;
