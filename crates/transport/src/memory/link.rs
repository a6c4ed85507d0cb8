use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Whether a call has left its queue.
#[derive(Clone)]
pub(super) struct Sent(Arc<AtomicBool>);

impl Sent {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

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
    let Item { message, expires, pending } = item;
    if expires.is_some_and(|expires| expires <= now) || pending.as_ref().is_some_and(Pending::is_cancelled) {
        return;
    }
    let mut incoming = Incoming::from(message);
    incoming.deadline = expires.map(|expires| expires.duration_since(now));
    let from = link.from.identity;
    let Some(mut pending) = pending else {
        link.to.registry.deliver(from, incoming);
        return;
    };
    pending.sent.0.store(true, Ordering::Release);
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
