//! What a [`Log`](super::Log) keeps, in bytes: written by hand, little-endian. Checksums are the log's own.
//!
//! An entry is a record of its group's stream, under its own index: kind (u8: 0 blank, 1 command,
//! 2 membership), term (u64), payload.
//!
//! The stream's state is: version (u8, 1), term (u64), whether there is a vote (u8), the vote (u64), standing
//! (u8: 0 standby, 1 voter), term and index of the entry before the first (u64 each), a count (u32) and for
//! each voter's store its node (u64) and store (u128).
//!
//! A snapshot is a sealed file: version (u8, 1), term and index of the last entry it covers (u64 each), the
//! length of the membership (u32), the membership as on the wire, the state machine's data.

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use quorate_core::{NodeId, StoreId};

use super::{HardState, Snapshot, SnapshotMeta, Standing};
use crate::entry::{Entry, EntryId, EntryPayload, Index};
use crate::wire::{
    ENTRY_BLANK, ENTRY_COMMAND, ENTRY_MEMBERSHIP, WireError, decode_membership, encode_membership,
};

/// Why bytes are not what they should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LayoutError {
    #[error("it is cut short")]
    Short,
    #[error("there are bytes after its end")]
    Trailing,
    #[error("it has layout version {0}")]
    Version(u8),
    #[error("it has an impossible {0}")]
    Field(&'static str),
    #[error("its membership can't be read: {0}")]
    Membership(#[from] WireError),
}

impl From<TryGetError> for LayoutError {
    fn from(_: TryGetError) -> Self {
        Self::Short
    }
}

/// What is in front of an entry's payload, and the payload.
pub(super) fn encode_entry(entry: &Entry) -> ([u8; ENTRY_HEAD_BYTES], Bytes) {
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (ENTRY_BLANK, Bytes::new()),
        EntryPayload::Command(command) => (ENTRY_COMMAND, command.clone()),
        EntryPayload::Membership(membership) => (ENTRY_MEMBERSHIP, encode_membership(membership)),
    };
    let mut head = [kind; ENTRY_HEAD_BYTES];
    head[1..].copy_from_slice(&entry.id.term.to_le_bytes());
    (head, payload)
}

pub(super) fn decode_entry(index: Index, mut record: Bytes) -> Result<Entry, LayoutError> {
    let (kind, term) = (record.try_get_u8()?, record.try_get_u64_le()?);
    let payload = match kind {
        ENTRY_BLANK if record.is_empty() => EntryPayload::Blank,
        ENTRY_BLANK => return Err(LayoutError::Trailing),
        ENTRY_COMMAND => EntryPayload::Command(record),
        ENTRY_MEMBERSHIP => EntryPayload::Membership(decode_membership(record)?),
        _ => return Err(LayoutError::Field("kind")),
    };
    Ok(Entry { id: EntryId::new(term, index), payload })
}

/// Hard state, and the entry before the first.
pub(super) fn encode_state(hard: &HardState, before_first: EntryId) -> Bytes {
    let mut bytes = BytesMut::with_capacity(64 + hard.stores.len() * STORE_BYTES);
    bytes.put_u8(VERSION);
    bytes.put_u64_le(hard.term);
    bytes.put_u8(u8::from(hard.vote.is_some()));
    bytes.put_u64_le(hard.vote.map_or(0, NodeId::get));
    bytes.put_u8(match hard.standing {
        Standing::Standby => 0,
        Standing::Voter => 1,
    });
    put_id(&mut bytes, before_first);
    bytes.put_u32_le(hard.stores.len() as u32);
    for (node, store) in &hard.stores {
        bytes.put_u64_le(node.get());
        bytes.put_u128_le(store.get());
    }
    bytes.freeze()
}

pub(super) fn decode_state(mut bytes: Bytes) -> Result<(HardState, EntryId), LayoutError> {
    version(&mut bytes)?;
    let mut hard = HardState { term: bytes.try_get_u64_le()?, ..HardState::default() };
    hard.vote = match (bytes.try_get_u8()?, bytes.try_get_u64_le()?) {
        (0, 0) => None,
        (1, vote) => Some(NodeId::new(vote)),
        _ => return Err(LayoutError::Field("vote")),
    };
    hard.standing = match bytes.try_get_u8()? {
        0 => Standing::Standby,
        1 => Standing::Voter,
        _ => return Err(LayoutError::Field("standing")),
    };
    let before_first = id(&mut bytes)?;
    let count = bytes.try_get_u32_le()? as usize;
    if count.checked_mul(STORE_BYTES) != Some(bytes.len()) {
        return Err(LayoutError::Field("number of stores"));
    }
    for _ in 0..count {
        let node = NodeId::new(bytes.try_get_u64_le()?);
        let store = StoreId::new(bytes.try_get_u128_le()?);
        if hard.stores.last_key_value().is_some_and(|(last, _)| *last >= node) {
            return Err(LayoutError::Field("order of stores"));
        }
        hard.stores.insert(node, store);
    }
    Ok((hard, before_first))
}

