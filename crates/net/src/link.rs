//! What is to go to one peer over one class of connection: queues, calls under way, and whether there is a
//! connection at all. It outlives connections; the task in `outbound` serves it.

mod calls;
mod queue;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use quorate_core::BootId;
use quorate_transport::{CallError, Lane, Message, Reason, SendError, Status};
use tokio::time::Instant;

use self::calls::Calls;
pub(crate) use self::calls::Ticket;
pub(crate) use self::queue::Queued;
use self::queue::Queues;
use crate::EndpointConfig;

pub(crate) struct Link {
    state: Mutex<State>,
    body_max: usize,
}

struct State {
    phase: Phase,
    queues: Queues,
    calls: Calls,
    /// Calls that were given up after they had been sent.
    cancels: Vec<u32>,
    /// The boot that the peer was last known in. What is queued is meant for it.
    boot: Option<BootId>,
    /// Whether there is a connection, and so to that boot.
    connected: bool,
    /// Another boot, in which the peer was heard of while there was a connection.
    heard: Option<BootId>,
    /// Since the last attempt the address was changed, or the peer was met: reasons to dial it soon.
    readdressed: bool,
    met: bool,
    /// Of the task that serves the link.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Connected or dialling: messages are queued.
    Open,
    /// Between attempts: messages are refused.
    Waiting,
    /// What is queued still goes out; nothing new is taken.
    Closing,
    /// Nothing goes.
    Closed,
}

/// What the task that serves the link should do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// Messages or cancellations are queued, and more may be about to be.
    Send,
    /// The only call under way is queued, and nothing else.
    SendAlone,
    /// The peer was heard of in another boot than the one that the connection leads to.
    Restarted,
    /// The link is closing, and nothing is left to do.
    Done,
}

/// What ends a wait before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reawakening {
    /// The peer was heard of, or has a new address.
    Redial,
    /// The peer has a new address.
    Address,
    /// There is something to send.
    Demand,
    /// Nothing.
    None,
}

impl Reawakening {
    fn holds(self, state: &State) -> bool {
        match self {
            Self::Redial => state.met || state.readdressed,
            Self::Address => state.readdressed,
            Self::Demand => !state.queues.is_empty(),
            Self::None => false,
        }
    }
}

/// What to send next, taken out of the link.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) cancels: Vec<u32>,
    pub(crate) messages: Vec<Queued>,
}

impl Link {
    pub(crate) fn new(config: &EndpointConfig) -> Self {
        let state = State {
            phase: Phase::Open,
            queues: Queues::new(config.queue_messages, config.queue_bytes),
            calls: Calls::new(config.calls_out_max),
            cancels: Vec::new(),
            boot: None,
            connected: false,
            heard: None,
            readdressed: false,
            met: false,
            waker: None,
        };
        Self { state: Mutex::new(state), body_max: config.body_max }
    }

    /// Queues a one-way message.
    pub(crate) fn send(&self, message: Message) -> Result<(), SendError> {
        let mut state = self.lock();
        if let Err(refused) = state.admit(&message, self.body_max) {
            return Err(refused.with(message));
        }
        let expires = expiry(&message);
        state.queues.push(Queued { message, expires, call: None });
        state.wake();
        Ok(())
    }

    /// Queues a request.
    pub(crate) fn call(self: &std::sync::Arc<Self>, message: Message) -> Result<Ticket, CallError> {
        if message.deadline.is_some_and(|deadline| deadline.is_zero()) {
            return Err(CallError::DeadlineExceeded { sent: false });
        }
        let mut state = self.lock();
        if let Err(refused) = state.admit(&message, self.body_max) {
            drop(state);
            return Err(refused.with(message).into());
        }
        let expires = expiry(&message);
        let Some((id, answer)) = state.calls.begin(expires) else {
            return Err(CallError::NotSent(Reason::Full));
        };
        state.queues.push(Queued { message, expires, call: Some(id) });
        state.wake();
        drop(state);
        Ok(Ticket::new(self.clone(), id, answer))
    }

    fn cancel(&self, id: u32) {
        let mut state = self.lock();
        let Some(call) = state.calls.remove(id) else { return };
        if call.sent {
            state.cancels.push(id);
            state.wake();
        }
    }

