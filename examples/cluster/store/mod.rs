//! The replicated state: keys and values, changed by batches of operations.

mod glob;
mod op;
mod scan;
mod snapshot;

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use quorate_raft::{RestoreError, StateMachine};
use xxhash_rust::xxh3::xxh3_64;

pub use glob::matches;
pub use op::{BATCH_HEADER_BYTES, Batch, COMMAND_BYTES_MAX, Condition, Op, Previous};
pub use scan::{Page, SCAN_COUNT_MAX, SCAN_PAGE_BYTES};
pub use snapshot::SnapshotError;

/// Keys and values, in the order of the keys' hashes.
///
/// Hash order is as good as any for lookups (most comparisons end at the first word), and it gives
/// [`scan`](Store::scan) a cursor that is a plain number, means the same on every node, survives restarts,
/// and neither skips nor repeats a key that is there throughout, whatever else comes and goes.
///
/// Keys and values are copied in when they are stored, because a slice of the log's entry would keep the
/// whole entry in memory for as long as the key lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    entries: BTreeMap<Key, Bytes>,
    bytes: u64,
}

impl Store {
    /// The value of a key. Cloning it costs no copy.
    pub fn value(&self, key: &Bytes) -> Option<Bytes> {
        self.entries.get(&Key::new(key.clone())).cloned()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the entries count against [`STORE_BYTES_MAX`], in bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Carries out one operation.
    pub fn execute(&mut self, op: Op) -> Answer {
        match op {
            Op::Set { key, value, condition, previous } => self.set(key, value, condition, previous),
            Op::SetMany(pairs) => self.set_many(pairs),
            Op::Delete(keys) => Answer::Integer(keys.into_iter().map(|key| self.delete(key)).sum()),
            Op::Add { key, delta } => self.add(key, delta),
            Op::Append { key, value } => self.append(key, &value),
            Op::Clear => {
                *self = Self::default();
                Answer::Done
            }
        }
    }

    fn set(&mut self, key: Bytes, value: Bytes, condition: Condition, previous: Previous) -> Answer {
        let key = Key::new(key);
        let old = self.entries.get(&key);
        let wanted = match condition {
            Condition::Always => true,
            Condition::Absent => old.is_none(),
            Condition::Present => old.is_some(),
        };
        let before = if previous == Previous::Tell { old.cloned() } else { None };
        if wanted && !self.put(key, value) {
            return Answer::Full;
        }
        match (previous, before) {
            (Previous::Tell, Some(value)) => Answer::Value(value),
            (Previous::Tell, None) => Answer::Absent,
            (Previous::Keep, _) if wanted => Answer::Done,
            (Previous::Keep, _) => Answer::Absent,
        }
    }

    // All or nothing: the space is counted as if every key were new, so that none is set when not all fit.
    fn set_many(&mut self, pairs: Vec<(Bytes, Bytes)>) -> Answer {
        let wanted: u64 = pairs.iter().map(|(key, value)| cost(key.len(), value.len())).sum();
        if self.bytes + wanted > STORE_BYTES_MAX {
            return Answer::Full;
        }
        for (key, value) in pairs {
            let stored = self.put(Key::new(key), value);
            debug_assert!(stored, "the space of all pairs was counted before the first was set");
        }
        Answer::Done
    }

    fn delete(&mut self, key: Bytes) -> i64 {
        let key = Key::new(key);
        match self.entries.remove(&key) {
            Some(value) => {
                self.bytes -= cost(key.bytes.len(), value.len());
                1
            }
            None => 0,
        }
    }

    fn add(&mut self, key: Bytes, delta: i64) -> Answer {
        let key = Key::new(key);
        let old = match self.entries.get(&key) {
            None => 0,
            Some(value) => match integer(value) {
                Some(number) => number,
                None => return Answer::NotInteger,
            },
        };
        let Some(sum) = old.checked_add(delta) else { return Answer::Overflow };
        if self.put(key, Bytes::from(sum.to_string())) { Answer::Integer(sum) } else { Answer::Full }
    }

    fn append(&mut self, key: Bytes, suffix: &Bytes) -> Answer {
        let key = Key::new(key);
        let old = self.entries.get(&key).cloned().unwrap_or_default();
        let len = old.len() + suffix.len();
        if len > VALUE_BYTES_MAX {
            return Answer::TooLong;
        }
        let mut value = BytesMut::with_capacity(len);
        value.put(old);
        value.put_slice(suffix);
        if self.put(key, value.freeze()) { Answer::Integer(len as i64) } else { Answer::Full }
    }

    /// Stores copies of both, unless that would exceed the space; then nothing changes.
    fn put(&mut self, key: Key, value: Bytes) -> bool {
        let old = self.entries.get_mut(&key);
        let freed = old.as_ref().map_or(0, |old| cost(key.bytes.len(), old.len()));
        let bytes = self.bytes - freed + cost(key.bytes.len(), value.len());
        if bytes > STORE_BYTES_MAX && bytes > self.bytes {
            return false;
        }
        self.bytes = bytes;
        let value = Bytes::copy_from_slice(&value);
        match old {
            Some(old) => *old = value,
            None => {
                let copied = Key { hash: key.hash, bytes: Bytes::copy_from_slice(&key.bytes) };
                self.entries.insert(copied, value);
            }
        }
        true
    }
}

impl StateMachine for Store {
    type Command = Batch;
    type Response = Vec<Answer>;