pub(super) fn encode_snapshot(snapshot: &Snapshot) -> Bytes {
    let membership = encode_membership(&snapshot.meta.membership);
    let mut bytes = BytesMut::with_capacity(32 + membership.len() + snapshot.data.len());
    bytes.put_u8(VERSION);
    put_id(&mut bytes, snapshot.meta.last);
    bytes.put_u32_le(membership.len() as u32);
    bytes.put_slice(&membership);
    bytes.put_slice(&snapshot.data);
    bytes.freeze()
}

/// The data is a slice of `bytes`.
pub(super) fn decode_snapshot(mut bytes: Bytes) -> Result<Snapshot, LayoutError> {
    version(&mut bytes)?;
    let last = id(&mut bytes)?;
    let length = bytes.try_get_u32_le()? as usize;
    if length > bytes.len() {
        return Err(LayoutError::Short);
    }
    let membership = decode_membership(bytes.split_to(length))?;
    Ok(Snapshot { meta: SnapshotMeta { last, membership }, data: bytes })
}

fn version(bytes: &mut Bytes) -> Result<(), LayoutError> {
    match bytes.try_get_u8()? {
        VERSION => Ok(()),
        other => Err(LayoutError::Version(other)),
    }
}

fn put_id(bytes: &mut BytesMut, id: EntryId) {
    bytes.put_u64_le(id.term);
    bytes.put_u64_le(id.index);
}

fn id(bytes: &mut Bytes) -> Result<EntryId, LayoutError> {
    Ok(EntryId::new(bytes.try_get_u64_le()?, bytes.try_get_u64_le()?))
}

/// What a record needs beside the entry's payload.
pub(super) const ENTRY_HEAD_BYTES: usize = 9;
const VERSION: u8 = 1;
const STORE_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::entry::Membership;

    fn members() -> Membership {
        let voters = [(NodeId::new(1), Bytes::from_static(b"a:1")), (NodeId::new(2), Bytes::new())];
        Membership { voters: voters.into() }
    }

    fn hard() -> HardState {
        let stores =
            BTreeMap::from([(NodeId::new(1), StoreId::new(0xaa)), (NodeId::new(2), StoreId::new(7))]);
        HardState { term: 9, vote: Some(NodeId::new(2)), standing: Standing::Voter, stores }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Command(Bytes::from_static(b"put")),
            EntryPayload::Command(Bytes::new()),
            EntryPayload::Membership(members()),
        ] {
            let entry = Entry { id: EntryId::new(3, 8), payload };
            let (head, payload) = encode_entry(&entry);
            assert_eq!(decode_entry(8, [&head[..], &payload].concat().into()), Ok(entry));
        }
        for hard in [HardState::default(), hard()] {
            let floor = EntryId::new(4, 5);
            assert_eq!(decode_state(encode_state(&hard, floor)), Ok((hard, floor)));
        }
        let meta = SnapshotMeta { last: EntryId::new(2, 6), membership: members() };
        let snapshot = Snapshot { meta, data: Bytes::from_static(b"state") };
        assert_eq!(decode_snapshot(encode_snapshot(&snapshot)), Ok(snapshot));
    }

    #[test]
    fn the_bytes_on_disk_are_frozen() {
        let entry = Entry { id: EntryId::new(0x0102, 8), payload: EntryPayload::Command("put".into()) };
        let (head, payload) = encode_entry(&entry);
        assert_eq!(head, [1, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(payload, "put");
        let mut state = vec![1, 9, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1];
        state.extend([4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
        state.extend([1, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        state.extend([2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode_state(&hard(), EntryId::new(4, 5)), state);
        let meta = SnapshotMeta { last: EntryId::new(2, 6), membership: Membership::default() };
        let snapshot = encode_snapshot(&Snapshot { meta, data: "x".into() });
        let expected =
            [&[1u8][..], &2u64.to_le_bytes(), &6u64.to_le_bytes(), &[4, 0, 0, 0], &[0; 4], b"x"].concat();
        assert_eq!(snapshot, expected);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_an_error_or_canonical(bytes in vec(any::<u8>(), 0..80), version in 0..2u8) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            let bytes = Bytes::from(bytes);
            if let Ok((hard, floor)) = decode_state(bytes.clone()) {
                prop_assert_eq!(encode_state(&hard, floor), bytes.clone());
            }
            if let Ok(snapshot) = decode_snapshot(bytes.clone()) {
                prop_assert_eq!(encode_snapshot(&snapshot), bytes.clone());
            }
            if let Ok(entry) = decode_entry(1, bytes.clone()) {
                let (head, payload) = encode_entry(&entry);
                prop_assert_eq!([&head[..], &payload].concat(), bytes);
            }
        }
    }
}
