//! Messages and writes: as lines of a trace, and through their layout in bytes.

use bytes::{Bytes, BytesMut};
use quorate_core::NodeId;
use quorate_raft::{Message, Payload, Write, wire};
use quorate_sim::Violation;

use super::clients::OperationId;

/// A message as a line.
pub(super) fn describe(message: &Message) -> String {
    let term = message.term;
    match &message.payload {
        Payload::Append { previous, commit, entries } => {
            let last = entries.last().map_or(*previous, |entry| entry.id);
            let count = entries.len();
            format!("t{term} Append {previous}..{last} ({count} entries) commit {commit}")
        }
        Payload::Snapshot { meta, total, offset, data } => {
            format!("t{term} Snapshot {} bytes {offset}+{} of {total}", meta.last, data.len())
        }
        Payload::Forward { sequence, commands, .. } => {
            let names: Vec<_> = commands.iter().filter_map(|c| OperationId::of(c)).map(|id| id.0).collect();
            format!("t{term} Forward #{sequence} of {names:?}")
        }
        payload => format!("t{term} {payload:?}"),
    }
}

/// A write as a line.
pub(super) fn outline(write: &Write) -> String {
    let mut parts = vec![format!("#{}", write.id.sequence)];
    if let Some(hard) = &write.hard_state {
        parts.push(format!("t{} vote {:?} {:?}", hard.term, hard.vote.map(NodeId::get), hard.standing));
    }
    parts.extend(write.snapshot.as_ref().map(|snapshot| format!("snapshot {}", snapshot.meta.last)));
    parts.extend(write.restart_after.map(|after| format!("restart after {after}")));
    parts.extend(write.discard_before.map(|first| format!("discard before {first}")));
    parts.extend(write.truncate_from.map(|from| format!("truncate from {from}")));
    if let (Some(first), Some(last)) = (write.entries.first(), write.entries.last()) {
        parts.push(format!("entries {}..{}", first.id, last.id));
    }
    parts.join(" ")
}

/// Encodes and decodes: what arrives must be what was sent.
pub(super) fn through_the_wire(message: Message) -> Result<Message, Violation> {
    let (header, slices) = wire::encode(&message);
    let mut bytes = BytesMut::from(&header[..]);
    slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
    let bytes: Bytes = bytes.freeze();
    match wire::decode(bytes) {
        Ok(decoded) if decoded == message => Ok(decoded),
        other => Err(Violation::new("the wire keeps messages", format!("{message:?} became {other:?}"))),
    }
}
