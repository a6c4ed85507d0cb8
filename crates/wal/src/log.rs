use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;

use bytes::Bytes;
use quorate_core::StoreId;

use crate::claim::Ended;
use crate::clean::Cleaner;
#[cfg(unix)]
use crate::directory::Directory;
use crate::disk::read_full;
use crate::format::{GROUP_HEADER, Kind, Record};
use crate::prepare::{Preparer, Spare};
use crate::stage::Stage;
use crate::stream::{Place, Stream};
use crate::{Claim, Config, Disk, Error, Sealed, StreamId};

/// A log of many streams, durable on demand.
///
/// One owner uses it from one thread at a time; its calls block for as long as the disk takes. Changes are
/// *staged* in memory, where they can be read at once; [`write`](Log::write) brings what is staged to the
/// file, [`sync`](Log::sync) makes what is written durable, and [`commit`](Log::commit) does both: one write
/// and one `fdatasync` for everything staged since the last, whatever number of streams it touches.
///
/// After a crash the log is as it was behind some group of changes: at least the last one synced, and
/// possibly later ones that were written. What was staged between two writes is one group, found again whole
/// or not at all, unless it ran over the end of a segment; then its parts are groups of their own.
///
/// A write or sync that fails ends the log: see [`Error::Write`].
#[derive(Debug)]
pub struct Log<#[cfg(unix)] D: Disk = Directory, #[cfg(not(unix))] D: Disk> {
    pub(crate) disk: D,
    pub(crate) config: Config,
    pub(crate) store: StoreId,
    pub(crate) sealed: Sealed<D>,
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    /// Oldest first, without a gap. The last may be planned: staged for, but without a file yet.
    pub(crate) segments: VecDeque<Segment<D::File>>,
    pub(crate) spares: Vec<Spare<D::File>>,
    pub(crate) preparer: Preparer<D>,
    pub(crate) stage: Stage,
    /// The segment of the last written group.
    pub(crate) head: u32,
    pub(crate) chain: u32,
    pub(crate) epoch: u64,
    /// The last group that is written, and the last that is durable.
    pub(crate) written: u64,
    pub(crate) durable: u64,
    /// Whether a group with records was written behind the last that says what is durable.
    pub(crate) unmarked: bool,
    /// The oldest segment that is still needed, as durable groups have it.
    pub(crate) first_live: u32,
    /// Segments that nothing live is in any more, each with the group that makes it so.
    pub(crate) retiring: VecDeque<(u32, u64)>,
    pub(crate) cleaner: Cleaner,
    pub(crate) ended: Ended,
    /// Given back last, when no thread of this log writes any more.
    pub(crate) _claim: Claim,
}

/// A segment that is live.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) sequence: u32,
    pub(crate) length: u32,
    pub(crate) salt: u32,
    /// Where the next group in it starts, staged ones counted.
    pub(crate) end: u32,
    /// Bytes of live records, and of live states and bounds.
    pub(crate) live_records: u64,
    pub(crate) live_slots: u64,
    pub(crate) file: Option<(String, F)>,
}

#[cfg(unix)]
impl Log<Directory> {
    /// Opens the log in a directory, made new if it is missing, with the default [`Config`].
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has it open; and those of [`with_disk`](Log::with_disk).
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self, Error> {
        Self::open_with(path, Config::default())
    }

    /// Opens the log in a directory, made new if it is missing.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has it open; and those of [`with_disk`](Log::with_disk).
    pub fn open_with(path: impl AsRef<std::path::Path>, config: Config) -> Result<Self, Error> {
        config.validate()?;
        let path = path.as_ref();
        match Directory::open(path) {
            Ok(directory) => Self::with_disk(directory, config),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::Locked),
            Err(error) => Err(Error::read("open", path.to_string_lossy(), error)),
        }
    }
}

