//! The layout of messages in bytes: written by hand, little-endian, without a copy of any payload.
//!
//! A message is a head (28 bytes, the fields of its kind, and for each entry or command its own head)
//! followed by the payloads, one after another. The head is built in one buffer; the payloads stay the
//! `Bytes` they were, so an append to many followers shares them. Decoding slices the payloads out of the
//! buffer that arrived.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | version of the layout: 1 |
//! | 1 | 1 | kind of payload |
//! | 2 | 1 | standing: 0 standby, 1 voter |
//! | 3 | 1 | zero |
//! | 4 | 8 | term |
//! | 12 | 16 | store |
//! | 28 | | the payload's fields in the order of their declaration |
//!
//! Whatever arrives is checked: a length that is claimed is compared with what is there before anything is
//! allocated, and bytes that are left over are an error.

mod reader;

use bytes::{BufMut, Bytes, BytesMut};
use quorate_core::{BootId, Outcome, StoreId};

use self::reader::Reader;
use crate::entry::{Entry, EntryId, EntryPayload, Membership};
use crate::message::{Message, Payload, SnapshotProgress};
use crate::storage::{SnapshotMeta, Standing};

/// A message that can't be decoded. It is dropped: like one that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It ends before it should.
    #[error("the message is cut short")]
    Short,
    /// There are bytes after its end.
    #[error("the message has bytes after its end")]
    Trailing,
    /// It is of a version of the layout that is not known here.
    #[error("the message has layout version {0}")]
    Version(u8),
    /// A field has a value that it can't have.
    #[error("the message has an impossible {0}")]
    Field(&'static str),
}

impl WireError {
    /// Not done: the message has no effect.
    pub fn outcome(&self) -> Outcome {
        Outcome::NotDone
    }
}

/// Encodes a message: its head, and the payloads that follow it.
pub fn encode(message: &Message) -> (Bytes, Vec<Bytes>) {
    let mut head = BytesMut::with_capacity(HEAD_BYTES + 64);
    let mut payloads = Vec::new();
    head.put_u8(VERSION);
    head.put_u8(kind(&message.payload));
    head.put_u8(match message.standing {
        Standing::Standby => 0,
        Standing::Voter => 1,
    });
    head.put_u8(0);
    head.put_u64_le(message.term);
    head.put_u128_le(message.store.get());
    encode_payload(&message.payload, &mut head, &mut payloads);
    (head.freeze(), payloads)
}

/// Decodes a message from the bytes of its head and payloads, one after another.
///
/// # Errors
///
/// If they are not a whole message and nothing else.
pub fn decode(bytes: Bytes) -> Result<Message, WireError> {
    let mut reader = Reader::new(bytes);
    let version = reader.u8()?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let kind = reader.u8()?;
    let standing = match reader.u8()? {
        0 => Standing::Standby,
        1 => Standing::Voter,
        _ => return Err(WireError::Field("standing")),
    };
    if reader.u8()? != 0 {
        return Err(WireError::Field("reserved byte"));
    }
    let term = reader.u64()?;
    let store = StoreId::new(reader.u128()?);
    let payload = decode_payload(kind, &mut reader)?;
    reader.finish()?;
    Ok(Message { term, store, standing, payload })
}

/// A membership in bytes: a count, then for each voter its node, the length of its address and the address.
pub(crate) fn encode_membership(membership: &Membership) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u32_le(membership.voters.len() as u32);
    for (node, address) in &membership.voters {
        bytes.put_u64_le(node.get());
        bytes.put_u32_le(address.len() as u32);
        bytes.put_slice(address);
    }
    bytes.freeze()
}

pub(crate) fn decode_membership(bytes: Bytes) -> Result<Membership, WireError> {
    let mut reader = Reader::new(bytes);
    let mut membership = Membership::default();
    for _ in 0..reader.count(12)? {
        let node = reader.u64()?.into();
        let length = reader.u32()? as usize;
        let address = reader.bytes(length)?;
        if membership.voters.last_key_value().is_some_and(|(last, _)| *last >= node) {
            return Err(WireError::Field("order of voters"));
        }
        membership.voters.insert(node, address);
    }
    reader.finish()?;
    Ok(membership)
}

