//! The bytes on disk; FORMAT.md tells them to people. All numbers are little-endian.

use quorate_core::StoreId;

/// The start of a segment file, in a sector of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) store: StoreId,
    /// Which segment the file is now; zero for a spare.
    pub(crate) sequence: u32,
    pub(crate) length: u32,
    /// The number of the first group in it. All groups before were durable when this was written.
    pub(crate) first_group: u64,
    /// The oldest segment that held live records then.
    pub(crate) first_live: u32,
    pub(crate) epoch: u64,
    /// The chain value of the group before the first.
    pub(crate) chain: u32,
}

/// What the first bytes of a segment file turned out to be.
#[derive(Debug)]
pub(crate) enum HeaderRead {
    Valid(SegmentHeader),
    OtherVersion(u32),
    Invalid,
}

impl SegmentHeader {
    pub(crate) fn spare(store: StoreId, length: u32) -> Self {
        Self { store, sequence: 0, length, first_group: 0, first_live: 0, epoch: 0, chain: 0 }
    }

    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_USED] {
        let mut bytes = [0; SEGMENT_HEADER_USED];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[12..16].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store.get().to_le_bytes());
        bytes[32..36].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.length.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_group.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.first_live.to_le_bytes());
        bytes[60..64].copy_from_slice(&self.chain.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> HeaderRead {
        if bytes.len() < SEGMENT_HEADER_USED
            || &bytes[..8] != SEGMENT_MAGIC
            || crc32c::crc32c(&bytes[12..SEGMENT_HEADER_USED]) != u32_at(bytes, 8)
        {
            return HeaderRead::Invalid;
        }
        let version = u32_at(bytes, 12);
        if version != VERSION {
            return HeaderRead::OtherVersion(version);
        }
        let (low, high) = (u64_at(bytes, 16), u64_at(bytes, 24));
        HeaderRead::Valid(Self {
            store: StoreId::new(u128::from(low) | (u128::from(high) << 64)),
            sequence: u32_at(bytes, 32),
            length: u32_at(bytes, 36),
            first_group: u64_at(bytes, 40),
            epoch: u64_at(bytes, 48),
            first_live: u32_at(bytes, 56),
            chain: u32_at(bytes, 60),
        })
    }
}

/// The start of a group: what one write brings to disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GroupHeader {
    /// Counts groups from 1 over the whole life of the log.
    pub(crate) sequence: u64,
    /// Every group up to this one was durable when this one was written.
    pub(crate) synced: u64,
    /// Which opening of the log wrote it.
    pub(crate) epoch: u64,
    /// Segments before this one hold nothing that is still needed.
    pub(crate) first_live: u32,
    /// The chain value of the group before.
    pub(crate) previous: u32,
    /// Bytes of records behind the header.
    pub(crate) length: u32,
    /// Records behind the header. None marks the opening of a log, or only carries `synced` further.
    pub(crate) count: u32,
    /// The crc32c over the records' own checksums in order.
    pub(crate) digest: u32,
}

impl GroupHeader {
    pub(crate) fn encode(&self, salt: u32) -> [u8; GROUP_HEADER] {
        let mut bytes = [0; GROUP_HEADER];
        bytes[4..8].copy_from_slice(&GROUP_MAGIC.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.synced.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.first_live.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.previous.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.length.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.count.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.digest.to_le_bytes());
        let crc = crc32c::crc32c_append(salt, &bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], salt: u32) -> Option<Self> {
        if bytes.len() < GROUP_HEADER || u32_at(bytes, 4) != GROUP_MAGIC {
            return None;
        }
        if crc32c::crc32c_append(salt, &bytes[4..GROUP_HEADER]) != u32_at(bytes, 0) {
            return None;
        }
        Some(Self {
            sequence: u64_at(bytes, 8),
            synced: u64_at(bytes, 16),
            epoch: u64_at(bytes, 24),
            first_live: u32_at(bytes, 32),
            previous: u32_at(bytes, 36),
            length: u32_at(bytes, 40),
            count: u32_at(bytes, 44),
            digest: u32_at(bytes, 48),
        })
    }
}

