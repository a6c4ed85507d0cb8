use std::collections::VecDeque;
use std::collections::btree_map::Entry;

use bytes::Bytes;

use crate::format::{GROUP_HEADER, Kind, RECORD_HEADER, SEGMENT_HEADER, encode_record, footprint, salt};
use crate::log::Segment;
use crate::stream::{Bounds, Place, Stream};
use crate::{Disk, Error, Log, StreamId};

/// What is staged: groups whose places on disk are settled, but which are not written yet.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub(crate) groups: VecDeque<Group>,
    /// Bytes of records in them.
    pub(crate) size: usize,
    /// The buffer of a group that was written, to be used again.
    pub(crate) buffer: Vec<u8>,
    /// Whether copies from old segments were put behind these groups already: a write that is repeated on a
    /// full disk must not add to them.
    pub(crate) cleaned: bool,
}

/// Records that are written together.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) sequence: u64,
    /// Room for the header, then the records.
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) digest: u32,
    pub(crate) salt: u32,
}

impl Stage {
    /// The number of the staged group that a place lies in; `None` if it is written.
    pub(crate) fn group_of(&self, place: Place) -> Option<u64> {
        Some(self.group(place)?.sequence)
    }

    /// `length` bytes from a place on, if it is staged.
    pub(crate) fn bytes(&self, place: Place, length: usize) -> Option<&[u8]> {
        let group = self.group(place)?;
        let at = (place.offset - group.offset) as usize;
        group.bytes.get(at..at + length)
    }

    fn group(&self, place: Place) -> Option<&Group> {
        let holds = |group: &&Group| group.segment == place.segment && group.offset <= place.offset;
        self.groups.iter().rev().find(holds)
    }
}

impl<D: Disk> Log<D> {
    /// Stages a record at the stream's next index. A new stream may start with any index.
    ///
    /// # Errors
    /// [`Error::NotContiguous`], [`Error::OutOfRange`] for the index `u64::MAX`, [`Error::TooLarge`],
    /// [`Error::StageFull`], [`Error::TooManyStreams`], [`Error::Failed`]: nothing is staged then.
    pub fn append(&mut self, stream: StreamId, index: u64, payload: &[u8]) -> Result<(), Error> {
        self.append_parts(stream, index, &[payload])
    }

