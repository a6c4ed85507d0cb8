use std::hash::Hasher;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_core::Fingerprint;
use quorate_raft::{Committed, EntryId};

use super::shadow::digest;

/// A state machine whose whole state is a hash of all that was applied to it, in order: two that agree on it
/// have applied the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Machine {
    /// The last entry that was applied.
    pub last: EntryId,
    /// The hash of all entries up to there.
    pub history: u64,
}

impl Machine {
    pub(super) fn apply(&mut self, committed: &Committed) {
        let mut history = Fingerprint::default();
        for word in [self.history, committed.id.term, committed.id.index, digest(&committed.payload)] {
            history.write_u64(word);
        }
        *self = Self { last: committed.id, history: history.finish() };
    }

    /// The state in bytes, with padding so that it takes several messages.
    pub(super) fn snapshot(&self, padding: usize) -> Bytes {
        let mut bytes = BytesMut::with_capacity(24 + padding);
        bytes.put_u64(self.last.term);
        bytes.put_u64(self.last.index);
        bytes.put_u64(self.history);
        for place in 0..padding {
            bytes.put_u8((self.history as usize + place) as u8);
        }
        bytes.freeze()
    }

    /// The state from bytes; `None` if a byte is wrong.
    pub(super) fn restore(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        if rest.len() < 24 {
            return None;
        }
        let machine = Self { last: EntryId::new(rest.get_u64(), rest.get_u64()), history: rest.get_u64() };
        (machine.snapshot(rest.len()) == bytes).then_some(machine)
    }
}