fn kind(payload: &Payload) -> u8 {
    match payload {
        Payload::PreVote { .. } => 1,
        Payload::PreVoteReply { .. } => 2,
        Payload::Vote { .. } => 3,
        Payload::VoteReply { .. } => 4,
        Payload::Append { .. } => 5,
        Payload::AppendAccepted { .. } => 6,
        Payload::AppendRejected { .. } => 7,
        Payload::Commit { .. } => 8,
        Payload::Heartbeat { .. } => 9,
        Payload::HeartbeatReply { .. } => 10,
        Payload::Snapshot { .. } => 11,
        Payload::SnapshotReply { .. } => 12,
        Payload::Forward { .. } => 13,
        Payload::Forwarded { .. } => 14,
        Payload::ReadIndex { .. } => 15,
        Payload::ReadIndexReply { .. } => 16,
    }
}

fn encode_payload(payload: &Payload, head: &mut BytesMut, payloads: &mut Vec<Bytes>) {
    match payload {
        Payload::PreVote { last } | Payload::Vote { last } => put_id(head, *last),
        Payload::PreVoteReply { round, granted } => {
            head.put_u64_le(*round);
            head.put_u8(u8::from(*granted));
        }
        Payload::VoteReply { granted } => head.put_u8(u8::from(*granted)),
        Payload::Append { previous, commit, entries } => {
            put_id(head, *previous);
            head.put_u64_le(*commit);
            head.put_u32_le(entries.len() as u32);
            for entry in entries {
                put_entry(entry, head, payloads);
            }
        }
        Payload::AppendAccepted { matched } => head.put_u64_le(*matched),
        Payload::Commit { id } => put_id(head, *id),
        Payload::AppendRejected { previous, hint } => {
            head.put_u64_le(*previous);
            put_id(head, *hint);
        }
        Payload::Heartbeat { commit, round } => {
            put_id(head, *commit);
            head.put_u64_le(*round);
        }
        Payload::HeartbeatReply { round, last } => {
            head.put_u64_le(*round);
            head.put_u64_le(*last);
        }
        Payload::Snapshot { meta, total, offset, data } => {
            put_id(head, meta.last);
            head.put_u64_le(*total);
            head.put_u64_le(*offset);
            let membership = encode_membership(&meta.membership);
            head.put_u32_le(membership.len() as u32);
            head.put_u32_le(data.len() as u32);
            payloads.extend([membership, data.clone()]);
        }
        Payload::SnapshotReply { last, progress } => {
            put_id(head, *last);
            let (kind, received) = match progress {
                SnapshotProgress::Received(received) => (0, *received),
                SnapshotProgress::Installed => (1, 0),
                SnapshotProgress::Refused => (2, 0),
            };
            head.put_u8(kind);
            head.put_u64_le(received);
        }
        Payload::Forward { boot, sequence, commands } => {
            head.put_u64_le(boot.get());
            head.put_u64_le(*sequence);
            head.put_u32_le(commands.len() as u32);
            for command in commands {
                head.put_u32_le(command.len() as u32);
                payloads.push(command.clone());
            }
        }
        Payload::ReadIndex { boot, sequence } => {
            head.put_u64_le(boot.get());
            head.put_u64_le(*sequence);
        }
        Payload::Forwarded { boot, sequence, first: index }
        | Payload::ReadIndexReply { boot, sequence, index } => {
            head.put_u64_le(boot.get());
            head.put_u64_le(*sequence);
            head.put_u8(u8::from(index.is_some()));
            head.put_u64_le(index.unwrap_or(0));
        }
    }
}

