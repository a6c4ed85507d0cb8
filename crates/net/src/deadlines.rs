use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::time::Instant;

/// All deadlines of a connection, behind one timer.
///
/// Calls mostly end long before their deadlines, in any order. Their entries stay behind and are swept out
/// once they outnumber the live ones, and no sooner than as many were added as the last sweep left: so adding
/// costs a constant amortised time whatever a peer does, and memory is bounded by about twice the calls in
/// progress.
#[derive(Default)]
pub(crate) struct Deadlines {
    entries: BinaryHeap<Reverse<(Instant, u32)>>,
    /// How many entries the last sweep left.
    left: usize,
}

impl Deadlines {
    /// Adds the deadline of call `id`. `is_live` tells which of those added before still count: an id alone
    /// doesn't, since it may be that of a later call.
    pub(crate) fn add(&mut self, at: Instant, id: u32, live: usize, is_live: impl Fn(Instant, u32) -> bool) {
        if self.entries.len() > 2 * live.max(self.left) + SWEEP_FROM {
            self.entries.retain(|Reverse((at, id))| is_live(*at, *id));
            self.left = self.entries.len();
        }
        self.entries.push(Reverse((at, id)));
    }

    /// When to look again. May be that of a call that has ended, never later than the first live one.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.entries.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out one deadline that has passed by `now`.
    pub(crate) fn take_passed(&mut self, now: Instant) -> Option<(Instant, u32)> {
        if self.earliest()? > now {
            return None;
        }
        self.entries.pop().map(|Reverse(passed)| passed)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Below this many entries, sweeping isn't worth it.
const SWEEP_FROM: usize = 64;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[test]
    fn sweeping_costs_a_constant_amortised_time() {
        let (mut deadlines, swept, now) = (Deadlines::default(), Cell::new(0), Instant::now());
        for step in 0..10_000 {
            // All of them seem to be live, though few are said to be.
            deadlines.add(now + Duration::from_millis(step), 5, 1, |_, _| {
                swept.set(swept.get() + 1);
                true
            });
        }
        assert!(swept.get() <= 20_000, "{} entries were looked at", swept.get());
    }
}
