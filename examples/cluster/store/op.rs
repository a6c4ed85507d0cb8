//! Operations, and their layout in the log.
//!
//! A batch is a version byte and then its operations, one after another, up to the end. An operation is a
//! kind byte and its fields; lengths and counts are `u32`, integers `i64`, all little-endian.
//!
//! | kind | operation | fields |
//! |---|---|---|
//! | 1 | set | flags (bits 0 and 1: condition; bit 2: tell the previous value), key, value |
//! | 2 | set many | count, then key and value of each |
//! | 3 | delete | count, then the keys |
//! | 4 | add | key, delta |
//! | 5 | append | key, value |
//! | 6 | clear | |

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_raft::{Command, CommandError};

/// Operations that take effect together, in order: what a pipeline of writes becomes, so that it costs one
/// place in the log and one round of agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch(pub Vec<Op>);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Set {
        /// Which.
        key: Bytes,
        /// To what.
        value: Bytes,
        /// When.
        condition: Condition,
        /// What to answer.
        previous: Previous,
    },
    /// Sets several keys, or none of them.
    SetMany(Vec<(Bytes, Bytes)>),
    /// Removes keys.
    Delete(Vec<Bytes>),
    /// Adds to a decimal integer; an absent key counts as zero.
    Add {
        /// To which.
        key: Bytes,
        /// What.
        delta: i64,
    },
    /// Appends to a value; an absent key counts as empty.
    Append {
        /// To which.
        key: Bytes,
        /// What.
        value: Bytes,
    },
    /// Removes every key.
    Clear,
}

/// When a key is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// In any case.
    Always,
    /// If there is no such key.
    Absent,
    /// If there is one already.
    Present,
}

/// Whether a set answers with what was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previous {
    /// It answers whether it was done.
    Keep,
    /// It answers with the previous value.
    Tell,
}

impl Op {
    /// How many bytes it takes in the log.
    pub fn encoded_len(&self) -> usize {
        let text = |bytes: &Bytes| 4 + bytes.len();
        1 + match self {
            Self::Set { key, value, .. } => 1 + text(key) + text(value),
            Self::SetMany(pairs) => {
                4 + pairs.iter().map(|(key, value)| text(key) + text(value)).sum::<usize>()
            }
            Self::Delete(keys) => 4 + keys.iter().map(text).sum::<usize>(),
            Self::Add { key, .. } => text(key) + 8,
            Self::Append { key, value } => text(key) + text(value),
            Self::Clear => 0,
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Set { key, value, condition, previous } => {
                let condition = match condition {
                    Condition::Always => 0,
                    Condition::Absent => 1,
                    Condition::Present => 2,
                };
                let tell = if *previous == Previous::Tell { TELL } else { 0 };
                out.put_slice(&[SET, condition | tell]);
                put_text(out, key);
                put_text(out, value);
            }
            Self::SetMany(pairs) => {
                out.put_u8(SET_MANY);
                out.put_u32_le(pairs.len() as u32);
                for (key, value) in pairs {
                    put_text(out, key);
                    put_text(out, value);
                }
            }
            Self::Delete(keys) => {
                out.put_u8(DELETE);
                out.put_u32_le(keys.len() as u32);
                keys.iter().for_each(|key| put_text(out, key));
            }
            Self::Add { key, delta } => {
                out.put_u8(ADD);
                put_text(out, key);
                out.put_i64_le(*delta);
            }
            Self::Append { key, value } => {
                out.put_u8(APPEND);
                put_text(out, key);
                put_text(out, value);
            }
            Self::Clear => out.put_u8(CLEAR),
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, CommandError> {
        Ok(match take_u8(bytes)? {
            SET => {
                let flags = take_u8(bytes)?;
                let condition = match flags & !TELL {
                    0 => Condition::Always,
                    1 => Condition::Absent,
                    2 => Condition::Present,
                    _ => return Err(CommandError(format!("set has the unknown flags {flags:#04x}"))),
                };
                let previous = if flags & TELL == 0 { Previous::Keep } else { Previous::Tell };
                Self::Set { key: take_text(bytes)?, value: take_text(bytes)?, condition, previous }
            }
            SET_MANY => {
                let count = take_count(bytes, 8)?;
                let pairs = (0..count).map(|_| Ok((take_text(bytes)?, take_text(bytes)?)));
                Self::SetMany(pairs.collect::<Result<_, _>>()?)
            }
            DELETE => {
                let count = take_count(bytes, 4)?;
                Self::Delete((0..count).map(|_| take_text(bytes)).collect::<Result<_, _>>()?)
            }
            ADD => Self::Add { key: take_text(bytes)?, delta: take(bytes, 8)?.get_i64_le() },
            APPEND => Self::Append { key: take_text(bytes)?, value: take_text(bytes)? },
            CLEAR => Self::Clear,
            kind => return Err(CommandError(format!("operation of the unknown kind {kind}"))),
        })
    }
}

impl Command for Batch {
    fn encode(&self) -> Result<Bytes, CommandError> {
        let len = self.0.iter().map(Op::encoded_len).sum::<usize>();
        // No length or count in it can then be beyond its 32 bits either.
        if u32::try_from(len).is_err() {
            return Err(CommandError(format!("a batch of {len} bytes is too large for its layout")));
        }
        let mut out = BytesMut::with_capacity(BATCH_HEADER_BYTES + len);
        out.put_u8(VERSION);
        self.0.iter().for_each(|op| op.encode(&mut out));
        Ok(out.freeze())
    }

    fn decode(mut bytes: Bytes) -> Result<Self, CommandError> {
        match take_u8(&mut bytes)? {
            VERSION => {}
            version => return Err(CommandError(format!("batch of the unknown version {version}"))),
        }
        let mut ops = Vec::new();
        while !bytes.is_empty() {
            ops.push(Op::decode(&mut bytes)?);
        }
        Ok(Self(ops))
    }
}

fn put_text(out: &mut BytesMut, text: &Bytes) {
    out.put_u32_le(text.len() as u32);
    out.put_slice(text);
}

fn take(bytes: &mut Bytes, len: usize) -> Result<Bytes, CommandError> {
    if bytes.len() < len {
        return Err(CommandError(format!("{len} bytes are announced and {} are there", bytes.len())));
    }
    Ok(bytes.split_to(len))
}

fn take_u8(bytes: &mut Bytes) -> Result<u8, CommandError> {
    Ok(take(bytes, 1)?.get_u8())
}

fn take_text(bytes: &mut Bytes) -> Result<Bytes, CommandError> {
    let len = take(bytes, 4)?.get_u32_le();
    take(bytes, len as usize)
}

// A count that the remaining bytes can't hold is refused before anything is made ready for it.
fn take_count(bytes: &mut Bytes, least_each: usize) -> Result<usize, CommandError> {
    let count = take(bytes, 4)?.get_u32_le() as usize;
    if count > bytes.len() / least_each {
        return Err(CommandError(format!("{count} items can't be in {} bytes", bytes.len())));
    }
    Ok(count)
}

/// The largest command of the log, in bytes: what every transport carries in one message, less its header.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;
/// What a batch takes in the log beside its operations, in bytes.
pub const BATCH_HEADER_BYTES: usize = 1;

const VERSION: u8 = 1;
const SET: u8 = 1;
const SET_MANY: u8 = 2;
const DELETE: u8 = 3;
const ADD: u8 = 4;
const APPEND: u8 = 5;
const CLEAR: u8 = 6;
const TELL: u8 = 4;
