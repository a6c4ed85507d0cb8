//! Frames: a header of 32 bytes with a checksum of its own, and a body.

mod header;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use thiserror::Error;

pub(crate) use self::header::{Header, Kind};
pub(crate) use self::reader::{Frame, FrameReader};
pub(crate) use self::writer::FrameWriter;

/// What a peer sent that no honest peer sends over an honest wire. The connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum Violation {
    #[error("the header's checksum doesn't match")]
    HeaderChecksum,
    #[error("the body's checksum doesn't match")]
    BodyChecksum,
    #[error("unknown frame kind {0}")]
    Kind(u8),
    #[error("lane {0} doesn't belong on this connection")]
    Lane(u8),
    #[error("a body of {len} bytes is over the limit of {max}")]
    TooLong { len: u32, max: usize },
    #[error("an unexpected frame of kind {0:?}")]
    Unexpected(Kind),
    #[error("the hello can't be read")]
    Hello,
    #[error("request {0} is in progress already")]
    Duplicate(u32),
}
