use bytes::{Buf, Bytes, BytesMut};

use super::{Header, Violation};

/// A frame that has arrived whole, its checksums verified.
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) body: Bytes,
}

/// Cuts what is read into frames, many a read, without copying bodies.
///
/// Bodies share the memory of the read that they came by: at most some 128 KiB, or twice the body's own length.
pub(crate) struct FrameReader {
    buffer: BytesMut,
    /// The header of the frame whose body is still arriving.
    header: Option<Header>,
    body_max: usize,
}

impl FrameReader {
    pub(crate) fn new(body_max: usize) -> Self {
        Self { buffer: BytesMut::new(), header: None, body_max }
    }

    /// Changes the longest body that is accepted from the next header on.
    pub(crate) fn set_body_max(&mut self, body_max: usize) {
        self.body_max = body_max;
    }

    /// Where to read to: room for at least a few kilobytes.
    ///
    /// Room grows with what has arrived, not with what a header claims, so that claims alone cost a peer's
    /// victim no memory.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        let missing = self.header.map_or(0, |header| header.len as usize).saturating_sub(self.buffer.len());
        let free = self.buffer.capacity() - self.buffer.len();
        if free < ROOM_MIN.max(missing.min(READ)) {
            self.buffer.reserve(missing.clamp(READ, self.buffer.len().max(READ)));
        }
        &mut self.buffer
    }

    /// The next frame; `None` until more has been read.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Violation> {
        let header = match self.header {
            Some(header) => header,
            None => {
                let Some(bytes) = self.buffer.first_chunk::<{ Header::LEN }>() else { return Ok(None) };
                let header = Header::decode(bytes)?;
                if header.len as usize > self.body_max {
                    return Err(Violation::TooLong { len: header.len, max: self.body_max });
                }
                self.buffer.advance(Header::LEN);
                self.header = Some(header);
                header
            }
        };
        if self.buffer.len() < header.len as usize {
            return Ok(None);
        }
        self.header = None;
        let body =
            if header.len == 0 { Bytes::new() } else { self.buffer.split_to(header.len as usize).freeze() };
        if body.len() >= READ {
            // A small body behind a large one would keep the large one's memory alive for as long as it lives.
            self.renew();
        }
        if crc32c::crc32c(&body) != header.body_crc {
            return Err(Violation::BodyChecksum);
        }
        Ok(Some(Frame { header, body }))
    }

    /// Goes on in a buffer of the usual size.
    fn renew(&mut self) {
        let rest = std::mem::take(&mut self.buffer);
        if !rest.is_empty() {
            self.buffer.reserve(rest.len().max(READ));
            self.buffer.extend_from_slice(&rest);
        }
    }

    /// How much memory is held for what has arrived.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }
}

/// How much is read at once.
const READ: usize = 64 << 10;
/// With less room than this, a read isn't worth its system call.
const ROOM_MIN: usize = 4 << 10;