impl<D: Disk> Log<D> {
    /// Opens the log on a disk, made new if the disk has none.
    ///
    /// Reads every live segment once. A torn tail, the remains of writes that were never synced, is cut; the
    /// cut is durable before this returns.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::Locked`] if another log on a clone of the disk is open; [`Error::Damaged`],
    /// [`Error::SegmentLength`], [`Error::SegmentMissing`],
    /// [`Error::SegmentTwice`], [`Error::Foreign`], [`Error::StoreMissing`] and [`Error::Version`] for a
    /// directory that can't be trusted, and [`Error::Read`]: all of these before anything is changed.
    /// [`Error::Full`], [`Error::Write`] and [`Error::Seal`] if the disk fails later.
    pub fn with_disk(disk: D, config: Config) -> Result<Self, Error> {
        crate::recover::open(disk, config)
    }

    /// The identity of this log's durable state: drawn when it was made, gone only with its files.
    pub fn store_id(&self) -> StoreId {
        self.store
    }

    /// The sealed files beside the log, usable from another thread.
    ///
    /// The handle may outlive the log, and holds on to the disk then: a [`Directory`](crate::Directory) stays
    /// locked for other processes until the last handle has gone.
    pub fn sealed(&self) -> Sealed<D> {
        self.sealed.clone()
    }

    /// Replaces a sealed file, durably: [`Sealed::write`].
    ///
    /// # Errors
    /// Those of [`Sealed::write`].
    pub fn write_sealed(&mut self, name: &str, contents: &[u8]) -> Result<(), Error> {
        self.sealed.write(name, contents)
    }

    /// The contents of a sealed file: [`Sealed::read`].
    ///
    /// # Errors
    /// Those of [`Sealed::read`].
    pub fn read_sealed(&self, name: &str) -> Result<Option<Bytes>, Error> {
        self.sealed.read(name)
    }

    /// Removes a sealed file, durably: [`Sealed::remove`].
    ///
    /// # Errors
    /// Those of [`Sealed::remove`].
    pub fn remove_sealed(&mut self, name: &str) -> Result<bool, Error> {
        self.sealed.remove(name)
    }

    /// The names of all sealed files: [`Sealed::list`].
    ///
    /// # Errors
    /// Those of [`Sealed::list`].
    pub fn list_sealed(&self) -> Result<Vec<String>, Error> {
        self.sealed.list()
    }

    /// The streams, in order.
    pub fn streams(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.streams.keys().copied()
    }

    /// The indices that a stream holds, staged ones included; `0..0` for one that is unknown or has a state
    /// only.
    pub fn range(&self, stream: StreamId) -> Range<u64> {
        self.streams.get(&stream).map_or(0..0, Stream::range)
    }

    /// The stream's state, if one was set.
    pub fn state(&self, stream: StreamId) -> Option<Bytes> {
        Some(self.streams.get(&stream)?.state.as_ref()?.0.clone())
    }

    /// The number of the last written group. Groups count from 1 over the life of the log.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The number of the last durable group.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Bytes that the log's segments take of the disk, without spares.
    pub fn disk_bytes(&self) -> u64 {
        self.segments.iter().filter(|segment| segment.file.is_some()).map(|s| u64::from(s.length)).sum()
    }

    /// The records of a stream from index `from` up to, not including, `to`, as far as their payloads fit
    /// `bytes_max`; at least one, if the stream holds any in between.
    ///
    /// Staged and unsynced records are read like others. Records that lie side by side cost one read
    /// together, and share one buffer.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a record's checksum does not hold, [`Error::Read`] if the disk fails. The log
    /// goes on.
    pub fn read(
        &self,
        stream: StreamId,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Bytes)>, Error> {
        let Some(known) = self.streams.get(&stream) else { return Ok(Vec::new()) };
        let range = known.range();
        let mut wanted = Vec::new();
        let mut bytes = 0;
        for index in from.max(range.start)..to.min(range.end) {
            let Some(place) = known.place(index) else { break };
            bytes += place.length as usize;
            if bytes > bytes_max && !wanted.is_empty() {
                break;
            }
            wanted.push((index, place));
        }
        let mut found = Vec::with_capacity(wanted.len());
        let mut rest = &wanted[..];
        while !rest.is_empty() {
            let run = self.run_length(rest);
            self.read_run(stream, &rest[..run], &mut found)?;
            rest = &rest[run..];
        }
        Ok(found)
    }

