use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::time::Instant;

/// All deadlines of a connection, behind one timer.
///
/// Calls mostly end long before their deadlines, in any order. Their entries stay behind and are swept out
/// once they outnumber the live ones, so that adding costs a constant amortised time and memory is bounded
/// by twice the calls in progress.
#[derive(Default)]
pub(crate) struct Deadlines(BinaryHeap<Reverse<(Instant, u32)>>);

impl Deadlines {
    /// Adds the deadline of call `id`. `is_live` tells which of the ids added before still count.
    pub(crate) fn add(&mut self, at: Instant, id: u32, live: usize, is_live: impl Fn(u32) -> bool) {
        if self.0.len() > 2 * live + SWEEP_FROM {
            self.0.retain(|Reverse((_, id))| is_live(*id));
        }
        self.0.push(Reverse((at, id)));
    }

    /// When to look again. May be that of a call that has ended, never later than the first live one.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out one deadline that has passed by `now`.
    pub(crate) fn take_passed(&mut self, now: Instant) -> Option<(Instant, u32)> {
        if self.earliest()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(passed)| passed)
    }
}

/// Below this many entries, sweeping isn't worth it.
const SWEEP_FROM: usize = 64;
