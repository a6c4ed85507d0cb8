//! A connection that a peer dialled: messages and requests come in, answers go out.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use quorate_transport::{Body, Incoming, NodeIdentity, ProtocolId, Registry, Status, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    heard: Instant,
    calls: BTreeMap<u32, InProgress>,
    deadlines: Deadlines,
    answered: mpsc::UnboundedReceiver<Answered>,
    answers: mpsc::UnboundedSender<Answered>,
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
    timer: bool,
    answered: Option<Answered>,
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
            heard: Instant::now(),
            calls: BTreeMap::new(),
            deadlines: Deadlines::default(),
            answered,
            answers,
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
            if let Some((request, result)) = step.answered {
                self.calls.remove(&request);
                self.answer(request, result);
            }
            if step.read {
                self.heard = now;
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
        }
        // The peer learns nothing from an error here: the connection ends in any case.
        let _ = self.stream.writer.shutdown().await;
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
        }
        if is_closing && self.calls.is_empty() && self.writer.is_done() {
            return Poll::Ready(Ok(None));
        }
        // A peer that doesn't take its answers is not asked for more requests.
        if !is_closing && self.writer.pending() < ANSWERS_MAX {
            match pin!(self.stream.reader.read_buf(self.reader.room())).poll(cx) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(Ending::Lost(io::ErrorKind::UnexpectedEof.into())));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Ending::Lost(error))),
                Poll::Ready(Ok(_)) => step.read = true,
                Poll::Pending => {}
            }
        }
        if let Poll::Ready(answered) = self.answered.poll_recv(cx) {
            step.answered = answered;
        }
        let silent = self.heard + self.silence_max;
        let wanted = self.deadlines.earliest().map_or(silent, |deadline| deadline.min(silent));
        if timer.is_elapsed() || wanted < timer.deadline() {
            timer.as_mut().reset(wanted);
        }
        step.timer = timer.poll(cx).is_ready();
        if step.read || step.timer || step.answered.is_some() {
            Poll::Ready(Ok(Some(step)))
        } else {
            Poll::Pending
        }
    }

    async fn hear(&mut self, now: Instant) -> Result<(), Violation> {
        while let Some(Frame { header, body }) = self.reader.next()? {
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
        Ok(())
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
        let answers = self.answers.clone();
        let task = tokio::spawn(async move {
            let result = answer.await;
            // An error says that the connection is gone.
            let _ = answers.send((request, result));
        });
        self.calls.insert(request, InProgress { task: task.abort_handle(), expires });
        if let Some(expires) = expires {
            let calls = &self.calls;
            self.deadlines.add(expires, request, calls.len(), |id| calls.contains_key(&id));
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

/// How many bytes of answers may wait for a peer to take them before its requests are left unread.
const ANSWERS_MAX: usize = 1 << 20;
