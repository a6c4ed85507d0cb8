//! The whole state in bytes.
//!
//! Eight bytes of magic with the version, the number of entries and their length in bytes (`u64` each), then
//! the entries in the store's order: length of the key, length of the value (`u32` each), key, value. All
//! little-endian. One state has one form, and no other form is accepted, so snapshots of two nodes can be
//! compared by their bytes. Checksums are the storage's and the transport's business.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Key, Store, cost};

pub(super) fn encode(store: &Store) -> Bytes {
    let len: usize = store.entries.iter().map(|(key, value)| 8 + key.bytes.len() + value.len()).sum();
    let mut out = BytesMut::with_capacity(HEADER_BYTES + len);
    out.put_slice(MAGIC);
    out.put_u64_le(store.entries.len() as u64);
    out.put_u64_le(len as u64);
    for (key, value) in &store.entries {
        out.put_u32_le(key.bytes.len() as u32);
        out.put_u32_le(value.len() as u32);
        out.put_slice(&key.bytes);
        out.put_slice(value);
    }
    out.freeze()
}

pub(super) fn decode(snapshot: &[u8]) -> Result<Store, SnapshotError> {
    let mut rest = snapshot;
    if rest.len() < HEADER_BYTES {
        return Err(SnapshotError::Short { len: rest.len() });
    }
    if &rest[..MAGIC.len()] != MAGIC {
        return Err(SnapshotError::Unknown);
    }
    rest.advance(MAGIC.len());
    let (count, len) = (rest.get_u64_le(), rest.get_u64_le());
    if len != rest.len() as u64 {
        return Err(SnapshotError::Length { stated: len, there: rest.len() });
    }
    let mut entries = BTreeMap::new();
    let mut bytes = 0;
    for number in 0..count {
        let (key, value) = take_entry(&mut rest).ok_or(SnapshotError::Entry { number })?;
        if entries.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(SnapshotError::Order { number });
        }
        bytes += cost(key.bytes.len(), value.len());
        entries.insert(key, value);
    }
    if !rest.is_empty() {
        return Err(SnapshotError::Trailing { len: rest.len() });
    }
    Ok(Store { entries, bytes })
}

fn take_entry(rest: &mut &[u8]) -> Option<(Key, Bytes)> {
    let (lengths, tail) = rest.split_at_checked(8)?;
    let (mut key_len, mut value_len) = (&lengths[..4], &lengths[4..]);
    let (key, tail) = tail.split_at_checked(key_len.get_u32_le() as usize)?;
    let (value, tail) = tail.split_at_checked(value_len.get_u32_le() as usize)?;
    *rest = tail;
    Some((Key::new(Bytes::copy_from_slice(key)), Bytes::copy_from_slice(value)))
}

/// Why bytes are not a snapshot of a store. The store is left as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// They are fewer than a header has.
    #[error("{len} bytes are too few for a header")]
    Short {
        /// How many there are.
        len: usize,
    },
    /// They don't begin as a snapshot of a known version does.
    #[error("it is no snapshot of a store, or of an unknown version")]
    Unknown,
    /// The header's length is not that of what follows.
    #[error("the header states {stated} bytes and {there} follow")]
    Length {
        /// What the header states.
        stated: u64,
        /// How many follow.
        there: usize,
    },
    /// An entry reaches past the end.
    #[error("entry {number} reaches past the end")]
    Entry {
        /// Which, counted from zero.
        number: u64,
    },
    /// An entry is not behind the one before it.
    #[error("entry {number} is out of order")]
    Order {
        /// Which, counted from zero.
        number: u64,
    },
    /// Bytes are left over behind the last entry.
    #[error("{len} bytes are left over")]
    Trailing {
        /// How many.
        len: usize,
    },
}

const MAGIC: &[u8; 8] = b"quokv\0\0\x01";
const HEADER_BYTES: usize = 24;
