use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use quorate_transport::{Body, Reason, Status, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::frame::{Frame, FrameReader, FrameWriter, Header, Kind, Violation};
use crate::handshake::Hello;
use crate::link::{Batch, Link, Queued, Signal};
use crate::{EndpointConfig, Stream};

/// A connection that this node dialled: messages, requests and cancellations go out, answers come in.
///
/// One task does it all. When messages turn up it first yields once, so that everyone who is about to send
/// does, and then writes what has gathered in one system call.
pub(super) struct Connection<'a> {
    stream: Stream,
    reader: FrameReader,
    writer: FrameWriter,
    link: &'a Link,
    peer_max: usize,
    ping_interval: Duration,
    silence_max: Duration,
    shutdown_max: Duration,
    has_spoken: bool,
    /// When anything was last read, written, and asked for as a sign of life.
    heard: Instant,
    spoke: Instant,
    pinged: Instant,
    batch: Batch,
    answers: Vec<(u32, Result<Bytes, Status>)>,
}

/// What there is to do.
#[derive(Default)]
struct Step {
    read: bool,
    timer: bool,
    signal: Option<Signal>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        stream: Stream,
        reader: FrameReader,
        link: &'a Link,
        config: &EndpointConfig,
        theirs: &Hello,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream,
            reader,
            writer: FrameWriter::default(),
            link,
            peer_max: theirs.body_max as usize,
            ping_interval: config.ping_interval,
            silence_max: config.silence_max,
            shutdown_max: config.shutdown_max,
            has_spoken: false,
            heard: now,
            spoke: now,
            pinged: now,
            batch: Batch::default(),
            answers: Vec::new(),
        }
    }

    /// Works until the connection ends, and says why it did.
    pub(super) async fn run(mut self) -> Reason {
        let mut timer = pin!(sleep_until(self.ping_at()));
        // Something may have come right behind the hello, and been read already.
        if let Err(violation) = self.hear() {
            return cut(violation);
        }
        loop {
            let step = match poll_fn(|cx| self.poll(cx, timer.as_mut())).await {
                Ok(step) => step,
                Err(why) => return why,
            };
            let now = Instant::now();
            if step.read {
                self.heard = now;
                if let Err(violation) = self.hear() {
                    return cut(violation);
                }
            }
            if step.timer {
                self.link.expire(now);
                if now.duration_since(self.heard) >= self.silence_max {
                    return Reason::Disconnected;
                }
                if now >= self.ping_at() {
                    self.pinged = now;
                    self.writer.push(Header::new(Kind::Ping), &Body::new());
                }
            }
            match step.signal {
                Some(Signal::Restarted) => return Reason::PeerRestarted,
                Some(Signal::Done) => {
                    // A peer that was sent nothing has nothing to lose, and need not be waited for.
                    if self.has_spoken {
                        self.stream.finish(self.shutdown_max / 2).await;
                    }
                    return Reason::Closed;
                }
                Some(Signal::Send) => {
                    if self.writer.pending() == 0 {
                        tokio::task::yield_now().await;
                    }
                    self.speak(now);
                }
                // Nobody else is about to send, so that waiting for them would only cost.
                Some(Signal::SendAlone) => self.speak(now),
                None => {}
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Result<Step, Reason>> {
        let mut step = Step::default();
        if !self.writer.is_done() {
            if let Poll::Ready(Err(_)) = self.writer.poll_write(cx, &mut self.stream.writer) {
                return Poll::Ready(Err(Reason::Disconnected));
            }
            // A long frame over a slow link: the peer reads, though it has nothing to say yet.
            if self.writer.take_unstuck() {
                self.heard = Instant::now();
            }
        }
        match pin!(self.stream.reader.read_buf(self.reader.room())).poll(cx) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Reason::Disconnected)),
            Poll::Ready(Ok(_)) => step.read = true,
            Poll::Pending => {}
        }
        let (signal, deadline) = self.link.poll_signal(cx, self.writer.pending() < BATCH);
        step.signal = match signal {
            // The last frames are still to be written; that will wake the task.
            Poll::Ready(Signal::Done) if !self.writer.is_done() => None,
            Poll::Ready(signal) => Some(signal),
            Poll::Pending => None,
        };
        let wanted = deadline.map_or(self.ping_at(), |deadline| deadline.min(self.ping_at()));
        if timer.is_elapsed() || wanted < timer.deadline() {
            timer.as_mut().reset(wanted);
        }
        step.timer = timer.poll(cx).is_ready();
        if step.read || step.timer || step.signal.is_some() { Poll::Ready(Ok(step)) } else { Poll::Pending }
    }

    /// When the next sign of life is due: after a pause of either side, but not at once again.
    fn ping_at(&self) -> Instant {
        self.heard.min(self.spoke).max(self.pinged) + self.ping_interval
    }

    fn speak(&mut self, now: Instant) {
        self.spoke = now;
        self.has_spoken = true;
        self.link.take(now, BATCH, self.peer_max, &mut self.batch);
        for queued in self.batch.messages.drain(..) {
            self.writer.push(header_of(&queued, now), &queued.message.body);
        }
        // After the requests: one of them may be cancelled here.
        for request in self.batch.cancels.drain(..) {
            self.writer.push(Header::of_request(Kind::Cancel, request), &Body::new());
        }
    }

    fn hear(&mut self) -> Result<(), Violation> {
        while let Some(Frame { header, body }) = self.reader.next()? {
            match header.kind {
                Kind::Reply => self.answers.push((header.request, Ok(body))),
                Kind::Failure => self.answers.push((header.request, Err(status_of(body)))),
                Kind::Pong => {}
                other => return Err(Violation::Unexpected(other)),
            }
        }
        if !self.answers.is_empty() {
            self.link.answered(&mut self.answers);
        }
        Ok(())
    }
}

fn cut(violation: Violation) -> Reason {
    tracing::warn!(%violation, "a connection was cut");
    Reason::ProtocolViolation
}

fn header_of(queued: &Queued, now: Instant) -> Header {
    let message = &queued.message;
    let mut header = match queued.call {
        Some(request) => Header::of_request(Kind::Request, request),
        None => Header::new(Kind::OneWay),
    };
    header.lane = message.lane.index() as u8;
    header.protocol = message.protocol.get();
    header.channel = message.channel;
    header.deadline_ms = queued.expires.map_or(0, |expires| {
        let remaining = expires.duration_since(now).as_nanos().div_ceil(1_000_000);
        u32::try_from(remaining).unwrap_or(u32::MAX).max(1)
    });
    header
}

fn status_of(mut body: Bytes) -> Status {
    let code = if body.is_empty() { StatusCode::Failed } else { StatusCode::from_wire(body.get_u8()) };
    body.truncate(Status::TEXT_MAX);
    Status::new(code, String::from_utf8_lossy(&body))
}

/// About how many bytes are gathered for one write. What is urgent waits behind no more than that, and one
/// frame.
const BATCH: usize = 64 << 10;
