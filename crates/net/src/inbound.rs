//! A connection that a peer dialled: messages and requests come in, answers go out.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use quorate_transport::{Body, Incoming, NodeIdentity, ProtocolId, Registry, Status, StatusCode};
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::deadlines::Deadlines;
use crate::frame::{Frame, FrameReader, FrameWriter, Header, Kind, Violation};
use crate::handshake::{Class, Hello};
use crate::{EndpointConfig, Stream};

type Answered = (u32, Result<Body, Status>);

/// One task reads, runs handlers that need no waiting, and writes. Handlers that wait get a task each, which
/// dies with the connection.
pub(crate) struct Inbound {
    stream: Stream,
    reader: FrameReader,
    writer: FrameWriter,
    peer: NodeIdentity,
    class: Class,
    registry: Registry,
    /// The longest answer that both ends take.
    answer_max: usize,
    silence_max: Duration,
    shutdown_max: Duration,
    heard: Instant,
    /// Whether there may be whole frames in the reader, left there until answers have been taken.
    frames_left: bool,
    has_answered: bool,
    calls: BTreeMap<u32, InProgress>,
    deadlines: Deadlines,
    answered: mpsc::UnboundedReceiver<Answered>,
    answers: mpsc::UnboundedSender<Answered>,
    /// How many bytes of answers are in that channel.
    unsorted: Arc<AtomicUsize>,
    /// Answers taken out of it.
    drained: Vec<Answered>,
}

/// A handler that is waiting for something. Dropping this drops its future.
struct InProgress {
    task: AbortHandle,
    expires: Option<Instant>,
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct Step {
    read: bool,
    /// Whether there is room again for the answers to frames that were left.
    resumed: bool,
    timer: bool,
    answered: bool,
}

/// Why a connection ended.
enum Ending {
    Silent,
    Lost(io::Error),
    Violated(Violation),
}

impl Inbound {
    pub(crate) fn new(
        stream: Stream,
        mut reader: FrameReader,
        theirs: &Hello,
        registry: Registry,
        config: &EndpointConfig,
    ) -> Self {
        reader.set_body_max(config.body_max);
        let (answers, answered) = mpsc::unbounded_channel();
        Self {
            stream,
            reader,
            writer: FrameWriter::default(),
            peer: theirs.identity,
            class: theirs.class,
            registry,
            answer_max: config.body_max.min(theirs.body_max as usize),
            silence_max: config.silence_max,
            shutdown_max: config.shutdown_max,
            heard: Instant::now(),
            frames_left: false,
            has_answered: false,
            calls: BTreeMap::new(),
            deadlines: Deadlines::default(),
            answered,
            answers,
            unsorted: Arc::default(),
            drained: Vec::new(),
        }
    }

    /// Serves the connection until it ends. When `closing` turns true, nothing more is read, and it ends
    /// once what is in progress has been answered.
    pub(crate) async fn run(mut self, mut closing: watch::Receiver<bool>) {
        let mut closed = pin!(async move {
            // An error says that the endpoint is gone altogether.
            let _ = closing.wait_for(|closing| *closing).await;
        });
        let mut is_closing = false;
        self.heard = Instant::now();
        let mut timer = pin!(sleep_until(self.heard + self.silence_max));
        // What came right behind the hello has been read already.
        if let Err(violation) = self.hear(self.heard).await {
            return self.note(&Ending::Violated(violation));
        }
        loop {
            let step = poll_fn(|cx| {
                is_closing = is_closing || closed.as_mut().poll(cx).is_ready();
                self.poll(cx, timer.as_mut(), is_closing)
            });
            let step = match step.await {
                Ok(Some(step)) => step,
                Ok(None) => break,
                Err(ending) => return self.note(&ending),
            };
            let now = Instant::now();
            if step.read {
                self.heard = now;
            }
            if step.read || step.resumed {
                if let Err(violation) = self.hear(now).await {
                    return self.note(&Ending::Violated(violation));
                }
            }
            if step.timer {
                self.expire(now);
                if now.duration_since(self.heard) >= self.silence_max {
                    return self.note(&Ending::Silent);
                }
            }
            if step.answered {
                self.gather().await;
            }
        }
        // Who was never answered has nothing to lose, and need not be waited for.
        if self.has_answered {
            self.stream.finish(self.shutdown_max / 2).await;
        }
    }

    /// Has what was drained written, and what is about to be answered with it.
    async fn gather(&mut self) {
        // With one call in progress there is nothing to wait for.
        if self.writer.pending() == 0 && self.calls.len() > self.drained.len() {
            tokio::task::yield_now().await;
        }
        while self.drained.len() < DRAINED_MAX {
            let Ok(answered) = self.answered.try_recv() else { break };
            self.drained.push(answered);
        }
        let mut drained = std::mem::take(&mut self.drained);
        for (request, result) in drained.drain(..) {
            self.unsorted.fetch_sub(weight(&result), Ordering::Relaxed);
            // The caller of one that is gone has given up.
            if self.calls.remove(&request).is_some() {
                self.answer(request, result);
            }
        }
        self.drained = drained;
    }