    fn apply(&mut self, batch: Vec<Batch>) -> Vec<Vec<Answer>> {
        let one = |Batch(ops): Batch| ops.into_iter().map(|op| self.execute(op)).collect();
        batch.into_iter().map(one).collect()
    }

    fn snapshot(&self) -> Bytes {
        snapshot::encode(self)
    }

    fn restore(&mut self, snapshot: Bytes) -> Result<(), RestoreError> {
        *self = snapshot::decode(&snapshot).map_err(|error| RestoreError(error.to_string()))?;
        Ok(())
    }
}

/// What one operation brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done,
    /// There was no value, or the condition did not hold.
    Absent,
    /// The value that was there before.
    Value(Bytes),
    /// A count, a length or a sum.
    Integer(i64),
    /// Nothing was changed: the value is not a decimal integer of 64 bits.
    NotInteger,
    /// Nothing was changed: the sum does not fit in 64 bits.
    Overflow,
    /// Nothing was changed: the value would exceed [`VALUE_BYTES_MAX`].
    TooLong,
    /// Nothing was changed: the store would exceed [`STORE_BYTES_MAX`].
    Full,
}

/// Ordered by the hash, then by the bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    hash: u64,
    bytes: Bytes,
}

impl Key {
    fn new(bytes: Bytes) -> Self {
        Self { hash: xxh3_64(&bytes), bytes }
    }
}

/// A decimal integer as Redis reads it: no plus sign, no leading zero, no space, not "-0".
pub fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [first, ..] => *first != b'0' && digits.iter().all(u8::is_ascii_digit),
        [] => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn cost(key_len: usize, value_len: usize) -> u64 {
    (key_len + value_len) as u64 + ENTRY_BYTES
}

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// The longest value, in bytes: with a key of the greatest length it still fits in a command of 1 MiB.
pub const VALUE_BYTES_MAX: usize = (1 << 20) - KEY_BYTES_MAX - 1024;
/// How much the store holds, in bytes: keys, values and [`ENTRY_BYTES`] for each entry. It is the same on
/// every node, since each must come to the same answer.
pub const STORE_BYTES_MAX: u64 = 1 << 30;
/// What an entry counts beside its key and value, in bytes: handles, hash and its share of the tree.
pub const ENTRY_BYTES: u64 = 96;

#[cfg(test)]
mod tests;
