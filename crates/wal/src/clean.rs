use crate::format::{GROUP_HEADER, Kind, SEGMENT_HEADER};
use crate::scan::{Window, records, verified};
use crate::stage::SLOT;
use crate::stream::{Bounds, Place};
use crate::{Disk, Error, Log, StreamId};

/// How far the oldest segment has been emptied.
#[derive(Debug, Default)]
pub(crate) struct Cleaner {
    segment: u32,
    /// Records before this place, and states and bounds of streams before this one, have been moved.
    offset: u32,
    stream: StreamId,
    /// Why records could not be moved; nothing is, from then on.
    blocked: Option<(String, u64)>,
}

impl Cleaner {
    pub(crate) fn refusal(&self) -> Result<(), Error> {
        match &self.blocked {
            Some((file, offset)) => Err(Error::damaged(
                file.as_str(),
                *offset,
                "live records can't be read, so space does not return",
            )),
            None => Ok(()),
        }
    }

    fn turn_to(&mut self, segment: u32) {
        if self.segment != segment {
            *self = Self { segment, offset: SEGMENT_HEADER, stream: StreamId::default(), blocked: None };
        }
    }
}

/// Space returns from the oldest segment on, so that a record which undoes another never goes before it. A
/// segment without live bytes goes at once. One that holds only states and bounds, and these in less than
/// half of it, goes as soon as they are written again. Any other goes when more than half of what is on disk
/// is dead. So what is copied always gives back at least as much, and a laggard stream holds up nobody.
impl<D: Disk> Log<D> {
    /// Moves up to about `budget` bytes, behind the records that are staged. A group must be staged.
    pub(crate) fn clean(&mut self, mut budget: usize) {
        while let Some(segment) = self.oldest() {
            let (records, slots) = {
                let oldest = self.segment(segment);
                (oldest.live_records, oldest.live_slots)
            };
            if records == 0 && slots == 0 {
                let Some(group) = self.stage.groups.back() else { return };
                self.retiring.push_back((segment, group.sequence));
                continue;
            }
            if budget == 0 || !self.may_empty(segment) {
                return;
            }
            self.cleaner.turn_to(segment);
            let moved = if records == 0 {
                self.move_slots(segment, budget)
            } else {
                self.move_records(segment, budget)
            };
            match moved {
                // Nothing to move although something counts as live would be a bug: no reason to turn here.
                Ok(0) => return,
                Ok(bytes) => budget = budget.saturating_sub(bytes),
                Err(_) => {
                    self.cleaner.blocked =
                        Some((self.segment(segment).name().to_owned(), self.cleaner.offset.into()));
                }
            }
        }
    }

    pub(crate) fn cleaning_is_due(&self) -> bool {
        self.oldest().is_some_and(|oldest| self.segment(oldest).live() == 0 || self.may_empty(oldest))
    }

    /// Whether it pays to copy what is live in a segment.
    fn may_empty(&self, segment: u32) -> bool {
        let oldest = self.segment(segment);
        let few = oldest.live_records == 0 && 2 * oldest.live_slots <= u64::from(oldest.end - SEGMENT_HEADER);
        self.cleaner.blocked.is_none() && (few || self.is_crowded())
    }

    /// The oldest segment that is neither written to nor on its way out.
    fn oldest(&self) -> Option<u32> {
        let first = self.segments.front()?.sequence;
        let oldest = self.retiring.back().map_or(first, |(segment, _)| segment + 1);
        (oldest < self.head).then_some(oldest)
    }

    fn is_crowded(&self) -> bool {
        let closed = self.segments.iter().filter(|segment| segment.sequence < self.head);
        let (used, live) = closed.fold((0, 0), |(used, live), segment| {
            (used + u64::from(segment.end - SEGMENT_HEADER), live + segment.live())
        });
        used.saturating_sub(live) > live.max(2 * u64::from(self.config.segment_bytes))
    }