    /// How many of the places can be read at once: same segment, rising, nothing but group headers in
    /// between, and all in the file or all in one staged group.
    fn run_length(&self, places: &[(u64, Place)]) -> usize {
        let near = |pair: &[(u64, Place)]| {
            let (before, after) = (pair[0].1, pair[1].1);
            let end = u64::from(before.offset) + before.size();
            let gap = u64::from(after.offset).checked_sub(end);
            before.segment == after.segment
                && gap.is_some_and(|gap| gap <= GAP_MAX)
                && self.stage.group_of(before) == self.stage.group_of(after)
        };
        1 + places.windows(2).take_while(|pair| near(pair)).count()
    }

    fn read_run(
        &self,
        stream: StreamId,
        run: &[(u64, Place)],
        found: &mut Vec<(u64, Bytes)>,
    ) -> Result<(), Error> {
        let (Some((_, first)), Some((_, last))) = (run.first(), run.last()) else { return Ok(()) };
        let segment = self.segment(first.segment);
        let length = (u64::from(last.offset) + last.size() - u64::from(first.offset)) as usize;
        let bytes = match self.stage.bytes(*first, length) {
            Some(staged) => Bytes::copy_from_slice(staged),
            None => segment.read(first.offset, length)?,
        };
        for (index, place) in run {
            let at = (place.offset - first.offset) as usize;
            let record = Record::decode(&bytes[at..], segment.salt).filter(|record| {
                matches!(record.kind, Kind::Append | Kind::Moved)
                    && (record.stream, record.index) == (stream.get(), *index)
                    && record.payload.len() == place.length as usize
            });
            let Some(record) = record else {
                return Err(Error::damaged(segment.name(), place.offset.into(), "a record does not hold"));
            };
            found.push((*index, bytes.slice_ref(record.payload)));
        }
        Ok(())
    }

    pub(crate) fn segment(&self, sequence: u32) -> &Segment<D::File> {
        &self.segments[self.segment_at(sequence)]
    }

    pub(crate) fn segment_mut(&mut self, sequence: u32) -> &mut Segment<D::File> {
        let at = self.segment_at(sequence);
        &mut self.segments[at]
    }

    /// Live segments are numbered without a gap, and the index refers to live ones only.
    fn segment_at(&self, sequence: u32) -> usize {
        let first = self.segments.front().map_or(0, |segment| segment.sequence);
        assert!(sequence >= first, "segment {sequence} was recycled while something in it was live");
        (sequence - first) as usize
    }
}

impl<F: crate::File> Segment<F> {
    pub(crate) fn name(&self) -> &str {
        self.file.as_ref().map_or("a planned segment", |(name, _)| name)
    }

    pub(crate) fn read(&self, offset: u32, length: usize) -> Result<Bytes, Error> {
        let Some((name, file)) = &self.file else {
            return Err(Error::damaged(self.name(), offset.into(), "a record has no file"));
        };
        let mut bytes = vec![0; length];
        let count = read_full(file, &mut bytes, offset.into())
            .map_err(|error| Error::read("read", name.as_str(), error))?;
        if count < length {
            return Err(Error::damaged(name.as_str(), u64::from(offset) + count as u64, "the file ends"));
        }
        Ok(bytes.into())
    }

    pub(crate) fn live(&self) -> u64 {
        self.live_records + self.live_slots
    }
}

/// A group header and its alignment, and some small records of other streams.
const GAP_MAX: u64 = 4 * GROUP_HEADER as u64;