    /// Whether there is something to do for the task of a live connection, which has room to send or hasn't;
    /// and when the next deadline is.
    pub(crate) fn poll_signal(&self, cx: &Context<'_>, has_room: bool) -> (Poll<Signal>, Option<Instant>) {
        let mut state = self.lock();
        let earliest = state.calls.earliest();
        let signal = if state.heard.is_some() {
            Signal::Restarted
        } else if has_room && !(state.queues.is_empty() && state.cancels.is_empty()) {
            if state.calls.is_one() && state.queues.is_one() { Signal::SendAlone } else { Signal::Send }
        } else if matches!(state.phase, Phase::Closing | Phase::Closed)
            && state.queues.is_empty()
            && state.calls.is_empty()
        {
            Signal::Done
        } else {
            state.waker = Some(cx.waker().clone());
            return (Poll::Pending, earliest);
        };
        (Poll::Ready(signal), earliest)
    }

    /// Takes out what to send next, up to about `budget` bytes, the most urgent lane first.
    ///
    /// From here on the requests in it count as sent. Requests whose body is longer than the peer accepts
    /// end here, unsent.
    pub(crate) fn take(&self, now: Instant, budget: usize, peer_max: usize, batch: &mut Batch) {
        // Declared before the lock is taken: callers are woken, and bodies dropped, after it is released.
        let mut left = Left::default();
        let mut state = self.lock();
        let state = &mut *state;
        batch.cancels.append(&mut state.cancels);
        let mut taken = 0;
        while taken < budget {
            let Some(queued) = state.queues.pop() else { break };
            let len = queued.message.body.len();
            if queued.expires.is_some_and(|expires| expires <= now) {
                // A call of that kind is ended by its deadline, as unsent.
                left.queued.push(queued);
                continue;
            }
            if let Some(id) = queued.call {
                if len > peer_max {
                    left.ended.extend(state.calls.end(id, Err(CallError::TooLarge { len, max: peer_max })));
                    left.queued.push(queued);
                    continue;
                }
                if !state.calls.mark_sent(id) {
                    left.queued.push(queued);
                    continue;
                }
            } else if len > peer_max {
                left.queued.push(queued);
                continue;
            }
            taken += len + crate::frame::Header::LEN;
            batch.messages.push(queued);
        }
    }

    /// Ends the calls whose deadlines have passed.
    pub(crate) fn expire(&self, now: Instant) {
        // Declared before the lock is taken, so that callers are woken after it is released.
        let mut ended = Vec::new();
        let mut state = self.lock();
        while let Some((id, call)) = state.calls.take_passed(now) {
            if call.sent {
                state.cancels.push(id);
            }
            ended.push(call.ending(|sent| CallError::DeadlineExceeded { sent }));
        }
    }

    /// Ends calls with what the peer answered. Answers to calls that were given up are dropped.
    pub(crate) fn answered(&self, answers: &mut Vec<(u32, Result<Bytes, Status>)>) {
        let mut ended = Vec::with_capacity(answers.len());
        {
            let mut state = self.lock();
            for (id, answer) in answers.drain(..) {
                ended.extend(state.calls.end_sent(id, answer.map_err(CallError::Remote)));
            }
        }
        drop(ended);
    }

    /// For the time without a connection: waits until `until`, or for the link to be closing, or for the
    /// reason that is given. Meanwhile it ends calls whose deadlines pass.
    pub(crate) async fn wait(&self, until: Option<Instant>, reason: Reawakening) {
        loop {
            let now = Instant::now();
            self.expire(now);
            if until.is_some_and(|until| until <= now) {
                return;
            }
            let known = self.lock().calls.earliest();
            // True once the wait is over, false if the deadlines have changed.
            let changed = std::future::poll_fn(|cx| {
                let mut state = self.lock();
                if reason.holds(&state) || matches!(state.phase, Phase::Closing | Phase::Closed) {
                    return Poll::Ready(true);
                }
                if state.calls.earliest() != known {
                    return Poll::Ready(false);
                }
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            });
            let over = match known.into_iter().chain(until).min() {
                None => changed.await,
                Some(at) => tokio::time::timeout_at(at, changed).await.unwrap_or(false),
            };
            if over {
                return;
            }
        }
    }

    /// A connection to `boot` stands. What was queued for another boot is dropped.
    pub(crate) fn connected(&self, boot: BootId) {
        let left = {
            let mut state = self.lock();
            state.heard = None;
            state.met = false;
            state.connected = true;
            state.mean(boot)
        };
        drop(left);
    }