    /// Writes states and bounds that lie in `segment` again, from the stream where it stopped the last time:
    /// no stream comes to lie in an old segment later. Answers how many bytes.
    ///
    /// Looking at a stream counts for [`LOOK`] bytes, so that a million of them are not gone through at once.
    fn move_slots(&mut self, segment: u32, budget: usize) -> Result<usize, Error> {
        let mut cost = 0;
        let mut next = Some(self.cleaner.stream);
        while let Some((id, known)) = next.and_then(|from| self.streams.range(from..).next()) {
            let id = *id;
            if cost >= budget {
                break;
            }
            cost += LOOK;
            next = id.get().checked_add(1).map(StreamId::new);
            self.cleaner.stream = next.unwrap_or(id);
            let (range, bounds) = (known.range(), known.bounds);
            let state = known.state.as_ref().filter(|(_, place)| place.segment == segment).cloned();
            if bounds.is_some_and(|bounds| bounds.segment == segment) {
                let next = range.end.to_le_bytes();
                let place = self.stage_record(Kind::Bounds, id, range.start, &[&next])?;
                self.set_bounds(id, Bounds { first: range.start, segment: place.segment });
                cost += SLOT as usize;
            }
            if let Some((state, old)) = state {
                let place = self.stage_record(Kind::State, id, 0, &[&state])?;
                self.segment_mut(old.segment).live_slots -= old.size();
                self.segment_mut(place.segment).live_slots += place.size();
                if let Some(known) = self.streams.get_mut(&id) {
                    known.state = Some((state, place));
                }
                cost += place.size() as usize;
            }
        }
        Ok(cost)
    }

    /// Copies the live records of `segment`, from where it stopped the last time. Answers how many bytes.
    ///
    /// Reading counts for a sixteenth, so that a segment with a few live records is not read in one go.
    fn move_records(&mut self, segment: u32, budget: usize) -> Result<usize, Error> {
        let mut cost = 0;
        while cost < budget && self.cleaner.offset < self.segment(segment).end {
            let (group, salt) = {
                let source = self.segment(segment);
                let Some((name, file)) = &source.file else { return Err(Error::Failed) };
                let read = |error| Error::read("read", name.as_str(), error);
                let mut window = Window::exact(file);
                let group = verified(&mut window, self.cleaner.offset, source.length, source.salt);
                let Some((_, body)) = group.map_err(read)? else {
                    let at = self.cleaner.offset.into();
                    return Err(Error::damaged(name.as_str(), at, "a group does not hold"));
                };
                (bytes::Bytes::copy_from_slice(body), source.salt)
            };
            let start = self.cleaner.offset + GROUP_HEADER as u32;
            for (offset, record) in records(&group, start, salt) {
                let here = Place { segment, offset, length: record.payload.len() as u32 };
                let (id, index) = (StreamId::new(record.stream), record.index);
                let live = matches!(record.kind, Kind::Append | Kind::Moved)
                    && self.streams.get(&id).and_then(|known| known.place(index)) == Some(here);
                if live {
                    self.move_record(id, index, record.payload, here)?;
                    cost += record.size();
                }
            }
            let taken = crate::format::footprint(group.len());
            self.cleaner.offset += taken as u32;
            cost += taken.div_ceil(16);
        }
        let source = self.segment(segment);
        if self.cleaner.offset >= source.end && source.live_records > 0 {
            // Every record was looked at: the count and the index disagree, which is a bug, not damage.
            debug_assert!(false, "segment {segment} has live records that are not in it");
            return Err(Error::damaged(source.name(), source.end.into(), "live records are not in it"));
        }
        Ok(cost)
    }

    fn move_record(&mut self, id: StreamId, index: u64, payload: &[u8], old: Place) -> Result<(), Error> {
        let place = self.stage_record(Kind::Moved, id, index, &[payload])?;
        self.segment_mut(old.segment).live_records -= old.size();
        self.segment_mut(place.segment).live_records += place.size();
        if let Some(known) = self.streams.get_mut(&id) {
            let at = (index - known.range().start) as usize;
            known.records[at] = place;
        }
        Ok(())
    }
}

/// What it counts to look at a stream that may lie in a segment.
const LOOK: usize = 4;
