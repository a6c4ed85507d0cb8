use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use crate::format::{Kind, RECORD_HEADER, Record, u64_at};

/// One of the many sequences of records in a log: a raft group, a queue, the hints for a peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId(u64);

impl StreamId {
    /// Wraps a number.
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for StreamId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {}", self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({})", self.0)
    }
}

/// Where a record lies. Twelve bytes, since there is one for each record of the log in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    /// Bytes of payload.
    pub(crate) length: u32,
}

impl Place {
    /// Bytes of the record with its header.
    pub(crate) fn size(self) -> u64 {
        RECORD_HEADER as u64 + u64::from(self.length)
    }
}

/// What the log knows of a stream.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The first index, and the segment of the last record that states the stream's bounds outright; `None`
    /// for a stream that has a state only.
    pub(crate) bounds: Option<Bounds>,
    pub(crate) records: VecDeque<Place>,
    pub(crate) state: Option<(Bytes, Place)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) first: u64,
    pub(crate) segment: u32,
}

impl Stream {
    pub(crate) fn range(&self) -> Range<u64> {
        match self.bounds {
            Some(bounds) => bounds.first..bounds.first + self.records.len() as u64,
            None => 0..0,
        }
    }

    /// Gives memory back once three quarters of it are unused: what that costs was removed before.
    pub(crate) fn shrink(&mut self) {
        let length = self.records.len();
        if self.records.capacity() > 4 * length.max(16) {
            self.records.shrink_to(2 * length);
        }
    }

    pub(crate) fn place(&self, index: u64) -> Option<Place> {
        let at = index.checked_sub(self.bounds?.first)?;
        self.records.get(usize::try_from(at).ok()?).copied()
    }
}

/// A stream while its records are read back. Unlike a [`Stream`] it may know a part only: the records before
/// the oldest segment are gone, and what was still live of them comes later, as copies.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    first: Option<u64>,
    next: Option<u64>,
    bounds_segment: u32,
    /// Copies of records older than `tail`.
    moved: BTreeMap<u64, Place>,
    /// The index of the front of `tail`, if it has one.
    base: u64,
    tail: VecDeque<Place>,
    state: Option<(Bytes, Place)>,
}

impl Replayed {
    /// Takes the next record in; the reason if it can't follow what came before.
    pub(crate) fn apply(&mut self, record: &Record<'_>, place: Place) -> Result<(), &'static str> {
        let index = record.index;
        match record.kind {
            Kind::Append => self.append(index, place),
            Kind::Moved => self.moved(index, place),
            Kind::Truncate => self.truncate(index),
            Kind::RemovePrefix => self.remove_prefix(index),
            Kind::State => {
                self.state = Some((Bytes::copy_from_slice(record.payload), place));
                Ok(())
            }
            Kind::Reset => {
                self.moved.clear();
                self.tail.clear();
                (self.first, self.next, self.bounds_segment) = (Some(index), Some(index), place.segment);
                Ok(())
            }
            Kind::Bounds => self.bounds(index, record.payload, place),
            Kind::Remove => {
                *self = Self::default();
                Ok(())
            }
        }
    }

    /// Whether nothing is left of it.
    pub(crate) fn is_gone(&self) -> bool {
        self.first.is_none() && self.next.is_none() && self.moved.is_empty() && self.state.is_none()
    }

    /// The stream, once all records are in; the reason if something of it is missing.
    pub(crate) fn finish(self) -> Result<Stream, &'static str> {
        let (Some(first), Some(next)) = (self.first, self.next) else {
            let untouched = self.next.is_none() && self.moved.is_empty() && self.first.is_none();
            return if untouched {
                Ok(Stream { state: self.state, ..Stream::default() })
            } else {
                Err("a stream's bounds are missing")
            };
        };
        let mut expected = first;
        let mut records = VecDeque::with_capacity(self.moved.len() + self.tail.len());
        for (index, place) in self.moved {
            if index != expected {
                return Err("records of a stream are missing");
            }
            records.push_back(place);
            expected += 1;
        }
        if !self.tail.is_empty() && self.base != expected {
            return Err("records of a stream are missing");
        }
        expected += self.tail.len() as u64;
        if expected != next {
            return Err("records of a stream are missing");
        }
        records.extend(self.tail);
        let bounds = Some(Bounds { first, segment: self.bounds_segment });
        Ok(Stream { bounds, records, state: self.state })
    }

    fn append(&mut self, index: u64, place: Place) -> Result<(), &'static str> {
        if self.next.is_some_and(|next| next != index) {
            return Err("an index does not follow the one before");
        }
        let next = index.checked_add(1).ok_or("an index is too large")?;
        if self.tail.is_empty() {
            self.base = index;
        }
        self.tail.push_back(place);
        self.next = Some(next);
        Ok(())
    }

    fn moved(&mut self, index: u64, place: Place) -> Result<(), &'static str> {
        let outside = index == u64::MAX
            || self.next.is_some_and(|next| index >= next)
            || self.first.is_some_and(|first| index < first);
        if outside {
            return Err("a copied record lies outside of its stream");
        }
        match index.checked_sub(self.base) {
            Some(at) if !self.tail.is_empty() => match self.tail.get_mut(at as usize) {
                Some(old) => *old = place,
                None => return Err("a copied record lies outside of its stream"),
            },
            _ => {
                self.moved.insert(index, place);
            }
        }
        Ok(())
    }

    fn truncate(&mut self, from: u64) -> Result<(), &'static str> {
        if self.next.is_some_and(|next| from > next) || self.first.is_some_and(|first| from < first) {
            return Err("a truncation lies outside of its stream");
        }
        self.moved.split_off(&from);
        self.tail.truncate(usize::try_from(from.saturating_sub(self.base)).unwrap_or(usize::MAX));
        self.next = Some(from);
        Ok(())
    }

    fn remove_prefix(&mut self, before: u64) -> Result<(), &'static str> {
        if self.next.is_some_and(|next| before > next) || self.first.is_some_and(|first| before < first) {
            return Err("a prefix removal lies outside of its stream");
        }
        self.moved = self.moved.split_off(&before);
        let gone = usize::try_from(before.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let gone = gone.min(self.tail.len());
        self.tail.drain(..gone);
        self.base += gone as u64;
        self.first = Some(before);
        Ok(())
    }

    fn bounds(&mut self, first: u64, payload: &[u8], place: Place) -> Result<(), &'static str> {
        if payload.len() != 8 {
            return Err("a record of bounds has the wrong length");
        }
        let next = u64_at(payload, 0);
        let agrees = self.first.is_none_or(|known| known == first)
            && self.next.is_none_or(|known| known == next)
            && first <= next;
        if !agrees {
            return Err("a stream's bounds contradict its records");
        }
        self.remove_prefix(first)?;
        (self.first, self.next, self.bounds_segment) = (Some(first), Some(next), place.segment);
        Ok(())
    }
}
