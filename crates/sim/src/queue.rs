use std::cmp::Reverse;
use std::collections::BinaryHeap;

use quorate_core::Time;

/// What is to happen, ordered by time and then by the order of scheduling, so that no two runs can differ.
///
/// The items lie in a slab, because sifting a heap of whole messages would move them about.
pub(crate) struct Queue<T> {
    order: BinaryHeap<Reverse<(Time, u64, usize)>>,
    items: Vec<Option<T>>,
    free: Vec<usize>,
    sequence: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { order: BinaryHeap::new(), items: Vec::new(), free: Vec::new(), sequence: 0 }
    }

    pub(crate) fn push(&mut self, at: Time, item: T) {
        let place = match self.free.pop() {
            Some(place) => {
                self.items[place] = Some(item);
                place
            }
            None => {
                self.items.push(Some(item));
                self.items.len() - 1
            }
        };
        self.order.push(Reverse((at, self.sequence, place)));
        self.sequence += 1;
    }

    /// The first item, if it is due by `limit`.
    pub(crate) fn pop(&mut self, limit: Time) -> Option<(Time, T)> {
        let Reverse((at, _, _)) = self.order.peek()?;
        if *at > limit {
            return None;
        }
        let Reverse((at, _, place)) = self.order.pop()?;
        self.free.push(place);
        self.items[place].take().map(|item| (at, item))
    }
}
