use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use quorate_core::NodeId;

use super::stop::StopReason;
use super::work::Request;
use crate::core::Input;
use crate::message::{Message, Payload};
use crate::state_machine::StateMachine;

/// Where everything that a node waits for comes in: one lock, three classes, one waker.
///
/// The core's task takes all of it at once, so that whatever came in while it was at work becomes one batch.
/// Pushing costs a lock of some 20 ns, and a wake-up only if the task sleeps. Messages are bounded in number
/// and bytes, requests in number; completions are bounded by what the core has asked for.
pub(crate) struct Mailbox<S: StateMachine> {
    inner: Mutex<Inner<S>>,
    requests_max: usize,
}

struct Inner<S: StateMachine> {
    batch: Batch<S>,
    message_bytes: usize,
    messages_dropped: u64,
    waker: Option<Waker>,
    closed: bool,
}

/// What was waiting.
pub(crate) struct Batch<S: StateMachine> {
    /// Completions and answers, which free resources: first.
    pub(crate) completions: Vec<Input>,
    /// Messages of peers, in order.
    pub(crate) messages: Vec<(NodeId, Message)>,
    /// What the application asks for.
    pub(crate) requests: Vec<Request<S>>,
    /// Why the node is to stop, if it is.
    pub(crate) stop: Option<StopReason>,
}

/// Why something could not be put in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PushError {
    /// The class is at its limit.
    Full,
    /// The node has stopped.
    Closed,
}

impl<S: StateMachine> Mailbox<S> {
    pub(crate) fn new(requests_max: usize) -> Self {
        let inner = Inner {
            batch: Batch::default(),
            message_bytes: 0,
            messages_dropped: 0,
            waker: None,
            closed: false,
        };
        Self { inner: Mutex::new(inner), requests_max }
    }

    pub(crate) fn push_completion(&self, input: Input) {
        let mut inner = self.lock();
        if !inner.closed {
            inner.batch.completions.push(input);
            wake(inner);
        }
    }

    pub(crate) fn push_message(&self, from: NodeId, message: Message) -> Result<(), PushError> {
        let bytes = message_bytes(&message);
        let mut inner = self.lock();
        if inner.closed {
            return Err(PushError::Closed);
        }
        if inner.batch.messages.len() >= INBOX_MESSAGES_MAX || inner.message_bytes >= INBOX_BYTES_MAX {
            inner.messages_dropped += 1;
            return Err(PushError::Full);
        }
        inner.message_bytes += bytes;
        inner.batch.messages.push((from, message));
        wake(inner);
        Ok(())
    }

    /// Hands the request back if it can't be taken.
    pub(crate) fn push_request(&self, request: Request<S>) -> Result<(), (PushError, Request<S>)> {
        let mut inner = self.lock();
        if inner.closed {
            return Err((PushError::Closed, request));
        }
        if inner.batch.requests.len() >= self.requests_max {
            return Err((PushError::Full, request));
        }
        inner.batch.requests.push(request);
        wake(inner);
        Ok(())
    }

    /// Asks the node to stop; the first reason stands.
    pub(crate) fn stop(&self, reason: StopReason) {
        let mut inner = self.lock();
        if !inner.closed {
            inner.batch.stop.get_or_insert(reason);
            wake(inner);
        }
    }

    /// Ready once there is something to take; the waker is called at the next push until then.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if !inner.batch.is_empty() {
            return Poll::Ready(());
        }
        if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            inner.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Takes everything that is there into `batch`, which must be empty and lends its allocations.
    pub(crate) fn take(&self, batch: &mut Batch<S>) {
        let mut inner = self.lock();
        inner.waker = None;
        inner.message_bytes = 0;
        std::mem::swap(&mut inner.batch, batch);
    }

    /// Takes nothing more, and gives back what was waiting.
    pub(crate) fn close(&self) -> Batch<S> {
        let mut inner = self.lock();
        inner.closed = true;
        inner.waker = None;
        std::mem::take(&mut inner.batch)
    }

    /// How many messages were dropped because too many were waiting.
    pub(crate) fn messages_dropped(&self) -> u64 {
        self.lock().messages_dropped
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the task, if it sleeps, after the lock is let go: it would run into it otherwise.
fn wake<S: StateMachine>(mut inner: MutexGuard<'_, Inner<S>>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What a message counts for against the limit in bytes.
fn message_bytes(message: &Message) -> usize {
    let payload = match &message.payload {
        Payload::Append { entries, .. } => entries.iter().map(crate::entry::Entry::cost).sum(),
        Payload::Snapshot { data, .. } => data.len(),
        Payload::Forward { commands, .. } => commands.iter().map(|command| command.len() + 32).sum(),
        _ => 0,
    };
    payload + 128
}

impl<S: StateMachine> Batch<S> {
    pub(crate) fn is_empty(&self) -> bool {
        self.completions.is_empty()
            && self.messages.is_empty()
            && self.requests.is_empty()
            && self.stop.is_none()
    }
}

impl<S: StateMachine> Default for Batch<S> {
    fn default() -> Self {
        Self { completions: Vec::new(), messages: Vec::new(), requests: Vec::new(), stop: None }
    }
}

impl<S: StateMachine> fmt::Debug for Mailbox<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("messages_dropped", &self.messages_dropped()).finish_non_exhaustive()
    }
}

/// How many messages of peers may wait for the core. More are dropped, as a network would.
const INBOX_MESSAGES_MAX: usize = 4096;
/// How many bytes of messages may wait before more are dropped.
const INBOX_BYTES_MAX: usize = 64 << 20;
