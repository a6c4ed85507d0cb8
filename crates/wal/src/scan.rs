use std::collections::VecDeque;
use std::io;

use crate::File;
use crate::disk::read_full;
use crate::format::{GROUP_ALIGN, GROUP_HEADER, GROUP_MAGIC, GroupHeader, Record, footprint, u32_at};

/// A part of a file in memory, which moves forward as it is read.
#[derive(Debug)]
pub(crate) struct Window<'f, F> {
    file: &'f F,
    start: u64,
    bytes: Vec<u8>,
    chunk: usize,
}

impl<'f, F: File> Window<'f, F> {
    /// For reading on and on.
    pub(crate) fn new(file: &'f F) -> Self {
        Self { file, start: 0, bytes: Vec::new(), chunk: CHUNK }
    }

    /// For reading one group: no more than asked for.
    pub(crate) fn exact(file: &'f F) -> Self {
        Self { file, start: 0, bytes: Vec::new(), chunk: 4096 }
    }

    /// `length` bytes from `offset`; fewer if the file ends before.
    pub(crate) fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let held = self.start..self.start + self.bytes.len() as u64;
        if !held.contains(&offset) || offset + length as u64 > held.end {
            self.bytes.resize(length.max(self.chunk), 0);
            self.start = offset;
            let count = read_full(self.file, &mut self.bytes, offset)?;
            self.bytes.truncate(count);
        }
        let at = (offset - self.start) as usize;
        Ok(&self.bytes[at..self.bytes.len().min(at + length)])
    }
}

/// The group at `offset`, header and records, if every checksum in it holds.
pub(crate) fn verified<'w, F: File>(
    window: &'w mut Window<'_, F>,
    offset: u32,
    length: u32,
    salt: u32,
) -> io::Result<Option<(GroupHeader, &'w [u8])>> {
    let head = window.bytes(offset.into(), GROUP_HEADER)?;
    let Some(header) = GroupHeader::decode(head, salt) else { return Ok(None) };
    let room = u64::from(length).saturating_sub(u64::from(offset) + GROUP_HEADER as u64);
    if u64::from(header.length) > room {
        return Ok(None);
    }
    let body = window.bytes(u64::from(offset) + GROUP_HEADER as u64, header.length as usize)?;
    let (mut digest, mut count, mut size) = (0, 0, 0);
    for (_, record) in records(body, 0, salt) {
        digest = crc32c::crc32c_append(digest, &record.crc.to_le_bytes());
        count += 1;
        size += record.size();
    }
    let whole = (digest, count, size) == (header.digest, header.count, header.length as usize);
    Ok(whole.then_some((header, body)))
}

/// The records of a group that starts, behind its header, at `offset`, each with its own offset; up to the
/// first that does not hold.
pub(crate) fn records(
    mut body: &[u8],
    mut offset: u32,
    salt: u32,
) -> impl Iterator<Item = (u32, Record<'_>)> {
    std::iter::from_fn(move || {
        let record = Record::decode(body, salt)?;
        let found = (offset, record);
        body = &body[record.size()..];
        offset += record.size() as u32;
        Some(found)
    })
}

/// Goes from group to group of a segment, as far as each is the one that must follow.
#[derive(Debug)]
pub(crate) struct Walker<'f, F> {
    window: Window<'f, F>,
    length: u32,
    salt: u32,
    /// The number and place of each group that no later one says was durable; the segment's header stands in
    /// front, under the number of its first group.
    unproven: VecDeque<(u64, u32)>,
    pub(crate) end: End,
}

/// Where a walk stands: behind a group that holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) offset: u32,
    pub(crate) next_group: u64,
    pub(crate) chain: u32,
    pub(crate) epoch: u64,
    pub(crate) first_live: u32,
    /// Whether the last group had records.
    pub(crate) unmarked: bool,
    /// Where that begins of which nothing says that it was durable; zero if the header is part of it.
    pub(crate) unproven: u32,
}

impl<'f, F: File> Walker<'f, F> {
    pub(crate) fn new(file: &'f F, length: u32, salt: u32, end: End) -> Self {
        let unproven = VecDeque::from([(end.next_group, 0)]);
        Self { window: Window::new(file), length, salt, unproven, end }
    }

    /// The next group: its offset and records. `None` where the walk ends.
    pub(crate) fn group(&mut self) -> io::Result<Option<(u32, &[u8])>> {
        let at = self.end.offset;
        let Some((header, body)) = verified(&mut self.window, at, self.length, self.salt)? else {
            return Ok(None);
        };
        // A group without records opens a new epoch: whatever an earlier opening left behind it is stale.
        let epoch = header.epoch == self.end.epoch
            || (header.count == 0 && Some(header.epoch) == self.end.epoch.checked_add(1));
        let follows = header.sequence == self.end.next_group
            && header.previous == self.end.chain
            && header.synced < header.sequence
            && header.first_live >= self.end.first_live;
        // No log comes near the last number, so that counting on is safe.
        if !epoch || !follows || header.sequence >= NUMBER_END {
            return Ok(None);
        }
        self.unproven.push_back((header.sequence, at));
        while self.unproven.front().is_some_and(|(number, _)| *number <= header.synced) {
            self.unproven.pop_front();
        }
        self.end = End {
            offset: at + footprint(body.len()) as u32,
            next_group: header.sequence + 1,
            chain: crc32c::crc32c(&header.encode(self.salt)),
            epoch: header.epoch,
            first_live: header.first_live,
            unmarked: header.count > 0,
            unproven: self.unproven.front().map_or(at, |(_, place)| *place),
        };
        Ok(Some((at, body)))
    }
}

/// Looks behind the place where a walk ended for a group which says that group `expected` was durable. If
/// there is one, the walk ended at damage, otherwise at a torn tail: the next group is only written, and
/// says so, after the sync of the one before.
pub(crate) fn proof_of_damage<F: File>(
    file: &F,
    from: u32,
    length: u32,
    salt: u32,
    expected: u64,
) -> io::Result<bool> {
    let mut window = Window::new(file);
    let mut offset = u64::from(from).next_multiple_of(GROUP_ALIGN as u64);
    while offset + GROUP_HEADER as u64 <= u64::from(length) {
        let bytes = window.bytes(offset, CHUNK)?;
        let starts = (0..bytes.len().saturating_sub(GROUP_HEADER - 1)).step_by(GROUP_ALIGN);
        let mut read = 0;
        for at in starts {
            read = at + GROUP_ALIGN;
            let marked = u32_at(bytes, at + 4) == GROUP_MAGIC;
            if marked
                && GroupHeader::decode(&bytes[at..], salt).is_some_and(|header| header.synced >= expected)
            {
                return Ok(true);
            }
        }
        if read == 0 {
            break;
        }
        offset += read as u64;
    }
    Ok(false)
}

/// Groups and epochs are numbered below this.
pub(crate) const NUMBER_END: u64 = 1 << 63;
const CHUNK: usize = 1 << 20;