    /// The next step; `None` when the endpoint is closing and everything is answered.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        is_closing: bool,
    ) -> Poll<Result<Option<Step>, Ending>> {
        let mut step = Step::default();
        if !self.writer.is_done() {
            if let Poll::Ready(Err(error)) = self.writer.poll_write(cx, &mut self.stream.writer) {
                return Poll::Ready(Err(Ending::Lost(error)));
            }
            if self.writer.take_unstuck() {
                self.heard = Instant::now();
            }
        }
        if is_closing && self.calls.is_empty() && self.writer.is_done() {
            return Poll::Ready(Ok(None));
        }
        // A peer that doesn't take its answers is not asked for more requests.
        let hears = !is_closing && self.has_room();
        if hears && self.frames_left {
            step.resumed = true;
        } else if hears {
            match pin!(self.stream.reader.read_buf(self.reader.room())).poll(cx) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(Ending::Lost(io::ErrorKind::UnexpectedEof.into())));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Ending::Lost(error))),
                Poll::Ready(Ok(_)) => step.read = true,
                Poll::Pending => {}
            }
        }
        step.answered = self.answered.poll_recv_many(cx, &mut self.drained, DRAINED_MAX).is_ready();
        let silent = self.heard + self.silence_max;
        let wanted = self.deadlines.earliest().map_or(silent, |deadline| deadline.min(silent));
        if timer.is_elapsed() || wanted < timer.deadline() {
            timer.as_mut().reset(wanted);
        }
        step.timer = timer.poll(cx).is_ready();
        if step.read || step.resumed || step.timer || step.answered {
            Poll::Ready(Ok(Some(step)))
        } else {
            Poll::Pending
        }
    }

    async fn hear(&mut self, now: Instant) -> Result<(), Violation> {
        loop {
            // One read may hold thousands of requests whose answers are long.
            self.frames_left = !self.has_room();
            if self.frames_left {
                return Ok(());
            }
            let Some(Frame { header, body }) = self.reader.next()? else { return Ok(()) };
            match header.kind {
                Kind::OneWay | Kind::Request => {
                    let mut incoming = Incoming::new(ProtocolId::new(header.protocol), body);
                    incoming.channel = header.channel;
                    incoming.lane = self.class.lane(header.lane)?;
                    if header.deadline_ms > 0 {
                        incoming.deadline = Some(Duration::from_millis(u64::from(header.deadline_ms)));
                    }
                    if header.kind == Kind::OneWay {
                        self.registry.deliver(self.peer, incoming);
                    } else {
                        self.begin(header.request, incoming, now).await?;
                    }
                }
                Kind::Cancel => drop(self.calls.remove(&header.request)),
                Kind::Ping => self.writer.push(Header::new(Kind::Pong), &Body::new()),
                Kind::Hello | Kind::Reply | Kind::Failure | Kind::Pong => {
                    return Err(Violation::Unexpected(header.kind));
                }
            }
        }
    }

    /// Whether there is room for one more answer, and so for another request.
    fn has_room(&self) -> bool {
        self.writer.pending() + self.unsorted.load(Ordering::Relaxed) < ANSWERS_MAX
    }

    async fn begin(&mut self, request: u32, call: Incoming, now: Instant) -> Result<(), Violation> {
        if self.calls.contains_key(&request) {
            return Err(Violation::Duplicate(request));
        }
        let expires = call.deadline.and_then(|deadline| now.checked_add(deadline));
        let mut answer = Box::pin(self.registry.answer(self.peer, call));
        // Polled once right here: most handlers answer without waiting, and need no task of their own.
        if let Poll::Ready(result) = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await {
            self.answer(request, result);
            return Ok(());
        }
        let (answers, unsorted) = (self.answers.clone(), self.unsorted.clone());
        let task = tokio::spawn(async move {
            let result = answer.await;
            unsorted.fetch_add(weight(&result), Ordering::Relaxed);
            // An error says that the connection is gone.
            let _ = answers.send((request, result));
        });
        self.calls.insert(request, InProgress { task: task.abort_handle(), expires });
        if let Some(expires) = expires {
            let calls = &self.calls;
            self.deadlines.add(expires, request, calls.len(), |at, id| {
                calls.get(&id).is_some_and(|call| call.expires == Some(at))
            });
        }
        Ok(())
    }

    /// Drops handlers whose callers have given up by now. They need no answer.
    fn expire(&mut self, now: Instant) {
        while let Some((at, request)) = self.deadlines.take_passed(now) {
            if self.calls.get(&request).is_some_and(|call| call.expires == Some(at)) {
                self.calls.remove(&request);
            }
        }
    }

    fn answer(&mut self, request: u32, result: Result<Body, Status>) {
        self.has_answered = true;
        let result = result.and_then(|body| {
            if body.len() <= self.answer_max {
                return Ok(body);
            }
            let text = format!("an answer of {} bytes is over the limit of {}", body.len(), self.answer_max);
            Err(Status::new(StatusCode::Failed, text))
        });
        match result {
            Ok(body) => self.writer.push(Header::of_request(Kind::Reply, request), &body),
            Err(status) => {
                let mut body = BytesMut::with_capacity(1 + status.text().len());
                body.put_u8(status.code() as u8);
                body.put_slice(status.text().as_bytes());
                self.writer.push(Header::of_request(Kind::Failure, request), &body.into());
            }
        }
    }

    fn note(&self, ending: &Ending) {
        let peer = self.peer;
        match ending {
            Ending::Silent => tracing::debug!(%peer, "a connection from a silent peer was closed"),
            Ending::Lost(error) => tracing::debug!(%peer, %error, "a connection from a peer was lost"),
            Ending::Violated(violation) => {
                tracing::warn!(%peer, %violation, "a connection from a peer was cut")
            }
        }
    }
}

/// What an answer counts for while it waits, in bytes.
fn weight(result: &Result<Body, Status>) -> usize {
    Header::LEN + result.as_ref().map_or_else(|status| status.text().len(), Body::len)
}

/// How many answers are gathered for one write.
const DRAINED_MAX: usize = 256;
/// How many bytes of answers may wait for a peer to take them before its requests are left unread.
const ANSWERS_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;