fn decode_payload(kind: u8, reader: &mut Reader) -> Result<Payload, WireError> {
    Ok(match kind {
        1 => Payload::PreVote { last: reader.id()? },
        2 => Payload::PreVoteReply { round: reader.u64()?, granted: reader.flag("grant")? },
        3 => Payload::Vote { last: reader.id()? },
        4 => Payload::VoteReply { granted: reader.flag("grant")? },
        5 => decode_append(reader)?,
        6 => Payload::AppendAccepted { matched: reader.u64()? },
        7 => Payload::AppendRejected { previous: reader.u64()?, hint: reader.id()? },
        8 => Payload::Commit { id: reader.id()? },
        9 => Payload::Heartbeat { commit: reader.id()?, round: reader.u64()? },
        10 => Payload::HeartbeatReply { round: reader.u64()?, last: reader.u64()? },
        11 => {
            let (last, total, offset) = (reader.id()?, reader.u64()?, reader.u64()?);
            let (membership, length) = (reader.u32()? as usize, reader.u32()? as usize);
            let membership = decode_membership(reader.bytes(membership)?)?;
            let data = reader.bytes(length)?;
            Payload::Snapshot { meta: SnapshotMeta { last, membership }, total, offset, data }
        }
        12 => {
            let last = reader.id()?;
            let progress = match (reader.u8()?, reader.u64()?) {
                (0, received) => SnapshotProgress::Received(received),
                (1, 0) => SnapshotProgress::Installed,
                (2, 0) => SnapshotProgress::Refused,
                _ => return Err(WireError::Field("progress")),
            };
            Payload::SnapshotReply { last, progress }
        }
        13 => {
            let (boot, sequence) = (BootId::new(reader.u64()?), reader.u64()?);
            let lengths = reader.u32s()?;
            let commands =
                lengths.into_iter().map(|length| reader.bytes(length as usize)).collect::<Result<_, _>>()?;
            Payload::Forward { boot, sequence, commands }
        }
        14 => {
            let (boot, sequence) = (BootId::new(reader.u64()?), reader.u64()?);
            Payload::Forwarded { boot, sequence, first: reader.optional_u64("index")? }
        }
        15 => Payload::ReadIndex { boot: BootId::new(reader.u64()?), sequence: reader.u64()? },
        16 => {
            let (boot, sequence) = (BootId::new(reader.u64()?), reader.u64()?);
            Payload::ReadIndexReply { boot, sequence, index: reader.optional_u64("index")? }
        }
        _ => return Err(WireError::Field("kind")),
    })
}

fn put_id(head: &mut BytesMut, id: EntryId) {
    head.put_u64_le(id.term);
    head.put_u64_le(id.index);
}

/// An entry's head: kind, term and length. Its index follows from its place.
fn put_entry(entry: &Entry, head: &mut BytesMut, payloads: &mut Vec<Bytes>) {
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (ENTRY_BLANK, Bytes::new()),
        EntryPayload::Command(command) => (ENTRY_COMMAND, command.clone()),
        EntryPayload::Membership(membership) => (ENTRY_MEMBERSHIP, encode_membership(membership)),
    };
    head.put_u8(kind);
    head.put_u64_le(entry.id.term);
    head.put_u32_le(payload.len() as u32);
    if !payload.is_empty() {
        payloads.push(payload);
    }
}

fn decode_append(reader: &mut Reader) -> Result<Payload, WireError> {
    let (previous, commit) = (reader.id()?, reader.u64()?);
    let count = reader.count(ENTRY_HEAD_BYTES)?;
    let mut heads = Vec::with_capacity(count);
    for _ in 0..count {
        heads.push((reader.u8()?, reader.u64()?, reader.u32()? as usize));
    }
    let mut entries = Vec::with_capacity(count);
    let mut index = previous.index;
    for (kind, term, length) in heads {
        index = index.checked_add(1).ok_or(WireError::Field("index"))?;
        let bytes = reader.bytes(length)?;
        let payload = match kind {
            ENTRY_BLANK if bytes.is_empty() => EntryPayload::Blank,
            ENTRY_COMMAND => EntryPayload::Command(bytes),
            ENTRY_MEMBERSHIP => EntryPayload::Membership(decode_membership(bytes)?),
            _ => return Err(WireError::Field("entry")),
        };
        entries.push(Entry { id: EntryId::new(term, index), payload });
    }
    Ok(Payload::Append { previous, commit, entries })
}

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 28;
const ENTRY_HEAD_BYTES: usize = 13;
pub(crate) const ENTRY_BLANK: u8 = 0;
pub(crate) const ENTRY_COMMAND: u8 = 1;
pub(crate) const ENTRY_MEMBERSHIP: u8 = 2;