    /// The connection is lost: calls that were sent end; what is queued stays for the next connection.
    pub(crate) fn lost(&self, why: Reason) {
        let left = {
            let mut state = self.lock();
            state.connected = false;
            state.cancels.clear();
            let ended = state.calls.end_all_sent(why);
            (ended, state.heard.take().map(|boot| state.mean(boot)))
        };
        drop(left);
    }

    /// An attempt begins: messages are queued for it. False if the link is closing.
    pub(crate) fn dialling(&self) -> bool {
        let mut state = self.lock();
        match state.phase {
            Phase::Open | Phase::Waiting => {
                state.phase = Phase::Open;
                state.met = false;
                state.readdressed = false;
                true
            }
            Phase::Closing | Phase::Closed => false,
        }
    }

    /// An attempt has failed: what is queued is dropped, and messages are refused until the next attempt.
    pub(crate) fn failed(&self, why: Reason) {
        let left = {
            let mut state = self.lock();
            if state.phase == Phase::Open {
                state.phase = Phase::Waiting;
            }
            state.purge(why)
        };
        drop(left);
    }

    /// The peer was met elsewhere: it lives, in this boot.
    pub(crate) fn heard(&self, boot: BootId) {
        let left = {
            let mut state = self.lock();
            state.met = true;
            state.wake();
            if state.connected {
                state.heard = Some(boot).filter(|_| state.boot != Some(boot));
                Left::default()
            } else {
                state.mean(boot)
            }
        };
        drop(left);
    }

    /// The address was changed.
    pub(crate) fn readdressed(&self) {
        let mut state = self.lock();
        state.readdressed = true;
        state.wake();
    }

    /// Takes nothing new from now on.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if state.phase != Phase::Closed {
            state.phase = Phase::Closing;
        }
        state.wake();
    }

    /// Ends everything. Calls under way end as they deserve.
    pub(crate) fn end(&self) {
        let left = {
            let mut state = self.lock();
            state.phase = Phase::Closed;
            state.cancels.clear();
            let left = (state.purge(Reason::Closed), state.calls.end_all_sent(Reason::Closed));
            state.wake();
            left
        };
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admit(&self, message: &Message, max: usize) -> Result<(), Refused> {
        match self.phase {
            Phase::Open => {}
            Phase::Waiting => return Err(Refused::Disconnected),
            Phase::Closing | Phase::Closed => return Err(Refused::Closed),
        }
        if message.body.len() > max {
            return Err(Refused::TooLarge { max });
        }
        if self.queues.has_room(message.lane, message.body.len()) { Ok(()) } else { Err(Refused::Full) }
    }

    /// From here on, messages are meant for `boot`. Those that were meant for another are dropped.
    fn mean(&mut self, boot: BootId) -> Left {
        let before = self.boot.replace(boot);
        if before.is_some_and(|before| before != boot) {
            self.purge(Reason::PeerRestarted)
        } else {
            Left::default()
        }
    }

    /// Takes out what is queued. Calls in it end as unsent.
    fn purge(&mut self, why: Reason) -> Left {
        Left { queued: self.queues.clear(), ended: self.calls.end_all_unsent(why) }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What is over, to be dropped without the lock: that wakes callers, and runs the destructors of bodies, which
/// are code of the program's own.
#[derive(Default)]
struct Left {
    ended: Vec<calls::Ended>,
    queued: Vec<Queued>,
}

/// Why a message isn't taken.
enum Refused {
    Disconnected,
    Closed,
    TooLarge { max: usize },
    Full,
}

impl Refused {
    fn with(self, message: Message) -> SendError {
        match self {
            Self::Disconnected => SendError::Disconnected(message),
            Self::Closed => SendError::Closed(message),
            Self::TooLarge { max } => SendError::TooLarge { message, max },
            Self::Full => SendError::Full(message),
        }
    }
}

/// When a message stops being worth anything; `None` for never.
fn expiry(message: &Message) -> Option<Instant> {
    message.deadline.and_then(|deadline| Instant::now().checked_add(deadline))
}

/// The lanes are stored in the order of urgency.
const _: () =
    assert!(Lane::Control.index() < Lane::Normal.index() && Lane::Normal.index() < Lane::Bulk.index());

#[cfg(test)]
mod tests;
