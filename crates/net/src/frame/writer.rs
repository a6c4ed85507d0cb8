use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use quorate_transport::Body;
use tokio::io::AsyncWrite;

use super::Header;

/// Gathers frames and writes them with as few system calls as possible.
///
/// Headers and short chunks are copied together, which is cheaper than an entry in a vectored write; longer
/// chunks are written from where they are.
#[derive(Default)]
pub(crate) struct FrameWriter {
    ready: VecDeque<Bytes>,
    /// The copied bytes behind those in `ready`.
    tail: BytesMut,
    pending: usize,
    unflushed: bool,
    /// Whether the stream took nothing more at the last attempt, and whether it went on after such a time.
    stuck: bool,
    unstuck: bool,
}

impl FrameWriter {
    /// How many bytes wait to be written.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Whether everything has been written and flushed.
    pub(crate) fn is_done(&self) -> bool {
        self.pending == 0 && !self.unflushed
    }

    /// Adds a frame. The header's length and checksum are filled in. The body's length must be below 2³².
    pub(crate) fn push(&mut self, mut header: Header, body: &Body) {
        debug_assert!(body.len() <= u32::MAX as usize, "bodies are checked against body_max before");
        header.len = body.len() as u32;
        header.body_crc = body.chunks().fold(0, |crc, chunk| crc32c::crc32c_append(crc, chunk));
        self.copy(&header.encode());
        for chunk in body.chunks() {
            if chunk.len() <= COPY_MAX {
                self.copy(chunk);
            } else {
                self.seal();
                self.ready.push_back(chunk.clone());
            }
        }
        self.pending += Header::LEN + body.len();
    }

    fn copy(&mut self, bytes: &[u8]) {
        if self.tail.capacity() - self.tail.len() < bytes.len() {
            // A new buffer, or the old one if all of it has been written: growing would copy it.
            self.seal();
            self.tail.reserve(TAIL);
        }
        self.tail.extend_from_slice(bytes);
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.ready.push_back(self.tail.split().freeze());
        }
    }

    /// Writes as much as the stream takes now; ready once everything is written and flushed.
    pub(crate) fn poll_write<W>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin + ?Sized,
    {
        let before = self.pending;
        let polled = self.poll_all(cx, writer);
        self.unstuck |= self.stuck && self.pending < before;
        self.stuck = polled.is_pending() && self.pending > 0;
        polled
    }

    /// Whether a stream that had been full has taken more since this was last asked, and so whether the other
    /// end reads. A write to a stream with room says nothing of that: the kernel takes it for a dead peer too.
    pub(crate) fn take_unstuck(&mut self) -> bool {
        std::mem::take(&mut self.unstuck)
    }

    fn poll_all<W>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin + ?Sized,
    {
        while self.pending > 0 {
            self.seal();
            let written = if self.ready.len() == 1 {
                ready!(Pin::new(&mut *writer).poll_write(cx, &self.ready[0]))?
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                for (slice, chunk) in slices.iter_mut().zip(&self.ready) {
                    *slice = IoSlice::new(chunk);
                }
                let count = self.ready.len().min(SLICES);
                ready!(Pin::new(&mut *writer).poll_write_vectored(cx, &slices[..count]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(writer).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        self.pending = self.pending.saturating_sub(written);
        while let Some(first) = self.ready.front_mut() {
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.ready.pop_front();
        }
    }
}

/// Chunks up to this length are copied beside their header.
const COPY_MAX: usize = 4 << 10;
/// How much room for copies is made at once.
const TAIL: usize = 64 << 10;
/// The most chunks in one vectored write.
const SLICES: usize = 32;