    /// Stages a record whose payload is the concatenation of `parts`, so that a caller with a header and a
    /// body need not copy them together.
    ///
    /// # Errors
    /// Those of [`append`](Log::append).
    pub fn append_parts(&mut self, stream: StreamId, index: u64, parts: &[&[u8]]) -> Result<(), Error> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.check_size("a record", length, self.config.record_bytes_max)?;
        self.check_room(length + RECORD_HEADER)?;
        let known = self.streams.get(&stream);
        if index == u64::MAX {
            let range = known.map_or(0..0, Stream::range);
            return Err(Error::OutOfRange { stream, index, first: range.start, next: range.end });
        }
        match known.filter(|known| known.bounds.is_some()).map(Stream::range) {
            Some(range) if range.end != index => {
                return Err(Error::NotContiguous { stream, expected: range.end, given: index });
            }
            Some(_) => {}
            None => self.reset(stream, index)?,
        }
        let place = self.stage_record(Kind::Append, stream, index, parts)?;
        self.segment_mut(place.segment).live_records += place.size();
        if let Some(known) = self.streams.get_mut(&stream) {
            known.records.push_back(place);
        }
        Ok(())
    }

    /// Stages the removal of everything from index `from` on. No effect if the stream ends there or before.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the stream starts behind `from`, [`Error::UnknownStream`],
    /// [`Error::StageFull`], [`Error::Failed`]: nothing is staged then.
    pub fn truncate(&mut self, stream: StreamId, from: u64) -> Result<(), Error> {
        self.check_room(RECORD_HEADER)?;
        let range = self.known_range(stream)?;
        if from >= range.end {
            return Ok(());
        }
        if from < range.start {
            return Err(Error::OutOfRange { stream, index: from, first: range.start, next: range.end });
        }
        self.stage_record(Kind::Truncate, stream, from, &[])?;
        if let Some(known) = self.streams.get_mut(&stream) {
            let gone = known.records.split_off((from - range.start) as usize);
            known.shrink();
            self.release(gone);
        }
        Ok(())
    }

    /// Stages the removal of everything before index `before`. No effect if the stream starts there or
    /// behind. Space returns once a whole segment is no longer needed.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the stream ends before `before` ([`reset`](Log::reset) moves it there),
    /// [`Error::UnknownStream`], [`Error::StageFull`], [`Error::Failed`]: nothing is staged then.
    pub fn remove_prefix(&mut self, stream: StreamId, before: u64) -> Result<(), Error> {
        self.check_room(RECORD_HEADER)?;
        let range = self.known_range(stream)?;
        if before <= range.start {
            return Ok(());
        }
        if before > range.end {
            return Err(Error::OutOfRange { stream, index: before, first: range.start, next: range.end });
        }
        self.stage_record(Kind::RemovePrefix, stream, before, &[])?;
        if let Some(known) = self.streams.get_mut(&stream) {
            let gone: Vec<Place> = known.records.drain(..(before - range.start) as usize).collect();
            known.shrink();
            if let Some(bounds) = &mut known.bounds {
                bounds.first = before;
            }
            self.release(gone);
        }
        Ok(())
    }

    /// Stages the stream's state, which replaces the one before: raft's term and vote, say. The stream need
    /// not have records.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::StageFull`], [`Error::TooManyStreams`], [`Error::Failed`]: nothing is
    /// staged then.
    pub fn set_state(&mut self, stream: StreamId, state: &[u8]) -> Result<(), Error> {
        self.check_size("a state", state.len(), self.config.state_bytes_max)?;
        self.check_room(state.len() + RECORD_HEADER)?;
        self.check_streams(stream)?;
        let place = self.stage_record(Kind::State, stream, 0, &[state])?;
        self.segment_mut(place.segment).live_slots += place.size();
        let known = self.streams.entry(stream).or_default();
        if let Some((_, old)) = known.state.replace((Bytes::copy_from_slice(state), place)) {
            self.segment_mut(old.segment).live_slots -= old.size();
        }
        Ok(())
    }

    /// Stages that the stream is empty and continues with index `next`, whatever it held: after a snapshot
    /// was installed. Its state stays.
    ///
    /// # Errors
    /// [`Error::StageFull`], [`Error::TooManyStreams`], [`Error::Failed`]: nothing is staged then.
    pub fn reset(&mut self, stream: StreamId, next: u64) -> Result<(), Error> {
        self.check_room(RECORD_HEADER)?;
        self.check_streams(stream)?;
        let place = self.stage_record(Kind::Reset, stream, next, &[])?;
        let known = self.streams.entry(stream).or_default();
        let gone = std::mem::take(&mut known.records);
        self.release(gone);
        self.set_bounds(stream, Bounds { first: next, segment: place.segment });
        Ok(())
    }

    /// Stages the removal of the stream, its state included. No effect if it is unknown.
    ///
    /// # Errors
    /// [`Error::StageFull`], [`Error::Failed`]: nothing is staged then.
    pub fn remove_stream(&mut self, stream: StreamId) -> Result<(), Error> {
        self.check_room(RECORD_HEADER)?;
        if !self.streams.contains_key(&stream) {
            return Ok(());
        }
        self.stage_record(Kind::Remove, stream, 0, &[])?;
        if let Some(known) = self.streams.remove(&stream) {
            self.release(known.records);
            if let Some(bounds) = known.bounds {
                self.segment_mut(bounds.segment).live_slots -= SLOT;
            }
            if let Some((_, place)) = known.state {
                self.segment_mut(place.segment).live_slots -= place.size();
            }
        }
        Ok(())
    }

    /// Bytes that are staged.
    pub fn staged_bytes(&self) -> usize {
        self.stage.size
    }

    /// Notes where the stream's bounds are stated.
    pub(crate) fn set_bounds(&mut self, stream: StreamId, bounds: Bounds) {
        self.segment_mut(bounds.segment).live_slots += SLOT;
        let known = self.streams.entry(stream).or_default();
        if let Some(old) = known.bounds.replace(bounds) {
            self.segment_mut(old.segment).live_slots -= SLOT;
        }
    }

    /// Puts a record into the last staged group, or a new one if it has no room there.
    pub(crate) fn stage_record(
        &mut self,
        kind: Kind,
        stream: StreamId,
        index: u64,
        parts: &[&[u8]],
    ) -> Result<Place, Error> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let size = RECORD_HEADER + length;
        let fits = self.stage.groups.back().is_some_and(|group| {
            let taken = footprint(group.bytes.len() - GROUP_HEADER + size);
            group.offset as usize + taken <= self.segment(group.segment).length as usize
        });
        if !fits {
            self.stage_group(size)?;
        }
        let Some(group) = self.stage.groups.back_mut() else { return Err(Error::Failed) };
        let offset = group.offset + group.bytes.len() as u32;
        let crc = encode_record(&mut group.bytes, group.salt, kind, stream.get(), index, parts);
        group.digest = crc32c::crc32c_append(group.digest, &crc.to_le_bytes());
        group.count += 1;
        let (segment, end) =
            (group.segment, group.offset + footprint(group.bytes.len() - GROUP_HEADER) as u32);
        self.stage.size += size;
        self.segment_mut(segment).end = end;
        Ok(Place { segment, offset, length: length as u32 })
    }

    /// Begins a group with room for `size` bytes of records: in the last segment, or else in a new one.
    pub(crate) fn stage_group(&mut self, size: usize) -> Result<(), Error> {
        let sequence = self.stage.groups.back().map_or(self.written, |group| group.sequence) + 1;
        let room = self
            .segments
            .back()
            .is_some_and(|segment| segment.end as usize + footprint(size) <= segment.length as usize);
        if !room {
            self.plan_segment(size)?;
        }
        let Some(segment) = self.segments.back_mut() else { return Err(Error::Failed) };
        let mut bytes = std::mem::take(&mut self.stage.buffer);
        bytes.clear();
        bytes.resize(GROUP_HEADER, 0);
        let (offset, salt) = (segment.end, segment.salt);
        segment.end = offset + footprint(0) as u32;
        let segment = segment.sequence;
        self.stage.groups.push_back(Group { segment, offset, sequence, bytes, count: 0, digest: 0, salt });
        Ok(())
    }

    fn plan_segment(&mut self, size: usize) -> Result<(), Error> {
        let last = self.segments.back().map_or(0, |segment| segment.sequence);
        let sequence = last.checked_add(1).ok_or(Error::Failed)?;
        self.segments.push_back(Segment {
            sequence,
            length: self.config.segment_length(sequence, size),
            salt: salt(self.store, sequence),
            end: SEGMENT_HEADER,
            live_records: 0,
            live_slots: 0,
            file: None,
        });
        Ok(())
    }

    fn release(&mut self, places: impl IntoIterator<Item = Place>) {
        for place in places {
            self.segment_mut(place.segment).live_records -= place.size();
        }
    }

    fn known_range(&self, stream: StreamId) -> Result<std::ops::Range<u64>, Error> {
        match self.streams.get(&stream) {
            Some(known) if known.bounds.is_some() => Ok(known.range()),
            _ => Err(Error::UnknownStream { stream }),
        }
    }

    fn check_size(&self, what: &'static str, bytes: usize, max: usize) -> Result<(), Error> {
        let (bytes, max) = (bytes as u64, max as u64);
        if bytes > max { Err(Error::TooLarge { what, bytes, max }) } else { Ok(()) }
    }

    fn check_room(&self, size: usize) -> Result<(), Error> {
        let max = self.config.stage_bytes_max;
        if self.ended.get() {
            Err(Error::Failed)
        } else if self.stage.size + size + RECORD_HEADER > max {
            // The room of one more header is for the record that opens a new stream.
            Err(Error::StageFull { max })
        } else {
            Ok(())
        }
    }

    fn check_streams(&mut self, stream: StreamId) -> Result<(), Error> {
        let (count, max) = (self.streams.len(), self.config.streams_max);
        match self.streams.entry(stream) {
            Entry::Vacant(_) if count >= max => Err(Error::TooManyStreams { max }),
            _ => Ok(()),
        }
    }
}

/// Live bytes that a stream's bounds count for.
pub(crate) const SLOT: u64 = RECORD_HEADER as u64 + 8;