/// What a record does to its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The payload at the stream's next index.
    Append = 1,
    /// A record that was appended before, copied from a segment that is about to be recycled.
    Moved = 2,
    /// Everything from the index on is gone.
    Truncate = 3,
    /// Everything before the index is gone.
    RemovePrefix = 4,
    /// The payload is the stream's state.
    State = 5,
    /// The stream is empty and continues with the index.
    Reset = 6,
    /// The stream holds from the index to the number in the payload, copied when segments are recycled.
    Bounds = 7,
    /// The stream is gone, and its state.
    Remove = 8,
}

impl Kind {
    fn decode(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Append,
            2 => Self::Moved,
            3 => Self::Truncate,
            4 => Self::RemovePrefix,
            5 => Self::State,
            6 => Self::Reset,
            7 => Self::Bounds,
            8 => Self::Remove,
            _ => return None,
        })
    }
}

/// A record as it lies in a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) stream: u64,
    pub(crate) index: u64,
    pub(crate) payload: &'a [u8],
    pub(crate) crc: u32,
}

impl<'a> Record<'a> {
    /// The record at the start of `bytes`, if it is whole and its checksum holds.
    pub(crate) fn decode(bytes: &'a [u8], salt: u32) -> Option<Self> {
        if bytes.len() < RECORD_HEADER || bytes[5..8] != [0; 3] {
            return None;
        }
        let end = RECORD_HEADER.checked_add(u32_at(bytes, 8) as usize)?;
        let record = bytes.get(..end)?;
        let crc = u32_at(bytes, 0);
        if crc32c::crc32c_append(salt, &record[4..]) != crc {
            return None;
        }
        let kind = Kind::decode(bytes[4])?;
        let payload = &record[RECORD_HEADER..];
        Some(Self { kind, stream: u64_at(bytes, 12), index: u64_at(bytes, 20), payload, crc })
    }

    pub(crate) fn size(&self) -> usize {
        RECORD_HEADER + self.payload.len()
    }
}

/// Puts a record behind `out` and answers its checksum. The caller has checked that the payload's length
/// fits 32 bits.
pub(crate) fn encode_record(
    out: &mut Vec<u8>,
    salt: u32,
    kind: Kind,
    stream: u64,
    index: u64,
    parts: &[&[u8]],
) -> u32 {
    let start = out.len();
    let length: usize = parts.iter().map(|part| part.len()).sum();
    debug_assert!(u32::try_from(length).is_ok(), "records are far smaller than a segment");
    let mut header = [0; RECORD_HEADER];
    header[4] = kind as u8;
    header[8..12].copy_from_slice(&(length as u32).to_le_bytes());
    header[12..20].copy_from_slice(&stream.to_le_bytes());
    header[20..28].copy_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&header);
    for part in parts {
        out.extend_from_slice(part);
    }
    let crc = crc32c::crc32c_append(salt, &out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// The number every checksum in a segment starts from, so that bytes of another store, or of the file's
/// earlier life as another segment, never pass for records of this one.
pub(crate) fn salt(store: StoreId, sequence: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&store.get().to_le_bytes()), &sequence.to_le_bytes())
}

/// Bytes a group takes of its segment: groups start at multiples of eight.
pub(crate) fn footprint(records: usize) -> usize {
    (GROUP_HEADER + records).next_multiple_of(GROUP_ALIGN)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

pub(crate) const VERSION: u32 = 1;
/// Where the first group of a segment starts.
pub(crate) const SEGMENT_HEADER: u32 = 512;
pub(crate) const SEGMENT_HEADER_USED: usize = 64;
pub(crate) const GROUP_HEADER: usize = 52;
pub(crate) const GROUP_ALIGN: usize = 8;
pub(crate) const RECORD_HEADER: usize = 28;
pub(crate) const GROUP_MAGIC: u32 = 0x5047_5251;
const SEGMENT_MAGIC: &[u8; 8] = b"QRTEWAL\n";
