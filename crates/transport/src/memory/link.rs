use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::network::{Member, MemoryConfig, Shared};
use crate::{CallError, Incoming, Lane, Message, Reason, SendError};

/// A message on its way.
pub(super) struct Item {
    pub(super) message: Message,
    pub(super) expires: Option<Instant>,
    /// Where the answer goes; `None` for a one-way message.
    pub(super) pending: Option<Pending>,
}

/// The callee's side of a call. Dropping it without an answer ends the call honestly.
pub(super) struct Pending {
    answer: Option<oneshot::Sender<Result<Bytes, CallError>>>,
    sent: Sent,
}

/// Whether a call is still in its queue, has left it, or has been withdrawn before it could: decided once.
#[derive(Clone)]
pub(super) struct Sent(Arc<AtomicU8>);

impl Sent {
    /// Notes that the call leaves. False if it was withdrawn.
    fn mark(&self) -> bool {
        self.0.compare_exchange(QUEUED, SENT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Keeps the call from leaving. False if it has left.
    pub(super) fn withdraw(&self) -> bool {
        match self.0.compare_exchange(QUEUED, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state == WITHDRAWN,
        }
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire) == SENT
    }
}

const QUEUED: u8 = 0;
const SENT: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Pending {
    pub(super) fn new(answer: oneshot::Sender<Result<Bytes, CallError>>) -> Self {
        Self { answer: Some(answer), sent: Sent(Arc::default()) }
    }

    pub(super) fn sent(&self) -> Sent {
        self.sent.clone()
    }

    fn is_cancelled(&self) -> bool {
        self.answer.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn finish(&mut self, result: Result<Bytes, CallError>) {
        if let Some(answer) = self.answer.take() {
            // An error only says that the caller has given up.
            let _ = answer.send(result);
        }
    }

    async fn cancelled(&mut self) {
        match &mut self.answer {
            Some(answer) => answer.closed().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.finish(Err(if self.sent.get() {
            CallError::Indeterminate(Reason::Disconnected)
        } else {
            CallError::NotSent(Reason::Disconnected)
        }));
    }
}

/// The way from one boot of a node to one boot of another: three bounded queues and the task that empties
/// them. It carries requests and one-way messages; answers go straight back.
pub(super) struct Link {
    queues: Mutex<Queues>,
    filled: Notify,
    config: MemoryConfig,
    pub(super) from: Arc<Member>,
    pub(super) to: Arc<Member>,
}

#[derive(Default)]
struct Queues {
    lanes: [Queue; 3],
    cut: bool,
    task: Option<AbortHandle>,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
}

impl Link {
    /// Makes the link and starts its task.
    pub(super) fn start(from: Arc<Member>, to: Arc<Member>, network: &Arc<Shared>) -> Arc<Self> {
        let link = Arc::new(Self {
            queues: Mutex::default(),
            filled: Notify::new(),
            config: network.config,
            from,
            to,
        });
        let task = network.runtime.spawn(run(link.clone(), Arc::downgrade(network)));
        link.lock().task = Some(task.abort_handle());
        link
    }

    pub(super) fn push(&self, message: Message, make: impl FnOnce(Message) -> Item) -> Result<(), SendError> {
        let len = message.body.len();
        let mut queues = self.lock();
        if queues.cut {
            return Err(SendError::Disconnected(message));
        }
        let queue = &mut queues.lanes[message.lane.index()];
        let over = queue.bytes.saturating_add(len) > self.config.queue_bytes && !queue.items.is_empty();
        if over || queue.items.len() >= self.config.queue_messages {
            return Err(SendError::Full(message));
        }
        queue.bytes += len;
        queue.items.push_back(make(message));
        drop(queues);
        self.filled.notify_one();
        Ok(())
    }

    /// Ends the link: what is queued is lost, calls end.
    pub(super) fn cut(&self) {
        let (lanes, task) = {
            let mut queues = self.lock();
            queues.cut = true;
            (std::mem::take(&mut queues.lanes), queues.task.take())
        };
        if let Some(task) = task {
            task.abort();
        }
        drop(lanes);
    }

    fn pop(&self) -> Option<Item> {
        let mut queues = self.lock();
        let queue = queues.lanes.iter_mut().find(|queue| !queue.items.is_empty())?;
        let item = queue.items.pop_front()?;
        queue.bytes -= item.message.body.len();
        Some(item)
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delivers what is queued, the most urgent lane first, until the link is cut. Calls in progress are dropped
/// with the task.
async fn run(link: Arc<Link>, network: std::sync::Weak<Shared>) {
    let mut calls = JoinSet::new();
    loop {
        while let Some(item) = link.pop() {
            deliver(&link, &network, item, &mut calls);
            // Other senders and receivers get their turn between two messages.
            tokio::task::yield_now().await;
            // The queue may never be empty, and what has ended is to be let go all the same.
            while calls.try_join_next().is_some() {}
        }
        tokio::select! {
            biased;
            () = link.filled.notified() => {}
            Some(_) = calls.join_next() => {}
        }
    }
}

fn deliver(link: &Arc<Link>, network: &std::sync::Weak<Shared>, item: Item, calls: &mut JoinSet<()>) {
    let now = Instant::now();
    let Item { message, expires, mut pending } = item;
    if expires.is_some_and(|expires| expires <= now) {
        if let Some(pending) = pending.as_mut().filter(|pending| pending.sent.withdraw()) {
            pending.finish(Err(CallError::DeadlineExceeded { sent: false }));
        }
        return;
    }
    if pending.as_ref().is_some_and(Pending::is_cancelled) {
        return;
    }
    let mut incoming = Incoming::from(message);
    incoming.deadline = expires.map(|expires| expires.duration_since(now));
    let from = link.from.identity;
    let Some(mut pending) = pending else {
        link.to.registry.deliver(from, incoming);
        return;
    };
    if !pending.sent.mark() {
        return;
    }
    let answer = link.to.registry.answer(from, incoming);
    let (link, network) = (link.clone(), network.clone());
    calls.spawn(async move {
        let answered = tokio::select! {
            biased;
            () = pending.cancelled() => return,
            answered = answer => answered,
        };
        let max = link.config.body_max;
        let result = match answered {
            Ok(body) if body.len() > max => Err(CallError::Remote(crate::Status::new(
                crate::StatusCode::Failed,
                format!("an answer of {} bytes is over the limit of {max}", body.len()),
            ))),
            Ok(body) => Ok(body.into_bytes()),
            Err(status) => Err(CallError::Remote(status)),
        };
        // The way back may have been cut while the handler ran; then the caller is not told.
        let open =
            network.upgrade().is_some_and(|net| net.is_open(link.to.identity.node, link.from.identity.node));
        if open {
            pending.finish(result);
        }
    });
}

/// The order in which `lanes` are stored is that of [`Lane::ALL`], so the first is the most urgent.
const _: () =
    assert!(Lane::Control.index() < Lane::Normal.index() && Lane::Normal.index() < Lane::Bulk.index());
