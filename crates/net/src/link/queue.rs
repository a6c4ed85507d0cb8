use std::collections::VecDeque;

use quorate_transport::{Lane, Message};
use tokio::time::Instant;

/// A message that waits to be sent.
pub(crate) struct Queued {
    pub(crate) message: Message,
    pub(crate) expires: Option<Instant>,
    /// The call that it begins; `None` for a one-way message.
    pub(crate) call: Option<u32>,
}

/// A queue for each lane, each bounded in messages and in bytes.
pub(super) struct Queues {
    lanes: [Queue; 3],
    messages_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Queued>,
    bytes: usize,
}

impl Queues {
    pub(super) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self { lanes: Default::default(), messages_max, bytes_max }
    }

    pub(super) fn has_room(&self, lane: Lane, len: usize) -> bool {
        let queue = &self.lanes[lane.index()];
        queue.messages.len() < self.messages_max && queue.bytes.saturating_add(len) <= self.bytes_max
    }

    pub(super) fn push(&mut self, queued: Queued) {
        let queue = &mut self.lanes[queued.message.lane.index()];
        queue.bytes += queued.message.body.len();
        queue.messages.push_back(queued);
    }

    /// The oldest message of the most urgent lane that has any.
    pub(super) fn pop(&mut self) -> Option<Queued> {
        let queue = self.lanes.iter_mut().find(|queue| !queue.messages.is_empty())?;
        let queued = queue.messages.pop_front()?;
        queue.bytes -= queued.message.body.len();
        Some(queued)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|queue| queue.messages.is_empty())
    }

    /// Whether there is exactly one message.
    pub(super) fn is_one(&self) -> bool {
        self.lanes.iter().map(|queue| queue.messages.len()).sum::<usize>() == 1
    }

    pub(super) fn clear(&mut self) -> Vec<Queued> {
        std::mem::take(&mut self.lanes).into_iter().flat_map(|queue| queue.messages).collect()
    }
}
