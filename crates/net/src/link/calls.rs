use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use quorate_transport::{CallError, Reason};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Link;
use crate::deadlines::Deadlines;

type Answer = Result<Bytes, CallError>;

/// The calls that wait for their answers.
pub(super) struct Calls {
    open: BTreeMap<u32, Call>,
    deadlines: Deadlines,
    next: u32,
    max: usize,
}

pub(super) struct Call {
    answer: oneshot::Sender<Answer>,
    expires: Option<Instant>,
    /// Whether any of it may have left this node.
    pub(super) sent: bool,
}

impl Call {
    pub(super) fn ending(self, error: impl FnOnce(bool) -> CallError) -> Ended {
        let result = Err(error(self.sent));
        Ended { answer: Some((self.answer, result)) }
    }
}

/// A call that has ended. The caller is woken when this is dropped, which is to happen without the lock.
pub(super) struct Ended {
    answer: Option<(oneshot::Sender<Answer>, Answer)>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some((answer, result)) = self.answer.take() {
            // An error only says that the caller has given up.
            let _ = answer.send(result);
        }
    }
}

impl Calls {
    pub(super) fn new(max: usize) -> Self {
        Self { open: BTreeMap::new(), deadlines: Deadlines::default(), next: 0, max }
    }

    /// Begins a call, unless too many are open.
    pub(super) fn begin(&mut self, expires: Option<Instant>) -> Option<(u32, oneshot::Receiver<Answer>)> {
        if self.open.len() >= self.max {
            return None;
        }
        // Fewer than 2³¹ are open, so a free number is soon found.
        while self.open.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let (answer, answered) = oneshot::channel();
        self.open.insert(id, Call { answer, expires, sent: false });
        if let Some(expires) = expires {
            let open = &self.open;
            self.deadlines.add(expires, id, open.len(), |at, id| {
                open.get(&id).is_some_and(|call| call.expires == Some(at))
            });
        }
        Some((id, answered))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn is_one(&self) -> bool {
        self.open.len() == 1
    }

    pub(super) fn earliest(&self) -> Option<Instant> {
        self.deadlines.earliest()
    }

    pub(super) fn take_passed(&mut self, now: Instant) -> Option<(u32, Call)> {
        while let Some((at, id)) = self.deadlines.take_passed(now) {
            // Numbers are used again; the deadline tells whether it is still the same call.
            if self.open.get(&id).is_some_and(|call| call.expires == Some(at)) {
                return self.open.remove(&id).map(|call| (id, call));
            }
        }
        None
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Call> {
        self.open.remove(&id)
    }

    /// Notes that a call leaves this node. False if it has ended already.
    pub(super) fn mark_sent(&mut self, id: u32) -> bool {
        self.open.get_mut(&id).map(|call| call.sent = true).is_some()
    }

    pub(super) fn end(&mut self, id: u32, result: Answer) -> Option<Ended> {
        self.open.remove(&id).map(|call| Ended { answer: Some((call.answer, result)) })
    }

    /// Ends a call that an answer came for; there is none to one that wasn't sent.
    pub(super) fn end_sent(&mut self, id: u32, result: Answer) -> Option<Ended> {
        if self.open.get(&id)?.sent { self.end(id, result) } else { None }
    }

    pub(super) fn end_all_sent(&mut self, why: Reason) -> Vec<Ended> {
        self.end_where(true, |_| CallError::Indeterminate(why))
    }

    pub(super) fn end_all_unsent(&mut self, why: Reason) -> Vec<Ended> {
        self.end_where(false, |_| CallError::NotSent(why))
    }

    fn end_where(&mut self, sent: bool, error: impl Fn(bool) -> CallError) -> Vec<Ended> {
        let ids: Vec<u32> =
            self.open.iter().filter(|(_, call)| call.sent == sent).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.open.remove(&id)).map(|call| call.ending(&error)).collect()
    }
}

/// A call that waits for its answer; dropping it cancels the call.
pub(crate) struct Ticket {
    link: Arc<Link>,
    id: u32,
    answer: oneshot::Receiver<Answer>,
    ended: bool,
}

impl Ticket {
    pub(super) fn new(link: Arc<Link>, id: u32, answer: oneshot::Receiver<Answer>) -> Self {
        Self { link, id, answer, ended: false }
    }
}

impl Future for Ticket {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(cx));
        self.ended = true;
        // A link never forgets a call without ending it; if it did, nothing would be known.
        Poll::Ready(answer.unwrap_or(Err(CallError::Indeterminate(Reason::Closed))))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.ended {
            self.link.cancel(self.id);
        }
    }
}
